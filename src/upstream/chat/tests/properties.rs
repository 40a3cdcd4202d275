//! Properties: no split, no template and no bytes make a difference that they should not make.
use super::*;
use proptest::{prelude::*, sample::Index};

/// How a service orders and fills the fields of a frame.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    OpenAi,
    LlamaCpp,
    /// With totals in each frame.
    Vllm,
    Sglang,
}

const SPELLINGS: [Spelling; 4] = [Spelling::OpenAi, Spelling::LlamaCpp, Spelling::Vllm, Spelling::Sglang];

/// Text of a frame: which kind, and under which name.
#[derive(Clone, Copy, Debug)]
enum Field {
    Content,
    ReasoningContent,
    Reasoning,
}

#[derive(Clone, Debug)]
struct Step {
    field: Field,
    text: String,
    finish: Option<&'static str>,
}

fn frame(spelling: Spelling, answer: usize, number: usize, step: &Step) -> String {
    let text = serde_json::to_string(&step.text).unwrap();
    let finish = step.finish.map_or_else(|| "null".to_owned(), |finish| format!("\"{finish}\""));
    let field = match step.field {
        Field::Content => "content",
        Field::ReasoningContent => "reasoning_content",
        Field::Reasoning => "reasoning",
    };
    let head = format!(
        "\"id\":\"chatcmpl-{answer}\",\"object\":\"chat.completion.chunk\",\"created\":{}",
        1_796_004_343 + answer
    );
    let data = match spelling {
        Spelling::OpenAi => format!(
            "{{{head},\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"{field}\":{text}}},\"finish_reason\":{finish}}}],\"usage\":null}}"
        ),
        Spelling::LlamaCpp => format!(
            "{{\"choices\":[{{\"finish_reason\":{finish},\"index\":0,\"delta\":{{\"{field}\":{text}}}}}],{head},\"model\":\"m\"}}"
        ),
        Spelling::Vllm => format!(
            "{{{head},\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"{field}\":{text}}},\"logprobs\":null,\"finish_reason\":{finish},\"token_ids\":null}}],\
             \"usage\":{{\"prompt_tokens\":25,\"total_tokens\":{},\"completion_tokens\":{number},\"completion_tokens_details\":{{\"reasoning_tokens\":0}}}}}}",
            25 + number
        ),
        Spelling::Sglang => format!(
            "{{{head},\"choices\":[{{\"index\":0,\"delta\":{{\"role\":null,\"{field}\":{text},\"tool_calls\":null}},\"finish_reason\":{finish},\"matched_stop\":null}}]}}"
        ),
    };
    format!("data: {data}\n\n")
}

/// Text that is hard on JSON: quotes, backslashes, controls, characters of all lengths.
fn piece() -> impl Strategy<Value = String> {
    let hard = prop::sample::select(vec![
        "\"",
        "\\",
        "\n",
        "\0",
        "/",
        "é",
        "你",
        "😀",
        "\u{2028}",
        "a",
        "Hello ",
        "}]",
        "\",\"role\":\"",
        "\\n",
    ]);
    prop_oneof![
        3 => prop::collection::vec(hard, 0..5).prop_map(|pieces| pieces.concat()),
        1 => ".{0,8}",
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let field =
        prop::sample::select(vec![Field::Content, Field::Content, Field::ReasoningContent, Field::Reasoning]);
    (field, piece()).prop_map(|(field, text)| Step { field, text, finish: None })
}

/// The events of an answer in one spelling, with comments and foreign events between them.
fn body() -> impl Strategy<Value = String> {
    let ends = prop::sample::select(vec![
        Some("stop"),
        Some("stop"),
        Some("length"),
        Some("content_filter"),
        Some("abort"),
        Some("tool_calls"),
        None,
    ]);
    let between = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        ": keep-alive\n\n",
        ":\n",
        "\r\n",
        "event: x\n",
        "data: {\"choices\":[]}\n\n",
        "data: [DONE]\n\n",
        "data: {\"error\":\"x\"}\n\n",
        "data: {\n",
        "id: 7\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n",
    ]);
    let spelling = prop::sample::select(SPELLINGS.to_vec());
    (spelling, 0..3usize, prop::collection::vec((step(), between), 1..12), ends).prop_map(
        |(spelling, answer, steps, end)| {
            let (mut body, last) = (String::new(), steps.len() - 1);
            for (number, (mut step, between)) in steps.into_iter().enumerate() {
                step.finish = end.filter(|_| number == last);
                body += &frame(spelling, answer, number, &step);
                body += between;
            }
            body + "data: [DONE]\n\n"
        },
    )
}

