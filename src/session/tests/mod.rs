//! Scripts for the session machine, and properties that are checked with random scripts.
mod chats;
mod continuation;
mod memory;
mod model;
mod plain;
mod property;
mod replay;
mod restart;
mod resume;
mod snapshot;
mod time;

use super::*;
use crate::{
    chat::{
        Catalog, ChatMessage, Choice, Chosen, Ending, FinishReason, MessageId, Model, Role, RunEnd, RunError,
        RunErrorKind, RunEvent, SubscriberId, TextKind, Timing, TurnKind, TurnRequest, Usage,
    },
    protocol::{NumberInRun, ReplayPosition, Restart, ServerFrame, TurnStart},
};
use expect_test::{Expect, expect};
use std::{collections::HashSet, fmt::Write, time::Duration};

/// Small limits, so that scripts reach all of them.
fn settings() -> Settings {
    let history = Budget { tokens_max: 10_000, bytes_max: 10_000, messages_max: 100 };
    Settings { queued_messages_max: 2, lag_bytes_max: 40, history, ..Settings::for_test() }
}

/// A shell without I/O: collects effects in a list, and refuses pushes to stuck subscribers.
struct Shell {
    session: Session,
    now: Duration,
    stuck: HashSet<u64>,
    out: Vec<Effect>,
    /// When the session wants to be woken.
    wake: Option<Duration>,
}

impl Shell {
    fn new(settings: Settings) -> Self {
        Shell::of(settings, Lifetime::OfSocket)
    }

    fn of(settings: Settings, lifetime: Lifetime) -> Self {
        Shell {
            session: Session::new(Arc::new(settings), SessionId(1), lifetime),
            now: Duration::ZERO,
            stuck: HashSet::new(),
            out: Vec::new(),
            wake: None,
        }
    }

    fn feed(&mut self, input: Input) {
        let mut fx = Vec::new();
        self.session.handle(&mut fx, self.now, input);
        self.perform(fx);
        let mut fx = Vec::new();
        self.wake = self.session.settle(&mut fx);
        self.perform(fx);
    }

    fn perform(&mut self, mut fx: Vec<Effect>) {
        while !fx.is_empty() {
            let mut refused = Vec::new();
            for effect in fx.drain(..) {
                match effect {
                    Effect::Push { subscriber, outgoing, from, .. } if self.stuck.contains(&subscriber.0) => {
                        refused.push(Input::PushRefused { subscriber, outgoing, from });
                    }
                    effect => self.out.push(effect),
                }
            }
            for input in refused {
                self.session.handle(&mut fx, self.now, input);
            }
        }
    }
}

