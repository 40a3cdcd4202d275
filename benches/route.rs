//! The cost of a decision of the route: the first attempt of a run, its answer and its end, in the largest plan that the
//! configuration allows.
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, sync::Arc, time::Duration};
use tidegate::{
    chat::{FairShareKey, SessionId},
    upstream::{
        breaker::{self, Asker},
        route::{
            self, Pick, Plan, Route, RouteRequest,
            plan::{KeysLimited, ModelPlan, ModelTimes, Probed, TargetPlan, Times, UpstreamPlan},
            retry,
        },
    },
};

const TARGETS: usize = 16;
const KEYS: usize = 32;

fn plan() -> Plan {
    let upstream = |number: usize| UpstreamPlan {
        name: format!("u{number}").into(),
        keys: KEYS,
        keys_limited: KeysLimited::Apart,
        runs_max: 100,
        continues: false,
        times: Times::UNLIMITED,
        probed: Probed::default(),
    };
    let target = |upstream| TargetPlan { upstream, model: "m".into(), weight: 1 };
    Plan {
        upstreams: (0..TARGETS).map(upstream).collect(),
        models: vec![ModelPlan {
            table: "m".into(),
            name: "m".into(),
            levels: vec![(0..TARGETS).map(target).collect()],
            fallback: Vec::new(),
            context: 0,
            times: ModelTimes::default(),
        }],
    }
}

fn settings(plan: Plan) -> route::Settings {
    route::Settings {
        plan,
        limits: route::Limits::default(),
        retry: retry::Settings { attempts: 3, budget_percent: 10, ..retry::Settings::default() },
        breaker: breaker::Settings {
            failures: 5,
            failure_percent: 50,
            window: Duration::from_secs(10),
            open_time: Duration::from_secs(5),
        },
    }
}

fn decision(c: &mut Criterion) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a starting point; nothing depends on where the clock stands"
    )]
    let now = std::time::Instant::now();
    let model: Arc<str> = "m".into();
    let asker = Asker { client: FairShareKey::default(), session: SessionId(1) };
    let plans = [("16 targets of 32 keys", plan()), ("one target", Plan::alone("m", 1, Times::UNLIMITED))];
    for (name, plan) in plans {
        let mut route = Route::new(settings(plan));
        let mut random = 0.0_f64;
        c.bench_function(&format!("pick and record, {name}"), |b| {
            b.iter(|| {
                random = (random + 0.618_033_988_749).fract();
                let mut request =
                    RouteRequest::new(Arc::clone(&model), asker, now + Duration::from_secs(300));
                if let Pick::Go(go) = black_box(route.pick(now, random, &mut request)) {
                    route.record(now, random, go.permit, Ok(()));
                    route.release(go.permit);
                }
            });
        });
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
