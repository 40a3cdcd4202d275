//! The history of a conversation, and the part of it that fits into a request.
use super::{Message, MessageId, Past, Role, Usage, UserMessage};
use std::{collections::VecDeque, sync::Arc};

/// What of a history is kept and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Estimated tokens of one request, the system prompt included.
    pub tokens: u32,
    /// Bytes of text, the system prompt not counted.
    pub bytes: usize,
    /// Messages, the system prompt not counted.
    pub messages: usize,
}

/// Turns in order, oldest first. Turns that fall out of the budget's bytes or messages are
/// forgotten; the token budget only narrows the [`Window`] of a request.
#[derive(Debug)]
pub struct History {
    system: Option<Message>,
    turns: VecDeque<Turn>,
    /// What gave way to the open turn: it comes back when nothing comes of that.
    displaced: Vec<Turn>,
    budget: Budget,
    estimate: Estimate,
    /// Bytes of text in `turns`.
    bytes: usize,
    /// Messages in `turns`.
    messages: usize,
    /// Turns forgotten since the beginning, those without an answer not counted.
    forgotten: usize,
}

/// A user message and its answer. The answer of the open turn is still to come; an earlier turn without
/// one was stopped before its first word, and is not sent to the model.
#[derive(Debug)]
struct Turn {
    user: Message,
    answer: Option<Message>,
    /// What client and gateway call the two messages; a plain conversation has no names.
    names: Option<Box<Names>>,
    /// Uncorrected estimate of both texts.
    tokens: u32,
    /// The answer broke off.
    incomplete: bool,
}

#[derive(Debug)]
struct Names {
    user: MessageId,
    answer: MessageId,
}

/// A turn that can be found again.
#[derive(Debug, PartialEq)]
pub struct Known<'a> {
    pub user: &'a MessageId,
    pub question: &'a Arc<String>,
    /// What its answer is called, also while there is none.
    pub answer: &'a MessageId,
    pub text: Option<&'a Arc<String>>,
    pub incomplete: bool,
}

/// One message of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub role: Role,
    pub id: MessageId,
    pub text: Arc<String>,
    /// An answer that broke off or was stopped.
    pub incomplete: bool,
}

/// The messages of one request.
#[derive(Debug, PartialEq)]
pub struct Window {
    pub messages: Vec<Message>,
    /// Turns of the conversation that are not among `messages`.
    pub omitted_turns: usize,
    /// Uncorrected estimate, to be given back to [`History::observe`].
    pub estimated_tokens: u32,
}

impl History {
    pub fn new(system_prompt: Option<Arc<String>>, budget: Budget) -> Self {
        let system = system_prompt.map(|text| Message { role: Role::System, text });
        History {
            system,
            turns: VecDeque::new(),
            displaced: Vec::new(),
            budget,
            estimate: Estimate::default(),
            bytes: 0,
            messages: 0,
            forgotten: 0,
        }
    }

    /// Opens a turn with a user message.
    pub fn begin(&mut self, text: String) {
        self.open(Arc::new(text), None);
    }

    /// Opens a turn with a user message that has a name, and names its answer.
    pub fn ask(&mut self, user: MessageId, text: Arc<String>, answer: MessageId) {
        self.open(text, Some(Box::new(Names { user, answer })));
    }

    fn open(&mut self, text: Arc<String>, names: Option<Box<Names>>) {
        let tokens = raw_tokens(&text);
        self.bytes += text.len();
        self.messages += 1;
        let user = Message { role: Role::User, text };
        self.turns.push_back(Turn { user, answer: None, names, tokens, incomplete: false });
        self.forget();
    }

    /// Closes the open turn with its answer; `incomplete` when it broke off.
    pub fn complete(&mut self, text: Arc<String>, incomplete: bool) {
        self.displaced = Vec::new();
        let Some(turn) = self.turns.back_mut() else { return };
        turn.tokens += raw_tokens(&text);
        turn.incomplete = incomplete;
        self.bytes += text.len();
        self.messages += usize::from(turn.answer.is_none());
        turn.answer = Some(Message { role: Role::Assistant, text });
        self.forget();
    }

