//! Questions: which are accepted, which were asked before, which are queued, and which are withdrawn.
use super::{
    Effect, Outgoing, Session, TurnLog,
    queue::{PendingTurn, QueueTicket},
    subscribers::{Joining, Scope},
};
use crate::{
    chat::{
        ChatMessage, Chosen, Ending, FinishReason, MessageId, RunError, RunErrorKind, RunId, SubscriberId,
        Timing, TurnKind, TurnRequest,
    },
    protocol::{Rejection, ServerFrame, TurnEnd, TurnStart},
};
use std::sync::Arc;

/// Where the answer to a question will be.
enum Answer {
    /// It is being written or was written: the number of its log.
    Logged(u32),
    Queued(QueueTicket),
    /// Its turn starts now.
    Starts(PendingTurn, Chosen),
}

impl<S> Session<S> {
    pub(super) fn on_message(
        &mut self,
        fx: &mut Vec<Effect<S>>,
        subscriber: SubscriberId,
        text: String,
        chosen: Chosen,
    ) {
        if let Err(reason) = self.take_message(fx, subscriber, text, chosen) {
            self.send_notice(fx, subscriber, Outgoing::Frame(ServerFrame::Rejected { reason }));
        }
    }

    fn take_message(
        &mut self,
        fx: &mut Vec<Effect<S>>,
        subscriber: SubscriberId,
        text: String,
        chosen: Chosen,
    ) -> Result<(), Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        let turn = PendingTurn::Plain(text);
        if self.run.is_some() {
            return self.queue.push(subscriber, turn, chosen, self.settings.queued_messages_max).map(|_| ());
        }
        self.start_turn(fx, turn, chosen);
        Ok(())
    }

    pub(super) fn on_ask(
        &mut self,
        fx: &mut Vec<Effect<S>>,
        joining: Joining<S>,
        turn: TurnRequest,
        chosen: Result<Chosen, Rejection>,
    ) {
        match self.take_ask(joining.id, turn, chosen) {
            Ok(Answer::Logged(log)) => self.follow(fx, joining, log),
            Ok(Answer::Queued(ticket)) => self.await_answer(fx, joining, ticket),
            Ok(Answer::Starts(turn, chosen)) => {
                self.follow(fx, joining, self.newest_log().wrapping_add(1));
                self.start_turn(fx, turn, chosen);
            }
            Err(reason) => self.reject(fx, joining, ServerFrame::Rejected { reason }),
        }
    }

    fn take_ask(
        &mut self,
        subscriber: SubscriberId,
        turn: TurnRequest,
        chosen: Result<Chosen, Rejection>,
    ) -> Result<Answer, Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        self.admit()?;
        let TurnRequest { kind, message, transcript } = turn;
        if self.last_run == RunId(0) && self.history.is_empty() {
            let system = chosen.as_ref().ok().and_then(|chosen| chosen.model.system_prompt.as_ref());
            self.history.rebuild(transcript, system.map_or(0, |system| system.len()));
        }
        if let Some(earlier) = self.find_earlier(&kind, &message) {
            return Ok(earlier);
        }
        let chosen = chosen?;
        let turn = PendingTurn::Named { kind, message };
        if self.run.is_none() {
            return Ok(Answer::Starts(turn, chosen));
        }
        self.queue.push(subscriber, turn, chosen, self.settings.queued_messages_max).map(Answer::Queued)
    }

    /// Finds an earlier request with the same message ID: a client sends a message again when it or its answer was
    /// lost. An edit with the same text as one that is not yet answered also counts as a repetition.
    fn find_earlier(&mut self, kind: &TurnKind, message: &ChatMessage) -> Option<Answer> {
        let is_edit = match kind {
            TurnKind::Submit => false,
            TurnKind::Edit { .. } => true,
            TurnKind::Regenerate { .. } => return None,
        };
        let is_same = |text: &str| !is_edit || text == message.text.as_str();
        let newest = self.history.newest().filter(|newest| newest.question.id == message.id);
        if self.run.is_some() && newest.as_ref().is_some_and(|newest| is_same(&newest.question.text)) {
            return Some(Answer::Logged(self.newest_log()));
        }
        let queued = self.queue.find(|turn| match turn {
            PendingTurn::Named { kind: TurnKind::Submit | TurnKind::Edit { .. }, message: queued } => {
                queued.id == message.id && is_same(&queued.text)
            }
            PendingTurn::Named { .. } | PendingTurn::Plain(_) => false,
        });
        if let Some(ticket) = queued {
            return Some(Answer::Queued(ticket));
        }
        let newest = newest.filter(|_| self.run.is_none() && !is_edit)?;
        if self.logs.back().is_some_and(|log| *log.answer() == newest.answer_id) {
            return Some(Answer::Logged(self.newest_log()));
        }
        let answer = newest.answer?;
        Some(Answer::Logged(self.rebuild_log(message.id.clone(), answer)))
    }

    /// Rebuilds the log of an answer in the history whose own log was dropped.
    fn rebuild_log(&mut self, question: MessageId, answer: ChatMessage) -> u32 {
        let ChatMessage { id, text, ending, model, .. } = answer;
        let outcome = match ending {
            Ending::Incomplete => {
                Err(RunError::new(RunErrorKind::Interrupted, "it broke off when it was written"))
            }
            Ending::Cut => Ok(FinishReason::Length),
            Ending::Whole => Ok(FinishReason::Stop),
        };
        let start = TurnStart { answer: id, model, omitted_turns: 0, continued_by: None };
        let end = TurnEnd { outcome, usage: None, timing: Timing::default() };
        self.logs.push_back(TurnLog::rebuild(question, Arc::new(start), text.as_str().to_owned(), end));
        if let Some(retention) = &mut self.retention {
            retention.retain(&self.settings);
        }
        self.newest_log()
    }

    pub(super) fn on_abort(&mut self, fx: &mut Vec<Effect<S>>, id: SubscriberId) {
        let Some(at) = self.subscribers.iter().position(|subscriber| subscriber.id == id) else { return };
        match self.subscribers[at].scope {
            Scope::Turn(log) if self.run.is_some() && log == self.newest_log() => self.stop_run(fx),
            Scope::Queued { ticket, .. } => {
                self.release(fx, at);
                self.withdraw_message(fx, ticket);
            }
            Scope::Turn(_) | Scope::Session | Scope::Leaving => {}
        }
    }

    /// Removes a question from the queue and notifies other subscribers that wait for it that it was stopped.
    fn withdraw_message(&mut self, fx: &mut Vec<Effect<S>>, ticket: QueueTicket) {
        self.queue.remove(ticket);
        for at in 0..self.subscribers.len() {
            if matches!(self.subscribers[at].scope, Scope::Queued { ticket: queued, .. } if queued == ticket)
            {
                let end =
                    TurnEnd { outcome: Ok(FinishReason::Stopped), usage: None, timing: Timing::default() };
                self.dismiss(fx, at, ServerFrame::TurnEnd { run: RunId(0), end: Box::new(end) });
            }
        }
        self.send_positions(fx);
    }

    pub(super) fn on_drain(&mut self, fx: &mut Vec<Effect<S>>) {
        self.draining = true;
        let rejection = || ServerFrame::Rejected { reason: Rejection::Draining };
        while let Some(entry) = self.queue.pop() {
            match entry.turn {
                PendingTurn::Plain(_) => self.send_notice(fx, entry.from, Outgoing::Frame(rejection())),
                PendingTurn::Named { .. } => {}
            }
        }
        for at in 0..self.subscribers.len() {
            if matches!(self.subscribers[at].scope, Scope::Queued { .. }) {
                self.dismiss(fx, at, rejection());
            }
        }
        self.pump_all(fx);
    }
}
