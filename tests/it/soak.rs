//! Load with one fault after the other, for a while; then everything must be back where it was.
//!
//! In tests/run it takes some seconds. The long form prints a line of figures each minute:
//! `SOAK=20m cargo test --release --test it soak -- --nocapture` (SOAK_SEED chooses another order).
#![allow(clippy::print_stdout, reason = "the figures of the long form")]
use crate::harness::{
    Outcome, Process, RawClient, Stopwatch, TestClient, Tidegate, frame, frame_head, handshake, http_get,
    http_try, is_error, kernel, on_a_steady_machine, until,
};
use fastrand::Rng;
use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tidegate::chat::RunErrorKind;
use tokio::{
    io::AsyncReadExt,
    net::TcpSocket,
    task::{JoinSet, LocalSet},
    time::{Instant, interval, sleep, timeout},
};

/// Whole answers, and faults, without which nothing was tried.
const ENOUGH: u64 = 20;
/// Who talks all the time, and may not be harmed.
const HEALTHY: usize = 12;
/// Answers that go wrong at the service, in every way that is over within a second or two.
const SERVICE_FAULTS: &[&str] = &[
    "status=401 code=InvalidApiKey",
    "status=400 code=InvalidParameter",
    "status=429 retry_after=0",
    "status=500",
    "status=503 html",
    "carrier=b code=InternalError",
    "carrier=c code=InternalError",
    "json_error",
    "redirect",
    "bad_status_line",
    "gzip",
    "no_head",
    "until_close",
    "short_length",
    "half_chunk",
    "bad_chunk",
    "header_bytes=200000",
    "text=abcdef cut_after=2",
    "text=abcdef reset_after=2",
    "text=abcdef end_after=2",
    "text=abcdef stall_after=2",
    "text=abcdef garbage_after=1",
    "text=abcdef error_after=1",
    "text=abcdef invalid_utf8_after=1",
    "text=abcdef deep_after=1",
    "text=abcdef byte_ms=1",
    "long_line=400000",
    "tokens=3000 word_len=40",
];

/// How long, how often, and how much.
struct Plan {
    time: Duration,
    /// Between two faults.
    fault: Duration,
    /// Between two who connect and go again.
    churn: Duration,
    /// Between two readings.
    look: Duration,
    is_long: bool,
    seed: u64,
}

impl Plan {
    fn read() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the long form is asked for by the environment")]
        let variable = |name: &str| std::env::var(name).ok();
        let seed = variable("SOAK_SEED").map_or(7, |seed| seed.parse().expect("SOAK_SEED is a number"));
        let ms = Duration::from_millis;
        let Some(text) = variable("SOAK") else {
            return Plan {
                time: ms(6_000),
                fault: ms(150),
                churn: ms(20),
                look: ms(200),
                is_long: false,
                seed,
            };
        };
        let (number, unit) = text.split_at(text.len() - 1);
        let number: u64 = number.parse().expect("SOAK is a time such as 20m");
        let seconds = match unit {
            "s" => number,
            "m" => number * 60,
            "h" => number * 3600,
            _ => panic!("SOAK is a time such as 20m"),
        };
        let time = Duration::from_secs(seconds);
        Plan { time, fault: ms(1_000), churn: ms(10), look: ms(2_000), is_long: true, seed }
    }
}

/// What is counted while it runs.
#[derive(Default)]
struct Counts {
    whole: Cell<u64>,
    errors: Cell<u64>,
    connects: Cell<u64>,
    faults: Cell<u64>,
}

fn add(cell: &Cell<u64>, number: u64) {
    cell.set(cell.get() + number);
}

struct Soak {
    gateway: Process,
    simulator: RefCell<Option<Process>>,
    upstream: SocketAddr,
    counts: Counts,
    over: Cell<bool>,
}

/// One reading of the gateway.
#[derive(Clone, Copy, Debug)]
struct Reading {
    second: f64,
    rss_kib: u64,
    descriptors: usize,
    /// Of these, the connections to the service that wait to be used again.
    pooled: usize,
    threads: usize,
}

