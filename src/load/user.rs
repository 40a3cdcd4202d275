//! One user: comes, opens a socket, asks, listens, thinks, asks again, leaves.
use super::{
    check::{Reply, Wrong},
    engine::Shared,
    measure::{Measure, Trouble},
    plan::{Arrival, Habits, say},
    settings::{Expect, Settings},
    wire::{Failed, Heard, Socket, instant_of, say_goodbye},
};
use crate::simulator::{clock::now_ns, script::Expected};
use std::{rc::Rc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};

/// What the plain dialect begins an error with.
const ERROR: &[u8] = b"Error: ";
/// Nobody asks again at once after an error; without this, a run against a full server is a storm.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// The server may take so long to close the socket after our goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// How an answer ended.
enum Outcome {
    Complete,
    ErrorText(String),
    Wrong(Wrong),
}

/// The whole visit.
pub(super) async fn visit(shared: Rc<Shared>, arrival: Arrival) {
    let due = shared.start + nanos(arrival.at);
    // Boxed, so that a socket that waits does not keep room for its handshake.
    let Some(mut socket) = Box::pin(enter(&shared, arrival, due)).await else { return };
    let place = shared.writers.borrow_mut().insert(socket.writer());
    let ended = if shared.closing.get() {
        Ok(())
    } else if arrival.idle {
        stay(&shared, &mut socket).await
    } else {
        let first = if shared.is_open_model { due } else { now_ns() };
        Box::pin(talk(&shared, &mut socket, arrival.number, first)).await
    };
    match ended {
        Ok(()) => leave(&shared, &mut socket).await,
        // That a socket ends when the run does is no error.
        Err(_) if shared.closing.get() => {}
        Err(failed) => shared.tally.borrow_mut().troubles.count(failed.trouble, &failed.why),
    }
    shared.writers.borrow_mut().remove(place);
    shared.tally.borrow_mut().counts.open -= 1;
}

/// Opens the socket that was `due`, and counts how that went.
async fn enter(shared: &Shared, arrival: Arrival, due: u64) -> Option<Socket> {
    let settings = &shared.settings;
    {
        let mut tally = shared.tally.borrow_mut();
        tally.counts.arrivals += 1;
        tally.record_always(Measure::Late, now_ns().saturating_sub(due));
        if tally.counts.open + tally.counts.opening >= shared.sockets_max {
            tally.counts.refused += 1;
            tally.troubles.count(Trouble::TooMany, "as many sockets were open as --sockets allows");
            return None;
        }
        tally.counts.opening += 1;
    }
    // The addresses take turns.
    let source = settings.sources.get(arrival.number as usize % settings.sources.len().max(1)).copied();
    let opened = Socket::open(settings, source).await;
    let mut tally = shared.tally.borrow_mut();
    tally.counts.opening -= 1;
    match opened {
        Ok(socket) => {
            tally.counts.opened += 1;
            tally.counts.open += 1;
            tally.record_always(Measure::Connect, now_ns().saturating_sub(due));
            Some(socket)
        }
        Err(failed) => {
            tally.counts.refused += 1;
            tally.troubles.count(failed.trouble, &failed.why);
            None
        }
    }
}

/// Says goodbye and waits until the server has closed, so that the ports that wait are the server's.
/// Text that still comes is one too many.
async fn leave(shared: &Shared, socket: &mut Socket) {
    say_goodbye(&socket.writer());
    let closed = socket.hear(None, |heard, _| stray(shared, &heard));
    if let Ok(Ok(Some(failed))) = Box::pin(timeout(GOODBYE, closed)).await {
        shared.tally.borrow_mut().troubles.count(failed.trouble, &failed.why);
    }
}

/// Only stays. Whatever comes is wrong.
async fn stay(shared: &Shared, socket: &mut Socket) -> Result<(), Failed> {
    let stray = socket.hear(None, |heard, _| stray(shared, &heard)).await?;
    stray.map_or(Ok(()), Err)
}

/// Text that nobody asked for. An error is an error; anything else belongs to somebody else.
fn stray(shared: &Shared, heard: &Heard<'_>) -> Option<Failed> {
    let Heard::Text { bytes, is_first } = heard;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    if *is_first && bytes.starts_with(ERROR) {
        shared.tally.borrow_mut().troubles.count(Trouble::ErrorText, &text);
        return None;
    }
    let why = format!("text without a question: {text:?}");
    Some(Failed { trouble: Trouble::ForeignText, why })
}

async fn talk(shared: &Shared, socket: &mut Socket, number: u64, first: u64) -> Result<(), Failed> {
    let settings = &shared.settings;
    let mut habits = Habits::new(settings.seed, number, settings.think);
    let mut due = first;
    for turn in 0..settings.turns.unwrap_or(u64::MAX) {
        if turn > 0 {
            pause(shared, socket, due.min(shared.asking_ends)).await?;
        }
        let now = now_ns();
        if now >= shared.asking_ends || shared.closing.get() {
            return Ok(());
        }
        if turn > 0 {
            shared.tally.borrow_mut().record(now, Measure::Late, now.saturating_sub(due));
        }
        let prompt = &settings.prompts[habits.choose(settings.prompts.len())];
        let text = say(prompt, number, turn);
        shared.tally.borrow_mut().counts.answering += 1;
        let answered = ask(shared, socket, &text, due).await;
        let mut tally = shared.tally.borrow_mut();
        tally.counts.answering -= 1;
        tally.counts.unfinished += u64::from(answered.is_err() && shared.closing.get());
        drop(tally);
        due = answered? + nanos(habits.think());
    }
    Ok(())
}

