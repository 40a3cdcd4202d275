//! Properties of the numbering: a subscriber that is cut at any point gets exactly the rest when it resumes.
use crate::{
    chat::{FinishReason, MessageId, RequestId, RunError, RunErrorKind, RunId, TextKind, Timing},
    protocol::{Codec, FrameEncoder, ReplayPosition, ServerFrame, TurnEnd, TurnStart},
};
use proptest::prelude::*;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

const RUN: RunId = RunId(1);

/// An answer as in the replay log.
#[derive(Clone, Debug)]
struct Answer {
    entries: Vec<(TextKind, String)>,
    outcome: Result<FinishReason, RunErrorKind>,
    omitted_turns: usize,
}

impl Answer {
    fn start(&self) -> ServerFrame {
        let answer = MessageId::new("a1").unwrap();
        let start = TurnStart {
            answer,
            model: Some("m".into()),
            omitted_turns: self.omitted_turns,
            continued_by: None,
        };
        ServerFrame::Accepted { run: RUN, start: Arc::new(start) }
    }

    /// Entries `from..to`, which are of one kind, in one frame.
    fn text(&self, from: usize, to: usize) -> ServerFrame {
        let text = self.entries[from..to].iter().map(|(_, text)| text.as_str()).collect();
        let entry = to as u32;
        match self.entries[from].0 {
            TextKind::Reasoning => ServerFrame::Text { kind: TextKind::Reasoning, entry, text },
            TextKind::Answer => ServerFrame::Text { kind: TextKind::Answer, entry, text },
        }
    }

    fn end(&self) -> ServerFrame {
        let outcome = self.outcome.map_err(|kind| RunError::new(kind, ""));
        let end = TurnEnd { outcome, usage: None, timing: Timing::default() };
        ServerFrame::TurnEnd { run: RUN, end: Box::new(end) }
    }

    /// The frames from entry `from` on. `sizes`: how many entries each frame joins, repeated.
    fn frames(&self, started: bool, from: usize, sizes: &[usize]) -> Vec<ServerFrame> {
        let mut frames: Vec<_> = (!started).then(|| self.start()).into_iter().collect();
        let (mut at, mut sizes) = (from, sizes.iter().cycle());
        while let Some((kind, _)) = self.entries.get(at) {
            let run = self.entries[at..].iter().take_while(|(other, _)| other == kind).count();
            let next = at + run.min(*sizes.next().unwrap());
            frames.push(self.text(at, next));
            at = next;
        }
        frames.push(self.end());
        frames
    }

    /// For every number from 2 on, the entry that has it; `None` for an opening or a closing. Found by counting, not by the
    /// formulas under test.
    fn numbered(&self) -> Vec<Option<usize>> {
        let mut numbered = vec![None, None];
        for (at, (kind, _)) in self.entries.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| self.entries[before].0);
            if before != Some(*kind) {
                numbered.extend(before.map(|_| None));
                numbered.push(None);
            }
            numbered.push(Some(at));
        }
        numbered
    }

    /// The position of a subscriber that has everything up to `after`.
    fn position(&self, after: Option<u32>) -> ReplayPosition {
        let reached = after.map_or(0, |after| after as usize + 1);
        let entries = self.numbered().iter().take(reached).flatten().count();
        let sent = &self.entries[..entries];
        let parts =
            sent.iter().enumerate().filter(|(at, (kind, _))| *at == 0 || sent[at - 1].0 != *kind).count();
        ReplayPosition {
            run: RUN,
            answer: MessageId::new("a1").unwrap(),
            continued_by: None,
            after,
            started: reached >= 2,
            entries: entries as u32,
            parts: parts as u32,
            open: sent.last().map(|(kind, _)| *kind),
            restarts: 0,
            restarted_by: None,
        }
    }
}

fn answers() -> impl Strategy<Value = Answer> {
    let kind = prop_oneof![1 => Just(TextKind::Reasoning), 3 => Just(TextKind::Answer)];
    let outcome = prop_oneof![
        4 => Just(Ok(FinishReason::Stop)),
        1 => Just(Ok(FinishReason::Stopped)),
        1 => Just(Err(RunErrorKind::Interrupted)),
    ];
    (proptest::collection::vec((kind, "[a-c\"\n]{1,3}"), 0..9), outcome, 0..2_usize)
        .prop_map(|(entries, outcome, omitted_turns)| Answer { entries, outcome, omitted_turns })
}

fn encoder() -> FrameEncoder {
    Codec::AiSdk.encoder(Some(&RequestId::new("r1").unwrap()))
}

fn encode(encoder: &mut FrameEncoder, frames: &[ServerFrame]) -> Vec<Value> {
    let mut encoded = Vec::new();
    for frame in frames {
        encoder.encode(frame, |text| encoded.push(serde_json::from_str(text).unwrap()));
    }
    encoded
}