fn pieces_of<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn text_comes_out_as_it_was_sent(
        spelling in prop::sample::select(SPELLINGS.to_vec()),
        steps in prop::collection::vec(step(), 1..12),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let mut sent = [String::new(), String::new()];
        let mut body = String::new();
        for (number, step) in steps.iter().enumerate() {
            sent[usize::from(!matches!(step.field, Field::Content))] += &step.text;
            let finish = (number + 1 == steps.len()).then_some("stop");
            body += &frame(spelling, 1, number, &Step { finish, ..step.clone() });
        }
        let (events, end) = read("other", STREAM, LIMITS, pieces_of(body.as_bytes(), &cuts));
        let of = |wanted| events.iter().filter_map(|event| match event {
            RunEvent::Text { kind, text } if *kind == wanted => Some(text.as_str()),
            _ => None,
        }).collect::<String>();
        prop_assert_eq!([of(TextKind::Answer), of(TextKind::Reasoning)], sent);
        prop_assert_eq!(end.outcome, Ok(FinishReason::Stop));
    }

    /// Whatever is read by the shape of the last frame, the parser reads alike, in every spelling.
    #[test]
    fn the_template_makes_no_difference(body in body(), cuts in prop::collection::vec(any::<Index>(), 0..8)) {
        let chat = Chat::new(settings("other"));
        let [mut fast, mut slow] = [(); 2].map(|()| chat.reader(STREAM, LIMITS));
        slow.frames_mut().without_template();
        for chunk in pieces_of(body.as_bytes(), &cuts) {
            let (mut read, mut parsed) = (Vec::new(), Vec::new());
            prop_assert_eq!(fast.feed(chunk, &mut read), slow.feed(chunk, &mut parsed));
            prop_assert_eq!(read, parsed);
            prop_assert_eq!(fast.usage(), slow.usage());
            prop_assert_eq!(fast.request_id(), slow.request_id());
            prop_assert_eq!(fast.finish(), slow.finish());
        }
        let (mut read, mut parsed) = (Vec::new(), Vec::new());
        prop_assert_eq!(fast.end(&mut read), slow.end(&mut parsed));
        prop_assert_eq!(read, parsed);
    }

    #[test]
    fn any_split_gives_the_same_events(
        body in body(),
        head in prop::sample::select(vec![STREAM, STREAM, JSON, Head { status: 500, ..STREAM }]),
        at in any::<Index>(),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let body = &body.as_bytes()[..at.index(body.len() + 1)];
        let whole = read("other", head, LIMITS, [body]);
        prop_assert_eq!(&read("other", head, LIMITS, pieces_of(body, &cuts)), &whole);
        prop_assert_eq!(&read("other", head, LIMITS, body.chunks(1)), &whole);
    }

    #[test]
    fn the_bounds_hold(body in body(), bound in 0usize..80) {
        let limits = Limits { answer_bytes: bound, ..LIMITS };
        let (events, _) = read("other", STREAM, limits, [body.as_bytes()]);
        prop_assert!(answer(&events).len() <= bound);
        let limits = Limits { line_bytes: bound, event_bytes: bound, answer_bytes: bound };
        read("other", STREAM, limits, body.as_bytes().chunks(5));
    }
}
