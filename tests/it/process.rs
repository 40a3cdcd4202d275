//! The program as an operator meets it: commands, exit codes, start and stop.
use crate::harness::{PATIENCE, Process, SOON, Stopwatch, TestClient, Tidegate, http_get, until, within};
use expect_test::expect;
use futures_util::future::join_all;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_tungstenite::{connect_async, tungstenite::Message};

#[tokio::test]
async fn demo_chats_without_key_and_network() {
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    assert!(demo.ready_after.is_in(..Duration::from_secs(5)), "{:?}", demo.ready_after);
    let log = demo.log();
    assert!(log.contains("simulated") && log.contains(&format!("http://{}", demo.address)), "{log}");
    let mut client = TestClient::connect(&demo.chat_url()).await;
    client.send_text("/sim text=\"My name is Ada.\" pace_ms=0 first_ms=0").await;
    client.expect("My name is Ada.").await;
    client.send_text("How many messages did I write?").await;
    let mut received = String::new();
    while !received.contains("2 messages") {
        received.push_str(&client.read_text().await);
    }
    let (status, page) = http_get(demo.address, "/").await;
    assert!(status == 200 && page.contains("<html"), "{status} {page}");
    let (_, health) = http_get(demo.address, "/health").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&health).unwrap()["simulated"], true);
    client.close().await;
    demo.stop().await;
}

