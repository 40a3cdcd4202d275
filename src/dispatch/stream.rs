//! Reads the response of one attempt: its text, its time limits, and what follows the finish reason.
use super::stream_deadlines::{DeadlineGuard, Exceeded};
use crate::{
    chat::{RunError, RunErrorKind, RunEvent},
    upstream::{Reader, client::Response},
};
use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Bytes read in one poll from a response that always has more; then the other tasks of the thread run first.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Maximum time to read the rest of a body after the finish reason, so that the connection can be used again. Then the
/// connection is closed.
const TAIL: Duration = Duration::from_secs(1);
/// The same if no usage has arrived, which some services send last; the metrics need it.
const TAIL_FOR_USAGE: Duration = Duration::from_secs(5);
/// Maximum time that the end of an answer is delayed after the finish reason to include usage, if none has arrived. Then it
/// is sent without usage.
const USAGE_WAIT: Duration = Duration::from_millis(200);

/// The session did not take an event within [`super::Settings::delivery`].
pub(super) const NOT_TAKEN: &str = "the session took nothing for too long";

/// The result of reading in one poll.
pub(super) enum Step {
    /// There are events to pass on, or the answer is finished.
    More,
    End,
    Failed(RunError),
}

/// A response and the state of reading it.
pub(super) struct Stream {
    response: Response,
    pub(super) reader: Reader,
    deadlines: DeadlineGuard,
    /// Bytes read that are not counted yet.
    pub(super) received: usize,
}

impl Stream {
    pub(super) fn new(response: Response, reader: Reader, deadlines: DeadlineGuard) -> Self {
        Stream { response, reader, deadlines, received: 0 }
    }

    /// The first text has been read.
    pub(super) fn has_text(&self) {
        self.deadlines.has_text();
    }

    /// Reads what has arrived, unless the run is held.
    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        held: bool,
        events: &mut Vec<RunEvent>,
    ) -> Poll<Step> {
        if !held && let Some(last) = self.take(cx, events) {
            return Poll::Ready(last);
        }
        if !events.is_empty() || self.is_finished() {
            return Poll::Ready(Step::More);
        }
        match self.deadlines.exceeded() {
            None => Poll::Pending,
            Some(Exceeded::Delivery) => {
                Poll::Ready(Step::Failed(RunError::new(RunErrorKind::Overloaded, NOT_TAKEN)))
            }
            Some(Exceeded::NoText) => Poll::Ready(timed_out("no text came for too long")),
            Some(Exceeded::Silence) => Poll::Ready(timed_out("no byte came for too long")),
            Some(Exceeded::Deadline) => Poll::Ready(timed_out("the run took too long")),
        }
    }

    /// Reads what has arrived; returns the last step if nothing more follows.
    fn take(&mut self, cx: &mut Context<'_>, events: &mut Vec<RunEvent>) -> Option<Step> {
        let mut taken = 0;
        while taken < READ_BYTES_MAX {
            let Stream { response, reader, received, .. } = self;
            let finished = reader.finished();
            let mut fed = Ok(());
            let polled = response.poll_read(cx, |bytes| {
                *received += bytes.len();
                if fed.is_ok() {
                    fed = reader.feed(bytes, events);
                }
            });
            match (polled, fed) {
                (Poll::Pending, _) => break,
                (Poll::Ready(Some(_)), Err(error)) => return Some(Step::Failed(error)),
                (Poll::Ready(Some(Err(error))), _) if !self.reader.finished() => {
                    return Some(Step::Failed(error));
                }
                (Poll::Ready(Some(Err(error))), _) => {
                    log::debug!(error:% = error; "upstream broke after the finish");
                    return Some(Step::End);
                }
                (Poll::Ready(None), _) => return Some(Step::End),
                (Poll::Ready(Some(Ok(read))), _) => taken += read,
            }
            if self.reader.finished() && !finished && self.reader.usage().is_none() {
                self.deadlines.end_by(Instant::now() + USAGE_WAIT);
            }
        }
        if taken > 0 {
            self.deadlines.received();
            if taken >= READ_BYTES_MAX {
                cx.waker().wake_by_ref();
            }
        }
        None
    }

    /// Whether the answer is finished, and its usage is known or [`USAGE_WAIT`] is over.
    pub(super) fn is_finished(&self) -> bool {
        self.reader.finished() && (self.reader.usage().is_some() || self.deadlines.exceeded().is_some())
    }

    /// Reads the rest of the body after a finished answer and ignores it: the answer is complete.
    pub(super) async fn read_rest(&mut self) {
        let time = if self.reader.usage().is_some() { TAIL } else { TAIL_FOR_USAGE };
        let _ = timeout(time, poll_fn(|cx| self.poll_rest(cx))).await;
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // After the finish reason the reader emits neither text nor errors.
        match self.take(cx, &mut Vec::new()) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}

fn timed_out(detail: &str) -> Step {
    Step::Failed(RunError::new(RunErrorKind::UpstreamTimeout, detail))
}
