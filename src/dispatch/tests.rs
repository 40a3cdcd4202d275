//! Slow sessions, runs that sessions poll, panics of runs, and a stalled worker.
use super::*;
use crate::{
    access::Pass,
    app::{self, Gateway, Machine},
    chat::{FinishReason, Parameters, Principal, PromptMessage, Role, Source, price::PriceList},
    config::Config,
    memory::{Kind, Limit, Memory},
    upstream::{
        Dialect, Limits, client,
        dashscope::{self, DashScope},
        route,
    },
    worker_clock::WorkerClock,
};
use futures_util::{SinkExt, StreamExt};
use std::{rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Nothing in a test may take longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session with room for one message in its mailbox, which pauses after each text that it takes.
struct Slow {
    received: Rc<std::cell::RefCell<Vec<RunEvent>>>,
    channel: Arc<RunChannel>,
    pause: Duration,
    /// Set if it polls the run itself.
    local: Option<LocalRun>,
}

impl Slow {
    /// Takes the pending text, and then nothing for a while.
    fn drain(&mut self, ctx: &mut Context<Self>) {
        let mut drained = Vec::new();
        self.channel.drain(&mut drained);
        if !drained.is_empty() {
            self.received.borrow_mut().append(&mut drained);
            ctx.wait(sleep(self.pause).into_actor(self));
        }
    }
}

/// Polled with the actor.
struct TextStream;

impl ActorFuture<Slow> for TextStream {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        slow: &mut Slow,
        ctx: &mut Context<Slow>,
        task: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        match &mut slow.local {
            Some(local) => local.poll(task),
            None => slow.channel.set_waker(task.waker()),
        }
        slow.drain(ctx);
        std::task::Poll::Pending
    }
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
        ctx.spawn(TextStream);
    }
}

impl Handler<RunUpdate> for Slow {
    type Result = ();

    fn handle(&mut self, update: RunUpdate, ctx: &mut Self::Context) {
        self.drain(ctx);
        if matches!(update.event, RunEvent::End(_)) {
            self.local.take().into_iter().for_each(LocalRun::release);
        }
        self.received.borrow_mut().push(update.event);
    }
}

fn event(text: &str, finish: &str) -> String {
    let event = format!(
        "data:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\"{text}\",\"role\":\"assistant\"}},\
         \"finish_reason\":\"{finish}\"}}]}},\"request_id\":\"r\"}}\n\n"
    );
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// Answers every request with these texts, each in a write of its own.
async fn upstream(texts: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            for text in &texts {
                let _ = stream.write_all(event(text, "null").as_bytes()).await;
                sleep(Duration::from_millis(1)).await;
            }
            let _ = stream.write_all(format!("{}0\r\n\r\n", event("", "stop")).as_bytes()).await;
        }
    });
    format!("http://{address}")
}

/// A dispatcher with a single lane, both on this thread.
fn dispatcher(
    base_url: String,
    delivery: Duration,
    metrics: &Arc<Metrics>,
    sinks: RunSinks,
) -> (Addr<Dispatcher>, LocalRuns) {
    let dialect = dashscope::Settings { incremental: true, ..dashscope::Settings::default() };
    let dialect = Dialect::DashScope(DashScope::new(dialect));
    let wait = Duration::from_secs(5);
    let settings = client::Settings {
        section: "upstream".to_owned(),
        key_header: crate::upstream::service::KeyHeader::Bearer,
        base_url: base_url.parse().unwrap(),
        api_keys: Vec::new(),
        ca_file: None,
        proxy: None,
        connect_timeout: wait,
        lazy_acks: false,
        first_byte: wait,
    };
    let upstream = Upstream {
        client: Arc::new(
            client::ClientConfig::new(&settings, dialect.headers(), &mut client::TlsConfigs::default())
                .unwrap(),
        ),
        dialect: Arc::new(dialect),
        limits: Limits { line_bytes: 1 << 16, event_bytes: 1 << 16, answer_bytes: 1 << 20 },
        stall: wait,
    };
    let settings = Settings { run_time: 2 * wait, delivery, mailbox: 4 };
    let plan = route::Plan::alone("m", 1, route::plan::Times::UNLIMITED);
    let router =
        Arc::new(Router::new(route::Settings { plan, ..route::Settings::default() }, Arc::clone(metrics)));
    let lane = Lane::new(
        &[upstream],
        Arc::new(settings),
        Arc::clone(&router),
        Arc::clone(metrics),
        sinks.clone(),
        &WorkerClock::start(),
    );
    let admission = admission::Settings { runs_max: 4, queue_max: 4, queue_timeout: wait };
    let dispatcher = Dispatcher::new(admission, 1, router, Arc::clone(metrics), sinks).start();
    let local_runs = lane.local_runs();
    dispatcher.try_send(Register { worker: 0, lane: lane.start() }).unwrap();
    (dispatcher, local_runs)
}

