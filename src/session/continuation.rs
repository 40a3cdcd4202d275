//! An answer that broke off is continued: another run of its turn, whose log begins again with the text that is kept.
use super::{Effect, Session, TurnLog, subscribers::Joining};
use crate::{
    chat::{
        Catalog, ChatTurn, Choice, ChoiceFault, Chosen, Ending, FinishReason, MessageId, ParameterFault,
        RunError, RunId, RunRequest, TextKind,
        seam::{self, Seam},
    },
    protocol::{Rejection, ServerFrame, TurnStart},
};
use std::sync::Arc;

/// What a run knows of the answer that it goes on with.
#[derive(Debug)]
pub(super) struct Continuation {
    /// Bytes of the text before.
    kept: usize,
    seam: Seam,
}

impl Continuation {
    fn of(shown: &str) -> Box<Self> {
        Box::new(Continuation { kept: shown.len(), seam: Seam::new(shown) })
    }

    /// Bytes of the text before.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// What is new in the next piece, as long as nothing was. Reasoning before it is left out: the answer goes on where it
    /// broke off.
    pub(super) fn first_text(&mut self, kind: TextKind, text: String) -> String {
        match kind {
            TextKind::Reasoning => String::new(),
            TextKind::Answer => self.seam.join(&text).to_owned(),
        }
    }
}

/// How a continued answer ended; `None`: as before. What a filter refuses is not kept.
pub(super) fn ending(outcome: &Result<FinishReason, RunError>, has_more: bool) -> Option<Ending> {
    match (outcome, Ending::from(outcome)) {
        (Err(error), _) if error.kind.is_filtered() => None,
        // The model had nothing to add.
        (Ok(_), Ending::Whole) => Some(Ending::Whole),
        (_, ending) => has_more.then_some(ending),
    }
}

/// What starts, or that it is under way.
enum Next {
    Starts { turn: Box<ChatTurn>, chosen: Chosen },
    IsRunning,
}

const REFUSED: Rejection = Rejection::BadParameter { fault: ParameterFault::NotContinued };

impl<S> Session<S> {
    pub(super) fn on_continue(
        &mut self,
        fx: &mut Vec<Effect<S>>,
        joining: Joining<S>,
        answer: &MessageId,
        choice: Choice,
        catalog: &Catalog,
    ) {
        match self.take_continue(answer, choice, catalog) {
            Ok(Next::Starts { turn, chosen }) => {
                self.follow(fx, joining, self.newest_log().wrapping_add(1));
                self.continue_turn(fx, *turn, chosen);
            }
            Ok(Next::IsRunning) => self.follow(fx, joining, self.newest_log()),
            Err(reason) => self.reject(fx, joining, ServerFrame::Rejected { reason }),
        }
    }

    fn take_continue(
        &mut self,
        answer: &MessageId,
        choice: Choice,
        catalog: &Catalog,
    ) -> Result<Next, Rejection> {
        if self.draining {
            return Err(Rejection::Draining);
        }
        self.admit()?;
        if let Some(run) = &self.run {
            let is_same = self.logs.back().is_some_and(|log| log.answer() == answer);
            return if run.is_continuation() && is_same { Ok(Next::IsRunning) } else { Err(REFUSED) };
        }
        let turn = self.history.newest().filter(|newest| newest.answer_id == *answer).ok_or(REFUSED)?;
        let written = turn.answer.as_ref().ok_or(REFUSED)?;
        let is_continuable = written.ending != Ending::Whole
            && !seam::beginning(&written.text).is_empty()
            && written.text.len() <= self.settings.history.bytes_max;
        let model = written.model.as_ref().filter(|_| is_continuable).ok_or(REFUSED)?;
        // The model that wrote it goes on with it.
        if let Some(asked) = &choice.model
            && catalog.find(Some(asked)).is_ok_and(|asked| asked.id != *model)
        {
            return Err(REFUSED);
        }
        let choice = Choice { model: Some(Arc::clone(model)), ..choice };
        let chosen = catalog.choose(&choice).map_err(|fault| match fault {
            ChoiceFault::Parameter(_) => fault.into(),
            ChoiceFault::Unknown { .. } | ChoiceFault::Absent(_) => REFUSED,
        })?;
        if chosen.model.continues { Ok(Next::Starts { turn: Box::new(turn), chosen }) } else { Err(REFUSED) }
    }

    /// Starts a run that goes on with the newest answer.
    fn continue_turn(&mut self, fx: &mut Vec<Effect<S>>, turn: ChatTurn, chosen: Chosen) {
        self.last_run = RunId(self.last_run.0.wrapping_add(1));
        let model = &chosen.model;
        let mut prompt = self.history.prompt(model.system_prompt.as_ref(), chosen.prompt_tokens_max());
        let Some(shown) = prompt.messages.pop().map(|last| last.text) else { return };
        let start = TurnStart {
            answer: turn.answer_id,
            model: Some(Arc::clone(&model.id)),
            omitted_turns: prompt.omitted_turns,
            continued_by: Some(self.last_run),
        };
        let mut log = TurnLog::new(self.last_run, Some(turn.question.id), Arc::new(start));
        log.append(TextKind::Answer, &shown, true);
        let request = RunRequest {
            model: Arc::clone(&model.id),
            parameters: chosen.parameters,
            messages: prompt.messages,
            tokens: prompt.tokens,
            omitted_turns: prompt.omitted_turns,
        };
        let request = request.continued(&shown);
        self.start_run(fx, log, request, prompt.estimated_tokens, Some(Continuation::of(&shown)));
    }
}
