//! The gateway from outside: real sockets, real processes, scripted upstreams.
mod chat;
mod harness;
