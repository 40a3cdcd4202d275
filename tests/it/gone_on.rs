//! Answers that break off at one of two simulated upstreams, or at the only one, and are gone on with by the gateway itself.
use crate::{
    begun_anew::{FAULTS, WHOLE, end, message, three_readers},
    harness::{Chats, End, Gateway, Simulated, TestClient},
};
use std::net::SocketAddr;
use tidegate::{
    chat::RunErrorKind,
    config::{Config, Flags, Map, load},
};

/// Upstreams of these services, each with a model of this name.
fn configured(config: &mut Config, upstreams: &[(&str, SocketAddr)], model: &str) {
    let mut file =
        "[upstream]\nfirst_byte_timeout = '500ms'\nfirst_token_timeout = '1s'\ntext_timeout = '1s'\n"
            .to_owned();
    let mut targets = String::new();
    for (name, (service, address)) in ["a", "b"].iter().zip(upstreams) {
        let path = if *service == "dashscope" { "/api/v1" } else { "/v1" };
        file += &format!(
            "[upstream.{name}]\napi_key = 'sk-{name}'\nservice = '{service}'\nbase_url = 'http://{address}{path}'\n"
        );
        targets += &format!("'{name}:{model}',");
    }
    file += &format!("[model.m]\nupstreams = [{targets}]\n[route]\nmid_answer = 'continue'\n");
    let loaded = load(&Flags::default(), &Map::default().file("tidegate.toml", file)).unwrap();
    (config.upstreams, config.models, config.places) = (loaded.upstreams, loaded.models, loaded.places);
    (config.route, config.retry) = (loaded.route, Config::default().retry);
}

async fn gateway(upstreams: &[(&str, SocketAddr)], model: &str) -> Gateway {
    let nowhere = ([127, 0, 0, 1], 9).into();
    Gateway::in_front_of(nowhere, |config| configured(config, upstreams, model)).await
}

async fn goes_on(a: &str, b: &str, spell: &str) {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let gateway = gateway(&[(a, first.address), (b, second.address)], "sim-chat").await;
    for (number, (name, switches)) in FAULTS.iter().enumerate() {
        let before = (first.asked(), second.asked());
        let message = message(&format!("{switches} {spell}"));
        let answers = three_readers(&gateway, &message).await;
        for answer in &answers {
            assert_eq!((&*answer.text, &answer.end), (WHOLE, &Some(End::Whole)), "{name}, {a} and {b}");
            assert_eq!((answer.model.as_deref(), answer.resets), (Some("m"), 0), "{name}, {a} and {b}");
        }
        assert!(answers[0].gone_on, "{name}, {a} and {b}");
        assert_eq!((first.asked() - before.0, second.asked() - before.1), (1, 1), "{name}");
        let mut plain = TestClient::connect(&gateway.chat_url()).await;
        plain.send_text(&format!("{message} tag=plain{number}")).await;
        plain.expect(WHOLE).await;
        plain.send_text("/sim text=fine").await;
        plain.expect("fine").await;
        plain.close().await;
    }
    end(gateway).await;
}

#[tokio::test]
async fn a_broken_answer_goes_on_at_the_same_model_elsewhere() {
    goes_on("vllm", "vllm", "spell=vllm").await;
    goes_on("moonshot", "moonshot", "spell=moonshot").await;
}

#[tokio::test]
async fn a_broken_answer_goes_on_between_two_dialects() {
    goes_on("dashscope", "vllm", "spell=vllm").await;
    goes_on("vllm", "dashscope", "spell=vllm").await;
}

#[tokio::test]
async fn a_broken_answer_goes_on_at_the_only_upstream() {
    for (service, spell) in [("dashscope", ""), ("vllm", "spell=vllm")] {
        let only = Simulated::start("A");
        let gateway = gateway(&[(service, only.address)], "sim-chat").await;
        for (number, (name, switches)) in [FAULTS[0], FAULTS[2]].iter().enumerate() {
            let before = only.asked();
            let message = message(&format!("{switches} times=1 {spell} tag=n{number}"));
            let answer = Chats::connect(gateway.address).await.turn("q", "c", &message).await;
            assert_eq!((&*answer.text, answer.end), (WHOLE, Some(End::Whole)), "{name} at {service}");
            assert_eq!((answer.resets, answer.gone_on, only.asked() - before), (0, true, 2), "{name}");
        }
        let mut plain = TestClient::connect(&gateway.chat_url()).await;
        // A silent one stays silent.
        plain.send_text(&message(&format!("cut_after=4 {spell}"))).await;
        let shown = plain.fails(RunErrorKind::Interrupted).await;
        assert!(WHOLE.starts_with(&shown) && !shown.is_empty(), "{shown}");
        plain.close().await;
        end(gateway).await;
    }
}

/// S14: a target that refuses the beginning of an answer writes it anew, and its refusal is nobody's answer.
#[tokio::test]
async fn a_refused_beginning_is_written_anew() {
    for (a, b) in [("dashscope", "dashscope"), ("moonshot", "moonshot"), ("moonshot", "dashscope")] {
        let (first, second) = (Simulated::start("A"), Simulated::start("B"));
        let gateway = gateway(&[(a, first.address), (b, second.address)], "sim-noprefill").await;
        let message = message("cut_after=4 spell=moonshot");
        let answers = three_readers(&gateway, &message).await;
        for answer in &answers {
            assert_eq!((&*answer.text, &answer.end), (WHOLE, &Some(End::Whole)), "{a} and {b}");
            assert!(!answer.gone_on);
        }
        assert_eq!(answers[0].resets, 1, "{a} and {b}");
        assert_eq!((first.asked(), second.asked()), (1, 2), "{a} and {b}");
        let mut plain = TestClient::connect(&gateway.chat_url()).await;
        plain.send_text(&format!("{message} tag=plain")).await;
        let (_, error) = plain.until_error().await;
        assert_eq!(error, "Error: The connection to the model broke. The answer starts again.");
        plain.expect(WHOLE).await;
        plain.close().await;
        end(gateway).await;
    }
}
