//! One turn as its user sees it: what is due, what came, and how it ended.
use super::{
    check::{Reply, Wrong},
    dialect::{Fault, Word},
    measure::{Measure, Tally, Trouble},
};
use crate::simulator::script::Expected;

/// How an answer ended, or what it needs.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Complete,
    ErrorText(String),
    /// The resume found nothing.
    NoActive,
    /// Nothing can be said about the rest of it.
    Wrong(Fault),
}

/// How long silence is borne, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) answer: u64,
    /// Of an answer that nothing is known of, in a dialect that does not tell its end.
    pub(crate) quiet: u64,
}

/// What silence means.
#[derive(Debug, PartialEq)]
pub(crate) enum Silence {
    /// Nothing yet.
    Borne,
    /// The answer is over: there is no other mark for that.
    Complete,
    Wrong(Fault),
}

/// A user came back on a new socket, and the first piece is still to come.
#[derive(Clone, Copy, Debug)]
struct Back {
    /// When it began to connect.
    called: u64,
    from_beginning: bool,
}

/// One answer as far as it came.
pub(crate) struct Answer {
    expected: Option<Expected>,
    reply: Reply,
    /// The dialect tells the end.
    has_end: bool,
    due: u64,
    /// The last sign of life, ours or theirs.
    since: u64,
    pub(crate) texts: u64,
    last: u64,
    stall: u64,
    /// The last text came over the same socket.
    is_flowing: bool,
    /// Deltas since the text began for the last time, and the most of them.
    told: u64,
    most: u64,
    back: Option<Back>,
    /// When the last resume was sent: text with an older stamp was missed, and had no delivery.
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
            is_flowing: false,
            told: 0,
            most: 0,
            back: None,
            resumed: 0,
        }
    }

    /// The user called at `called` and sends its resume `now`.
    pub(crate) fn resume(&mut self, called: u64, now: u64, from_beginning: bool) {
        self.back = Some(Back { called, from_beginning });
        (self.resumed, self.since, self.is_flowing) = (now, now, false);
        if from_beginning {
            self.begin_again();
        }
    }

    /// Its text comes from the beginning.
    pub(crate) fn begin_again(&mut self) {
        self.reply = Reply::new(self.expected.clone());
        self.told = 0;
    }

    pub(crate) fn hear(&mut self, word: Word<'_>, now: u64, tally: &mut Tally) -> Option<Outcome> {
        self.since = now;
        match word {
            Word::Text(text) => self.text(&text, now, tally),
            Word::Beside => {
                // Where nothing was missed, this is news, and as late as the model makes it.
                if let Some(back) = self.back.take().filter(|back| back.from_beginning) {
                    self.record_back(back, now, tally);
                }
                None
            }
            Word::Found => None,
            Word::End if self.reply.is_known() && !self.is_whole() => {
                Some(wrong(Trouble::LostText, "the answer ended before its text"))
            }
            Word::End => Some(Outcome::Complete),
            Word::Error(text) => Some(Outcome::ErrorText(text)),
            Word::NoActive => Some(Outcome::NoActive),
        }
    }

    fn is_whole(&mut self) -> bool {
        self.reply.take(b"", |_| {}).is_ok_and(|heard| heard.complete)
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
        if let Some(back) = self.back.take().filter(|_| stamped.is_none_or(|stamp| stamp < resumed)) {
            self.record_back(back, now, tally);
        }
        if self.texts == 0 {
            tally.record(now, Measure::FirstDelta, now.saturating_sub(self.due));
        } else if self.is_flowing {
            let gap = now.saturating_sub(self.last);
            self.stall = self.stall.max(gap);
            tally.record(now, Measure::Gap, gap);
        }
        self.texts += 1;
        self.is_flowing = true;
        self.last = now;
        self.told += took.deltas;
        let new = self.told.saturating_sub(self.most);
        self.most += new;
        tally.counts.texts += 1;
        tally.counts.deltas += new;
        tally.counts.replayed += took.deltas.saturating_sub(new);
        if tally.is_measured(now) {
            tally.counts.deltas_measured += new;
        }
        (took.complete && !self.has_end).then_some(Outcome::Complete)
    }

    fn record_back(&self, back: Back, now: u64, tally: &mut Tally) {
        tally.record(now, Measure::Resume, now.saturating_sub(back.called));
        tally.record(now, Measure::Replay, now.saturating_sub(self.resumed));
    }

    fn wrong_text(&self, what: Wrong) -> Outcome {
        let (trouble, what) = match what {
            Wrong::Lost => (Trouble::LostText, "text is missing"),
            Wrong::Doubled => (Trouble::DoubledText, "text came twice"),
            Wrong::Foreign => (Trouble::ForeignText, "text that belongs elsewhere"),
        };
        wrong(trouble, &format!("{what} after {} deltas", self.texts))
    }

    /// How long silence of this answer is borne.
    fn limit(&self, patience: Patience) -> u64 {
        if self.ends_in_silence() { patience.quiet } else { patience.answer }
    }

    fn ends_in_silence(&self) -> bool {
        !self.has_end && !self.reply.is_known() && self.texts > 0
    }

    /// When to look at its silence. No timer is touched while text comes, so this may be too early.
    pub(crate) fn wake(&self, now: u64, patience: Patience) -> u64 {
        let may_end_in_silence = !self.has_end && !self.reply.is_known();
        let pause = if may_end_in_silence { patience.answer.min(patience.quiet) } else { patience.answer };
        let at = self.since.saturating_add(pause);
        if at > now { at } else { now.saturating_add(pause) }
    }

    /// What its silence means `now`.
    pub(crate) fn silence(&self, now: u64, patience: Patience) -> Silence {
        let limit = self.limit(patience);
        if now < self.since.saturating_add(limit) {
            return Silence::Borne;
        }
        if self.ends_in_silence() {
            return Silence::Complete;
        }
        let (trouble, what) = match self.texts {
            0 => (Trouble::NoAnswer, "no answer"),
            _ => (Trouble::LostText, "the answer is not complete, and nothing more came"),
        };
        let limit = std::time::Duration::from_nanos(limit);
        Silence::Wrong(Fault { trouble, why: format!("{what} within {limit:?}") })
    }

    /// Counts it as answered; tells when that was.
    pub(crate) fn complete(&self, tally: &mut Tally) -> u64 {
        // An answer without text ended with the last sign of it.
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

fn wrong(trouble: Trouble, why: &str) -> Outcome {
    Outcome::Wrong(Fault { trouble, why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PATIENCE: Patience = Patience { answer: 60_000 * MS, quiet: 2_000 * MS };

    fn tally() -> Tally {
        Tally::new((0, u64::MAX)).expect("bounds")
    }

    fn known(has_end: bool) -> Answer {
        Answer::new(Expected::of("/sim text=\"one two three four five six\" stamp=1"), has_end, 0, 0)
    }

    fn text(text: &str) -> Word<'_> {
        Word::Text(text.as_bytes().into())
    }

    /// The values of a measure in milliseconds.
    fn values(tally: &mut Tally, measure: Measure) -> Vec<u64> {
        let values = tally.snapshot(0, true).values;
        values[measure as usize].iter().flat_map(|(us, count)| vec![us / 1000; *count as usize]).collect()
    }

    /// The pieces of the answer with stamps of these milliseconds.
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
            // What was not missed is as late as the model.
            (false, 190, vec![]),
            (true, 10, vec![120]),
        ] {
            let (mut answer, mut tally) = (known(true), tally());
            let all = pieces(&[10, first_stamp]);
            assert_eq!(answer.hear(text(&all[0]), 20 * MS, &mut tally), None);
            answer.resume(100 * MS, 150 * MS, from_beginning);
            assert_eq!(answer.hear(Word::Found, 160 * MS, &mut tally), None);
            let again = if from_beginning { 0 } else { 1 };
            assert_eq!(answer.hear(text(&all[again]), 220 * MS, &mut tally), None);
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
        assert_eq!(answer.hear(text(&all[..3].concat()), MS, &mut tally), None);
        answer.resume(2 * MS, 3 * MS, true);
        assert_eq!(answer.hear(text(&all.concat()), 4 * MS, &mut tally), None);
        assert_eq!(answer.hear(Word::End, 5 * MS, &mut tally), Some(Outcome::Complete));
        answer.complete(&mut tally);
        let counts = tally.counts;
        assert_eq!((counts.deltas, counts.replayed, counts.verified), (all.len() as u64, 3, 1));
        // The same, told as if it had not asked for the beginning.
        let (mut answer, mut tally) = (known(true), self::tally());
        assert_eq!(answer.hear(text(&all[..3].concat()), MS, &mut tally), None);
        answer.resume(2 * MS, 3 * MS, false);
        let Some(Outcome::Wrong(fault)) = answer.hear(text(&all[1..].concat()), 4 * MS, &mut tally) else {
            panic!("doubled text is wrong")
        };
        assert_eq!(fault.trouble, Trouble::DoubledText);
    }

    #[test]
    fn an_answer_that_ends_before_its_text_has_lost_it() {
        let (mut answer, mut tally) = (known(true), tally());
        assert_eq!(answer.hear(text(&pieces(&[1])[0]), MS, &mut tally), None);
        let Some(Outcome::Wrong(fault)) = answer.hear(Word::End, 2 * MS, &mut tally) else {
            panic!("it is short")
        };
        assert_eq!(fault.trouble, Trouble::LostText);
    }

    #[test]
    fn silence_ends_only_what_has_no_other_end() {
        let mut tally = tally();
        // With an end in the dialect, or a known text, silence is an error; before any text always.
        for (mut answer, ends) in [
            (known(false), false),
            (known(true), false),
            (Answer::new(None, true, 0, 0), false),
            (Answer::new(None, false, 0, 0), true),
        ] {
            assert_eq!(answer.silence(3_000 * MS, PATIENCE), Silence::Borne);
            assert!(
                matches!(answer.silence(60_001 * MS, PATIENCE), Silence::Wrong(fault) if fault.trouble == Trouble::NoAnswer)
            );
            answer.hear(text("@1000000 "), 10_000 * MS, &mut tally);
            let silence = answer.silence(12_001 * MS, PATIENCE);
            assert_eq!(silence, if ends { Silence::Complete } else { Silence::Borne });
            assert!(answer.wake(10_000 * MS, PATIENCE) > 10_000 * MS);
            if !ends {
                let late = answer.silence(70_001 * MS, PATIENCE);
                assert!(matches!(late, Silence::Wrong(fault) if fault.trouble == Trouble::LostText));
            }
        }
        // Looked at in time, whenever its first text came.
        let answer = Answer::new(None, false, 0, 0);
        assert_eq!(answer.wake(5_000 * MS, PATIENCE), 7_000 * MS);
    }
}
