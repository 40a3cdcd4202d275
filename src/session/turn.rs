//! A turn from start to end: the events of its run, and how it is stopped.
use super::{
    Effect, Outgoing, PUSH_BYTES_MAX, Session, TurnLog,
    continuation::{self, Continuation},
    queue::PendingTurn,
    subscribers::{Scope, Subscriber},
};
use crate::{
    chat::{
        ChatMessage, Chosen, Ending, FinishReason, MessageId, RunEnd, RunError, RunErrorKind, RunEvent,
        RunId, RunRequest, TextKind, Timing, TurnKind, Usage,
    },
    protocol::{ServerFrame, TurnEnd, TurnStart},
};
use std::{sync::Arc, time::Duration};

/// The run of the current turn.
#[derive(Debug)]
pub(super) struct Run {
    pub id: RunId,
    pub held: bool,
    /// The size of its prompt as estimated by [`History::prompt`](crate::chat::History::prompt).
    estimated_tokens: u32,
    /// When it was requested, and when its first text arrived; zero and `None` for a session without a clock.
    started: Duration,
    first_text: Option<Duration>,
    /// The usage that the run last reported.
    usage: Option<Usage>,
    /// Set if it goes on with an answer.
    continuation: Option<Box<Continuation>>,
}

impl Run {
    /// Whether it goes on with an answer.
    pub(super) fn is_continuation(&self) -> bool {
        self.continuation.is_some()
    }

    /// The usage that the run last reported.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl<S> Session<S> {
    /// Starts a turn. Subscribers that waited for it already follow it.
    pub(super) fn start_turn(&mut self, fx: &mut Vec<Effect<S>>, turn: PendingTurn, chosen: Chosen) {
        self.last_run = RunId(self.last_run.0.wrapping_add(1));
        let answer = MessageId::of_answer(self.id, self.last_run);
        let model = &chosen.model;
        let question = match turn {
            PendingTurn::Plain(text) => {
                self.history.begin(&text);
                None
            }
            PendingTurn::Named { kind, message } => {
                let ChatMessage { id, text, .. } = self.cut_history(&kind, message);
                self.history.ask(&id, &text, &answer);
                self.history.answered_by(&model.id);
                Some(id)
            }
        };
        let prompt = self.history.prompt(model.system_prompt.as_ref(), chosen.prompt_tokens_max());
        let start = TurnStart {
            answer,
            model: Some(Arc::clone(&model.id)),
            omitted_turns: prompt.omitted_turns,
            continued_by: None,
        };
        let log = TurnLog::new(self.last_run, question, Arc::new(start));
        let request = RunRequest {
            model: Arc::clone(&model.id),
            parameters: chosen.parameters,
            messages: prompt.messages,
            tokens: prompt.tokens,
            omitted_turns: prompt.omitted_turns,
        };
        self.start_run(fx, log, request, prompt.estimated_tokens, None);
    }

    /// Starts the run of a turn with this log.
    pub(super) fn start_run(
        &mut self,
        fx: &mut Vec<Effect<S>>,
        log: TurnLog,
        request: RunRequest,
        estimated_tokens: u32,
        continuation: Option<Box<Continuation>>,
    ) {
        self.run = Some(Run {
            id: self.last_run,
            held: false,
            estimated_tokens,
            started: self.now(),
            first_text: None,
            usage: None,
            continuation,
        });
        self.logs.push_back(log);
        if let Some(retention) = &mut self.retention {
            retention.replay_until = None; // Only the newest turn can be replayed.
        }
        self.pump_all(fx);
        fx.push(Effect::StartRun { run: self.last_run, request });
    }

