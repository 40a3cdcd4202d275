//! Requests for small documents, such as a list of models.
use super::{Client, Response, connect_error, open_error};
use crate::{
    chat::{RunError, RunErrorKind},
    upstream::{
        exchange::Header,
        listed::{LIST_BYTES_MAX, LIST_TIME},
        route::Key,
        status,
    },
};
use std::future::poll_fn;
use tokio::time::{Instant, timeout_at};

/// A request for a small document.
pub struct Question<'a> {
    /// With a leading slash.
    pub path: &'a str,
    /// The path is below the root of the host, not below the base URL.
    pub is_from_root: bool,
    pub key: Key,
    pub headers: &'a [Header],
    pub deadline: Instant,
    pub bytes_max: usize,
}

impl<'a> Question<'a> {
    /// A request for a list of models at this path. It costs nothing.
    pub fn list(path: &'a str, key: Key, headers: &'a [Header]) -> Self {
        let (deadline, bytes_max) = (Instant::now() + LIST_TIME, LIST_BYTES_MAX);
        Question { path, is_from_root: false, key, headers, deadline, bytes_max }
    }
}

impl Client {
    /// Asks for a small document with one of the keys: a list of models. It is no run, and a redirect is not followed.
    ///
    /// # Errors
    /// There is no document with a good status in time, or it is longer than allowed.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, RunError> {
        let mut error = match timeout_at(question.deadline, self.document(question)).await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(error)) => error,
            Err(_) => RunError::new(RunErrorKind::UpstreamTimeout, "no answer in time"),
        };
        self.config.redact(&mut error.detail);
        Err(error)
    }

    async fn document(&self, question: &Question<'_>) -> Result<Vec<u8>, RunError> {
        let failed = |error| self.named(error).error;
        let connected = self.transport.connect().await.map_err(|error| failed(connect_error(&error)))?;
        let base = if question.is_from_root { self.config.root() } else { self.config.base.as_str() };
        let request = self.awc.get(format!("{base}{}", question.path));
        let request = self.with_headers(request, question.headers, question.key).send();
        let response = self.over(&connected, request).await.map_err(|error| failed(open_error(&error)))?;
        let body = self.transport.body(&connected, &response);
        let mut response = Response::new(&response, body)?;
        if !(200..300).contains(&response.status) {
            let (kind, _) = status::by_status(response.status);
            let mut error = RunError::new(kind, "");
            error.status = Some(response.status);
            return Err(error);
        }
        let mut document = Vec::new();
        loop {
            let read = poll_fn(|cx| {
                response.poll_read(cx, |bytes| {
                    if document.len() <= question.bytes_max {
                        document.extend_from_slice(bytes);
                    }
                })
            });
            match read.await {
                Some(Ok(_)) if document.len() > question.bytes_max => {
                    let detail = format!("a document of more than {} bytes", question.bytes_max);
                    return Err(RunError::new(RunErrorKind::UpstreamProtocol, detail));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(document),
            }
        }
    }
}
