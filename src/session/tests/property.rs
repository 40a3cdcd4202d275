//! Random questions, cuts, resumes, stops and pauses, compared with a model that knows only the question and text of
//! each run, the subscribers and the time.
use super::*;
use crate::protocol::Rejection;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

const QUEUED: usize = 2;
const READERS: usize = 3;
const DETACHED: u64 = 5_000;
const IDLE: u64 = 20_000;
const RETAIN: u64 = 3_000;

/// The question of one run and its output, both kinds of text in the order in which they arrived.
#[derive(Default)]
struct Truth {
    asked: String,
    output: Vec<(TextKind, String)>,
    outcome: Option<Result<FinishReason, RunErrorKind>>,
    /// For each number that a subscriber received: the bytes, entries and parts up to it, and the kind of its text.
    numbers: BTreeMap<u32, (usize, u32, u32, TextKind)>,
}

impl Truth {
    fn append(&mut self, kind: TextKind, text: &str) {
        match self.output.last_mut() {
            Some((last, all)) if *last == kind => all.push_str(text),
            _ => self.output.push((kind, text.to_owned())),
        }
    }

    fn bytes(&self) -> usize {
        self.output.iter().map(|(_, text)| text.len()).sum()
    }

    fn answer(&self) -> String {
        let answer = self.output.iter().filter(|(kind, _)| *kind == TextKind::Answer);
        answer.map(|(_, text)| text.as_str()).collect()
    }

    /// Whether the output at a position starts with this text of this kind.
    fn has(&self, at: usize, kind: TextKind, text: &str) -> bool {
        let mut before = 0;
        self.output.iter().any(|(part, all)| {
            let here = at.checked_sub(before).filter(|here| *here < all.len());
            before += all.len();
            here.is_some_and(|here| *part == kind && all[here..].starts_with(text))
        })
    }
}

/// What one subscriber asked for and has received.
#[derive(Default)]
struct Client {
    /// It resumed after this number.
    resumed: Option<Option<u32>>,
    /// The question that it waits for.
    ticket: u64,
    /// The run that it must receive.
    target: Option<u32>,
    /// The run that it has received.
    run: Option<u32>,
    started: bool,
    bytes: usize,
    entry: u32,
    parts: u32,
    kind: Option<TextKind>,
    position: u32,
    stuck: bool,
    /// It has to report when it has read the push.
    asks: bool,
    /// The only frame that it may still receive.
    leaving: Option<&'static str>,
    last: Option<String>,
    /// Its log was rebuilt from the history, with other numbers.
    rebuilt: bool,
}

/// A turn in the model's history.
#[derive(Clone)]
struct Turn {
    text: String,
    run: u32,
    answer: Option<String>,
}

/// A question that is queued or about to start, identified by the subscriber that asked it.
#[derive(Clone)]
struct Question {
    ticket: u64,
    text: String,
    kind: TurnKind,
}

