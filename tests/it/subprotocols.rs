//! What a handshake that offers subprotocols is answered with, on both routes.
use crate::harness::{Gateway, RawClient, frame, handshake};

/// The values of the header in an answer that opens a socket.
fn chosen(head: &str) -> Vec<&str> {
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let chosen = headers.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
    chosen.map(|(_, value)| value.trim()).collect()
}

#[tokio::test]
async fn our_own_subprotocol_is_chosen_and_others_are_passed_over() {
    let gateway = Gateway::spawn(|_| {}).await;
    for (offers, choice) in [
        (&[][..], None),
        (&["tidegate"], Some("tidegate")),
        (&["graphql-ws, tidegate"], Some("tidegate")),
        (&["a,tidegate,b"], Some("tidegate")),
        (&["graphql-ws", "mqtt , tidegate"], Some("tidegate")),
        (&["tidegate", "tidegate"], Some("tidegate")),
        (&["graphql-ws"], None),
        (&["Tidegate"], None),
        (&["tidegate.v2, xtidegate"], None),
        (&[""], None),
        (&[", ,"], None),
    ] {
        for route in ["/chat ", "/api/chat "] {
            let headers: Vec<_> = offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
            let request = handshake(gateway.address, &headers).replacen("/chat ", route, 1);
            let mut client = RawClient::connect(gateway.address).await;
            let head = client.request(&request).await;
            assert_eq!(chosen(&head), Vec::from_iter(choice), "{route}{offers:?}");
            // It is a socket like any other.
            client.write(&frame(0x89, b"here")).await;
            assert_eq!(client.read_beyond_pings().await, (0x8a, b"here".to_vec()), "{route}{offers:?}");
        }
    }
    gateway.stop().await;
}
