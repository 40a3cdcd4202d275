//! A person continues an answer that broke off, with the simulator in its dialects.
use crate::harness::{Answer, Chats, End, Gateway, get_with, until};
use serde_json::{Value, json};
use tidegate::{app::Ended, config::Config, upstream::service::Service};

/// What the simulator answers, if nothing cuts it.
const WHOLE: &str = "The tide rises twice a day, and falls as often.";

fn configure(config: &mut Config, service: &str, model: &str) {
    config.upstream.service = Service::find(service).unwrap();
    config.upstream.model = model.to_owned();
    if service != "dashscope" {
        config.upstream.base_url.set_path("/v1");
    }
}

fn continue_it(request: &str, answer: &Answer) -> Value {
    let message = answer.message.clone().unwrap();
    json!({"type": "send", "requestId": request, "id": "c1", "trigger": "continue", "messageId": message})
}

/// Continues an answer; the whole of it as it is sent then.
async fn continued(chats: &mut Chats, request: &str, answer: &Answer) -> Answer {
    chats.send_frame(&continue_it(request, answer)).await;
    let mut again = Answer::of(request);
    again.message.clone_from(&answer.message);
    chats.read_answer(&mut again).await;
    again
}

async fn transcript(gateway: &Gateway, chats: &Chats) -> Value {
    let (_, _, body) = get_with(gateway.address, "/api/chats/c1", &[("cookie", &chats.cookie)]).await;
    serde_json::from_str(&body).unwrap()
}

/// Conversations are kept, so the gateway is not idle at the end.
async fn drain(mut gateway: Gateway, chats: Chats) {
    drop(chats);
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    assert_eq!(gateway.drain().await, Ended::Drained);
}

#[tokio::test]
async fn an_answer_that_broke_off_goes_on_to_its_end_in_every_dialect() {
    for (service, spell) in [
        ("dashscope", ""),
        ("vllm", "spell=vllm"),
        ("moonshot", "spell=moonshot"),
        ("llamacpp", "spell=llamacpp"),
    ] {
        let gateway = Gateway::spawn(|config| configure(config, service, "sim-chat")).await;
        let mut chats = Chats::connect(gateway.address).await;
        let first =
            chats.turn("u1", "c1", &format!("/sim text=\"{WHOLE}\" cut_after=4 times=1 {spell}")).await;
        assert_eq!(first.end, Some(End::Failed("in the stream".to_owned())), "{service}");
        assert!(WHOLE.starts_with(&first.text) && first.text.len() < WHOLE.len(), "{service}: {first:?}");
        assert_eq!(transcript(&gateway, &chats).await["messages"][1]["metadata"]["incomplete"], true);
        let again = continued(&mut chats, "r2", &first).await;
        assert_eq!((again.text.as_str(), &again.end), (WHOLE, &Some(End::Whole)), "{service}");
        let kept = transcript(&gateway, &chats).await;
        assert_eq!(kept["messages"].as_array().unwrap().len(), 2, "{service}: {kept}");
        assert_eq!(kept["messages"][1]["parts"][0]["text"], WHOLE);
        assert!(kept["messages"][1]["metadata"].get("incomplete").is_none(), "{kept}");
        // It has ended well.
        let over = continued(&mut chats, "r3", &again).await;
        assert_eq!(over.end, Some(End::Failed("bad_parameter".to_owned())), "{service}");
        drain(gateway, chats).await;
    }
}

#[tokio::test]
async fn an_answer_cut_by_the_limit_of_tokens_is_continued_until_it_ends() {
    let gateway = Gateway::spawn(|config| {
        configure(config, "dashscope", "sim-chat");
        config.upstream.max_tokens = 4;
    })
    .await;
    let mut chats = Chats::connect(gateway.address).await;
    let mut answer = chats.turn("u1", "c1", &format!("/sim text=\"{WHOLE}\"")).await;
    for round in 2..20 {
        if answer.text == WHOLE {
            break;
        }
        let next = continued(&mut chats, &format!("r{round}"), &answer).await;
        assert!(next.text.starts_with(&answer.text) && next.text.len() > answer.text.len(), "{next:?}");
        assert_eq!(next.end, Some(End::Whole));
        answer = next;
    }
    assert_eq!(answer.text, WHOLE);
    // A later question has the answer as one.
    chats.turn("u2", "c1", "/sim text=\"Good.\"").await;
    let recorded = gateway.upstream().recorded();
    let body: Value = serde_json::from_str(&recorded.last().unwrap().body).unwrap();
    assert_eq!(body["input"]["messages"][1], json!({"role": "assistant", "content": WHOLE}));
    drain(gateway, chats).await;
}

