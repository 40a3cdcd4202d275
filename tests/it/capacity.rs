//! What upstreams have room for: prompts within the context of a model, and no more runs at once than they may have.
use crate::harness::{Chats, Gateway, Simulated, TestClient, ask, http_get, until};
use serde_json::{Value, json};
use std::time::Duration;
use tidegate::{
    chat::RunErrorKind,
    config::{Config, Flags, Map, load},
};

/// Takes upstreams, models and the route from this file.
fn configured(config: &mut Config, file: &str) {
    let loaded = load(&Flags::default(), &Map::default().file("tidegate.toml", file.to_owned())).unwrap();
    (config.upstreams, config.models, config.places) = (loaded.upstreams, loaded.models, loaded.places);
    config.route = loaded.route;
}

/// The section of a simulated upstream.
fn upstream(name: &str, simulated: &Simulated) -> String {
    format!(
        "[upstream.{name}]\nservice = 'other'\napi_key = 'sk-x'\nbase_url = 'http://{}/v1'\n",
        simulated.address
    )
}

#[tokio::test]
async fn a_target_whose_context_is_too_small_is_passed_over_without_being_asked() {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let file = format!(
        "{}{}[model.m]\nupstreams = ['a:sim-chat']\nfallback = ['f']\ncontext = 120\n\
         [model.f]\nupstreams = ['b:sim-chat']\ncontext = 32000\nhidden = true\n[route]\ndefault = 'm'\n",
        upstream("a", &first),
        upstream("b", &second)
    );
    let gateway = Gateway::in_front_of(first.address, |config| configured(config, &file)).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=short").await;
    client.expect("short").await;
    // About 150 tokens.
    client.send_text(&format!("/sim text=long tag={}", "x".repeat(600))).await;
    client.expect("long").await;
    assert_eq!((first.asked(), second.asked()), (1, 1));
    client.close().await;
    gateway.stop().await;
}

/// A question to a model.
fn ask_model(chat: &str, model: &str, text: &str) -> Value {
    let mut frame = ask(chat, chat, text);
    frame["body"] = json!({ "model": model });
    frame
}

/// The position of a question that waits, once it is told.
async fn position(chats: &mut Chats) -> u64 {
    loop {
        let frame = chats.next().await;
        if frame["chunk"]["type"] == "data-queue" {
            return frame["chunk"]["data"]["position"].as_u64().unwrap();
        }
    }
}

async fn starts(chats: &mut Chats) {
    while chats.next().await["chunk"]["type"] != "text-delta" {}
}

/// Reads the rest of an answer.
async fn ends(chats: &mut Chats) {
    while chats.next().await["type"] != "end" {}
}

/// Two upstreams, of which `local` may have two runs; three slots over all.
async fn limited(local: &Simulated, cn: &Simulated, change: impl FnOnce(&mut Config)) -> Gateway {
    let file = format!(
        "{}runs_max = 2\n{}[model.local]\nupstreams = ['local:sim-chat']\n[model.cn]\nupstreams = ['cn:sim-chat']\n\
         [model.both]\nupstreams = ['local:sim-chat', 'cn:sim-chat']\n[route]\ndefault = 'local'\n",
        upstream("local", local),
        upstream("cn", cn)
    );
    Gateway::in_front_of(local.address, |config| {
        configured(config, &file);
        config.dispatch.runs_max = 3;
        change(config);
    })
    .await
}

/// Goes on until it is stopped.
const LONG: &str = "/sim text=x stall_after=1";

#[tokio::test]
async fn runs_of_a_full_upstream_wait_in_their_places_and_others_pass_by() {
    let (local, cn) = (Simulated::start("local"), Simulated::start("cn"));
    let mut gateway = limited(&local, &cn, |_| {}).await;
    let mut sockets = Vec::new();
    for number in 0..5 {
        let mut chats = Chats::connect(gateway.address).await;
        chats.send_frame(&ask_model(&format!("c{number}"), "local", LONG)).await;
        if number < 2 {
            starts(&mut chats).await;
        } else {
            assert_eq!(position(&mut chats).await, number - 1);
        }
        sockets.push(chats);
    }
    assert_eq!(local.asked(), 2);
    let load = gateway.app_state.dispatch_state.load();
    assert_eq!((load.running, load.queued), (2, 3), "those who wait hold no slot");
    let mut other = Chats::connect(gateway.address).await;
    for (chat, model) in [("o1", "cn"), ("o2", "both")] {
        other.send_frame(&ask_model(chat, model, "/sim text=fine")).await;
        ends(&mut other).await;
    }
    assert_eq!((local.asked(), cn.asked()), (2, 2), "passed by, and passed on to the next level");
    // A place that comes free goes to the one that has waited the longest, in the words of its own socket.
    sockets[0].abort("c0").await;
    starts(&mut sockets[2]).await;
    assert_eq!(local.asked(), 3);
    // One that waits and is stopped leaves the queue; the last one is next.
    sockets[3].abort("c3").await;
    until("it has left the queue", async || gateway.app_state.dispatch_state.load().queued == 1).await;
    sockets[1].abort("c1").await;
    starts(&mut sockets[4]).await;
    sockets[2].abort("c2").await;
    sockets[4].abort("c4").await;
    until("nothing runs", async || {
        let load = gateway.app_state.dispatch_state.load();
        let upstreams = gateway.app_state.router.health().upstreams;
        load.running + load.queued + upstreams.iter().map(|upstream| upstream.running).sum::<usize>() == 0
    })
    .await;
    assert_eq!(local.asked(), 4);
    drop((sockets, other));
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    gateway.drain().await;
}

