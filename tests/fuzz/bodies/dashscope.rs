//! The reader of the model service's answer, with a session behind it: one end, the text that was sent and no
//! other, and never a cut answer that looks complete.
mod raw;
mod script;

use super::{Choices, pieces};
use std::{sync::Arc, time::Duration};
use tidegate::{
    chat::{
        Budget, Chosen, FinishReason, Parameters, RunEnd, RunEvent, RunId, SessionId, SubscriberId, TextKind,
    },
    protocol::{Codec, ServerFrame, TurnEnd},
    session::{self, Effect, Input, Lifetime, Outgoing, Session},
    upstream::{
        self, Dialect, Limits, Reader,
        dashscope::{DashScope, Settings},
    },
};

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(2) {
        0 => raw::run(&mut choices),
        _ => script::run(&mut choices),
    }
}

/// The head of a response, and what was asked for.
#[derive(Clone, Copy)]
struct Head {
    incremental: bool,
    status: u16,
    content_type: Option<&'static str>,
}

const WIDE: Limits = Limits { line_bytes: 1 << 20, event_bytes: 1 << 20, answer_bytes: 1 << 20 };

/// The result of reading a response.
#[derive(Debug, PartialEq)]
struct Received {
    text: String,
    thinking: String,
    /// Text and thinking in their order; `true` is text.
    turns: Vec<(bool, String)>,
    end: RunEnd,
}

impl Head {
    fn reader(self, limits: Limits) -> Reader {
        let Head { incremental, status, content_type } = self;
        let dialect = Dialect::DashScope(DashScope::new(Settings { incremental, ..Settings::default() }));
        dialect.reader(
            &Parameters::default(),
            upstream::Head { status, content_type, retry_after: None, request_id: None },
            limits,
        )
    }

    /// Reads a response as a run does, with a session that shows it to one reader.
    fn read<'a>(self, limits: Limits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Received {
        let mut reader = self.reader(limits);
        let (mut listener, mut events) = (Listener::new(), Vec::new());
        for chunk in chunks {
            let was_finished = reader.finished();
            let read = reader.feed(chunk, &mut events);
            assert!(reader.finished() || !was_finished, "a finish was undone");
            listener.take(&mut events);
            if let Err(error) = read {
                assert!(!reader.finished(), "finished and failed");
                assert_eq!(reader.feed(b"data:more\n\n", &mut events), Err(error), "not the same error");
                assert!(events.is_empty(), "text after the failure");
                break;
            }
        }
        let end = reader.end(&mut events);
        listener.take(&mut events);
        assert_eq!(
            end.outcome.is_ok(),
            reader.finished(),
            "complete without a finish, or the other way round"
        );
        let received = listener.end(end);
        assert!(received.text.len() + received.thinking.len() <= limits.answer_bytes, "more than the bound");
        received
    }
}

/// A session with one subscriber that reads at once.
struct Listener {
    session: Session,
    run: RunId,
    text: String,
    thinking: String,
    turns: Vec<(bool, String)>,
    /// The text shown on the page.
    shown: String,
    ends: Vec<TurnEnd>,
}

impl Listener {
    fn new() -> Self {
        let settings = session::Settings {
            subscribers_max: 8,
            detached_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(1800),
            replay_time: Duration::from_secs(120),
            queued_messages_max: 1,
            lag_bytes_max: 1 << 20,
            history: Budget { tokens_max: 100, bytes_max: 1 << 10, messages_max: 10 },
        };
        let mut listener = Listener {
            session: Session::new(Arc::new(settings), SessionId(1), Lifetime::OfSocket),
            run: RunId(0),
            text: String::new(),
            thinking: String::new(),
            turns: Vec::new(),
            shown: String::new(),
            ends: Vec::new(),
        };
        let reader = SubscriberId(1);
        listener.feed(Input::Attach { subscriber: reader, sink: () });
        listener.feed(Input::Message {
            subscriber: reader,
            text: "?".to_owned(),
            chosen: Chosen::for_test(),
        });
        listener
    }

    /// Takes the events of one network read.
    fn take(&mut self, events: &mut Vec<RunEvent>) {
        for event in events.drain(..) {
            let (is_text, text) = match &event {
                RunEvent::Text { kind: TextKind::Answer, text } => (true, text),
                RunEvent::Text { kind: TextKind::Reasoning, text } => (false, text),
                other => panic!("a reader returned {other:?}"),
            };
            assert!(!text.is_empty(), "an empty text");
            if is_text { &mut self.text } else { &mut self.thinking }.push_str(text);
            match self.turns.last_mut() {
                Some((kind, open)) if *kind == is_text => open.push_str(text),
                _ => self.turns.push((is_text, text.clone())),
            }
            let run = self.run;
            self.feed(Input::Run { run, event });
        }
    }

    fn end(mut self, end: RunEnd) -> Received {
        assert!(self.ends.is_empty(), "an end before the end");
        let before = self.shown.clone();
        assert_eq!(before, self.text, "all text is shown");
        let run = self.run;
        for _ in 0..2 {
            // The second one is of a run that is over.
            self.feed(Input::Run { run, event: RunEvent::End(Box::new(end.clone())) });
        }
        let [sent] = self.ends.as_slice() else { panic!("{} ends", self.ends.len()) };
        let is_whole = end.outcome.is_ok() && !self.text.is_empty();
        assert_eq!(sent.outcome.is_ok(), is_whole, "sent {:?} for {:?}", sent.outcome, end.outcome);
        let rest = self.shown.strip_prefix(before.as_str()).expect("nothing is taken back");
        assert_eq!(rest.starts_with("Error: "), !is_whole, "the page shows {rest:?}");
        Received { text: self.text, thinking: self.thinking, turns: self.turns, end }
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.session.handle(&mut effects, Duration::ZERO, input);
        self.session.settle(&mut effects);
        let mut asked = false;
        for effect in effects {
            match effect {
                Effect::StartRun { run, .. } => self.run = run,
                Effect::Push { outgoing: Outgoing::Frame(frame), ask, .. } => {
                    asked |= ask;
                    Codec::Plain.encoder(None).encode(&frame, |text| self.shown.push_str(text));
                    if let ServerFrame::TurnEnd { end, .. } = frame {
                        self.ends.push(*end);
                    }
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        if asked {
            self.feed(Input::Ready { subscriber: SubscriberId(1) });
        }
    }
}

fn is_terminal(reason: &str) -> bool {
    [FinishReason::Stop, FinishReason::Length].iter().any(|finish| finish.as_str() == reason)
}
