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

/// Splits a line as a shell does, as far as our examples go.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match (c, words.last_mut()) {
            ('\'', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_example_can_be_copied() {
    let mut seen = 0;
    let mut commands = Cli::command();
    commands.build();
    let all = commands.clone();
    for command in all.get_subcommands().chain([&all]) {
        let Some(help) = command.get_after_help().map(ToString::to_string) else { continue };
        let examples = help.split_once("Examples:\n").unwrap().1.split("\n\n").next().unwrap();
        // A terminal of 80 columns breaks no line, and what is broken by us is joined by the shell.
        for line in examples.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        for example in examples.replace(" \\\n      ", " ").lines() {
            // What an example is for stands behind it.
            let words = words(example.trim().split("  ").next().unwrap_or_default());
            let start = words.iter().position(|word| word == "tidegate").expect(example);
            let end = words.iter().position(|word| word.starts_with('>')).unwrap_or(words.len());
            let parsed = parse_from(&words[start..end]);
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "the examples were found: {seen}");
}

#[test]
fn the_flags_of_load_are_grouped() {
    let help = parse("load --help").unwrap_err().text;
    let headings: Vec<_> = help
        .lines()
        .filter(|line| !line.starts_with(' ') && line.ends_with(':') && !line.is_empty())
        .collect();
    assert_eq!(
        headings,
        [
            "Arguments:",
            "Options:",
            "Users:",
            "Messages:",
            "Lost connections:",
            "Connections:",
            "Report and requirements:",
            "Search for the capacity of a server:",
            "Examples:"
        ]
    );
    let options = help.split_once("\nOptions:\n").unwrap().1.split("\nUsers:\n").next().unwrap();
    assert_eq!(options.matches("--").count(), 1, "only --help is in no group: {options}");
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
        "simulate --conformance-echo",
        "serve --set",
        "check extra",
        "check --example --all",
        "check --example --model m",
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
    assert_eq!((&*flags.name, &*flags.spell, flags.runs_max, flags.load_ms), ("", "plain", 0, 0));
}
