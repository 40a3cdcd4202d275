//! The frames between gateway and client; each wire format is one file.
pub mod ai_sdk;
pub mod close;
pub mod codec;
pub mod incoming;
pub mod plain;
pub mod position;
pub mod rejection;

pub use close::Close;
pub use codec::{Codec, FrameEncoder};
pub use incoming::{DecodeError, Incoming, Limits};
pub use position::{NumberInRun, ReplayPosition};
pub use rejection::Rejection;

use crate::chat::{
    ChatId, Choice, FinishReason, MessageId, RequestId, RunError, RunId, TextKind, Timing, TurnRequest, Usage,
};
use std::{sync::Arc, time::Duration};

/// A frame from a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame {
    /// A user message for the only conversation of this socket, already checked: not blank, within the limit.
    Message { text: String },
    /// A question in one of the client's chats.
    Ask { request: RequestId, chat: ChatId, turn: Box<TurnRequest>, choice: Choice },
    /// Follow the newest turn of a chat: from its start, or from the frame after number `after`. With `turn`, only if that is the ID of its question or answer, or else follow the
    /// queued turn whose question has this ID.
    Resume { request: RequestId, chat: ChatId, turn: Option<MessageId>, after: Option<NumberInRun> },
    /// Go on with the newest answer of a chat, which broke off.
    Continue { request: RequestId, chat: ChatId, answer: MessageId, choice: Choice },
    /// Stop the answer that this request started or follows, or withdraw its question while that is queued.
    Abort { request: RequestId },
    /// Answered by the connection with [`ServerFrame::Pong`].
    Ping { request: Option<RequestId> },
}

/// A frame to a client. A session sends the same frames whatever the codec; a codec may leave some out.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFrame {
    /// A message was accepted and its run was started: the first frame of a turn.
    Accepted { run: RunId, start: Arc<TurnStart> },
    /// The first frame to a subscriber that resumes: it follows an answer from `position` on. `None`: the
    /// question is still queued, and the answer follows from its start.
    Resumed { position: Option<Box<ReplayPosition>> },
    /// There is no answer to follow. The last frame to this subscriber.
    NoActive,
    /// The message waits in the queue of its chat; `position` counts from 1.
    Waiting { position: u32 },
    /// The run waits for a slot; `position` counts from 1.
    Queued { run: RunId, position: u32 },
    /// An attempt failed before any text; another one follows.
    Retrying { run: RunId, attempt: u32, after: Duration },
    /// Text was shown and the attempt failed: another one follows, and the text stays until that has some.
    Moving { run: RunId },
    /// Another attempt goes on with what was shown.
    Continued { run: RunId },
    /// The answer begins anew: what was sent of it is withdrawn.
    Restarted { run: RunId, restart: Box<Restart> },
    /// New text of one kind: everything not yet sent up to entry number `entry` of the replay log.
    Text { kind: TextKind, entry: u32, text: String },
    /// The end of a turn; exactly one for each [`ServerFrame::Accepted`]. The last frame to a subscriber that follows one
    /// answer.
    TurnEnd { run: RunId, end: Box<TurnEnd> },
    /// A message was rejected; nothing else changed. The last frame to a subscriber that follows one answer.
    Rejected { reason: Rejection },
    /// The answer to [`ClientFrame::Ping`].
    Pong,
}

/// What is known of a turn at its start.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnStart {
    /// ID of the answer; the same in every replay.
    pub answer: MessageId,
    /// The model that the client asked for, or the default one; `None` if unknown, for an answer that was not written here.
    pub model: Option<Arc<str>>,
    /// Turns of the conversation that are not sent to the model.
    pub omitted_turns: usize,
    /// The run, if it goes on with an answer: the numbers of the turn begin again.
    pub continued_by: Option<RunId>,
}

/// The point of an answer from which on it is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// The model that writes it.
    pub model: Arc<str>,
    /// Its number within the turn.
    pub number: u32,
    /// Restarts of the turn so far: numbers that precede those of later entries.
    pub count: u32,
    /// Entries before it.
    pub entries: u32,
    /// Parts before it.
    pub parts: u32,
    pub withdrawn: Withdrawn,
}

/// What a subscriber was sent of the withdrawn text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    Nothing,
    Reasoning,
    Answer,
}

impl ServerFrame {
    /// Bytes of text in the frame.
    pub fn text_bytes(&self) -> usize {
        match self {
            ServerFrame::Text { text, .. } => text.len(),
            ServerFrame::Accepted { .. }
            | ServerFrame::Resumed { .. }
            | ServerFrame::NoActive
            | ServerFrame::Waiting { .. }
            | ServerFrame::Queued { .. }
            | ServerFrame::Retrying { .. }
            | ServerFrame::Moving { .. }
            | ServerFrame::Continued { .. }
            | ServerFrame::Restarted { .. }
            | ServerFrame::TurnEnd { .. }
            | ServerFrame::Rejected { .. }
            | ServerFrame::Pong => 0,
        }
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    pub outcome: Result<FinishReason, RunError>,
    pub usage: Option<Usage>,
    pub timing: Timing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_counts_as_text() {
        let text = "水".to_owned();
        assert_eq!(ServerFrame::Text { kind: TextKind::Reasoning, entry: 1, text }.text_bytes(), 3);
        assert_eq!(ServerFrame::Queued { run: RunId(1), position: 9 }.text_bytes(), 0);
    }
}