impl Soak {
    async fn start() -> Rc<Self> {
        let simulator = Process::simulate().await;
        let base_url = simulator.base_url();
        let mut args =
            vec!["serve", "--listen", "127.0.0.1:0", "--model", "sim-chat", "--base-url", &base_url];
        for key in [
            "server.workers=2",
            "dispatch.runs_max=64",
            "dispatch.queue_max=64",
            "dispatch.queue_timeout=2s",
            "connection.write_timeout=2s",
            // On a machine without a free processor the healthy ones of this one thread are silent for seconds.
            "connection.idle_timeout=30s",
            "connection.ping_interval=1s",
            "upstream.first_byte_timeout=2s",
            "upstream.idle_timeout=2s",
            "upstream.run_timeout=8s",
            "retry.attempts=3",
            "breaker.open_time=200ms",
            "retry.budget_percent=100",
            "retry.backoff_min=200ms",
            "retry.retry_after_max=1s",
        ] {
            args.extend(["--set", key]);
        }
        let gateway = Tidegate::new(&args).env("API_KEY", "sk-soak").env(
            "RUST_LOG",
            "error,tidegate=info,tidegate::http=warn,tidegate::hub=warn,tidegate::dispatch=warn",
        );
        let gateway = gateway.start().await;
        let upstream = simulator.address;
        let simulator = RefCell::new(Some(simulator));
        Rc::new(Soak { gateway, simulator, upstream, counts: Counts::default(), over: Cell::new(false) })
    }

    fn look(&self, since: Instant) -> Reading {
        let pid = self.gateway.pid();
        Reading {
            second: since.elapsed().as_secs_f64(),
            rss_kib: self.gateway.memory() >> 10,
            pooled: kernel::connections_to(pid, self.upstream),
            descriptors: kernel::descriptors(pid).len(),
            threads: kernel::threads(pid),
        }
    }

    /// How many connections the gateway has closed for which reason.
    async fn closed(&self) -> String {
        let (_, metrics) = http_get(self.gateway.address, "/metrics").await;
        let counts =
            metrics.lines().filter_map(|line| line.strip_prefix("tidegate_connections_closed_total"));
        counts.collect::<Vec<_>>().join(" ")
    }

    /// No client is connected and nothing is going on.
    async fn idle(&self) -> bool {
        let mut sum = 0;
        for name in ["tidegate_connections", "tidegate_sessions", "tidegate_runs", "tidegate_runs_queued"] {
            sum += self.gateway.metric(name).await;
        }
        sum == 0
    }
}

/// Talks without end, each time over a new socket; every answer must be right as far as it comes, and
/// the gateway may never be the one who goes.
async fn healthy(soak: Rc<Soak>, number: usize, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let here = IpAddr::from([127, 0, 1, number as u8 + 1]);
    while !soak.over.get() {
        let mut client = TestClient::connect_from(here, soak.gateway.address).await.unwrap();
        add(&soak.counts.connects, 1);
        for turn in 0..rng.usize(1..6) {
            let words = rng.usize(1..60);
            let text: String = (0..words).map(|word| format!("{number}.{turn}.{word}é ")).collect();
            let switches = format!("pace_ms={} first_ms=0", rng.u32(0..20));
            let watch = Stopwatch::start();
            match client.ask(&text, &switches).await {
                Outcome::Whole => add(&soak.counts.whole, 1),
                // The service is killed, stopped or cut now and then.
                Outcome::Error(error) if is_expected(&error) => add(&soak.counts.errors, 1),
                gone => {
                    let (took, closed) = (watch.took(), soak.closed().await);
                    panic!(
                        "a healthy client was left: {gone:?} after {took:?}, of client {number}; closed: {closed}"
                    );
                }
            }
            sleep(Duration::from_millis(rng.u64(0..80))).await;
        }
        client.close().await;
    }
}