#[tokio::test]
async fn a_continuation_is_stopped_resumed_and_its_numbers_are_its_own() {
    let gateway = Gateway::spawn(|config| configure(config, "dashscope", "sim-chat")).await;
    let mut chats = Chats::connect(gateway.address).await;
    let slow = format!("/sim text=\"{WHOLE}\" pace_ms=30");
    chats.ask("u1", "c1", &slow).await;
    let mut first = Answer::of("u1");
    while first.text.is_empty() {
        first.take(&chats.next().await);
    }
    chats.abort("u1").await;
    chats.read_answer(&mut first).await;
    assert_eq!(first.end, Some(End::Stopped));
    chats.send_frame(&continue_it("r2", &first)).await;
    let mut second = Answer::of("r2");
    let mut run = Value::Null;
    while second.text.len() <= first.text.len() {
        let frame = chats.next().await;
        if frame["chunk"]["type"] == "start" {
            run = frame["chunk"]["messageMetadata"]["run"].clone();
        }
        second.take(&frame);
    }
    assert_eq!(run, 2);
    // Another socket of the browser has the numbers of the first run, and of this one.
    let mut other = Chats::connect_as(gateway.address, &chats.cookie).await;
    let message = first.message.clone().unwrap();
    let resume = |request: &str, last: Option<u64>, run: &Value| {
        json!({"type": "resume", "requestId": request, "id": "c1", "messageId": message,
            "lastSequence": last, "run": run})
    };
    other.send_frame(&resume("r3", first.last, &Value::Null)).await;
    let start = other.next().await;
    assert_eq!((&start["type"], &start["run"]), (&json!("start"), &run));
    let mut whole = Answer::of("r3");
    whole.message = Some(message.clone());
    let known = second.last;
    let after = second.go_on("r4");
    other.send_frame(&resume("r4", after, &run)).await;
    assert_eq!(after, known);
    while whole.end.is_none() || second.end.is_none() {
        let frame = other.next().await;
        whole.take(&frame);
        second.take(&frame);
    }
    assert_eq!((whole.text.as_str(), second.text.as_str()), (WHOLE, WHOLE));
    drop(other);
    drain(gateway, chats).await;
}

#[tokio::test]
async fn a_model_that_refuses_a_beginning_leaves_the_answer_as_it_was() {
    let gateway = Gateway::spawn(|config| configure(config, "dashscope", "sim-noprefill")).await;
    let mut chats = Chats::connect(gateway.address).await;
    let first = chats.turn("u1", "c1", &format!("/sim text=\"{WHOLE}\" cut_after=4 times=1")).await;
    let again = continued(&mut chats, "r2", &first).await;
    assert_eq!((&again.text, &again.end), (&first.text, &first.end));
    let kept = transcript(&gateway, &chats).await;
    assert_eq!(kept["messages"][1]["parts"][0]["text"], first.text.as_str());
    drain(gateway, chats).await;
}

#[tokio::test]
async fn what_cannot_be_continued_is_refused_with_a_sentence() {
    let gateway = Gateway::spawn(|config| configure(config, "dashscope", "sim-chat")).await;
    let mut chats = Chats::connect(gateway.address).await;
    let refused = async |chats: &mut Chats, answer: &Answer| {
        chats.send_frame(&continue_it("r9", answer)).await;
        let frame = chats.next().await;
        assert_eq!(
            (&frame["code"], &frame["errorText"]),
            (&json!("bad_parameter"), &json!("This answer cannot be continued. Try again instead."))
        );
    };
    // No such chat.
    let mut unknown = Answer::of("r0");
    unknown.message = Some("msg-1".to_owned());
    refused(&mut chats, &unknown).await;
    let cut = chats.turn("u1", "c1", &format!("/sim text=\"{WHOLE}\" cut_after=4 times=1")).await;
    let second = chats.turn("u2", "c1", "/sim text=\"Good.\"").await;
    refused(&mut chats, &cut).await;
    refused(&mut chats, &second).await;
    drain(gateway, chats).await;

    // By a service that always begins anew.
    let gateway = Gateway::spawn(|config| configure(config, "other", "sim-chat")).await;
    let mut chats = Chats::connect(gateway.address).await;
    let cut = chats.turn("u1", "c1", &format!("/sim text=\"{WHOLE}\" cut_after=4 times=1")).await;
    refused(&mut chats, &cut).await;
    let (_, _, body) = get_with(gateway.address, "/api/config", &[]).await;
    let config: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(config["models"][0]["continues"], false, "{config}");
    drain(gateway, chats).await;
}
