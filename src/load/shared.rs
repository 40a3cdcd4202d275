//! What all users of one process share.
use super::{measure::Tally, settings::Settings};
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

/// What all users of this thread share. Times are on the machine's clock.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    /// When the run begins.
    pub(super) start: u64,
    /// No message is sent after this.
    pub(super) asking_ends: u64,
    pub(super) is_open_model: bool,
    /// Of this share.
    pub(super) sockets_max: u64,
    pub(super) tally: RefCell<Tally>,
    /// Every open socket, to say goodbye to.
    pub(super) writers: RefCell<Slab<Rc<OwnedWriteHalf>>>,
    /// The run is over; whatever ends now may.
    pub(super) closing: Cell<bool>,
    /// Talking users that have not left.
    pub(super) active: Cell<u64>,
    /// Notified when one of them leaves.
    pub(super) left: Notify,
}
