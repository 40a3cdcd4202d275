//! Arrival times, pauses and prompts, all determined before the run.
use crate::units::fractional_duration;
use fastrand::Rng;
use std::time::Duration;

/// Placeholders of a prompt.
const SOCKET: &str = "{socket}";
const TURN: &str = "{turn}";

/// Longest duration of any flag; longer ones are rejected.
const DURATION_MAX: Duration = Duration::from_secs(86_400);

/// One user of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Numbered from 0, independent of the number of processes.
    pub(crate) number: u64,
    /// Time since the start of the run.
    pub(crate) at: Duration,
    /// Opens a socket and sends nothing.
    pub(crate) idle: bool,
}

/// How users arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// Fixed numbers, evenly spread over this time.
    Ramp { active: u64, idle: u64, over: Duration },
    /// Idle users spread over a time; active ones at random with an average rate per second.
    Open { idle: u64, over: Duration, rate: f64, until: Duration },
}

impl Arrivals {
    /// All arrivals in order. The same seed gives the same list.
    pub(crate) fn list(&self, seed: u64) -> Box<dyn Iterator<Item = Arrival>> {
        match *self {
            Arrivals::Ramp { active, idle, over } => Box::new(ramp(active, idle, over)),
            Arrivals::Open { idle, over, rate, until } => Box::new(open(idle, over, rate, until, seed)),
        }
    }
}

/// Mixes idle and active users evenly.
fn ramp(active: u64, idle: u64, over: Duration) -> impl Iterator<Item = Arrival> {
    let all = active + idle;
    let share = move |number: u64| u128::from(number) * u128::from(idle) / u128::from(all.max(1));
    (0..all).map(move |number| Arrival {
        number,
        at: over.mul_f64(number as f64 / all as f64),
        idle: share(number) != share(number + 1),
    })
}

fn open(idle: u64, over: Duration, rate: f64, until: Duration, seed: u64) -> impl Iterator<Item = Arrival> {
    let mut rng = Rng::with_seed(seed);
    let mut at = Duration::ZERO;
    let active = std::iter::from_fn(move || {
        // Exponential gaps: arrivals are independent. `1 - x` is never 0, whose logarithm is infinite.
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
        (at < until).then_some((at, false))
    });
    let mut idle = ramp(0, idle, over).map(|arrival| (arrival.at, true)).peekable();
    let mut active = active.peekable();
    let merged = std::iter::from_fn(move || match (idle.peek(), active.peek()) {
        (Some(left), Some(right)) if left.0 > right.0 => active.next(),
        (Some(_), _) => idle.next(),
        (None, _) => active.next(),
    });
    merged.enumerate().map(|(number, (at, idle))| Arrival { number: number as u64, at, idle })
}

/// How an active user continues after the first answer.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    rng: Rng,
    think: (Duration, Duration),
}

impl Behaviour {
    pub(crate) fn new(seed: u64, number: u64, think: (Duration, Duration)) -> Self {
        Behaviour { rng: Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), think }
    }

    /// Pause before the next message.
    pub(crate) fn think(&mut self) -> Duration {
        let (from, to) = self.think;
        from + to.saturating_sub(from).mul_f64(self.rng.f64())
    }

    /// Index of the next prompt.
    pub(crate) fn choose(&mut self, prompts: usize) -> usize {
        self.rng.usize(..prompts.max(1))
    }
}

/// The message to send: a prompt with its placeholders filled in.
pub(crate) fn fill_placeholders(prompt: &str, socket: u64, turn: u64) -> String {
    prompt.replace(SOCKET, &socket.to_string()).replace(TURN, &turn.to_string())
}

/// Parses a file of prompts: each line is a JSON string or an object with `prompt`.
///
/// # Errors
/// Names the line that cannot be parsed.
pub(crate) fn prompts(text: &str) -> Result<Vec<String>, String> {
    let mut prompts = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value: serde_json::Value =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        let prompt = value.as_str().or_else(|| value.get("prompt")?.as_str());
        let prompt = prompt.ok_or_else(|| {
            format!("line {}: neither a JSON string nor an object with \"prompt\"", number + 1)
        })?;
        prompts.push(prompt.to_owned());
    }
    if prompts.is_empty() { Err("no prompt in it".to_owned()) } else { Ok(prompts) }
}

/// Parses a number with its unit, such as `500ms` or `30s`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = fractional_duration(text).map_err(|why| format!("{text:?}: {why}"))?;
    // A day is longer than any run; larger values could overflow sums.
    if duration > DURATION_MAX { Err(format!("{text:?} is longer than a day")) } else { Ok(duration) }
}

/// Parses `2s..8s` or `2s`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn span(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (duration(from)?, duration(to)?);
    if from > to { Err(format!("{text:?} goes backwards")) } else { Ok((from, to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_is_even_and_mixes_the_idle_ones() {
        let over = Duration::from_secs(10);
        let list: Vec<_> = Arrivals::Ramp { active: 6, idle: 4, over }.list(0).collect();
        assert_eq!(list.len(), 10);
        assert_eq!(list.iter().filter(|arrival| arrival.idle).count(), 4);
        assert_eq!(
            list.iter().take(5).filter(|arrival| arrival.idle).count(),
            2,
            "half of them in half of it"
        );
        assert!(list.iter().enumerate().all(|(k, arrival)| arrival.at == Duration::from_secs(k as u64)));
        assert_eq!(Arrivals::Ramp { active: 0, idle: 0, over }.list(0).count(), 0);
    }

    #[test]
    fn an_open_run_has_its_rate_and_repeats_itself() {
        let until = Duration::from_secs(100);
        let arrivals = Arrivals::Open { idle: 10, over: Duration::from_secs(5), rate: 50.0, until };
        let list: Vec<_> = arrivals.list(7).collect();
        let active = list.iter().filter(|arrival| !arrival.idle).count();
        assert!((4600..5400).contains(&active), "{active}");
        assert_eq!(list.len() - active, 10);
        assert!(list.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].number + 1 == pair[1].number));
        assert_eq!(list, arrivals.list(7).collect::<Vec<_>>());
        assert_ne!(list, arrivals.list(8).collect::<Vec<_>>());
    }

    #[test]
    fn thinking_stays_in_its_span() {
        let think = (Duration::from_secs(2), Duration::from_secs(8));
        let mut behaviour = Behaviour::new(1, 2, think);
        for _ in 0..100 {
            assert!((think.0..=think.1).contains(&behaviour.think()));
        }
        assert!(Behaviour::new(1, 2, think).think() != Behaviour::new(1, 3, think).think());
    }

    #[test]
    fn prompts_are_read_and_filled() {
        assert_eq!(fill_placeholders("/sim tag={socket} seed={turn}{socket}", 12, 3), "/sim tag=12 seed=312");
        assert_eq!(prompts("\"a\"\n\n{\"prompt\":\"b\"}\n"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for wrong in ["", "\n", "3", "\"a\"\n{\"text\":\"b\"}", "\"a"] {
            assert!(prompts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_and_spans_are_read() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0.5m"), Ok(Duration::from_secs(30)));
        assert_eq!(span("2s..8s"), Ok((Duration::from_secs(2), Duration::from_secs(8))));
        assert_eq!(span("0"), Ok((Duration::ZERO, Duration::ZERO)));
        for wrong in ["", "5", "s", "1x", "8s..2s", "1..2", "9999h", "-1s", "1.2.3s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
