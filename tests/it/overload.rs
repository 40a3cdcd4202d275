//! Overload of the gateway or its upstream: outages, too much load, floods, all clients reconnecting at once.
//!
//! `LONG=1 cargo test --release --test it overload:: -- --test-threads 1 --nocapture` takes minutes and prints its
//! figures; without `LONG` the same tests take seconds and have wider bounds.
use crate::harness::{
    Crowd, Gateway, Process, SOON, Stopwatch, TestClient, Turn, come_back, http_get, is_error,
    on_a_steady_machine, quantile, short_or_long, until,
};
use std::{collections::BTreeMap, time::Duration};
use tidegate::{chat::RunErrorKind as Kind, config::Config};
use tokio::net::TcpListener;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sets retries and breaker to the product's defaults, which those of tests differ from.
fn as_served(config: &mut Config) {
    config.retry = Config::default().retry;
    config.breaker = Config::default().breaker;
}

/// Addresses of different networks.
fn everywhere(n: usize) -> [u8; 4] {
    [127, 1, (n / 200) as u8, (n % 200) as u8 + 1]
}

/// An address that no other client has.
fn elsewhere(_: usize) -> [u8; 4] {
    [127, 2, 0, 1]
}

/// Number of turns by outcome.
fn outcomes(turns: &[Turn]) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for turn in turns {
        let name = match &turn.error {
            None => "good",
            Some(error) => {
                Kind::ALL.iter().find(|kind| is_error(error, **kind)).map_or("?", |kind| kind.code())
            }
        };
        *outcomes.entry(name.to_owned()).or_default() += 1;
    }
    assert!(!outcomes.contains_key("?"), "{outcomes:?}");
    outcomes
}

/// The sum of a metric's values over its labels.
fn sum(metrics: &str, name: &str) -> usize {
    let values = metrics.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}

/// Runs an outage under a steady load, until the first good answer after it.
#[expect(clippy::print_stdout, reason = "figures for a person")]
async fn storm(gateway: &Gateway, message: &str) -> (Vec<Turn>, usize) {
    let crowd = Crowd::connect(gateway.address, 400, everywhere).await;
    let turns = crowd.ask(100.0, short_or_long(ms(2_000), ms(60_000)), message, "never").await;
    let metrics = gateway.get("/metrics").await.1;
    let retries = sum(&metrics, "tidegate_retries_total");
    let is_down = |turn: &&Turn| turn.error.as_ref().is_some_and(|error| is_error(error, Kind::UpstreamDown));
    let down = turns.iter().filter(is_down);
    // The first runs may have been in the pause before a second attempt.
    let rejection = quantile(down.clone().filter(|turn| turn.asked > ms(1_000)).map(|turn| turn.whole), 1.0);
    println!(
        "{message}: offered={} retries={retries} rejected_at_once={} p100={rejection:?} {:?}",
        turns.len(),
        down.clone().count(),
        outcomes(&turns)
    );
    // The budget has 10 at the start, and gets one per ten runs.
    assert!(retries <= turns.len() / 10 + 10, "{retries} retries for {} runs", turns.len());
    assert!(down.count() > turns.len() / 2, "most are rejected at once: {:?}", outcomes(&turns));
    assert!(rejection <= short_or_long(ms(1_000), ms(100)), "{rejection:?}");
    assert!(
        metrics.contains("tidegate_upstream_state{upstream=\"default\",state=\"open\"} 1\n"),
        "{metrics}"
    );
    assert_eq!((gateway.get("/readyz").await.0, gateway.get("/livez").await.0), (200, 200));
    crowd.close().await;
    (turns, retries)
}

