//! One user: opens a socket, sends messages, receives answers, pauses, and closes the socket. After a cut it
//! reconnects and resumes.
use super::{
    cuts::Cuts,
    dialect::{Conversation, ServerEvent},
    measure::{ErrorKind, Failure, Measure},
    plan::{Arrival, Behaviour, fill_placeholders},
    settings::{Expect, Settings},
    shared::Shared,
    turn::{Answer, Outcome, Silence, Timeouts},
    wire::{Incoming, Socket, instant_of, send_close},
};
use crate::{clock::now_ns, simulator::script::Expected, units::nanos};
use std::{rc::Rc, time::Duration};
use tokio::{
    task::spawn_local,
    time::{sleep_until, timeout},
};

/// Minimum pause after an error; without it, a run against a full server would become a request storm.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// How long the server may take to close the socket after our close frame.
const GOODBYE: Duration = Duration::from_secs(2);

/// An open socket, counted and registered so that the end of the run can close it.
struct OpenSocket {
    socket: Socket,
    guard: SocketGuard,
}

struct SocketGuard {
    shared: Rc<Shared>,
    writer: usize,
}

/// A user that sends messages.
struct User {
    shared: Rc<Shared>,
    arrival: Arrival,
    chats: Vec<Chat>,
    cookies: String,
    cuts: Cuts,
    /// When the socket is cut on purpose.
    cut_due: u64,
}

/// One conversation.
struct Chat {
    conversation: Conversation,
    /// Unique in the run.
    number: u64,
    behaviour: Behaviour,
    turn: u64,
    state: State,
}

enum State {
    /// Pauses until the next message is due.
    Pausing {
        due: u64,
    },
    Receiving(Answer),
    /// Has sent all its messages.
    Done,
}

/// Why receiving was interrupted.
enum Event {
    /// The answer of this chat ended or needs a reaction.
    Answer(usize, Outcome),
    CutIsDue,
}

/// Runs one user from its arrival to the end.
pub(super) async fn run_user(shared: Rc<Shared>, arrival: Arrival) {
    let due = shared.start + nanos(arrival.at);
    let mut cookies = String::new();
    // Boxed, so that the future of an idle socket does not keep space for the handshake.
    let Some(mut open) = Box::pin(open_counted(&shared, arrival, due, &mut cookies)).await else { return };
    let ended = if shared.closing.get() {
        Ok(Some(open))
    } else if arrival.idle {
        wait_idle(&shared, &mut open.socket).await.map(|()| Some(open))
    } else {
        let first = if shared.is_open_model { due } else { now_ns() };
        let mut user = Box::new(User::new(Rc::clone(&shared), arrival, cookies, first));
        let ended = Box::pin(user.run(open)).await;
        user.abandon();
        ended
    };
    match ended {
        Ok(Some(mut open)) => close(&shared, &mut open.socket).await,
        Ok(None) => {}
        // A socket that ends with the run is not an error.
        Err(_) if shared.closing.get() => {}
        Err(failed) => shared.tally.borrow_mut().errors.count(failed.kind, &failed.why),
    }
}

impl OpenSocket {
    fn new(shared: &Rc<Shared>, socket: Socket) -> OpenSocket {
        let writer = shared.writers.borrow_mut().insert(socket.writer());
        let mut tally = shared.tally.borrow_mut();
        tally.counts.opened += 1;
        tally.counts.open += 1;
        OpenSocket { socket, guard: SocketGuard { shared: Rc::clone(shared), writer } }
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.shared.writers.borrow_mut().remove(self.writer);
        self.shared.tally.borrow_mut().counts.open -= 1;
    }
}

/// Opens the socket that was `due` and counts the result.
async fn open_counted(
    shared: &Rc<Shared>,
    arrival: Arrival,
    due: u64,
    cookies: &mut String,
) -> Option<OpenSocket> {
    {
        let mut tally = shared.tally.borrow_mut();
        tally.counts.arrivals += 1;
        tally.record_always(Measure::Late, now_ns().saturating_sub(due));
        if tally.counts.open + tally.counts.opening >= shared.sockets_max {
            tally.counts.refused += 1;
            tally.errors.count(ErrorKind::TooMany, "as many sockets were open as --sockets allows");
            return None;
        }
    }
    match open_socket(shared, arrival, due, cookies).await {
        Ok(open) => Some(open),
        Err(failed) => {
            let mut tally = shared.tally.borrow_mut();
            tally.counts.refused += 1;
            tally.errors.count(failed.kind, &failed.why);
            None
        }
    }
}

