//! The gateway from outside: real sockets, real processes, scripted upstreams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod chat;
mod docs;
mod frames;
mod harness;
mod hostile;
mod lost;
mod nginx;
mod overload;
mod process;
mod sdk;
mod secrets;
mod slow;
mod tidy;
mod upstream_http;
mod upstream_stream;
mod upstream_tls;
