//! The metrics of a new process, in both formats.
use super::*;
use crate::{
    chat::{TokenCount, Usage},
    upstream::route::plan::{ModelPlan, TargetPlan, UpstreamPlan},
};

fn sample<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#')).collect()
}

#[test]
fn every_closed_label_value_is_there_with_0_from_the_start() {
    let text = Metrics::default().text().unwrap();
    for (name, count) in [
        ("tidegate_connections_closed_total{reason=", Close::ALL.len() + 1),
        ("tidegate_upgrades_rejected_total{reason=", UPGRADE_REJECTIONS.len()),
        ("tidegate_messages_rejected_total{reason=", Rejection::CODES.len()),
        ("tidegate_resumes_total{outcome=", RESUMES.len()),
        ("tidegate_runs_ended_total{outcome=", 3 + RunErrorKind::ALL.len()),
        (
            "tidegate_upstream_errors_total{upstream=\"default\",kind=",
            RunErrorKind::ALL.len() - 5, // Nothing was sent upstream for these.
        ),
        ("tidegate_upstream_state{upstream=\"default\",state=", 3),
        ("tidegate_bytes_total{leg=", 4),
        ("tidegate_messages_total ", 1),
        ("gen_ai_client_inference_usage_input_tokens_total{", 2),
        ("gen_ai_client_inference_duration_seconds_count{", 1),
        ("tidegate_tokens_estimated_total{upstream=\"default\",kind=", 2),
    ] {
        let lines = sample(&text, name);
        assert_eq!(lines.len(), count, "{name}: {lines:?}");
        assert!(lines.iter().all(|line| line.ends_with(" 0")), "{lines:?}");
    }
}

/// 64 upstreams with as many targets each.
fn many() -> RoutePlan {
    let alone = RoutePlan::alone("m", 1, Times::UNLIMITED);
    let upstream = |at| UpstreamPlan { name: format!("u{at}").into(), ..alone.upstreams[0].clone() };
    let model = |at: usize| {
        let name: Arc<str> = format!("m{at}").into();
        let targets = (0..64).map(|upstream| TargetPlan { upstream, model: Arc::clone(&name), weight: 1 });
        ModelPlan { table: Arc::clone(&name), levels: vec![targets.collect()], ..alone.models[0].clone() }
    };
    RoutePlan { upstreams: (0..64).map(upstream).collect(), models: (0..64).map(model).collect() }
}

#[test]
fn the_first_thousand_series_are_there_from_the_start_and_others_when_they_are_used() {
    let (plan, prices) = (many(), PriceList::default());
    let names = || Names { page: "p", plan: &plan, providers: &["dashscope"; 64], prices: &prices };
    let samples = |metrics: &Metrics| {
        let text = metrics.text().unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    };
    let metrics = Metrics::new(names());
    let (before, few) = (samples(&metrics), samples(&Metrics::default()));
    assert!(before < few + 1_000, "{before} and {few}");
    let target = metrics.inference.target(&"u63".into(), "m63");
    let tokens = TokenCount { usage: Usage { input_tokens: 3, ..Usage::default() }, is_estimated: true };
    target.used(&tokens, false);
    let used = r#"gen_ai_request_model="m63",upstream="u63",use="wasted"} 3"#;
    assert!(metrics.text().unwrap().contains(used));
    assert!(samples(&metrics) < before + 70, "one target more");
    // Names that engines list.
    for at in 0..1_000 {
        metrics.inference.target(&"u0".into(), &format!("listed{at}")).used(&tokens, true);
    }
    let text = metrics.text().unwrap();
    let listed =
        text.lines().filter(|line| line.starts_with("gen_ai_client_inference_duration_seconds_count{"));
    let listed = listed.filter(|line| line.contains(r#"model="listed"#) || line.contains(r#"model="other""#));
    assert_eq!(listed.count(), 256 + 1);
    let rest = 3 * (1_000 - 256);
    let used = format!(r#"gen_ai_request_model="other",upstream="u0",use="answer"}} {rest}"#);
    assert!(text.contains(&used), "{used}");
}

#[test]
fn label_values_are_codes() {
    let metrics = Metrics::default();
    metrics.turn_ended("stop", Duration::from_secs(1));
    drop(metrics.event_loop_lag(0));
    for text in [metrics.text().unwrap(), metrics.openmetrics().unwrap()] {
        let mut seen = 0;
        for value in text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| line.split('"').skip(1).step_by(2))
        {
            seen += 1;
            let is_code = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
            assert!(value == "+Inf" || (!value.is_empty() && value.chars().all(is_code)), "{value}");
        }
        assert!(seen > 100, "{seen}");
    }
}

#[test]
fn each_format_is_what_it_says() {
    let (plan, prices) = (RoutePlan::alone("qwen \"max\"", 1, Times::UNLIMITED), PriceList::default());
    let names = Names { page: "abc", plan: &plan, providers: &["dashscope"], prices: &prices };
    let metrics = Metrics::new(names);
    metrics.messages.inc();
    let (text, open) = (metrics.text().unwrap(), metrics.openmetrics().unwrap());
    assert!(text.contains("# TYPE tidegate_messages_total counter\ntidegate_messages_total 1\n"), "{text}");
    assert!(open.contains("# TYPE tidegate_messages counter\ntidegate_messages_total 1\n"), "{open}");
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"));
    for text in [&text, &open] {
        assert!(text.contains(r#"gen_ai_request_model="qwen \"max\"""#), "{text}");
        let build =
            format!("tidegate_build_info{{version=\"{}\",page=\"abc\"}} 1\n", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&build), "{text}");
    }
}

#[test]
fn the_process_is_described() {
    let text = Metrics::default().text().unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse::<f64>().unwrap()
    };
    assert!(value("process_start_time_seconds") > 1.7e9);
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_cpu_seconds_total") > 0.0);
    let (open, max) = (value("process_open_fds"), value("process_max_fds"));
    assert!(open >= 3.0 && max >= open, "{open} of {max}");
}
