//! Line charts as SVG, so that a report needs no script.
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Number of horizontal grid lines.
const TICKS: usize = 4;
/// A logarithmic axis is cut below this share of its maximum.
const LOG_LOWEST: f64 = 1e-6;

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) label: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Scale of the vertical axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    Linear,
    Logarithmic,
}

/// Positions and labels below a chart.
pub(crate) type Marks = Vec<(f64, String)>;

/// A chart with its legend; nothing where nothing is to be seen.
pub(crate) fn render(title: &str, unit: &str, axis: Axis, marks: &Marks, lines: &[Line]) -> String {
    let values = || lines.iter().flat_map(|line| line.points.iter().copied());
    if values().count() < 2 || values().all(|(_, y)| y == 0.0) {
        return String::new();
    }
    let x_of = |pick: fn(f64, f64) -> f64, start: f64| values().map(|(x, _)| x).fold(start, pick);
    let (x_from, x_to) = (x_of(f64::min, f64::INFINITY), x_of(f64::max, f64::NEG_INFINITY));
    let top = values().map(|(_, y)| y).fold(0.0, f64::max).max(1e-9);
    let (y_from, y_to, ticks) = match axis {
        Axis::Linear => linear(top),
        Axis::Logarithmic => {
            let floor = top * LOG_LOWEST;
            logarithmic(values().map(|(_, y)| y.max(floor)).fold(top, f64::min), top)
        }
    };
    let spread = (x_to - x_from).max(1e-9);
    let place_x = |x: f64| LEFT + (x - x_from) / spread * (WIDTH - LEFT - RIGHT);
    let height = |y: f64| match axis {
        Axis::Linear => y,
        Axis::Logarithmic => y.max(top * LOG_LOWEST).log10(),
    };
    let place_y = |y: f64| {
        let share = (height(y) - y_from) / (y_to - y_from).max(1e-9);
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    };
    let mut out = format!("<figure><figcaption>{title} <small>{unit}</small>");
    // Writing to a String cannot fail.
    for (number, line) in lines.iter().enumerate().filter(|_| lines.len() > 1) {
        let _ = write!(out, " <i class=\"l{number}\">{}</i>", line.label);
    }
    let _ = write!(
        out,
        "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    for tick in ticks {
        let y = place_y(tick);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            short(tick)
        );
    }
    for (x, label) in marks.iter().filter(|(x, _)| (x_from..=x_to).contains(x)) {
        let x = place_x(*x);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - 8.0
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let points: String =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1} ", place_x(*x), place_y(*y))).collect();
        let _ = write!(out, "<polyline class=\"l{number}\" points=\"{}\"/>", points.trim_end());
    }
    out + "</svg></figure>\n"
}

/// An axis from 0 to a round number above the maximum.
fn linear(top: f64) -> (f64, f64, Vec<f64>) {
    let step = round_up(top / TICKS as f64);
    let ticks: Vec<f64> =
        (0..=TICKS).map(|tick| tick as f64 * step).filter(|tick| tick - step < top).collect();
    (0.0, ticks.last().copied().unwrap_or(top), ticks)
}

/// An axis between powers of ten, as logarithms; the ticks are the powers.
fn logarithmic(low: f64, top: f64) -> (f64, f64, Vec<f64>) {
    let (from, to) = (low.log10().floor(), top.log10().ceil());
    let to = to.max(from + 1.0);
    (from, to, (from as i32..=to as i32).map(|power| 10_f64.powi(power)).collect())
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digit = value / power;
    power * [1.0, 2.0, 5.0].into_iter().find(|round| digit <= *round).unwrap_or(10.0)
}

/// Marks at round numbers of seconds.
pub(crate) fn seconds(until: f64) -> Marks {
    let step = round_up(until / 8.0).max(1.0);
    (0..=8).map(|tick| f64::from(tick) * step).map(|at| (at, format!("{at:.0} s"))).collect()
}

/// A number in a short form.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trim(v / 1e6)),
        v if v >= 1e4 => format!("{}k", trim(v / 1e3)),
        v => trim(v),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round_and_hold_everything() {
        for top in [0.013, 0.5, 1.0, 3.0, 7.7, 99.0, 1234.0, 5e6] {
            let (from, to, ticks) = linear(top);
            assert!(from == 0.0 && to >= top && to <= top * 2.6, "{top}: {to}");
            assert!((3..=TICKS + 1).contains(&ticks.len()), "{top}: {ticks:?}");
        }
        assert_eq!(logarithmic(0.2, 35.0), (-1.0, 2.0, vec![0.1, 1.0, 10.0, 100.0]));
        assert_eq!([short(0.25), short(12_000.0), short(2.5e6), short(0.0)], ["0.25", "12k", "2.5M", "0"]);
    }

    #[test]
    fn a_line_stays_inside_its_chart() {
        let points: Vec<_> = (0..50).map(|k| (f64::from(k), f64::from(k * k))).collect();
        let svg =
            render("t", "ms", Axis::Linear, &seconds(49.0), &[Line { label: "a", points: points.clone() }]);
        let drawn = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        for pair in drawn.split(' ') {
            let (x, y) = pair.split_once(',').expect("a pair");
            let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{pair}");
        }
        assert_eq!(
            render("t", "ms", Axis::Linear, &Vec::new(), &[Line { label: "a", points: Vec::new() }]),
            ""
        );
    }
}