fn show(effect: &Effect) -> String {
    match effect {
        Effect::StartRun { run, request } => {
            let messages: Vec<_> =
                request.messages.iter().map(|m| format!("{} '{}'", m.role.as_str(), m.text)).collect();
            format!("start run={run} [{}]", messages.join(", "))
        }
        Effect::CancelRun { run } => format!("cancel run={run}"),
        Effect::HoldRun { run } => format!("hold run={run}"),
        Effect::ContinueRun { run } => format!("continue run={run}"),
        Effect::Release { subscriber, .. } => format!("release {subscriber}"),
        Effect::Lose { subscriber, .. } => format!("lose {subscriber}"),
        Effect::End => "end".into(),
        Effect::Push { subscriber, outgoing: Outgoing::Close(close), .. } => {
            format!("{subscriber} <- close {close}")
        }
        Effect::Push { subscriber, outgoing: Outgoing::Frame(frame), .. } => {
            let words = match frame {
                ServerFrame::Accepted { run, start } if start.omitted_turns > 0 => {
                    format!("accepted run={run} omitted={}", start.omitted_turns)
                }
                ServerFrame::Accepted { run, start } if start.continued_by.is_some() => {
                    format!("continued run={run} {}", start.answer)
                }
                ServerFrame::Accepted { run, .. } => format!("accepted run={run}"),
                ServerFrame::Queued { run, position } => format!("queued run={run} position={position}"),
                ServerFrame::Retrying { run, attempt, .. } => format!("retrying run={run} attempt={attempt}"),
                ServerFrame::Moving { run } => format!("moving run={run}"),
                ServerFrame::Continued { run } => format!("went on run={run}"),
                ServerFrame::Restarted { run, restart } => {
                    let Restart { model, number, entries, parts, withdrawn, .. } = restart.as_ref();
                    format!(
                        "restarted run={run} by={model} number={number} entries={entries} parts={parts} withdrawn={withdrawn:?}"
                    )
                }
                ServerFrame::Text { kind: TextKind::Reasoning, entry, text } => {
                    format!("reasoning #{entry} '{text}'")
                }
                ServerFrame::Text { kind: TextKind::Answer, entry, text } => {
                    format!("delta #{entry} '{text}'")
                }
                ServerFrame::TurnEnd { run, end } => match &end.outcome {
                    Ok(reason) => {
                        let used = end.usage.map(|usage| format!(" used={}", usage.output_tokens));
                        format!("turn_end run={run} {}{}", reason.as_str(), used.unwrap_or_default())
                    }
                    Err(error) => format!("turn_end run={run} {}", error.kind.code()),
                },
                ServerFrame::Rejected { reason } => format!("refused {}", reason.code()),
                ServerFrame::Resumed { position: None } => "resumed queued".into(),
                ServerFrame::Resumed { position: Some(position) } => {
                    let ReplayPosition { run, after, entries, parts, open, .. } = position.as_ref();
                    format!("resumed run={run} after={after:?} entries={entries} parts={parts} open={open:?}")
                }
                ServerFrame::NoActive => "no_active".into(),
                ServerFrame::Waiting { position } => format!("waiting position={position}"),
                ServerFrame::Pong => "pong".into(),
            };
            format!("{subscriber} <- {words}")
        }
    }
}

fn end(outcome: Result<FinishReason, RunErrorKind>, usage: Option<Usage>) -> RunEvent {
    let outcome = outcome.map_err(|kind| RunError::new(kind, ""));
    RunEvent::End(Box::new(RunEnd { outcome, usage, request_id: None, timing: Timing::default() }))
}

fn parse(line: &str) -> Input {
    let (head, text) = match line.split_once('\'') {
        Some((head, rest)) => (head, rest.trim_end_matches('\'').to_owned()),
        None => (line, String::new()),
    };
    let words: Vec<_> = head.split_whitespace().collect();
    let number = |at: usize| words[at].parse::<u32>().expect("a number");
    let subscriber = || SubscriberId(u64::from(number(1)));
    match words[0] {
        "attach" => Input::Attach { subscriber: subscriber(), sink: () },
        "detach" => Input::Detach { subscriber: subscriber() },
        "client" => Input::Message { subscriber: subscriber(), text, chosen: Chosen::for_test() },
        "ready" => Input::Ready { subscriber: subscriber() },
        "drain" => Input::Drain,
        "release_retained" => Input::ReleaseRetained,
        "close" => Input::Close,
        "evict" => Input::Evict,
        "ask" => ask(subscriber(), TurnKind::Submit, words[2], text),
        "edit" => ask(subscriber(), TurnKind::Edit { replaces: id(words[3]) }, words[2], text),
        "regenerate" => {
            let answer = words.get(3).map(|name| id(name));
            ask(subscriber(), TurnKind::Regenerate { answer }, words[2], text)
        }
        "resume" => {
            let run = words[2..].iter().find_map(|word| word.strip_prefix("run="));
            let run = run.map(|run| RunId(run.parse().expect("a number")));
            let (turn, after): (Vec<&str>, Vec<&str>) = words[2..]
                .iter()
                .filter(|word| !word.starts_with("run="))
                .partition(|word| word.parse::<u32>().is_err());
            let after = after.first().map(|number| number.parse().expect("a number"));
            let after = after.map(|number| NumberInRun { number, run });
            let turn = turn.first().map(|name| id(name));
            Input::Resume { subscriber: subscriber(), sink: (), turn, after }
        }
        "continue" => {
            let model = words.get(3).map(|model| (*model).into());
            continue_by(subscriber(), id(words[2]), model)
        }
        "abort" => Input::Abort { subscriber: subscriber() },
        "wake" => Input::Wake,
        "run" => {
            let event = match words[2] {
                "delta" => RunEvent::answer(text),
                "reasoning" => RunEvent::reasoning(text),
                "moving" => RunEvent::Moving,
                "restarted" => RunEvent::Restarted { model: text.as_str().into() },
                "queued" => RunEvent::Queued { position: number(3) },
                "retrying" => RunEvent::Retrying { attempt: number(3), after: Duration::ZERO },
                "used" => RunEvent::Usage(Usage { output_tokens: number(3).into(), ..Usage::default() }),
                "stop" => end(Ok(FinishReason::Stop), None),
                "length" => end(Ok(FinishReason::Length), None),
                code => {
                    let kind = RunErrorKind::ALL.into_iter().find(|kind| kind.code() == code);
                    end(Err(kind.expect("a run error")), None)
                }
            };
            Input::Run { run: RunId(number(1)), event }
        }
        word => panic!("unknown word {word}"),
    }
}

