//! One turn as seen by the user: expected text, received text, and outcome.
use super::{
    check::{Mismatch, Reply},
    dialect::ServerEvent,
    measure::{ErrorKind, Failure, Measure, Tally},
};
use crate::simulator::script::Expected;

/// How an answer ended, or how to react to it.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Complete,
    ErrorText(String),
    /// The resume found nothing.
    NoActive,
    /// The answer is wrong; the rest cannot be checked.
    Failed(Failure),
}

/// How long to wait for the next text, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) answer: u64,
    /// For an answer of unknown text in a dialect without an end marker.
    pub(crate) quiet: u64,
}

/// What a pause in the answer means.
#[derive(Debug, PartialEq)]
pub(crate) enum Silence {
    /// Within the limit.
    Tolerated,
    /// The answer is complete; this dialect has no other end marker.
    Complete,
    Failed(Failure),
}

/// A resume was sent on a new socket, and the first missed piece has not arrived.
#[derive(Clone, Copy, Debug)]
struct Resuming {
    /// When the user began to reconnect.
    reconnected_at: u64,
    from_beginning: bool,
}

/// The answer received so far.
pub(crate) struct Answer {
    expected: Option<Expected>,
    reply: Reply,
    /// The dialect has an end marker.
    has_end: bool,
    due: u64,
    /// Time of the last message in either direction.
    since: u64,
    pub(crate) texts: u64,
    last: u64,
    stall: u64,
    /// The previous text was received on the same socket, so that the gap is meaningful.
    is_contiguous: bool,
    /// Deltas since the last (re)start of the text, and the maximum of them.
    received: u64,
    received_max: u64,
    resuming: Option<Resuming>,
    /// When the last resume was sent: text with an older stamp was missed, so its delivery time is not
    /// recorded.
    resumed: u64,
}

impl Answer {
    pub(crate) fn new(expected: Option<Expected>, has_end: bool, due: u64, now: u64) -> Self {
        Answer {
            reply: Reply::new(expected.clone()),
            expected,
            has_end,
            due,
            since: now,
            texts: 0,
            last: 0,
            stall: 0,
            is_contiguous: false,
            received: 0,
            received_max: 0,
            resuming: None,
            resumed: 0,
        }
    }

    /// The user began to reconnect at `reconnected_at` and sends its resume `now`.
    pub(crate) fn resume(&mut self, reconnected_at: u64, now: u64, from_beginning: bool) {
        self.resuming = Some(Resuming { reconnected_at, from_beginning });
        (self.resumed, self.since, self.is_contiguous) = (now, now, false);
        if from_beginning {
            self.begin_again();
        }
    }

    /// Restarts the comparison: the text arrives from the beginning.
    pub(crate) fn begin_again(&mut self) {
        self.reply = Reply::new(self.expected.clone());
        self.received = 0;
    }

    pub(crate) fn receive(&mut self, word: ServerEvent<'_>, now: u64, tally: &mut Tally) -> Option<Outcome> {
        self.since = now;
        match word {
            ServerEvent::Text(text) => self.text(&text, now, tally),
            ServerEvent::NonText => {
                // Where nothing was missed, this chunk is new, and as late as the model makes it.
                if let Some(resuming) = self.resuming.take().filter(|resuming| resuming.from_beginning) {
                    self.record_resume(resuming, now, tally);
                }
                None
            }
            ServerEvent::Resumed => None,
            ServerEvent::Restarted => {
                self.begin_again();
                tally.counts.restarts += 1;
                None
            }
            ServerEvent::End if self.reply.is_known() && !self.is_whole() => {
                Some(wrong(ErrorKind::LostText, "the answer ended before its text"))
            }
            ServerEvent::End => Some(Outcome::Complete),
            ServerEvent::Error(text) => Some(Outcome::ErrorText(text)),
            ServerEvent::NoActive => Some(Outcome::NoActive),
        }
    }

    fn is_whole(&mut self) -> bool {
        self.reply.take(b"", |_| {}).is_ok_and(|received| received.complete)
    }

    fn text(&mut self, text: &[u8], now: u64, tally: &mut Tally) -> Option<Outcome> {
        let resumed = self.resumed;
        let mut stamped = None;
        let took = self.reply.take(text, |stamp| {
            stamped.get_or_insert(stamp);
            if stamp >= resumed {
                tally.record(now, Measure::Delivery, now.saturating_sub(stamp));
            }
        });
        let took = match took {
            Ok(took) => took,
            Err(wrong_text) => return Some(self.wrong_text(wrong_text)),
        };
        if let Some(resuming) = self.resuming.take().filter(|_| stamped.is_none_or(|stamp| stamp < resumed)) {
            self.record_resume(resuming, now, tally);
        }
        if self.texts == 0 {
            tally.record(now, Measure::FirstDelta, now.saturating_sub(self.due));
        } else if self.is_contiguous {
            let gap = now.saturating_sub(self.last);
            self.stall = self.stall.max(gap);
            tally.record(now, Measure::Gap, gap);
        }
        self.texts += 1;
        self.is_contiguous = true;
        self.last = now;
        self.received += took.deltas;
        let new = self.received.saturating_sub(self.received_max);
        self.received_max += new;
        tally.counts.texts += 1;
        tally.counts.deltas += new;
        tally.counts.replayed += took.deltas.saturating_sub(new);
        if tally.is_measured(now) {
            tally.counts.deltas_measured += new;
        }
        (took.complete && !self.has_end).then_some(Outcome::Complete)
    }

