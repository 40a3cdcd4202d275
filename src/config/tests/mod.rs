//! Tests of the configuration: what is read from where, what is rejected and how that is reported.
mod addresses;
mod faults;
mod layers;
mod models;
mod page;
mod renamed;
mod secrets;
mod sections;
mod services;
mod table;

use super::*;
use expect_test::Expect;

/// Reads the configuration and compares either all faults, or every key that is not at its default.
fn check(source: &Map, flags: &Flags, expected: &Expect) {
    expected.assert_eq(&outcome(source, flags));
}

fn outcome(source: &Map, flags: &Flags) -> String {
    match load(flags, source) {
        Err(error) => format!("{error}\n"),
        Ok(config) => {
            let mut lines: Vec<_> =
                effective(&config).lines().filter(|l| !l.ends_with("# default")).map(str::to_owned).collect();
            lines.extend(config.warnings().iter().map(|warning| format!("warning: {warning}")));
            lines.iter().map(|line| format!("{line}\n")).collect()
        }
    }
}

fn effective(config: &Config) -> String {
    let mut out = Vec::new();
    config.print_effective(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn toml(text: &str) -> Map {
    Map::default().file("tidegate.toml", text)
}

fn variables(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().fold(Map::default(), |map, (name, value)| map.variable(name, value))
}

fn set(settings: &[&str]) -> Flags {
    Flags { set: settings.iter().map(|s| (*s).to_owned()).collect(), ..Flags::default() }
}

/// Each model with its levels and fallbacks.
fn models(config: &Config) -> Vec<String> {
    let upstreams = config.upstreams_in_use();
    let models = config.models_in_use();
    let target = |(at, model, weight): &(usize, &str, u32)| {
        let upstream = upstreams[*at].0.map_or(DEFAULT_NAME, SectionName::as_str);
        if *weight == 1 { format!("{upstream}:{model}") } else { format!("{upstream}:{model}*{weight}") }
    };
    let line = |model: &ModelInUse<'_>| {
        let levels = model.levels.iter().map(|level| level.iter().map(target).collect::<Vec<_>>().join(" "));
        let fallback = model.fallback.iter().map(|at| format!(" > {}", models[*at].section));
        format!("{}: {}{}", model.name, levels.collect::<Vec<_>>().join(", "), fallback.collect::<String>())
    };
    models.iter().map(line).collect()
}
