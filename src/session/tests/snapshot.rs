//! A session and one restored from its snapshot behave alike from then on.
use super::*;
use proptest::prelude::*;

const QUEUED: usize = 2;
const DETACHED: Duration = Duration::from_secs(5);

fn chat_settings() -> Settings {
    Settings {
        queued_messages_max: QUEUED,
        subscribers_max: 3,
        detached_timeout: DETACHED,
        replay_time: Duration::from_secs(3),
        history: Budget { tokens_max: 150, bytes_max: 200, messages_max: 10 },
        ..settings()
    }
}

/// The state on which a script's next input depends. Both sessions get the same inputs.
#[derive(Clone, Default)]
struct Stage {
    clients: Vec<u64>,
    next: u64,
    questions: u32,
    open: Option<u32>,
}

type Op = (u8, u8, u8);

impl Stage {
    /// The script line for three random numbers; `None` if none is possible.
    fn line(&mut self, (what, a, b): Op) -> Option<String> {
        let client = |stage: &Stage| stage.clients.get(a as usize % stage.clients.len().max(1)).copied();
        let known = |stage: &Stage| format!("q{}", u32::from(b) % stage.questions.max(1) + 1);
        Some(match what % 32 {
            0..=4 => {
                self.questions += 1;
                let name = format!("q{}", self.questions);
                format!("ask {} {name} '{name}'", self.join())
            }
            5 => format!("ask {} q{} 'q{}'", self.join(), self.questions.max(1), self.questions.max(1)),
            6 => {
                let replaces = known(self);
                self.questions += 1;
                format!("edit {} q{} {replaces} 'new'", self.join(), self.questions)
            }
            7 => format!("regenerate {} {} 'x'", self.join(), known(self)),
            8..=9 => match b % 4 {
                0 => format!("resume {}", self.join()),
                1 => format!("resume {} {}", self.join(), a % 12),
                2 => format!("resume {} {}", self.join(), known(self)),
                _ => format!("resume {} q{} {}", self.join(), self.questions, a % 12),
            },
            10..=16 => {
                let kind = if b.is_multiple_of(4) { "reasoning" } else { "delta" };
                let text = ["a", "bc ", "水", "é", "😀"][a as usize % 5].repeat(1 + b as usize % 7);
                format!("run {} {kind} '{text}'", self.open?)
            }
            17..=19 => {
                let run = self.open.take()?;
                match ["stop", "stop", "length", "upstream_error", "output_refused", "count"][a as usize % 6]
                {
                    "count" => format!("count {run} {b}"),
                    end => format!("run {run} {end}"),
                }
            }
            20 => format!("run {} used {b}", self.open?),
            21 => format!("abort {}", client(self)?),
            22..=23 => {
                let client = client(self)?;
                self.clients.retain(|other| *other != client);
                format!("detach {client}")
            }
            24..=25 => format!("stick {}", client(self)?),
            26..=27 => format!("ready {}", client(self)?),
            28 => "release_retained".to_owned(),
            _ => "pass".to_owned(),
        })
    }

    fn join(&mut self) -> u64 {
        self.next += 1;
        self.clients.push(self.next);
        self.next
    }

    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::StartRun { run, .. } => self.open = Some(run.0),
                Effect::CancelRun { .. } => self.open = None,
                Effect::Release { subscriber, .. } => self.clients.retain(|client| *client != subscriber.0),
                _ => {}
            }
        }
    }
}

/// Performs a line of a script; some commands exist only in this file.
fn perform(shell: &mut Shell, line: &str, time: Duration) -> Vec<Effect> {
    shell.now = time;
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["pass"] => shell.feed(Input::Wake),
        ["count", run, tokens] => {
            let usage = Usage { input_tokens: tokens.parse().expect("a number"), ..Usage::default() };
            let run = RunId(run.parse().expect("a number"));
            shell.feed(Input::Run { run, event: end(Ok(FinishReason::Stop), Some(usage)) });
        }
        _ => shell.step(line),
    }
    std::mem::take(&mut shell.out)
}

/// The effects as text, with the IDs of answers.
fn shown(effects: &[Effect], id: SessionId) -> Vec<String> {
    let lines = effects.iter().map(|effect| {
        let name = match effect {
            Effect::Push { outgoing: Outgoing::Frame(ServerFrame::Accepted { start, .. }), .. } => {
                Some(&start.answer)
            }
            Effect::Push {
                outgoing: Outgoing::Frame(ServerFrame::Resumed { position: Some(position) }),
                ..
            } => Some(&position.answer),
            _ => None,
        };
        format!("{} {name:?}", show(effect))
    });
    lines.map(|line| without_session(&line, id)).collect()
}

/// The answer IDs of the two sessions are derived from different session IDs.
fn without_session(text: &str, id: SessionId) -> String {
    text.replace(&id.to_string(), "S").replace(&SessionId(1).to_string(), "S")
}

fn transcript(shell: &Shell, id: SessionId) -> String {
    without_session(&format!("{:?}", shell.session.transcript()), id)
}