    fn record_resume(&self, resuming: Resuming, now: u64, tally: &mut Tally) {
        tally.record(now, Measure::Resume, now.saturating_sub(resuming.reconnected_at));
        tally.record(now, Measure::Replay, now.saturating_sub(self.resumed));
    }

    fn wrong_text(&self, what: Mismatch) -> Outcome {
        let (kind, what) = match what {
            Mismatch::Lost => (ErrorKind::LostText, "text is missing"),
            Mismatch::Doubled => (ErrorKind::DoubledText, "text came twice"),
            Mismatch::Foreign => (ErrorKind::ForeignText, "text that belongs elsewhere"),
        };
        wrong(kind, &format!("{what} after {} deltas", self.texts))
    }

    /// The limit that applies to this answer.
    fn limit(&self, timeouts: Timeouts) -> u64 {
        if self.ends_in_silence() { timeouts.quiet } else { timeouts.answer }
    }

    fn ends_in_silence(&self) -> bool {
        !self.has_end && !self.reply.is_known() && self.texts > 0
    }

    /// When to check for a timeout. No timer is touched while text arrives, so this may be too early.
    pub(crate) fn wake(&self, now: u64, timeouts: Timeouts) -> u64 {
        let may_end_in_silence = !self.has_end && !self.reply.is_known();
        let pause = if may_end_in_silence { timeouts.answer.min(timeouts.quiet) } else { timeouts.answer };
        let at = self.since.saturating_add(pause);
        if at > now { at } else { now.saturating_add(pause) }
    }

    /// What the pause means at `now`.
    pub(crate) fn silence(&self, now: u64, timeouts: Timeouts) -> Silence {
        let limit = self.limit(timeouts);
        if now < self.since.saturating_add(limit) {
            return Silence::Tolerated;
        }
        if self.ends_in_silence() {
            return Silence::Complete;
        }
        let (kind, what) = match self.texts {
            0 => (ErrorKind::NoAnswer, "no answer"),
            _ => (ErrorKind::LostText, "the answer is not complete, and nothing more came"),
        };
        let limit = std::time::Duration::from_nanos(limit);
        Silence::Failed(Failure { kind, why: format!("{what} within {limit:?}") })
    }

    /// Counts the answer as complete and returns when it was.
    pub(crate) fn complete(&self, tally: &mut Tally) -> u64 {
        // An answer without text ended with its last message.
        let now = if self.texts > 0 { self.last } else { self.since };
        tally.counts.turns += 1;
        tally.counts.turns_measured += u64::from(tally.is_measured(now));
        tally.counts.verified += u64::from(self.reply.is_known());
        tally.record(now, Measure::Turn, now.saturating_sub(self.due));
        if self.texts > 1 {
            tally.record(now, Measure::Stall, self.stall);
        }
        now
    }
}

