//! What the commands say before anything runs: check, demo, page, and the log's first lines.
use crate::harness::{
    Chats, PATIENCE, Process, TestClient, Tidegate, http_get, netns::Namespace, until, within,
};
use futures_util::future::join_all;
use std::{
    fs::{self, Permissions},
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
};
use tidegate::config;
use tokio::{io::AsyncReadExt, net::TcpListener};

/// Lets others into the folder of a test, and gives the file this mode.
fn open_to_all(process: Tidegate, file: &str, mode: u32) -> Tidegate {
    fs::set_permissions(process.folder(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(process.folder().join(file), Permissions::from_mode(mode)).unwrap();
    process
}

#[tokio::test]
async fn check_rejects_what_serve_rejects() {
    let key = ("API_KEY", "sk-test");
    for (args, env, says) in [
        (&[][..], None, "no key for dashscope.aliyuncs.com; set API_KEY"),
        (&["--base-url", "https://dashscope-intl.aliyuncs.com/api/v1"], None, "no key for dashscope-intl"),
        (&["--set", "upstream.ca_file=nowhere.pem"], Some(key), "nowhere.pem: no such file or directory"),
        (&["--set", "server.workers=x"], Some(key), "not a whole number"),
        (
            &["--base-url", "https://dashscope.aliyuncs.com/compatible-mode/v1"],
            Some(key),
            "such as https://dashscope.aliyuncs.com/api/v1",
        ),
    ] {
        for command in ["check", "serve"] {
            let args: Vec<_> = [command, "--listen", "192.0.2.1:1"].iter().chain(args).copied().collect();
            let process = Tidegate::new(&args);
            let process = if let Some((name, value)) = env { process.env(name, value) } else { process };
            let ended = process.run().await;
            assert_eq!(ended.code, Some(64), "{args:?}: {}", ended.err);
            assert!(ended.err.contains(says), "{args:?}: {says} in {}", ended.err);
        }
    }
    // What needs no key starts without one.
    let local = ["check", "--base-url", "http://127.0.0.1:1/api/v1"];
    assert_eq!(Tidegate::new(&local).run().await.code, Some(0));
    // Whatever is refused, what is in effect is printed.
    let ended = Tidegate::new(&["check", "--model", "qwen-max"]).run().await;
    assert_eq!(ended.code, Some(64));
    assert!(ended.out.contains("upstream.model = qwen-max  # --model\n"), "{}", ended.out);
}

#[tokio::test]
async fn check_prints_what_differs_and_everything_when_asked() {
    let check = async |args: &[&str]| {
        let args: Vec<_> = ["check", "--model", "qwen-max"].iter().chain(args).copied().collect();
        let ended = Tidegate::new(&args).env("API_KEY", "sk-not-to-be-shown").run().await;
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        ended.out
    };
    let sections = config::SECTIONS.iter().filter(|section| section.has_unnamed);
    let all: usize = sections.map(|section| section.keys.len()).sum();
    let short = check(&[]).await;
    let (keys, comments): (Vec<_>, Vec<_>) = short.lines().partition(|line| !line.starts_with('#'));
    assert_eq!(keys, ["upstream.model = qwen-max  # --model", "upstream.api_key = (set)  # API_KEY"]);
    assert_eq!(comments[0], format!("# {} of {all} keys are at their defaults; --all prints them", all - 2));
    assert!(comments[1].contains("https://dashscope-intl.aliyuncs.com/api/v1"), "{}", comments[1]);
    let whole = check(&["--all"]).await;
    let keys: Vec<_> = whole.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(keys.len(), all);
    assert!(keys.contains(&"retry.attempts = 3  # default"), "{whole}");
}

#[tokio::test]
async fn check_reports_limits_that_this_machine_lowers() {
    let check = Tidegate::under(&["prlimit", "--nofile=64:64"], &["check"]).env("API_KEY", "sk-test");
    let ended = check.run().await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for lowered in ["# connection.count_max is ", "# http.connections_max is "] {
        assert!(ended.out.contains(lowered), "{}", ended.out);
    }
}

#[tokio::test]
async fn the_example_is_a_configuration() {
    let example = Tidegate::new(&["check", "--example"]).env("TIDEGATE_NOT_READ", "x").run().await;
    assert_eq!((example.code, example.err.as_str()), (Some(0), ""));
    let check = Tidegate::new(&["check", "--config", "made.toml"]).file("made.toml", &example.out);
    let ended = check.env("API_KEY", "sk-test").run().await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.starts_with("upstream.api_key = (set)  # API_KEY\n# "), "{}", ended.out);
    let both = Tidegate::new(&["check", "--example", "--all"]).run().await;
    assert_eq!(both.code, Some(64), "{}", both.err);
}

// faults: H109
#[tokio::test]
async fn a_world_readable_key_file_is_warned_of() {
    let warned = async |process: Tidegate| {
        let ended = process.run().await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        ended.err.lines().filter(|line| line.contains("every user of this machine")).count()
    };
    let by_file = || Tidegate::new(&["check"]).file("key", "sk-test").env("API_KEY_FILE", "key");
    let toml = "[upstream]\napi_key = 'sk-test'\n";
    let in_toml = || Tidegate::new(&["check"]).file("tidegate.toml", toml);
    let no_key = || Tidegate::new(&["check"]).file("tidegate.toml", "").env("API_KEY", "sk-test");
    for (mode, warnings) in [(0o644, 1), (0o444, 1), (0o640, 0), (0o600, 0)] {
        assert_eq!(warned(open_to_all(by_file(), "key", mode)).await, warnings, "{mode:o}");
        assert_eq!(warned(open_to_all(in_toml(), "tidegate.toml", mode)).await, warnings, "{mode:o}");
        assert_eq!(warned(open_to_all(no_key(), "tidegate.toml", mode)).await, 0, "{mode:o}");
    }
    // A closed folder keeps others out, and systemd's own is for the service alone.
    let closed = open_to_all(by_file(), "key", 0o444);
    fs::set_permissions(closed.folder(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(warned(closed).await, 0);
    let credentials = by_file();
    let folder = credentials.folder().to_str().unwrap().to_owned();
    let credentials =
        credentials.env("CREDENTIALS_DIRECTORY", &folder).env("API_KEY_FILE", &format!("{folder}/key"));
    assert_eq!(warned(open_to_all(credentials, "key", 0o444)).await, 0);
    // The gateway says so too.
    let serve = ["serve", "--listen", "127.0.0.1:0", "--base-url", "http://127.0.0.1:1/api/v1"];
    let serve = Tidegate::new(&serve).file("key", "sk-test").env("API_KEY_FILE", "key");
    let log = open_to_all(serve, "key", 0o644).start().await.stop().await;
    assert!(
        log.contains("WARN  tidegate: the file that API_KEY_FILE names can be read by every user"),
        "{log}"
    );
}

#[tokio::test]
async fn a_publicly_reachable_gateway_warns_about_its_quota() {
    let says = "anyone who reaches this address spends your quota";
    let base_url = ["--base-url", "http://127.0.0.1:1/api/v1"];
    for (listen, expected) in
        [("0.0.0.0:0", true), ("[::]:0", true), ("127.0.0.1:0", false), ("[::1]:0", false)]
    {
        for command in ["check", "serve", "demo"] {
            let args: Vec<_> = [command, "--listen", listen].into_iter().collect();
            let output = match command {
                "check" => Tidegate::new(&[&args[..], &base_url].concat()).run().await.err,
                "serve" => Tidegate::new(&[&args[..], &base_url].concat()).start().await.stop().await,
                // There is no quota to be spent.
                _ => Tidegate::new(&args).start().await.stop().await,
            };
            assert_eq!(output.contains(says), expected && command != "demo", "{command} {listen}: {output}");
        }
    }
}

// faults: H109
#[tokio::test]
async fn demo_starts_whatever_is_exported_for_the_real_service() {
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"])
        .file(
            "tidegate.toml",
            "[upstream]\nbase_url = 7\nallow_private = true\n[connection]\nping_interval = '9s'\n",
        )
        .env("API_KEY", "'sk-with-quotes'")
        .env("DASHSCOPE_API_KEY_FILE", "/nowhere")
        .env("TIDEGATE_MODEL", "qwen max")
        .env("TIDEGATE_UPSTREAM__CA_FILE", "/nowhere.pem")
        .env("TIDEGATE_BASE_URL", "https://dashscope.aliyuncs.com/compatible-mode/v1");
    let demo = demo.start().await;
    let mut client = TestClient::connect(&demo.chat_url()).await;
    client.send_text("/sim text=fine pace_ms=0 first_ms=0").await;
    client.expect("fine").await;
    client.close().await;
    let log = demo.stop().await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ignored")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for name in [
        " API_KEY,",
        "DASHSCOPE_API_KEY_FILE",
        "TIDEGATE_MODEL",
        "TIDEGATE_UPSTREAM__CA_FILE",
        "TIDEGATE_BASE_URL",
        "tidegate.toml:2",
        "tidegate.toml:3",
    ] {
        assert!(lines[0].contains(name), "{name} in {}", lines[0]);
    }
    // What concerns the demo is read as ever.
    let wrong = Tidegate::new(&["demo"]).env("TIDEGATE_CONNECTION__PING_INTERVAL", "15").run().await;
    assert_eq!(wrong.code, Some(64), "{}", wrong.err);
    let quiet = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await.stop().await;
    assert!(!quiet.contains("ignored"), "{quiet}");
}

#[tokio::test]
async fn demo_refuses_flags_that_it_cannot_honour() {
    for args in [
        &["--base-url", "http://127.0.0.1:1"][..],
        &["--set", "upstream.base_url=http://127.0.0.1:1"],
        &["--set", "upstream.ca_file=x"],
        &["--set", "upstream.allow_insecure=true"],
        &["--set", "upstream.workspace=x"],
    ] {
        let ended = Tidegate::new(&[&["demo"], args].concat()).run().await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{args:?}: {}", ended.err);
        assert!(ended.err.contains("has a simulated model service of its own"), "{}", ended.err);
    }
    let ended = Tidegate::new(&["demo", "--model", "qwen-max"]).run().await;
    assert_eq!(ended.code, Some(64));
    let fault = "upstream.model = \"qwen-max\" (--model): not a simulated model; allowed: `sim-chat`, `sim-echo`, `sim-think`";
    assert!(ended.err.contains(fault), "{}", ended.err);
}

#[tokio::test]
async fn demo_has_every_model_of_the_simulator() {
    let models = [("--model", "sim-think"), ("--model", "sim-chat"), ("--set", "upstream.model=sim-echo")];
    join_all(models.map(async |(flag, model)| {
        let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0", flag, model]).start().await;
        let name = model.rsplit('=').next().unwrap();
        let (_, models) = http_get(demo.address, "/v1/models").await;
        assert!(models.contains(&format!("\"{name}\"")), "{models}");
        let mut chats = Chats::connect(demo.address).await;
        chats.ask("r1", "c1", "Say this again.").await;
        let mut seen = String::new();
        while !seen.contains("\"type\":\"finish\"") {
            seen += &chats.next().await.to_string();
        }
        assert_eq!(seen.contains("reasoning-delta"), name == "sim-think", "{seen}");
        drop(chats);
        demo.stop().await;
    }))
    .await;
}

/// Each of the two simulated upstreams can be failed from the page, and the other one answers.
#[tokio::test]
async fn demo_shows_how_another_upstream_answers() {
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let (_, models) = http_get(demo.address, "/v1/models").await;
    for name in ["sim-chat", "sim-echo", "sim-think"] {
        assert!(models.contains(&format!("\"{name}\"")), "{models}");
    }
    let mut chats = Chats::connect(demo.address).await;
    for (index, place) in ["A", "B", "A,B"].into_iter().enumerate() {
        let (request, chat) = (format!("r{index}"), format!("c{index}"));
        chats.ask(&request, &chat, &format!("/sim at={place} error=full text=whole pace_ms=1")).await;
        let mut seen = String::new();
        while !seen.contains("\"type\":\"finish\"") && !seen.contains("\"type\":\"error\"") {
            seen += &chats.next().await.to_string();
        }
        let fails = place == "A,B";
        assert_eq!(seen.contains("whole"), !fails, "{place}: {seen}");
    }
    drop(chats);
    demo.stop().await;
}

#[tokio::test]
async fn demo_on_all_addresses_prints_some_that_can_be_opened() {
    // A machine on a network: this one may have none.
    let namespace = Namespace::new();
    namespace.run(&format!("ip route add default via {}", namespace.outside));
    let wrapper = namespace.wrapper();
    let mut demo = Tidegate::under(&wrapper, &["demo", "--listen", "0.0.0.0:0"]).spawn();
    let mut out = demo.stdout.take().unwrap();
    let mut output = String::new();
    within("it prints its addresses", PATIENCE, async {
        while !output.ends_with('\n') {
            let mut bytes = [0; 1024];
            let read = out.read(&mut bytes).await.unwrap();
            assert!(read > 0, "it ended after {output}");
            output.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    })
    .await;
    let addresses: Vec<SocketAddr> = output
        .split("http://")
        .skip(1)
        .map(|rest| rest.split([' ', ',']).next().unwrap().parse().unwrap())
        .collect();
    let [here, elsewhere] = addresses[..] else { panic!("{output}") };
    assert!(here.ip().is_loopback() && here.port() == elsewhere.port(), "{output}");
    assert_eq!(elsewhere.ip(), IpAddr::V4(namespace.inside), "{output}");
    // From this side of the cable, as from another machine.
    assert_eq!(http_get(elsewhere, "/livez").await.0, 200);
    demo.kill().await.unwrap();
}

#[tokio::test]
async fn a_key_of_another_region_is_named_in_the_log() {
    let namespace = Namespace::new();
    namespace.hosts("127.0.0.1 dashscope.aliyuncs.com\n");
    let wrapper = namespace.wrapper();
    let simulate = ["simulate", "--listen", "127.0.0.1:0", "--workers", "1"];
    let simulator = Tidegate::under(&wrapper, &simulate).start().await;
    let base_url = format!("http://dashscope.aliyuncs.com:{}/api/v1", simulator.address.port());
    let listen = format!("{}:0", namespace.inside);
    let args = ["serve", "--listen", &listen, "--base-url", &base_url];
    let args = [&args[..], &["--set", "upstream.allow_insecure=true"]].concat();
    let gateway = Tidegate::under(&wrapper, &args).env("API_KEY", "sk-invalid-here").start().await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hello").await;
    let (_, error) = client.until_error().await;
    assert!(!error.contains("dashscope"), "users are not concerned: {error}");
    client.close().await;
    until("the run is logged", async || gateway.log().contains("run ended")).await;
    let log = gateway.stop().await;
    let advice = "the model service refuses the key: this is the address of mainland China (Beijing); for a key of \
                  the international site set upstream.base_url = https://dashscope-intl.aliyuncs.com/api/v1";
    assert!(log.contains(advice), "{log}");
    simulator.stop().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_no_bug() {
    for folder in ["file/below", "file"] {
        let ended = Tidegate::new(&["page", folder]).file("file", "").run().await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(73), ""), "{}", ended.err);
        assert!(ended.err.starts_with("tidegate: cannot write file"), "{}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    }
}

#[tokio::test]
async fn a_taken_port_is_reported_with_a_free_one() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for command in ["serve", "demo", "simulate"] {
        let ended = Tidegate::new(&[command, "--listen", &listen]).env("API_KEY", "sk-test").run().await;
        assert_eq!(ended.code, Some(69), "{}", ended.err);
        let offered = ended.err.split("`--listen ").nth(1).and_then(|rest| rest.split('`').next());
        let offered = offered.unwrap_or_else(|| panic!("{}", ended.err));
        assert_ne!(offered, listen, "{}", ended.err);
        Tidegate::new(&[command, "--listen", offered]).env("API_KEY", "sk-test").start().await.stop().await;
    }
}

#[tokio::test]
async fn a_spelling_that_is_unknown_is_refused_with_those_that_are_known() {
    let ended = Tidegate::new(&["simulate", "--spell", "vlm"]).run().await;
    assert_eq!(ended.code, Some(64), "{}", ended.err);
    assert!(ended.err.contains("--spell \"vlm\": one of plain, llamacpp, vllm"), "{}", ended.err);
}

#[tokio::test]
async fn a_missing_file_is_reported_in_plain_words() {
    for args in [
        &["check", "--config", "nowhere"][..],
        &["simulate", "--api-key-file", "nowhere"],
        &["load", "ws://127.0.0.1:1/chat", "--prompts", "nowhere"],
        &["check", "--base-url", "http://127.0.0.1:1", "--set", "upstream.ca_file=nowhere"],
    ] {
        let ended = Tidegate::new(args).run().await;
        assert_eq!(ended.code, Some(64), "{args:?}: {}", ended.err);
        assert!(ended.err.contains("nowhere: "), "{args:?}: {}", ended.err);
        assert!(ended.err.contains(": no such file or directory"), "{args:?}: {}", ended.err);
        assert!(!ended.err.contains("os error"), "{args:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn reports_are_opened_before_the_run_and_the_table_is_printed_in_any_case() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let url = gateway.chat_url();
    let load = |more: &[&str]| {
        let args = ["load", &url, "--sockets", "2", "--prompt", "/sim tokens=3 pace_ms=0 first_ms=0"];
        Tidegate::new(&[&args[..], more].concat())
    };
    // A file that cannot be made: no socket is opened for nothing.
    let opened = async || {
        let (_, text) = http_get(gateway.address, "/metrics").await;
        text.lines().find(|line| line.contains("opened_total ")).unwrap().to_owned()
    };
    let before = opened().await;
    for flag in ["--json", "--html"] {
        let ended = load(&[flag, "nowhere/report"]).run().await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(73), ""), "{}", ended.err);
        assert_eq!(ended.err, "tidegate: cannot write nowhere/report: no such file or directory\n");
    }
    assert_eq!(opened().await, before);
    // A disk that is full at the end: the table and the other report are there.
    let full = load(&["--json", "/dev/full", "--html", "report.html"]);
    let report = full.folder().join("report.html");
    let (ended, page) = full.run_and_look(|| fs::read_to_string(&report)).await;
    assert_eq!(ended.code, Some(73), "{}", ended.err);
    assert!(ended.out.contains("turns     2 of 2 messages answered"), "{}", ended.out);
    assert_eq!(ended.err.lines().last(), Some("tidegate: cannot write /dev/full: no space left on device"));
    assert!(page.unwrap().starts_with("<!DOCTYPE html>"));
    // What was there is lost to a new report alone.
    let unreachable = ["load", "ws://127.0.0.1:1/chat", "--json", "old.json", "--html", "new.html"];
    let unreachable = Tidegate::new(&unreachable).file("old.json", "{}");
    let (old, new) = (unreachable.folder().join("old.json"), unreachable.folder().join("new.html"));
    let (ended, texts) = unreachable.run_and_look(|| (fs::read_to_string(&old), new.exists())).await;
    assert_eq!(ended.code, Some(69), "{}", ended.err);
    assert!(ended.err.contains(": connection refused: nothing listens there"), "{}", ended.err);
    assert_eq!((texts.0.unwrap().as_str(), texts.1), ("{}", false));
    gateway.stop().await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_run_that_breaks_off_leaves_a_report() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    // The process that is watched dies, and not the one that answers: the users go on.
    let watched = Process::simulate().await;
    let (url, pid) = (gateway.chat_url(), watched.pid().to_string());
    let args = ["load", &url, "--sockets", "2", "--duration", "30s", "--pid", &pid];
    let load = Tidegate::new(&[&args[..], &["--prompt", "/sim tokens=100 pace_ms=20"]].concat()).launch();
    // A user asks when its socket is counted.
    until("it is under load", async || gateway.metric("tidegate_runs").await == 2).await;
    watched.kill().await;
    let ended = load.ended(PATIENCE).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.out.contains(", aborted\n") && ended.out.contains("\nsockets   2 opened"), "{}", ended.out);
    let last = ended.err.lines().last().unwrap();
    assert!(last.starts_with(&format!("tidegate: the run was aborted: no process {pid}")), "{}", ended.err);
    gateway.stop().await;
    simulator.stop().await;
}
