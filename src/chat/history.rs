//! The history of a conversation, and the part of it that fits into a request.
use super::{
    ChatMessage, Ending, MessageId, PromptMessage, Role, RunId, SessionId, Text, Usage,
    tokens::{Estimate, TokenEstimate, raw_tokens},
    turn::{Names, Turn},
};
use std::{borrow::Cow, collections::VecDeque, sync::Arc};

/// Limits on the part of a history that is kept and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Estimated tokens of one request, including the system prompt; older turns are not sent.
    pub tokens_max: u32,
    /// Bytes of text, without the system prompt; beyond that the oldest turns are dropped.
    pub bytes_max: usize,
    /// Messages, without the system prompt; beyond that the oldest turns are dropped.
    pub messages_max: usize,
}

/// The turns of a conversation, oldest first. Turns beyond the budget's bytes or messages are dropped; the token budget only
/// limits the [`Prompt`] of a request.
#[derive(Debug)]
pub struct History {
    session: SessionId,
    /// The client's own system messages, which follow the system prompt of the model.
    system: Option<Arc<str>>,
    turns: VecDeque<Turn>,
    /// The turns that the open turn displaces; they are restored if it fails.
    displaced: Vec<Turn>,
    budget: Budget,
    estimate: Estimate,
    /// Bytes of text in `turns`.
    bytes: usize,
    /// Messages in `turns`.
    messages: usize,
    /// The models that answered; a turn has the place of its own in this list, counted from 1.
    models: Box<[Arc<str>]>,
    /// Answered turns dropped since the beginning.
    forgotten: usize,
}

/// Replaces the prefix that the IDs of our own answers share; a character that no ID contains.
const OWN: char = '#';

/// Between a model's system prompt and each system message of a client.
const SEPARATOR: &str = "\n\n";

/// Models of one conversation whose names are kept; a turn of any other has none.
const MODELS_MAX: usize = u8::MAX as usize;

/// Number of turns by which the capacity grows; doubling would leave much of it unused.
const TURNS_GROWTH: usize = 4;

/// A turn whose messages have IDs.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatTurn {
    pub question: ChatMessage,
    /// The ID of its answer, even if that is not complete.
    pub answer_id: MessageId,
    pub answer: Option<ChatMessage>,
}

/// A history as data.
#[derive(Clone, Debug, PartialEq)]
pub struct HistorySnapshot {
    /// The client's own system messages.
    pub system: Option<Text>,
    /// Oldest first.
    pub turns: Vec<ChatTurn>,
    /// Answered turns that were dropped.
    pub omitted_turns: usize,
    /// Ratio of the model's token counts to the estimates; 1 if unknown.
    pub token_factor: f32,
}

/// The messages of one request.
#[derive(Debug, PartialEq)]
pub struct Prompt {
    pub messages: Vec<PromptMessage>,
    /// Turns of the conversation that are not among `messages`.
    pub omitted_turns: usize,
    /// Uncorrected estimate, to be passed to [`History::observe`].
    pub estimated_tokens: u32,
    /// The same, corrected by what earlier requests of the conversation were counted as.
    pub tokens: TokenEstimate,
}

impl History {
    /// `session`: the IDs of our own answers are derived from it.
    pub fn new(session: SessionId, budget: Budget) -> Self {
        History {
            session,
            system: None,
            turns: VecDeque::new(),
            displaced: Vec::new(),
            budget,
            estimate: Estimate::default(),
            bytes: 0,
            messages: 0,
            models: Box::default(),
            forgotten: 0,
        }
    }

    /// Opens a turn with a user message.
    pub fn begin(&mut self, text: &str) {
        self.open(Turn::open(text, None));
    }

    /// Opens a turn with a user message and the IDs of that and of its answer.
    pub fn ask(&mut self, user: &MessageId, text: &str, answer: &MessageId) {
        let names = Names { user: user.as_str(), answer: &self.short(answer) };
        self.open(Turn::open(text, Some(names)));
    }

    /// Names the model that answers the open turn.
    pub fn answered_by(&mut self, model: &Arc<str>) {
        let place = self.place_of(model);
        if let Some(turn) = self.turns.back_mut() {
            turn.model = place;
        }
    }

