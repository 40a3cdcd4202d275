//! The gateway from outside: real sockets, real processes, scripted upstreams.
mod chat;
mod harness;
mod upstream_http;
mod upstream_stream;
mod upstream_tls;
