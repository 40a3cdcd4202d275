//! A session as plain data: the part of a conversation that survives the process.
//!
//! Subscribers and queued messages are not included: clients reconnect and send unanswered messages again. An
//! unfinished run ends when the session is restored: with text it becomes an incomplete answer, without text it is
//! discarded as if it had never been asked.
use super::restart::LogRestart;
use crate::{
    chat::{ChatMessage, Ending, HistorySnapshot, MessageId, RunId, TextKind, Usage},
    protocol::{TurnEnd, TurnStart},
};
use std::time::Duration;

/// A session of a chat at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Without the turn of an unfinished run, and with the turns that it will replace.
    pub history: HistorySnapshot,
    /// The newest run, while it is unfinished or can be replayed.
    pub run: Option<RunSnapshot>,
    /// The number of the newest run; the next one continues from it.
    pub last_run: RunId,
}

/// A run and its replay log.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSnapshot {
    pub run: RunId,
    /// The ID of the question.
    pub question: MessageId,
    pub start: TurnStart,
    /// The entries of the log. All of them are closed: their numbers are final.
    pub entries: Vec<(TextKind, String)>,
    /// What was withdrawn before them.
    pub restart: LogRestart,
    /// The log was rebuilt from the history: no numbers of it were sent before.
    pub is_rebuilt: bool,
    pub state: RunState,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    Unfinished {
        /// The text of the question.
        question: ChatMessage,
        /// The index of the first turn that the answer replaces; the number of turns if it replaces none.
        cut: usize,
        /// The usage so far.
        usage: Option<Usage>,
    },
    Ended {
        end: TurnEnd,
        /// How much longer the log can be replayed.
        replay_time: Duration,
    },
}

impl RunSnapshot {
    /// The answer so far, if it has any text; reasoning alone does not count.
    pub(super) fn answer(&self) -> Option<ChatMessage> {
        let entries = self.entries.iter().filter(|(kind, _)| *kind == TextKind::Answer);
        let text: String = entries.map(|(_, text)| text.as_str()).collect();
        (!text.is_empty()).then(|| ChatMessage {
            model: self.start.model.clone(),
            ..ChatMessage::answer(self.start.answer.clone(), text, Ending::Incomplete)
        })
    }
}
