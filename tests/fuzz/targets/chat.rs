//! `cargo fuzz run`: the body of the same name.
#![no_main]
#![allow(dead_code, reason = "each target takes one of the bodies")]

#[path = "../bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::chat::run(data));
