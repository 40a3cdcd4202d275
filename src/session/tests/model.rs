//! The model of a turn.
use super::*;
use crate::chat::{Absence, Catalog, Choice, ChoiceFault, Model, Parameters};
use crate::protocol::Rejection;

fn big() -> Chosen {
    let parameters = Parameters { thinking: Some(true), ..Parameters::default() };
    let system_prompt = Some("be big".into());
    Chosen { model: Arc::new(Model { system_prompt, ..Model::named("big") }), parameters }
}

fn question(at: u64, chosen: Result<Chosen, Rejection>) -> Input {
    let message = ChatMessage::user(id(&format!("q{at}")), "q");
    let turn = Box::new(TurnRequest { kind: TurnKind::Submit, message, transcript: Vec::new() });
    Input::Ask { subscriber: SubscriberId(at), sink: (), turn, chosen }
}

#[test]
fn a_turn_runs_on_the_requested_model_also_after_it_was_queued() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    for (at, chosen) in [(1, Chosen::for_test()), (2, big()), (3, Chosen::for_test())] {
        shell.feed(question(at, Ok(chosen)));
    }
    for run in 1..=3 {
        shell.step(&format!("run {run} delta 'A'"));
        shell.step(&format!("run {run} stop"));
    }
    let (mut requested, mut announced) = (Vec::new(), Vec::new());
    for effect in &shell.out {
        match effect {
            Effect::StartRun { request, .. } => {
                let prompt = request.messages[0].text.to_string();
                requested.push((request.model.to_string(), request.parameters, prompt));
            }
            Effect::Push { outgoing: Outgoing::Frame(ServerFrame::Accepted { start, .. }), .. } => {
                announced.push(start.model.as_deref().unwrap_or_default());
            }
            _ => {}
        }
    }
    let none = Parameters::default();
    let expected = [("m", none, "q"), ("big", big().parameters, "be big"), ("m", none, "q")];
    let expected =
        expected.map(|(model, parameters, first)| (model.to_owned(), parameters, first.to_owned()));
    assert_eq!((requested, announced), (expected.to_vec(), vec!["m", "big", "m"]));
    let answers =
        shell.session.transcript().messages.into_iter().filter(|message| message.role == Role::Assistant);
    let models: Vec<_> = answers.map(|answer| answer.model.map(|model| model.to_string())).collect();
    assert_eq!(models, ["m", "big", "m"].map(|model| Some(model.to_owned())));
}

#[test]
fn a_smaller_context_sends_fewer_turns_and_a_larger_one_all_of_them_again() {
    let mut shell = Shell::of(Settings::for_test(), Lifetime::OfChat);
    let omitted = |shell: &mut Shell, at: u64, context| {
        let chosen = Chosen {
            model: Arc::new(Model { context, ..Model::named("m") }),
            parameters: Parameters { max_tokens: Some(100), ..Parameters::default() },
        };
        shell.feed(question(at, Ok(chosen)));
        shell.step(&format!("run {at} delta '{}'", "word ".repeat(40)));
        shell.step(&format!("run {at} stop"));
        let mut requests = shell.out.drain(..).filter_map(|effect| match effect {
            Effect::StartRun { request, .. } => Some(request.omitted_turns),
            _ => None,
        });
        requests.next()
    };
    let seen = [(1, None), (2, None), (3, Some(200)), (4, None)];
    assert_eq!(seen.map(|(at, context)| omitted(&mut shell, at, context)), [0, 0, 1, 0].map(Some));
}

#[test]
fn a_refused_choice_changes_nothing_and_a_repeated_question_is_answered_all_the_same() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    let gone = || {
        let choice = Choice { model: Some("gone".into()), ..Choice::default() };
        Catalog::of_one("m").choose(&choice).map_err(Rejection::from)
    };
    let absent = || Err(ChoiceFault::Absent(Absence::Unreachable).into());
    let mut feed = |input: Input| {
        shell.feed(input);
        shell.out.drain(..).map(|effect| show(&effect)).collect::<Vec<_>>()
    };
    assert_eq!(feed(question(1, gone())), ["1 <- refused model_not_found", "release 1"]);
    assert_eq!(feed(question(2, absent())), ["2 <- refused upstream_unreachable", "release 2"]);
    let started = feed(question(3, Ok(Chosen::for_test())));
    assert_eq!(started, ["3 <- accepted run=1", "start run=1 [user 'q']"]);
    feed(parse("run 1 delta 'A'"));
    // The socket was lost, and the model with it.
    assert_eq!(feed(Input::Detach { subscriber: SubscriberId(3) }), [""; 0]);
    let message = ChatMessage::user(id("q3"), "q");
    let turn = Box::new(TurnRequest { kind: TurnKind::Submit, message, transcript: Vec::new() });
    let again = Input::Ask { subscriber: SubscriberId(4), sink: (), turn, chosen: gone() };
    assert_eq!(feed(again), ["4 <- accepted run=1", "4 <- delta #1 'A'"]);
    feed(parse("run 1 stop"));
    assert_eq!(feed(question(5, gone())), ["5 <- refused model_not_found", "release 5"]);
    assert_eq!(shell.session.transcript().messages.len(), 2, "nothing is lost");
}
