//! One user: comes, opens a socket, asks, listens, thinks, asks again, leaves. Who loses the socket comes back.
use super::{
    cuts::Cuts,
    dialect::{Fault, Talk, Word},
    measure::{Measure, Trouble},
    plan::{Arrival, Habits, say},
    settings::{Expect, Settings},
    shared::Shared,
    turn::{Answer, Outcome, Patience, Silence},
    wire::{Failed, Heard, Socket, instant_of, say_goodbye},
};
use crate::{clock::now_ns, simulator::script::Expected, units::nanos};
use std::{rc::Rc, time::Duration};
use tokio::{
    task::spawn_local,
    time::{sleep_until, timeout},
};

/// Nobody asks again at once after an error; without this, a run against a full server is a storm.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// The server may take so long to close the socket after our goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// An open socket: it counts as one, and hears of the run's end.
struct Seat {
    socket: Socket,
    place: Place,
}

struct Place {
    shared: Rc<Shared>,
    writer: usize,
}

/// One who talks.
struct User {
    shared: Rc<Shared>,
    arrival: Arrival,
    chats: Vec<Chat>,
    cookies: String,
    cuts: Cuts,
    /// When the socket is cut.
    cut_due: u64,
}

/// One conversation.
struct Chat {
    talk: Talk,
    /// In the whole run.
    number: u64,
    habits: Habits,
    turn: u64,
    state: State,
}

enum State {
    /// Says something when it is due.
    Thinks {
        due: u64,
    },
    Hears(Answer),
    /// Has said everything.
    Done,
}

/// Why listening was broken off.
enum Event {
    /// This chat's answer ended, or needs something.
    Answer(usize, Outcome),
    CutIsDue,
}

/// The whole visit.
pub(super) async fn visit(shared: Rc<Shared>, arrival: Arrival) {
    let due = shared.start + nanos(arrival.at);
    let mut cookies = String::new();
    // Boxed, so that a socket that waits does not keep room for its handshake.
    let Some(mut seat) = Box::pin(enter(&shared, arrival, due, &mut cookies)).await else { return };
    let ended = if shared.closing.get() {
        Ok(Some(seat))
    } else if arrival.idle {
        stay(&shared, &mut seat.socket).await.map(|()| Some(seat))
    } else {
        let first = if shared.is_open_model { due } else { now_ns() };
        let mut user = Box::new(User::new(Rc::clone(&shared), arrival, cookies, first));
        let ended = Box::pin(user.talk(seat)).await;
        user.give_up();
        ended
    };
    match ended {
        Ok(Some(mut seat)) => leave(&shared, &mut seat.socket).await,
        Ok(None) => {}
        // That a socket ends when the run does is no error.
        Err(_) if shared.closing.get() => {}
        Err(failed) => shared.tally.borrow_mut().troubles.count(failed.trouble, &failed.why),
    }
}

impl Seat {
    fn new(shared: &Rc<Shared>, socket: Socket) -> Seat {
        let writer = shared.writers.borrow_mut().insert(socket.writer());
        let mut tally = shared.tally.borrow_mut();
        tally.counts.opened += 1;
        tally.counts.open += 1;
        Seat { socket, place: Place { shared: Rc::clone(shared), writer } }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.writers.borrow_mut().remove(self.writer);
        self.shared.tally.borrow_mut().counts.open -= 1;
    }
}

/// Opens the socket that was `due`, and counts how that went.
async fn enter(shared: &Rc<Shared>, arrival: Arrival, due: u64, cookies: &mut String) -> Option<Seat> {
    {
        let mut tally = shared.tally.borrow_mut();
        tally.counts.arrivals += 1;
        tally.record_always(Measure::Late, now_ns().saturating_sub(due));
        if tally.counts.open + tally.counts.opening >= shared.sockets_max {
            tally.counts.refused += 1;
            tally.troubles.count(Trouble::TooMany, "as many sockets were open as --sockets allows");
            return None;
        }
    }
    match open(shared, arrival, due, cookies).await {
        Ok(seat) => Some(seat),
        Err(failed) => {
            let mut tally = shared.tally.borrow_mut();
            tally.counts.refused += 1;
            tally.troubles.count(failed.trouble, &failed.why);
            None
        }
    }
}

