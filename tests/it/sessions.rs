//! Chats that outlive their sockets: `/api/chat` from end to end.
use crate::harness::{Answer, Chats, End, Gateway, PATIENCE, RawClient, TestClient, resume, until, within};
use std::time::Duration;
use tokio::time::Instant;

/// What the simulator says, slowly.
const SLOW: &str = "/sim text=\"one two three four five six seven eight nine ten\" pace_ms=30";
const WORDS: &str = "one two three four five six seven eight nine ten";

#[tokio::test]
async fn a_question_is_answered_and_two_chats_share_a_socket() {
    let gateway = Gateway::spawn(|_| {}).await;
    let mut socket = Chats::connect(gateway.address).await;
    let answer = socket.turn("r1", "chat", "/sim text=\"hello there\" think=3").await;
    assert_eq!((answer.text.as_str(), answer.end), ("hello there", Some(End::Whole)));
    socket.ask("a", "first", SLOW).await;
    socket.ask("b", "second", SLOW).await;
    let (mut a, mut b) = (Answer::of("a"), Answer::of("b"));
    let (mut turns, mut last) = (0, None);
    while a.end.is_none() || b.end.is_none() {
        let frame = socket.next().await;
        turns += usize::from(last != Some(frame["requestId"].clone()));
        last = Some(frame["requestId"].clone());
        a.take(&frame);
        b.take(&frame);
    }
    assert_eq!((a.text.as_str(), b.text.as_str()), (WORDS, WORDS));
    assert!(turns > 4, "they were written at the same time");
    drop(socket);
    drain(gateway).await;
}

/// Conversations are kept, so that the gateway is not idle at the end.
async fn drain(mut gateway: Gateway) {
    until("no socket is left", async || gateway.site.life.sockets() == 0).await;
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}
