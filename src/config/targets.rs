//! Where a model is answered: levels of targets, each spelled `UPSTREAM[:NAME THERE][*WEIGHT]`.
use super::{
    kind::{Setting, ValueKind},
    section::{DEFAULT_NAME, SectionName},
};
use std::fmt;

/// Levels of one model; more are rejected.
const LEVELS_MAX: usize = 8;
/// Targets of one model in all its levels; more are rejected.
const TARGETS_MAX: usize = 16;
/// Largest weight of a target.
const WEIGHT_MAX: u32 = 1000;
/// Bytes of the name of a model at an upstream.
const NAME_BYTES_MAX: usize = 128;

/// Targets of one level share by weight. A level is used when none of those before it can be.
pub type Levels = Vec<Vec<TargetName>>;

/// A model at an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetName {
    /// `None`: the section without a name, written `default`.
    pub upstream: Option<SectionName>,
    /// Its name there; `None`: the name for clients.
    pub model: Option<String>,
    /// 1 to 1000.
    pub weight: u32,
}

impl TargetName {
    fn read(text: &str) -> Result<Self, String> {
        // A name there may contain both signs: `local:llama3.2:3b*2` is `llama3.2:3b`, twice.
        let (text, weight) = match text.rsplit_once('*') {
            Some((text, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                (text, digits.parse().unwrap_or(u32::MAX))
            }
            _ => (text, 1),
        };
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(format!("a weight is a whole number from 1 to {WEIGHT_MAX}"));
        }
        let (upstream, model) = match text.split_once(':') {
            Some((upstream, model)) => (upstream, Some(model)),
            None => (text, None),
        };
        let is_name = |name: &str| {
            !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(|b| b.is_ascii_graphic())
        };
        if model.is_some_and(|name| !is_name(name)) {
            return Err(format!(
                "behind the `:` is no name of 1 to {NAME_BYTES_MAX} visible ASCII characters"
            ));
        }
        let upstream = if upstream == DEFAULT_NAME {
            None
        } else {
            let name = SectionName::new(upstream);
            Some(name.map_err(|_| "does not begin with the name of an upstream".to_owned())?)
        };
        Ok(TargetName { upstream, model: model.map(str::to_owned), weight })
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.upstream.as_ref().map_or(DEFAULT_NAME, SectionName::as_str))?;
        if let Some(model) = &self.model {
            write!(f, ":{model}")?;
        }
        if self.weight != 1 {
            write!(f, "*{}", self.weight)?;
        }
        Ok(())
    }
}

impl Setting for Levels {
    fn read(text: &str, _: &ValueKind) -> Result<Self, String> {
        let mut levels = Vec::new();
        if text.trim().is_empty() {
            return Ok(levels);
        }
        for (index, entry) in text.split(',').enumerate() {
            let at = |problem: String| format!("entry {}: {problem}", index + 1);
            let targets = entry.split_whitespace().map(TargetName::read).collect::<Result<Vec<_>, _>>();
            let targets = targets.map_err(at)?;
            if targets.is_empty() {
                return Err(at("is empty".to_owned()));
            }
            levels.push(targets);
        }
        if levels.len() > LEVELS_MAX {
            return Err(format!("more than {LEVELS_MAX} levels"));
        }
        if levels.iter().map(Vec::len).sum::<usize>() > TARGETS_MAX {
            return Err(format!("more than {TARGETS_MAX} targets"));
        }
        Ok(levels)
    }
    fn show(&self, _: &ValueKind) -> String {
        let level =
            |targets: &Vec<TargetName>| targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        self.iter().map(level).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Levels, String> {
        Levels::read(text, &ValueKind::Targets)
    }

    #[test]
    fn a_target_is_an_upstream_a_name_there_and_a_weight() {
        for (text, upstream, model, weight) in [
            ("cn", Some("cn"), None, 1),
            ("cn*3", Some("cn"), None, 3),
            ("default", None, None, 1),
            ("default:qwen-plus*1000", None, Some("qwen-plus"), 1000),
            ("local:Qwen/Qwen3-8B", Some("local"), Some("Qwen/Qwen3-8B"), 1),
            ("local:llama3.2:3b*2", Some("local"), Some("llama3.2:3b"), 2),
            ("local:a*b", Some("local"), Some("a*b"), 1),
            ("local:a*", Some("local"), Some("a*"), 1),
            ("local:a*2*3", Some("local"), Some("a*2"), 3),
        ] {
            let target = TargetName::read(text).unwrap();
            assert_eq!(target.upstream.as_ref().map(SectionName::as_str), upstream, "{text}");
            assert_eq!((target.model.as_deref(), target.weight), (model, weight), "{text}");
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn levels_are_entries_and_blanks_part_their_targets() {
        let levels = read(" cn*3  intl , backup:qwen-plus-latest ").unwrap();
        assert_eq!(levels.show(&ValueKind::Targets), "cn*3 intl, backup:qwen-plus-latest");
        assert_eq!(read("").unwrap(), Levels::new());
        let eight = ["a b"; 8].join(",");
        assert_eq!(read(&eight).unwrap().len(), 8);
    }

    #[test]
    fn a_bad_target_is_reported_by_its_place() {
        let mut out = String::new();
        for text in [
            "cn*0",
            "cn*1001",
            "cn*99999999999",
            "cn,,intl",
            "cn,",
            "a:",
            "a:*2",
            "CN",
            "cn*",
            ":m",
            "a-b",
            &["a"; 9].join(","),
            &["a"; 17].join(" "),
            &format!("a:{}", "m".repeat(129)),
        ] {
            out += &format!("{}\n", read(text).unwrap_err());
        }
        expect_test::expect![[r#"
            entry 1: a weight is a whole number from 1 to 1000
            entry 1: a weight is a whole number from 1 to 1000
            entry 1: a weight is a whole number from 1 to 1000
            entry 2: is empty
            entry 2: is empty
            entry 1: behind the `:` is no name of 1 to 128 visible ASCII characters
            entry 1: behind the `:` is no name of 1 to 128 visible ASCII characters
            entry 1: does not begin with the name of an upstream
            entry 1: does not begin with the name of an upstream
            entry 1: does not begin with the name of an upstream
            entry 1: does not begin with the name of an upstream
            more than 8 levels
            more than 16 targets
            entry 1: behind the `:` is no name of 1 to 128 visible ASCII characters
        "#]]
        .assert_eq(&out);
    }
}
