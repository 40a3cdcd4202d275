//! What a delta allocates on its way, held by bounds: first the pure parts one by one, then the whole
//! gateway in this process, between an upstream and a client that allocate nothing.
//!
//! One test, because the counter is the process's: nothing else may run beside what is counted.
//! `cargo test --test allocations -- --nocapture` prints where they come from.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]
use secrecy::SecretString;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tidegate::{
    app,
    chat::{
        AttemptRecord, AttemptedBy, ChatMessage, Chosen, FairShareKey, FinishReason, MessageId, Parameters,
        RequestId, RunEnd, RunError, RunErrorKind, RunEvent, RunId, RunRecord, RunSink, SessionId,
        SubscriberId, Timing, TokenCount, TurnKind, TurnRequest, Usage, price::Cost,
    },
    config::{Config, Flags, Map, load},
    dispatch::RunChannel,
    metrics::Metrics,
    protocol::Codec,
    runtime::block_on,
    session::{Effect, Input, Lifetime, Outgoing, Session, Settings},
    upstream::{
        Dialect, Head, Limits,
        breaker::Asker,
        chat::{self, Chat},
        dashscope::{self, DashScope},
        json_fields::Extra,
        route::{
            self, Pick, Plan, Route, RouteRequest,
            plan::{KeysLimited, ModelPlan, Probed, TargetPlan, Times, UpstreamPlan},
        },
        service::{Continues, QuotaError, ThinkingField, TokenCap},
    },
};
use tokio::sync::oneshot;

#[global_allocator]
static COUNTER: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Deltas before the count begins, and those that are counted.
const WARM: usize = 200;
const DELTAS: usize = 1000;
/// The counted part is repeated; the least is taken, because the process's own threads may wake.
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Bounds of allocations for each delta. A growing list takes a new one now and then.
const READER_MAX: f64 = 1.01;
const HANDOVER_MAX: f64 = 0.0;
const SESSION_MAX: f64 = 0.05;
const ENCODING_MAX: f64 = 0.0;
const GATEWAY_MAX: f64 = 1.2;
/// Bytes requested from the allocator that each of `HELD_STREAMS` sockets with an answer of `HELD_DELTAS`
/// deltas may hold: the text of the answer, then the run and its two connections.
const HELD_STREAMS: usize = 8;
const HELD_DELTAS: usize = 400;
const HELD_BYTES_MAX: usize = 20_000;

/// Turns of an idle conversation, and the bytes that its session may hold in addition to its texts.
const QUIET_TURNS: u32 = 20;
const QUIET_BYTES_MAX: usize = 2048;

/// Allocations and reallocations for each delta, least of the rounds.
fn each(mut deltas: impl FnMut(usize)) -> f64 {
    deltas(WARM);
    let count = |_| {
        let region = Region::new(COUNTER);
        deltas(DELTAS);
        let change = region.change();
        (change.allocations + change.reallocations) as f64 / DELTAS as f64
    };
    (0..ROUNDS).map(count).fold(f64::MAX, f64::min)
}

fn event(number: usize) -> String {
    format!(
        "id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\"message\":{{\"content\":\
         \" token {number}\",\"role\":\"assistant\"}},\"finish_reason\":\"null\"}}]}},\"usage\":{{\"total_tokens\":{},\
         \"output_tokens\":{number},\"input_tokens\":22}},\"request_id\":\"4c1b05a2\"}}\n\n",
        number + 22
    )
}

/// An event of chat completions, spelled as by llama.cpp.
fn chat_event(number: usize) -> String {
    format!(
        "data: {{\"choices\":[{{\"finish_reason\":null,\"index\":0,\"delta\":{{\"content\":\" token {number}\"}}}}],\
         \"created\":1796004343,\"id\":\"chatcmpl-4ZypS0C11HsiBdHeLzyWXKlfk2X96Mwt\",\"model\":\"tiny.gguf\",\
         \"system_fingerprint\":\"b0-unknown\",\"object\":\"chat.completion.chunk\"}}\n\n"
    )
}

fn chat_reader() -> f64 {
    reader_of(
        &Dialect::Chat(Chat::new(chat::Settings {
            thinking: None,
            thinking_field: ThinkingField::None,
            max_tokens: None,
            token_cap: TokenCap::MaxTokens,
            include_usage: true,
            continues: Continues::No,
            continue_path: "",
            insufficient_quota: QuotaError::Money,
            api_version: None,
            headers: Vec::new(),
            extra: Extra::default(),
        })),
        chat_event,
    )
}

fn reader() -> f64 {
    let settings = dashscope::Settings { incremental: true, ..dashscope::Settings::default() };
    reader_of(&Dialect::DashScope(DashScope::new(settings)), event)
}

