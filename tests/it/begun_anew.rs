//! Answers that break off at one of two simulated upstreams after some of them was shown: each reader has the other's answer whole.
use crate::{
    failover::{Spoken, configured},
    harness::{Answer, Chats, End, Gateway, PATIENCE, Simulated, TestClient, within},
};
use tidegate::{chat::RunErrorKind, config::Config, upstream::route::MidAnswer};
use tokio::{io::AsyncReadExt, net::TcpListener, sync::mpsc};

pub(crate) const WHOLE: &str = "The tide rises and falls twice a day, and never asks why.";

pub(crate) const FAULTS: &[(&str, &str)] =
    &[("S08", "cut_after=4"), ("S09", "stall_after=4"), ("S10", "garbage_after=4")];

const ORDERS: [(Spoken, Spoken); 4] = [
    (Spoken::DashScope, Spoken::DashScope),
    (Spoken::DashScope, Spoken::Chat),
    (Spoken::Chat, Spoken::Chat),
    (Spoken::Chat, Spoken::DashScope),
];

/// A message whose answer is [`WHOLE`], unless it fails at simulator A.
pub(crate) fn message(switches: &str) -> String {
    format!("/sim at=A text=\"{WHOLE}\" {switches}")
}

async fn gateway(a: String, b: String, change: impl FnOnce(&mut Config)) -> Gateway {
    let nowhere = ([127, 0, 0, 1], 9).into();
    Gateway::in_front_of(nowhere, |config| {
        configured(config, &a, &b, 32_000);
        change(config);
    })
    .await
}

/// Stops a gateway that keeps the answers of its chats.
pub(crate) async fn end(mut gateway: Gateway) {
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}

/// A reader from the beginning, one that joins and reads nothing until the answer has ended, and one that loses its socket.
pub(crate) async fn three_readers(gateway: &Gateway, message: &str) -> [Answer; 3] {
    let mut live = Chats::connect(gateway.address).await;
    live.ask("live", "c", message).await;
    let mut answers = ["live", "slow", "lost"].map(Answer::of);
    while answers[0].text.is_empty() {
        answers[0].take(&live.next().await);
    }
    let mut slow = Chats::connect_as(gateway.address, &live.cookie).await;
    slow.resume("slow", "c", None).await;
    let mut lost = Chats::connect_as(gateway.address, &live.cookie).await;
    lost.resume("lost", "c", None).await;
    while answers[2].text.is_empty() {
        answers[2].take(&lost.next().await);
    }
    lost.reset();
    live.read_answer(&mut answers[0]).await;
    let mut back = Chats::connect_as(gateway.address, &live.cookie).await;
    let after = answers[2].go_on("back");
    back.resume("back", "c", after).await;
    back.read_answer(&mut answers[2]).await;
    slow.read_answer(&mut answers[1]).await;
    answers
}

async fn begins_anew(a: Spoken, b: Spoken) {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let gateway = gateway(a.keys(first.address), b.keys(second.address), |_| {}).await;
    for (number, (name, switches)) in FAULTS.iter().enumerate() {
        let before = (first.asked(), second.asked());
        let answers = three_readers(&gateway, &message(switches)).await;
        for answer in &answers {
            assert_eq!((&*answer.text, &answer.end), (WHOLE, &Some(End::Whole)), "{name}, {a:?} and {b:?}");
            assert_eq!(answer.model.as_deref(), Some("f"), "{name}: the model that answered");
        }
        assert_eq!(answers[0].resets, 1, "{name}, {a:?} and {b:?}");
        assert_eq!((first.asked() - before.0, second.asked() - before.1), (1, 1), "{name}");
        let mut plain = TestClient::connect(&gateway.chat_url()).await;
        plain.send_text(&format!("{} tag=plain{number}", message(switches))).await;
        let (shown, error) = plain.until_error().await;
        assert!(WHOLE.starts_with(&shown) && !shown.is_empty(), "{shown}");
        assert_eq!(error, "Error: The connection to the model broke. The answer starts again.");
        plain.expect(WHOLE).await;
        plain.send_text("/sim text=fine").await;
        plain.expect("fine").await;
        plain.close().await;
    }
    end(gateway).await;
}

#[tokio::test]
async fn a_broken_answer_begins_anew_between_two_upstreams_of_one_dialect() {
    for (a, b) in [ORDERS[0], ORDERS[2]] {
        begins_anew(a, b).await;
    }
}

#[tokio::test]
async fn a_broken_answer_begins_anew_between_two_dialects() {
    for (a, b) in [ORDERS[1], ORDERS[3]] {
        begins_anew(a, b).await;
    }
}

/// S16: nothing was shown, and another model answers: it is named, and nothing is withdrawn.
#[tokio::test]
async fn a_fallback_model_that_answers_is_named() {
    for (a, b) in ORDERS {
        let (first, second) = (Simulated::start("A"), Simulated::start("B"));
        let gateway = gateway(a.keys(first.address), b.keys(second.address), |_| {}).await;
        let answer = Chats::connect(gateway.address).await.turn("q", "c", &message("error=full")).await;
        assert_eq!((&*answer.text, answer.model.as_deref(), answer.resets), (WHOLE, Some("f"), 0));
        end(gateway).await;
    }
}

#[tokio::test]
async fn switched_off_a_broken_answer_ends_incomplete() {
    let (first, second) = (Simulated::start("A"), Simulated::start("B"));
    let (a, b) = (Spoken::Chat.keys(first.address), Spoken::Chat.keys(second.address));
    let gateway = gateway(a, b, |config| config.route.mid_answer = MidAnswer::Off).await;
    let mut plain = TestClient::connect(&gateway.chat_url()).await;
    plain.send_text(&message("cut_after=4")).await;
    let shown = plain.fails(RunErrorKind::Interrupted).await;
    assert!(WHOLE.starts_with(&shown) && !shown.is_empty(), "{shown}");
    assert_eq!(second.asked(), 0);
    plain.close().await;
    gateway.stop().await;
}

/// The second upstream takes requests and is silent. A stop keeps what was shown, and closes its connection.
#[tokio::test]
async fn a_stop_before_the_first_new_text_keeps_the_old_one() {
    for (a, b) in ORDERS {
        for (name, switches) in FAULTS {
            let first = Simulated::start("A");
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let silent = listener.local_addr().unwrap();
            let (closed, mut closing) = mpsc::channel(1);
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
                closed.send(()).await.unwrap();
            });
            let gateway = gateway(a.keys(first.address), b.keys(silent), |config| {
                for upstream in config.upstreams.values_mut() {
                    upstream.first_byte_timeout = PATIENCE;
                    upstream.first_token_timeout_last = Some(PATIENCE);
                }
            })
            .await;
            let mut chats = Chats::connect(gateway.address).await;
            chats.ask("q", "c", &message(switches)).await;
            let mut answer = Answer::of("q");
            while answer.transient.is_empty() {
                answer.take(&chats.next().await);
            }
            let shown = answer.text.clone();
            chats.abort("q").await;
            chats.read_answer(&mut answer).await;
            assert_eq!((answer.end, answer.resets), (Some(End::Stopped), 0), "{name}");
            assert!(!shown.is_empty() && answer.text == shown, "{name}: {shown}");
            within("the end of the connection", PATIENCE, closing.recv()).await.unwrap();
            server.await.unwrap();
            drop(chats);
            end(gateway).await;
        }
    }
}
