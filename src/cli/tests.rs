//! What can be typed, and what cannot.
use super::*;
use clap::CommandFactory;
use expect_test::expect;

fn parse(line: &str) -> Result<Cli, CliExit> {
    parse_from(std::iter::once("tidegate").chain(line.split_whitespace()))
}

#[test]
fn the_types_are_what_clap_wants() {
    Cli::command().debug_assert();
}

#[test]
fn help_and_version_are_no_mistakes() {
    for line in [
        "--help",
        "-h",
        "--version",
        "-V",
        "serve --help",
        "demo -h",
        "simulate -h",
        "check -h",
        "health -h",
        "load -h",
        "help serve",
    ] {
        let exit = parse(line).unwrap_err();
        assert_eq!(exit.code, 0, "{line}: {}", exit.text);
    }
    assert_eq!(parse("--version").unwrap_err().text, concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn every_help_has_examples() {
    for line in [
        "--help",
        "serve --help",
        "demo --help",
        "simulate --help",
        "check --help",
        "health --help",
        "load --help",
    ] {
        assert!(parse(line).unwrap_err().text.contains("Examples:\n  "), "{line}");
    }
}

#[test]
fn mistakes_are_usage_errors() {
    for line in [
        "",
        "sirve",
        "serve --nope",
        "serve --api-key CANARY",
        "serve --api-key=CANARY",
        "simulate --workers 0",
        "simulate --listen here",
        "serve --conformance-echo",
        "demo --conformance-echo",
        "serve --set",
        "check extra",
        "load",
        "load ws://a/b --sockets -1",
        "load ws://a/b --duration 5",
        "load ws://a/b --dialect other",
        "load ws://a/b --rate 5",
    ] {
        let exit = parse(line).unwrap_err();
        assert_eq!(exit.code, EXIT_USAGE, "{line}");
        assert!(exit.text.ends_with('\n') && !exit.text.contains("CANARY"), "{}", exit.text);
    }
}

#[test]
fn flags_become_layers() {
    let cli =
        parse("serve --config a.toml --set a=1 --listen 1.2.3.4:5 --set b=2 --model m --log-format json")
            .unwrap();
    let Command::Serve(common) = cli.command else { panic!("another command") };
    expect![[r#"
        Flags {
            config: Some(
                "a.toml",
            ),
            set: [
                "a=1",
                "b=2",
            ],
            named: [
                (
                    "--listen",
                    "server.listen",
                    "1.2.3.4:5",
                ),
                (
                    "--model",
                    "upstream.model",
                    "m",
                ),
                (
                    "--log-format",
                    "log.format",
                    "json",
                ),
            ],
        }
    "#]]
    .assert_debug_eq(&Flags::from(&common));
}

#[test]
fn every_named_flag_has_a_key() {
    let text = Some(String::new());
    let all = Common {
        listen: text.clone(),
        base_url: text.clone(),
        model: text.clone(),
        log_format: text,
        ..Common::default()
    };
    for (flag, key, _) in Flags::from(&all).named {
        assert!(crate::config::find(key).is_some(), "{flag}");
    }
}

#[test]
fn the_simulator_has_its_own_flags() {
    let Command::Simulate(flags) = parse("simulate --pace-ms 5 --workers 2").unwrap().command else {
        panic!("another command")
    };
    assert_eq!(flags.listen.to_string(), "127.0.0.1:8100");
    assert_eq!((flags.pace_ms, flags.first_ms, flags.workers), (Some(5), None, Some(2)));
    assert!(!flags.conformance_echo);
}
