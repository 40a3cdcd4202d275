//! Questions: which are taken, which were asked before, which wait, and which are taken back.
use super::{
    Effect, Outgoing, Session, TurnLog,
    queue::{Question, Ticket},
    readers::Follows,
};
use crate::{
    chat::{
        ChatMessage, FinishReason, MessageId, ReaderId, RunError, RunErrorKind, RunId, Timing, TurnKind,
        TurnRequest,
    },
    protocol::{Rejection, ServerFrame, TurnEnd, TurnStart},
};
use std::sync::Arc;

/// What is known of a question that is asked.
enum Before {
    Never,
    /// It is being answered, or was: number of the log.
    Told(u32),
    Waits(Ticket),
}

impl Session {
    pub(super) fn on_message(&mut self, fx: &mut Vec<Effect>, reader: ReaderId, text: String) {
        if let Err(reason) = self.take_message(fx, reader, text) {
            self.tell(fx, reader, Outgoing::Frame(ServerFrame::Rejected { reason }));
        }
    }

    fn take_message(
        &mut self,
        fx: &mut Vec<Effect>,
        reader: ReaderId,
        text: String,
    ) -> Result<(), Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        let question = Question::Plain(text);
        if self.run.is_some() {
            return self.queue.push(reader, question, self.settings.queued_messages).map(|_| ());
        }
        self.start_turn(fx, question);
        Ok(())
    }

    pub(super) fn on_ask(&mut self, fx: &mut Vec<Effect>, reader: ReaderId, turn: TurnRequest) {
        if let Err(reason) = self.take_ask(fx, reader, turn) {
            self.send_away(fx, reader, ServerFrame::Rejected { reason });
        }
    }

    fn take_ask(
        &mut self,
        fx: &mut Vec<Effect>,
        reader: ReaderId,
        turn: TurnRequest,
    ) -> Result<(), Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        self.admit()?;
        let TurnRequest { kind, message, model: _, transcript } = turn;
        if self.last_run == RunId(0) && self.history.is_empty() {
            self.history.rebuild(transcript);
        }
        match self.asked_before(&kind, &message) {
            Before::Told(log) => self.follow(fx, reader, log),
            Before::Waits(ticket) => self.await_answer(fx, reader, ticket),
            Before::Never if self.run.is_some() => {
                let question = Question::Named { kind, message };
                let ticket = self.queue.push(reader, question, self.settings.queued_messages)?;
                self.await_answer(fx, reader, ticket);
            }
            Before::Never => {
                self.follow(fx, reader, self.newest_log().wrapping_add(1));
                self.start_turn(fx, Question::Named { kind, message });
            }
        }
        Ok(())
    }

    /// A message that was lost on its way, or whose answer was, is sent again under its name. An edit that
    /// says the same while its first one is not yet answered is taken for such a one too.
    fn asked_before(&mut self, kind: &TurnKind, message: &ChatMessage) -> Before {
        let is_edit = match kind {
            TurnKind::Submit => false,
            TurnKind::Edit { .. } => true,
            TurnKind::Regenerate { .. } => return Before::Never,
        };
        let is_same = |text: &str| !is_edit || text == message.text.as_str();
        let newest = self.history.newest().filter(|newest| newest.question.id == message.id);
        if self.run.is_some() && newest.as_ref().is_some_and(|newest| is_same(&newest.question.text)) {
            return Before::Told(self.newest_log());
        }
        let waits = self.queue.find(|question| match question {
            Question::Named { kind: TurnKind::Submit | TurnKind::Edit { .. }, message: waiting } => {
                waiting.id == message.id && is_same(&waiting.text)
            }
            Question::Named { .. } | Question::Plain(_) => false,
        });
        if let Some(ticket) = waits {
            return Before::Waits(ticket);
        }
        let Some(newest) = newest.filter(|_| self.run.is_none()) else { return Before::Never };
        if is_edit {
            return Before::Never;
        }
        if self.logs.back().is_some_and(|log| *log.answer() == newest.answer_id) {
            return Before::Told(self.newest_log());
        }
        match newest.answer {
            Some(answer) => Before::Told(self.tell_again(message.id.clone(), answer)),
            None => Before::Never,
        }
    }

    /// Makes a log of an answer in the history, whose own log is gone.
    fn tell_again(&mut self, question: MessageId, answer: ChatMessage) -> u32 {
        let ChatMessage { id, text, incomplete, .. } = answer;
        let outcome = match incomplete {
            true => Err(RunError::new(RunErrorKind::Interrupted, "it broke off when it was written")),
            false => Ok(FinishReason::Stop),
        };
        let start = TurnStart { answer: id, model: Arc::clone(&self.settings.model), omitted_turns: 0 };
        let end = TurnEnd { outcome, usage: None, timing: Timing::default() };
        self.logs.push_back(TurnLog::remake(question, Arc::new(start), text.as_str().to_owned(), end));
        if let Some(life) = &mut self.life {
            life.retain(&self.settings);
        }
        self.newest_log()
    }

    pub(super) fn on_abort(&mut self, fx: &mut Vec<Effect>, id: ReaderId) {
        let Some(at) = self.readers.iter().position(|reader| reader.id == id) else { return };
        match self.readers[at].follows {
            Follows::Turn(log) if self.run.is_some() && log == self.newest_log() => self.stop_run(fx),
            Follows::Question { ticket, .. } => {
                self.readers.remove(at);
                fx.push(Effect::Release { reader: id });
                self.take_back(fx, ticket);
            }
            Follows::Turn(_) | Follows::Everything | Follows::Nothing => {}
        }
    }

    /// Takes a question out of the queue; others who wait for it learn that it was stopped.
    fn take_back(&mut self, fx: &mut Vec<Effect>, ticket: Ticket) {
        self.queue.remove(ticket);
        for at in 0..self.readers.len() {
            if matches!(self.readers[at].follows, Follows::Question { ticket: waits, .. } if waits == ticket)
            {
                let end =
                    TurnEnd { outcome: Ok(FinishReason::Stopped), usage: None, timing: Timing::default() };
                self.dismiss(fx, at, ServerFrame::TurnEnd { run: RunId(0), end: Box::new(end) });
            }
        }
        self.tell_places(fx);
    }

    pub(super) fn on_drain(&mut self, fx: &mut Vec<Effect>) {
        self.draining = true;
        let word = || ServerFrame::Rejected { reason: Rejection::Draining };
        while let Some(waiting) = self.queue.pop() {
            match waiting.question {
                Question::Plain(_) => self.tell(fx, waiting.from, Outgoing::Frame(word())),
                Question::Named { .. } => {}
            }
        }
        for at in 0..self.readers.len() {
            if matches!(self.readers[at].follows, Follows::Question { .. }) {
                self.dismiss(fx, at, word());
            }
        }
        self.pump_all(fx);
    }
}
