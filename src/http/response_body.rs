//! The body of a response: passed on in slices, and reported to the connection at its end.
use super::connection::SharedExchange;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Largest slice of a body, in bytes; more is passed on in several. The library copies each slice into the connection's
/// buffer, where it stays until the client reads.
const SLICE_BYTES: usize = 8 * 1024;

/// Lives as long as its request is open. Dropped when the response is fully encoded or was abandoned.
pub(super) struct OpenRequest(pub(super) SharedExchange);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.borrow_mut().answered();
    }
}

pub(super) struct ResponseBody {
    body: BoxBody,
    /// The rest of the last piece of `body`.
    rest: Bytes,
    _request: OpenRequest,
}

impl ResponseBody {
    pub(super) fn new(body: BoxBody, request: OpenRequest) -> Self {
        ResponseBody { body, rest: Bytes::new(), _request: request }
    }
}

impl MessageBody for ResponseBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(piece)) => self.rest = piece,
                end => return Poll::Ready(end),
            }
        }
        let slice = self.rest.len().min(SLICE_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(slice))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{
        exchange::{Exchange, tests::limits},
        framing::Framing,
    };
    use std::{cell::RefCell, future::poll_fn, rc::Rc};

    #[actix_web::test]
    async fn a_body_is_sent_whole_in_slices_and_its_end_is_reported() {
        let now = tokio::time::Instant::now().into_std();
        let shared = Rc::new(RefCell::new(Exchange::new(limits(), false, now)));
        shared.borrow_mut().head_received(now, Framing::None, false);
        let text: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let mut answer = ResponseBody::new(BoxBody::new(text.clone()), OpenRequest(Rc::clone(&shared)));
        assert_eq!(answer.size(), BodySize::Sized(100_000));
        let mut whole = Vec::new();
        while let Some(slice) = poll_fn(|cx| Pin::new(&mut answer).poll_next(cx)).await {
            let slice = slice.unwrap();
            assert!(slice.len() <= SLICE_BYTES);
            whole.extend_from_slice(&slice);
            assert!(!shared.borrow_mut().flushed(now), "there is more to come");
        }
        assert_eq!(whole, text);
        drop(answer);
        assert!(shared.borrow_mut().flushed(now));
    }
}
