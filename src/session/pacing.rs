//! Which logs are kept for subscribers, and how far a run may be ahead of them.
use super::{Cursor, Effect, LOGS_MAX, Session};
use crate::protocol::Close;
use std::collections::VecDeque;

impl<S> Session<S> {
    /// Number of the newest log, if there is one.
    pub(super) fn newest_log(&self) -> u32 {
        (self.first_log + self.logs.len() as u32).wrapping_sub(1)
    }

    /// Drops finished logs that every subscriber has read, except the newest while it is kept for replay. Closes a
    /// subscriber that is more than [`LOGS_MAX`] turns behind.
    pub(super) fn drop_read_logs(&mut self, fx: &mut Vec<Effect<S>>) {
        let finished = self.logs.len() - usize::from(self.run.is_some());
        if finished > LOGS_MAX {
            for at in 0..self.subscribers.len() {
                let subscriber = &mut self.subscribers[at];
                if subscriber.cursor.log() == self.first_log {
                    subscriber.close_reason = Some(Close::TooSlow);
                    self.pump_one(fx, at);
                }
            }
        }
        if finished == 0 {
            return;
        }
        let keeps_one =
            self.run.is_none() && self.retention.as_mut().is_some_and(|retention| retention.keeps());
        let newest = self.first_log + finished as u32 - u32::from(keeps_one);
        let oldest = self.subscribers.iter().filter(|r| r.close_reason.is_none()).map(|r| r.cursor.log());
        let keep_from = oldest.min().unwrap_or(newest).min(newest);
        while self.first_log < keep_from {
            self.logs.pop_front();
            self.first_log += 1;
        }
        if self.logs.is_empty() {
            self.logs = VecDeque::new(); // Frees the memory: most sessions are idle.
        }
        for subscriber in &mut self.subscribers {
            subscriber.cursor = subscriber.cursor.max(Cursor::start_of(self.first_log));
        }
    }

    /// Holds the run while every subscriber that follows it is further behind than the limit. Without such subscribers
    /// the run continues: the length of an answer is limited anyway.
    pub(super) fn pace_run(&mut self, fx: &mut Vec<Effect<S>>) {
        let newest = self.newest_log();
        let (Some(run), Some(log)) = (self.run.as_mut(), self.logs.back()) else { return };
        let followers = self.subscribers.iter().filter(|subscriber| subscriber.wants(newest));
        let unread = followers.map(|subscriber| log.unread(newest, subscriber.cursor)).min().unwrap_or(0);
        // Hysteresis: between the two bounds the state does not change.
        if !run.held && unread > self.settings.lag_bytes_max {
            run.held = true;
            fx.push(Effect::HoldRun { run: run.id });
        } else if run.held && unread <= self.settings.lag_bytes_max / 2 {
            run.held = false;
            fx.push(Effect::ContinueRun { run: run.id });
        }
    }
}
