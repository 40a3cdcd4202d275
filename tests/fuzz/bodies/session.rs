//! The session under any order of inputs: one end for each turn, every reader receives each text once and in
//! order, whenever it chooses to read.
use super::Choices;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tidegate::{
    chat::{
        Budget, Chosen, FinishReason, RunEnd, RunError, RunErrorKind, RunEvent, RunId, SessionId,
        SubscriberId, TextKind, Timing,
    },
    protocol::{Close, ServerFrame, TurnEnd},
    session::{Effect, Input, Lifetime, Outgoing, Session, Settings},
};

const QUEUED: usize = 2;
const BEHIND: usize = 40;
/// A reader may be closed when it is more than this number of turns behind.
const TURNS_BEHIND: usize = 16;
/// Notices beside the answer that are kept for a reader; later ones are dropped.
const NOTICES_MAX: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World::new();
    world.feed(Input::Attach { subscriber: SubscriberId(1), sink: () });
    world.readers.insert(1, Reader::default());
    while !choices.is_empty() {
        world.step(&mut choices);
    }
    world.all_read();
    world.check_end();
}

/// What a run has produced, which every reader must receive.
#[derive(Debug, Default)]
struct Truth {
    text: String,
    thinking: String,
    outcome: Option<Result<FinishReason, RunErrorKind>>,
}

/// What one reader has received.
#[derive(Default)]
struct Reader {
    /// It receives only the runs after this one.
    since: u32,
    stuck: bool,
    /// It was asked to report when it has read.
    asked: bool,
    open: Option<u32>,
    ended: u32,
    text: String,
    thinking: String,
    entry: u32,
    /// Rejections that it must receive, and those that it has received.
    refusals: usize,
    refused: usize,
    closed: Option<Close>,
}

struct World {
    session: Session,
    truth: BTreeMap<u32, Truth>,
    open: Option<u32>,
    last_run: u32,
    held: bool,
    readers: BTreeMap<u64, Reader>,
    next_reader: u64,
    /// The senders of the queued messages.
    queue: VecDeque<u64>,
    /// Turns that must have started.
    started: u32,
    drained: bool,
    /// Memory was short.
    gave_back: bool,
    over: bool,
}

