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
