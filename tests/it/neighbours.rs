//! One client that does its worst, and what the others notice of it.
//!
//! `LONG=1 cargo test --release --test it neighbours:: -- --test-threads 1 --nocapture` takes minutes and
//! prints its figures; without it the same happens in seconds with wider bounds.
use crate::harness::{
    Chats, Crowd, Gateway, PATIENCE, TestClient, Turn, ask, is_error, on_a_steady_machine, quantile,
    short_or_long, until, within,
};
use futures_util::future::join_all;
use std::{net::SocketAddr, time::Duration};
use tidegate::{chat::RunErrorKind as Kind, config::Config};
use tokio::{task::JoinSet, time::Instant};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The address from which the attack comes.
const ATTACKER: [u8; 4] = [127, 2, 0, 1];

/// All others have an address.
fn user(n: usize) -> [u8; 4] {
    [127, 1, 0, n as u8 + 1]
}

/// As it is without a configuration; tests have others by default.
fn as_served(config: &mut Config) {
    config.retry = Config::default().retry;
    config.breaker = Config::default().breaker;
}

/// Says a message in each of many sessions, again as soon as it is answered, until it is dropped.
fn attack(gateway: SocketAddr, sessions: usize, message: &str) -> JoinSet<()> {
    let mut attack = JoinSet::new();
    for _ in 0..sessions {
        let message = message.to_owned();
        attack.spawn(async move {
            let mut client = TestClient::from(gateway, ATTACKER.into()).await;
            loop {
                client.send_text(&message).await;
                client.until_error().await;
                client.forget();
                // As fast as one socket may.
                tokio::time::sleep(ms(60)).await;
            }
        });
    }
    attack
}

// faults: K138
#[tokio::test]
async fn messages_of_one_user_that_make_the_service_fail_leave_the_breaker_closed() {
    const QUESTIONS: usize = 40;
    for message in
        ["/sim status=500", "/sim html status=502", "/sim cut_after=0", "/sim tokens=3 cut_after=1"]
    {
        let gateway = Gateway::spawn(|config| {
            as_served(config);
            config.connection.frames_per_second_max = 0;
        })
        .await;
        let mut attack = attack(gateway.address, 10, message);
        until("the attack is under way", async || gateway.upstream().requests() > 50).await;
        let users = (0..5).map(async |n| {
            let mut client = TestClient::from(gateway.address, user(n).into()).await;
            for _ in 0..QUESTIONS {
                client.still_works().await;
            }
            client.close().await;
        });
        join_all(users).await;
        assert_eq!(gateway.app_state.router.upstream_state(0).as_str(), "closed", "{message}");
        assert_eq!(gateway.app_state.metrics.runs_ended("upstream_down"), 0, "{message}");
        attack.shutdown().await;
        gateway.stop().await;
    }
}

// faults: K140
#[tokio::test]
async fn one_address_that_holds_its_slots_for_long_leaves_others_theirs() {
    let gateway = Gateway::spawn(|config| {
        config.dispatch.runs_max = 20;
        config.connection.frames_per_second_max = 0;
    })
    .await;
    let mut attackers = Vec::new();
    for _ in 0..40 {
        let mut client = TestClient::from(gateway.address, ATTACKER.into()).await;
        client.send_text("/sim no_head").await;
        attackers.push(client);
    }
    let gauge = |running: i64, queued: i64| {
        (gateway.app_state.metrics.runs.get(), gateway.app_state.metrics.runs_queued.get())
            == (running, queued)
    };
    until("it holds all that it may, and wants more", async || gauge(17, 23)).await;
    let others = (0..3).map(async |n| {
        let mut client = TestClient::from(gateway.address, user(n).into()).await;
        // Again and again: its slots stay theirs.
        for _ in 0..10 {
            client.still_works().await;
        }
        client.close().await;
    });
    join_all(others).await;
    until("nothing of it was ended, and nothing let in", async || gauge(17, 23)).await;
    // One slot that comes free goes to another one who waits, and not to the one that has the most.
    let mut waiting = Vec::new();
    for n in 0..4 {
        let mut client = TestClient::from(gateway.address, user(n).into()).await;
        client.send_text("/sim no_head").await;
        waiting.push(client);
    }
    until("the fourth waits", async || gauge(20, 24)).await;
    attackers.remove(0);
    until("it has the slot", async || gauge(20, 23)).await;
    until("the service writes for as many", async || gateway.upstream().open_streams() == 20).await;
    drop((attackers, waiting));
    gateway.stop().await;
}

/// What an attacker does.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Nothing,
    /// Holds every slot that it gets, with as many sessions as there are slots and more.
    Slots,
    /// Sends messages that make the service fail.
    Failures,
    /// Takes places for chats as fast as it can: as one browser, or as a new one for each socket.
    Chats {
        principals: usize,
    },
}

/// Ten users, an address each, ask a question every so often.
async fn users(gateway: SocketAddr, time: Duration) -> Vec<Turn> {
    let crowd = Crowd::connect(gateway, 40, |n| user(n % 10)).await;
    let message = "/sim text=x tokens=5 first_ms=50 pace_ms=20";
    let turns = crowd.ask(25.0, time, message, "xxxxx").await;
    crowd.close().await;
    turns
}

