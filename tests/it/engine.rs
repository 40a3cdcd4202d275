//! Engines that list their models: the simulator, and a real llama.cpp with a model of half a megabyte.
use crate::harness::{Answer, Chats, End, PATIENCE, Process, TestClient, Tidegate, http_get, until, within};
use serde_json::{Value, json};
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
};
use tempfile::TempDir;
use tidegate::chat::RunErrorKind;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// llama.cpp's own server, killed when dropped.
struct Engine {
    _process: Child,
    /// Kept open, since the engine may write to it.
    _output: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
    _folder: TempDir,
}

/// An address on which nothing listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn python(args: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: tests/run makes it", python.display());
    let mut command = Command::new(python);
    command.args(args).current_dir(root).env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

impl Engine {
    /// Starts it with a model that is written first.
    async fn start(address: SocketAddr, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("tiny.gguf");
        let model = model.to_str().unwrap();
        let written = python(&["tests/engine/model.py", model]).status();
        assert!(within("the model is written", PATIENCE, written).await.unwrap().success());
        let port = address.port().to_string();
        let args = [&["tests/engine/server.py", model, &port][..], settings].concat();
        let mut process = python(&args).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        within("the engine serves", 3 * PATIENCE, async {
            while !lines.next_line().await.unwrap().expect("it runs").starts_with("ready ") {}
        })
        .await;
        Engine { _process: process, _output: lines, address, _folder: folder }
    }
}

/// The gateway as its user starts it: two variables.
fn gateway(service: &str, address: SocketAddr) -> Tidegate {
    Tidegate::new(&["serve", "--listen", "127.0.0.1:0"])
        .env("TIDEGATE_BASE_URL", &format!("http://{address}/v1"))
        .env("TIDEGATE_UPSTREAM__SERVICE", service)
}

async fn offered(gateway: &Process) -> Vec<String> {
    let (status, body) = http_get(gateway.address, "/v1/models").await;
    assert_eq!(status, 200);
    let list: Value = serde_json::from_str(&body).unwrap();
    let models = list["data"].as_array().unwrap();
    models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_a_simulated_engine_lists_is_offered_and_answers() {
    let simulator = Process::simulate().await;
    let gateway =
        gateway("vllm", simulator.address).env("TIDEGATE_UPSTREAM__API_KEY", "sk-test").start().await;
    until("the list has come", async || !offered(&gateway).await.is_empty()).await;
    assert!(offered(&gateway).await.contains(&"sim-chat".to_owned()));
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=\"你好, tide\"").await;
    client.expect("你好, tide").await;
    client.still_works().await;
    client.close().await;
    gateway.stop().await;
    simulator.stop().await;
}

#[tokio::test]
async fn a_conversation_with_a_real_engine() {
    let engine = Engine::start(free_address(), &[]).await;
    let gateway =
        gateway("llamacpp", engine.address).env("TIDEGATE_UPSTREAM__MAX_TOKENS", "20").start().await;
    until("the list has come", async || offered(&gateway).await == ["tiny"]).await;
    for (number, question) in ["你好，大海", "再说一次 🌊"].into_iter().enumerate() {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(question).await;
        assert!(!client.read_text().await.starts_with("Error:"));
        let ended = async || gateway.log().matches("outcome=length").count() > number;
        until("the run is logged", ended).await;
        client.close().await;
    }
    let log = gateway.stop().await;
    let ended: Vec<_> = log.lines().filter(|line| line.contains("run ended")).collect();
    assert_eq!(ended.len(), 2, "{log}");
    assert!(
        ended.iter().all(|line| line.contains("output_tokens=20") && !line.contains("input_tokens=0")),
        "{log}"
    );
}

/// The model babbles, so a grammar makes it think first.
#[tokio::test]
async fn a_real_engine_thinks() {
    let engine = Engine::start(free_address(), &[]).await;
    let grammar = r#"{"grammar": "root ::= \"<think>\" \" tide\" \"</think>\" \" harbour\""}"#;
    let gateway = gateway("llamacpp", engine.address).env("TIDEGATE_UPSTREAM__EXTRA", grammar).start().await;
    until("the list has come", async || !offered(&gateway).await.is_empty()).await;
    let mut chats = Chats::connect(gateway.address).await;
    chats.ask("r1", "c1", "hello").await;
    let (mut thought, mut answer) = (Answer::of("r1"), String::new());
    let mut reasoning = String::new();
    while thought.end.is_none() {
        let frame = chats.next().await;
        let delta = frame["chunk"]["delta"].as_str().unwrap_or_default();
        match frame["chunk"]["type"].as_str() {
            Some("reasoning-delta") => reasoning.push_str(delta),
            Some("text-delta") => answer.push_str(delta),
            _ => {}
        }
        thought.take(&frame);
    }
    assert_eq!((reasoning.trim(), answer.trim(), thought.end), ("tide", "harbour", Some(End::Whole)));
    gateway.stop().await;
}