/// Plays a script, takes a snapshot, and removes all clients. Some conversations start with a client's transcript.
fn first_half(script: &[Op]) -> (Shell, Stage, Snapshot) {
    let mut shell = Shell::of(chat_settings(), Lifetime::OfChat);
    let mut stage = Stage::default();
    if script.first().is_some_and(|op| op.1.is_multiple_of(2)) {
        let transcript = vec![ChatMessage::new(id("s"), Role::System, "be brief")];
        let (kind, message) = (TurnKind::Submit, ChatMessage::user(id("q0"), "q0"));
        let turn = Box::new(TurnRequest { kind, message, transcript });
        let subscriber = SubscriberId(stage.join());
        shell.feed(Input::Ask { subscriber, sink: (), turn, chosen: Ok(Chosen::for_test()) });
        stage.note(&std::mem::take(&mut shell.out));
    }
    for op in script {
        let Some(line) = stage.line(*op) else { continue };
        let passed = if line == "pass" { 10 * u64::from(op.2) } else { 0 };
        let time = shell.now + Duration::from_millis(passed);
        let effects = perform(&mut shell, &line, time);
        stage.note(&effects);
    }
    let snapshot = shell.session.snapshot().expect("the session of a chat");
    for client in std::mem::take(&mut stage.clients) {
        let now = shell.now;
        perform(&mut shell, &format!("detach {client}"), now);
    }
    (shell, stage, snapshot)
}

/// Whether a session restored after `script` behaves like the one that continued, over the rest.
fn check_twins(script: &[Op], rest: &[Op], spoil: impl Fn(&mut Snapshot)) -> Result<(), String> {
    let (mut one, mut stage, mut snapshot) = first_half(script);
    spoil(&mut snapshot);
    let id = SessionId(2);
    let mut restored_at = one.now;
    if stage.open.take().is_some() {
        // A restored session has no run; the other one's run ends because no subscriber returned.
        restored_at += DETACHED;
        let effects = perform(&mut one, "pass", restored_at);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::CancelRun { .. })));
        if one.session.logs.back().is_none_or(|log| log.text().is_empty()) {
            perform(&mut one, "release_retained", restored_at); // A restored session discards a run without text.
        }
    }
    one.stuck.clear();
    let mut two = Shell::of(chat_settings(), Lifetime::OfChat);
    two.session = Session::restore(Arc::new(chat_settings()), id, snapshot, restored_at);
    // Later than the window of the attach rate limit.
    let mut now = restored_at + Duration::from_secs(1);
    for shell in [&mut one, &mut two] {
        perform(shell, "pass", now);
    }
    let same = |what: &str, one: String, two: String| match one == two {
        true => Ok(()),
        false => Err(format!("{what}\n{one}\n{two}")),
    };
    same("the transcript", transcript(&one, id), transcript(&two, id))?;
    for op in rest {
        let Some(line) = stage.line(*op) else { continue };
        if line == "pass" {
            now += Duration::from_millis(10 * u64::from(op.2));
        }
        let effects = perform(&mut one, &line, now);
        stage.note(&effects);
        let others = perform(&mut two, &line, now);
        same(&line, shown(&effects, id).join("\n"), shown(&others, id).join("\n"))?;
    }
    same("the transcript at the end", transcript(&one, id), transcript(&two, id))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), ..ProptestConfig::default() })]

    /// Whatever happened before a snapshot, a session restored from it answers, replays, numbers and expires like the
    /// one that continued.
    #[test]
    fn a_restored_session_behaves_like_the_one_before(
        script in prop::collection::vec(any::<Op>(), 1..60),
        rest in prop::collection::vec(any::<Op>(), 1..60),
    ) {
        check_twins(&script, &rest, |_| ()).map_err(TestCaseError::fail)?;
    }

    /// A snapshot of a restored session equals the one it was restored from, unless a run was unfinished.
    #[test]
    fn a_snapshot_of_a_restored_session_is_the_same(script in prop::collection::vec(any::<Op>(), 1..60)) {
        let (shell, _, snapshot) = first_half(&script);
        let is_finished = snapshot.run.as_ref().is_none_or(|run| matches!(run.state, RunState::Ended { .. }));
        if is_finished {
            let settings = Arc::new(chat_settings());
            let mut restored: Session = Session::restore(settings, SessionId(2), snapshot.clone(), shell.now);
            prop_assert_eq!(restored.snapshot(), Some(snapshot));
        }
    }
}

