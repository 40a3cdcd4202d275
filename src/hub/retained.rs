//! Tracks which sessions of a worker retain finished answers that could be released.
use crate::{
    chat::{SessionId, Source},
    memory,
};
use std::{cell::RefCell, collections::HashMap};

/// Sessions of one worker that retain finished answers.
#[derive(Default)]
pub struct RetainedAnswers(RefCell<HashMap<SessionId, Retained>>);

struct Retained {
    source: Source,
    bytes: usize,
}

impl RetainedAnswers {
    /// Sets the bytes that a session retains.
    pub fn set(&self, id: SessionId, source: Source, bytes: usize) {
        let mut table = self.0.borrow_mut();
        if bytes == 0 {
            drop(table);
            return self.remove(id);
        }
        let keeper = table.entry(id).or_insert_with(|| Retained { source, bytes });
        (keeper.source, keeper.bytes) = (source, bytes);
    }

    pub fn remove(&self, id: SessionId) {
        let mut table = self.0.borrow_mut();
        table.remove(&id);
        if table.is_empty() {
            *table = HashMap::new();
        }
    }

    /// Removes and returns the sessions that must release their answers, the largest first.
    pub fn take(
        &self,
        demands: &HashMap<Source, usize>,
        paid: &mut HashMap<Source, usize>,
    ) -> Vec<SessionId> {
        let mut table = self.0.borrow_mut();
        let candidates = table.iter().map(|(id, keeper)| (keeper.bytes, keeper.source, *id));
        let chosen = memory::select_largest(candidates, demands, paid);
        for id in &chosen {
            table.remove(id);
        }
        chosen
    }
}