async fn open_socket(
    shared: &Rc<Shared>,
    arrival: Arrival,
    due: u64,
    cookies: &mut String,
) -> Result<OpenSocket, Failure> {
    let settings = &shared.settings;
    // Source addresses are used in turn.
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
    opened.map(|socket| OpenSocket::new(shared, socket))
}

/// Sends a close frame and waits until the server has closed, so that TIME_WAIT ports are on the server's
/// side. Text that still arrives is an error.
async fn close(shared: &Shared, socket: &mut Socket) {
    send_close(&socket.writer());
    let closed = socket.receive(None, |received, _| unexpected(shared, &received));
    if let Ok(Ok(Some(failed))) = Box::pin(timeout(GOODBYE, closed)).await {
        shared.tally.borrow_mut().errors.count(failed.kind, &failed.why);
    }
}

/// Keeps an idle socket open. Anything received is an error.
async fn wait_idle(shared: &Shared, socket: &mut Socket) -> Result<(), Failure> {
    let unexpected = socket.receive(None, |received, _| unexpected(shared, &received)).await?;
    unexpected.map_or(Ok(()), Err)
}

/// A frame on a socket that has no open request.
fn unexpected(shared: &Shared, received: &Incoming<'_>) -> Option<Failure> {
    let Incoming { bytes, is_first } = received;
    let dialect = shared.settings.dialect;
    let event = dialect
        .read(bytes, *is_first)
        .and_then(|frame| dialect.conversation(0, String::new()).receive(frame));
    unsolicited(shared, event)
}

/// Handles an event without an open request: errors are counted, anything else is a failure.
fn unsolicited(shared: &Shared, event: Result<ServerEvent<'_>, Failure>) -> Option<Failure> {
    match event {
        Ok(ServerEvent::Error(text)) => {
            shared.tally.borrow_mut().errors.count(ErrorKind::ErrorText, &text);
            None
        }
        Ok(ServerEvent::Text(text)) => {
            let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
            let why = format!("text without a question: {text:?}");
            Some(Failure { kind: ErrorKind::ForeignText, why })
        }
        Ok(event) => {
            let why = format!("a frame without a question: {event:?}");
            Some(Failure { kind: ErrorKind::ForeignText, why })
        }
        Err(failure) => Some(failure),
    }
}

