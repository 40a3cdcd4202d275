//! The gateway from outside: real sockets, real processes, scripted upstreams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bad_frames;
mod canary;
mod chat;
mod cuts;
mod docs;
mod frames;
mod fuzz;
mod harness;
mod hostile;
mod hostile_chats;
mod http_raw;
mod load;
mod load_cuts;
mod lost;
mod many_chats;
mod network;
mod nginx;
mod nginx_faults;
mod overload;
mod page;
mod parameters;
mod process;
mod resources;
mod restart;
mod sdk;
mod secrets;
mod sessions;
mod slow;
mod soak;
mod tidy;
mod upstream_http;
mod upstream_stream;
mod upstream_tls;
