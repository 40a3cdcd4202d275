//! The report as a self-contained HTML page without network or script.
use super::{
    chart::{self, Axis, Line, Marks},
    measure::Measure,
    recorder::Point,
    report::{Report, curve},
    table::number,
};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
/// Columns of the table of times, with their headings.
const KINDS: [(&str, &str); 6] =
    [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max"), ("mean", "mean")];

/// Renders the page.
pub(crate) fn render(report: &Report) -> String {
    let verdict = match (report.is_good(), report.interrupted.is_some()) {
        (_, true) => "<b class=\"bad\">interrupted</b>",
        (true, _) => "<b class=\"good\">passed</b>",
        (false, _) => "<b class=\"bad\">failed</b>",
    };
    let url = escape(&report.url);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Load on {url}</title><style>{STYLE}</style></head><body>\n\
         <h1>Load on {url} {verdict}</h1>\n{}{}{}{}{}{}{}</body></html>\n",
        summary(report),
        knee(report),
        requirements(report),
        errors(report),
        times(report),
        charts(report),
        machine(report)
    )
}

fn summary(report: &Report) -> String {
    let counts = &report.counts;
    let figure = |name: &str| number(report.figure(name));
    let mut tiles = vec![
        (report.open_max.to_string(), "sockets open at once"),
        (counts.turns.to_string(), "answers"),
        (counts.verified.to_string(), "compared byte by byte"),
        (figure("deltas_per_s"), "deltas per second"),
    ];
    let delivery = report.time_ms("p99", Measure::Delivery).map(|_| ("p99_delivery_ms", "ms p99 delivery"));
    let (name, label) = delivery.unwrap_or(("p99_first_delta_ms", "ms p99 to the first delta"));
    tiles.push((figure(name), label));
    tiles.push((report.errors.total().to_string(), "errors"));
    if counts.cuts > 0 {
        tiles.push((counts.cuts.to_string(), "sockets cut"));
        tiles.push((counts.resumes.to_string(), "answers resumed"));
        tiles.push((figure("p99_resume_ms"), "ms p99 to come back"));
    }
    if report.server.is_some() {
        tiles.push((figure("cpu_us_per_delta"), "µs of server CPU per delta"));
        tiles.push((figure("rss_kib_per_socket"), "KiB of server memory per socket"));
    }
    let tile = |(value, label): &(String, &str)| format!("<div><b>{value}</b>{label}</div>");
    format!("<section class=\"tiles\">{}</section>\n", tiles.iter().map(tile).collect::<String>())
}

/// A table of cells that are already escaped.
fn table(title: &str, head: &[&str], rows: &[Vec<String>]) -> String {
    let class = title.split(' ').next().unwrap_or_default().to_lowercase();
    let mut out = format!("<section class=\"{class}\"><h2>{title}</h2><table><thead><tr>");
    // Writing to a String cannot fail.
    head.iter().for_each(|cell| _ = write!(out, "<th>{cell}</th>"));
    out += "</tr></thead><tbody>";
    for row in rows {
        out += "<tr>";
        row.iter().for_each(|cell| _ = write!(out, "<td>{cell}</td>"));
        out += "</tr>";
    }
    out + "</tbody></table></section>\n"
}

fn word(holds: bool) -> String {
    if holds { "<b class=\"good\">holds</b>".into() } else { "<b class=\"bad\">fails</b>".into() }
}

fn requirements(report: &Report) -> String {
    if report.verdicts.is_empty() {
        return String::new();
    }
    let rows = report.verdicts.iter().map(|verdict| {
        let value = verdict.value.map_or("not measured".to_owned(), |value| number(Some(value)));
        vec![escape(&verdict.requirement), value, word(verdict.holds)]
    });
    table("Requirements", &["required", "measured", ""], &rows.collect::<Vec<_>>())
}

fn knee(report: &Report) -> String {
    let Some(knee) = &report.knee else { return String::new() };
    let rows = knee.levels.iter().map(|level| {
        vec![
            level.sockets.to_string(),
            number(level.value),
            number(Some(level.deltas_per_s)),
            number(level.cpu_us_per_delta),
            number(Some(level.late_ms)),
            level.errors.to_string(),
            word(level.holds),
        ]
    });
    let limit = escape(&knee.limit);
    let title = match knee.good {
        Some(good) => format!("The knee: {limit} holds up to {good} sockets"),
        None => format!("The knee: {limit} does not hold at all"),
    };
    let head = ["sockets", "value", "deltas/s", "CPU µs/delta", "tester late ms", "errors", ""];
    table(&title, &head, &rows.collect::<Vec<_>>())
}