    /// The place of a model among those of this conversation, counted from 1; 0 if there is no room for it.
    fn place_of(&mut self, model: &Arc<str>) -> u8 {
        let known = self.models.iter().position(|known| known == model);
        let place = known.unwrap_or(self.models.len());
        if known.is_none() && place < MODELS_MAX {
            self.models = self.models.iter().chain([model]).cloned().collect();
        }
        u8::try_from(place + 1).unwrap_or_default()
    }

    fn model_of(&self, turn: &Turn) -> Option<Arc<str>> {
        self.models.get(usize::from(turn.model).checked_sub(1)?).cloned()
    }

    /// Shortens the ID of an answer of our own to its run: the rest is the same for all of them.
    fn short<'a>(&self, answer: &'a MessageId) -> Cow<'a, str> {
        match answer.run_of(self.session) {
            Some(run) => format!("{OWN}{run}").into(),
            None => answer.as_str().into(),
        }
    }

    fn long(&self, answer: &str) -> MessageId {
        match answer.strip_prefix(OWN).and_then(|run| run.parse().ok()) {
            Some(run) => MessageId::of_answer(self.session, RunId(run)),
            None => MessageId::taken(answer),
        }
    }

    fn open(&mut self, turn: Turn) {
        self.push(turn);
        self.forget();
    }

    fn push(&mut self, turn: Turn) {
        self.bytes += turn.bytes();
        self.messages += turn.messages();
        if self.turns.len() == self.turns.capacity() {
            self.turns.reserve_exact(TURNS_GROWTH);
        }
        self.turns.push_back(turn);
    }

    /// Closes the open turn with its answer, or gives the newest turn another answer in place of its own.
    pub fn complete(&mut self, text: &str, ending: Ending) {
        self.forget_displaced();
        let Some(mut turn) = self.turns.pop_back() else { return };
        self.bytes -= turn.bytes();
        self.messages -= turn.messages();
        turn.close(text, ending);
        self.open(turn);
    }

    /// Removes the open turn and restores what it displaced.
    pub fn withdraw(&mut self) {
        if self.turns.back().is_some_and(|turn| !turn.is_answered()) {
            let displaced = std::mem::take(&mut self.displaced);
            self.cut_from(self.turns.len() - 1);
            for turn in displaced {
                self.push(turn);
            }
            self.displaced = Vec::new();
            self.forget();
        }
    }

    /// Keeps the open turn without an answer; what it displaced is dropped.
    pub fn leave_unanswered(&mut self) {
        self.forget_displaced();
    }

    /// Drops the displaced turns and their memory.
    fn forget_displaced(&mut self) {
        self.displaced = Vec::new();
        self.turns.shrink_to(self.turns.len() + TURNS_GROWTH);
    }

    /// The newest turn; `None` if its messages have no IDs.
    pub fn newest(&self) -> Option<ChatTurn> {
        self.chat_turn(self.turns.back()?)
    }

    fn chat_turn(&self, turn: &Turn) -> Option<ChatTurn> {
        let Names { user, answer } = turn.names()?;
        let question = ChatMessage::user(MessageId::taken(user), turn.question());
        let answer_id = self.long(answer);
        let answer = turn.answer().map(|text| ChatMessage {
            model: self.model_of(turn),
            ..ChatMessage::answer(answer_id.clone(), text, turn.ending)
        });
        Some(ChatTurn { question, answer_id, answer })
    }

    /// The history as data. With `is_open` the newest turn is unfinished: it is returned separately, with the index of the
    /// first turn that it displaces, and the history contains the displaced turns.
    pub fn snapshot(&self, is_open: bool) -> (HistorySnapshot, Option<(ChatMessage, usize)>) {
        let kept = self.turns.len() - usize::from(is_open);
        let turns = self.turns.iter().take(kept).chain(&self.displaced);
        let snapshot = HistorySnapshot {
            system: self.system.clone().map(Text::from),
            turns: turns.filter_map(|turn| self.chat_turn(turn)).collect(),
            omitted_turns: self.forgotten,
            token_factor: self.estimate.factor(),
        };
        let open = self.turns.get(kept).and_then(|turn| self.chat_turn(turn));
        (snapshot, open.map(|turn| (turn.question, kept)))
    }

    /// The newest question, and the index of its turn in a [`History::snapshot`]: for an answer to it that will replace its own.
    pub fn newest_replaced(&self) -> Option<(ChatMessage, usize)> {
        let named = self.turns.iter().filter(|turn| turn.names().is_some()).count();
        Some((self.newest()?.question, named.checked_sub(1)?))
    }

    /// Restores a snapshot, within the budget. Only for a new history.
    pub fn restore(&mut self, snapshot: HistorySnapshot) {
        let HistorySnapshot { system, turns, omitted_turns, token_factor } = snapshot;
        self.system = system.map(|system| system.as_str().into());
        self.forgotten = omitted_turns;
        self.estimate = Estimate::of(token_factor);
        for ChatTurn { question, answer_id, answer } in turns {
            self.ask(&question.id, &question.text, &answer_id);
            if let Some(answer) = answer {
                answer.model.iter().for_each(|model| self.answered_by(model));
                self.complete(&answer.text, answer.ending);
            }
        }
    }

    /// Sets aside the user message with this ID, its answer and everything after, until the turn that replaces it has an
    /// answer. Returns its text; `None` if there is no such message.
    pub fn cut_before(&mut self, user: &MessageId) -> Option<ChatMessage> {
        self.cut_where(|names| names.user == user.as_str())
    }

    /// The same for the turn whose answer has this ID.
    pub fn cut_before_answer(&mut self, answer: &MessageId) -> Option<ChatMessage> {
        let answer = self.short(answer);
        self.cut_where(|names| names.answer == answer)
    }

    fn cut_where(&mut self, wanted: impl Fn(Names<'_>) -> bool) -> Option<ChatMessage> {
        let at = self.turns.iter().rposition(|turn| turn.names().is_some_and(&wanted))?;
        let turn = &self.turns[at];
        let found = ChatMessage::user(MessageId::taken(turn.names()?.user), turn.question());
        self.cut_from(at);
        Some(found)
    }

    fn cut_from(&mut self, at: usize) {
        self.displaced = self.turns.drain(at..).collect();
        for turn in &self.displaced {
            self.bytes -= turn.bytes();
            self.messages -= turn.messages();
        }
    }

    /// Whether the history is empty.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.forgotten == 0
    }

    /// Imports a client's copy of the conversation, oldest first, within the budget. An assistant message answers the user
    /// message right before it; without one it is dropped. A user message without an answer becomes a turn without an
    /// answer. System messages are added to the system prompt, which has `system_bytes` already. Empty messages are dropped,
    /// but still separate their neighbours.
    pub fn rebuild(&mut self, transcript: Vec<ChatMessage>, system_bytes: usize) {
        let mut answerable = false;
        let mut system = String::new(); // Usually there is none.
        for ChatMessage { id, role, text, .. } in transcript {
            match role {
                Role::System => self.join_system(&mut system, &text, system_bytes),
                Role::User => {
                    answerable = !text.is_empty();
                    if answerable {
                        self.ask(&id, &text, &id); // The answer's ID is replaced when the answer follows.
                    }
                }
                Role::Assistant => {
                    if answerable && !text.is_empty() {
                        let name = self.short(&id);
                        if let Some(turn) = self.turns.back_mut() {
                            turn.name_answer(&name);
                        }
                        self.complete(&text, Ending::Whole);
                    }
                    answerable = false;
                }
            }
        }
        self.system = (!system.is_empty()).then(|| system.into());
    }

    /// Adds a client's system message to the prompt. It is left out if the prompt, which is part of every request, would
    /// become too long.
    fn join_system(&self, system: &mut String, text: &str, system_bytes: usize) {
        let before = if system_bytes > 0 && !system.is_empty() { SEPARATOR.len() } else { 0 };
        if text.is_empty() || system_bytes + before + system.len() + text.len() > self.budget.bytes_max {
            return;
        }
        if !system.is_empty() {
            system.push_str(SEPARATOR);
        }
        system.push_str(text);
    }

    /// The system prompt of a request to a model that has this one, and the client's own.
    fn system(&self, of_model: Option<&Text>) -> Option<PromptMessage> {
        let text = match (of_model, &self.system) {
            (Some(model), Some(own)) => [model, SEPARATOR, own].concat().into(),
            (Some(model), None) => model.clone(),
            (None, own) => Text::from(Arc::clone(own.as_ref()?)),
        };
        Some(PromptMessage { role: Role::System, text })
    }

    /// All messages with IDs, oldest first.
    pub fn transcript(&self) -> Vec<ChatMessage> {
        let turns = self.turns.iter().filter_map(|turn| self.chat_turn(turn));
        turns.flat_map(|turn| [Some(turn.question), turn.answer]).flatten().collect()
    }

    /// The system prompt and the newest turns that fit into the budget and into what the model takes, cut at turn boundaries.
    /// The newest turn is always included: the model decides whether it is too long.
    pub fn prompt(&self, of_model: Option<&Text>, model_tokens_max: Option<u32>) -> Prompt {
        let tokens_max = model_tokens_max.unwrap_or(u32::MAX).min(self.budget.tokens_max);
        let system = self.system(of_model);
        let fixed = system.as_ref().map_or(0, |m| raw_tokens(&m.text));
        let newest = self.turns.len().saturating_sub(1);
        let is_sent = |at: usize| at == newest || self.turns[at].is_answered();
        let (mut tokens, mut from) = (fixed, self.turns.len());
        for (at, turn) in self.turns.iter().enumerate().rev().filter(|(at, _)| is_sent(*at)) {
            if at != newest && self.estimate.corrected(tokens + turn.tokens) > tokens_max {
                break;
            }
            tokens += turn.tokens;
            from = at;
        }
        let omitted = (0..from).filter(|at| is_sent(*at)).count();
        let turns = (from..self.turns.len()).filter(|at| is_sent(*at)).map(|at| &self.turns[at]);
        let past = turns.flat_map(|turn| {
            let question = PromptMessage { role: Role::User, text: turn.question() };
            let answer = turn.answer().map(|text| PromptMessage { role: Role::Assistant, text });
            [Some(question), answer].into_iter().flatten()
        });
        let messages = system.into_iter().chain(past).collect();
        Prompt {
            messages,
            omitted_turns: self.forgotten + omitted,
            estimated_tokens: tokens,
            tokens: TokenEstimate::new(tokens, self.estimate),
        }
    }

    /// Corrects later estimates by the upstream's count for a request that was estimated at `estimated` tokens.
    pub fn observe(&mut self, estimated: u32, usage: &Usage) {
        self.estimate.observe(estimated, usage.input_tokens);
    }

    /// Number of turns.
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory: the blocks of all turns, including those set aside, and a prompt of its own.
    pub fn capacity(&self) -> usize {
        let room = (self.turns.capacity() + self.displaced.capacity()) * size_of::<Turn>();
        let blocks: usize = self.turns.iter().chain(&self.displaced).map(Turn::capacity).sum();
        let system = self.system.as_ref().map_or(0, |system| system.len());
        room + blocks + system + self.models.len() * size_of::<Arc<str>>()
    }

    fn forget(&mut self) {
        while self.turns.len() > 1 && self.over_budget() {
            if let Some(turn) = self.turns.pop_front() {
                self.bytes -= turn.bytes();
                self.messages -= turn.messages();
                self.forgotten += usize::from(turn.is_answered());
            }
        }
    }

    fn over_budget(&self) -> bool {
        self.bytes > self.budget.bytes_max || self.messages > self.budget.messages_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Budget = Budget { tokens_max: 1_000_000, bytes_max: 1_000_000, messages_max: 1_000 };

    fn history(budget: Budget, turns: &[(&str, &str)]) -> History {
        let mut history = History::new(SessionId(1), budget);
        for (user, answer) in turns {
            history.begin(user);
            history.complete(answer, Ending::Whole);
        }
        history
    }

    fn prompt(history: &History) -> Prompt {
        history.prompt(Some(&"be kind".into()), None)
    }

    fn texts(history: &History) -> (Vec<String>, usize) {
        let window = prompt(history);
        (window.messages.iter().map(|m| m.text.to_string()).collect(), window.omitted_turns)
    }

    // faults: K145
    #[test]
    fn a_system_prompt_of_many_pieces_is_joined_within_the_budget_and_keeps_what_is_shared() {
        let system = |text: &str| {
            ChatMessage::new(MessageId::new("s").expect("a name"), Role::System, text.to_owned())
        };
        let mut history = history(Budget { bytes_max: 20, ..WIDE }, &[]);
        history.rebuild(vec![system(""), system("much too long for this budget")], 7);
        assert_eq!(texts(&history).0, ["be kind"]);
        history.rebuild(vec![system("a"), system("longer than fits"), system("b"), system("")], 7);
        assert_eq!(texts(&history).0, ["be kind\n\na\n\nb"]);
        let mut alone = History::new(SessionId(1), WIDE);
        alone.rebuild(vec![system("a"), system("b")], 0);
        assert_eq!(alone.prompt(None, None).messages, [PromptMessage::new(Role::System, "a\n\nb")]);
        let other = alone.prompt(Some(&"be short".into()), None);
        assert_eq!(other.messages, [PromptMessage::new(Role::System, "be short\n\na\n\nb")]);
    }

    #[test]
    fn the_whole_conversation_is_sent_to_the_model() {
        let mut history = history(WIDE, &[("one", "1"), ("two", "2")]);
        history.begin("three");
        assert_eq!(
            texts(&history),
            (["be kind", "one", "1", "two", "2", "three"].map(String::from).to_vec(), 0)
        );
        let roles: Vec<_> = prompt(&history).messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "user"]);
    }

    #[test]
    fn the_token_budget_cuts_whole_turns_and_keeps_the_newest() {
        let mut history =
            history(Budget { tokens_max: 30, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!(texts(&history), (["be kind", "two", "2", "three", "3"].map(String::from).to_vec(), 1));
        history.begin(&"long ".repeat(200));
        assert_eq!(texts(&history), (vec!["be kind".into(), "long ".repeat(200)], 3));
    }

    #[test]
    fn what_a_model_takes_bounds_a_request_and_the_conversation_keeps_all_turns() {
        let history = history(WIDE, &[("one", "1"), ("two", "2"), ("three", "3")]);
        let omitted = |tokens| history.prompt(Some(&"be kind".into()), tokens).omitted_turns;
        // The prompt is 6 tokens, the turns are 10, 10 and 11.
        assert_eq!([omitted(Some(37)), omitted(Some(36)), omitted(Some(0)), omitted(None)], [0, 1, 2, 0]);
        assert_eq!(history.turns(), 3);
        let narrow =
            self::history(Budget { tokens_max: 30, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!(
            narrow.prompt(Some(&"be kind".into()), Some(1_000)).omitted_turns,
            1,
            "the smaller of both"
        );
    }

    #[test]
    fn every_answer_keeps_the_name_of_its_model_up_to_a_number_of_models() {
        let mut history = history(Budget { messages_max: 2_000, ..WIDE }, &[]);
        let name = |at: usize| -> Arc<str> { format!("m{at}").into() };
        for at in 0..300 {
            history.ask(&id(&format!("u{at}")), "ask", &id(&format!("a{at}")));
            history.answered_by(&name(at));
            history.complete("answer", Ending::Whole);
        }
        history.ask(&id("u"), "ask", &id("a"));
        history.answered_by(&name(299));
        history.answered_by(&name(3)); // Another one answers instead.
        history.complete("answer", Ending::Whole);
        let answers = history.transcript().into_iter().filter(|message| message.role == Role::Assistant);
        let models: Vec<Option<Arc<str>>> = answers.map(|answer| answer.model).collect();
        let expected = (0..300).map(|at| (at < 255).then(|| name(at))).chain([Some(name(3))]);
        assert!(models.into_iter().eq(expected));
        let mut restored = self::history(Budget { messages_max: 2_000, ..WIDE }, &[]);
        restored.restore(history.snapshot(false).0);
        assert_eq!(restored.transcript(), history.transcript());
    }

    #[test]
    fn bytes_and_messages_are_bounded_for_good() {
        let bytes = history(Budget { bytes_max: 8, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!((bytes.turns(), bytes.bytes(), texts(&bytes).1), (1, 6, 2));
        let messages =
            history(Budget { messages_max: 4, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!((messages.turns(), texts(&messages).1), (2, 1));
    }

    #[test]
    fn what_just_fits_is_in_and_the_newest_turn_always() {
        let turns = [("one", "1"), ("two", "2"), ("three", "3")];
        // The prompt is 6 tokens, the turns are 10, 10 and 11.
        for (tokens, omitted) in [(37, 0), (36, 1), (27, 1), (26, 2), (1, 2)] {
            let history = history(Budget { tokens_max: tokens, ..WIDE }, &turns);
            assert_eq!((texts(&history).1, history.turns()), (omitted, 3), "{tokens}");
        }
        for (bytes, turns_left) in [(14, 3), (13, 2), (8, 1), (1, 1)] {
            let history = history(Budget { bytes_max: bytes, ..WIDE }, &turns);
            assert_eq!(history.turns(), turns_left, "{bytes}");
        }
        for (messages, turns_left) in [(6, 3), (5, 2), (1, 1)] {
            assert_eq!(
                history(Budget { messages_max: messages, ..WIDE }, &turns).turns(),
                turns_left,
                "{messages}"
            );
        }
    }

    #[test]
    fn a_withdrawn_turn_leaves_no_trace() {
        let mut history = history(WIDE, &[("one", "1")]);
        let before = (prompt(&history), history.bytes());
        history.begin("bad");
        history.withdraw();
        assert_eq!((prompt(&history), history.bytes()), before);
        history.withdraw();
        assert_eq!(history.turns(), 1, "a closed turn is not withdrawn");
    }

    fn id(text: &str) -> MessageId {
        MessageId::new(text).unwrap()
    }

    #[test]
    fn message_ids_are_kept_unchanged() {
        let mut history = history(WIDE, &[]);
        let own = MessageId::of_answer(SessionId(1), RunId(12));
        // The last three look like IDs of our own answers.
        let names = [
            "x",
            own.as_str(),
            "msg-00000000000000000000000000000001-012",
            "msg-00000000000000000000000000000002-12",
            "msg-00000000000000000000000000000001-",
        ];
        for (at, answer) in names.into_iter().enumerate() {
            history.ask(&id(&format!("u{at}")), "ask", &id(answer));
            assert_eq!(history.newest().unwrap().answer_id, id(answer));
            history.complete("answer", Ending::Whole);
        }
        let ids: Vec<String> = history.transcript().iter().map(|message| message.id.to_string()).collect();
        assert_eq!(ids.iter().step_by(2).collect::<Vec<_>>(), ["u0", "u1", "u2", "u3", "u4"]);
        assert_eq!(ids.iter().skip(1).step_by(2).collect::<Vec<_>>(), names);
        assert_eq!(history.cut_before_answer(&own).unwrap().id, id("u1"));
    }

    #[test]
    fn turns_displaced_by_an_edit_are_restored_whole_and_counted_once() {
        let mut history = history(WIDE, &[]);
        for at in 0..3 {
            history.ask(&id(&format!("u{at}")), "question", &id(&format!("a{at}")));
            history.complete("answer", if at == 1 { Ending::Cut } else { Ending::Whole });
        }
        let before = (history.transcript(), history.bytes(), history.messages, prompt(&history));
        assert_eq!(history.cut_before(&id("u1")).unwrap().text.as_str(), "question");
        assert_eq!((history.bytes(), history.messages), (14, 2));
        history.ask(&id("u9"), "another", &id("a9"));
        history.withdraw();
        assert_eq!((history.transcript(), history.bytes(), history.messages, prompt(&history)), before);
        // After an answer the displaced turns cannot be restored.
        history.cut_before(&id("u1"));
        history.ask(&id("u9"), "another", &id("a9"));
        history.complete("!", Ending::Whole);
        history.withdraw();
        assert_eq!((history.turns(), history.bytes(), history.messages), (2, 22, 4));
    }

    #[test]
    fn no_room_is_kept_for_turns_that_are_gone() {
        let mut history = history(WIDE, &[]);
        for at in 0..100 {
            history.ask(&id(&format!("u{at}")), "question", &id(&format!("a{at}")));
            history.complete("answer", Ending::Whole);
            assert!(history.turns.capacity() <= history.turns() + TURNS_GROWTH, "{at}");
        }
        history.cut_before(&id("u0"));
        history.ask(&id("u0"), "another", &id("a0"));
        history.complete("answer", Ending::Whole);
        assert_eq!(history.turns(), 1);
        assert!(history.turns.capacity() <= 1 + TURNS_GROWTH, "{}", history.turns.capacity());
        assert_eq!(history.displaced.capacity(), 0);
    }

    #[test]
    fn the_estimate_follows_the_tokenizer() {
        let mut history =
            history(Budget { tokens_max: 60, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        let before = prompt(&history);
        assert_eq!((before.omitted_turns, before.tokens.prompt), (0, before.estimated_tokens));
        for _ in 0..20 {
            history.observe(10, &Usage { input_tokens: 20, ..Usage::default() });
        }
        let after = prompt(&history);
        assert_eq!(after.omitted_turns, 1, "twice the tokens, so less fits");
        assert!(after.tokens.prompt > after.estimated_tokens * 3 / 2, "{after:?}");
        history.observe(10, &Usage::default());
        assert_eq!(prompt(&history).omitted_turns, 1, "an unknown count teaches nothing");
    }
}