/// The comparison above detects an error in any part of a snapshot.
#[test]
fn a_restored_session_that_lost_something_does_not_behave_alike() {
    fn run(snapshot: &mut Snapshot, spoil: impl Fn(&mut RunSnapshot)) {
        snapshot.run.iter_mut().for_each(spoil);
    }
    type Spoil = fn(&mut Snapshot);
    let spoils: [(&str, Spoil); 14] = [
        ("last run", |all| all.last_run = RunId(0)),
        ("system prompt", |all| all.history.system = None),
        ("newest turn", |all| drop(all.history.turns.pop())),
        ("omitted turns", |all| all.history.omitted_turns = 0),
        ("token factor", |all| all.history.token_factor = 1.0),
        ("ending", |all| {
            let answers = all.history.turns.iter_mut().flat_map(|turn| &mut turn.answer);
            answers.for_each(|answer| {
                answer.ending = if answer.ending == Ending::Whole { Ending::Cut } else { Ending::Whole }
            });
        }),
        ("answer's ID", |all| all.history.turns.iter_mut().for_each(|turn| turn.answer_id = id("x"))),
        ("run", |all| all.run = None),
        ("question's ID", |all| run(all, |run| run.question = id("x"))),
        ("entries' ends", |all| {
            run(all, |run| {
                let entries = std::mem::take(&mut run.entries);
                for (kind, text) in entries {
                    match run.entries.last_mut() {
                        Some((last, all)) if *last == kind => all.push_str(&text),
                        _ => run.entries.push((kind, text)),
                    }
                }
            });
        }),
        ("rebuilt", |all| run(all, |run| run.is_rebuilt ^= true)),
        ("cut", |all| {
            run(all, |run| {
                if let RunState::Unfinished { cut, .. } = &mut run.state {
                    *cut = usize::MAX;
                }
            });
        }),
        ("replay time", |all| {
            run(all, |run| {
                if let RunState::Ended { replay_time, .. } = &mut run.state {
                    *replay_time *= 2;
                }
            });
        }),
        ("outcome", |all| {
            run(all, |run| {
                if let RunState::Ended { end, .. } = &mut run.state {
                    end.outcome = Ok(FinishReason::Length);
                }
            });
        }),
    ];
    for (what, spoil) in spoils {
        let mut random = fastrand::Rng::with_seed(16);
        let mut script =
            || -> Vec<Op> { (0..60).map(|_| (random.u8(..), random.u8(..), random.u8(..))).collect() };
        let is_noticed = (0..3_000).any(|_| check_twins(&script(), &script(), spoil).is_err());
        assert!(is_noticed, "{what}");
    }
}

/// Stored entries keep their numbers while the session continues.
#[test]
fn no_entry_of_a_snapshot_grows() {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    for line in ["ask 1 a 'a'", "detach 1", "run 1 delta 'He'"] {
        shell.step(line);
    }
    let entries = |shell: &mut Shell| shell.session.snapshot().and_then(|all| all.run).map(|run| run.entries);
    let before = entries(&mut shell).expect("a run");
    shell.step("run 1 delta 'llo'");
    let after = entries(&mut shell).expect("a run");
    assert!(after.starts_with(&before) && after.len() == 2, "{after:?}");
}

/// A session restored from the snapshot that one had after these steps.
fn restored_after(steps: &[&str]) -> Shell {
    let mut shell = Shell::of(settings(), Lifetime::OfChat);
    steps.iter().for_each(|step| shell.step(step));
    let snapshot = shell.session.snapshot().expect("a snapshot");
    let mut restored = Shell::of(settings(), Lifetime::OfChat);
    restored.session = Session::restore(Arc::new(settings()), SessionId(2), snapshot, Duration::ZERO);
    restored
}

#[test]
fn an_unfinished_answer_is_restored_as_interrupted_under_its_numbers() {
    let mut restored = restored_after(&[
        "answered 1 a 'a' 'A'",
        "regenerate 2 a 'a'",
        "run 2 delta 'He'",
        "run 2 delta 'llo'",
    ]);
    play(
        &mut restored,
        expect![[r#"
            resume 3 a 3
                3 <- resumed run=2 after=Some(3) entries=1 parts=1 open=Some(Answer)
                3 <- delta #2 'llo'
                3 <- turn_end run=2 interrupted
                release 3
            resume 4 msg-00000000000000000000000000000001-1
                4 <- no_active
                release 4
            ask 5 b 'b'
                5 <- accepted run=3
                start run=3 [user 'a', assistant 'Hello', user 'b']
        "#]],
    );
    let ids: Vec<_> = restored.session.transcript().messages.into_iter().map(|m| m.id.to_string()).collect();
    let [first, second] = [SessionId(1), SessionId(2)];
    assert_eq!(ids, ["a".to_owned(), format!("msg-{first}-2"), "b".to_owned(), format!("msg-{second}-3")]);
}

#[test]
fn an_unfinished_run_without_text_is_as_if_not_asked() {
    let mut restored = restored_after(&["answered 1 a 'a' 'A'", "edit 2 b a 'b'", "run 2 reasoning 'hm'"]);
    play(
        &mut restored,
        expect![[r#"
            resume 3
                3 <- no_active
                release 3
            ask 4 c 'c'
                4 <- accepted run=3
                start run=3 [user 'a', assistant 'A', user 'c']
        "#]],
    );
}

#[test]
fn a_session_of_a_connection_has_no_snapshot() {
    assert_eq!(Shell::new(settings()).session.snapshot(), None);
}