fn id(name: &str) -> MessageId {
    MessageId::new(name).expect("a name")
}

/// `m` goes on with its answers, `other` and all else do not.
fn continue_by(subscriber: SubscriberId, answer: MessageId, model: Option<Arc<str>>) -> Input {
    let catalog = Catalog::new(vec![Model { continues: true, ..Model::named("m") }, Model::named("other")]);
    let choice = Choice { model, ..Choice::default() };
    Input::Continue { subscriber, sink: (), answer, choice, catalog: Arc::new(catalog) }
}

fn ask(subscriber: SubscriberId, kind: TurnKind, name: &str, text: String) -> Input {
    let message = ChatMessage::user(id(name), text);
    Input::Ask {
        subscriber,
        sink: (),
        turn: Box::new(TurnRequest { kind, message, transcript: Vec::new() }),
        chosen: Ok(Chosen::for_test()),
    }
}

/// Plays a script and compares its outputs, which are the indented lines of the same block; `UPDATE_EXPECT=1`
/// writes them. `stick N` makes subscriber N refuse until `ready N`.
fn check(script: Expect) {
    play(&mut Shell::new(settings()), script);
}

/// The same for a session that outlives its subscribers; `at SECONDS` sets the time.
fn check_chat(script: Expect) {
    play(&mut Shell::of(settings(), Lifetime::OfChat), script);
}

fn play(shell: &mut Shell, script: Expect) {
    let block = script.data().to_owned();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines = || block.lines().filter(|line| !line.trim().is_empty());
    let margin = lines().map(indent).min().expect("a script");
    let mut seen = String::new();
    for line in lines().filter(|line| indent(line) == margin).map(str::trim) {
        writeln!(seen, "{line}").expect("a string");
        shell.step(line);
        for effect in shell.out.drain(..) {
            writeln!(seen, "    {}", show(&effect)).expect("a string");
        }
    }
    script.assert_eq(&seen);
}

impl Shell {
    /// One line of a script.
    fn step(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("stick", subscriber)) => {
                self.stuck.insert(subscriber.parse().expect("a number"));
                return;
            }
            Some(("ready", subscriber)) => {
                self.stuck.remove(&subscriber.parse().expect("a number"));
            }
            Some(("at", seconds)) => {
                self.now = Duration::from_secs_f64(seconds.parse().expect("seconds"));
                return self.feed(Input::Wake);
            }
            Some(("answered", question)) => return self.answered(question),
            _ => {}
        }
        self.feed(parse(line));
    }

    /// `READER NAME 'question' 'answer'`: a whole turn whose outputs are not shown, as the start of a script.
    fn answered(&mut self, words: &str) {
        let (question, answer) = words.rsplit_once(" '").expect("an answer");
        self.feed(parse(&format!("ask {question}")));
        let run = self.out.iter().find_map(|effect| match effect {
            Effect::StartRun { run, .. } => Some(*run),
            _ => None,
        });
        let run = run.expect("a run");
        self.feed(parse(&format!("run {run} delta '{answer}")));
        self.feed(parse(&format!("run {run} stop")));
        self.out.clear();
    }
}
