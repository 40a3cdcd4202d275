//! The official Python SDK against the simulator in a process of its own.
use crate::harness::{Process, within};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

#[tokio::test]
async fn the_official_sdk_talks_to_the_simulator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/venv/bin/python");
    assert!(python.exists(), "{} is missing: tests/run makes it", python.display());
    let simulator = Process::simulate().await;
    let mut pytest = Command::new(python);
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/sdk"]).current_dir(root);
    pytest.env_clear().env("SIMULATOR_URL", simulator.base_url()).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.stdin(Stdio::null()).kill_on_drop(true);
    let output = within("pytest ends", Duration::from_secs(60), pytest.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && last.contains(" passed"), "{said}{complaint}");
    assert!(!last.contains("skipped"), "none may be left out: {last}");
    simulator.stop().await;
}