fn reader_of(dialect: &Dialect, event: fn(usize) -> String) -> f64 {
    let head =
        Head { status: 200, content_type: Some("text/event-stream"), retry_after: None, request_id: None };
    let limits = Limits { line_bytes: 256 << 10, event_bytes: 1 << 20, answer_bytes: 4 << 20 };
    let mut reader = dialect.reader(&Parameters::default(), head, limits);
    let frames: Vec<String> = (100..200).map(event).collect();
    let mut events = Vec::new();
    each(|deltas| {
        for frame in frames.iter().cycle().take(deltas) {
            events.clear();
            assert!(reader.feed(frame.as_bytes(), &mut events).is_ok());
            assert_eq!(events.len(), 1);
        }
    })
}

/// A run's first attempt and its answer, where there are many targets and keys.
fn route() -> f64 {
    let upstream = |number: usize| UpstreamPlan {
        name: format!("u{number}").into(),
        keys: 32,
        keys_limited: KeysLimited::Apart,
        runs_max: 100,
        continues: false,
        times: Times::UNLIMITED,
        probed: Probed::default(),
    };
    let target = |upstream| TargetPlan { upstream, model: "m".into(), weight: 1 };
    let model = ModelPlan {
        levels: vec![(0..16).map(target).collect()],
        ..Plan::alone("m", 1, Times::UNLIMITED).models.remove(0)
    };
    let plan = Plan { upstreams: (0..16).map(upstream).collect(), models: vec![model] };
    let mut route = Route::new(route::Settings { plan, ..route::Settings::default() });
    let asker = Asker { client: FairShareKey::default(), session: SessionId(1) };
    let (now, model): (_, Arc<str>) = (tokio::time::Instant::now().into_std(), "m".into());
    each(|runs| {
        for run in 0..runs {
            let mut request = RouteRequest::new(Arc::clone(&model), asker, now + PATIENCE);
            let Pick::Go(go) = route.pick(now, run as f64 / runs as f64, &mut request) else {
                panic!("it goes")
            };
            route.record(now, 0.5, go.permit, Ok(()));
            route.release(go.permit);
        }
    })
}

/// What metrics do with the record of a run, once its upstream and model are known to them.
fn accounting() -> f64 {
    let metrics = Metrics::default();
    let usage = Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() };
    let attempt = |error, bytes| AttemptRecord {
        by: AttemptedBy { upstream: "default".into(), model: "none".into(), table: "none".into(), key: 0 },
        sent: Duration::ZERO,
        first_chunk: None,
        duration: Duration::ZERO,
        error,
        is_counted: true,
        bytes,
        continues: false,
        tokens: Some(TokenCount { usage, is_estimated: false }),
    };
    let error = RunError::new(RunErrorKind::Interrupted, "");
    let names = (SessionId(1), RunId(1));
    let mut record = RunRecord::rejected(names, (&"none".into(), "plain"), error, Duration::ZERO);
    record.attempts = vec![attempt(Some(RunErrorKind::UpstreamError), 0), attempt(None, 5)];
    record.cost = Some(Cost::default());
    each(|runs| (0..runs).for_each(|_| metrics.record(&record)))
}

/// From the run's task to the session; the texts exist beforehand, as the reader has made them.
fn handover() -> f64 {
    let channel = RunChannel::default();
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    each(|deltas| {
        for _ in 0..deltas {
            sent.push(RunEvent::answer(String::new()));
            channel.push(&mut sent, None);
            channel.drain(&mut received);
            assert_eq!(received.len(), 1);
            received.clear();
        }
    })
}

/// A whole run.
fn answer(session: &mut Session, fx: &mut Vec<Effect>, now: Duration, run: RunId, deltas: &[String]) {
    for text in deltas {
        session.handle(fx, now, Input::Run { run, event: RunEvent::answer(text.clone()) });
        session.settle(fx);
        fx.clear();
    }
    let (outcome, timing) = (Ok(FinishReason::Stop), Timing::default());
    let end = Box::new(RunEnd { outcome, usage: None, timing, request_id: None });
    session.handle(fx, now, Input::Run { run, event: RunEvent::End(end) });
    session.settle(fx);
    fx.clear();
}

