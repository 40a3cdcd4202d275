//! The rules of sending to an actor, in one place.
//!
//! A mailbox has room for 16 messages, and every sender may have one more queued: a sender (an `Addr` or a
//! `Recipient`) gets `Full` only while its previous message waits in a full mailbox. So a new sender is never
//! rejected for lack of room, and a reused one gets back-pressure. `Closed` means that the actor has ended.
//! Senders need not handle it: an actor notifies everything that depends on it when it is dropped.
//!
//! There are two ways to send: [`notify`] for messages that must arrive, [`offer`] for messages that can
//! wait.
use actix::{dev::ToEnvelope, prelude::*};

/// A destination of messages. A clone is a new sender.
pub trait Sender<M>: Clone
where
    M: Message + Send,
    M::Result: Send,
{
    /// # Errors
    /// Returns the message, see the module.
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

/// Sends a message that must arrive, from a new sender. Only a few of these may be in flight to one actor,
/// because its mailbox does not bound them. The message is dropped if the actor has ended.
pub fn notify<M>(to: &impl Sender<M>, message: M)
where
    M: Message + Send,
    M::Result: Send,
{
    // Never `Full`, because the sender is new; `Closed` is handled elsewhere, see the module.
    drop(to.clone().try_send(message));
}

/// Sends a message that can wait; it is dropped if the actor has ended.
///
/// # Errors
/// The mailbox is full; returns the message, to be sent when there is room.
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