/// The same in new chats of `/api/chat`, which need places; measured to the end of each answer.
async fn chatters(gateway: SocketAddr, time: Duration) -> Vec<Turn> {
    let start = Instant::now();
    let asking = (0..10).map(async |n| {
        let mut socket = Chats::connect_from(gateway, user(n)).await;
        let mut turns = Vec::new();
        while start.elapsed() < time {
            let asked = start.elapsed();
            let name = format!("c{n}-{}", turns.len());
            let answer = socket.turn(&name, &name, "/sim text=x tokens=5 first_ms=50 pace_ms=20").await;
            let whole = start.elapsed() - asked;
            let error = (answer.text != "xxxxx").then(|| format!("{:?}", answer.end));
            turns.push(Turn { asked, first: whole, whole, error });
            tokio::time::sleep(ms(200)).await;
        }
        turns
    });
    join_all(asking).await.into_iter().flatten().collect()
}

/// Begins the attack; it goes on until what is returned is dropped.
async fn begin(attacking: Attack, gateway: &Gateway) -> JoinSet<()> {
    match attacking {
        Attack::Nothing => JoinSet::new(),
        Attack::Slots => {
            let mut attack = JoinSet::new();
            for _ in 0..300 {
                let address = gateway.address;
                attack.spawn(async move {
                    let mut client = TestClient::from(address, ATTACKER.into()).await;
                    client.send_text("/sim no_head").await;
                    std::future::pending::<()>().await;
                });
            }
            let metrics = &gateway.app_state.metrics;
            until("it holds what it may", async || {
                metrics.runs.get() >= 175 && metrics.runs_queued.get() > 20
            })
            .await;
            attack
        }
        Attack::Failures => attack(gateway.address, 20, "/sim status=500"),
        Attack::Chats { principals } => {
            let mut attack = JoinSet::new();
            let address = gateway.address;
            let first = Chats::connect_from(address, ATTACKER).await;
            for n in 0..principals.max(4) {
                let cookie = if principals == 1 { first.cookie.clone() } else { String::new() };
                attack.spawn(async move {
                    let mut socket = Chats::connect_from_as(address, ATTACKER, &cookie).await;
                    for chat in 0.. {
                        let name = format!("a{n}-{chat}");
                        socket.send_frame(&ask(&name, &name, "/sim text=y")).await;
                        socket.next().await;
                        tokio::time::sleep(ms(50)).await;
                    }
                });
            }
            let sessions = &gateway.app_state.metrics.sessions;
            until("there are many", async || sessions.get() >= if principals == 1 { 20 } else { 100 }).await;
            attack
        }
    }
}

/// Runs the users beside an attack; the share of questions that was answered, and how long that took: at
/// the median, in the long form at p99.
#[expect(clippy::print_stdout, reason = "figures for a person")]
async fn beside(attacking: Attack, in_chats: bool, time: Duration) -> (f64, Duration) {
    let mut gateway = Gateway::spawn(|config| {
        as_served(config);
        config.dispatch.runs_max = 200;
        config.session.count_max = 100;
        config.session.count_per_principal_max = 20;
    })
    .await;
    let attack = begin(attacking, &gateway).await;
    let turns = match in_chats {
        true => chatters(gateway.address, time).await,
        false => users(gateway.address, time).await,
    };
    drop(attack);
    let good = turns.iter().filter(|turn| turn.is_good());
    let answered = good.clone().count() as f64 / turns.len() as f64;
    let first = |part| quantile(good.clone().map(|turn| turn.first), part);
    // In a short run a few turns are the p99, which the machine makes late as it likes.
    let part = short_or_long(0.5, 0.99);
    println!(
        "{attacking:?} in_chats={in_chats}: {} questions, {:.1} % answered, p50={:?} p99={:?}",
        turns.len(),
        100.0 * answered,
        first(0.5),
        first(0.99)
    );
    let busy = turns.iter().filter_map(|turn| turn.error.as_ref()).find(|e| is_error(e, Kind::UpstreamDown));
    assert_eq!(busy, None, "the breaker is open");
    let slow = first(part);
    within("the gateway stops", 2 * PATIENCE, gateway.drain()).await;
    (answered, slow)
}

// faults: K138, K139, K140
#[tokio::test]
async fn one_attacker_costs_ten_users_next_to_nothing() {
    on_a_steady_machine(async || {
        let time = short_or_long(ms(1_500), ms(20_000));
        for (in_chats, attacks) in [
            (false, vec![Attack::Slots, Attack::Failures]),
            (true, vec![Attack::Chats { principals: 1 }, Attack::Chats { principals: 30 }]),
        ] {
            let (calm, alone) = beside(Attack::Nothing, in_chats, time).await;
            assert!(calm > 0.99, "{calm}");
            for attack in attacks {
                let (answered, attacked) = beside(attack, in_chats, time).await;
                assert!(answered >= 0.95 * calm, "{attack:?}: {answered:.3} of {calm:.3}");
                let most = alone.mul_f64(2.0) + short_or_long(ms(500), ms(0));
                assert!(attacked <= most, "{attack:?}: {attacked:?} instead of {alone:?}");
            }
        }
    })
    .await;
}