fn wrong(kind: ErrorKind, why: &str) -> Outcome {
    Outcome::Failed(Failure { kind, why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PATIENCE: Timeouts = Timeouts { answer: 60_000 * MS, quiet: 2_000 * MS };

    fn tally() -> Tally {
        Tally::new((0, u64::MAX)).expect("bounds")
    }

    fn known(has_end: bool) -> Answer {
        Answer::new(Expected::of("/sim text=\"one two three four five six\" stamp=1"), has_end, 0, 0)
    }

    fn text(text: &str) -> ServerEvent<'_> {
        ServerEvent::Text(text.as_bytes().into())
    }

    /// The recorded values of a measure, in milliseconds.
    fn values(tally: &mut Tally, measure: Measure) -> Vec<u64> {
        let values = tally.snapshot(0, true).values;
        values[measure as usize].iter().flat_map(|(us, count)| vec![us / 1000; *count as usize]).collect()
    }

    /// The pieces of the answer with these stamps, in milliseconds.
    fn pieces(stamps: &[u64]) -> Vec<String> {
        let mut expected = Expected::of("/sim text=\"one two three four five six\" stamp=1").expect("good");
        let piece = |stamp: &u64| {
            let mut piece = String::new();
            expected.piece(&mut piece).then(|| format!("@{} {piece}", stamp * MS))
        };
        stamps.iter().map_while(piece).collect()
    }

    #[test]
    fn the_first_piece_that_was_missed_ends_a_resume() {
        for (from_beginning, first_stamp, resumed) in [
            (false, 30, vec![120]),
            // Text that was not missed is as late as the model.
            (false, 190, vec![]),
            (true, 10, vec![120]),
        ] {
            let (mut answer, mut tally) = (known(true), tally());
            let all = pieces(&[10, first_stamp]);
            assert_eq!(answer.receive(text(&all[0]), 20 * MS, &mut tally), None);
            answer.resume(100 * MS, 150 * MS, from_beginning);
            assert_eq!(answer.receive(ServerEvent::Resumed, 160 * MS, &mut tally), None);
            let again = if from_beginning { 0 } else { 1 };
            assert_eq!(answer.receive(text(&all[again]), 220 * MS, &mut tally), None);
            let values = |measure| values(&mut tally.clone(), measure);
            assert_eq!(values(Measure::Resume), resumed);
            assert_eq!(values(Measure::Gap), [0; 0], "being away is no gap");
            let delivered = if first_stamp == 190 { vec![10, 30] } else { vec![10] };
            assert_eq!(values(Measure::Delivery), delivered, "what was missed was not delivered late");
        }
    }

    #[test]
    fn a_replay_is_compared_from_the_beginning_and_counted_apart() {
        let all = pieces(&[1; 20]);
        assert!(all.len() > 3, "{all:?}");
        let (mut answer, mut tally) = (known(true), tally());
        assert_eq!(answer.receive(text(&all[..3].concat()), MS, &mut tally), None);
        answer.resume(2 * MS, 3 * MS, true);
        assert_eq!(answer.receive(text(&all.concat()), 4 * MS, &mut tally), None);
        assert_eq!(answer.receive(ServerEvent::End, 5 * MS, &mut tally), Some(Outcome::Complete));
        answer.complete(&mut tally);
        let counts = tally.counts;
        assert_eq!((counts.deltas, counts.replayed, counts.verified), (all.len() as u64, 3, 1));
        // The same text, without having asked for the beginning.
        let (mut answer, mut tally) = (known(true), self::tally());
        assert_eq!(answer.receive(text(&all[..3].concat()), MS, &mut tally), None);
        answer.resume(2 * MS, 3 * MS, false);
        let Some(Outcome::Failed(failure)) = answer.receive(text(&all[1..].concat()), 4 * MS, &mut tally)
        else {
            panic!("doubled text is wrong")
        };
        assert_eq!(failure.kind, ErrorKind::DoubledText);
    }

    #[test]
    fn after_a_restart_the_text_is_compared_from_the_beginning() {
        let all = pieces(&[1; 20]);
        let (mut answer, mut tally) = (known(true), tally());
        assert_eq!(answer.receive(text(&all[..5].concat()), MS, &mut tally), None);
        assert_eq!(answer.receive(ServerEvent::Restarted, 2 * MS, &mut tally), None);
        assert_eq!(answer.receive(text(&all.concat()), 4 * MS, &mut tally), None);
        assert_eq!(answer.receive(ServerEvent::End, 5 * MS, &mut tally), Some(Outcome::Complete));
        answer.complete(&mut tally);
        let counts = tally.counts;
        assert_eq!((counts.restarts, counts.deltas, counts.verified), (1, all.len() as u64, 1));
        assert_eq!(counts.replayed, 5);
    }

    #[test]
    fn an_answer_that_ends_before_its_text_has_lost_it() {
        let (mut answer, mut tally) = (known(true), tally());
        assert_eq!(answer.receive(text(&pieces(&[1])[0]), MS, &mut tally), None);
        let Some(Outcome::Failed(failure)) = answer.receive(ServerEvent::End, 2 * MS, &mut tally) else {
            panic!("it is short")
        };
        assert_eq!(failure.kind, ErrorKind::LostText);
    }

    #[test]
    fn silence_ends_only_what_has_no_other_end() {
        let mut tally = tally();
        // With an end marker or a known text, silence is an error; before any text it always is.
        for (mut answer, ends) in [
            (known(false), false),
            (known(true), false),
            (Answer::new(None, true, 0, 0), false),
            (Answer::new(None, false, 0, 0), true),
        ] {
            assert_eq!(answer.silence(3_000 * MS, PATIENCE), Silence::Tolerated);
            assert!(
                matches!(answer.silence(60_001 * MS, PATIENCE), Silence::Failed(failure) if failure.kind == ErrorKind::NoAnswer)
            );
            answer.receive(text("@1000000 "), 10_000 * MS, &mut tally);
            let silence = answer.silence(12_001 * MS, PATIENCE);
            assert_eq!(silence, if ends { Silence::Complete } else { Silence::Tolerated });
            assert!(answer.wake(10_000 * MS, PATIENCE) > 10_000 * MS);
            if !ends {
                let late = answer.silence(70_001 * MS, PATIENCE);
                assert!(matches!(late, Silence::Failed(failure) if failure.kind == ErrorKind::LostText));
            }
        }
        // Checked in time, whenever the first text arrives.
        let answer = Answer::new(None, false, 0, 0);
        assert_eq!(answer.wake(5_000 * MS, PATIENCE), 7_000 * MS);
    }
}
