//! Requirements such as `p99_delivery_ms<5`: parsed, and checked against a report.
use std::fmt;

/// Comparison operators; longer ones first.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("==", Relation::Equal),
    ("!=", Relation::Unequal),
    ("<", Relation::Below),
    (">", Relation::Above),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    AtMost,
    AtLeast,
    Equal,
    Unequal,
    Below,
    Above,
}

/// A figure with its bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requirement {
    pub(crate) figure: String,
    relation: Relation,
    bound: f64,
}

/// Result of a requirement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// As typed.
    pub(crate) requirement: String,
    /// `None` if not measured.
    pub(crate) value: Option<f64>,
    pub(crate) holds: bool,
}

impl Requirement {
    /// Parses one. `known` lists the available figures.
    ///
    /// # Errors
    /// What is wrong, with the nearest name where the figure is unknown.
    pub(crate) fn parse(text: &str, known: &[String]) -> Result<Requirement, String> {
        let found = RELATIONS.iter().find_map(|(spelling, relation)| {
            text.split_once(spelling).map(|(figure, bound)| (figure.trim(), *relation, bound.trim()))
        });
        let Some((figure, relation, bound)) = found else {
            return Err(format!("{text:?} has no <, <=, >, >=, == or !=; such as 'p99_delivery_ms<5'"));
        };
        let bound = bound.parse::<f64>().ok().filter(|bound| bound.is_finite());
        let bound = bound.ok_or_else(|| format!("{text:?} has no number behind its sign"))?;
        let is_kind = figure.strip_prefix("errors_").is_some_and(|kind| !kind.is_empty());
        if !is_kind && !known.iter().any(|name| name == figure) {
            let nearest = known.iter().min_by_key(|name| strsim::levenshtein(name, figure));
            let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            return Err(format!("{figure:?} is no figure of the report{hint}"));
        }
        Ok(Requirement { figure: figure.to_owned(), relation, bound })
    }

    /// A figure that was not measured fails every requirement.
    pub(crate) fn judge(&self, value: Option<f64>) -> Verdict {
        let holds = value.is_some_and(|value| match self.relation {
            Relation::AtMost => value <= self.bound,
            Relation::AtLeast => value >= self.bound,
            Relation::Equal => (value - self.bound).abs() < 1e-9,
            Relation::Unequal => (value - self.bound).abs() >= 1e-9,
            Relation::Below => value < self.bound,
            Relation::Above => value > self.bound,
        });
        Verdict { requirement: self.to_string(), value, holds }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign =
            RELATIONS.iter().find(|(_, relation)| *relation == self.relation).map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.figure, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["p99_delivery_ms", "errors", "turns"].map(str::to_owned).to_vec()
    }

    #[test]
    fn requirements_are_read_and_judged() {
        for (text, value, holds) in [
            ("p99_delivery_ms<5", 4.9, true),
            ("p99_delivery_ms<5", 5.0, false),
            ("p99_delivery_ms <= 5", 5.0, true),
            ("errors==0", 0.0, true),
            ("errors == 0", 1.0, false),
            ("errors!=0", 1.0, true),
            ("turns>=10", 10.0, true),
            ("turns>10", 10.0, false),
            ("errors_closed_1013==0", 2.0, false),
        ] {
            let requirement = Requirement::parse(text, &known()).expect(text);
            let verdict = requirement.judge(Some(value));
            assert_eq!(verdict.holds, holds, "{text} with {value}");
            assert_eq!(verdict.requirement, text.replace(' ', ""));
            assert!(!requirement.judge(None).holds, "what was not measured fulfils nothing");
        }
    }

    #[test]
    fn mistakes_are_reported_with_a_hint() {
        for (text, part) in [
            ("errors", "has no <"),
            ("errors<", "no number"),
            ("errors<many", "no number"),
            ("errors<inf", "no number"),
            ("p99_delivery<5", "did you mean p99_delivery_ms?"),
            ("<5", "no figure"),
            ("errors_<5", "did you mean errors?"),
        ] {
            let error = Requirement::parse(text, &known()).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
