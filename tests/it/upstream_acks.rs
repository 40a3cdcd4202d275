//! Acknowledgements of an answer's pieces: how many there are, and a service that waits for them.
use crate::harness::{Gateway, TestClient, on_a_steady_machine, until};
use tidegate::config::Ack;
use tokio::process::Command;

const ACKS: [Ack; 2] = [Ack::Prompt, Ack::Lazy];

// faults: K153
#[tokio::test]
async fn an_answer_is_whole_whatever_is_acknowledged_and_whoever_waits_for_it() {
    for ack in ACKS {
        let gateway = Gateway::spawn(|config| config.upstream.ack = ack).await;
        let mut client = TestClient::connect(&gateway.chat_url()).await;
        for nagle in ["off", "on"] {
            for writes in 1..=3 {
                let switches = format!("nagle={nagle} writes={writes} pace_ms=7");
                client.send_text(&format!("/sim tokens=12 text=a number {switches}")).await;
                let text: String = (0..12).map(|k| format!("#{k} a")).collect();
                client.expect(&text).await;
                client.still_works().await;
            }
        }
        client.close().await;
        gateway.stop().await;
    }
}

/// Packets that the service sent with data, and those that it received, as its kernel counts them.
async fn packets(port: u16) -> (f64, f64) {
    let ss = Command::new("ss").args(["-tinOH", "sport", "=", &format!(":{port}")]).output().await;
    let text = String::from_utf8(ss.expect("ss, of iproute2, is installed").stdout).unwrap();
    let line = text.lines().find(|line| line.contains("ESTAB")).unwrap_or_else(|| panic!("{text}"));
    let count = |name: &str| line.split(name).nth(1)?.split(' ').next()?.parse::<f64>().ok();
    (count(" data_segs_out:").unwrap(), count(" segs_in:").unwrap())
}

// faults: K153
#[cfg(target_os = "linux")]
#[tokio::test]
async fn late_acknowledgements_are_fewer() {
    on_a_steady_machine(async || {
        let mut shares = Vec::new();
        for ack in ACKS {
            let gateway = Gateway::spawn(|config| {
                config.upstream.ack = ack;
                config.server.workers = 1;
            })
            .await;
            let mut client = TestClient::connect(&gateway.chat_url()).await;
            client.send_text("/sim tokens=100 text=a number pace_ms=10").await;
            client.expect(&(0..100).map(|k| format!("#{k} a")).collect::<String>()).await;
            until("the run is over", async || gateway.app_state.metrics.runs.get() == 0).await;
            let (sent, received) = packets(gateway.upstream_address.port()).await;
            shares.push(received / sent);
            client.close().await;
            gateway.stop().await;
        }
        let [prompt, lazy] = shares[..] else { unreachable!() };
        assert!(prompt > 0.8 && lazy < 0.75 * prompt, "acknowledgements per piece: {prompt:.2}, {lazy:.2}");
    })
    .await;
}