/// The expected answer, where it is known.
fn expected(settings: &Settings, text: &str) -> Option<Expected> {
    // The gateway strips trailing line breaks from a message.
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
                // Includes the start time, so that no two runs share a conversation.
                conversation: settings
                    .dialect
                    .conversation(index as usize, format!("load-{:x}-{number}", shared.start)),
                number,
                behaviour: Behaviour::new(settings.seed, number, settings.think),
                turn: 0,
                state: State::Pausing { due: first },
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

    /// Runs until all messages are answered. `None`: the run ended before this user reconnected.
    async fn run(&mut self, mut open: OpenSocket) -> Result<Option<OpenSocket>, Failure> {
        let shared = Rc::clone(&self.shared);
        let mut alarm = Box::pin(sleep_until(instant_of(now_ns())));
        loop {
            for index in 0..self.chats.len() {
                self.chats[index].step(&shared, &mut open.socket).await?;
            }
            if self.chats.iter().all(|chat| matches!(chat.state, State::Done)) {
                return Ok(Some(open));
            }
            let now = now_ns();
            let may_cut = !self.cuts.waits_for_text() || self.chats.iter().any(Chat::has_partial_answer);
            if may_cut && self.cut_due <= now && !shared.closing.get() {
                let Some(back) = self.reconnect(open).await? else { return Ok(None) };
                open = back;
                continue;
            }
            let wake = self.chats.iter().map(|chat| chat.wake(&shared, now)).min().unwrap_or(u64::MAX);
            let cut = if self.cut_due > now { self.cut_due } else { u64::MAX };
            alarm.as_mut().reset(instant_of(wake.min(cut)));
            let (chats, cut_due) = (&mut self.chats, self.cut_due);
            let receive = |received: Incoming<'_>, now| receive(&shared, chats, cut_due, &received, now);
            match open.socket.receive(Some(alarm.as_mut()), receive).await? {
                Some(Event::Answer(index, outcome)) => {
                    self.chats[index].finish(&shared, &mut open.socket, outcome).await?;
                }
                Some(Event::CutIsDue) | None => {}
            }
        }
    }

    /// Cuts the socket, stays away, reconnects, and resumes the open answers.
    async fn reconnect(&mut self, open: OpenSocket) -> Result<Option<OpenSocket>, Failure> {
        let shared = Rc::clone(&self.shared);
        let cut = self.cuts.next();
        let OpenSocket { socket, guard } = open;
        drop(guard);
        spawn_local(socket.cut(cut.kind));
        shared.tally.borrow_mut().counts.cuts += 1;
        let due = now_ns() + nanos(cut.away);
        if !cut.away.is_zero() {
            sleep_until(instant_of(due)).await;
        }
        if shared.closing.get() {
            return Ok(None);
        }
        let reconnecting_since = now_ns();
        shared.tally.borrow_mut().record_always(Measure::Late, reconnecting_since.saturating_sub(due));
        let mut open = open_socket(&shared, self.arrival, reconnecting_since, &mut self.cookies).await?;
        if shared.closing.get() {
            return Ok(None);
        }
        for chat in &mut self.chats {
            let State::Receiving(answer) = &mut chat.state else { continue };
            let Some((frame, from_beginning)) = chat.conversation.resume(cut.forgets) else { continue };
            answer.resume(reconnecting_since, now_ns(), from_beginning);
            shared.tally.borrow_mut().counts.resumes += 1;
            open.socket.send(&frame).await?;
        }
        self.plan_cut();
        Ok(Some(open))
    }

    /// Counts the answers that are still open when the user ends.
    fn abandon(&mut self) {
        let shared = &self.shared;
        let mut tally = shared.tally.borrow_mut();
        let open = self.chats.iter().filter(|chat| matches!(chat.state, State::Receiving(_))).count() as u64;
        tally.counts.answering -= open;
        tally.counts.unfinished += if shared.closing.get() { open } else { 0 };
    }
}

/// Routes a message to its chat.
fn receive(
    shared: &Shared,
    chats: &mut [Chat],
    cut_due: u64,
    received: &Incoming<'_>,
    now: u64,
) -> Option<Event> {
    let Incoming { bytes, is_first } = received;
    let bad = |index, failure| Some(Event::Answer(index, Outcome::Failed(failure)));
    let frame = match shared.settings.dialect.read(bytes, *is_first) {
        Ok(frame) => frame,
        Err(failure) => return bad(0, failure),
    };
    let index = frame.conversation();
    let Some(chat) = chats.get_mut(index) else {
        let why = "a frame for an unknown request".to_owned();
        return bad(0, Failure { kind: ErrorKind::ForeignText, why });
    };
    let event = chat.conversation.receive(frame);
    let State::Receiving(answer) = &mut chat.state else {
        return unsolicited(shared, event).and_then(|failure| bad(index, failure));
    };
    let outcome = match event {
        Ok(event) => answer.receive(event, now, &mut shared.tally.borrow_mut()),
        Err(failure) => Some(Outcome::Failed(failure)),
    };
    match outcome {
        Some(outcome) => Some(Event::Answer(index, outcome)),
        None => (now >= cut_due && answer.texts > 0).then_some(Event::CutIsDue),
    }
}

impl Chat {
    fn has_partial_answer(&self) -> bool {
        matches!(&self.state, State::Receiving(answer) if answer.texts > 0)
    }

