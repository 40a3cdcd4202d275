//! All messages between connections, sessions and other subscribers of a chat, and the handles that they are
//! sent to. Names no actor.
use crate::{
    access::Pass,
    chat::{
        Catalog, ChatId, Choice, Chosen, MessageId, ParameterFault, RequestId, SubscriberId, TurnRequest,
    },
    mailbox,
    memory::Account,
    protocol::{Close, Codec, NumberInRun, Rejection, ServerFrame},
    session::Transcript,
    socket::window::SendWindow,
};
use actix::{MailboxError, WeakRecipient, prelude::*};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A message to a session.
#[derive(Message)]
#[rtype(result = "()")]
pub enum SessionMessage {
    /// A message of the client whose socket this session belongs to.
    Message {
        subscriber: SubscriberId,
        text: String,
        chosen: Chosen,
        /// The memory for an answer.
        account: Account<1>,
    },
    /// A request to subscribe to this session's chat.
    Attach(Attach),
    /// A subscriber's connection is closed.
    Detach {
        subscriber: SubscriberId,
    },
    /// The user stops the turn that the subscriber follows.
    Stop {
        subscriber: SubscriberId,
    },
    /// Requests the conversation so far. Changes nothing, and does not protect the session from eviction.
    GetTranscript(oneshot::Sender<Transcript>),
    Signal(SessionSignal),
    #[cfg(test)]
    Test(super::session_actor::TestHook),
}

/// Signals of the worker's clock and the registry to a session.
#[derive(Clone, Copy, Debug)]
pub enum SessionSignal {
    /// The session's timer is due.
    Wake,
    /// The process is stopping.
    Drain,
    /// The grace period is over.
    Close,
    /// The session was evicted for another chat.
    Evict,
    /// Memory is low: finished answers that are kept for replay must be released.
    ReleaseRetained,
}

/// Sends to a session from any thread. A clone is a new sender, see [`mailbox`].
#[derive(Clone)]
pub struct SessionHandle(Recipient<SessionMessage>);

/// A handle that does not keep the session alive.
pub struct WeakSessionHandle(WeakRecipient<SessionMessage>);

impl SessionHandle {
    pub fn new(recipient: Recipient<SessionMessage>) -> Self {
        SessionHandle(recipient)
    }

    /// Sends what must arrive, see [`mailbox::notify`].
    pub fn notify(&self, message: SessionMessage) {
        mailbox::notify(&self.0, message);
    }

    pub fn signal(&self, signal: SessionSignal) {
        self.notify(SessionMessage::Signal(signal));
    }

    /// The mailbox is full, or the session has ended; returns the message.
    pub fn try_send(&self, message: SessionMessage) -> Result<(), SendError<SessionMessage>> {
        self.0.try_send(message)
    }

    /// Sends when the mailbox has room.
    pub fn send(
        &self,
        message: SessionMessage,
    ) -> impl Future<Output = Result<(), MailboxError>> + use<> + 'static {
        self.0.send(message)
    }

    /// The conversation so far; `None` if the session ends first.
    pub async fn transcript(&self) -> Option<Transcript> {
        let (reply, transcript) = oneshot::channel();
        self.send(SessionMessage::GetTranscript(reply)).await.ok()?;
        transcript.await.ok()
    }

    #[cfg(test)]
    pub fn is(&self, other: &SessionHandle) -> bool {
        self.0 == other.0
    }

    /// Whether the session has not ended.
    pub fn is_live(&self) -> bool {
        self.0.connected()
    }

    pub fn downgrade(&self) -> WeakSessionHandle {
        WeakSessionHandle(self.0.downgrade())
    }
}

impl WeakSessionHandle {
    pub fn upgrade(&self) -> Option<SessionHandle> {
        self.0.upgrade().map(SessionHandle)
    }
}

/// The destination of a subscriber's frames: a connection, or anything else that handles [`Push`].
#[derive(Clone)]
pub struct Sink {
    pub recipient: Recipient<Push>,
    /// Credit for frames in flight, shared by all subscribers behind this sink.
    pub window: Arc<SendWindow>,
    /// Set if the sink is a socket that sessions of its thread can write to directly.
    pub socket: Option<SocketKey>,
}

/// Identifies a socket's direct writer among those of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    pub worker: usize,
    pub connection: u64,
}

/// A message from a session to a [`Sink`].
#[derive(Message)]
#[rtype(result = "()")]
pub enum Push {
    /// Encoded frames. If a full mailbox rejects them, they return to the session, which marks the subscriber
    /// as behind.
    Frames {
        bytes: Vec<u8>,
        /// Closes the socket after the frames.
        close: Option<Close>,
        /// The charge to the [`SendWindow`], released by the receiver when the frames are written.
        cost: usize,
    },
    /// The subscription is complete.
    Finished { subscriber: SubscriberId },
    /// The session ended before the subscription was complete: it panicked or was evicted.
    Lost { subscriber: SubscriberId },
    /// The request's session ended before handling it.
    Returned(Box<AttachRequest>),
}

/// Signals of the worker's clock to a connection.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum ConnectionSignal {
    /// Send a ping, or close if the peer has timed out.
    Heartbeat,
    /// The process is stopping.
    Drain,
    /// The grace period is over.
    Close,
}

/// What a request does with its chat.
pub enum AttachKind {
    Ask { turn: Box<TurnRequest>, chosen: Result<Chosen, Rejection> },
    Resume { turn: Option<MessageId>, after: Option<NumberInRun> },
    Continue { answer: MessageId, choice: Choice, catalog: Arc<Catalog> },
}

impl AttachKind {
    /// Bytes of text in what is to be answered.
    pub fn bytes(&self) -> Option<usize> {
        match self {
            AttachKind::Ask { turn, .. } => {
                let before = turn.transcript.iter().map(|past| past.text.len());
                Some(turn.message.text.len() + before.sum::<usize>())
            }
            AttachKind::Continue { .. } => Some(0),
            AttachKind::Resume { .. } => None,
        }
    }

    /// The reply if the chat has no session and none is started.
    pub fn without_session(&self) -> ServerFrame {
        match self {
            AttachKind::Ask { chosen, .. } => {
                let reason = chosen.as_ref().err().cloned().unwrap_or(Rejection::Draining);
                ServerFrame::Rejected { reason }
            }
            AttachKind::Continue { .. } => {
                let reason = Rejection::BadParameter { fault: ParameterFault::NotContinued };
                ServerFrame::Rejected { reason }
            }
            AttachKind::Resume { .. } => ServerFrame::NoActive,
        }
    }
}

/// A request in flight to the session of its chat.
pub struct AttachRequest {
    pub subscriber: SubscriberId,
    pub request: RequestId,
    pub chat: ChatId,
    pub kind: AttachKind,
    pub pass: Arc<Pass>,
    /// The memory for an answer.
    pub account: Option<Account<1>>,
    pub codec: Codec,
    pub sink: Sink,
    /// Times that it was returned.
    pub returns: u8,
}

/// A request in a session's mailbox. If it is dropped unhandled, it is returned to its sink.
pub struct Attach(Option<Box<AttachRequest>>);

impl Attach {
    pub fn new(request: Box<AttachRequest>) -> Self {
        Attach(Some(request))
    }

    pub fn take(mut self) -> Option<Box<AttachRequest>> {
        self.0.take()
    }
}

impl Drop for Attach {
    fn drop(&mut self) {
        if let Some(request) = self.0.take() {
            let sink = request.sink.recipient.clone();
            mailbox::notify(&sink, Push::Returned(request));
        }
    }
}
