//! `tidegate health`: what containers and scripts ask.
use crate::harness::{Ended, PATIENCE, Process, TestClient, Tidegate, until, within};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpListener};

async fn health(args: &[&str]) -> Ended {
    let args: Vec<_> = ["health"].iter().chain(args).copied().collect();
    // The key of the gateway and its model service are none of its business.
    let health = Tidegate::new(&args).env("API_KEY_FILE", "/nowhere/to/be/found");
    health.env("TIDEGATE_BASE_URL", "nonsense").run().await
}

/// Fails with one line on standard error.
fn assert_unhealthy(ended: &Ended, says: &str) {
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.err.contains(says), "{says} in {}", ended.err);
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
}

#[tokio::test]
async fn health_follows_the_gateway_from_start_to_end() {
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let address = gateway.address.to_string();
    let listen = ["--listen", &address];
    for (args, line) in [
        (&["--listen", &address][..], format!("alive: http://{address}/livez\n")),
        (&["--ready", "--listen", &address], format!("ready: http://{address}/readyz\n")),
        // A wildcard address is asked at loopback.
        (
            &["--set", &format!("server.listen=0.0.0.0:{}", gateway.address.port())],
            format!("alive: http://{address}/livez\n"),
        ),
    ] {
        let ended = health(args).await;
        assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), line.as_str(), ""));
    }
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.send_text("/sim text=endless stall_after=1").await;
    client.read_text().await;
    gateway.signal("TERM").await;
    until("it drains", async || gateway.log().contains("draining")).await;
    assert_unhealthy(&health(&["--ready", "--listen", &address]).await, "/readyz: status 503: draining");
    assert_eq!(health(&listen).await.code, Some(0), "it is alive until it ends");
    gateway.signal("TERM").await;
    drop(client);
    gateway.ended().await;
    assert_unhealthy(&health(&listen).await, "connection refused");
    simulator.stop().await;
}

#[tokio::test]
async fn the_operators_own_address_is_asked() {
    // Its port must be known beforehand: taken, and given free.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ops = format!("server.ops_listen={}", taken.local_addr().unwrap());
    drop(taken);
    let demo = Tidegate::new(&["demo", "--listen", "127.0.0.1:0", "--set", &ops]).start().await;
    let address = demo.address.to_string();
    let ended = health(&["--listen", &address, "--set", &ops]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // There, and nowhere else.
    assert_unhealthy(&health(&["--listen", &address]).await, "/livez: status 404");
    demo.stop().await;
}

#[tokio::test]
async fn health_waits_two_seconds_and_no_longer() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let ended = health(&["--listen", &address]).await;
    assert_unhealthy(&ended, "no answer within 2 s");
    assert!(ended.after.is_in(Duration::from_secs(2)..Duration::from_secs(4)), "{ended:?}");
}

#[tokio::test]
async fn health_is_not_fooled_by_another_program() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n", "", "HTTP/1.1 \r\n\r\n"] {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap().to_string();
        let args = ["--listen", &address];
        let (ended, ()) = tokio::join!(health(&args), async {
            let (mut stream, _) = within("it connects", PATIENCE, other.accept()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // What was asked is read, or the answer would be lost by a reset.
            let _ = stream.readable().await;
            let _ = stream.try_read(&mut [0; 1024]);
        });
        assert_unhealthy(&ended, "the answer is not HTTP");
    }
}

#[tokio::test]
async fn health_reports_faults_of_the_configuration() {
    for (args, says) in [
        (&["--listen", "nowhere"][..], "server.listen = \"nowhere\""),
        (&["--listen", "127.0.0.1:0"], "server.listen has port 0"),
        (&["--set", "server.ops_listen=127.0.0.1:0"], "server.ops_listen has port 0"),
        (&["--config", "nowhere.toml"], "no such file or directory"),
    ] {
        let ended = health(args).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{ended:?}");
        assert!(ended.err.contains(says), "{says} in {}", ended.err);
    }
}
