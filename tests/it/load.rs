//! The load tester: a short run with requirements, every way to begin wrongly, and text that is wrong.
use crate::harness::{Ended, PATIENCE, Process, Tidegate, on_a_steady_machine, until};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Answers that are known, all different, with stamps.
const PROMPT: &str = "/sim tokens=40 pace_ms=20 first_ms=20 stamp=1 seed={socket}{turn}";

/// Runs take some seconds, searches several runs; a busy machine may need several times that.
const RUN_PATIENCE: Duration = PATIENCE.saturating_mul(6);

/// Runs the load tester against an address.
async fn load(url: &str, more: &[&str]) -> Ended {
    let args: Vec<_> = ["load", url].iter().chain(more).copied().collect();
    Tidegate::new(&args).launch().ended(RUN_PATIENCE).await
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[tokio::test]
async fn a_short_run_fulfils_its_requirements() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let metrics = format!("http://{}/metrics", gateway.address);
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("report.html");
    let mut args =
        vec!["--sockets", "60", "--idle", "40", "--ramp", "500ms", "--turns", "2", "--prompt", PROMPT];
    args.extend(["--metrics", &metrics, "--json", "-", "--html", html.to_str().unwrap(), "--require"]);
    args.extend(["errors==0", "turns==120", "verified==120", "deltas==4800"]);
    args.extend(["open_max==100", "rss_kib_per_socket<1000"]);
    let ended = load(&gateway.chat_url(), &args).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&ended);
    assert!(report["figures"]["cpu_us_per_delta"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["good"], true);
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<svg") && page.contains("passed"));
    gateway.stop().await;
    simulator.stop().await;
}

/// A gateway that gathers small writes (Nagle's algorithm) holds each second delta of an answer back until the
/// client's kernel acknowledges the first, 40 ms later: in every run. A busy machine is late in some.
#[tokio::test]
async fn deltas_do_not_wait_for_an_acknowledgement() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let args = ["--sockets", "10", "--ramp", "200ms", "--prompt", PROMPT, "--json", "-"];
    let mut stalls = Vec::new();
    while stalls.iter().all(|stall| *stall >= 38.0) {
        assert!(stalls.len() < 8, "the longest gap of most answers: {stalls:?} ms");
        let ended = load(&gateway.chat_url(), &args).await;
        stalls.push(report(&ended)["figures"]["p50_stall_ms"].as_f64().expect("a stall was measured"));
    }
    gateway.stop().await;
    simulator.stop().await;
}

#[tokio::test]
async fn processes_share_the_work_and_a_requirement_that_fails_ends_with_1() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let args = ["--processes", "2", "--sockets", "21", "--ramp", "200ms", "--prompt", PROMPT];
    let ended =
        load(&gateway.chat_url(), &[&args[..], &["--require", "turns==21", "errors>0"]].concat()).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("21 of 21 messages answered, 21 compared byte by byte"), "{}", ended.out);
    assert!(
        ended.out.contains("holds     turns==21") && ended.out.contains("FAILS     errors>0"),
        "{}",
        ended.out
    );
    gateway.stop().await;
    simulator.stop().await;
}