#[tokio::test]
async fn a_stop_frees_a_real_engine() {
    let engine = Engine::start(free_address(), &["n_parallel=1"]).await;
    let gateway = gateway("llamacpp", engine.address).start().await;
    until("the list has come", async || !offered(&gateway).await.is_empty()).await;
    let busy = async || {
        let (_, slots) = http_get(engine.address, "/slots").await;
        slots.contains("\"is_processing\":true")
    };
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("Tell me all of the tide.").await;
    client.read_text().await;
    client.close().await;
    until("the engine is free", async || !busy().await).await;
    until("the run has ended", async || gateway.log().contains("outcome=cancelled")).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_real_engine_refuses_what_is_too_long_and_a_wrong_key() {
    let engine = Engine::start(free_address(), &["key=sk-engine"]).await;
    let start = async |key: &str| {
        let gateway = gateway("llamacpp", engine.address);
        gateway.env("TIDEGATE_MODEL", "tiny").env("TIDEGATE_UPSTREAM__API_KEY", key).start().await
    };
    let gateway = start("sk-engine").await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text(&"潮水".repeat(4000)).await;
    client.fails(RunErrorKind::InputTooLong).await;
    client.close().await;
    gateway.stop().await;
    let gateway = start("sk-wrong").await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hello").await;
    client.fails(RunErrorKind::NotSetUp).await;
    client.close().await;
    assert!(!gateway.stop().await.contains("sk-wrong"));
}

#[tokio::test]
async fn an_engine_that_is_away_at_the_start_is_waited_for() {
    let address = free_address();
    let gateway = gateway("llamacpp", address).env("TIDEGATE_UPSTREAM__MAX_TOKENS", "5").start().await;
    until("the list was asked for", async || gateway.log().contains("no list of models")).await;
    assert!(offered(&gateway).await.is_empty());
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("hello").await;
    let (_, error) = client.until_error().await;
    assert!(error.contains("cannot be reached"), "{error}");
    let _engine = Engine::start(address, &[]).await;
    until("the list has come", async || !offered(&gateway).await.is_empty()).await;
    client.send_text("hello").await;
    assert!(!client.read_text().await.starts_with("Error:"));
    client.close().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_model_that_refuses_the_newer_cap_is_asked_with_the_older_one() {
    let simulator = Process::simulate().await;
    let gateway = gateway("openai", simulator.address)
        .env("TIDEGATE_UPSTREAM__API_KEY", "sk-test")
        .env("TIDEGATE_MODEL", "sim-nocap")
        .env("TIDEGATE_UPSTREAM__MAX_TOKENS", "50");
    let gateway = gateway.start().await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    for _ in 0..2 {
        client.still_works().await;
    }
    client.close().await;
    let log = gateway.stop().await;
    assert_eq!(log.matches("refuses max_completion_tokens").count(), 1, "{log}");
    // Only the first question was asked twice.
    let attempts = |number: &str| log.matches(&format!(" attempts={number} ")).count();
    assert_eq!((attempts("2"), attempts("1")), (1, 1), "{log}");
    simulator.stop().await;
}

/// The tiny model babbles, so that only the joint can be told from an answer that begins anew.
#[tokio::test]
async fn a_real_engine_goes_on_with_an_answer_that_its_limit_cut() {
    let engine = Engine::start(free_address(), &[]).await;
    let gateway =
        gateway("llamacpp", engine.address).env("TIDEGATE_UPSTREAM__MAX_TOKENS", "12").start().await;
    until("the list has come", async || !offered(&gateway).await.is_empty()).await;
    let mut chats = Chats::connect(gateway.address).await;
    let mut answer = chats.turn("r1", "c1", "潮 tide").await;
    for round in 2..4 {
        let request = format!("r{round}");
        let message = answer.message.clone().unwrap();
        let frame = json!({"type": "send", "requestId": request, "id": "c1", "trigger": "continue", "messageId": message});
        chats.send_frame(&frame).await;
        let mut next = Answer::of(&request);
        chats.read_answer(&mut next).await;
        assert_eq!(next.end, Some(End::Whole));
        let new = next.text.strip_prefix(&answer.text).expect("the text before");
        assert!(!new.is_empty() && !new.starts_with(answer.text.trim()), "{next:?}");
        answer = next;
    }
    let log = gateway.stop().await;
    // Each prompt has what was written before.
    let input = |line: &str| {
        let count = line.split_once(" input_tokens=")?.1.split(' ').next()?;
        count.parse::<u32>().ok()
    };
    let counts: Vec<_> = log.lines().filter(|line| line.contains("run ended")).filter_map(input).collect();
    assert!(counts.len() == 3 && counts.windows(2).all(|pair| pair[1] >= pair[0] + 12), "{counts:?}: {log}");
}
