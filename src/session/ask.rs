//! Questions: which are accepted, which were asked before, which are queued, and which are withdrawn.
use super::{
    Effect, Outgoing, Session, TurnLog,
    queue::{PendingTurn, QueueTicket},
    subscribers::Scope,
};
use crate::{
    chat::{
        ChatMessage, FinishReason, MessageId, RunError, RunErrorKind, RunId, SubscriberId, Timing, TurnKind,
        TurnRequest,
    },
    protocol::{Rejection, ServerFrame, TurnEnd, TurnStart},
};
use std::sync::Arc;

/// An earlier request for the same message.
enum Earlier {
    /// No earlier request is known.
    Unknown,
    /// It is being answered or was answered: the number of its log.
    Logged(u32),
    Queued(QueueTicket),
}

impl Session {
    pub(super) fn on_message(&mut self, fx: &mut Vec<Effect>, subscriber: SubscriberId, text: String) {
        if let Err(reason) = self.take_message(fx, subscriber, text) {
            self.send_notice(fx, subscriber, Outgoing::Frame(ServerFrame::Rejected { reason }));
        }
    }

    fn take_message(
        &mut self,
        fx: &mut Vec<Effect>,
        subscriber: SubscriberId,
        text: String,
    ) -> Result<(), Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        let turn = PendingTurn::Plain(text);
        if self.run.is_some() {
            return self.queue.push(subscriber, turn, self.settings.queued_messages_max).map(|_| ());
        }
        self.start_turn(fx, turn);
        Ok(())
    }

    pub(super) fn on_ask(&mut self, fx: &mut Vec<Effect>, subscriber: SubscriberId, turn: TurnRequest) {
        if let Err(reason) = self.take_ask(fx, subscriber, turn) {
            self.reject(fx, subscriber, ServerFrame::Rejected { reason });
        }
    }

    fn take_ask(
        &mut self,
        fx: &mut Vec<Effect>,
        subscriber: SubscriberId,
        turn: TurnRequest,
    ) -> Result<(), Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        self.admit()?;
        let TurnRequest { kind, message, model, transcript } = turn;
        if self.last_run == RunId(0) && self.history.is_empty() {
            self.history.rebuild(transcript);
        }
        match self.find_earlier(&kind, &message) {
            Earlier::Logged(log) => self.follow(fx, subscriber, log),
            Earlier::Queued(ticket) => self.await_answer(fx, subscriber, ticket),
            Earlier::Unknown if self.run.is_some() => {
                let turn = PendingTurn::Named { kind, message, model };
                let ticket = self.queue.push(subscriber, turn, self.settings.queued_messages_max)?;
                self.await_answer(fx, subscriber, ticket);
            }
            Earlier::Unknown => {
                self.follow(fx, subscriber, self.newest_log().wrapping_add(1));
                self.start_turn(fx, PendingTurn::Named { kind, message, model });
            }
        }
        Ok(())
    }

    /// Finds an earlier request with the same message ID: a client sends a message again when it or its answer was
    /// lost. An edit with the same text as one that is not yet answered also counts as a repetition.
    fn find_earlier(&mut self, kind: &TurnKind, message: &ChatMessage) -> Earlier {
        let is_edit = match kind {
            TurnKind::Submit => false,
            TurnKind::Edit { .. } => true,
            TurnKind::Regenerate { .. } => return Earlier::Unknown,
        };
        let is_same = |text: &str| !is_edit || text == message.text.as_str();
        let newest = self.history.newest().filter(|newest| newest.question.id == message.id);
        if self.run.is_some() && newest.as_ref().is_some_and(|newest| is_same(&newest.question.text)) {
            return Earlier::Logged(self.newest_log());
        }
        let queued = self.queue.find(|turn| match turn {
            PendingTurn::Named {
                kind: TurnKind::Submit | TurnKind::Edit { .. }, message: queued, ..
            } => queued.id == message.id && is_same(&queued.text),
            PendingTurn::Named { .. } | PendingTurn::Plain(_) => false,
        });
        if let Some(ticket) = queued {
            return Earlier::Queued(ticket);
        }
        let Some(newest) = newest.filter(|_| self.run.is_none()) else { return Earlier::Unknown };
        if is_edit {
            return Earlier::Unknown;
        }
        if self.logs.back().is_some_and(|log| *log.answer() == newest.answer_id) {
            return Earlier::Logged(self.newest_log());
        }
        match newest.answer {
            Some(answer) => Earlier::Logged(self.rebuild_log(message.id.clone(), answer)),
            None => Earlier::Unknown,
        }
    }

    /// Rebuilds the log of an answer in the history whose own log was dropped.
    fn rebuild_log(&mut self, question: MessageId, answer: ChatMessage) -> u32 {
        let ChatMessage { id, text, incomplete, .. } = answer;
        let outcome = match incomplete {
            true => Err(RunError::new(RunErrorKind::Interrupted, "it broke off when it was written")),
            false => Ok(FinishReason::Stop),
        };
        let start = TurnStart { answer: id, model: Arc::clone(&self.settings.model), omitted_turns: 0 };
        let end = TurnEnd { outcome, usage: None, timing: Timing::default() };
        self.logs.push_back(TurnLog::rebuild(question, Arc::new(start), text.as_str().to_owned(), end));
        if let Some(retention) = &mut self.retention {
            retention.retain(&self.settings);
        }
        self.newest_log()
    }

    pub(super) fn on_abort(&mut self, fx: &mut Vec<Effect>, id: SubscriberId) {
        let Some(at) = self.subscribers.iter().position(|subscriber| subscriber.id == id) else { return };
        match self.subscribers[at].scope {
            Scope::Turn(log) if self.run.is_some() && log == self.newest_log() => self.stop_run(fx),
            Scope::Queued { ticket, .. } => {
                self.subscribers.remove(at);
                fx.push(Effect::Release { subscriber: id });
                self.withdraw_message(fx, ticket);
            }
            Scope::Turn(_) | Scope::Session | Scope::Leaving => {}
        }
    }

    /// Removes a question from the queue and notifies other subscribers that wait for it that it was stopped.
    fn withdraw_message(&mut self, fx: &mut Vec<Effect>, ticket: QueueTicket) {
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

    pub(super) fn on_drain(&mut self, fx: &mut Vec<Effect>) {
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