    /// Truncates the history as the kind of turn requires, and returns the message to answer.
    fn cut_history(&mut self, kind: &TurnKind, message: ChatMessage) -> ChatMessage {
        match kind {
            TurnKind::Submit => {
                let newest = self.history.newest();
                if newest.is_some_and(|newest| newest.question.id == message.id && newest.answer.is_none()) {
                    self.history.withdraw(); // It was stopped before any text, and is asked again.
                }
                message
            }
            TurnKind::Edit { replaces } => {
                self.history.cut_before(replaces);
                message
            }
            TurnKind::Regenerate { answer } => {
                let known = self.history.cut_before(&message.id);
                let known = known.or_else(|| self.history.cut_before_answer(answer.as_ref()?));
                known.unwrap_or(message)
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.retention.as_ref().map_or(Duration::ZERO, |retention| retention.now)
    }

    pub(super) fn on_run(&mut self, fx: &mut Vec<Effect<S>>, run: RunId, event: RunEvent) {
        if self.run.as_ref().is_none_or(|current| current.id != run) {
            return; // A cancelled run may still send a few events.
        }
        match event {
            RunEvent::Queued { position } => self.broadcast(fx, &ServerFrame::Queued { run, position }),
            RunEvent::Retrying { attempt, after } => {
                self.broadcast(fx, &ServerFrame::Retrying { run, attempt, after })
            }
            RunEvent::Moving => self.broadcast(fx, &ServerFrame::Moving { run }),
            RunEvent::Continued => self.broadcast(fx, &ServerFrame::Continued { run }),
            RunEvent::Restarted { model } => self.on_restart(fx, &model),
            RunEvent::Text { kind, text } => self.on_text(fx, kind, text),
            RunEvent::Usage(usage) => {
                if let Some(run) = &mut self.run {
                    run.usage = Some(usage);
                }
            }
            RunEvent::End(end) => self.on_run_end(fx, *end),
        }
    }

    fn on_text(&mut self, fx: &mut Vec<Effect<S>>, kind: TextKind, mut text: String) {
        if let (Some(retention), Some(run)) = (&self.retention, &mut self.run)
            && run.first_text.is_none()
        {
            if let Some(continuation) = &mut run.continuation {
                text = continuation.first_text(kind, text);
            }
            run.first_text = (!text.is_empty()).then_some(retention.now);
        }
        if text.is_empty() {
            return;
        }
        let newest = self.newest_log();
        let Some(log) = self.logs.back_mut() else { return };
        let before = log.end_cursor(newest);
        let cut = self.subscribers.iter().any(|subscriber| subscriber.ready && subscriber.wants(newest));
        let entry = log.append(kind, &text, cut);
        let after = log.end_cursor(newest);
        let fits = text.len() <= PUSH_BYTES_MAX;
        let mut text = Some(text);
        let last = self.subscribers.len();
        for at in 0..last {
            let subscriber = &mut self.subscribers[at];
            if fits && subscriber.ready && subscriber.cursor == before {
                // The common case: this subscriber is up to date, so it gets the delta unchanged.
                let piece = if at + 1 == last { text.take() } else { text.clone() };
                subscriber.cursor = after;
                let outgoing =
                    Outgoing::Frame(ServerFrame::Text { kind, entry, text: piece.unwrap_or_default() });
                fx.push(Effect::Push { subscriber: subscriber.id, outgoing, from: before, ask: false });
            } else {
                Self::pump(fx, subscriber, self.first_log, &mut self.logs, None);
            }
        }
    }

    /// The answer begins anew. What was shown is dropped.
    fn on_restart(&mut self, fx: &mut Vec<Effect<S>>, model: &Arc<str>) {
        debug_assert!(!self.run.as_ref().is_some_and(Run::is_continuation), "kept text is not withdrawn");
        let Some(log) = self.logs.back_mut() else { return };
        log.restart(model);
        self.history.answered_by(model);
        self.pump_all(fx);
    }

    fn on_run_end(&mut self, fx: &mut Vec<Effect<S>>, end: RunEnd) {
        let (Some(run), Some(log)) = (&self.run, self.logs.back()) else { return };
        if let Some(usage) = &end.usage {
            self.history.observe(run.estimated_tokens, usage);
        }
        let outcome = match end.outcome {
            Ok(FinishReason::Stop | FinishReason::Length) if log.text().is_empty() => {
                Err(RunError::new(RunErrorKind::EmptyAnswer, "the model ended without any text"))
            }
            outcome => outcome,
        };
        self.end_turn(fx, TurnEnd { outcome, usage: end.usage, timing: end.timing });
        self.next_turn(fx);
    }

    /// Stops the turn at a subscriber's request: not an error, and the text so far stays in the history.
    pub(super) fn stop_run(&mut self, fx: &mut Vec<Effect<S>>) {
        self.cancel_run(fx, Ok(FinishReason::Stopped));
        self.next_turn(fx);
    }

    /// Cancels the run because there was no subscriber for [`Settings::detached_timeout`](super::Settings::detached_timeout).
    pub(super) fn abandon_run(&mut self, fx: &mut Vec<Effect<S>>) {
        self.queue.clear();
        self.cancel_run(fx, Err(RunError::new(RunErrorKind::Interrupted, "no subscriber was left")));
    }

    fn cancel_run(&mut self, fx: &mut Vec<Effect<S>>, outcome: Result<FinishReason, RunError>) {
        let Some(run) = &self.run else { return };
        fx.push(Effect::CancelRun { run: run.id });
        let timing = Timing {
            first_delta: run.first_text.map(|first| first.saturating_sub(run.started)),
            duration: self.now().saturating_sub(run.started),
        };
        let usage = run.usage;
        self.end_turn(fx, TurnEnd { outcome, usage, timing });
    }

    fn end_turn(&mut self, fx: &mut Vec<Effect<S>>, end: TurnEnd) {
        let Some(run) = self.run.take() else { return };
        let Some(log) = self.logs.back_mut() else { return };
        let is_silent = log.text().is_empty();
        match &end.outcome {
            outcome if run.is_continuation() => {
                let kept = run.continuation.map_or(0, |continuation| continuation.kept());
                if let Some(ending) = continuation::ending(outcome, log.text().len() > kept) {
                    self.history.complete(log.text(), ending);
                }
            }
            // The message stays in the history but is not sent to the model.
            Ok(FinishReason::Stopped) if is_silent => self.history.leave_unanswered(),
            Err(error) if error.kind.is_filtered() || is_silent => self.history.withdraw(),
            outcome => {
                self.history.complete(log.text(), Ending::from(outcome));
            }
        }
        debug_assert_eq!(log.run(), run.id);
        log.end(end);
        if let Some(retention) = &mut self.retention {
            retention.retain(&self.settings);
        }
        self.pump_all(fx);
    }

    fn next_turn(&mut self, fx: &mut Vec<Effect<S>>) {
        let Some(next) = self.queue.pop() else { return };
        let number = self.newest_log().wrapping_add(1);
        let is_waiting = |subscriber: &&mut Subscriber<S>| matches!(subscriber.scope, Scope::Queued { ticket, .. } if ticket == next.ticket);
        for subscriber in self.subscribers.iter_mut().filter(is_waiting) {
            subscriber.begin_turn(number);
        }
        self.start_turn(fx, next.turn, next.chosen);
        self.send_positions(fx);
    }
}
