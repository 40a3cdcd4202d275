//! The model of a turn.
use super::*;

#[test]
fn a_turn_runs_on_the_requested_model_also_after_it_was_queued() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    for (at, model) in [(1, None), (2, Some("big")), (3, None)] {
        let message = ChatMessage::user(id(&format!("q{at}")), "q");
        let (kind, model) = (TurnKind::Submit, model.map(Arc::from));
        let turn = Box::new(TurnRequest { kind, message, model, transcript: Vec::new() });
        shell.feed(Input::Ask { subscriber: SubscriberId(at), sink: (), turn });
    }
    shell.step("run 1 delta 'A'");
    shell.step("run 1 stop");
    shell.step("run 2 delta 'B'");
    shell.step("run 2 stop");
    let (mut requested, mut announced) = (Vec::new(), Vec::new());
    for effect in &shell.out {
        match effect {
            Effect::StartRun { request, .. } => requested.push(&*request.model),
            Effect::Push { outgoing: Outgoing::Frame(ServerFrame::Accepted { start, .. }), .. } => {
                announced.push(&*start.model);
            }
            _ => {}
        }
    }
    assert_eq!((requested, announced), (vec!["m", "big", "m"], vec!["m", "big", "m"]));
}