// faults: C45, D55, G107
#[tokio::test]
async fn an_upstream_that_answers_503_is_left_alone_and_found_again() {
    on_a_steady_machine(async || {
        let pause = short_or_long(ms(1_000), Config::default().breaker.open_time);
        let gateway = Gateway::spawn(|config| {
            as_served(config);
            config.breaker.open_time = pause;
        })
        .await;
        let (turns, _) = storm(&gateway, "/sim status=503").await;
        let requests = gateway.upstream().requests() as usize;
        println!("upstream requests: {requests} for {} runs", turns.len());
        assert!(requests * 10 <= turns.len() * 11, "{requests} requests for {} runs", turns.len());
        assert!(requests < turns.len() / 2, "and far fewer, because it is left alone: {requests}");
        // The upstream is back; the first run after the pause is the trial.
        let crowd = Crowd::connect(gateway.address, 1, elsewhere).await;
        let watch = Stopwatch::start();
        until("it is found again", async || {
            tokio::time::sleep(ms(100)).await; // At most as often as one socket may ask.
            crowd.ask(1_000.0, ms(1), "/sim text=fine", "fine").await[0].is_good()
        })
        .await;
        assert!(watch.took().is_in(..pause + SOON), "{:?}", watch.took());
        assert!(
            gateway
                .get("/metrics")
                .await
                .1
                .contains("tidegate_upstream_state{upstream=\"default\",state=\"closed\"} 1\n")
        );
        assert!(gateway.get("/health").await.1.contains("\"state\":\"closed\""));
        crowd.close().await;
        gateway.stop().await;
    })
    .await;
}

// faults: C45, D47
#[tokio::test]
async fn an_upstream_that_refuses_connections_gets_no_more_requests() {
    on_a_steady_machine(async || {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gateway = Gateway::in_front_of(address, as_served).await;
        let (turns, _) = storm(&gateway, "hi").await;
        // There is no upstream that could count attempts, but each failed one is counted as an error.
        let attempts = sum(&gateway.get("/metrics").await.1, "tidegate_upstream_errors_total");
        println!("attempts: {attempts} for {} runs", turns.len());
        assert!(attempts * 10 <= turns.len() * 11, "{attempts} attempts for {} runs", turns.len());
        assert!(attempts < turns.len() / 2, "and far fewer, because it is left alone: {attempts}");
        gateway.stop().await;
    })
    .await;
}

// faults: C45, E80
#[tokio::test]
async fn an_upstream_that_breaks_off_in_the_answer_is_not_asked_twice() {
    let gateway = Gateway::spawn(as_served).await;
    let (turns, retries) = storm(&gateway, "/sim tokens=5 cut_after=2").await;
    let shown =
        turns.iter().filter(|turn| turn.error.as_ref().is_some_and(|e| is_error(e, Kind::Interrupted)));
    assert_eq!((retries, gateway.upstream().requests() as usize), (0, shown.count()));
    gateway.stop().await;
}

// faults: C45
#[tokio::test]
async fn a_trial_whose_client_disconnects_is_replaced_by_the_next() {
    on_a_steady_machine(async || {
        let gateway = Gateway::spawn(|config| {
            as_served(config);
            config.retry.attempts = 1;
            config.breaker.open_time = ms(300);
        })
        .await;
        let crowd = Crowd::connect(gateway.address, 10, everywhere).await;
        crowd.ask(1_000.0, ms(10), "/sim status=500", "never").await;
        let state = || gateway.app_state.router.upstream_state(0).as_str();
        assert_eq!(state(), "open");
        let mut probe = TestClient::connect(&gateway.chat_url()).await;
        until("a probe is under way", async || {
            if state() == "open" {
                probe.send_text("/sim no_head").await;
            }
            tokio::time::sleep(ms(20)).await;
            state() == "half_open"
        })
        .await;
        let turns = crowd.ask(1_000.0, ms(3), "/sim text=fine", "fine").await;
        assert_eq!(
            outcomes(&turns),
            BTreeMap::from([("upstream_down".to_owned(), 3)]),
            "one probe at a time"
        );
        drop(probe);
        until("the place is free", async || state() == "open").await;
        let other = Crowd::connect(gateway.address, 1, elsewhere).await;
        let turns = other.ask(1_000.0, ms(1), "/sim text=fine", "fine").await;
        assert!(turns[0].is_good(), "{turns:?}");
        assert_eq!(state(), "closed");
        other.close().await;
        crowd.close().await;
        gateway.stop().await;
    })
    .await;
}

/// Good answers per second in a period of the load.
fn goodput(turns: &[Turn], from: Duration, to: Duration) -> f64 {
    let within = |turn: &&Turn| (from..to).contains(&(turn.asked + turn.whole));
    turns.iter().filter(|turn| turn.is_good()).filter(within).count() as f64 / (to - from).as_secs_f64()
}

