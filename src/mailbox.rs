//! The rules of sending to an actor, in one place.
//!
//! A mailbox has room for 16 messages, and every sender may have one more waiting in it: a sender (an
//! `Addr` or a `Recipient`) is refused with `Full` while its previous message waits in a full mailbox. So a
//! new sender is never refused for lack of room, and one that is kept and reused feels back-pressure.
//! `Closed` means that the actor has ended: whoever waits for it learns of that in another way, because
//! an actor that is dropped tells all that depend on it.
//!
//! So there are two ways to send, and no third: [`notify`] for what must arrive, [`offer`] for what can wait.
use actix::{dev::ToEnvelope, prelude::*};

/// What messages can be sent to. A clone is a new sender.
pub trait Sender<M>: Clone
where
    M: Message + Send,
    M::Result: Send,
{
    /// # Errors
    /// The message comes back, see the module.
    fn try_send(&self, message: M) -> Result<(), SendError<M>>;
}

impl<A, M> Sender<M> for Addr<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        Addr::try_send(self, message)
    }
}

impl<M> Sender<M> for Recipient<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        Recipient::try_send(self, message)
    }
}

/// Sends what must arrive, by a new sender. Only few of these may be under way to one actor, since the bound of its
/// mailbox does not hold for them. When the actor has ended, the message is dropped.
pub fn notify<M>(to: &impl Sender<M>, message: M)
where
    M: Message + Send,
    M::Result: Send,
{
    // Not `Full`, because the sender is new; and `Closed` is for others to notice.
    drop(to.clone().try_send(message));
}

/// Sends what can wait; it is lost when the actor has ended.
///
/// # Errors
/// The mailbox is full: the message comes back, to be sent when there is room.
pub fn offer<M>(to: &impl Sender<M>, message: M) -> Result<(), M>
where
    M: Message + Send,
    M::Result: Send,
{
    match to.try_send(message) {
        Ok(()) | Err(SendError::Closed(_)) => Ok(()),
        Err(SendError::Full(message)) => Err(message),
    }
}