/// What a service that is killed, stopped, left alone or busy with others makes of an honest question.
fn is_expected(error: &str) -> bool {
    use RunErrorKind::{Interrupted, Overloaded, QueueTimeout};
    use RunErrorKind::{UpstreamDown, UpstreamError, UpstreamTimeout, UpstreamUnreachable};
    let kinds = [Interrupted, Overloaded, QueueTimeout];
    let upstream = [UpstreamDown, UpstreamError, UpstreamTimeout, UpstreamUnreachable];
    kinds.into_iter().chain(upstream).any(|kind| is_error(error, kind))
}

/// Connects and goes again, in all manners of going.
async fn churn(soak: Rc<Soak>, pause: Duration, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut clock = interval(pause);
    let mut goers = JoinSet::new();
    while !soak.over.get() {
        clock.tick().await;
        goers.spawn(come_and_go(soak.gateway.address, rng.u8(..)));
        add(&soak.counts.connects, 1);
        while let Some(gone) = goers.try_join_next() {
            gone.unwrap();
        }
    }
    while let Some(gone) = goers.join_next().await {
        gone.unwrap();
    }
}

async fn come_and_go(gateway: SocketAddr, how: u8) {
    let mut client = RawClient::connect(gateway).await;
    if how.is_multiple_of(5) {
        client.write(b"GET /chat HTTP/1.1\r\nhost:").await; // And nothing more.
        return;
    }
    // On a busy machine it may come too late with its request, and is closed.
    if client.try_write(handshake(gateway, &[]).as_bytes()).await.is_err() {
        return;
    }
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match timeout(Duration::from_secs(10), client.read_some(&mut head)).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
    match how % 4 {
        0 => {
            let _ = client.try_write(&frame(0x88, &[3, 232])).await;
            client.read_to_end(Duration::from_secs(10)).await;
        }
        1 => client.reset(),
        2 => drop(client.try_write(&frame(0x81, b"/sim tokens=2000 pace_ms=5")).await),
        _ => {}
    }
}