/// The retry time in an error, in seconds.
fn retry_after(error: &str) -> u64 {
    let rest = error.strip_prefix("Error: The service is busy. Try again in ").expect(error);
    rest.strip_suffix(" s.").expect(error).parse().expect(error)
}

// faults: C38, C39
#[tokio::test]
async fn three_times_too_much_is_refused_in_words_and_the_rest_is_served() {
    on_a_steady_machine(async || {
    const RUNS: usize = 20;
    const MESSAGE: &str = "/sim text=x tokens=10 pace_ms=40";
    const WAIT: Duration = ms(2_000);
    let gateway = Gateway::spawn(|config| {
        config.dispatch.runs_max = RUNS;
        config.dispatch.queue_max = RUNS / 2;
        config.dispatch.queue_timeout = WAIT;
    })
    .await;
    let crowd = Crowd::connect(gateway.address, 200, everywhere).await;
    // An answer has nine pauses, and its deltas are early by half a pause on average: at this rate all slots are in use.
    let capacity = RUNS as f64 / 0.34;
    let time = short_or_long(ms(3_000), ms(60_000));
    let settled = ms(1_000);
    let at_capacity = crowd.ask(capacity, time, MESSAGE, "xxxxxxxxxx").await;
    let peak = goodput(&at_capacity, settled, time);
    let overloaded = crowd.ask(3.0 * capacity, time, MESSAGE, "xxxxxxxxxx").await;
    let under = goodput(&overloaded, settled, time);
    let after = crowd.ask(0.5 * capacity, ms(1_500), MESSAGE, "xxxxxxxxxx").await;
    let rejected: Vec<_> = overloaded.iter().filter(|turn| !turn.is_good()).collect();
    let rejection = quantile(rejected.iter().map(|turn| turn.whole), 1.0);
    let waited = first_text(&overloaded, 1.0);
    println!(
        "capacity={capacity:.1}/s peak={peak:.1}/s at 3 times: {under:.1}/s ({:.0} %) {:?} rejected p100={rejection:?} \
         longest wait={waited:?}; first text at p99 before={:?} after={:?}",
        100.0 * under / peak,
        outcomes(&overloaded),
        first_text(&at_capacity, 0.99),
        first_text(&after, 0.99),
    );
    // Under three times the load a gateway that accepts too much answers almost none.
    assert!(under >= short_or_long(0.6, 0.9) * peak, "{under:.1} of {peak:.1} answers a second");
    assert!(rejected.len() > overloaded.len() / 2, "{:?}", outcomes(&overloaded));
    for turn in &rejected {
        let seconds = retry_after(turn.error.as_ref().unwrap());
        assert!((1..=2 * WAIT.as_secs()).contains(&seconds), "{turn:?}");
    }
    assert!(rejection <= short_or_long(WAIT / 2, ms(100)), "{rejection:?}");
    assert!(waited <= WAIT + ms(1_000), "{waited:?}");
    // Afterwards everything is normal at once: no turn is rejected, none waits.
    assert!(after.iter().all(Turn::is_good), "{:?}", outcomes(&after));
    let normal = 2 * first_text(&at_capacity, 0.5) + ms(200);
    assert!(first_text(&after, 0.5) < normal, "{after:?}");
    assert_eq!(gateway.app_state.metrics.runs_queued.get(), 0);
    // Each turn was accepted or rejected, and counted once.
    let turns = at_capacity.len() + overloaded.len() + after.len();
    assert_eq!(sum(&gateway.get("/metrics").await.1, "tidegate_runs_ended_total"), turns);
    crowd.close().await;
    gateway.stop().await;
    })
    .await;
}

/// A quantile of the time to the first text of good answers.
fn first_text(turns: &[Turn], part: f64) -> Duration {
    quantile(turns.iter().filter(|turn| turn.is_good()).map(|turn| turn.first), part)
}