struct World {
    session: Session,
    now: u64,
    runs: BTreeMap<u32, Truth>,
    open: Option<u32>,
    held: bool,
    clients: BTreeMap<u64, Client>,
    next: u64,
    questions: u32,
    queue: VecDeque<Question>,
    history: Vec<Turn>,
    /// The history to return to if the open run ends without text.
    before: Vec<Turn>,
    /// The question that must start next, if any.
    starting: Option<Question>,
    admitted: Vec<u64>,
    alone: Option<u64>,
    quiet: Option<u64>,
    /// The turn of the newest log, and whether the log was rebuilt from the history.
    newest: Option<(u32, bool)>,
    retained: Option<u64>,
    /// The log may be kept only because a subscriber is still reading it.
    unsure: bool,
    wake: Option<u64>,
    stops: bool,
    drained: bool,
    over: bool,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            queued_messages_max: QUEUED,
            subscribers_max: READERS,
            detached_timeout: Duration::from_millis(DETACHED),
            idle_timeout: Duration::from_millis(IDLE),
            replay_time: Duration::from_millis(RETAIN),
            history: Budget { tokens_max: 10_000_000, bytes_max: 10_000_000, messages_max: 10_000 },
            ..settings()
        };
        World {
            session: Session::new(Arc::new(settings), SessionId(1), Lifetime::OfChat),
            now: 0,
            runs: BTreeMap::new(),
            open: None,
            held: false,
            clients: BTreeMap::new(),
            next: 0,
            questions: 0,
            queue: VecDeque::new(),
            history: Vec::new(),
            before: Vec::new(),
            starting: None,
            admitted: Vec::new(),
            alone: None,
            quiet: None,
            newest: None,
            retained: None,
            unsure: false,
            wake: None,
            stops: false,
            drained: false,
            over: false,
        }
    }

    fn step(&mut self, what: u8, a: u8, b: u8) {
        match what % 40 {
            0..=4 => self.ask(a, b),
            5..=9 => self.resume(a, b),
            10..=18 => self.text(a, b),
            19..=21 => self.end(a),
            22..=23 => self.abort(a),
            24..=26 => self.detach(a),
            27..=29 => {
                if let Some((_, client)) = self.client(a) {
                    client.stuck = true;
                }
            }
            30..=33 => {
                if let Some(id) = self.client(a).map(|(id, _)| id) {
                    self.ready(id);
                }
            }
            34..=37 => self.pass(a, b),
            38 => self.notice(a),
            _ if a == 0 => self.drain(),
            _ => self.pass(a, 0),
        }
    }

    fn client(&mut self, a: u8) -> Option<(u64, &mut Client)> {
        let count = self.clients.len().max(1);
        self.clients.iter_mut().nth(a as usize % count).map(|(id, client)| (*id, client))
    }

    /// Whether one more subscriber may join: at most ten in any second.
    fn admit(&mut self) -> bool {
        let recent = self.admitted.iter().filter(|at| **at + 1_000 > self.now).count();
        let free = recent < 10;
        if free {
            self.admitted.push(self.now);
        }
        free
    }

    /// Adds a subscriber; when there are too many, the oldest is removed.
    fn join(&mut self, client: Client) -> u64 {
        if client.leaving.is_none() {
            let staying: Vec<u64> =
                self.clients.iter().filter(|(_, c)| c.leaving.is_none()).map(|(id, _)| *id).collect();
            if staying.len() >= READERS
                && let Some(oldest) = self.clients.get_mut(&staying[0])
            {
                oldest.leaving = Some("taken_over");
            }
        }
        self.next += 1;
        self.clients.insert(self.next, client);
        self.next
    }

    /// Picks a question: a new one, a repetition, an edit, or another answer.
    fn choose(&self, a: u8, b: u8) -> (String, TurnKind) {
        let newest = self.runs.last_key_value().map(|(run, truth)| (*run, truth.asked.clone()));
        let fresh = || format!("q{}", self.questions + 1);
        let known = || self.history.get(b as usize % self.history.len().max(1)).map(|turn| turn.text.clone());
        match a % 8 {
            0 => (newest.as_ref().map_or_else(fresh, |(_, text)| text.clone()), TurnKind::Submit),
            1 => (self.queue.back().map_or_else(fresh, |waits| waits.text.clone()), TurnKind::Submit),
            2 => (fresh(), TurnKind::Edit { replaces: id(&known().unwrap_or("x".into())) }),
            3 => (known().unwrap_or_else(fresh), TurnKind::Regenerate { answer: None }),
            4 => {
                let run = newest.as_ref().map_or(0, |(run, _)| *run);
                let answer = Some(id(&format!("msg-{}-{run}", SessionId(1))));
                (fresh(), TurnKind::Regenerate { answer })
            }
            _ => (fresh(), TurnKind::Submit),
        }
    }

    fn ask(&mut self, a: u8, b: u8) {
        if self.over {
            return;
        }
        let (text, kind) = self.choose(a, b);
        self.questions += u32::from(text == format!("q{}", self.questions + 1));
        let submit = kind == TurnKind::Submit;
        let newest_known = self.history.last().filter(|turn| turn.text == text).cloned();
        let is_first =
            |queued: &&Question| queued.text == text && !matches!(queued.kind, TurnKind::Regenerate { .. });
        let queued = self.queue.iter().find(is_first).map(|queued| queued.ticket);
        let again = submit
            && (queued.is_some()
                || newest_known.as_ref().is_some_and(|turn| self.open.is_some() || turn.answer.is_some()));
        // A turn that was stopped before any text can be replayed for a while.
        let may_replay = submit && newest_known.as_ref().is_some_and(|turn| turn.answer.is_none());
        let ticket = self.next + 1;
        let question = Question { ticket, text: text.clone(), kind: kind.clone() };
        let mut client = Client { ticket, ..Client::default() };
        if self.drained {
            client.leaving = Some("draining");
        } else if !self.admit() {
            client.leaving = Some("too_often");
        } else if again || may_replay && self.open.is_none() {
            if newest_known.is_none() {
                client.ticket = queued.unwrap_or(ticket);
            } else {
                client.target = newest_known.as_ref().map(|turn| turn.run);
            }
            if newest_known.is_none() {
                client.ticket = queued.unwrap_or(ticket);
            } else {
                client.target = newest_known.as_ref().map(|turn| turn.run);
            }
            if self.open.is_none() && self.retained.is_none_or(|until| until <= self.now) {
                self.retained = None;
            }
            if may_replay && self.open.is_none() {
                self.starting = Some(question);
                // Only the newest turn's log is kept, which may belong to a turn without text.
                let is_retained = self.retained.is_some_and(|until| self.now < until);
                let newest = self.newest.map(|(run, _)| run);
                client.target = client.target.filter(|run| is_retained && newest == Some(*run));
            }
        } else if self.open.is_none() {
            self.starting = Some(question);
        } else if self.queue.len() >= QUEUED {
            client.leaving = Some("queue_full");
        } else {
            self.queue.push_back(question);
        }
        if client.leaving.is_none() && again && self.open.is_none() {
            let is_kept = self.retained.is_some_and(|until| self.now < until);
            match (client.target, self.newest) {
                (Some(run), Some((newest, _))) if run == newest && is_kept => {}
                (Some(run), Some((newest, _))) if run == newest && !self.clients.is_empty() => {
                    self.unsure = true
                }
                (Some(run), _) => {
                    self.newest = Some((run, true));
                    self.retained = Some(self.now + RETAIN);
                }
                _ => {}
            }
        }
        let must_start = self.starting.is_some() && !may_replay;
        let subscriber = SubscriberId(self.join(client));
        self.feed(super::ask(subscriber, kind, &text, text.clone()));
        assert!(!must_start || self.starting.is_none(), "a question starts when no run is open");
        self.starting = None;
    }

    fn resume(&mut self, a: u8, b: u8) {
        if self.over {
            return;
        }
        if self.unsure {
            return;
        }
        let is_kept = self.retained.is_some_and(|until| self.now < until);
        let newest = self.newest.filter(|_| self.open.is_some() || is_kept);
        let target = newest.map(|(run, rebuilt)| (run, &self.runs[&run], rebuilt));
        let has_clients = !self.clients.is_empty();
        let mut after = None;
        let mut expected = target.is_some().then_some(());
        if let Some((_, truth, rebuilt)) = target {
            let pick = truth.numbers.iter().nth(b as usize % truth.numbers.len().max(1));
            after = match a % 6 {
                0 => None,
                1 => Some(u32::from(b % 2)),
                2 | 3 => pick.map(|(number, _)| *number),
                // The closing and the opening between two parts, if both sides of them are known.
                4 => pick.and_then(|(number, (_, _, parts, _))| {
                    let next = truth.numbers.range(number + 1..).next();
                    next.filter(|(n, (_, _, p, _))| **n == number + 3 && *p == parts + 1)?;
                    Some(number + 1 + u32::from(b % 2))
                }),
                _ => Some(100_000),
            };
            if after == Some(100_000) || (rebuilt && after.is_some()) {
                expected = None;
            }
        }
        // By the ID of its question, of its answer, of another turn, of a queued question, or without an ID.
        let turn = match (b / 4 % 8, target) {
            (0, Some((_, truth, _))) => Some(id(&truth.asked)),
            (1, Some((run, ..))) => Some(MessageId::of_answer(SessionId(1), RunId(run))),
            (2, Some((run, ..))) => Some(MessageId::of_answer(SessionId(1), RunId(run + 1))),
            (3, _) => Some(id("another")),
            (4 | 5, _) => self.queue.get(a as usize % self.queue.len().max(1)).map(|queued| id(&queued.text)),
            _ => None,
        };
        if let Some(queued) = turn.as_ref().and_then(|turn| self.queued(turn)) {
            return self.resume_queued(queued, turn, after);
        }
        let is_another = turn.is_some() && !matches!((b / 4 % 8, target), (0 | 1, Some(_)));
        let target = target.map(|(run, ..)| run);
        let mut client = Client { resumed: Some(after), target, ..Client::default() };
        client.leaving = if !self.admit() {
            Some("too_often")
        } else if is_another {
            Some("no_active")
        } else if expected.is_some() {
            None
        } else if after.is_some() {
            Some("bad_resume")
        } else if self.drained || has_clients || self.runs.is_empty() {
            // An expired log may still exist because a subscriber is reading it.
            Some(if self.runs.is_empty() { "no_active" } else { "" })
        } else {
            Some("no_active")
        };
        if client.leaving == Some("") {
            self.admitted.pop();
            return; // Both outcomes are correct.
        }
        let subscriber = SubscriberId(self.join(client));
        let after = after.map(NumberInRun::first);
        self.feed(Input::Resume { subscriber, sink: (), turn, after });
    }

    /// The last queued question with this ID.
    fn queued(&self, turn: &MessageId) -> Option<u64> {
        self.queue.iter().rfind(|queued| queued.text == turn.as_str()).map(|queued| queued.ticket)
    }

    fn resume_queued(&mut self, ticket: u64, turn: Option<MessageId>, after: Option<u32>) {
        let mut client = Client { resumed: Some(after), ticket, ..Client::default() };
        client.leaving = match (self.admit(), after) {
            (false, _) => Some("too_often"),
            (true, Some(_)) => Some("bad_resume"),
            (true, None) => None,
        };
        let subscriber = SubscriberId(self.join(client));
        let after = after.map(NumberInRun::first);
        self.feed(Input::Resume { subscriber, sink: (), turn, after });
    }

    fn text(&mut self, a: u8, b: u8) {
        let Some(run) = self.open else { return };
        let kind = if b.is_multiple_of(4) { TextKind::Reasoning } else { TextKind::Answer };
        let unit = ["a", "bc ", "水", "é", "😀"][a as usize % 5];
        let text = if b == 255 { unit.repeat(17_000) } else { unit.repeat(1 + b as usize % 6) };
        let text = format!("{text}{}", a % 10);
        self.runs.get_mut(&run).expect("a run").append(kind, &text);
        let event = match kind {
            TextKind::Reasoning => RunEvent::reasoning(text),
            TextKind::Answer => RunEvent::answer(text),
        };
        self.feed(Input::Run { run: RunId(run), event });
    }

    fn notice(&mut self, a: u8) {
        // A run may still send events after its end.
        let run = self.runs.len() as u32 - u32::from(a.is_multiple_of(2)).min(self.runs.len() as u32);
        let event = if Some(run) == self.open {
            RunEvent::Queued { position: 1 + u32::from(a) }
        } else {
            RunEvent::answer("late")
        };
        self.feed(Input::Run { run: RunId(run), event });
    }

    fn end(&mut self, a: u8) {
        let Some(run) = self.open else { return };
        let outcome = match a % 6 {
            0 => Err(RunErrorKind::UpstreamError),
            1 => Err(RunErrorKind::OutputRefused),
            2 => Ok(FinishReason::Length),
            _ => Ok(FinishReason::Stop),
        };
        let is_silent = self.runs[&run].answer().is_empty();
        let reported = if is_silent { outcome.and(Err(RunErrorKind::EmptyAnswer)) } else { outcome };
        let is_kept = !is_silent && outcome != Err(RunErrorKind::OutputRefused);
        self.finish_turn(run, reported, is_kept);
        self.feed(Input::Run { run: RunId(run), event: super::end(outcome, None) });
        assert_eq!(self.starting.take().map(|next| next.text), None, "the queued question starts next");
    }

    /// Applies a turn's end to the history.
    fn finish_turn(&mut self, run: u32, outcome: Result<FinishReason, RunErrorKind>, is_kept: bool) {
        let truth = self.runs.get_mut(&run).expect("a run");
        truth.outcome = Some(outcome);
        let stopped = outcome == Ok(FinishReason::Stopped);
        if is_kept {
            self.history.last_mut().expect("a turn").answer = Some(truth.answer());
        } else if !stopped {
            self.history = std::mem::take(&mut self.before);
        }
        self.open = None;
        self.held = false;
        self.retained = Some(self.now + RETAIN);
        self.starting = self.queue.pop_front();
    }

    fn abort(&mut self, a: u8) {
        let Some((id, client)) = self.client(a) else { return };
        let (ticket, leaving, target) = (client.ticket, client.leaving, client.target);
        let mut is_waiting = None;
        if leaving.is_none() {
            let follows_open = target.is_some() && target == self.open;
            if target.is_none() {
                is_waiting = self.queue.iter().position(|waits| waits.ticket == ticket);
            }
            if let Some(at) = is_waiting {
                self.queue.remove(at);
                self.clients.remove(&id);
                let others = self.clients.values_mut().filter(|c| c.leaving.is_none() && c.ticket == ticket);
                others.filter(|c| c.target.is_none()).for_each(|c| c.leaving = Some("stopped"));
            } else if follows_open && let Some(run) = self.open {
                self.stops = true;
                let is_kept = !self.runs[&run].answer().is_empty();
                self.finish_turn(run, Ok(FinishReason::Stopped), is_kept);
            }
        }
        self.feed(Input::Abort { subscriber: SubscriberId(id) });
        assert!(!self.stops, "a stop cancels the run");
        assert_eq!(self.starting.take().map(|next| next.text), None, "the queued question starts next");
    }

    fn detach(&mut self, a: u8) {
        let Some((id, _)) = self.client(a) else { return };
        self.clients.remove(&id);
        self.feed(Input::Detach { subscriber: SubscriberId(id) });
    }

    fn ready(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        (client.stuck, client.asks) = (false, false);
        self.feed(Input::Ready { subscriber: SubscriberId(id) });
    }

    /// Advances the time, and wakes the session if it asked for it.
    fn pass(&mut self, a: u8, b: u8) {
        self.now = match (self.wake, a % 4) {
            (Some(at), 0) => at.max(self.now),
            (Some(at), 1) => at.saturating_sub(1).max(self.now),
            _ => self.now + u64::from(b) * 10,
        };
        if self.wake.is_some_and(|at| at <= self.now) || a.is_multiple_of(16) {
            self.wake = None;
            self.feed(Input::Wake);
        }
    }

    fn drain(&mut self) {
        self.drained = true;
        for client in self.clients.values_mut().filter(|c| c.leaving.is_none() && c.target.is_none()) {
            if self.queue.iter().any(|waits| waits.ticket == client.ticket) {
                client.leaving = Some("draining");
            }
        }
        self.queue.clear();
        self.feed(Input::Drain);
    }

    fn feed(&mut self, input: Input) {
        let now = Duration::from_millis(self.now);
        let mut fx = Vec::new();
        self.session.handle(&mut fx, now, input);
        self.perform(&mut fx);
        self.wake = self.session.settle(&mut fx).map(|at| at.as_millis() as u64);
        self.perform(&mut fx);
        self.check();
    }

    fn perform(&mut self, fx: &mut Vec<Effect>) {
        while !fx.is_empty() {
            let mut refused = Vec::new();
            for effect in fx.drain(..) {
                assert!(!self.over, "nothing after the end");
                match effect {
                    Effect::Push { subscriber, outgoing, from, ask } => {
                        let client = self.clients.get_mut(&subscriber.0).expect("no push after a detach");
                        if client.stuck {
                            refused.push(Input::PushRefused { subscriber, outgoing, from });
                            continue;
                        }
                        assert!(!client.asks, "a push before the last one was read");
                        client.asks = ask;
                        client.receive(outgoing, &mut self.runs);
                    }
                    Effect::StartRun { run, request } => self.start_run(run.0, &request.messages),
                    Effect::CancelRun { run } => self.cancel(run.0),
                    Effect::HoldRun { run } => {
                        assert_eq!((self.open, self.held), (Some(run.0), false));
                        self.held = true;
                    }
                    Effect::ContinueRun { run } => {
                        assert_eq!((self.open, self.held), (Some(run.0), true));
                        self.held = false;
                    }
                    Effect::Release { subscriber, .. } => {
                        if let Some(client) = self.clients.remove(&subscriber.0) {
                            assert!(client.last.is_some(), "{subscriber} is released without a last frame");
                        }
                    }
                    Effect::Lose { subscriber, .. } => panic!("{subscriber} is lost without an eviction"),
                    Effect::End => {
                        assert_eq!(self.open, None, "no run outlives its session");
                        assert!(self.clients.is_empty(), "no client remains at the end");
                        let is_idle = self.quiet.is_some_and(|quiet| quiet + IDLE <= self.now);
                        assert!(self.drained || is_idle, "an early end");
                        self.over = true;
                    }
                }
            }
            for input in refused {
                self.session.handle(fx, Duration::from_millis(self.now), input);
            }
        }
    }

    fn start_run(&mut self, run: u32, messages: &[crate::chat::PromptMessage]) {
        assert_eq!(self.open, None, "one run at a time");
        assert!(!self.drained && run > self.runs.last_key_value().map_or(0, |(last, _)| *last));
        let Question { ticket, mut text, kind } = self.starting.take().expect("a question for this run");
        let is_again = self.history.last().is_some_and(|turn| turn.text == text && turn.answer.is_none());
        if matches!(kind, TurnKind::Submit) && is_again {
            self.history.pop(); // Stopped before any text, and asked again.
        }
        self.before.clone_from(&self.history);
        match kind {
            TurnKind::Submit => {}
            TurnKind::Edit { replaces } => self.cut(replaces.as_str()),
            TurnKind::Regenerate { answer } => {
                let at = self.history.iter().rposition(|turn| turn.text == text);
                // The ID of an answer contains the number of its run.
                let name = answer.as_ref().and_then(|name| name.as_str().rsplit('-').next()?.parse().ok());
                let by_answer = || self.history.iter().rposition(|turn| Some(turn.run) == name);
                if let Some(at) = at.or_else(by_answer) {
                    text = self.history[at].text.clone();
                    self.history.truncate(at);
                }
            }
        }
        self.history.push(Turn { text: text.clone(), run, answer: None });
        let last = self.history.len() - 1;
        let sent = self.history.iter().enumerate().filter(|(at, turn)| *at == last || turn.answer.is_some());
        let expected: Vec<String> =
            sent.flat_map(|(_, turn)| [Some(turn.text.clone()), turn.answer.clone()]).flatten().collect();
        let prompt: Vec<String> = messages.iter().map(|message| message.text.to_string()).collect();
        assert!(prompt == expected, "{} messages instead of {}", prompt.len(), expected.len());
        let is_waiting = |client: &&mut Client| client.target.is_none() && client.ticket == ticket;
        self.clients.values_mut().filter(is_waiting).for_each(|client| client.target = Some(run));
        self.runs.insert(run, Truth { asked: text, ..Truth::default() });
        (self.open, self.held, self.retained) = (Some(run), false, None);
        (self.newest, self.unsure) = (Some((run, false)), false);
    }

    fn cut(&mut self, text: &str) {
        if let Some(at) = self.history.iter().rposition(|turn| turn.text == text) {
            self.history.truncate(at);
        }
    }

    fn cancel(&mut self, run: u32) {
        if std::mem::take(&mut self.stops) {
            return;
        }
        assert_eq!(self.open, Some(run));
        assert!(self.alone.is_some_and(|alone| alone + DETACHED <= self.now), "a run is cancelled too early");
        self.queue.clear();
        let is_kept = !self.runs[&run].answer().is_empty();
        self.finish_turn(run, Err(RunErrorKind::Interrupted), is_kept);
        self.quiet = None;
    }

    /// Checks the invariants after every input.
    fn check(&mut self) {
        if self.over {
            return;
        }
        let since = |when: Option<u64>, holds: bool| holds.then(|| when.unwrap_or(self.now));
        self.alone = since(self.alone, self.clients.is_empty());
        self.quiet = since(self.quiet, self.clients.is_empty() && self.open.is_none());
        assert!(!(self.drained && self.quiet.is_some()), "a drained session ends");
        if let Some(quiet) = self.quiet {
            assert!(quiet + IDLE > self.now, "an idle session ends in time");
            assert!(self.wake.is_some_and(|at| at <= quiet + IDLE), "no wake-up for the idle timeout");
        } else if let Some(alone) = self.alone {
            assert!(alone + DETACHED > self.now, "a run is not cancelled in time");
            assert!(
                self.wake.is_some_and(|at| at <= alone + DETACHED),
                "no wake-up for the detached timeout"
            );
        }
        if let Some(until) = self.retained.filter(|until| *until > self.now && self.open.is_none()) {
            assert!(self.wake.is_some_and(|at| at <= until), "no wake-up for the end of the replay time");
        }
        for client in self.clients.values().filter(|client| !client.stuck && client.leaving.is_none()) {
            if let Some(at) = self.queue.iter().position(|queued| queued.ticket == client.ticket)
                && client.target.is_none()
            {
                assert!(client.asks || client.position as usize == at + 1, "the position is sent");
            }
        }
        for client in self.clients.values().filter(|client| client.leaving.is_none()) {
            assert!(client.run.is_none() || client.run == client.target, "frames of another turn");
        }
        if let (true, Some(open)) = (self.held, self.open) {
            let bytes = self.runs[&open].bytes();
            let has_read = |c: &Client| c.leaving.is_none() && c.run == Some(open) && c.bytes == bytes;
            assert!(!self.clients.values().any(has_read), "held although a subscriber is up to date");
        }
    }

    /// Lets all clients read, and finishes all open and queued turns.
    fn read_to_end(&mut self) {
        loop {
            for id in self.clients.keys().copied().collect::<Vec<_>>() {
                while self.clients.contains_key(&id) {
                    self.ready(id);
                    if self.clients.get(&id).is_none_or(|client| !client.asks) {
                        break;
                    }
                }
            }
            if self.open.is_none() || self.over {
                break;
            }
            self.text(1, 2);
            self.end(3);
        }
        assert!(self.clients.is_empty(), "a client waits for ever");
    }
}