    /// Time of the next step if nothing is received before.
    fn wake(&self, shared: &Shared, now: u64) -> u64 {
        match &self.state {
            State::Pausing { due } => (*due).min(shared.asking_ends),
            State::Receiving(answer) => answer.wake(now, timeouts(&shared.settings)),
            State::Done => u64::MAX,
        }
    }

    /// Performs what is due now.
    async fn step(&mut self, shared: &Shared, socket: &mut Socket) -> Result<(), Failure> {
        let now = now_ns();
        match &self.state {
            State::Pausing { due } if now >= shared.asking_ends || shared.closing.get() => {
                self.state = State::Done;
                Ok(())
            }
            State::Pausing { due } if *due <= now => self.ask(shared, socket, *due).await,
            State::Receiving(answer) => match answer.silence(now, timeouts(&shared.settings)) {
                Silence::Tolerated => Ok(()),
                Silence::Complete => self.finish(shared, socket, Outcome::Complete).await,
                Silence::Failed(failure) => self.finish(shared, socket, Outcome::Failed(failure)).await,
            },
            State::Pausing { .. } | State::Done => Ok(()),
        }
    }

    async fn ask(&mut self, shared: &Shared, socket: &mut Socket, due: u64) -> Result<(), Failure> {
        let settings = &shared.settings;
        let now = now_ns();
        let prompt = &settings.prompts[self.behaviour.choose(settings.prompts.len())];
        let text = fill_placeholders(prompt, self.number, self.turn);
        let answer = Answer::new(expected(settings, &text), settings.dialect.is_framed(), due, now);
        {
            let mut tally = shared.tally.borrow_mut();
            if self.turn > 0 {
                tally.record(now, Measure::Late, now.saturating_sub(due));
            }
            tally.counts.answering += 1;
        }
        self.turn += 1;
        self.state = State::Receiving(answer);
        socket.send(&self.conversation.ask(&text)).await?;
        shared.tally.borrow_mut().counts.messages += 1;
        Ok(())
    }

    /// Reacts to the outcome of an answer.
    async fn finish(
        &mut self,
        shared: &Shared,
        socket: &mut Socket,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        let State::Receiving(answer) = &mut self.state else {
            // Without an open question the outcome can only be a failure.
            return if let Outcome::Failed(failure) = outcome { Err(failure) } else { Ok(()) };
        };
        let ended = match outcome {
            Outcome::Failed(failure) => return Err(failure),
            Outcome::NoActive => {
                shared.tally.borrow_mut().counts.no_active += 1;
                return self.on_no_active(shared, socket).await;
            }
            Outcome::Complete => answer.complete(&mut shared.tally.borrow_mut()),
            Outcome::ErrorText(text) => {
                shared.tally.borrow_mut().errors.count(ErrorKind::ErrorText, &text);
                now_ns() + nanos(AFTER_ERROR)
            }
        };
        self.think(shared, ended);
        Ok(())
    }

    /// Handles a resume that found nothing. If no text had been received, the question itself may have been
    /// lost: it is sent again.
    async fn on_no_active(&mut self, shared: &Shared, socket: &mut Socket) -> Result<(), Failure> {
        let State::Receiving(answer) = &mut self.state else { return Ok(()) };
        if answer.texts == 0
            && let Some(frame) = self.conversation.ask_again()
        {
            answer.begin_again();
            return socket.send(&frame).await;
        }
        let why = "a resume found nothing of an answer that had begun";
        shared.tally.borrow_mut().errors.count(ErrorKind::NoActive, why);
        self.think(shared, now_ns() + nanos(AFTER_ERROR));
        Ok(())
    }

    /// Schedules the next message, counted from the end of the last answer.
    fn think(&mut self, shared: &Shared, ended: u64) {
        shared.tally.borrow_mut().counts.answering -= 1;
        let is_over = self.turn >= shared.settings.turns.unwrap_or(u64::MAX);
        let due = ended + nanos(self.behaviour.think());
        self.state = if is_over { State::Done } else { State::Pausing { due } };
    }
}

fn timeouts(settings: &Settings) -> Timeouts {
    Timeouts { answer: nanos(settings.answer_timeout), quiet: nanos(settings.quiet) }
}
