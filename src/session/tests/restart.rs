//! An answer that begins anew: what was sent of it is withdrawn, for readers at any position.
use super::*;
use crate::{
    chat::RequestId,
    protocol::{Codec, FrameEncoder},
};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn text_is_withdrawn_for_those_who_have_some_and_the_history_keeps_the_new_one() {
    check_chat(expect![[r#"
        ask 1 a 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 reasoning 'hm'
            1 <- reasoning #1 'hm'
        run 1 delta 'He'
            1 <- delta #2 'He'
        resume 2 a
            2 <- resumed run=1 after=None entries=0 parts=0 open=None
            2 <- accepted run=1
            2 <- reasoning #1 'hm'
            2 <- delta #2 'He'
        stick 2
        run 1 moving
            1 <- moving run=1
        run 1 delta 'llo'
            1 <- delta #3 'llo'
        run 1 restarted 'other'
            1 <- restarted run=1 by=other number=9 entries=3 parts=2 withdrawn=Answer
        run 1 delta 'Good'
            1 <- delta #4 'Good'
        ready 2
            2 <- restarted run=1 by=other number=9 entries=3 parts=2 withdrawn=Answer
            2 <- delta #4 'Good'
        resume 3 a
            3 <- resumed run=1 after=None entries=0 parts=0 open=None
            3 <- accepted run=1
            3 <- restarted run=1 by=other number=9 entries=3 parts=2 withdrawn=Nothing
            3 <- delta #4 'Good'
        resume 4 a 3
            4 <- resumed run=1 after=Some(3) entries=1 parts=0 open=None
            4 <- restarted run=1 by=other number=9 entries=3 parts=2 withdrawn=Reasoning
            4 <- delta #4 'Good'
        resume 5 a 8
            5 <- resumed run=1 after=Some(8) entries=1 parts=0 open=None
            5 <- restarted run=1 by=other number=9 entries=3 parts=2 withdrawn=Reasoning
            5 <- delta #4 'Good'
        resume 6 a 9
            6 <- resumed run=1 after=Some(9) entries=3 parts=2 open=None
            6 <- delta #4 'Good'
        run 1 delta ' day'
            1 <- delta #5 ' day'
            2 <- delta #5 ' day'
            3 <- delta #5 ' day'
            4 <- delta #5 ' day'
            5 <- delta #5 ' day'
            6 <- delta #5 ' day'
        run 1 stop
            1 <- turn_end run=1 stop
            2 <- turn_end run=1 stop
            3 <- turn_end run=1 stop
            4 <- turn_end run=1 stop
            5 <- turn_end run=1 stop
            6 <- turn_end run=1 stop
            release 1
            release 2
            release 3
            release 4
            release 5
            release 6
        ask 7 b 'b'
            7 <- accepted run=2
            start run=2 [user 'a', assistant 'Good day', user 'b']
    "#]]);
}

#[test]
fn a_socket_without_numbers_is_sent_an_error_between_both_texts() {
    check(expect![[r#"
        attach 1
        client 1 'a'
            1 <- accepted run=1
            start run=1 [user 'a']
        run 1 reasoning 'hm'
            1 <- reasoning #1 'hm'
        run 1 restarted 'other'
            1 <- restarted run=1 by=other number=5 entries=1 parts=1 withdrawn=Reasoning
        run 1 delta 'He'
            1 <- delta #2 'He'
        run 1 restarted 'third'
            1 <- restarted run=1 by=third number=9 entries=2 parts=2 withdrawn=Answer
        run 1 delta 'Good'
            1 <- delta #3 'Good'
        run 1 stop
            1 <- turn_end run=1 stop
    "#]]);
}

/// A client of the AI SDK's dialect that keeps its numbers.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) encoder: Option<FrameEncoder>,
    /// The number of the last chunk that was applied.
    pub(super) after: Option<u32>,
    /// The run whose number that is, unless it is the first of the answer.
    run: Option<RunId>,
    sequence: u64,
    /// The parts of the message, by ID.
    parts: BTreeMap<u64, (bool, String)>,
    model: String,
    resets: usize,
    pub(super) ended: bool,
    /// Chunks until it loses its socket, repeatedly.
    cuts: Vec<usize>,
}

impl Reader {
    fn join(&mut self) {
        self.encoder = Some(Codec::AiSdk.encoder(Some(&RequestId::new("r").expect("a name"))));
        self.sequence = self.after.map_or(0, |after| u64::from(after) + 1);
    }

    /// Takes a frame; false if the socket was lost in between.
    fn take(&mut self, frame: &ServerFrame) -> bool {
        let mut frames = Vec::new();
        let encoder = self.encoder.as_mut().expect("it has joined");
        encoder.encode(frame, |text| frames.push(serde_json::from_str::<Value>(text).expect("JSON")));
        for frame in frames {
            if let Some(left) = self.cuts.last_mut() {
                if *left == 0 {
                    self.cuts.pop();
                    return false;
                }
                *left -= 1;
            }
            match frame["type"].as_str().expect("a type") {
                "chunk" => self.chunk(&frame),
                "end" => self.ended = true,
                // Another run of the answer: it comes from its beginning.
                "start" if run_of(&frame["run"]) != self.run => self.sequence = 0,
                _ => {}
            }
        }
        true
    }

    fn chunk(&mut self, frame: &Value) {
        assert_eq!(frame["sequence"], self.sequence, "{frame}");
        self.sequence += 1;
        let number = frame.get("entry").unwrap_or(&frame["sequence"]).as_u64().map(|number| number as u32);
        let chunk = &frame["chunk"];
        let kind = chunk["type"].as_str().expect("a type");
        if kind == "start" {
            self.run = run_of(&chunk["messageMetadata"]["run"]);
            self.after = None;
            self.parts.clear();
        }
        let is_notice = chunk["transient"] == true || kind == "message-metadata";
        assert!(is_notice || number > self.after, "{frame} after {:?}", self.after);
        self.after = number.or(self.after);
        if let Some(model) = chunk["messageMetadata"]["model"].as_str() {
            model.clone_into(&mut self.model);
        }
        let id = chunk["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
        match kind {
            "reset-step" => {
                self.parts.clear();
                self.resets += 1;
            }
            "text-start" | "reasoning-start" => {
                assert!(self.parts.insert(id, (kind == "text-start", String::new())).is_none(), "{frame}");
            }
            "text-delta" | "reasoning-delta" => {
                let part = self.parts.get_mut(&id).expect("its part is open");
                part.1 += chunk["delta"].as_str().expect("text");
            }
            _ => {}
        }
    }

    /// Its next request has all of an answer.
    pub(super) fn restart(&mut self) {
        self.sequence = 0;
    }

    pub(super) fn text(&self, is_answer: bool) -> String {
        let parts = self.parts.values().filter(|(kind, _)| *kind == is_answer);
        parts.map(|(_, text)| text.as_str()).collect()
    }
}

fn run_of(run: &Value) -> Option<RunId> {
    run.as_u64().map(|run| RunId(run as u32))
}

pub(super) struct World {
    pub(super) session: Session,
    now: Duration,
    pub(super) readers: Vec<Reader>,
    /// Of each push, in turn: whether it is refused.
    pub(super) refusals: Vec<bool>,
    pushes: usize,
    /// Of the subscriber with the lowest number; each resume has another one.
    ids: BTreeMap<u64, usize>,
    next: u64,
}

impl World {
    pub(super) fn new(readers: Vec<Vec<usize>>, refusals: Vec<bool>) -> Self {
        World {
            session: Session::new(Arc::new(Settings::for_test()), SessionId(1), Lifetime::OfChat),
            now: Duration::ZERO,
            readers: readers.into_iter().map(|cuts| Reader { cuts, ..Reader::default() }).collect(),
            refusals,
            pushes: 0,
            ids: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn subscriber(&mut self, reader: usize) -> SubscriberId {
        self.readers[reader].join();
        self.next += 1;
        self.ids.insert(self.next, reader);
        SubscriberId(self.next)
    }

    /// It closes its socket.
    pub(super) fn leave(&mut self, reader: usize) {
        let of_reader = self.ids.iter().filter(|(_, of)| **of == reader).map(|(id, _)| SubscriberId(*id));
        for subscriber in of_reader.collect::<Vec<_>>() {
            self.ids.remove(&subscriber.0);
            self.feed(Input::Detach { subscriber });
        }
        self.readers[reader].ended = false;
    }

    pub(super) fn feed(&mut self, input: Input) {
        // Slowly, so that many resumes are not too many.
        self.now += Duration::from_millis(500);
        let mut fx = Vec::new();
        self.session.handle(&mut fx, self.now, input);
        let mut stuck = Vec::new();
        while !fx.is_empty() {
            let mut refused = Vec::new();
            for effect in fx.drain(..) {
                let Effect::Push { subscriber, outgoing, from, ask } = effect else { continue };
                let Some(reader) = self.ids.get(&subscriber.0).copied() else { continue };
                self.pushes += 1;
                let refuses = self.refusals[self.pushes % self.refusals.len()] || stuck.contains(&subscriber);
                let Outgoing::Frame(frame) = &outgoing else { panic!("closed") };
                if refuses {
                    stuck.push(subscriber);
                    refused.push(Input::PushRefused { subscriber, outgoing, from });
                } else if !self.readers[reader].take(frame) {
                    self.ids.remove(&subscriber.0);
                    refused.push(Input::Detach { subscriber });
                } else if ask {
                    stuck.push(subscriber);
                }
            }
            for input in refused {
                self.session.handle(&mut fx, self.now, input);
            }
        }
        self.session.settle(&mut fx);
    }

    /// Those who lost their sockets resume, and those who were busy read on.
    pub(super) fn return_all(&mut self) {
        for reader in 0..self.readers.len() {
            let known = self.ids.iter().find(|(_, of)| **of == reader).map(|(id, _)| SubscriberId(*id));
            match known {
                Some(subscriber) => self.feed(Input::Ready { subscriber }),
                None if self.readers[reader].encoder.is_some() && !self.readers[reader].ended => {
                    let after = self.readers[reader].after;
                    if after.is_none() {
                        self.readers[reader].parts.clear();
                    }
                    let run = self.readers[reader].run;
                    let after = after.map(|number| NumberInRun { number, run });
                    let subscriber = self.subscriber(reader);
                    self.feed(Input::Resume { subscriber, sink: (), turn: None, after });
                }
                None => {}
            }
        }
    }
}

fn texts() -> impl Strategy<Value = Vec<(bool, String)>> {
    proptest::collection::vec((prop_oneof![1 => Just(false), 2 => Just(true)], "[a-c水]{1,3}"), 1..7)
}

/// About 10,000 cuts; `PROPTEST_CASES=100000` makes more.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Random cuts, late and busy readers, and restarts at random places: each has the new text whole, and nothing else.
    #[test]
    fn a_reader_that_loses_its_socket_anywhere_has_the_new_text_once(
        attempts in proptest::collection::vec(texts(), 1..4),
        late in proptest::collection::vec(0..12_usize, 3),
        cuts in proptest::collection::vec(proptest::collection::vec(0..9_usize, 0..4), 3),
        refusals in proptest::collection::vec(prop_oneof![3 => Just(false), 1 => Just(true)], 1..9),
    ) {
        let mut world = World::new(cuts, refusals);
        let subscriber = world.subscriber(0);
        world.feed(ask(subscriber, TurnKind::Submit, "q", "q".to_owned()));
        let mut step = 0;
        for (at, attempt) in attempts.iter().enumerate() {
            if at > 0 {
                let model: Arc<str> = format!("m{at}").into();
                world.feed(Input::Run { run: RunId(1), event: RunEvent::Moving });
                world.feed(Input::Run { run: RunId(1), event: RunEvent::Restarted { model } });
            }
            for (is_answer, text) in attempt {
                let kind = if *is_answer { TextKind::Answer } else { TextKind::Reasoning };
                world.feed(Input::Run { run: RunId(1), event: RunEvent::Text { kind, text: text.clone() } });
                for reader in (1..3).filter(|reader| late[*reader] == step) {
                    let subscriber = world.subscriber(reader);
                    world.feed(Input::Resume { subscriber, sink: (), turn: None, after: None });
                }
                if step.is_multiple_of(2) {
                    world.return_all();
                }
                step += 1;
            }
        }
        world.feed(Input::Run { run: RunId(1), event: end(Ok(FinishReason::Stop), None) });
        world.refusals = vec![false];
        for _ in 0..40 {
            world.return_all();
        }
        let newest = attempts.last().expect("one at least");
        let whole = |kind: bool| newest.iter().filter(|(is, _)| *is == kind).map(|(_, text)| text.as_str()).collect::<String>();
        let model = if attempts.len() > 1 { format!("m{}", attempts.len() - 1) } else { "m".to_owned() };
        for reader in world.readers.iter().filter(|reader| reader.encoder.is_some()) {
            prop_assert!(reader.ended, "after {:?}", reader.after);
            prop_assert_eq!((reader.text(true), reader.text(false)), (whole(true), whole(false)));
            prop_assert_eq!(&reader.model, &model);
            prop_assert!(reader.resets < attempts.len());
        }
        let kept = world.session.transcript().messages;
        if !whole(true).is_empty() {
            let answer = kept.last().expect("the answer");
            prop_assert_eq!((answer.text.as_str(), answer.model.as_deref()), (&*whole(true), Some(&*model)));
        }
    }
}
