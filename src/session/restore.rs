//! Conversion of a session to a snapshot and back.
use super::{Lifetime, RunState, Session, Settings, Snapshot, replay::TurnLog, turn::Run};
use crate::{
    chat::{ChatTurn, RunError, RunErrorKind, SessionId, Timing},
    protocol::TurnEnd,
};
use std::{sync::Arc, time::Duration};

impl<S> Session<S> {
    /// The session as data; `None` for a session of a connection, whose messages have no IDs. Like a read, this closes
    /// the open entry of the log.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        let retention = self.retention.as_ref()?;
        let left = retention
            .replay_until
            .map(|until| until.saturating_sub(retention.now))
            .filter(|left| !left.is_zero());
        let is_continued = self.run.as_ref().is_some_and(Run::is_continuation);
        let (history, open) = self.history.snapshot(self.run.is_some() && !is_continued);
        let open = open.or_else(|| self.history.newest_replaced().filter(|_| is_continued));
        let state = match (&self.run, open) {
            (Some(run), Some((question, cut))) => {
                Some(RunState::Unfinished { question, cut, usage: run.usage() })
            }
            _ => left
                .zip(self.logs.back().and_then(TurnLog::ended))
                .map(|(replay_time, end)| RunState::Ended { end: end.clone(), replay_time }),
        };
        let run = state.zip(self.logs.back_mut()).and_then(|(state, log)| log.snapshot(state));
        Some(Snapshot { history, run, last_run: self.last_run })
    }

    /// Restores the session of a chat, without subscribers, at the time `now`. `id` is new; the IDs of existing answers
    /// do not change.
    pub fn restore(settings: Arc<Settings>, id: SessionId, snapshot: Snapshot, now: Duration) -> Self {
        let Snapshot { mut history, run, last_run } = snapshot;
        let mut replay_time = settings.replay_time;
        let log = run.and_then(|run| {
            let end = match &run.state {
                RunState::Ended { end, replay_time: left } => {
                    replay_time = *left;
                    end.clone()
                }
                RunState::Unfinished { question, cut, usage } => {
                    let answer = run.answer()?;
                    history.turns.truncate(*cut);
                    let (question, answer_id) = (question.clone(), answer.id.clone());
                    history.turns.push(ChatTurn { question, answer_id, answer: Some(answer) });
                    let error = RunError::new(RunErrorKind::Interrupted, "the gateway ended before the run");
                    TurnEnd { outcome: Err(error), usage: *usage, timing: Timing::default() }
                }
            };
            Some(TurnLog::restore(run, end))
        });
        let mut session = Session::new(settings, id, Lifetime::OfChat);
        session.history.restore(history);
        session.last_run = last_run;
        if let Some(retention) = &mut session.retention {
            retention.now = now;
            retention.replay_until = log.is_some().then(|| now + replay_time);
        }
        session.logs.extend(log);
        session
    }
}