    /// Takes the open turn out again, as if it had not been asked: what it displaced is back.
    pub fn withdraw(&mut self) {
        if self.turns.back().is_some_and(|turn| turn.answer.is_none()) {
            let displaced = std::mem::take(&mut self.displaced);
            self.cut_from(self.turns.len() - 1);
            for turn in displaced {
                self.bytes += turn.bytes();
                self.messages += turn.messages();
                self.turns.push_back(turn);
            }
            self.displaced = Vec::new();
            self.forget();
        }
    }

    /// The open turn stays without an answer, and what it displaced does not come back.
    pub fn leave_unanswered(&mut self) {
        self.displaced = Vec::new();
    }

    /// The newest turn with a name.
    pub fn newest(&self) -> Option<Known<'_>> {
        self.turns.back().and_then(Turn::known)
    }

    /// Puts aside the user message of this name, its answer and all that followed, until the turn that takes
    /// its place has an answer; gives its text back. `None`, and nothing put aside: it is not known.
    pub fn cut_before(&mut self, user: &MessageId) -> Option<UserText> {
        self.cut_where(|names| names.user == *user)
    }

    /// The same for the turn whose answer has this name.
    pub fn cut_before_answer(&mut self, answer: &MessageId) -> Option<UserText> {
        self.cut_where(|names| names.answer == *answer)
    }

    fn cut_where(&mut self, wanted: impl Fn(&Names) -> bool) -> Option<UserText> {
        let at = self.turns.iter().rposition(|turn| turn.names.as_deref().is_some_and(&wanted))?;
        let turn = &self.turns[at];
        let found = UserText { id: turn.names.as_ref()?.user.clone(), text: Arc::clone(&turn.user.text) };
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

    /// Nothing was ever said here, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.forgotten == 0
    }

    /// Takes over a client's copy of the conversation, oldest first, within the budget. An assistant's
    /// message answers the user's message right before it; one that follows no such message is dropped, and a
    /// user's message that nobody answered stays as a turn without an answer. What the system said
    /// joins the system prompt. Messages without text are as if they were not there, but still
    /// stand between their neighbours.
    pub fn rebuild(&mut self, transcript: Vec<Past>) {
        let mut answerable = false;
        for Past { role, id, text } in transcript {
            match role {
                Role::System => self.join_prompt(&text),
                Role::User => {
                    answerable = !text.is_empty();
                    if answerable {
                        self.ask(id.clone(), Arc::new(text), id); // Until its answer comes.
                    }
                }
                Role::Assistant => {
                    if answerable && !text.is_empty() {
                        if let Some(names) = self.turns.back_mut().and_then(|turn| turn.names.as_mut()) {
                            names.answer = id;
                        }
                        self.complete(Arc::new(text), false);
                    }
                    answerable = false;
                }
            }
        }
    }

    /// The prompt is in every request, so it is bounded like the rest: what would make it too long is left out.
    fn join_prompt(&mut self, text: &str) {
        let prompt = self.system.as_ref().map_or("", |message| message.text.as_str());
        if text.is_empty() || prompt.len() + text.len() > self.budget.bytes {
            return;
        }
        let gap = if prompt.is_empty() { "" } else { "\n\n" };
        self.system = Some(Message::new(Role::System, format!("{prompt}{gap}{text}")));
    }

    /// All that is remembered and has a name, oldest first.
    pub fn transcript(&self) -> Vec<Said> {
        let said = self.turns.iter().filter_map(|turn| {
            let Names { user, answer } = turn.names.as_deref()?;
            let question = Said::new(&turn.user, user, false);
            Some([Some(question), turn.answer.as_ref().map(|text| Said::new(text, answer, turn.incomplete))])
        });
        said.flatten().flatten().collect()
    }

    /// The system prompt and the newest turns that fit, cut at turn boundaries. The newest turn
    /// is always in: whether it is too long is for the model to say.
    pub fn window(&self) -> Window {
        let fixed = self.system.as_ref().map_or(0, |m| raw_tokens(&m.text));
        let newest = self.turns.len().saturating_sub(1);
        let is_sent = |at: usize| at == newest || self.turns[at].answer.is_some();
        let (mut tokens, mut from) = (fixed, self.turns.len());
        for (at, turn) in self.turns.iter().enumerate().rev().filter(|(at, _)| is_sent(*at)) {
            if at != newest && self.estimate.corrected(tokens + turn.tokens) > self.budget.tokens {
                break;
            }
            tokens += turn.tokens;
            from = at;
        }
        let omitted = (0..from).filter(|at| is_sent(*at)).count();
        let turns = (from..self.turns.len()).filter(|at| is_sent(*at)).map(|at| &self.turns[at]);
        let messages = self
            .system
            .iter()
            .chain(turns.flat_map(|turn| [Some(&turn.user), turn.answer.as_ref()].into_iter().flatten()))
            .cloned()
            .collect();
        Window { messages, omitted_turns: self.forgotten + omitted, estimated_tokens: tokens }
    }

    /// Learns from what the upstream counted for a request estimated at `estimated` tokens.
    pub fn observe(&mut self, estimated: u32, usage: &Usage) {
        self.estimate.observe(estimated, usage.input_tokens);
    }

    /// Turns held now.
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Bytes of text held now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget(&mut self) {
        while self.turns.len() > 1 && self.over_budget() {
            if let Some(turn) = self.turns.pop_front() {
                self.bytes -= turn.bytes();
                self.messages -= turn.messages();
                self.forgotten += usize::from(turn.answer.is_some());
            }
        }
    }

    fn over_budget(&self) -> bool {
        self.bytes > self.budget.bytes || self.messages > self.budget.messages
    }
}