// faults: H109
#[tokio::test]
async fn serve_without_a_key_ends_before_a_port_is_bound() {
    // A process that tried to listen here would end with 69.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let serve = Tidegate::new(&["serve", "--listen", &listen]);
    let ended = serve.run().await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""));
    expect![[r#"
        the configuration has 1 fault:
          upstream.api_key: no key for dashscope.aliyuncs.com; set API_KEY, or API_KEY_FILE to the name of a file that holds it. `tidegate demo` runs without a key
    "#]]
    .assert_eq(&ended.err);
}

// faults: H109
#[tokio::test]
async fn keys_from_files_and_bad_keys() {
    let check = |key: &str, name: &str| {
        Tidegate::new(&["check"]).file("key", key).env(name, if name == "API_KEY" { key } else { "key" })
    };
    for (name, key) in [("API_KEY", "sk-secret\n"), ("API_KEY_FILE", "sk-secret\n")] {
        let ended = check(key, name).run().await;
        let line = format!("upstream.api_key = (set)  # {name}\n");
        assert!(ended.code == Some(0) && ended.out.contains(&line), "{ended:?}");
    }
    for name in ["API_KEY", "API_KEY_FILE"] {
        for key in ["", " ", "\"sk-secret\"", "sk-se cret", "sk-secret\nsk-secret"] {
            let ended = check(key, name).run().await;
            assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{name}={key:?}");
            assert!(ended.err.contains(name) && !ended.err.contains("secret"), "{}", ended.err);
        }
    }
    let missing = Tidegate::new(&["serve"]).env("DASHSCOPE_API_KEY_FILE", "nowhere").run().await;
    assert_eq!(missing.code, Some(64));
    assert!(missing.err.contains("DASHSCOPE_API_KEY_FILE"), "{}", missing.err);
}

#[tokio::test]
async fn check_prints_what_is_in_effect() {
    let check = Tidegate::new(&["check", "--all", "--set", "log.format=json", "--model", "qwen-max"])
        .file("tidegate.toml", "[connection]\nping_interval = '9s'\n")
        .env("TIDEGATE_SERVER__LISTEN", "127.0.0.1:1234")
        .env("DASHSCOPE_API_KEY", "sk-not-to-be-shown");
    let ended = check.run().await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(!ended.out.contains("not-to-be-shown"), "{}", ended.out);
    for line in [
        "server.listen = 127.0.0.1:1234  # TIDEGATE_SERVER__LISTEN\n",
        "connection.ping_interval = 9s  # tidegate.toml:2\n",
        "upstream.model = qwen-max  # --model\n",
        "upstream.api_key = (set)  # DASHSCOPE_API_KEY\n",
        "log.format = json  # --set\n",
        "retry.attempts = 3  # default\n",
    ] {
        assert!(ended.out.contains(line), "{line} in {}", ended.out);
    }
}

// faults: H108
#[tokio::test]
async fn all_faults_of_a_configuration_are_reported_at_once() {
    let toml = "[connection]\npnig_interval = '9s'\nwrite_timeout = 12\n[server]\nlisten = 'nowhere'\n";
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let expected = expect![[r#"
        the configuration has 6 faults:
          connection.pnig_interval (tidegate.toml:2): unknown key; did you mean connection.ping_interval?
          connection.write_timeout = "12" (tidegate.toml:3): unit missing (ms, s, m or h); allowed: a duration from 1s to 10m
          server.listen = "nowhere" (tidegate.toml:5): not an IP address with a port; allowed: IP:port such as `0.0.0.0:8000` or `[::]:8000`
          connection.ping_interval = "" (TIDEGATE_CONNECTION__PING_INTERVAL): is empty; allowed: a duration from 100ms to 1h
          TIDEGATE_UPSTREAM__MODLE: unknown variable; did you mean TIDEGATE_UPSTREAM__MODEL?
          retry.attempts = "0" (--set): out of range; allowed: a whole number from 1 to 10
    "#]];
    for command in ["check", "serve", "demo"] {
        let args = [
            command,
            "--listen",
            &listen,
            "--set",
            "retry.attempts=0",
            "--set",
            "connection.idle_timeout=1s",
        ];
        let process = Tidegate::new(&args)
            .file("tidegate.toml", toml)
            .env("TIDEGATE_UPSTREAM__MODLE", "sk-mistaken")
            .env("TIDEGATE_CONNECTION__PING_INTERVAL", "")
            .env("API_KEY", "sk-test");
        let ended = process.run().await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{command}");
        expected.assert_eq(&ended.err);
    }
}

// faults: H108
#[tokio::test]
async fn faults_in_a_configuration_file_are_reported_with_their_line() {
    let contradictory = "[connection]\nping_interval = '31s'\nframe_bytes_max = '1KiB'\n";
    let ended = Tidegate::new(&["check"]).file("tidegate.toml", contradictory).run().await;
    assert_eq!(ended.code, Some(64));
    expect![[r#"
        the configuration has 2 faults:
          connection.ping_interval = "31s" (tidegate.toml:2): not below connection.idle_timeout = 30s
          connection.frame_bytes_max = "1KiB" (tidegate.toml:3): less than connection.message_bytes_max = 64KiB
    "#]]
    .assert_eq(&ended.err);
    let broken =
        Tidegate::new(&["serve"]).file("tidegate.toml", "[connection\n").env("API_KEY", "k").run().await;
    assert_eq!(broken.code, Some(64));
    assert!(broken.err.contains("tidegate.toml:1"), "{}", broken.err);
    let usage = Tidegate::new(&["serve", "--api-key", "sk-test"]).run().await;
    assert_eq!(usage.code, Some(64), "{}", usage.err);
}

// faults: H108, H109
#[tokio::test]
async fn authorities_that_cannot_be_read_are_a_fault_of_the_configuration() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for (file, says) in [("nowhere.pem", "nowhere.pem"), ("tidegate.toml", "no certificate in it")] {
        for command in ["check", "serve"] {
            let authorities = format!("upstream.ca_file={file}");
            let args = [command, "--listen", &listen, "--set", &authorities];
            let ended = Tidegate::new(&args).file("tidegate.toml", "").env("API_KEY", "sk-test").run().await;
            assert_eq!(ended.code, Some(64), "{command} {}", ended.err);
            assert!(ended.err.contains("upstream.ca_file") && ended.err.contains(says), "{}", ended.err);
        }
    }
}

// faults: G104
#[tokio::test]
async fn a_port_that_cannot_be_had_ends_it_at_once_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let ops = format!("server.ops_listen={taken}");
    // The second address is for documents: no machine has it.
    for listen in [taken.as_str(), "192.0.2.1:8000"] {
        for args in
            [["serve", "--listen", listen], ["demo", "--listen", listen], ["simulate", "--listen", listen]]
        {
            refused(&args, listen).await;
        }
    }
    refused(&["serve", "--listen", "127.0.0.1:0", "--set", &ops], &taken).await;
}

async fn refused(args: &[&str], address: &str) {
    let ended = Tidegate::new(args).env("API_KEY", "sk-test").run().await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""), "{args:?}: {}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{args:?}: {}", ended.err);
    assert!(ended.err.starts_with(&format!("tidegate: cannot listen on {address}: ")), "{}", ended.err);
    assert!(ended.after.is_in(..SOON), "{:?}", ended.after);
}

#[tokio::test]
async fn help_has_examples_and_the_version_is_printed() {
    let version = Tidegate::new(&["--version"]).run().await;
    assert_eq!(version.out, format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["demo", "--help"],
        &["simulate", "--help"],
        &["check", "--help"],
        &["load", "--help"],
    ] {
        let ended = Tidegate::new(args).run().await;
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(ended.out.contains("Examples:\n  "), "{args:?}: {}", ended.out);
    }
    let nothing = Tidegate::new(&[]).run().await;
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(64), ""));
    assert!(nothing.err.contains("tidegate demo"), "{}", nothing.err);
}

