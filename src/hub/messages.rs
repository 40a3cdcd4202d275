//! All messages between connections, sessions and other subscribers of a chat, and the handles that they are
//! sent to. Names no actor.
use crate::{
    access::Pass,
    chat::{ChatId, MessageId, RequestId, SubscriberId, TurnRequest},
    mailbox,
    memory::Account,
    protocol::{ClientFrame, Close, Codec, Rejection, ServerFrame},
    session::{Input, Transcript},
    socket::window::SendWindow,
};
use actix::{MailboxError, WeakRecipient, prelude::*};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a session is sent.
#[derive(Message)]
#[rtype(result = "()")]
pub enum SessionMessage {
    /// A frame of the client whose socket this session belongs to.
    Client {
        subscriber: SubscriberId,
        frame: ClientFrame,
        /// The memory for an answer.
        account: Account<1>,
    },
    /// A request wants to follow this session's chat.
    Attach(Attach),
    /// The connection of a subscriber is gone.
    Detach {
        subscriber: SubscriberId,
    },
    /// The user stops the turn that this subscriber follows.
    Stop {
        subscriber: SubscriberId,
    },
    /// Asks for the conversation so far. Changes nothing, and does not keep the session from ending.
    GetTranscript(oneshot::Sender<Transcript>),
    Signal(SessionSignal),
    #[cfg(test)]
    Test(super::session_actor::TestHook),
}

/// Signals of the worker's clock and the registry to a session.
#[derive(Clone, Copy, Debug)]
pub enum SessionSignal {
    /// The time that the session asked for has come.
    Wake,
    /// The process is stopping.
    Drain,
    /// The grace period is over.
    Close,
    /// The session was evicted: another chat takes its place.
    Evict,
    /// Memory is short: finished answers are to be given up.
    GiveBack,
}

/// The way to a session, from any thread. A clone is a new sender, see [`mailbox`].
#[derive(Clone)]
pub struct SessionHandle(Recipient<SessionMessage>);

/// The same, without keeping the session alive.
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

    /// # Errors
    /// There is no room in its mailbox, or the session has ended; the message comes back.
    pub fn try_send(&self, message: SessionMessage) -> Result<(), SendError<SessionMessage>> {
        self.0.try_send(message)
    }

    /// Waits for room in its mailbox.
    pub fn send(
        &self,
        message: SessionMessage,
    ) -> impl Future<Output = Result<(), MailboxError>> + use<> + 'static {
        self.0.send(message)
    }

    /// The conversation so far, unless the session ends before it answers.
    pub async fn transcript(&self) -> Option<Transcript> {
        let (reply, transcript) = oneshot::channel();
        self.send(SessionMessage::GetTranscript(reply)).await.ok()?;
        transcript.await.ok()
    }

    #[cfg(test)]
    pub fn is(&self, other: &SessionHandle) -> bool {
        self.0 == other.0
    }

    /// The session has not ended.
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

/// Where a session sends what its subscribers are to get: a connection, or anything else that takes [`Push`].
#[derive(Clone)]
pub struct Sink {
    pub recipient: Recipient<Push>,
    /// Credit for what is on its way, shared by all subscribers behind this sink.
    pub window: Arc<SendWindow>,
    /// A socket of this gateway that a session on the same thread can write to directly.
    pub socket: Option<SocketKey>,
}

/// Finds a socket's direct writer on the thread that both are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    pub worker: usize,
    pub connection: u64,
}

/// What a session sends to a [`Sink`].
#[derive(Message)]
#[rtype(result = "()")]
pub enum Push {
    /// Encoded frames. Refused by a full mailbox, they come back to the session, and the subscriber is behind.
    Frames {
        bytes: Vec<u8>,
        /// Ends the socket behind the frames.
        close: Option<Close>,
        /// What the [`SendWindow`] was charged; the receiver of the frames releases it when they are written.
        cost: usize,
    },
    /// A subscriber got everything that it asked for.
    Finished { subscriber: SubscriberId },
    /// The session of a subscriber ended without an end for it: it panicked or was evicted.
    Lost { subscriber: SubscriberId },
    /// No session took this request: the one that it was sent to was just ending.
    Returned(Box<AttachRequest>),
}

/// Signals of the worker's clock to a connection.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum ConnectionSignal {
    /// Time for a ping, or to notice that the peer is gone.
    Heartbeat,
    /// The process is stopping.
    Drain,
    /// The grace period is over.
    Close,
}

/// What a request wants of its chat.
pub enum AttachKind {
    Ask(Box<TurnRequest>),
    Resume { turn: Option<MessageId>, after: Option<u32> },
}

impl AttachKind {
    /// Bytes of text in a question.
    pub fn bytes(&self) -> Option<usize> {
        match self {
            AttachKind::Ask(turn) => {
                let before = turn.transcript.iter().map(|past| past.text.len());
                Some(turn.message.text.len() + before.sum::<usize>())
            }
            AttachKind::Resume { .. } => None,
        }
    }

    pub fn input(self, subscriber: SubscriberId) -> Input {
        match self {
            AttachKind::Ask(turn) => Input::Ask { subscriber, turn },
            AttachKind::Resume { turn, after } => Input::Resume { subscriber, turn, after },
        }
    }

    /// The answer where the chat has no session, and none is started.
    pub fn without_session(&self) -> ServerFrame {
        match self {
            AttachKind::Ask(_) => ServerFrame::Rejected { reason: Rejection::Draining },
            AttachKind::Resume { .. } => ServerFrame::NoActive,
        }
    }
}

/// A request on its way to the session of its chat.
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
    /// How often it was returned.
    pub returns: u8,
}

/// A request in a session's mailbox. Dropped there, it is returned to its sink.
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
