//! Frames of a client.
use super::super::{ClientFrame, Incoming, Limits, Misunderstood, Refusal};

pub(in crate::protocol) fn decode(_: Incoming<'_>, _: Limits) -> Result<ClientFrame, Misunderstood> {
    Err(Misunderstood { request: None, reason: Refusal::Binary })
}