#[tokio::test]
async fn a_run_that_waits_too_long_for_an_upstream_is_refused_and_its_queue_is_bounded() {
    let (local, cn) = (Simulated::start("local"), Simulated::start("cn"));
    let gateway = limited(&local, &cn, |config| {
        (config.dispatch.queue_max, config.dispatch.queue_timeout) = (1, Duration::from_millis(300));
    })
    .await;
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        client.send_text(LONG).await;
        match number {
            0 | 1 => assert_eq!(client.read_text().await, "x"),
            2 => until("it waits", async || gateway.app_state.dispatch_state.load().queued == 1).await,
            _ => {
                client.fails(RunErrorKind::Overloaded).await;
            }
        }
        clients.push(client);
    }
    clients[2].fails(RunErrorKind::QueueTimeout).await;
    assert_eq!((local.asked(), cn.asked()), (2, 0));
    for client in clients {
        client.close().await;
    }
    gateway.stop().await;
}

/// A run leaves its place when it moves, before it ends.
#[tokio::test]
async fn a_move_frees_a_place_for_a_run_that_waits() {
    let (local, cn) = (Simulated::start("local"), Simulated::start("cn"));
    let gateway = limited(&local, &cn, |config| {
        config.upstreams.values_mut().for_each(|upstream| {
            upstream.first_byte_timeout = Duration::from_millis(700);
        });
    })
    .await;
    let mut sockets = Vec::new();
    for chat in ["m1", "m2"] {
        let mut chats = Chats::connect(gateway.address).await;
        chats.send_frame(&ask_model(chat, "both", "/sim at=local no_head")).await;
        sockets.push(chats);
    }
    until("both are asked", async || local.asked() == 2).await;
    let mut waits = Chats::connect(gateway.address).await;
    waits.send_frame(&ask_model("w", "local", "/sim text=fine")).await;
    assert_eq!(position(&mut waits).await, 1);
    ends(&mut waits).await;
    assert_eq!(local.asked(), 3);
    for chats in &mut sockets {
        ends(chats).await;
    }
    assert_eq!(cn.asked(), 2);
    drop((sockets, waits));
    let mut gateway = gateway;
    until("no socket is left", async || gateway.app_state.lifecycle.sockets() == 0).await;
    gateway.drain().await;
}

/// `/health` of a gateway with two upstreams, after an answer of the first.
async fn health(with_ops_listener: bool) -> Value {
    let (local, cn) = (Simulated::start("local"), Simulated::start("cn"));
    let gateway = limited(&local, &cn, |config| {
        config.server.ops_listen = with_ops_listener.then_some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=fine").await;
    client.expect("fine").await;
    client.close().await;
    let (status, body) = http_get(gateway.ops_address.unwrap_or(gateway.address), "/health").await;
    assert_eq!(status, 200);
    gateway.stop().await;
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn health_names_each_service_and_to_operators_its_host() {
    for with_ops_listener in [false, true] {
        let health = health(with_ops_listener).await;
        // By name: `cn`, then `local`.
        let [cn, local] = health["upstreams"].as_array().unwrap().as_slice() else { panic!("{health}") };
        for upstream in [cn, local] {
            assert_eq!(upstream["service"], "other");
            assert_eq!(upstream.get("host").is_some(), with_ops_listener, "{upstream}");
        }
        assert!(local["first_token_p50_ms"].is_u64() && cn["first_token_p50_ms"].is_null(), "{health}");
        assert_eq!((&local["runs_max"], &cn["runs_max"]), (&json!(2), &json!(0)));
        assert!(health["models"][0]["targets"][0].get("free_in_s").is_some());
    }
}