/// Reads until the server closes; the text before, and the close code.
#[tokio::test]
async fn the_licences_of_what_is_carried_are_printed() {
    let ended = Tidegate::new(&["licenses"]).run().await;
    assert_eq!(ended.code, Some(0));
    for part in
        ["Apache License", "actix-web 4", "react 19", "maths-LICENSE.txt", "jemalloc", "Permission is hereby"]
    {
        assert!(ended.out.contains(part), "{part}");
    }
}

async fn to_the_end(client: &mut TestClient) -> (String, u16) {
    let mut text = String::new();
    loop {
        match client.next().await {
            Message::Text(more) => text.push_str(&more),
            Message::Close(frame) => return (text, frame.map_or(1005, |frame| frame.code.into())),
            other => panic!("expected text or a close, got {other:?}"),
        }
    }
}

// faults: G99
#[tokio::test]
async fn sigterm_lets_answers_finish_and_closes_every_socket() {
    let (sockets, answers) = (2_000, 500);
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let url = gateway.chat_url();
    let mut clients = Vec::new();
    while clients.len() < sockets {
        clients.extend(join_all((0..50).map(|_| TestClient::connect(&url))).await);
    }
    // Every fourth is in the middle of an answer when the signal comes.
    let every = sockets / answers;
    let ask = async |client: &mut TestClient| {
        client.send_text("/sim number tokens=20 pace_ms=200").await;
        assert!(client.read_text().await.starts_with("#0 "));
    };
    join_all(clients.iter_mut().step_by(every).map(ask)).await;
    let address = gateway.address;
    gateway.signal("TERM").await;
    let watch = Stopwatch::start();
    until("readyz is red", async || http_get(address, "/readyz").await.0 == 503).await;
    let refused = connect_async(&url).await.unwrap_err().to_string();
    assert!(refused.contains("503"), "no new sockets: {refused}");
    let ends = clients.iter_mut().enumerate().map(async |(number, client)| {
        let (text, code) = to_the_end(client).await;
        assert_eq!(code, 1012);
        assert_eq!(text.contains("#19 "), number % every == 0, "finished: {text}");
        watch.took().wall
    });
    let ends = join_all(ends).await;
    let ended = gateway.ended().await;
    println!(
        "{sockets} sockets, {answers} answers: closed={:?} ended={:?}",
        ends.iter().max(),
        watch.took().wall
    );
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("stopped: Drained"), "{}", ended.err);
    simulator.stop().await;
}

// faults: G99
#[tokio::test]
async fn when_the_grace_period_is_over_the_rest_is_closed_too() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &["--set", "server.drain_timeout=1s"]).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=endless stall_after=1").await;
    client.read_text().await;
    gateway.signal("TERM").await;
    assert_eq!(to_the_end(&mut client).await.1, 1012);
    let ended = gateway.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("stopped: GraceOver(1)"), "{}", ended.err);
    simulator.stop().await;
}

// faults: G100
#[tokio::test]
async fn a_second_signal_is_faster() {
    let simulator = Process::simulate().await;
    for (first, second, code) in [
        ("TERM", "TERM", 143),
        ("INT", "INT", 130),
        ("TERM", "INT", 130),
        ("QUIT", "QUIT", 131),
        ("QUIT", "TERM", 143),
    ] {
        let gateway = Process::serve(&simulator, "sk-test", &[]).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("/sim text=endless stall_after=1").await;
        client.read_text().await;
        gateway.signal(first).await;
        until("it drains", async || gateway.log().contains("draining")).await;
        gateway.signal(second).await;
        assert_eq!(to_the_end(&mut client).await.1, 1012);
        let ended = gateway.ended().await;
        assert_eq!(ended.code, Some(code), "{first} {second}: {}", ended.err);
        assert!(ended.after.is_in(..Duration::from_secs(5)), "{:?}", ended.after);
    }
    simulator.stop().await;
}

// faults: K147
#[tokio::test]
async fn sigquit_drains_like_sigterm() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim number tokens=20 pace_ms=20").await;
    client.read_text().await;
    gateway.signal("QUIT").await;
    let (text, code) = to_the_end(&mut client).await;
    assert!(code == 1012 && text.contains("#19 "), "{code} {text}");
    let ended = gateway.ended().await;
    assert!(ended.code == Some(0) && ended.err.contains("stopped: Drained"), "{ended:?}");
    simulator.stop().await;
}

