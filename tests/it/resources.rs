//! Resources of the machine: descriptors, memory, clocks, a suspended process, and the size of a scrape.
use crate::harness::{
    Gateway, Outcome, PATIENCE, Process, RawClient, SOON, ScriptedUpstream, Stopwatch, TestClient, Tidegate,
    frame, handshake, http_get, http_try, kernel, on_a_steady_machine, sse_head, until, within,
};
use futures_util::future::join_all;
use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tidegate::{chat::RunErrorKind, config::Config};
use tokio::{net::TcpListener, process::Command, time::sleep};

/// Starts `serve` in front of a simulator, with more keys, under another program.
async fn serve(wrapper: &[&str], simulator: &Process, keys: &[&str]) -> Process {
    let base_url = simulator.base_url();
    let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
    for key in keys {
        args.extend(["--set", key]);
    }
    Tidegate::under(wrapper, &args).env("API_KEY", "sk-test").start().await
}

fn health(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

// faults: I113
#[tokio::test]
async fn with_few_descriptors_sockets_are_refused_and_answers_still_come() {
    let simulator = Process::simulate().await;
    let keys = ["server.workers=2", "upstream.run_timeout=20s"];
    let gateway = serve(&["prlimit", "--nofile=64:64"], &simulator, &keys).await;
    let here = gateway.address;
    let max = health(&http_get(here, "/health").await.1)["sockets_max"].as_u64().unwrap() as usize;
    assert!((8..40).contains(&max), "{max}");
    let line = format!("connection.count_max is {max} instead of 18000: only 64 files may be open");
    until("the log has it", async || gateway.log().contains(&line)).await;

    // As many sockets as allowed: the next one is rejected, and the open ones get their answers.
    let mut held = Vec::new();
    for _ in 0..max {
        held.push(TestClient::connect(&gateway.chat_url()).await);
    }
    let head = RawClient::connect(here).await.request(&handshake(here, &[])).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    // A full gateway reports that, and stays in service.
    let (status, says) = http_get(here, "/readyz?verbose").await;
    assert!(status == 200 && says.contains(&format!("{max} of {max} sockets open")), "{status} {says}");
    assert_eq!(held[0].ask("with a reserve", "").await, Outcome::Whole);

    // Idle connections are closed again: no descriptor is missing, and no loop spins because of them.
    let idle: Vec<_> = join_all((0..80).map(|_| RawClient::connect(here))).await;
    until("probes are answered", async || {
        http_try(here, "/livez").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    assert!(kernel::descriptors(gateway.pid()).len() < 64);
    let (before, watch) = (gateway.cpu(), Stopwatch::start());
    sleep(Duration::from_secs(2)).await;
    let (spent, wall) = (gateway.cpu() - before, watch.took().wall);
    assert!(spent <= wall / 10, "{spent:?} of the processor in {wall:?}");
    assert_eq!(held[0].ask("over the connection it has", "").await, Outcome::Whole);
    drop(idle);
    until("all is well again", async || {
        http_try(here, "/livez").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    for client in held {
        client.close().await;
    }
    until("it is ready", async || http_get(here, "/readyz").await.0 == 200).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    assert_eq!(client.ask("fine", "").await, Outcome::Whole);
    client.close().await;
    gateway.stop().await;
    simulator.stop().await;
}

/// The memory that one socket can make the gateway hold at most, in KiB: input, queue, history and output. Texts are held
/// twice while a request is written, and buffers grow by doubling.
fn socket_memory_max(config: &Config) -> u64 {
    let (connection, session) = (&config.connection, &config.session);
    let waiting = session.queued_messages_max + 1;
    let sent = 2 * connection.frame_bytes_max + connection.message_bytes_max * waiting;
    let kept = 4 * config.history.bytes_max + session.lag_bytes_max;
    let out = 2 * connection.output_bytes_max + 64 * 1024;
    (sent + kept + out) as u64 / 1024
}

// faults: I114
#[tokio::test]
async fn a_flood_within_the_caps_stays_within_a_bound() {
    const SOCKETS: usize = 40;
    let simulator = Process::simulate().await;
    let sockets = format!("connection.count_max={SOCKETS}");
    // The address space is limited, too: beyond that limit the process would be aborted.
    let gateway = serve(&["prlimit", "--as=4294967296"], &simulator, &[&sockets]).await;
    let base = gateway.memory() >> 10;
    let text = frame(0x81, &[b'x'; 60 * 1024]);
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..SOCKETS + 20 {
        let mut client = RawClient::connect(gateway.address).await;
        let head = client.request(&handshake(gateway.address, &[])).await;
        if head.starts_with("HTTP/1.1 101 ") { clients.push(client) } else { refused += 1 }
    }
    assert_eq!((clients.len(), refused), (SOCKETS, 20));
    let flood = clients.into_iter().enumerate().map(async |(number, mut client)| {
        // Whole messages, most of which are rejected; then one that never ends.
        for _ in 0..20 {
            if tokio::time::timeout(Duration::from_secs(2), client.try_write(&text)).await.is_err() {
                break; // The gateway does not read.
            }
        }
        let _ = client.try_write(&text[..text.len() - 1 - number]).await;
        client
    });
    let clients = join_all(flood).await;
    let peak = gateway.memory_peak() >> 10;
    let bound = base + SOCKETS as u64 * socket_memory_max(&Config::default());
    println!("base {base} KiB, peak {peak} KiB, bound {bound} KiB");
    assert!(peak < bound, "peak {peak} KiB, bound {bound} KiB");
    drop(clients);
    until("they are gone", async || gateway.metric("tidegate_connections").await == 0).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    assert_eq!(client.ask("fine", "").await, Outcome::Whole);
    client.close().await;
    gateway.stop().await;
    simulator.stop().await;
}

// faults: I115
#[tokio::test]
async fn it_serves_when_its_log_is_not_read() {
    let simulator = Process::simulate().await;
    for (name, shell) in [("closed", "exec \"$@\" >&- 2>&-"), ("never read", "exec \"$@\"")] {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (listen, base_url) = (free.to_string(), simulator.base_url());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", shell, "sh", env!("CARGO_BIN_EXE_tidegate"), "serve", "--listen", &listen]);
        command.args(["--model", "sim-chat", "--base-url", &base_url]).env_clear();
        command.env("API_KEY", "sk-test").env("RUST_LOG", "trace").kill_on_drop(true);
        // The reading ends of the pipes are open, but nothing reads from them.
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("it serves", async || http_try(free, "/livez").await.is_ok_and(|(status, _)| status == 200))
            .await;
        let dropped = async || {
            let (_, metrics) = http_get(free, "/metrics").await;
            let line =
                metrics.lines().find_map(|line| line.strip_prefix("tidegate_log_lines_dropped_total "));
            line.unwrap().parse::<u64>().unwrap()
        };
        // Until the pipe and the log queue are full and lines are lost, and longer.
        for number in 0..1_000 {
            let mut client = TestClient::connect(&format!("ws://{free}/chat")).await;
            let text = format!("{name} {number}");
            assert_eq!(client.ask(&text, "").await, Outcome::Whole, "{name}");
            client.close().await;
            if number >= 30 && (name == "closed" || dropped().await > 0) {
                break;
            }
        }
        assert!(name == "closed" || dropped().await > 0, "{name}");
        let pid = child.id().unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid as i32).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let status = within("it stops", PATIENCE, child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{name}");
    }
    simulator.stop().await;
}

/// Path of the library of `faketime`, which Debian places by architecture.
fn faketime() -> String {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let found = places.iter().map(|place| format!("/usr/lib/{place}/faketime/libfaketime.so.1"));
    found
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("faketime is installed; tests/run installs it")
}

// faults: I116
#[tokio::test]
async fn jumps_of_the_wall_clock_change_nothing_but_the_time_in_the_log() {
    let simulator = Process::simulate().await;
    let base_url = simulator.base_url();
    let args = ["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
    let gateway = Tidegate::new(&args).env("API_KEY", "sk-test").file("clock", "+0");
    let clock = gateway.folder().join("clock");
    let gateway = gateway
        .env("LD_PRELOAD", &faketime())
        .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let gateway = gateway.start().await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for (jump, year) in [
        ("+3600", ""),
        ("-3600", ""),
        ("@1970-01-01 00:00:01", "1970-"),
        ("@2038-01-19 03:14:05", "2038-"),
        ("+0", ""),
    ] {
        fs::write(&clock, jump).unwrap();
        // During an answer, and for a new one.
        let text = format!("a clock at {jump}");
        assert_eq!(client.ask(&text, "pace_ms=10").await, Outcome::Whole, "{jump}");
        let mut newcomer = TestClient::connect(&gateway.chat_url()).await;
        assert_eq!(newcomer.ask(&text, "").await, Outcome::Whole, "{jump}");
        newcomer.close().await;
        until("the log has that time", async || gateway.log().lines().any(|line| line.starts_with(year)))
            .await;
    }
    client.close().await;
    let (_, metrics) = http_get(gateway.address, "/metrics").await;
    let sum =
        metrics.lines().find_map(|line| line.strip_prefix("gen_ai_client_inference_duration_seconds_sum{"));
    let seconds: f64 = sum.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((0.0..30.0).contains(&seconds), "{seconds}");
    let uptime = health(&http_get(gateway.address, "/health").await.1)["uptime_s"].as_u64().unwrap();
    assert!(uptime < 60, "{uptime}");
    let log = gateway.stop().await;
    assert!(!log.contains("=-"), "{log}");
    let ids: Vec<_> = log.lines().filter_map(|line| line.split("socket opened connection=").nth(1)).collect();
    let ids: Vec<_> = ids.iter().map(|rest| rest.split(' ').next().unwrap()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (6, 6), "{log}");
    simulator.stop().await;
}

// faults: I117
#[tokio::test]
async fn after_a_pause_of_the_process_everything_ends_once_and_the_healthy_go_on() {
    on_a_steady_machine(async || {
        let upstream = ScriptedUpstream::bind().await;
        let base_url = format!("http://{}/api/v1", upstream.address);
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--base-url", &base_url];
        for key in [
            "connection.ping_interval=200ms",
            "connection.idle_timeout=2s",
            "upstream.run_timeout=1500ms",
            "upstream.idle_timeout=60s",
        ] {
            args.extend(["--set", key]);
        }
        let gateway = Tidegate::new(&args).env("API_KEY", "sk-test").start().await;
        let (mut asks, mut idle) =
            (TestClient::connect(&gateway.chat_url()).await, TestClient::connect(&gateway.chat_url()).await);
        asks.send_text("Take your time.").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.delta("Well").await;
        assert_eq!(asks.read_text().await, "Well");
        // One client leaves while the process cannot notice, one is silent from now on, and one answers every ping.
        let leaves = RawClient::upgrade(gateway.address).await;
        let _mute = RawClient::upgrade(gateway.address).await;
        gateway.signal("STOP").await;
        leaves.reset();
        sleep(Duration::from_secs(2)).await;
        gateway.signal("CONT").await;
        let watch = Stopwatch::start();
        // The run timed out in the meantime: one error, and nothing after it.
        let (_, error) = asks.until_error().await;
        let sentence = RunErrorKind::UpstreamTimeout.sentence();
        assert!(error.starts_with(&format!("Error: {sentence}")), "{error}");
        assert!(watch.took().is_in(..SOON), "{:?}", watch.took());
        within("its connection is closed", SOON, connection.closed()).await;
        // Ten pings were missed; they are not all sent now.
        let pings = idle.pings(Duration::from_secs(1)).await;
        assert!((1..=8).contains(&pings), "{pings} pings in a second");
        let turn = Duration::from_millis(100);
        until("the dead are found", async || {
            tokio::join!(asks.pings(turn), idle.pings(turn)); // Both answer.
            gateway.metric("tidegate_connections").await == 2
        })
        .await;
        asks.send_text("Once more.").await;
        let mut connection = upstream.accept().await;
        connection.request().await;
        connection.send(sse_head()).await;
        connection.delta("Here.").await;
        connection.finish().await;
        assert_eq!(asks.read_text().await, "Here.");
        let ended = gateway.log().lines().filter(|line| line.contains("run ended")).count();
        assert!(ended <= 2, "{}", gateway.log());
        asks.close().await;
        idle.close().await;
        gateway.stop().await;
    })
    .await;
}

const MARK: &str = "zzmarkzz";

/// Requests in which every value that a client can choose contains a mark.
fn marked(here: SocketAddr) -> Vec<String> {
    let mark = [("origin", "http://zzmarkzz.test"), ("x-forwarded-for", MARK), ("user-agent", MARK)];
    let mut requests = vec![
        handshake(here, &mark),
        handshake(here, &[("sec-websocket-protocol", MARK)]).replace("/chat", "/chat?zzmarkzz=1"),
        handshake(here, &[]).replace("upgrade: websocket", "upgrade: zzmarkzz"),
        handshake(here, &[]).replace("version: 13", "version: zzmarkzz"),
        handshake(here, &[]).replace("GET", "ZZMARKZZ"),
        handshake(here, &[]).replace("dGhl", MARK),
    ];
    requests.extend((0..20).map(|n| format!("GET /zzmarkzz{n} HTTP/1.1\r\nhost: zzmarkzz{n}.test\r\n\r\n")));
    requests
}

// faults: I120
#[tokio::test]
async fn metrics_hold_nothing_from_outside_and_cost_little() {
    let gateway = Gateway::spawn(|config| {
        config.session.queued_messages_max = 0;
        config.retry.attempts = 1;
    })
    .await;
    let here = gateway.address;
    for request in marked(here) {
        RawClient::connect(here).await.request(&request).await;
    }
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for message in [
        "/sim status=500 code=zzmarkzz message=zzmarkzz",
        "/sim status=418 code=zzmarkzz.zzmarkzz",
        "/sim status=429 code=zzmarkzz retry_after=zzmarkzz",
        "/sim text=abc error_after=1 code=zzmarkzz",
        "/sim text=abc finish=zzmarkzz tag=1",
        "/sim wrong_type=text/zzmarkzz",
        "/sim zzmarkzz=1",
    ] {
        client.send_text(message).await;
        let _ = tokio::time::timeout(Duration::from_secs(2), client.until_error()).await;
    }
    client.close().await;
    for bytes in
        [frame(0x82, MARK.as_bytes()), frame(0x88, b"\x0b\xb8zzmarkzz"), frame(0x81, b"zzmarkzz\xff")]
    {
        let mut client = RawClient::upgrade(here).await;
        client.write(&bytes).await;
        if bytes[0] == 0x82 {
            client.read_frame().await;
        }
    }
    until("they are gone", async || gateway.is_idle()).await;
    let (_, text) = gateway.get("/metrics").await;
    assert!(!text.to_lowercase().contains(MARK), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = samples.filter_map(|line| line.split_once('{')?.1.split_once('}'));
    let labels = pairs.flat_map(|(pairs, _)| pairs.split(',')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        // Buckets, workers by number, models and the build are all determined by the gateway.
        let own = ["le", "worker", "gen_ai_request_model", "model", "version", "page"];
        (!own.contains(&name)).then(|| value.trim_matches('"').to_owned())
    });
    for label in labels {
        let is_word = label.len() < 30 && label.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(is_word, "{label}");
    }
    let series = text.lines().count();

    // Many sessions, each with one turn.
    let mut clients = join_all((0..400).map(async |_| TestClient::connect(&gateway.chat_url()).await)).await;
    for client in &mut clients {
        assert_eq!(client.ask("hello", "").await, Outcome::Whole);
    }
    let (_, many) = gateway.get("/metrics").await;
    assert!(many.contains("\ntidegate_sessions 400\n"), "{many}");
    // One more outcome has a histogram.
    assert!(many.lines().count() <= series + 20, "{many}");
    for client in clients {
        client.close().await;
    }
    gateway.stop().await;
}