/// Bytes requested from the allocator that an idle conversation holds in addition to its texts.
fn quiet() -> usize {
    let settings = Arc::new(Settings::for_test());
    let (retain, mut fx, mut now, mut text_bytes) =
        (settings.replay_time, Vec::with_capacity(64), Duration::ZERO, 0);
    let mut texts = Vec::new();
    for turn in 0..QUIET_TURNS {
        let question = format!("What about the tide of harbour number {turn}?");
        let deltas: Vec<String> = (0..180).map(|delta| format!(" {delta} of it")).collect();
        text_bytes += question.len() + deltas.iter().map(String::len).sum::<usize>();
        texts.push((question, deltas));
    }
    let chosen = Chosen::for_test();
    let region = Region::new(COUNTER);
    let mut session = Box::new(Session::new(settings, SessionId(u128::MAX), Lifetime::OfChat));
    // The second question of each pair waits for the answer to the first.
    for (pair, asked) in (1..).step_by(2).zip(texts.chunks(2)) {
        for (turn, (question, _)) in (pair..).zip(asked) {
            let id = MessageId::new(&format!("{turn:016}")).unwrap();
            let message = ChatMessage::user(id, question.as_str());
            let turn_request = TurnRequest { kind: TurnKind::Submit, message, transcript: Vec::new() };
            let input = Input::Ask {
                subscriber: SubscriberId(turn),
                sink: (),
                turn: Box::new(turn_request),
                chosen: Ok(chosen.clone()),
            };
            session.handle(&mut fx, now, input);
            fx.clear();
        }
        for (turn, (_, deltas)) in (pair..).zip(asked) {
            answer(&mut session, &mut fx, now, RunId(turn as u32), deltas);
        }
        now += retain;
        session.handle(&mut fx, now, Input::Wake);
        session.settle(&mut fx);
        fx.clear();
    }
    let change = region.change();
    let transcript = session.transcript().messages;
    assert_eq!(transcript.iter().map(|message| message.text.len()).sum::<usize>(), text_bytes);
    let held = change.bytes_allocated - change.bytes_deallocated;
    // What is counted for `memory.max` is no less than what is there, and not much more.
    let counted = session.memory_use().history;
    assert!((held..held + held / 8 + QUIET_BYTES_MAX).contains(&counted), "{counted} counted, {held} held");
    held - text_bytes
}

/// The session machine, and the encoding of its frames.
fn session() -> (f64, f64) {
    let mut session = Session::new(Arc::new(Settings::for_test()), SessionId(1), Lifetime::OfSocket);
    let (mut fx, mut pushed) = (Vec::new(), Vec::with_capacity(WARM + ROUNDS * DELTAS));
    session.handle(&mut fx, Duration::ZERO, Input::Attach { subscriber: SubscriberId(1), sink: () });
    let message =
        Input::Message { subscriber: SubscriberId(1), text: "hello".into(), chosen: Chosen::for_test() };
    session.handle(&mut fx, Duration::ZERO, message);
    fx.clear();
    let mut texts: Vec<String> = (0..WARM + ROUNDS * DELTAS).map(|at| format!(" token {at}")).collect();
    let machine = each(|deltas| {
        for text in texts.drain(..deltas) {
            session.handle(
                &mut fx,
                Duration::ZERO,
                Input::Run { run: RunId(1), event: RunEvent::answer(text) },
            );
            session.settle(&mut fx);
            pushed.extend(fx.drain(..).filter_map(|effect| match effect {
                Effect::Push { outgoing: Outgoing::Frame(frame), .. } => Some(frame),
                _ => None,
            }));
        }
    });
    assert_eq!(pushed.len(), WARM + ROUNDS * DELTAS);
    let mut out = Vec::with_capacity(1024);
    let request = RequestId::new("r1").unwrap();
    let mut encoders = [Codec::Plain.encoder(None), Codec::AiSdk.encoder(Some(&request))];
    let mut from = 0;
    let encoding = each(|deltas| {
        // Each delta once: a encoder says nothing twice.
        for frame in &pushed[from..from + deltas] {
            for encoder in &mut encoders {
                out.clear();
                encoder.encode(frame, |text| out.extend_from_slice(text.as_bytes()));
                assert!(!out.is_empty());
            }
        }
        from += deltas;
    });
    (machine, encoding)
}

/// A gateway with one worker in front of this upstream, until the sender is used.
fn gateway(upstream: SocketAddr) -> (SocketAddr, oneshot::Sender<()>, thread::JoinHandle<()>) {
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.server.workers = 1;
    config.upstream.api_key = Some(SecretString::from("sk-test"));
    config.upstream.base_url = format!("http://{upstream}/api/v1").parse().unwrap();
    let (started, starting) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        block_on(async move {
            let gateway =
                app::Gateway::start(app::Settings::new(&config, app::Machine::here(), false)).await.unwrap();
            started.send(gateway.address).unwrap();
            let _ = stopped.await;
            gateway.stop(std::future::pending()).await;
        })
        .unwrap();
    });
    (starting.recv_timeout(PATIENCE).unwrap(), stop, thread)
}

/// Reads up to the end of a head.
fn head(stream: &mut TcpStream) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}

/// A socket whose answer has begun: the client's end, and the upstream's.
fn stream(address: SocketAddr, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    head(&mut client);
    client.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.set_nodelay(true).unwrap();
    head(&mut upstream);
    upstream
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
    (client, upstream)
}

