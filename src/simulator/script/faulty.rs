//! Whether the faults of a message, or of a model, apply to this request.
use super::{
    PREFIX, Script, Times,
    error::{Kind, ServiceError},
    models,
    request::Request,
};
use std::time::Duration;

/// What the server knows beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The simulator's name.
    pub place: &'a str,
    /// Since any fixed moment.
    pub now: Duration,
    /// Requests in progress, with this one.
    pub running: u64,
}

/// The script of a request: that of its message, with the faults of its model, or without faults where they do
/// not apply.
///
/// # Errors
/// A switch is wrong, or too many requests are in progress.
pub fn choose(
    request: &Request,
    situation: Situation<'_>,
    times: &mut Times,
) -> Result<Script, ServiceError> {
    let message = request.last_user_text();
    let is_script = Script::is_script(message);
    let of_model = models::switches_of(&request.model.to_ascii_lowercase());
    let text = match (is_script, of_model) {
        (false, None) => return Ok(Script::good()),
        (true, None) => message.to_owned(),
        (true, Some(switches)) => format!("{message} {switches}"),
        (false, Some(switches)) => format!("{PREFIX} {switches}"),
    };
    let parse = |parse: fn(&str) -> Result<Script, String>| {
        let mut script = parse(&text).map_err(ServiceError::parameter)?;
        script.has_content = is_script;
        Ok(script)
    };
    let script = parse(Script::parse)?;
    let mut applies = script.places.is_empty() || script.places.iter().any(|place| place == situation.place);
    if applies && (script.times.is_some() || script.lasts.is_some()) {
        // An outage of a model is one for all messages.
        let key = match (of_model, script.lasts) {
            (None, _) => message.to_owned(),
            (Some(_), Some(_)) => request.model.clone(),
            (Some(_), None) => format!("{}\n{message}", request.model),
        };
        applies = times.is_faulty(&key, situation.now, script.times, script.lasts);
    }
    if !applies {
        return parse(Script::parse_healthy);
    }
    match script.runs {
        Some(runs) if situation.running > runs => Err(ServiceError::of(Kind::Full)),
        _ => Ok(script),
    }
}
