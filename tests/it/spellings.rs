//! The chat dialect of the simulator through the gateway: every engine's spelling, and every form in which an answer breaks.
use crate::harness::{Chats, End, Process, Tidegate};

/// The gateway in front of the simulator's chat dialect, as an engine of no known name.
async fn serve(simulator: &Process) -> Process {
    let base_url = format!("http://{}/v1", simulator.address);
    Tidegate::new(&["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url])
        .env("TIDEGATE_UPSTREAM__SERVICE", "other")
        .env("API_KEY", "sk-test")
        .start()
        .await
}

#[tokio::test]
async fn every_spelling_gives_the_same_answer() {
    let simulator = Process::simulate().await;
    let gateway = serve(&simulator).await;
    let mut chats = Chats::connect(gateway.address).await;
    for spell in
        ["plain", "llamacpp", "vllm", "sglang", "ollama", "azure", "deepseek", "moonshot", "openrouter"]
    {
        let message = format!("/sim text=\"One two 三四 🌊\" think=2 spell={spell}");
        let answer = chats.turn(&format!("r-{spell}"), &format!("c-{spell}"), &message).await;
        assert_eq!((answer.end, &*answer.text), (Some(End::Whole), "One two 三四 🌊"), "{spell}");
    }
    drop(chats);
    gateway.stop().await;
    simulator.stop().await;
}

#[tokio::test]
async fn no_form_of_a_broken_answer_passes_for_a_whole_one() {
    let simulator = Process::simulate().await;
    let gateway = serve(&simulator).await;
    let mut chats = Chats::connect(gateway.address).await;
    let forms = ["object", "event", "choice", "field", "finish", "abort", "flat", "flat_object", "silent"];
    let broken = forms.map(|form| format!("error=fault error_after=2 break={form}"));
    for (index, switches) in broken.into_iter().chain(["cut_after=2".to_owned()]).enumerate() {
        let message = format!("/sim text=\"One two three\" {switches}");
        let answer = chats.turn(&format!("r{index}"), &format!("c{index}"), &message).await;
        assert_eq!(answer.text, "One two", "{switches}: nothing of the error is text");
        assert!(matches!(answer.end, Some(End::Failed(_))), "{switches}: {:?}", answer.end);
    }
    drop(chats);
    gateway.stop().await;
    simulator.stop().await;
}