fn errors(report: &Report) -> String {
    if report.errors.0.is_empty() {
        return "<section><h2>No errors</h2></section>\n".to_owned();
    }
    let rows = report
        .errors
        .0
        .iter()
        .map(|(kind, errors)| vec![escape(kind), errors.count.to_string(), escape(&errors.example)]);
    table("Errors", &["kind", "count", "the first of them"], &rows.collect::<Vec<_>>())
}

fn times(report: &Report) -> String {
    let measured = Measure::ALL.into_iter().filter(|measure| !report.total.of(*measure).is_empty());
    let rows = measured.map(|measure| {
        let values = KINDS.iter().map(|(kind, _)| number(report.time_ms(kind, measure)));
        std::iter::once(measure.label().to_owned()).chain(values).collect()
    });
    let head: Vec<_> = std::iter::once("milliseconds").chain(KINDS.map(|(_, label)| label)).collect();
    table("Times", &head, &rows.collect::<Vec<_>>())
}

fn charts(report: &Report) -> String {
    let until = report.points.last().map_or(0.0, |point| point.at_s);
    let marks = chart::seconds(until);
    let line = |label, value: fn(&Point) -> Option<f64>| Line {
        label,
        points: report.points.iter().filter_map(|point| Some((point.at_s, value(point)?))).collect(),
    };
    let over_time = |title, unit, lines: &[Line]| chart::render(title, unit, Axis::Linear, &marks, lines);
    let mut out = String::from("<section class=\"charts\">");
    out += &over_time(
        "Sockets",
        "",
        &[
            line("open", |point| Some(point.open as f64)),
            line("answering", |point| Some(point.answering as f64)),
        ],
    );
    out += &over_time("Deltas", "per second", &[line("deltas", |point| Some(point.deltas_per_s))]);
    out += &over_time("Answers", "per second", &[line("answers", |point| Some(point.turns_per_s))]);
    let stamped = !report.total.of(Measure::Delivery).is_empty();
    out += &over_time(
        if stamped { "Delivery of a delta" } else { "Time to the first delta" },
        "ms",
        &[line("p50", |point| point.p50_ms), line("p99", |point| point.p99_ms)],
    );
    out += &over_time("Errors", "in each point", &[line("errors", |point| Some(point.errors as f64))]);
    out += &over_time("CPU of the server", "cores", &[line("cores", |point| point.cores)]);
    let mib = |point: &Point| point.rss.map(|rss| rss as f64 / f64::from(1 << 20));
    out += &over_time("Memory of the server", "MiB", &[line("resident", mib)]);
    let shares: Marks = [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")]
        .map(|(at, label)| (at, label.to_owned()))
        .into();
    for measure in Measure::ALL {
        let points = curve(report.total.of(measure));
        let points = points.into_iter().map(|(share, ms)| (-(1.0 - share).log10(), ms)).collect();
        let lines = [Line { label: measure.name(), points }];
        let title = format!("Percentiles: {}", measure.label());
        out += &chart::render(&title, "ms", Axis::Logarithmic, &shares, &lines);
    }
    out + "</section>\n"
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "<footer><p>{} · {} cores · {:.1} GiB · Linux {} · tidegate {} · {}</p><p>{:.1} s, of them {:.1} s \
         measured; the load tester used {:.1} s of CPU and {} MiB</p><pre>{}</pre></footer>\n",
        escape(&machine.cpu),
        machine.cores,
        machine.memory as f64 / f64::from(1 << 30),
        escape(&machine.kernel),
        escape(&machine.version),
        escape(&machine.date),
        report.elapsed_s,
        report.measured_s,
        report.counts.own_cpu_ns as f64 / 1e9,
        report.counts.own_rss >> 20,
        escape(&machine.command)
    )
}

/// Escapes foreign text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::{figures, tests::sample};
    use crate::load::require::Requirement;

    #[test]
    fn the_page_is_self_contained_and_escapes_its_input() {
        let mut report = sample();
        report.judge(&[Requirement::parse("p99_delivery_ms<5", &figures()).expect("a requirement")]);
        let page = render(&report);
        for never in ["<script", "http://", "https://", "src=", "href=", "@import", "url(", "NaN", "inf"] {
            assert!(!page.contains(never), "{never}");
        }
        assert!(page.contains("a=&lt;b&gt;") && page.contains("CPU &amp; co"));
        assert!(page.contains("1013 &lt;script&gt;"), "an example of a server is text");
        assert!(page.contains("<b class=\"bad\">failed</b>") && page.contains("p99_delivery_ms&lt;5"));
        assert!(!page.contains("resumed"), "nothing was cut");
        report.counts.cuts = 7;
        assert!(super::render(&report).contains("<b>7</b>sockets cut"));
        assert!(page.matches("<svg").count() >= 8, "{}", page.matches("<svg").count());
        assert_eq!(page.matches("<figure>").count(), page.matches("</figure>").count());
    }
}