/// One fault of this number.
async fn fault(soak: Rc<Soak>, kind: usize, mut rng: Rng) {
    let gateway = soak.gateway.address;
    match kind {
        0..=3 => {
            let mut client = TestClient::connect_from([127, 0, 2, 1].into(), gateway).await.unwrap();
            let switches = SERVICE_FAULTS[rng.usize(..SERVICE_FAULTS.len())];
            client.send_text(&format!("/sim {switches} tag={}", rng.u32(..))).await;
            // It has some seconds to say something, and then it is left.
            let _ = timeout(Duration::from_secs(rng.u64(0..2)), client.next()).await;
        }
        4 => vanish(gateway, true, rng.u64(0..200)).await,
        5 => vanish(gateway, false, rng.u64(0..200)).await,
        6 => stalled_reader(gateway).await,
        7 => {
            let mut client = RawClient::upgrade(gateway).await;
            for _ in 0..500 {
                let message = frame(0x81, b"/sim tokens=50 pace_ms=1");
                if timeout(Duration::from_secs(1), client.try_write(&message)).await.is_err() {
                    break;
                }
            }
        }
        8 => hostile(gateway, &frame_head(0x82, 1 << 40)).await,
        9 => hostile(gateway, &frame(0x81, b"\xff\xfe not text")).await,
        10 => {
            let mut bytes = frame(0x01, b"begin");
            (0..2_000).for_each(|_| bytes.extend(frame(0x00, b"x")));
            hostile(gateway, &bytes).await;
        }
        11 => {
            for _ in 0..100 {
                tokio::spawn(come_and_go(gateway, rng.u8(..)));
            }
            add(&soak.counts.connects, 100);
        }
        12 => {
            let old = soak.simulator.borrow_mut().take();
            if let Some(old) = old {
                old.kill().await;
                sleep(Duration::from_millis(rng.u64(0..300))).await;
                let new = Process::simulate_again(soak.upstream).await;
                soak.simulator.replace(Some(new));
            }
        }
        13 => {
            let pid = soak.simulator.borrow().as_ref().map(Process::pid);
            if let Some(pid) = pid {
                signal(pid, "STOP").await;
                sleep(Duration::from_millis(300)).await;
                signal(pid, "CONT").await;
            }
        }
        14 => {
            let pings: Vec<u8> = (0..1_000).flat_map(|_| frame(0x89, b"ping")).collect();
            hostile(gateway, &pings).await;
        }
        _ => {
            let mut client = RawClient::connect(gateway).await;
            let _ = client
                .try_write(b"GET / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            client.read_to_end(Duration::from_secs(10)).await;
        }
    }
}

const KINDS: usize = 16;

async fn signal(pid: u32, name: &str) {
    let mut kill = tokio::process::Command::new("/bin/sh");
    // It may have been replaced in the meantime.
    let _ = kill.args(["-c", &format!("kill -{name} {pid} 2>/dev/null")]).status().await;
}

/// Goes in the middle of an answer.
async fn vanish(gateway: SocketAddr, reset: bool, after: u64) {
    let mut client = RawClient::upgrade(gateway).await;
    client.write(&frame(0x81, b"/sim tokens=1000 pace_ms=5")).await;
    sleep(Duration::from_millis(after)).await;
    if reset {
        client.reset();
    }
}

/// Asks for more than any buffer holds, and reads none of it.
async fn stalled_reader(gateway: SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut client = RawClient { stream: socket.connect(gateway).await.unwrap() };
    client.request(&handshake(gateway, &[])).await;
    client.write(&frame(0x81, b"/sim tokens=20000 word_len=60 pace_ms=0")).await;
    sleep(Duration::from_secs(3)).await;
}

/// Sends what ought to be refused, and reads until the gateway has had enough.
async fn hostile(gateway: SocketAddr, bytes: &[u8]) {
    let mut client = RawClient::upgrade(gateway).await;
    let _ = client.try_write(bytes).await;
    let mut sink = Vec::new();
    let _ = timeout(Duration::from_secs(2), client.stream.read_to_end(&mut sink)).await;
}

/// Slope of the least squares line, in KiB per second.
fn slope(readings: &[Reading]) -> f64 {
    let count = readings.len() as f64;
    let mean = |of: &dyn Fn(&Reading) -> f64| readings.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|r| r.second), mean(&|r| r.rss_kib as f64));
    let above: f64 = readings.iter().map(|r| (r.second - x) * (r.rss_kib as f64 - y)).sum();
    let below: f64 = readings.iter().map(|r| (r.second - x).powi(2)).sum();
    above / below
}

/// Growth over the second half that is still noise: what is in flight differs from second to second.
fn noise_kib(plan: &Plan) -> f64 {
    if plan.is_long { 4.0 * 1024.0 } else { 8.0 * 1024.0 }
}

async fn load(soak: &Rc<Soak>, plan: &Plan) -> Vec<Reading> {
    let mut rng = Rng::with_seed(plan.seed);
    let (since, mut readings) = (Instant::now(), Vec::new());
    let (mut talkers, mut faults) = (JoinSet::new(), JoinSet::new());
    for number in 0..HEALTHY {
        talkers.spawn_local(healthy(Rc::clone(soak), number, rng.u64(..)));
    }
    talkers.spawn_local(churn(Rc::clone(soak), plan.churn, rng.u64(..)));
    let (mut fault_clock, mut look_clock) = (interval(plan.fault), interval(plan.look));
    let (mut minute, mut order) = (1, Vec::new());
    // A machine that stands still in between gives it the time that it needs to say anything.
    let is_enough = || soak.counts.faults.get() > ENOUGH && soak.counts.whole.get() > ENOUGH;
    while since.elapsed() < plan.time || (!is_enough() && since.elapsed() < 10 * plan.time) {
        tokio::select! {
            _ = fault_clock.tick() => {
                // Each kind once before any comes again.
                if order.is_empty() {
                    order = (0..KINDS).collect();
                    rng.shuffle(&mut order);
                }
                let kind = order.pop().unwrap_or_default();
                faults.spawn_local(fault(Rc::clone(soak), kind, rng.fork()));
                add(&soak.counts.faults, 1);
            }
            _ = look_clock.tick() => readings.push(soak.look(since)),
            Some(ended) = talkers.join_next() => panic!("a client left early: {ended:?}"),
            Some(ended) = faults.join_next() => ended.unwrap(),
        }
        if since.elapsed().as_secs() >= minute * 60 {
            report(soak, readings.last().unwrap());
            minute += 1;
        }
    }
    soak.over.set(true);
    while let Some(ended) = talkers.join_next().await {
        ended.unwrap();
    }
    while let Some(ended) = faults.join_next().await {
        ended.unwrap();
    }
    readings
}