/// The number within the turn that a client keeps from a chunk's frame, to resume after it.
fn reached(frame: &Value) -> Option<u32> {
    let number = frame.get("entry").unwrap_or(&frame["sequence"]);
    number.as_u64().map(|number| number as u32)
}

/// The numbered chunks of the answer, without transient ones.
fn chunks(frames: &[Value]) -> Vec<(u32, Value)> {
    let chunks =
        frames.iter().filter(|frame| frame["type"] == "chunk" && frame["chunk"]["transient"] != true);
    chunks.map(|frame| (reached(frame).unwrap(), frame["chunk"].clone())).collect()
}

/// Asserts that the sequence numbers increase by one.
fn check_sequence(frames: &[Value], first: u64) {
    let sequences =
        frames.iter().filter(|frame| frame["type"] == "chunk").map(|frame| frame["sequence"].as_u64());
    for (at, sequence) in sequences.enumerate() {
        assert_eq!(sequence, Some(first + at as u64), "{frames:?}");
    }
}

/// The text of each part, by part ID.
fn texts(chunks: &[(u32, Value)]) -> Vec<(String, String)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (_, chunk) in chunks {
        match (chunk["type"].as_str().unwrap(), chunk["id"].as_str()) {
            ("text-start" | "reasoning-start", Some(id)) => parts.push((id.to_owned(), String::new())),
            ("text-delta" | "reasoning-delta", Some(id)) => {
                let part = parts.last_mut().expect("a part is open");
                assert_eq!(part.0, id);
                part.1 += chunk["delta"].as_str().unwrap();
            }
            _ => {}
        }
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_resumed_reader_gets_exactly_what_is_missing(answer in answers()) {
        let uncut = encode(&mut encoder(), &answer.frames(false, 0, &[1]));
        check_sequence(&uncut, 0);
        let whole = chunks(&uncut);
        let last = uncut.last().unwrap()["type"].as_str().unwrap();
        for (number, chunk) in whole.iter().enumerate() {
            prop_assert_eq!(number, chunk.0 as usize, "each number has a chunk");
        }
        for cut in 0..=whole.len() {
            let after = cut.checked_sub(1).map(|after| after as u32);
            let position = answer.position(after);
            let (started, entries) = (position.started, position.entries as usize);
            let mut encoder = encoder();
            let frames = encode(&mut encoder, &[ServerFrame::Resumed { position: Some(Box::new(position)) }]);
            prop_assert_eq!((&frames[0]["type"], &frames[0]["messageId"]), (&"start".into(), &"a1".into()));
            let rest = encode(&mut encoder, &answer.frames(started, entries, &[1]));
            check_sequence(&rest, cut as u64);
            prop_assert_eq!(chunks(&rest), &whole[cut..], "after {:?}", after);
            prop_assert_eq!(rest.last().unwrap()["type"].as_str().unwrap(), last);
        }
    }

    /// A subscriber that lags, receives other frames in between, and is cut after any frame, twice.
    #[test]
    fn merged_and_transient_frames_do_not_disturb(
        answer in answers(),
        sizes in proptest::collection::vec(1..4_usize, 1..4),
        beside in proptest::collection::vec(0..4_u8, 20),
        cuts in proptest::collection::vec(0..40_usize, 0..4),
    ) {
        let whole = chunks(&encode(&mut encoder(), &answer.frames(false, 0, &[1])));
        let (mut got, mut after) = (Vec::new(), None);
        for (round, cut) in cuts.iter().copied().chain([usize::MAX]).enumerate() {
            let (mut encoder, position) = (encoder(), answer.position(after));
            let mut sent = answer.frames(position.started, position.entries as usize, &sizes);
            for (at, what) in beside.iter().enumerate().take(sent.len()).rev() {
                match what {
                    1 => sent.insert(at, ServerFrame::Waiting { position: 2 }),
                    2 => sent.insert(at, ServerFrame::Queued { run: RUN, position: 1 }),
                    3 => sent.insert(at, ServerFrame::Retrying { run: RUN, attempt: 2, after: Duration::ZERO }),
                    _ => {}
                }
            }
            if round > 0 {
                encode(&mut encoder, &[ServerFrame::Resumed { position: Some(Box::new(position)) }]);
            }
            let frames = encode(&mut encoder, &sent);
            check_sequence(&frames, after.map_or(0, |after| u64::from(after) + 1));
            let received = &frames[..cut.min(frames.len())];
            for frame in received.iter().filter(|frame| frame["type"] == "chunk") {
                after = reached(frame);
            }
            got.extend(chunks(received));
        }
        prop_assert_eq!(texts(&got), texts(&whole));
        let kinds = |chunks: &[(u32, Value)]| {
            let beside_text = chunks.iter().filter(|(_, chunk)| !chunk["type"].as_str().unwrap().ends_with("delta"));
            beside_text.cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(kinds(&got), kinds(&whole), "all else once, and by its number");
    }
}