impl Client {
    fn receive(&mut self, outgoing: Outgoing, runs: &mut BTreeMap<u32, Truth>) {
        let Outgoing::Frame(frame) = outgoing else {
            panic!("no client is closed");
        };
        assert_eq!(self.last, None, "nothing after the last frame");
        match frame {
            ServerFrame::Rejected { reason } => {
                assert_eq!(self.leaving, Some(reason.code()));
                assert!(!matches!(reason, Rejection::TooOften { after } if after > Duration::from_secs(1)));
                self.last = Some(reason.code().to_owned());
            }
            ServerFrame::NoActive => {
                assert_eq!(self.leaving, Some("no_active"));
                self.last = Some("no_active".into());
            }
            ServerFrame::TurnEnd { end, .. } if self.leaving == Some("stopped") && self.run.is_none() => {
                assert_eq!(end.outcome, Ok(FinishReason::Stopped));
                self.last = Some("stopped".into());
            }
            _ if self.leaving.is_some() => {
                panic!("{frame:?} to a client that is leaving: {:?}", self.leaving)
            }
            ServerFrame::Waiting { position } => {
                assert!(
                    self.run.is_none()
                        && position > 0
                        && position as usize <= QUEUED
                        && position != self.position
                );
                self.position = position;
            }
            ServerFrame::Moving { .. } | ServerFrame::Continued { .. } | ServerFrame::Restarted { .. } => {
                unreachable!("no run restarts here")
            }
            ServerFrame::Queued { .. } | ServerFrame::Retrying { .. } | ServerFrame::Pong => {
                assert!(self.run.is_some())
            }
            ServerFrame::Resumed { position: Some(position) } => self.resume(&position, runs),
            ServerFrame::Resumed { position: None } => {
                assert!(self.resumed == Some(None) && self.run.is_none() && self.position == 0);
            }
            ServerFrame::Accepted { run, start } => {
                let name = start.answer.as_str().rsplit('-').next().expect("a name");
                let number = name.parse().expect("made from the run's number");
                self.rebuilt = run.0 == 0;
                assert!(!self.started && (self.rebuilt || run.0 == number));
                assert!(self.run.is_none_or(|resumed| resumed == number));
                (self.run, self.started) = (Some(number), true);
            }
            ServerFrame::Text { kind: TextKind::Answer, entry, text } => {
                self.read(TextKind::Answer, entry, &text, runs)
            }
            ServerFrame::Text { kind: TextKind::Reasoning, entry, text } => {
                self.read(TextKind::Reasoning, entry, &text, runs)
            }
            ServerFrame::TurnEnd { end, .. } => {
                let truth = &runs[&self.run.expect("a turn")];
                assert!(self.started);
                let outcome = end.outcome.map_err(|error| error.kind);
                if self.rebuilt {
                    assert_eq!(self.bytes, truth.answer().len(), "all of it, before its end");
                } else {
                    assert_eq!(self.bytes, truth.bytes(), "all of it, before its end");
                    assert_eq!(Some(outcome), truth.outcome);
                }
                self.last = Some("end".into());
            }
        }
    }

