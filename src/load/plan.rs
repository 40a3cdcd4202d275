//! Who comes when, how long they think, and what they say: all of it known before the run.
use fastrand::Rng;
use std::time::Duration;

/// Placeholders of a prompt.
const SOCKET: &str = "{socket}";
const TURN: &str = "{turn}";

/// One who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// From 0, the same however many processes share the work.
    pub(crate) number: u64,
    /// Since the run's start.
    pub(crate) at: Duration,
    /// Opens a socket and says nothing.
    pub(crate) idle: bool,
}

/// How sockets come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    /// So many, evenly over this time.
    Ramp { active: u64, idle: u64, over: Duration },
    /// So many idle ones over a time, and active ones at random, so many per second on average.
    Open { idle: u64, over: Duration, rate: f64, until: Duration },
}

impl Arrivals {
    /// All who come, in order. The same seed gives the same.
    pub(crate) fn list(&self, seed: u64) -> Box<dyn Iterator<Item = Arrival>> {
        match *self {
            Arrivals::Ramp { active, idle, over } => Box::new(ramp(active, idle, over)),
            Arrivals::Open { idle, over, rate, until } => Box::new(open(idle, over, rate, until, seed)),
        }
    }
}

/// Idle and active ones mixed evenly.
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
        // Exponential gaps: nobody knows of the others. Never 0, whose logarithm is infinite.
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

/// How one who talks goes on after the first answer.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    rng: Rng,
    think: (Duration, Duration),
}

impl Behaviour {
    pub(crate) fn new(seed: u64, number: u64, think: (Duration, Duration)) -> Self {
        Behaviour { rng: Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), think }
    }

    /// How long this one thinks before the next message.
    pub(crate) fn think(&mut self) -> Duration {
        let (from, to) = self.think;
        from + to.saturating_sub(from).mul_f64(self.rng.f64())
    }

    /// Which of so many prompts is said.
    pub(crate) fn choose(&mut self, prompts: usize) -> usize {
        self.rng.usize(..prompts.max(1))
    }
}

/// What is said: a prompt with its placeholders filled.
pub(crate) fn fill_placeholders(prompt: &str, socket: u64, turn: u64) -> String {
    prompt.replace(SOCKET, &socket.to_string()).replace(TURN, &turn.to_string())
}

/// Reads a file of prompts: each line a JSON string, or an object with `prompt`.
///
/// # Errors
/// The line that cannot be read.
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

/// Reads a number with its unit, such as `500ms` or `30s`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 =
        number.parse().map_err(|_| format!("{text:?} is not a duration such as 500ms or 30s"))?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(format!("{text:?} needs a unit: ms, s, m or h")),
    };
    // A day is longer than any run; more would overflow sums.
    if seconds > 86_400.0 {
        Err(format!("{text:?} is longer than a day"))
    } else {
        Ok(Duration::from_secs_f64(seconds))
    }
}

/// Reads `2s..8s` or `2s`.
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