/// Waits for the time of the next message.
async fn pause(shared: &Shared, socket: &mut Socket, until: u64) -> Result<(), Failed> {
    if until <= now_ns() {
        return Ok(());
    }
    let mut alarm = Box::pin(sleep_until(instant_of(until)));
    let stray = socket.hear(Some(alarm.as_mut()), |heard, _| stray(shared, &heard)).await?;
    stray.map_or(Ok(()), Err)
}

/// What the answer should be, where that can be known.
fn expected(settings: &Settings, text: &str) -> Option<Expected> {
    // The gateway takes line breaks off the end of a message.
    let text = text.trim_end_matches(['\r', '\n']);
    match settings.expect {
        Expect::Auto => Expected::of(text),
        Expect::Echo => Some(Expected::echo(text)),
        Expect::Nothing => None,
    }
}

/// One answer as far as it came.
struct Answer {
    reply: Reply,
    due: u64,
    texts: u64,
    last: u64,
    stall: u64,
}

/// One turn; when it ended.
async fn ask(shared: &Shared, socket: &mut Socket, text: &str, due: u64) -> Result<u64, Failed> {
    let settings = &shared.settings;
    let mut answer = Answer { reply: Reply::new(expected(settings, text)), due, texts: 0, last: 0, stall: 0 };
    socket.say(text).await?;
    shared.tally.borrow_mut().counts.messages += 1;
    let mut since = Instant::now();
    let mut alarm = Box::pin(sleep_until(since + settings.answer_timeout.min(settings.quiet)));
    loop {
        let heard = socket.hear(Some(alarm.as_mut()), |heard, now| answer.hear(shared, &heard, now)).await?;
        match heard {
            Some(Outcome::Complete) => return Ok(answer.complete(shared)),
            Some(Outcome::ErrorText(text)) => {
                shared.tally.borrow_mut().troubles.count(Trouble::ErrorText, &text);
                return Ok(now_ns() + nanos(AFTER_ERROR));
            }
            Some(Outcome::Wrong(wrong)) => {
                let (trouble, what) = match wrong {
                    Wrong::Lost => (Trouble::LostText, "text is missing"),
                    Wrong::Doubled => (Trouble::DoubledText, "text came twice"),
                    Wrong::Foreign => (Trouble::ForeignText, "text that belongs elsewhere"),
                };
                return Err(Failed { trouble, why: format!("{what} after {} deltas", answer.texts) });
            }
            None => {}
        }
        // No timer was touched while text came: look now how long it has been quiet.
        if answer.last > 0 {
            since = instant_of(answer.last);
        }
        let limit = if answer.texts > 0 && !answer.reply.is_known() {
            settings.quiet
        } else {
            settings.answer_timeout
        };
        if since + limit > Instant::now() {
            alarm.as_mut().reset(since + limit);
            continue;
        }
        if !answer.reply.is_known() && answer.texts > 0 {
            return Ok(answer.complete(shared));
        }
        let (trouble, what) = match answer.texts {
            0 => (Trouble::NoAnswer, "no answer"),
            _ => (Trouble::LostText, "the answer is not complete, and nothing more came"),
        };
        return Err(Failed { trouble, why: format!("{what} within {limit:?}") });
    }
}

impl Answer {
    fn hear(&mut self, shared: &Shared, heard: &Heard<'_>, now: u64) -> Option<Outcome> {
        let Heard::Text { bytes, is_first } = heard;
        if *is_first && bytes.starts_with(ERROR) {
            return Some(Outcome::ErrorText(String::from_utf8_lossy(bytes).into_owned()));
        }
        let mut tally = shared.tally.borrow_mut();
        let took = self.reply.take(bytes, |stamp| {
            tally.record(now, Measure::Delivery, now.saturating_sub(stamp));
        });
        let took = match took {
            Ok(took) => took,
            Err(wrong) => return Some(Outcome::Wrong(wrong)),
        };
        if self.texts == 0 {
            tally.record(now, Measure::FirstDelta, now.saturating_sub(self.due));
        } else {
            let gap = now.saturating_sub(self.last);
            self.stall = self.stall.max(gap);
            tally.record(now, Measure::Gap, gap);
        }
        self.texts += 1;
        self.last = now;
        tally.counts.texts += 1;
        tally.counts.deltas += took.deltas;
        if tally.is_measured(now) {
            tally.counts.deltas_measured += took.deltas;
        }
        took.complete.then_some(Outcome::Complete)
    }

    fn complete(&self, shared: &Shared) -> u64 {
        let mut tally = shared.tally.borrow_mut();
        let now = self.last;
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

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