/// A user message that was taken out of a history.
#[derive(Debug, PartialEq)]
pub struct UserText {
    pub id: MessageId,
    pub text: Arc<String>,
}

impl From<UserMessage> for UserText {
    fn from(UserMessage { id, text }: UserMessage) -> Self {
        UserText { id, text: Arc::new(text) }
    }
}

impl Said {
    fn new(message: &Message, id: &MessageId, incomplete: bool) -> Self {
        Said { role: message.role, id: id.clone(), text: Arc::clone(&message.text), incomplete }
    }
}

impl Turn {
    fn bytes(&self) -> usize {
        self.user.text.len() + self.answer.as_ref().map_or(0, |answer| answer.text.len())
    }

    fn messages(&self) -> usize {
        1 + usize::from(self.answer.is_some())
    }

    fn known(&self) -> Option<Known<'_>> {
        let Names { user, answer } = self.names.as_deref()?;
        Some(Known {
            user,
            question: &self.user.text,
            answer,
            text: self.answer.as_ref().map(|message| &message.text),
            incomplete: self.incomplete,
        })
    }
}

/// The factor between our estimate and what the model's tokenizer counts.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    factor: f32,
}

impl Default for Estimate {
    fn default() -> Self {
        Estimate { factor: 1.0 }
    }
}

impl Estimate {
    /// One odd report must not empty the window or blow it up.
    const FACTOR: std::ops::RangeInclusive<f32> = 0.25..=4.0;
    /// How much a new report weighs against the old ones.
    const WEIGHT: f32 = 0.3;

    fn corrected(self, raw: u32) -> u32 {
        (raw as f32 * self.factor) as u32
    }

    fn observe(&mut self, estimated: u32, counted: u64) {
        if estimated == 0 || counted == 0 {
            return;
        }
        let seen = (counted as f32 / estimated as f32).clamp(*Self::FACTOR.start(), *Self::FACTOR.end());
        self.factor += (seen - self.factor) * Self::WEIGHT;
    }
}

/// Tokens that every message costs beside its text: role and separators.
const MESSAGE_TOKENS: u32 = 4;

