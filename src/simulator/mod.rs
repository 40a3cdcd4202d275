//! A scripted upstream: a DashScope that costs nothing and fails on demand.
pub mod script;
