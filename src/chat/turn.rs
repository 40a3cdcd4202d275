//! One turn of a conversation, kept in a single block of text.
use super::{Ending, Text, tokens::raw_tokens};
use std::sync::Arc;

/// A user message and its answer. The open turn has no answer yet; an earlier turn without one was stopped before its first
/// text, and is not sent to the model.
///
/// Thousands of conversations are idle at any time and consist mostly of turns. So the texts and IDs of a turn are in a
/// single block, which is allocated again when the answer is complete.
#[derive(Debug)]
pub(super) struct Turn {
    /// Question, answer, ID of the question, ID of the answer.
    block: Arc<str>,
    /// Bytes of the question.
    question: u32,
    /// Bytes of the answer.
    answer: u32,
    /// Uncorrected estimate of both texts.
    pub tokens: u32,
    /// Bytes of the question's ID; the rest is the answer's. Plain conversations have no IDs.
    name: u8,
    is_answered: bool,
    /// Of its answer.
    pub ending: Ending,
    /// The model that answers, as the history counts them; 0 if unknown.
    pub model: u8,
}

/// The IDs of the two messages of a turn, as stored in the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub user: &'a str,
    pub answer: &'a str,
}

const NAMELESS: Names<'_> = Names { user: "", answer: "" };

impl Turn {
    /// An open turn.
    pub(super) fn open(question: &str, names: Option<Names<'_>>) -> Self {
        Turn { tokens: raw_tokens(question), ..Turn::pack(question, "", names.unwrap_or(NAMELESS)) }
    }

    /// The turn closed with its answer, in place of the one that it may have.
    pub(super) fn close(&mut self, answer: &str, ending: Ending) {
        let names = self.names().unwrap_or(NAMELESS);
        *self = Turn {
            tokens: raw_tokens(self.question_str()) + raw_tokens(answer),
            is_answered: true,
            ending,
            model: self.model,
            ..Turn::pack(self.question_str(), answer, names)
        };
    }

    /// Changes the ID of the answer of an open turn.
    pub(super) fn name_answer(&mut self, answer: &str) {
        if let Some(Names { user, .. }) = self.names() {
            let model = self.model;
            *self = Turn { model, ..Turn::open(self.question_str(), Some(Names { user, answer })) };
        }
    }

    fn pack(question: &str, answer: &str, names: Names<'_>) -> Self {
        let texts = [question, answer, names.user, names.answer];
        Turn {
            block: texts.concat().into(),
            question: question.len() as u32,
            answer: answer.len() as u32,
            tokens: 0,
            name: names.user.len() as u8, // See `ID_BYTES_MAX`.
            is_answered: false,
            ending: Ending::Whole,
            model: 0,
        }
    }

    pub(super) fn question(&self) -> Text {
        Text::piece(&self.block, 0, self.question as usize)
    }

    pub(super) fn answer(&self) -> Option<Text> {
        self.is_answered.then(|| Text::piece(&self.block, self.question as usize, self.bytes()))
    }

    pub(super) fn question_str(&self) -> &str {
        &self.block[..self.question as usize]
    }

    pub(super) fn names(&self) -> Option<Names<'_>> {
        let (user, answer) = self.block[self.bytes()..].split_at(usize::from(self.name));
        (!user.is_empty()).then_some(Names { user, answer })
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Bytes of both texts.
    pub(super) fn bytes(&self) -> usize {
        self.question as usize + self.answer as usize
    }

    /// Bytes of its block, including the two reference counters before it.
    pub(super) fn capacity(&self) -> usize {
        self.block.len() + 2 * size_of::<usize>()
    }

    pub(super) fn messages(&self) -> usize {
        1 + usize::from(self.is_answered)
    }
}
