//! State shared by all users of one process.
use super::{measure::Tally, settings::Settings};
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};
use tokio::{net::tcp::OwnedWriteHalf, sync::Notify};

/// State shared by all users on this thread. Times are nanoseconds of the machine-wide monotonic clock.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    /// Start of the run.
    pub(super) start: u64,
    /// No message is sent after this time.
    pub(super) asking_ends: u64,
    pub(super) is_open_model: bool,
    /// Maximum number of open sockets in this share.
    pub(super) sockets_max: u64,
    pub(super) tally: RefCell<Tally>,
    /// Write halves of all open sockets, to send a close frame at the end of the run.
    pub(super) writers: RefCell<Slab<Rc<OwnedWriteHalf>>>,
    /// The run is over: sockets that end from now on are not errors.
    pub(super) closing: Cell<bool>,
    /// Active users that have not finished.
    pub(super) active: Cell<u64>,
    /// Notified when an active user finishes.
    pub(super) left: Notify,
}