fn report(soak: &Soak, reading: &Reading) {
    let Counts { whole, errors, connects, faults } = &soak.counts;
    println!(
        "{:6.0} s  answers={} errors={} connects={} faults={}  rss={} KiB fds={} pooled={} threads={}",
        reading.second,
        whole.get(),
        errors.get(),
        connects.get(),
        faults.get(),
        reading.rss_kib,
        reading.descriptors,
        reading.pooled,
        reading.threads
    );
}

// faults: I118
#[test]
fn load_with_faults_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(on_a_steady_machine(soak)));
}

async fn soak() {
    let plan = Plan::read();
    println!("soak: {:?}, seed {}", plan.time, plan.seed);
    let soak = Soak::start().await;
    // What there is when everything has been used once.
    let mut first = TestClient::connect(&soak.gateway.chat_url()).await;
    assert_eq!(first.ask("warm", "").await, Outcome::Whole);
    first.close().await;
    until("the first one is gone", async || soak.idle().await).await;
    let base = soak.look(Instant::now());

    let readings = load(&soak, &plan).await;
    until("every run, session and socket is gone", async || soak.idle().await).await;
    let settled = || {
        let now = soak.look(Instant::now());
        // A metrics request of our own may still be closing.
        (now.descriptors - now.pooled <= base.descriptors - base.pooled && now.threads <= base.threads)
            .then_some(now)
    };
    until("descriptors and threads are back", async || settled().is_some()).await;
    let last = soak.look(Instant::now());
    report(&soak, &Reading { second: plan.time.as_secs_f64(), ..last });

    // At the service nothing is open but what the gateway keeps for the next one.
    let simulator = soak.simulator.borrow_mut().take().unwrap();
    let metrics = http_try(soak.gateway.address, "/metrics").await.unwrap().1;
    let open = kernel::connections_from(simulator.pid(), soak.upstream);
    assert!(open <= last.pooled, "{open} connections at the service, {} of them in the pool", last.pooled);
    let half = &readings[readings.len() / 2..];
    let growth = slope(half) * (half[half.len() - 1].second - half[0].second);
    println!(
        "rss: base {} KiB, end {} KiB; slope of the second half {:.2} KiB/s, {growth:.0} KiB in all; bound {:.0} KiB",
        base.rss_kib,
        last.rss_kib,
        slope(half),
        noise_kib(&plan)
    );
    assert!(growth <= noise_kib(&plan), "the memory grows: {growth:.0} KiB");
    let Counts { whole, errors, faults, .. } = &soak.counts;
    assert!(faults.get() > ENOUGH && whole.get() > ENOUGH, "{} {}", whole.get(), errors.get());
    assert!(metrics.contains("tidegate_connections_closed_total{reason=\"slow\"}"), "{metrics}");
    let soak = Rc::try_unwrap(soak).ok().unwrap();
    let log = soak.gateway.stop().await;
    assert!(!log.contains("panicked"), "{log}");
    simulator.stop().await;
}