/// Runs ordinary clients, optionally together with a flood; returns the turns of the ordinary clients.
#[expect(clippy::print_stdout, reason = "figures for a person")]
async fn talk(others: &Crowd, rate: f64, flooders: Option<&Crowd>) -> Vec<Turn> {
    // Answers have different lengths, so that slots become free one by one.
    let message = |n: usize| (format!("/sim text=x tokens={n} first_ms=250 pace_ms=20"), "x".repeat(n));
    let messages: Vec<_> = (1..10).map(message).collect();
    let (time, head_start) = (short_or_long(ms(2_500), ms(20_000)), ms(700));
    let flooding = async {
        match flooders {
            Some(flooders) => flooders.ask_in_turn(5.0 * rate, time + head_start, &messages).await,
            None => Vec::new(),
        }
    };
    let talking = async {
        tokio::time::sleep(head_start).await;
        others.ask_in_turn(rate, time, &messages).await
    };
    let (flooded, turns) = tokio::join!(flooding, talking);
    println!(
        "flood={} others: {:?} first text at p50={:?} p99={:?}; flooders: {:?}",
        flooders.is_some(),
        outcomes(&turns),
        first_text(&turns, 0.5),
        first_text(&turns, 0.99),
        outcomes(&flooded)
    );
    turns
}

// faults: C41
#[tokio::test]
async fn one_address_that_floods_with_many_sessions_delays_no_other() {
    on_a_steady_machine(async || {
        let (sessions, rate) = short_or_long((200, 40.0), (1_000, 100.0));
        // The ordinary clients need a third of the slots; the flood would fill them almost twice.
        let runs = (rate * 0.33 * 3.0) as usize;
        let gateway = Gateway::spawn(|config| {
            config.dispatch.runs_max = runs;
            config.dispatch.queue_max = runs;
        })
        .await;
        let others = Crowd::connect(gateway.address, sessions, everywhere).await;
        let flooders = Crowd::connect(gateway.address, 2 * sessions, elsewhere).await;
        let quiet = talk(&others, rate, None).await;
        let flooded = talk(&others, rate, Some(&flooders)).await;
        assert!(quiet.iter().chain(&flooded).all(Turn::is_good), "no client is rejected for another's flood");
        // In a short run the p99 is that of a few turns, which depends on the machine.
        let part = short_or_long(0.5, 0.99);
        let ratio = first_text(&flooded, part).as_secs_f64() / first_text(&quiet, part).as_secs_f64();
        println!("others' first text at p{:.0}: {ratio:.2} times", 100.0 * part);
        assert!(ratio <= short_or_long(1.5, 1.2), "{ratio:.2}");
        others.close().await;
        flooders.close().await;
        gateway.stop().await;
    })
    .await;
}

// faults: C40
#[tokio::test]
async fn all_clients_reconnect_at_once_and_nothing_is_left_behind() {
    let (size, time) = short_or_long((1_500, ms(900)), (8_000, ms(5_000)));
    let simulator = Process::simulate().await;
    let gateway = Process::serve(&simulator, "sk-test", &[]).await;
    let gauge = async |name: &str| sum(&http_get(gateway.address, "/metrics").await.1, name);
    // A turn first, so that everything that is created only once exists.
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.still_works().await;
    client.close().await;
    let descriptors = gateway.descriptors();
    let (sockets, _) = come_back(gateway.address, size, time).await;
    assert_eq!(gauge("tidegate_connections ").await, size);
    // After a short network failure the old sockets end while the new ones connect.
    let watch = Stopwatch::start();
    drop(sockets);
    let (sockets, took) = come_back(gateway.address, size, time).await;
    println!(
        "{size} were back after {:?}; each within p50={:?} p99={:?} p100={:?}",
        watch.took(),
        quantile(took.iter().copied(), 0.5),
        quantile(took.iter().copied(), 0.99),
        quantile(took.iter().copied(), 1.0)
    );
    assert!(watch.took().is_in(..ms(60_000)), "{:?}", watch.took());
    until("the old ones are gone", async || gauge("tidegate_connections ").await == size).await;
    let mut client = TestClient::connect(&gateway.chat_url()).await;
    client.still_works().await;
    client.close().await;
    drop(sockets);
    until("nothing is left", async || gauge("tidegate_connections ").await == 0).await;
    assert_eq!(gauge("tidegate_sessions ").await, 0);
    // Apart from the probe's own connection and those of the pool.
    until("descriptors are closed", async || gateway.descriptors() <= descriptors + 4).await;
    gateway.stop().await;
    simulator.stop().await;
}
