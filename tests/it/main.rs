//! The gateway from outside: real sockets, real processes, scripted upstreams.
mod chat;
mod docs;
mod harness;
mod nginx;
mod process;
mod sdk;
mod secrets;
mod tidy;
