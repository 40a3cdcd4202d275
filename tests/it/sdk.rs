//! Official clients: the SDKs of DashScope and OpenAI against the simulator in a process of its own, and the chat client's schemas
//! and transport against the frames that are written down.
use crate::harness::{Process, Tidegate, within};
use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

#[tokio::test]
async fn the_official_sdks_talk_to_the_simulator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: tests/run makes it", python.display());
    let simulator = Process::simulate().await;
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/sdk"]).current_dir(root);
    pytest.env_clear().env("SIMULATOR_URL", simulator.base_url()).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.stdin(Stdio::null()).kill_on_drop(true);
    let output = within("pytest ends", Duration::from_secs(60), pytest.output()).await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let last = stdout.lines().last().unwrap_or_default();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && last.contains(" passed"), "{stdout}{complaint}");
    assert!(!last.contains("skipped"), "none may be left out: {last}");
    simulator.stop().await;
}

/// Node.js 20 runs the packages, though they ask npm for 22.
#[tokio::test]
async fn the_chat_client_of_the_ai_sdk_reads_our_frames_and_we_read_its() {
    let passed = node("tests/sdk/frames.mjs", None).await;
    assert!(passed >= 6, "{passed}");
}

/// `WebSocketChatTransport`, and the `Chat` inside of `useChat`, over real sockets.
// faults: A13, A21, A22
#[tokio::test]
async fn the_chat_client_of_the_ai_sdk_chats_stops_and_resumes() {
    let gateway = Tidegate::new(&["demo", "--listen", "127.0.0.1:0"]).start().await;
    let passed = node("tests/sdk/chat.mjs", Some(("GATEWAY", gateway.address))).await;
    assert!(passed >= 10, "{passed}");
    gateway.stop().await;
}

#[tokio::test]
async fn the_openai_sdk_for_node_talks_to_the_simulator() {
    let simulator = Process::simulate().await;
    let passed = node("tests/sdk/openai.mjs", Some(("SIMULATOR", simulator.address))).await;
    assert!(passed >= 7, "{passed}");
    simulator.stop().await;
}

/// Runs a file of Node.js tests, with an address under this name in its environment; how many passed.
async fn node(file: &str, address: Option<(&str, SocketAddr)>) -> u32 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("target/node");
    let installed = packages.join("node_modules/ai");
    assert!(installed.exists(), "{} is missing: tests/run makes it", installed.display());
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap", file]).current_dir(root);
    node.envs(address.map(|(name, address)| (name, address.to_string())));
    node.env("NODE_PACKAGES", packages).stdin(Stdio::null()).kill_on_drop(true);
    let output = within("node ends", Duration::from_secs(60), node.output()).await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stdout.contains("\n# fail 0\n"), "{stdout}{complaint}");
    let of = |what: &str| {
        stdout.lines().find_map(|line| line.strip_prefix(&format!("# {what} "))?.parse::<u32>().ok())
    };
    assert_eq!((of("skipped"), of("todo"), of("cancelled")), (Some(0), Some(0), Some(0)), "{stdout}");
    of("pass").unwrap_or_default()
}