#[tokio::test]
async fn serve_logs_a_hangup_and_continues() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    let hangups = |log: &str| log.matches("SIGHUP ignored").count();
    for count in 1..=2 {
        gateway.signal("HUP").await;
        until("it is logged", async || hangups(&gateway.log()) == count).await;
    }
    client.send_text("/sim text=\"Still here.\"").await;
    client.expect("Still here.").await;
    assert_eq!(http_get(gateway.address, "/readyz").await.0, 200);
    // In a drain it closes no socket earlier.
    client.send_text("/sim number tokens=20 pace_ms=20").await;
    client.read_text().await;
    gateway.signal("TERM").await;
    until("it drains", async || gateway.log().contains("draining")).await;
    gateway.signal("HUP").await;
    let (text, code) = to_the_end(&mut client).await;
    assert!(code == 1012 && text.contains("#19 "), "{code} {text}");
    let ended = gateway.ended().await;
    assert_eq!((ended.code, hangups(&ended.err)), (Some(0), 3), "{}", ended.err);
    simulator.stop().await;
}

#[tokio::test]
async fn serve_outlives_its_terminal() {
    let simulator = Process::simulate().await;
    let base_url = simulator.base_url();
    let args = ["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
    // The session leader is the one that gets the signal when its terminal ends.
    let serve = Tidegate::under(&["/usr/bin/setsid", "--ctty"], &args).env("API_KEY", "sk-test");
    let gateway = serve.start_and_hang_up().await;
    for _ in 0..3 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("/sim text=\"Still here.\"").await;
        client.expect("Still here.").await;
        client.close().await;
    }
    let lost = async || {
        let (_, metrics) = http_get(gateway.address, "/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("tidegate_log_lines_dropped_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    until("what could not be written is counted", async || lost().await >= 3).await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.code, Some(0));
    simulator.stop().await;
}

#[tokio::test]
async fn demo_and_simulate_end_with_their_terminal_unless_nohup_forbids_it() {
    for program in [&["demo", "--listen", "127.0.0.1:0"], &["simulate", "--listen", "127.0.0.1:0"]] {
        let started = Tidegate::new(program).start().await;
        let address = started.address;
        started.signal("HUP").await;
        let ended = started.ended().await;
        assert_eq!(ended.code, Some(0), "{program:?}: {}", ended.err);
        TcpListener::bind(address).await.expect("the port is free");
        let kept = Tidegate::under(&["/usr/bin/nohup"], program).start().await;
        kept.signal("HUP").await;
        assert!(http_get(kept.address, "/").await.0 > 0, "it serves");
        kept.stop().await;
    }
}

#[tokio::test]
async fn a_second_hangup_cuts_a_demo() {
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let mut client = TestClient::connect(&demo.chat_url()).await;
    client.send_text("/sim text=endless stall_after=1").await;
    client.read_text().await;
    demo.signal("HUP").await;
    until("it drains", async || demo.log().contains("draining")).await;
    demo.signal("HUP").await;
    assert_eq!(to_the_end(&mut client).await.1, 1012);
    assert_eq!(demo.ended().await.code, Some(129));
}

#[tokio::test]
async fn the_operators_routes_can_have_their_own_listener() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &["--set", "server.ops_listen=127.0.0.1:0"]).await;
    let announced =
        || gateway.log().lines().find_map(|line| line.split("metrics on http://").nth(1)?.parse().ok());
    until("the other address is logged", async || announced().is_some()).await;
    let ops = announced().unwrap();
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        assert_eq!(http_get(ops, path).await.0, 200, "{path}");
        assert_eq!(http_get(gateway.address, path).await.0, 404, "{path}");
    }
    within("it stops", PATIENCE, gateway.stop()).await;
    simulator.stop().await;
}

// faults: G99
#[tokio::test]
async fn idle_sockets_are_closed_at_once_however_many_answers_are_running() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &["--set", "server.workers=1"]).await;
    let mut running = Vec::new();
    for _ in 0..150 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text("/sim number tokens=2000 pace_ms=20").await;
        running.push(client);
    }
    let mut idle = TestClient::connect(&gateway.chat_url()).await;
    for client in &mut running {
        assert!(client.read_text().await.starts_with("#0 "));
    }
    gateway.signal("TERM").await;
    let closed = within("the idle one is closed", Duration::from_secs(2), to_the_end(&mut idle)).await;
    assert_eq!(closed, (String::new(), 1012));
    // Only the second signal can end the process this soon.
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.code, Some(143));
    simulator.stop().await;
}
