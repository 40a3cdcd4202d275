//! Renamed keys. The old name is accepted for one release, with a warning.
use super::Origin;
use std::fmt::Write;

/// Old name, new name. To be deleted in the release after the one that renamed the keys.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("server.drain", "server.drain_timeout"),
    ("server.max_sockets", "connection.count_max"),
    ("server.max_sockets_per_address", "connection.count_per_address_max"),
    ("limits.message_bytes", "connection.message_bytes_max"),
    ("limits.frame_bytes", "connection.frame_bytes_max"),
    ("limits.fragments", "connection.fragments_max"),
    ("limits.frames_per_second", "connection.frames_per_second_max"),
    ("limits.frames_burst", "connection.frames_burst_max"),
    ("limits.requests", "connection.requests_max"),
    ("limits.output_bytes", "connection.output_bytes_max"),
    ("limits.send_buffer", "connection.send_buffer"),
    ("limits.slow_client", "connection.write_timeout"),
    ("limits.silence", "connection.idle_timeout"),
    ("limits.ping", "connection.ping_interval"),
    ("limits.chats", "session.count_max"),
    ("limits.chats_per_principal", "session.count_per_principal_max"),
    ("limits.readers", "session.subscribers_max"),
    ("limits.queued_messages", "session.queued_messages_max"),
    ("limits.transcript_bytes", "session.transcript_bytes_max"),
    ("limits.behind_bytes", "session.lag_bytes_max"),
    ("session.linger", "session.detached_timeout"),
    ("session.idle", "session.idle_timeout"),
    ("session.retain", "session.replay_time"),
    ("history.tokens", "history.tokens_max"),
    ("history.bytes", "history.bytes_max"),
    ("history.messages", "history.messages_max"),
    ("dispatch.runs", "dispatch.runs_max"),
    ("dispatch.queue", "dispatch.queue_max"),
    ("dispatch.queue_wait", "dispatch.queue_timeout"),
    ("upstream.first_byte", "upstream.first_byte_timeout"),
    ("upstream.stall", "upstream.idle_timeout"),
    ("upstream.run_time", "upstream.run_timeout"),
    ("upstream.line_bytes", "upstream.line_bytes_max"),
    ("upstream.event_bytes", "upstream.event_bytes_max"),
    ("upstream.answer_bytes", "upstream.answer_bytes_max"),
    ("retry.pause", "retry.backoff_min"),
    ("retry.pause_max", "retry.backoff_max"),
    ("retry.after_max", "retry.retry_after_max"),
    ("breaker.share", "breaker.failure_percent"),
    ("breaker.pause", "breaker.open_time"),
];

/// A value that was given under an old name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldName {
    pub old: &'static str,
    pub new: &'static str,
    pub origin: Origin,
}

/// The row of this old name.
pub(super) fn renamed(name: &str) -> Option<(&'static str, &'static str)> {
    RENAMED.iter().find(|(old, _)| *old == name).copied()
}

/// The old name of this key, if it has one.
pub(super) fn old_name(key: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(_, new)| *new == key).map(|(old, _)| *old)
}

/// The table in Markdown, as in docs/CHANGELOG.md.
pub fn renamed_table() -> String {
    let mut out = String::from("| old name | new name |\n| --- | --- |\n");
    for (old, new) in RENAMED {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| `{old}` | `{new}` |");
    }
    out
}