/// How a session receives its run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Polling {
    /// It polls the run itself.
    BySession,
    /// The run is a task.
    ByTask,
}

/// All events that a session receives, which pauses after each text, once the run has ended and its slot is free.
async fn received_by_a_slow_session(
    polling: Polling,
    texts: &[String],
    pause: Duration,
    delivery: Duration,
) -> (Vec<RunEvent>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let sinks = RunSinks::standard(PriceList::default(), &metrics);
    (received(polling, texts, pause, delivery, &metrics, sinks).await, metrics)
}

async fn received(
    polling: Polling,
    texts: &[String],
    pause: Duration,
    delivery: Duration,
    metrics: &Arc<Metrics>,
    sinks: RunSinks,
) -> Vec<RunEvent> {
    let (dispatcher, local_runs) = dispatcher(upstream(texts.to_vec()).await, delivery, metrics, sinks);
    let (received, channel) = (Rc::default(), Arc::<RunChannel>::default());
    let register = || local_runs.register(SessionId(1), RunId(1), Arc::clone(&channel));
    let local = (polling == Polling::BySession).then(register);
    let session =
        Slow { received: Rc::clone(&received), channel: Arc::clone(&channel), pause, local }.start();
    let memory = Memory::new(Limit::new(0, |_| None), Instant::now().into_std());
    let memory = Arc::new(memory);
    let submission = SubmitRun {
        pass: Pass::new(Principal::new(1), Source::default()),
        account: Account::new(&memory, Source::default(), [Kind::Requests]),
        session: SessionId(1),
        run: RunId(1),
        codec: crate::protocol::Codec::Plain,
        worker: 0,
        request: RunRequest {
            model: "m".into(),
            parameters: Parameters::default(),
            messages: vec![PromptMessage::new(Role::User, "hi")],
            tokens: crate::chat::TokenEstimate::default(),
            omitted_turns: 0,
        },
        sink: session.clone().recipient(),
        channel,
        submitted: Instant::now(),
    };
    dispatcher.send(submission).await.unwrap();
    let ended = async {
        while !received.borrow().iter().any(|event| matches!(event, RunEvent::End(_)))
            || metrics.runs.get() > 0
        {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the run ends and gives its slot back");
    assert!(session.connected(), "the session does not end with its run");
    received.borrow().clone()
}

fn text_of(received: &[RunEvent]) -> String {
    let text =
        |event: &RunEvent| if let RunEvent::Text { text, .. } = event { text.clone() } else { String::new() };
    received.iter().map(text).collect()
}

// faults: C43
#[actix::test]
async fn a_run_waits_for_a_slow_session_and_skips_nothing() {
    // Each is an eighth of what may wait.
    let texts: Vec<_> = (0..60).map(|n| format!("{n} {} ", "x".repeat(8 << 10))).collect();
    let (received, _) =
        received_by_a_slow_session(Polling::ByTask, &texts, Duration::from_millis(10), PATIENCE).await;
    assert_eq!(text_of(&received), texts.concat());
    assert!(
        received.len() < texts.len() / 2,
        "it waited: {} events for {} texts",
        received.len(),
        texts.len()
    );
    // What may wait, and what one read brings on top of it.
    assert!(
        received.iter().all(|event| event.text_bytes() <= 2 * 64 * 1024),
        "and never for more than its bound"
    );
    let Some(RunEvent::End(end)) = received.last() else { panic!("the end is last: {received:?}") };
    assert_eq!(end.outcome, Ok(FinishReason::Stop));
    assert_eq!(received.iter().filter(|event| matches!(event, RunEvent::End(_))).count(), 1);
}

// faults: C43
#[actix::test]
async fn a_session_that_accepts_nothing_for_too_long_gets_the_end_and_its_slot_is_freed() {
    let texts: Vec<_> = (0..60).map(|n| format!("{n} {} ", "x".repeat(8 << 10))).collect();
    let (received, metrics) = received_by_a_slow_session(
        Polling::ByTask,
        &texts,
        Duration::from_secs(1),
        Duration::from_millis(300),
    )
    .await;
    let text = text_of(&received);
    assert!(texts.concat().starts_with(&text), "nothing is skipped before the end");
    let Some(RunEvent::End(end)) = received.last() else { panic!("the end is last: {received:?}") };
    assert_eq!(end.outcome.as_ref().unwrap_err().kind, RunErrorKind::Overloaded);
    assert_eq!(metrics.runs_ended("overloaded"), 1);
}

/// While the session pauses, its run is not polled: it reads no more than fits into one poll.
#[actix::test]
async fn a_run_that_its_session_polls_waits_with_it_and_skips_nothing() {
    let texts: Vec<_> = (0..60).map(|n| format!("{n} {} ", "x".repeat(8 << 10))).collect();
    let (received, metrics) =
        received_by_a_slow_session(Polling::BySession, &texts, Duration::from_millis(10), PATIENCE).await;
    assert_eq!(text_of(&received), texts.concat());
    assert!(received.len() < texts.len() / 2, "{} events for {} texts", received.len(), texts.len());
    // What one poll reads, and the last network read of it beyond that.
    assert!(received.iter().all(|event| event.text_bytes() <= 2 * 64 * 1024));
    let Some(RunEvent::End(end)) = received.last() else { panic!("the end is last: {received:?}") };
    assert_eq!(end.outcome, Ok(FinishReason::Stop));
    assert_eq!(metrics.runs_ended("stop"), 1);
}

/// Makes every run panic at its end.
struct PanickingSink;

impl crate::chat::RunSink for PanickingSink {
    fn record(&self, _: &RunRecord) {
        panic!("as the test wants");
    }
}

// faults: C44
#[actix::test]
async fn a_panic_of_a_run_ends_the_run_and_not_its_session() {
    for polling in [Polling::ByTask, Polling::BySession] {
        let metrics = Arc::new(Metrics::default());
        let sinks =
            RunSinks::new(PriceList::default(), [Arc::new(PanickingSink) as Arc<dyn crate::chat::RunSink>]);
        let texts = ["He".to_owned()];
        let received = received(polling, &texts, Duration::ZERO, PATIENCE, &metrics, sinks).await;
        assert_eq!(text_of(&received), "He", "{polling:?}");
        let ends = received.iter().filter(|event| matches!(event, RunEvent::End(_))).count();
        let Some(RunEvent::End(end)) = received.last() else { panic!("{polling:?}: {received:?}") };
        let error = end.outcome.as_ref().unwrap_err();
        assert_eq!((ends, error.kind), (1, RunErrorKind::Internal), "{polling:?}");
    }
}

/// Blocks the thread of one worker.
#[derive(Message)]
#[rtype(result = "()")]
struct Block {
    worker: usize,
    time: Duration,
}

impl Handler<Block> for Dispatcher {
    type Result = ();

    fn handle(&mut self, block: Block, _: &mut Self::Context) {
        self.lanes[block.worker].as_ref().unwrap().try_send(block).unwrap();
    }
}

impl Handler<Block> for Lane {
    type Result = ();

    fn handle(&mut self, block: Block, _: &mut Self::Context) {
        std::thread::sleep(block.time);
    }
}

// faults: C42
#[actix::test]
async fn a_stalled_worker_is_reported_and_the_others_serve() {
    const SOCKETS: usize = 8;
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.server.workers = 2;
    config.upstream.base_url = upstream(vec!["He".into()]).await.parse().unwrap();
    let gateway = Gateway::start(app::Settings::new(&config, Machine::here(), false)).await.unwrap();
    let url = format!("ws://{}/chat", gateway.address);
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(tokio_tungstenite::connect_async(&url).await.unwrap().0);
    }
    let stalls = &gateway.app_state().metrics.worker_stalls;
    assert_eq!(stalls.get(), 0);
    let since = Instant::now();
    gateway.app_state().dispatcher.send(Block { worker: 0, time: Duration::from_secs(2) }).await.unwrap();
    // The command goes round by one more thread.
    sleep(Duration::from_millis(100)).await;
    let answers = sockets.iter_mut().map(async |socket| {
        socket.send(Frame::text("hi")).await.unwrap();
        while !matches!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap(), Frame::Text(_)) {}
        since.elapsed()
    });
    let state = Arc::clone(&gateway.app_state().dispatch_state);
    // What a probe would find, had it stood still for so much longer.
    let found = |longer: u64| state.worker_fault(Instant::now() + Duration::from_millis(longer));
    let probe = async {
        tokio::time::sleep_until(since + Duration::from_millis(1_600)).await;
        found(8_700)
    };
    let (mut answered, fault) = tokio::join!(futures_util::future::join_all(answers), probe);
    assert!(matches!(fault, Some(state::Fault::WorkerSilent(0, _))), "{fault:?}");
    let answers_again = async {
        while found(8_700).is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, answers_again).await.expect("the worker answers again");
    answered.sort();
    // Sockets go to the workers in turn.
    let served = answered.iter().filter(|after| **after < Duration::from_millis(1_500)).count();
    let held = answered.iter().filter(|after| **after >= Duration::from_millis(1_900)).count();
    assert!(served >= 2 && held >= 2 && served + held == SOCKETS, "{answered:?}");
    assert_eq!(stalls.get(), 1);
    drop(sockets);
    gateway.stop(std::future::pending()).await;
}
