//! Log lines on standard error, filtered by `RUST_LOG`, plain or JSON. Logging never blocks the gateway.
mod line;
mod queue;

#[cfg(test)]
mod tests;

pub use line::{MESSAGE_BYTES, VALUE_BYTES, escape, write_line};

use env_logger::{Builder, Target};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::{self, PanicHookInfo},
    sync::{OnceLock, atomic::AtomicU64},
    thread,
    time::Duration,
};

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time LEVEL target: message key=value`, for people.
    #[default]
    Plain,
    /// One JSON object with the same fields, for machines.
    Json,
}

/// Lines lost since the start, because standard error was closed, failed, or was read too slowly.
pub static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

/// The filter when `RUST_LOG` is empty: crates that log every connection are limited to warnings.
pub const DEFAULT_FILTER: &str = "info,actix_http=warn,actix_rt=warn,actix_server=warn,actix_web=warn,awc=warn,\
                                  h2=warn,mio=warn,rustls=warn,tokio=warn";

/// Capacity of the queue before the writing thread, in lines; when it is full, further lines are dropped.
const QUEUE_LINES: usize = 1024;
/// How long a panicking thread waits for its line to be written; then it continues without.
const PANIC_FLUSH: Duration = Duration::from_millis(200);

static QUEUE: OnceLock<queue::Queue> = OnceLock::new();

/// Starts logging, including panics. Later calls do nothing, so that several gateways can share a test process. Never
/// fails: if logging cannot be set up, the gateway runs without.
pub fn init(format: Format) {
    // RUST_LOG is not a key of the configuration, so it is read here.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads RUST_LOG")]
    let spec = std::env::var("RUST_LOG").unwrap_or_default();
    let (spec, refused) = filter(&spec);
    let Ok(queue) = queue::Queue::spawn(io::stderr(), QUEUE_LINES, &DROPPED_LINES) else {
        return; // The thread could not be started, so nothing can be logged.
    };
    let pipe = queue.clone();
    let mut builder = Builder::new();
    builder.parse_filters(spec);
    builder.target(Target::Pipe(Box::new(pipe)));
    builder.format(move |buf, record| {
        let mut text = String::with_capacity(160);
        let time = buf.timestamp_millis();
        write_line(&mut text, format, &time, record);
        buf.write_all(text.as_bytes())
    });
    if builder.try_init().is_err() {
        return;
    }
    let _ = QUEUE.set(queue); // Only the call that set the logger gets here.
    panic::set_hook(Box::new(on_panic));
    if refused {
        log::warn!("RUST_LOG is not a filter, such as info,tidegate=debug; using the default");
    }
}

/// Waits until all lines so far are written, at most for `longest`. To be called before the process exits. Returns
/// whether all were written.
pub fn flush(longest: Duration) -> bool {
    QUEUE.get().is_none_or(|queue| queue.flush(longest))
}

/// The filter to use, and whether that of the environment is invalid. An empty variable counts as unset: compose files
/// turn unset variables into empty ones, and an empty filter would suppress everything but errors.
fn filter(spec: &str) -> (&str, bool) {
    if spec.trim().is_empty() {
        return (DEFAULT_FILTER, false);
    }
    match env_filter::Builder::new().try_parse(spec) {
        Ok(_) => (spec, false),
        Err(_) => (DEFAULT_FILTER, true),
    }
}

fn on_panic(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture(); // Empty unless RUST_BACKTRACE is set.
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let thread = thread::current();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let payload = info.payload();
    let payload =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let text = panic_text(thread.name(), &place, payload, backtrace.map(|b| b.to_string()));
    log::error!(target: "tidegate::panic", "{text}");
    flush(PANIC_FLUSH);
}

fn panic_text(thread: Option<&str>, place: &str, payload: Option<&str>, backtrace: Option<String>) -> String {
    let thread = thread.unwrap_or("unnamed");
    let payload = payload.unwrap_or("(no text)");
    let backtrace = backtrace.map(|text| format!(" backtrace: {text}")).unwrap_or_default();
    format!("thread {thread} panicked at {place}: {payload}{backtrace}")
}
