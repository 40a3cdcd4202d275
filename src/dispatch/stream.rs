//! The response of one attempt as it is read: its text, its time limits, and what follows its finish.
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

/// Bytes that are taken from a stream that is always ready before others get their turn.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How long the rest of a body is read after the finish, so that the connection can be used again.
const TAIL: Duration = Duration::from_secs(1);
/// The same where no usage has come, which some services send last. It counts for the metrics.
const TAIL_FOR_USAGE: Duration = Duration::from_secs(5);
/// How long the end of an answer waits after its finish for usage to go with it, where none has come.
const USAGE_WAIT: Duration = Duration::from_millis(200);

/// The session did not take an event within [`super::Settings::delivery`].
pub(super) const NOT_TAKEN: &str = "the session took nothing for too long";

/// What one wake of a stream brought.
pub(super) enum Step {
    /// Events are there to be passed on, or the end of the answer is.
    More,
    End,
    Failed(RunError),
}

/// A response as it is read.
pub(super) struct Stream {
    response: Response,
    pub(super) reader: Reader,
    deadlines: DeadlineGuard,
    /// Bytes that are not accounted for.
    pub(super) received: usize,
}

impl Stream {
    pub(super) fn new(response: Response, reader: Reader, deadlines: DeadlineGuard) -> Self {
        Stream { response, reader, deadlines, received: 0 }
    }

    /// Takes what is there, unless the run is held.
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
            Some(Exceeded::Silence) => Poll::Ready(timed_out("no byte came for too long")),
            Some(Exceeded::Deadline) => Poll::Ready(timed_out("the run took too long")),
        }
    }

    /// Takes what is there; the last step where there will be no more.
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
            let is_end = match (polled, fed) {
                (Poll::Pending, _) => break,
                (Poll::Ready(Some(_)), Err(error)) => return Some(Step::Failed(error)),
                (Poll::Ready(Some(Err(error))), _) if !self.reader.finished() => {
                    return Some(Step::Failed(error));
                }
                (Poll::Ready(Some(Err(error))), _) => {
                    log::debug!(error:% = error; "upstream broke after the finish");
                    true
                }
                (Poll::Ready(Some(Ok(read))), _) => {
                    taken += read;
                    false
                }
                (Poll::Ready(None), _) => true,
            };
            if is_end {
                return Some(Step::End);
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

    /// Whether the answer is finished, and its usage known or waited for long enough.
    pub(super) fn is_finished(&self) -> bool {
        self.reader.finished() && (self.reader.usage().is_some() || self.deadlines.exceeded().is_some())
    }

    /// Reads what is left behind a finished answer, whatever that is: the answer is whole.
    pub(super) async fn read_rest(&mut self) {
        let time = if self.reader.usage().is_some() { TAIL } else { TAIL_FOR_USAGE };
        let _ = timeout(time, poll_fn(|cx| self.poll_rest(cx))).await;
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing that follows a finish is text or an error.
        match self.take(cx, &mut Vec::new()) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}

fn timed_out(detail: &str) -> Step {
    Step::Failed(RunError::new(RunErrorKind::UpstreamTimeout, detail))
}