    fn resume(&mut self, position: &ReplayPosition, runs: &BTreeMap<u32, Truth>) {
        assert_eq!(self.resumed, Some(position.after), "the position is the one that was asked for");
        assert!(self.run.is_none());
        let name = position.answer.as_str().rsplit('-').next().expect("a name");
        let number = name.parse().expect("made from the run's number");
        let truth = &runs[&number];
        self.rebuilt = position.run.0 == 0;
        (self.run, self.started) = (Some(number), position.after.is_some_and(|after| after > 0));
        assert_eq!(position.started, self.started);
        let known = truth.numbers.range(..=position.after.unwrap_or(0)).next_back();
        if let Some((_, (bytes, entries, parts, kind))) = known {
            (self.bytes, self.entry, self.parts, self.kind) = (*bytes, *entries, *parts, Some(*kind));
        }
        assert_eq!((position.entries, position.parts, position.open), (self.entry, self.parts, self.kind));
    }

    fn read(&mut self, kind: TextKind, entry: u32, text: &str, runs: &mut BTreeMap<u32, Truth>) {
        let truth = runs.get_mut(&self.run.expect("a turn")).expect("a run");
        assert!(self.started && !text.is_empty() && text.len() <= PUSH_BYTES_MAX);
        assert!(entry > self.entry, "numbers increase: {entry} after {}", self.entry);
        if self.rebuilt {
            assert!(truth.answer()[self.bytes..].starts_with(text));
        } else {
            assert!(truth.has(self.bytes, kind, text), "{text:?} is not what comes next");
        }
        self.bytes += text.len();
        self.entry = entry;
        if self.kind.replace(kind) != Some(kind) {
            self.parts += 1;
        }
        if self.rebuilt {
            return;
        }
        // The start, an opening and a closing for each part except the last one's closing, and the entries.
        let number = 2 + (2 * self.parts - 1) + (entry - 1);
        let stands = (self.bytes, entry, self.parts, kind);
        let known = *truth.numbers.entry(number).or_insert(stands);
        assert_eq!(known, stands, "a number means the same to every subscriber");
    }
}

/// A default that is fast enough for every run; `PROPTEST_CASES=100000` runs more.
fn cases() -> u32 {
    ProptestConfig::default().cases.max(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// No text is lost, repeated or reordered by any cut; one run at a time; one end for each accepted question; the
    /// limits of queue and subscribers and the detached, replay and idle times hold as set.
    // faults: A13, A14, A15, A21, A22, A23, A24
    #[test]
    fn a_chat_survives_its_readers(script in prop::collection::vec(any::<(u8, u8, u8)>(), 1..150)) {
        let mut world = World::new();
        world.step(0, 7, 0);
        for (what, a, b) in script {
            world.step(what, a, b);
        }
        world.read_to_end();
    }
}
