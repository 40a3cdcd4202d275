//! What a model can do, inferred from its name.

/// The simulator's own models, in addition to those of the services. The first is the default.
pub const MODELS: [&str; 3] = ["sim-chat", "sim-echo", "sim-think"];

/// Models that answer as `sim-chat` and refuse something: the beginning of an answer to continue, and
/// `max_completion_tokens`.
const NO_PREFIX: &str = "sim-noprefill";
const NO_COMPLETION_CAP: &str = "sim-nocap";

/// Models that answer as `sim-chat` with the faults of these switches, for clients whose message is fixed.
pub const FAULTY_MODELS: [(&str, &str); 17] = [
    ("sim-s01", "error=rate retry_after=2 times=1"),
    ("sim-s02", "error=rate"),
    ("sim-s03", "error=fault times=1"),
    ("sim-s04", "error=full"),
    ("sim-s05", "reset times=1"),
    ("sim-s06", "no_head"),
    ("sim-s07", "late_ms=20000"),
    ("sim-s08", "cut_after=40"),
    ("sim-s09", "stall_after=20"),
    ("sim-s10", "garbage_after=9"),
    ("sim-s11", "no_done"),
    ("sim-s12", "error=too_long"),
    ("sim-s13", "error=filter"),
    ("sim-s14", "cut_after=40"),
    ("sim-s15", "error=full for_ms=60000"),
    ("sim-s16", "error=full"),
    ("sim-load", "error=loading for_ms=3000"),
];

/// The switches of a model that fails.
pub(super) fn switches_of(model: &str) -> Option<&'static str> {
    FAULTY_MODELS.iter().find(|(name, _)| *name == model).map(|(_, switches)| *switches)
}

/// Properties of a model.
pub(super) struct Family {
    pub(super) is_sim: bool,
    pub(super) is_known: bool,
    pub(super) is_multimodal: bool,
    pub(super) thinks_always: bool,
    /// `incremental_output` is true by default.
    pub(super) is_incremental: bool,
    /// `incremental_output` cannot be false.
    pub(super) only_incremental: bool,
    /// `result_format` is `message` by default.
    pub(super) has_messages: bool,
    pub(super) refuses_prefix: bool,
    pub(super) refuses_completion_cap: bool,
}

impl Family {
    pub(super) fn of(model: &str) -> Family {
        let name = model.to_ascii_lowercase();
        let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        let is_sim = name.starts_with("sim-");
        let open =
            name.strip_prefix("qwen3-").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let thinks_always = begins(&["sim-think", "qwq", "qvq", "deepseek-r1"]) || name.contains("-thinking");
        let modern = open || begins(&["qwen3-max", "qwen3-vl", "qwq", "qvq"]) || thinks_always;
        let (refuses_prefix, refuses_completion_cap) = (name == NO_PREFIX, name == NO_COMPLETION_CAP);
        Family {
            is_sim,
            is_known: !is_sim
                || MODELS.contains(&&*name)
                || switches_of(&name).is_some()
                || refuses_prefix
                || refuses_completion_cap,
            is_multimodal: name.contains("-vl")
                || begins(&["qvq", "qwen3.5-plus", "qwen3.6-plus", "qwen3.7-plus"]),
            thinks_always,
            is_incremental: modern,
            only_incremental: open || thinks_always,
            has_messages: modern,
            refuses_prefix,
            refuses_completion_cap,
        }
    }
}