/// Allocations for each delta of a whole gateway, and the bytes that a stream holds.
fn whole() -> (f64, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stop, thread) = gateway(listener.local_addr().unwrap());
    let chunks: Vec<Vec<u8>> = (100..200)
        .map(|number| {
            let event = event(number);
            format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
        })
        .collect();
    // Each delta is written to the gateway, and read from it before the next one is written.
    let relay = |(client, upstream): &mut (TcpStream, TcpStream), deltas: usize| {
        let (mut header, mut text) = ([0; 2], [0; " token 100".len()]);
        for chunk in chunks.iter().cycle().take(deltas) {
            upstream.write_all(chunk).unwrap();
            client.read_exact(&mut header).unwrap();
            if header == [0x89, 0] {
                client.read_exact(&mut header).unwrap(); // That was a ping.
            }
            client.read_exact(&mut text).unwrap();
            assert!(header == [0x81, 10] && text.starts_with(b" token "), "{}", text.escape_ascii());
        }
    };
    // The first one also fills what the thread keeps.
    let mut first = stream(address, &listener);
    let counted = each(|deltas| relay(&mut first, deltas));
    let region = Region::new(COUNTER);
    let mut others: Vec<_> = (0..HELD_STREAMS).map(|_| stream(address, &listener)).collect();
    others.iter_mut().for_each(|stream| relay(stream, HELD_DELTAS));
    let change = region.change();
    let held = (change.bytes_allocated - change.bytes_deallocated) / HELD_STREAMS;
    drop((first, others));
    stop.send(()).unwrap();
    thread.join().unwrap();
    (counted, held)
}

/// Bytes that 63 more upstreams and 255 more models may hold while nobody asks them.
const UNUSED_BYTES_MAX: usize = 1 << 20;

/// Bytes that a gateway of so many upstreams and models holds before its first request.
fn configured(upstreams: usize, models: usize) -> usize {
    let mut file = "[upstream]\nidle_timeout = '50s'\n[route]\ndefault = 'm0'\n".to_owned();
    for n in 0..upstreams {
        file += &format!(
            "[upstream.u{n}]\nservice = 'other'\nbase_url = 'https://u{n}.example/v1'\napi_key = 'sk-{n}'\n"
        );
    }
    for n in 0..models {
        let (first, second) = (n % upstreams, (n + 1) % upstreams);
        file +=
            &format!("[model.m{n}]\ntitle = 'Model {n}'\nupstreams = ['u{first}*2', 'u{second}:other']\n");
        file += "context = 8192\nmax_tokens = 1000\n";
    }
    let source = Map::default().file("tidegate.toml", file);
    let region = Region::new(COUNTER);
    let config = load(&Flags::default(), &source).unwrap();
    let machine = app::Machine { cores: 1, descriptors: 1 << 20 };
    let settings = app::Settings::new(&config, machine, false);
    let connected = settings.connect_upstreams().unwrap();
    let change = region.change();
    drop((config, settings, connected));
    change.bytes_allocated - change.bytes_deallocated
}

#[test]
fn a_delta_allocates_next_to_nothing() {
    assert_eq!(route(), 0.0, "a decision of the route");
    assert_eq!(accounting(), 0.0, "the record of a run in the metrics");
    let (one, many) = (configured(1, 1), configured(64, 256));
    println!("unused upstreams and models: {} B", many - one);
    assert!(many - one <= UNUSED_BYTES_MAX, "63 upstreams and 255 models hold {} B", many - one);
    let (reader, chat_reader, handover) = (reader(), chat_reader(), handover());
    let (session, encoding) = session();
    // Before there is a gateway: threads of one that has ended may still give back what they had.
    let quiet = quiet();
    let (gateway, held) = whole();
    println!(
        "allocations for each delta: reader {reader:.3} (its text), handover {handover:.3}, \
         session {session:.3} (the log grows), encoding {encoding:.3}; whole gateway {gateway:.3}; a stream of {HELD_DELTAS} deltas holds {held} bytes, \
         a conversation of {QUIET_TURNS} turns {quiet} beside its texts"
    );
    for (name, counted, most) in [
        ("reader", reader, READER_MAX),
        ("reader of chat completions", chat_reader, READER_MAX),
        ("handover", handover, HANDOVER_MAX),
        ("session", session, SESSION_MAX),
        ("encoding", encoding, ENCODING_MAX),
        ("whole gateway", gateway, GATEWAY_MAX),
    ] {
        assert!(counted <= most, "{name}: {counted:.3} allocations for each delta, at most {most}");
    }
    assert!(held <= HELD_BYTES_MAX, "a stream holds {held} bytes, at most {HELD_BYTES_MAX}");
    assert!(quiet <= QUIET_BYTES_MAX, "a conversation at rest holds {quiet} bytes beside its texts");
}