async fn open(shared: &Rc<Shared>, arrival: Arrival, due: u64, cookies: &mut String) -> Result<Seat, Failed> {
    let settings = &shared.settings;
    // The addresses take turns.
    let source = settings.sources.get(arrival.number as usize % settings.sources.len().max(1)).copied();
    shared.tally.borrow_mut().counts.opening += 1;
    let opened = Socket::open(settings, source, cookies).await;
    {
        let mut tally = shared.tally.borrow_mut();
        tally.counts.opening -= 1;
        if opened.is_ok() {
            tally.record_always(Measure::Connect, now_ns().saturating_sub(due));
        }
    }
    opened.map(|socket| Seat::new(shared, socket))
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

/// What comes to one who talks no more, or never did.
fn stray(shared: &Shared, heard: &Heard<'_>) -> Option<Failed> {
    let Heard::Text { bytes, is_first } = heard;
    let dialect = shared.settings.dialect;
    let word = dialect.read(bytes, *is_first).and_then(|frame| dialect.talk(0, String::new()).hear(frame));
    unasked(shared, word).map(Failed::from)
}

/// A word that nobody asked for. An error is an error; anything else belongs to somebody else.
fn unasked(shared: &Shared, word: Result<Word<'_>, Fault>) -> Option<Fault> {
    match word {
        Ok(Word::Error(text)) => {
            shared.tally.borrow_mut().troubles.count(Trouble::ErrorText, &text);
            None
        }
        Ok(Word::Text(text)) => {
            let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
            let why = format!("text without a question: {text:?}");
            Some(Fault { trouble: Trouble::ForeignText, why })
        }
        Ok(word) => {
            let why = format!("a frame without a question: {word:?}");
            Some(Fault { trouble: Trouble::ForeignText, why })
        }
        Err(fault) => Some(fault),
    }
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

impl User {
    fn new(shared: Rc<Shared>, arrival: Arrival, cookies: String, first: u64) -> User {
        let settings = &shared.settings;
        let chats = (0..settings.chats).map(|index| {
            let number = arrival.number * settings.chats + index;
            Chat {
                // No two runs have a conversation in common.
                talk: settings.dialect.talk(index as usize, format!("load-{:x}-{number}", shared.start)),
                number,
                habits: Habits::new(settings.seed, number, settings.think),
                turn: 0,
                state: State::Thinks { due: first },
            }
        });
        let chats = chats.collect();
        let cuts = Cuts::new(settings.cut, settings.away, settings.seed, arrival.number);
        let mut user = User { shared, arrival, chats, cookies, cuts, cut_due: u64::MAX };
        user.plan_cut();
        user
    }

    fn plan_cut(&mut self) {
        let start = self.shared.start;
        let due = self.cuts.due(Duration::from_nanos(now_ns().saturating_sub(start)));
        self.cut_due = due.map_or(u64::MAX, |due| start + nanos(due));
    }

    /// Talks until everything is said. `None`: the run was over before this user came back.
    async fn talk(&mut self, mut seat: Seat) -> Result<Option<Seat>, Failed> {
        let shared = Rc::clone(&self.shared);
        let mut alarm = Box::pin(sleep_until(instant_of(now_ns())));
        loop {
            for index in 0..self.chats.len() {
                self.chats[index].act(&shared, &mut seat.socket).await?;
            }
            if self.chats.iter().all(|chat| matches!(chat.state, State::Done)) {
                return Ok(Some(seat));
            }
            let now = now_ns();
            let ripe = !self.cuts.waits_for_text() || self.chats.iter().any(Chat::is_in_an_answer);
            if ripe && self.cut_due <= now && !shared.closing.get() {
                let Some(back) = self.come_back(seat).await? else { return Ok(None) };
                seat = back;
                continue;
            }
            let wake = self.chats.iter().map(|chat| chat.wake(&shared, now)).min().unwrap_or(u64::MAX);
            let cut = if self.cut_due > now { self.cut_due } else { u64::MAX };
            alarm.as_mut().reset(instant_of(wake.min(cut)));
            let (chats, cut_due) = (&mut self.chats, self.cut_due);
            let hear = |heard: Heard<'_>, now| hear(&shared, chats, cut_due, &heard, now);
            match seat.socket.hear(Some(alarm.as_mut()), hear).await? {
                Some(Event::Answer(index, outcome)) => {
                    self.chats[index].settle(&shared, &mut seat.socket, outcome).await?;
                }
                Some(Event::CutIsDue) | None => {}
            }
        }
    }

    /// Loses its socket, is away, and follows its answers further on another one.
    async fn come_back(&mut self, seat: Seat) -> Result<Option<Seat>, Failed> {
        let shared = Rc::clone(&self.shared);
        let cut = self.cuts.next();
        let Seat { socket, place } = seat;
        drop(place);
        spawn_local(socket.cut(cut.way));
        shared.tally.borrow_mut().counts.cuts += 1;
        let due = now_ns() + nanos(cut.away);
        if !cut.away.is_zero() {
            sleep_until(instant_of(due)).await;
        }
        if shared.closing.get() {
            return Ok(None);
        }
        let called = now_ns();
        shared.tally.borrow_mut().record_always(Measure::Late, called.saturating_sub(due));
        let mut seat = open(&shared, self.arrival, called, &mut self.cookies).await?;
        if shared.closing.get() {
            return Ok(None);
        }
        for chat in &mut self.chats {
            let State::Hears(answer) = &mut chat.state else { continue };
            let Some((frame, from_beginning)) = chat.talk.resume(cut.forgets) else { continue };
            answer.resume(called, now_ns(), from_beginning);
            shared.tally.borrow_mut().counts.resumes += 1;
            seat.socket.say(&frame).await?;
        }
        self.plan_cut();
        Ok(Some(seat))
    }

    /// What is under way when the user leaves has no end.
    fn give_up(&mut self) {
        let shared = &self.shared;
        let mut tally = shared.tally.borrow_mut();
        let open = self.chats.iter().filter(|chat| matches!(chat.state, State::Hears(_))).count() as u64;
        tally.counts.answering -= open;
        tally.counts.unfinished += if shared.closing.get() { open } else { 0 };
    }
}

/// Gives what came to the chat that it is for.
fn hear(shared: &Shared, chats: &mut [Chat], cut_due: u64, heard: &Heard<'_>, now: u64) -> Option<Event> {
    let Heard::Text { bytes, is_first } = heard;
    let bad = |index, fault| Some(Event::Answer(index, Outcome::Wrong(fault)));
    let frame = match shared.settings.dialect.read(bytes, *is_first) {
        Ok(frame) => frame,
        Err(fault) => return bad(0, fault),
    };
    let index = frame.talk();
    let Some(chat) = chats.get_mut(index) else {
        let why = "a frame for a request of nobody".to_owned();
        return bad(0, Fault { trouble: Trouble::ForeignText, why });
    };
    let word = chat.talk.hear(frame);
    let State::Hears(answer) = &mut chat.state else {
        return unasked(shared, word).and_then(|fault| bad(index, fault));
    };
    let outcome = match word {
        Ok(word) => answer.hear(word, now, &mut shared.tally.borrow_mut()),
        Err(fault) => Some(Outcome::Wrong(fault)),
    };
    match outcome {
        Some(outcome) => Some(Event::Answer(index, outcome)),
        None => (now >= cut_due && answer.texts > 0).then_some(Event::CutIsDue),
    }
}

impl Chat {
    fn is_in_an_answer(&self) -> bool {
        matches!(&self.state, State::Hears(answer) if answer.texts > 0)
    }

    /// When there is something to do again, if nothing comes.
    fn wake(&self, shared: &Shared, now: u64) -> u64 {
        match &self.state {
            State::Thinks { due } => (*due).min(shared.asking_ends),
            State::Hears(answer) => answer.wake(now, patience(&shared.settings)),
            State::Done => u64::MAX,
        }
    }

    /// Does what is due.
    async fn act(&mut self, shared: &Shared, socket: &mut Socket) -> Result<(), Failed> {
        let now = now_ns();
        match &self.state {
            State::Thinks { due } if now >= shared.asking_ends || shared.closing.get() => {
                self.state = State::Done;
                Ok(())
            }
            State::Thinks { due } if *due <= now => self.ask(shared, socket, *due).await,
            State::Hears(answer) => match answer.silence(now, patience(&shared.settings)) {
                Silence::Borne => Ok(()),
                Silence::Complete => self.settle(shared, socket, Outcome::Complete).await,
                Silence::Wrong(fault) => self.settle(shared, socket, Outcome::Wrong(fault)).await,
            },
            State::Thinks { .. } | State::Done => Ok(()),
        }
    }

    async fn ask(&mut self, shared: &Shared, socket: &mut Socket, due: u64) -> Result<(), Failed> {
        let settings = &shared.settings;
        let now = now_ns();
        let prompt = &settings.prompts[self.habits.choose(settings.prompts.len())];
        let text = say(prompt, self.number, self.turn);
        let answer = Answer::new(expected(settings, &text), settings.dialect.is_framed(), due, now);
        {
            let mut tally = shared.tally.borrow_mut();
            if self.turn > 0 {
                tally.record(now, Measure::Late, now.saturating_sub(due));
            }
            tally.counts.answering += 1;
        }
        self.turn += 1;
        self.state = State::Hears(answer);
        socket.say(&self.talk.ask(&text)).await?;
        shared.tally.borrow_mut().counts.messages += 1;
        Ok(())
    }

    /// Does what the end of an answer asks for.
    async fn settle(&mut self, shared: &Shared, socket: &mut Socket, outcome: Outcome) -> Result<(), Failed> {
        let State::Hears(answer) = &mut self.state else {
            // Only what is wrong comes without a question.
            return if let Outcome::Wrong(fault) = outcome { Err(fault.into()) } else { Ok(()) };
        };
        let ended = match outcome {
            Outcome::Wrong(fault) => return Err(fault.into()),
            Outcome::NoActive => {
                shared.tally.borrow_mut().counts.no_active += 1;
                return self.find_nothing(shared, socket).await;
            }
            Outcome::Complete => answer.complete(&mut shared.tally.borrow_mut()),
            Outcome::ErrorText(text) => {
                shared.tally.borrow_mut().troubles.count(Trouble::ErrorText, &text);
                now_ns() + nanos(AFTER_ERROR)
            }
        };
        self.think(shared, ended);
        Ok(())
    }

    /// A resume found nothing. Where no text had come, the question may be what was lost: it is asked again.
    async fn find_nothing(&mut self, shared: &Shared, socket: &mut Socket) -> Result<(), Failed> {
        let State::Hears(answer) = &mut self.state else { return Ok(()) };
        if answer.texts == 0
            && let Some(frame) = self.talk.ask_again()
        {
            answer.begin_again();
            return socket.say(&frame).await;
        }
        let why = "a resume found nothing of an answer that had begun";
        shared.tally.borrow_mut().troubles.count(Trouble::NoActive, why);
        self.think(shared, now_ns() + nanos(AFTER_ERROR));
        Ok(())
    }

    /// The answer that ended then is over; what comes next?
    fn think(&mut self, shared: &Shared, ended: u64) {
        shared.tally.borrow_mut().counts.answering -= 1;
        let is_over = self.turn >= shared.settings.turns.unwrap_or(u64::MAX);
        let due = ended + nanos(self.habits.think());
        self.state = if is_over { State::Done } else { State::Thinks { due } };
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed::new(fault.trouble, fault.why)
    }
}

fn patience(settings: &Settings) -> Patience {
    Patience { answer: nanos(settings.answer_timeout), quiet: nanos(settings.quiet) }
}