#[tokio::test]
async fn users_that_arrive_at_a_rate_echo_answers_and_error_texts() {
    on_a_steady_machine(async || {
        let simulator = Process::simulate().await;
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--model", "sim-echo", "--base-url", &simulator.base_url()];
        let gateway = Tidegate::new(&args).env("API_KEY", "sk-test").start().await;
        let open =
            ["--rate", "40", "--duration", "1s", "--expect", "echo", "--prompt", "I am {socket}, 你好"];
        let ended = load(
            &gateway.chat_url(),
            &[&open[..], &["--json", "-", "--require", "errors==0", "verified>10"]].concat(),
        )
        .await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let [opened, verified] =
            ["opened", "verified"].map(|name| report(&ended)["figures"][name].as_f64().unwrap());
        assert!(verified <= opened, "{verified} of {opened}");
        let errors =
            ["--sockets", "3", "--ramp", "0s", "--prompt", "/sim status=400 tag={socket}", "--json", "-"];
        let ended = load(&gateway.chat_url(), &errors).await;
        assert_eq!(ended.code, Some(0), "only requirements judge errors: {ended:?}");
        let kind = &report(&ended)["errors"]["error_text"];
        assert!(kind["count"] == 3 && kind["example"].as_str().unwrap().starts_with("Error: "), "{kind}");
        gateway.stop().await;
        simulator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_knee_is_found() {
    on_a_steady_machine(async || {
        let simulator = Process::simulate().await;
        let gateway = Process::serve(&simulator, "sk-test", &["--set", "connection.count_max=5"]).await;
        // What fails here is not time but room: the gateway refuses the sixth.
        let args = ["--sockets", "3", "--find-knee", "p99_delivery_ms<9999", "--step", "1s", "--json", "-"];
        let ended = load(&gateway.chat_url(), &args).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let knee = &report(&ended)["knee"];
        let levels: Vec<_> = knee["levels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|level| level["sockets"].as_u64().unwrap())
            .collect();
        assert_eq!((knee["sockets"].as_u64(), &levels[..2]), (Some(5), &[3, 6][..]), "{knee}");
        let no_further = load(&gateway.chat_url(), &[&args[..], &["--knee-max", "4"]].concat()).await;
        let knee = &report(&no_further)["knee"];
        let levels =
            knee["levels"].as_array().unwrap().iter().map(|level| level["sockets"].as_u64().unwrap());
        assert_eq!((knee["sockets"].as_u64(), levels.collect()), (Some(4), vec![3, 4]), "{knee}");
        gateway.stop().await;
        simulator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_dies_in_a_search_leaves_what_held_before() {
    on_a_steady_machine(async || {
        let simulator = Process::simulate().await;
        let gateway = Process::serve(&simulator, "sk-test", &[]).await;
        let (url, pid, address) = (gateway.chat_url(), gateway.pid().to_string(), gateway.address);
        let args = ["load", &url, "--sockets", "2", "--find-knee", "p99_delivery_ms<9999", "--step", "1s"];
        let endless = "/sim tokens=100000 pace_ms=20 first_ms=0 stamp=1";
        let search =
            Tidegate::new(&[&args[..], &["--pid", &pid, "--prompt", endless, "--json", "-"]].concat());
        let search = search.launch();
        until("the second level runs", async || gateway_runs(address).await == 4).await;
        gateway.kill().await;
        let ended = search.ended(RUN_PATIENCE).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(report(&ended)["knee"]["sockets"].as_u64(), Some(2), "{ended:?}");
        assert!(ended.err.contains("no further: with ") && ended.err.contains("no process"), "{}", ended.err);
        simulator.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_signal_ends_with_the_report_so_far() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    for (processes, signal, code) in
        [("1", "INT", 130), ("2", "INT", 130), ("1", "HUP", 129), ("2", "TERM", 143), ("1", "QUIT", 131)]
    {
        let url = gateway.chat_url();
        let args = ["load", &url, "--sockets", "10", "--ramp", "0s", "--processes", processes];
        let endless = "/sim tokens=100000 pace_ms=20 first_ms=0";
        let run = Tidegate::new(&[&args[..], &["--prompt", endless]].concat()).launch();
        until("all are answered", async || gateway_runs(gateway.address).await == 10).await;
        run.signal(signal).await;
        let ended = run.ended(PATIENCE).await;
        assert_eq!(ended.code, Some(code), "{signal}: {ended:?}");
        assert!(ended.out.contains("interrupted") && ended.out.contains("no errors"), "{}", ended.out);
        assert!(ended.out.contains("10 under way at the end"), "{}", ended.out);
        until("all have left", async || gateway_runs(gateway.address).await == 0).await;
    }
    gateway.stop().await;
    simulator.stop().await;
}

async fn gateway_runs(address: SocketAddr) -> u64 {
    let (_, health) = crate::harness::http_get(address, "/health").await;
    serde_json::from_str::<Value>(&health).unwrap()["runs"].as_u64().unwrap()
}

#[tokio::test]
async fn flags_that_cannot_be_followed_end_with_64_before_any_socket() {
    let (url, ai_sdk) = ("ws://127.0.0.1:1/chat", "ws://127.0.0.1:1/api/chat");
    for (args, says) in [
        (&["http://127.0.0.1:1/chat"][..], "not with ws://"),
        (&["wss://127.0.0.1:1/chat"], "TLS terminator"),
        (&["127.0.0.1"], "is not a URL"),
        (&["ws://me:CANARY@127.0.0.1:1/chat"], "use --header"),
        (&[url, "--require", "p99_delivery<5"], "did you mean p99_delivery_ms?"),
        (&[url, "--sockets", "0"], "no sockets: give --sockets"),
        (&[url, "--sockets", "900000"], "ulimit"),
        (&[url, "--sockets", "900000", "--processes", "64"], "--source"),
        (&[url, "--rate", "5"], "--duration"),
        (&[url, "--duration", "2s", "--warmup", "3s"], "--warmup"),
        (&[url, "--prompts", "nowhere.jsonl"], "nowhere.jsonl"),
        (&[url, "--header", "no colon"], "no colon"),
        (&[url, "--think", "8s..2s"], "backwards"),
        (&[url, "--pid", "4194304"], "no process 4194304"),
        (&[url, "--cut-every", "1s"], "--dialect ai-sdk"),
        (&[url, "--cut-at", "1s"], "--dialect ai-sdk"),
        (&[url, "--chats", "2"], "--dialect ai-sdk"),
        (&[ai_sdk, "--cut-every", "0"], "no time"),
        (&[ai_sdk, "--cut-at", "2s", "--duration", "2s"], "nothing would be cut"),
        (&[ai_sdk, "--cut-every", "1s", "--cut-at", "1s"], "--cut-at"),
        (&[ai_sdk, "--dialect", "plain"], "leave out --dialect plain"),
    ] {
        let ended = load(args[0], &args[1..]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{args:?}: {}", ended.err);
        assert!(ended.err.contains(says), "{args:?}: {}", ended.err);
    }
}

/// A server that does one thing with each connection.
async fn server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/chat", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket));
        }
    });
    (url, task)
}

#[tokio::test]
async fn a_server_that_cannot_be_used_ends_it_with_69_and_a_sentence() {
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (silent, silent_task) = server(async |_socket: TcpStream| std::future::pending().await).await;
    let (full, full_task) = server(|mut socket: TcpStream| async move {
        read_head(&mut socket).await;
        socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let (closing, closing_task) = server(|mut socket: TcpStream| async move {
        agree(&mut socket).await;
        socket.write_all(b"\x88\x02\x03\xf0").await.unwrap();
    })
    .await;
    for (url, says) in [
        (format!("ws://{refused}/chat"), "is the gateway running?"),
        (silent, "does not answer"),
        (full, "503 Service Unavailable: it is full"),
        (closing, "closed with 1008: it closes new sockets at once; see its log"),
    ] {
        let ended = load(&url, &["--connect-timeout", "500ms"]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""), "{url}: {}", ended.err);
        assert!(ended.err.contains(says) && ended.err.lines().count() == 1, "{url}: {}", ended.err);
        assert!(ended.after.is_in(..Duration::from_secs(5)), "{:?}", ended.after);
    }
    [silent_task, full_task, closing_task].iter().for_each(JoinHandle::abort);
}

async fn read_head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).await.is_ok_and(|got| got > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Agrees to an upgrade.
async fn agree(socket: &mut TcpStream) {
    let head = read_head(socket).await;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
    let accept = actix_http::ws::hash_key(key.as_bytes());
    let accept = String::from_utf8_lossy(&accept);
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {accept}\r\n\r\n");
    let _ = socket.write_all(answer.as_bytes()).await;
}

/// Text that is lost, doubled or foreign fails a run without any requirement.
#[tokio::test]
async fn wrong_text_fails_a_run() {
    let text = "one two three four five six seven eight nine ten eleven twelve";
    for (sent, kind) in [
        (text.replace(" four five six", ""), "lost_text"),
        (text.replace(" seven", " two three four five seven"), "doubled_text"),
        (format!("{} the answer of another client", &text[..30]), "foreign_text"),
        (format!("{text}{text}"), "doubled_text"),
        (text[..40].to_owned(), "lost_text"),
    ] {
        let frame = [&[0x81, sent.len() as u8][..], sent.as_bytes()].concat();
        assert!(sent.len() < 126, "short frames only");
        let (url, task) = server(move |mut socket: TcpStream| {
            let frame = frame.clone();
            async move {
                agree(&mut socket).await;
                let mut request = [0; 256];
                while socket.read(&mut request).await.is_ok_and(|got| got > 0) {
                    // A text, or the goodbye.
                    let answer = if request[0] == 0x81 { &frame[..] } else { b"\x88\x02\x03\xe8" };
                    if socket.write_all(answer).await.is_err() || request[0] != 0x81 {
                        return;
                    }
                }
            }
        })
        .await;
        let prompt = format!("/sim text=\"{text}\"");
        let args = [
            "--sockets",
            "2",
            "--ramp",
            "0s",
            "--answer-timeout",
            "500ms",
            "--prompt",
            &prompt,
            "--json",
            "-",
        ];
        let ended = load(&url, &args).await;
        assert_eq!(ended.code, Some(1), "{kind}: {ended:?}");
        assert_eq!(report(&ended)["errors"][kind]["count"], 2, "{sent}: {}", ended.out);
        task.abort();
    }
}

#[tokio::test]
async fn headers_and_cookies_reach_the_server() {
    let (sender, mut heads) = tokio::sync::mpsc::channel(1);
    let (url, task) = server(move |mut socket: TcpStream| {
        let sender = sender.clone();
        async move {
            let head = read_head(&mut socket).await;
            let _ = sender.try_send(head);
        }
    })
    .await;
    let args = [
        "--header",
        "Origin: http://here",
        "--cookie",
        "a=1",
        "--cookie",
        "b=2",
        "--connect-timeout",
        "300ms",
    ];
    assert_eq!(load(&url, &args).await.code, Some(69), "it only looks at the request");
    let head = heads.recv().await.unwrap();
    assert!(
        head.contains("\r\nOrigin: http://here\r\n") && head.contains("\r\nCookie: a=1; b=2\r\n"),
        "{head}"
    );
    assert!(head.starts_with("GET /chat HTTP/1.1\r\n"));
    task.abort();
}