impl World {
    fn new() -> Self {
        let history = Budget { tokens_max: 1_000, bytes_max: 500, messages_max: 10 };
        let settings =
            Settings { queued_messages_max: QUEUED, lag_bytes_max: BEHIND, history, ..Settings::for_test() };
        World {
            session: Session::new(Arc::new(settings), SessionId(1), Lifetime::OfSocket),
            truth: BTreeMap::new(),
            open: None,
            last_run: 0,
            held: false,
            readers: BTreeMap::new(),
            next_reader: 1,
            queue: VecDeque::new(),
            started: 0,
            drained: false,
            gave_back: false,
            over: false,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let input = match what % 32 {
            0..=5 => return self.message(choices),
            6..=15 => self.text(choices, true),
            16..=17 => self.text(choices, false),
            18..=20 => self.end(choices),
            21 => {
                self.open.map(|run| Input::Run { run: RunId(run), event: RunEvent::Queued { position: 1 } })
            }
            22 => self.open.map(|run| {
                let event = RunEvent::Retrying { attempt: 2, after: Duration::ZERO };
                Input::Run { run: RunId(run), event }
            }),
            23 => self.over_run(choices),
            24..=26 => {
                if let Some((_, reader)) = self.some_reader(choices) {
                    reader.stuck = true;
                }
                None
            }
            27..=29 => self.some_reader(choices).map(|(id, reader)| {
                (reader.stuck, reader.asked) = (false, false);
                Input::Ready { subscriber: SubscriberId(id) }
            }),
            30 => return self.come_or_go(choices),
            // Rare, because little can happen after it.
            _ if what == 31 => self.drain(),
            _ if what == 63 => {
                self.gave_back = true;
                Some(Input::ReleaseRetained)
            }
            _ => None,
        };
        if let Some(input) = input {
            self.feed(input);
        }
    }

    fn message(&mut self, choices: &mut Choices<'_>) {
        let Some((id, _)) = self.some_reader(choices) else { return };
        if self.drained || (self.open.is_some() && self.queue.len() == QUEUED) {
            self.expect_refusal(id);
        } else if self.open.is_some() {
            self.queue.push_back(id);
        } else {
            self.started += 1;
        }
        let text = "m".repeat(1 + choices.below(90));
        self.feed(Input::Message { subscriber: SubscriberId(id), text, chosen: Chosen::for_test() });
    }

    fn expect_refusal(&mut self, id: u64) {
        if let Some(reader) = self.readers.get_mut(&id).filter(|reader| reader.closed.is_none()) {
            reader.refusals += 1;
        }
    }

    fn drain(&mut self) -> Option<Input> {
        self.drained = true;
        while let Some(id) = self.queue.pop_front() {
            self.expect_refusal(id);
        }
        Some(Input::Drain)
    }

    fn text(&mut self, choices: &mut Choices<'_>, is_answer: bool) -> Option<Input> {
        let run = self.open?;
        let unit = choices.pick(&["a", "b ", "水", "é", "😀"]);
        let text = match choices.byte() {
            255 => unit.repeat(9_000), // Longer than one push.
            short => unit.repeat(usize::from(short % 12)),
        };
        let truth = self.truth.get_mut(&run)?;
        if is_answer { &mut truth.text } else { &mut truth.thinking }.push_str(&text);
        let event = if is_answer { RunEvent::answer(text) } else { RunEvent::reasoning(text) };
        Some(Input::Run { run: RunId(run), event })
    }

    fn end(&mut self, choices: &mut Choices<'_>) -> Option<Input> {
        let run = self.open.take()?;
        let outcome = choices.pick(&[
            Ok(FinishReason::Stop),
            Ok(FinishReason::Length),
            Err(RunErrorKind::Interrupted),
            Err(RunErrorKind::OutputRefused),
        ]);
        let truth = self.truth.get_mut(&run)?;
        // An empty answer is an error.
        truth.outcome =
            Some(if truth.text.is_empty() { outcome.and(Err(RunErrorKind::EmptyAnswer)) } else { outcome });
        self.held = false;
        self.started += u32::from(self.queue.pop_front().is_some());
        Some(Input::Run { run: RunId(run), event: RunEvent::End(Box::new(ended(outcome))) })
    }

    /// A run that is over may still send events.
    fn over_run(&self, choices: &mut Choices<'_>) -> Option<Input> {
        let run = self.last_run.saturating_sub(u32::from(choices.byte() % 4));
        let event = match choices.below(2) {
            0 => RunEvent::End(Box::new(ended(Err(RunErrorKind::Internal)))),
            _ => RunEvent::answer("old"),
        };
        (Some(run) != self.open).then_some(Input::Run { run: RunId(run), event })
    }

    fn come_or_go(&mut self, choices: &mut Choices<'_>) {
        if choices.one_in(4) {
            let Some((id, _)) = self.some_reader(choices) else { return };
            self.readers.remove(&id);
            self.feed(Input::Detach { subscriber: SubscriberId(id) });
            assert_eq!(
                self.over,
                self.readers.is_empty(),
                "over when the last reader has gone, and not before"
            );
        } else {
            self.next_reader += 1;
            if !self.over {
                // It receives nothing of the turn that is running when it comes.
                self.readers.insert(self.next_reader, Reader { since: self.last_run, ..Reader::default() });
            }
            self.feed(Input::Attach { subscriber: SubscriberId(self.next_reader), sink: () });
        }
    }

    fn some_reader(&mut self, choices: &mut Choices<'_>) -> Option<(u64, &mut Reader)> {
        let count = self.readers.len();
        if count == 0 {
            return None;
        }
        let nth = choices.below(count);
        self.readers.iter_mut().nth(nth).map(|(id, reader)| (*id, reader))
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.session.handle(&mut effects, Duration::ZERO, input);
        self.perform(&mut effects);
        self.session.settle(&mut effects);
        self.perform(&mut effects);
        assert_eq!(self.last_run, self.started, "a message starts a turn when none is open, in order");
        // A reader that has read everything never waits for those that have not.
        let is_read = |reader: &Reader| {
            let current = self.open.filter(|run| reader.open == Some(*run)).map(|run| &self.truth[&run]);
            current.is_some_and(|t| {
                t.text.len() == reader.text.len() && t.thinking.len() == reader.thinking.len()
            })
        };
        assert!(!self.held || !self.readers.values().any(is_read), "held though a reader has read all");
    }

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        while !effects.is_empty() {
            let mut refused = Vec::new();
            for effect in effects.drain(..) {
                assert!(!self.over, "nothing after the end");
                match effect {
                    Effect::StartRun { run, .. } => {
                        assert_eq!(self.open, None, "one run at a time");
                        assert!(!self.drained, "nothing starts in a drain");
                        assert!(run.0 > self.last_run);
                        (self.open, self.last_run, self.held) = (Some(run.0), run.0, false);
                        self.truth.insert(run.0, Truth::default());
                    }
                    Effect::CancelRun { run } => assert_eq!(self.open.take(), Some(run.0)),
                    Effect::HoldRun { run } => {
                        assert_eq!((self.open, self.held), (Some(run.0), false));
                        self.held = true;
                    }
                    Effect::ContinueRun { run } => {
                        assert_eq!((self.open, self.held), (Some(run.0), true));
                        self.held = false;
                    }
                    Effect::Push { subscriber: reader, outgoing, from, ask } => {
                        let Some(to) = self.readers.get_mut(&reader.0) else { panic!("{reader} has gone") };
                        if to.stuck {
                            refused.push(Input::PushRefused { subscriber: reader, outgoing, from });
                            continue;
                        }
                        assert!(!to.asked, "a push before the last one was read");
                        to.asked = ask;
                        to.receive(&outgoing, &self.truth);
                    }
                    Effect::Release { .. } | Effect::Lose { .. } => {}
                    Effect::End => {
                        assert_eq!(self.open, None, "a run outlives its session");
                        self.over = true;
                    }
                }
            }
            for input in refused {
                self.session.handle(effects, Duration::ZERO, input);
            }
        }
    }