/// Estimates tokens by character classes: about four Latin letters, one and a half CJK
/// characters or two of anything else make one token.
fn raw_tokens(text: &str) -> u32 {
    let twelfths: usize = text
        .chars()
        .map(|c| match c {
            '\0'..='\u{024f}' => 3,
            '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' => 8,
            '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}' => 8,
            _ => 6,
        })
        .sum();
    MESSAGE_TOKENS + u32::try_from(twelfths.div_ceil(12)).unwrap_or(u32::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Budget = Budget { tokens: 1_000_000, bytes: 1_000_000, messages: 1_000 };

    fn history(budget: Budget, turns: &[(&str, &str)]) -> History {
        let mut history = History::new(Some(Arc::new("be kind".into())), budget);
        for (user, answer) in turns {
            history.begin((*user).into());
            history.complete(Arc::new((*answer).into()), false);
        }
        history
    }

    fn texts(history: &History) -> (Vec<String>, usize) {
        let window = history.window();
        (window.messages.iter().map(|m| m.text.to_string()).collect(), window.omitted_turns)
    }

    #[test]
    fn the_whole_conversation_goes_to_the_model() {
        let mut history = history(WIDE, &[("one", "1"), ("two", "2")]);
        history.begin("three".into());
        assert_eq!(
            texts(&history),
            (["be kind", "one", "1", "two", "2", "three"].map(String::from).to_vec(), 0)
        );
        let roles: Vec<_> = history.window().messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "user"]);
    }

    #[test]
    fn the_token_budget_cuts_whole_turns_and_keeps_the_newest() {
        let mut history =
            history(Budget { tokens: 30, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!(texts(&history), (["be kind", "two", "2", "three", "3"].map(String::from).to_vec(), 1));
        history.begin("long ".repeat(200));
        assert_eq!(texts(&history), (vec!["be kind".into(), "long ".repeat(200)], 3));
    }

    #[test]
    fn bytes_and_messages_are_bounded_for_good() {
        let bytes = history(Budget { bytes: 8, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!((bytes.turns(), bytes.bytes(), texts(&bytes).1), (1, 6, 2));
        let messages = history(Budget { messages: 4, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!((messages.turns(), texts(&messages).1), (2, 1));
    }

    #[test]
    fn what_just_fits_is_in_and_the_newest_turn_always() {
        let turns = [("one", "1"), ("two", "2"), ("three", "3")];
        // The prompt is 6 tokens, the turns are 10, 10 and 11.
        for (tokens, omitted) in [(37, 0), (36, 1), (27, 1), (26, 2), (1, 2)] {
            let history = history(Budget { tokens, ..WIDE }, &turns);
            assert_eq!((texts(&history).1, history.turns()), (omitted, 3), "{tokens}");
        }
        for (bytes, turns_left) in [(14, 3), (13, 2), (8, 1), (1, 1)] {
            let history = history(Budget { bytes, ..WIDE }, &turns);
            assert_eq!(history.turns(), turns_left, "{bytes}");
        }
        for (messages, turns_left) in [(6, 3), (5, 2), (1, 1)] {
            assert_eq!(history(Budget { messages, ..WIDE }, &turns).turns(), turns_left, "{messages}");
        }
    }

    #[test]
    fn a_withdrawn_turn_leaves_no_trace() {
        let mut history = history(WIDE, &[("one", "1")]);
        let before = (history.window(), history.bytes());
        history.begin("bad".into());
        history.withdraw();
        assert_eq!((history.window(), history.bytes()), before);
        history.withdraw();
        assert_eq!(history.turns(), 1, "a closed turn is not withdrawn");
    }

    #[test]
    fn the_estimate_follows_the_tokenizer() {
        let mut history =
            history(Budget { tokens: 60, ..WIDE }, &[("one", "1"), ("two", "2"), ("three", "3")]);
        assert_eq!(history.window().omitted_turns, 0);
        for _ in 0..20 {
            history.observe(10, &Usage { input_tokens: 20, ..Usage::default() });
        }
        assert_eq!(history.window().omitted_turns, 1, "twice the tokens, so less fits");
        history.observe(10, &Usage::default());
        assert_eq!(history.window().omitted_turns, 1, "an unknown count teaches nothing");
    }

    #[test]
    fn classes_of_characters_weigh_differently() {
        assert_eq!(raw_tokens("abcdefghijkl"), 4 + 3);
        assert_eq!(raw_tokens("你好你好你好"), 4 + 4);
        assert_eq!(raw_tokens("！？！𠀀𠀀𠀀"), 4 + 4);
        assert_eq!(raw_tokens("😀😀😀😀"), 4 + 2);
    }
}
