//! The report as a table for a terminal.
use super::{measure::Measure, report::Report};
use std::fmt::Write as _;

/// Columns of the table of times.
const KINDS: [&str; 5] = ["p50", "p90", "p99", "p999", "max"];

/// Renders the report, ending with a line break.
pub(crate) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, report);
    let _ = times(&mut out, report);
    let _ = server(&mut out, report);
    let _ = errors(&mut out, report);
    let _ = knee(&mut out, report);
    let _ = verdicts(&mut out, report);
    out
}

fn head(out: &mut String, report: &Report) -> std::fmt::Result {
    let counts = &report.counts;
    let rate = |name: &str| number(report.figure(name));
    let interrupted = match (&report.interrupted, &report.broken) {
        (Some(_), _) => ", interrupted",
        (None, Some(_)) => ", aborted",
        (None, None) => "",
    };
    writeln!(
        out,
        "{}: {:.1} s, of them {:.1} s measured{interrupted}",
        report.url, report.elapsed_s, report.measured_s
    )?;
    writeln!(
        out,
        "sockets   {} opened, {} refused, {} open at once, at most {} opened per second",
        counts.opened,
        counts.refused,
        report.open_max,
        rate("connects_per_s")
    )?;
    writeln!(
        out,
        "turns     {} of {} messages answered, {} compared byte by byte, {} under way at the end; {} per second",
        counts.turns,
        counts.messages,
        counts.verified,
        counts.unfinished,
        rate("turns_per_s")
    )?;
    writeln!(out, "deltas    {}; {} per second", counts.deltas, rate("deltas_per_s"))?;
    if counts.restarts > 0 {
        writeln!(out, "restarts  {} answers were begun anew by the gateway", counts.restarts)?;
    }
    if counts.cuts == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "cuts      {} sockets cut, {} answers resumed, {} times nothing found; {} deltas came again",
        counts.cuts, counts.resumes, counts.no_active, counts.replayed
    )
}

fn times(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<24}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "milliseconds", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for measure in Measure::ALL {
        if report.total.of(measure).is_empty() {
            continue;
        }
        write!(out, "{:<24}", measure.label())?;
        for kind in KINDS {
            write!(out, "{:>10}", number(report.time_ms(kind, measure)))?;
        }
        writeln!(out)?;
    }
    if let Some(late) = report.time_ms("p99", Measure::Late).filter(|late| *late > LATE_MS) {
        writeln!(
            out,
            "warning: the load tester itself was {late:.0} ms late (p99): give it more cores or --processes"
        )?;
    }
    Ok(())
}

/// Timers have a resolution of a millisecond; beyond this lateness (in ms) the figures reflect the load
/// tester, not the server.
const LATE_MS: f64 = 20.0;

fn server(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.server.is_none() {
        return Ok(());
    }
    let figure = |name: &str| number(report.figure(name));
    writeln!(
        out,
        "\nserver    {} µs of CPU per delta, {} cores, {} MiB at most, {} KiB per socket",
        figure("cpu_us_per_delta"),
        figure("cores"),
        figure("rss_mib"),
        figure("rss_kib_per_socket")
    )
}

fn errors(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.errors.0.is_empty() {
        return writeln!(out, "\nno errors");
    }
    writeln!(out, "\nerrors    {}", report.errors.total())?;
    for (kind, errors) in &report.errors.0 {
        writeln!(out, "  {kind:<20}{:>8}  {}", errors.count, errors.example)?;
    }
    Ok(())
}

fn knee(out: &mut String, report: &Report) -> std::fmt::Result {
    let Some(knee) = &report.knee else { return Ok(()) };
    let figure = knee.limit.split(['<', '>', '=', '!']).next().unwrap_or_default();
    writeln!(
        out,
        "\n{:>8}{:>18}{:>12}{:>14}{:>10}{:>8}",
        "sockets", figure, "deltas/s", "CPU µs/delta", "late ms", "errors"
    )?;
    for level in &knee.levels {
        writeln!(
            out,
            "{:>8}{:>18}{:>12}{:>14}{:>10}{:>8}  {}",
            level.sockets,
            number(level.value),
            number(Some(level.deltas_per_s)),
            number(level.cpu_us_per_delta),
            number(Some(level.late_ms)),
            level.errors,
            if level.holds { "holds" } else { "fails" }
        )?;
    }
    match knee.good {
        Some(sockets) => writeln!(out, "the knee: {} holds up to {sockets} sockets", knee.limit),
        None => writeln!(out, "the knee: {} does not hold at all; begin with fewer --sockets", knee.limit),
    }
}

fn verdicts(out: &mut String, report: &Report) -> std::fmt::Result {
    for verdict in &report.verdicts {
        let word = if verdict.holds { "holds" } else { "FAILS" };
        let value = verdict.value.map_or("not measured".to_owned(), |value| number(Some(value)));
        writeln!(out, "{word}     {}  ({value})", verdict.requirement)?;
    }
    let wrong = report.errors.wrong_texts();
    if wrong > 0 {
        writeln!(out, "FAILS     {wrong} answers with lost, doubled or foreign text, or with wrong numbers")?;
    }
    Ok(())
}

/// Formats with about three significant digits.
pub(crate) fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() >= 100.0 || value == 0.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::{figures, tests::sample};
    use crate::load::require::Requirement;
    use expect_test::expect;

    #[test]
    fn the_table_is_plain() {
        let mut report = sample();
        let require = |text: &str| Requirement::parse(text, &figures()).expect(text);
        report.judge(&[require("p99_delivery_ms<5"), require("turns>=10"), require("p99_turn_ms<1")]);
        expect![[r#"
            ws://127.0.0.1:1/chat?a=<b>: 10.5 s, of them 10.0 s measured
            sockets   100 opened, 0 refused, 100 open at once, at most 100 opened per second
            turns     100 of 100 messages answered, 0 compared byte by byte, 0 under way at the end; 10.0 per second
            deltas    10000; 1000 per second

            milliseconds                   p50       p90       p99     p99.9       max
            delivery of a delta            500       900       990       999      1000

            server    10.0 µs of CPU per delta, 0.01 cores, 11.0 MiB at most, 10.0 KiB per socket

            errors    1
              closed_1013                1  the server closed with 1013 <script>
            FAILS     p99_delivery_ms<5  (990)
            holds     turns>=10  (100)
            FAILS     p99_turn_ms<1  (not measured)
        "#]].assert_eq(&render(&report));
        (report.counts.cuts, report.counts.resumes, report.counts.replayed) = (7, 6, 40);
        let line =
            "cuts      7 sockets cut, 6 answers resumed, 0 times nothing found; 40 deltas came again\n";
        assert!(render(&report).contains(line), "{}", render(&report));
    }
}