    fn all_read(&mut self) {
        let ids: Vec<u64> = self.readers.keys().copied().collect();
        for id in ids {
            while let Some(reader) = self.readers.get_mut(&id) {
                (reader.stuck, reader.asked) = (false, false);
                self.feed(Input::Ready { subscriber: SubscriberId(id) });
                if !self.readers[&id].asked {
                    break;
                }
            }
        }
    }

    fn check_end(&self) {
        for reader in self.readers.values() {
            let turns = self.truth.len() - usize::from(self.open.is_some());
            match reader.closed {
                Some(Close::Restart) => assert!(self.drained && self.open.is_none()),
                Some(Close::Overloaded) => {
                    assert!(self.gave_back && turns > 0, "closed without a reason");
                    continue;
                }
                Some(close) => {
                    assert_eq!(close, Close::TooSlow);
                    assert!(turns > TURNS_BEHIND, "closed for {turns} turns");
                    continue;
                }
                None => {
                    assert!(!self.drained || self.open.is_some(), "a drain closes a reader that has read all")
                }
            }
            assert!(
                reader.refused == reader.refusals || reader.refusals > NOTICES_MAX,
                "every refusal is sent once"
            );
            let last = self.truth.keys().rev().find(|run| Some(**run) != self.open).copied().unwrap_or(0);
            assert_eq!(
                reader.ended.max(reader.since),
                last.max(reader.since),
                "every turn was sent to its end"
            );
            let open = self.open.filter(|run| *run > reader.since);
            assert_eq!(reader.open, open);
            if let Some(run) = open {
                assert_eq!(
                    (&reader.text, &reader.thinking),
                    (&self.truth[&run].text, &self.truth[&run].thinking)
                );
            }
        }
    }
}

impl Reader {
    fn receive(&mut self, outgoing: &Outgoing, truth: &BTreeMap<u32, Truth>) {
        assert_eq!(self.closed, None, "nothing after the close");
        let frame = match outgoing {
            Outgoing::Close(close) => {
                self.closed = Some(*close);
                return;
            }
            Outgoing::Frame(frame) => frame,
        };
        match frame {
            ServerFrame::Accepted { run, .. } => {
                assert_eq!(self.open, None, "one turn at a time");
                assert!(run.0 > self.since && run.0 > self.ended);
                assert_eq!(run.0, self.ended.max(self.since) + 1, "no turn is left out");
                (self.open, self.entry) = (Some(run.0), 0);
                (self.text, self.thinking) = (String::new(), String::new());
            }
            ServerFrame::Text { kind, entry, text } => {
                let Some(run) = self.open else { panic!("text outside a turn") };
                assert!(!text.is_empty() && *entry >= self.entry, "entry {entry} after {}", self.entry);
                self.entry = *entry;
                let (received, produced) = match kind {
                    TextKind::Answer => (&mut self.text, &truth[&run].text),
                    TextKind::Reasoning => (&mut self.thinking, &truth[&run].thinking),
                };
                assert!(
                    produced[received.len()..].starts_with(text.as_str()),
                    "{text:?} is not what comes next"
                );
                received.push_str(text);
            }
            ServerFrame::TurnEnd { run, end } => {
                assert_eq!(self.open.take(), Some(run.0), "exactly one end");
                let truth = &truth[&run.0];
                assert_eq!(
                    (&self.text, &self.thinking),
                    (&truth.text, &truth.thinking),
                    "all of it, before its end"
                );
                let TurnEnd { outcome, .. } = end.as_ref();
                let outcome = outcome.as_ref().copied().map_err(|error| error.kind);
                assert_eq!(Some(outcome), truth.outcome);
                self.ended = run.0;
            }
            ServerFrame::Queued { run, .. } | ServerFrame::Retrying { run, .. } => {
                assert!(truth.contains_key(&run.0))
            }
            ServerFrame::Rejected { .. } => self.refused += 1,
            _ => panic!("not for a reader of the whole session: {frame:?}"),
        }
    }
}

fn ended(outcome: Result<FinishReason, RunErrorKind>) -> RunEnd {
    let outcome = outcome.map_err(|kind| RunError::new(kind, ""));
    RunEnd { outcome, usage: None, request_id: None, timing: Timing::default() }
}
