//! The cost of the pure part of the hot path: a delta in the session machine and its encoder, a client's bytes in the
//! guard.
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, sync::Arc, time::Duration};
use tidegate::{
    chat::{
        Chosen, FinishReason, RequestId, RunEnd, RunEvent, RunId, SessionId, SubscriberId, TextKind, Timing,
    },
    protocol::{self, Codec, Incoming, ServerFrame},
    session::{Effect, Input, Lifetime, Session, Settings},
    socket::{
        guard::{Guard, Limits},
        rate::Allowance,
    },
};

const DELTAS: usize = 500;
const TOKEN: &str = " token";

fn session(readers: u64) -> Session {
    let mut session = Session::new(Arc::new(Settings::for_test()), SessionId(1), Lifetime::OfSocket);
    let mut fx = Vec::new();
    for reader in 1..=readers {
        session.handle(&mut fx, Duration::ZERO, Input::Attach { subscriber: SubscriberId(reader), sink: () });
    }
    session
}

/// A whole answer: a message, its deltas, the end.
fn turn(session: &mut Session, fx: &mut Vec<Effect>, run: u32) {
    let message =
        Input::Message { subscriber: SubscriberId(1), text: "hello".into(), chosen: Chosen::for_test() };
    session.handle(fx, Duration::ZERO, message);
    for _ in 0..DELTAS {
        session.handle(fx, Duration::ZERO, Input::Run { run: RunId(run), event: RunEvent::answer(TOKEN) });
        session.settle(fx);
        black_box(&fx);
        fx.clear();
    }
    let end =
        RunEnd { outcome: Ok(FinishReason::Stop), usage: None, request_id: None, timing: Timing::default() };
    session.handle(fx, Duration::ZERO, Input::Run { run: RunId(run), event: RunEvent::End(Box::new(end)) });
    session.settle(fx);
    fx.clear();
}

fn machine(c: &mut Criterion) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(DELTAS as u64));
    for readers in [1, 3] {
        group.bench_function(format!("delta to {readers} readers"), |b| {
            let mut fx = Vec::new();
            b.iter_batched(|| session(readers), |mut s| turn(&mut s, &mut fx, 1), BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// A whole answer that alternates between reasoning and text with each delta, replayed to a subscriber that resumes: the
/// time per entry must not grow with their number.
fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    for entries in [1_000, 4_000, 16_000] {
        let (mut session, mut fx, mut now) = (session(1), Vec::new(), Duration::ZERO);
        let message =
            Input::Message { subscriber: SubscriberId(1), text: "hello".into(), chosen: Chosen::for_test() };
        session.handle(&mut fx, now, message);
        for at in 0..entries {
            let kind = [TextKind::Answer, TextKind::Reasoning][at % 2];
            let event = RunEvent::Text { kind, text: TOKEN.into() };
            session.handle(&mut fx, now, Input::Run { run: RunId(1), event });
        }
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(format!("{entries} entries of alternating kinds"), |b| {
            b.iter(|| {
                now += Duration::from_secs(1);
                fx.clear();
                session.handle(
                    &mut fx,
                    now,
                    Input::Resume { subscriber: SubscriberId(2), sink: (), turn: None, after: None },
                );
                let mut pushed = 0;
                while pushed <= entries {
                    pushed += fx.iter().filter(|effect| matches!(effect, Effect::Push { .. })).count();
                    fx.clear();
                    session.handle(&mut fx, now, Input::Ready { subscriber: SubscriberId(2) });
                }
                session.handle(&mut fx, now, Input::Detach { subscriber: SubscriberId(2) });
            });
        });
    }
    group.finish();
}

/// A question with a transcript of a hundred messages of 1 KiB, as the stock client sends it.
fn transcript() -> String {
    let text = r#"what is the tide, \"and\" 什么是潮汐? "#.repeat(22);
    let message = |at, role: &str| {
        format!(
            r#"{{"id":"m{at}","role":"{role}","parts":[{{"type":"text","text":"{text}","state":"done"}}]}}"#
        )
    };
    let turns: Vec<_> =
        (0..50).flat_map(|at| [message(2 * at, "user"), message(2 * at + 1, "assistant")]).collect();
    let messages = [turns.join(","), message(100, "user")].join(",");
    format!(
        r#"{{"type":"send","requestId":"r1","id":"c1","trigger":"submit-message","messages":[{messages}],"headers":{{}},"body":{{}}}}"#
    )
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let delta = ServerFrame::Text { kind: TextKind::Answer, entry: 1, text: TOKEN.into() };
    group.bench_function("plain encode delta", |b| {
        let mut out = String::with_capacity(64);
        b.iter(|| {
            out.clear();
            Codec::Plain.encoder(None).encode(black_box(&delta), |text| out.push_str(text));
        });
    });
    group.bench_function("ai sdk encode delta", |b| {
        let request = RequestId::new("kR3fJ2x9QpLm4TzB").ok();
        let mut encoder = Codec::AiSdk.encoder(request.as_ref());
        let mut out = String::with_capacity(256);
        let mut entry = 0;
        b.iter(|| {
            out.clear();
            entry += 1;
            let delta = ServerFrame::Text { kind: TextKind::Answer, entry, text: TOKEN.into() };
            encoder.encode(black_box(&delta), |text| out.push_str(text));
        });
    });
    group.bench_function("ai sdk encode delta, of which its text", |b| {
        let mut entry = 0;
        b.iter(|| {
            entry += 1;
            black_box(ServerFrame::Text { kind: TextKind::Answer, entry, text: TOKEN.into() });
        });
    });
    let limits = protocol::Limits { message_bytes: 64 * 1024, client_system_prompt: false };
    let transcript = transcript();
    group.bench_function("ai sdk decode 100 KiB of transcript", |b| {
        b.iter(|| Codec::AiSdk.decode(black_box(Incoming::Text(&transcript)), limits));
    });
    group.bench_function("plain decode message", |b| {
        b.iter(|| Codec::Plain.decode(black_box(Incoming::Text("what is the tide?\n")), limits));
    });
    group.finish();
}

fn guard(c: &mut Criterion) {
    let payload = "what is the tide, and 什么是潮汐? ".repeat(40);
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([1, 2, 3, 4]);
    frame.extend(
        payload.bytes().zip([1, 2, 3, 4].into_iter().cycle()).map(|(byte, mask): (u8, u8)| byte ^ mask),
    );
    let mut group = c.benchmark_group("guard");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("text message", |b| {
        let rate = Allowance::new(20, 40, 1024);
        let limits = Limits { frame_bytes: 128 * 1024, fragments: 1024, rate };
        b.iter(|| Guard::default().feed(limits, 0, black_box(&frame)));
    });
    group.finish();
}

criterion_group!(benches, machine, replay, codec, guard);
criterion_main!(benches);
