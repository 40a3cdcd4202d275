//! The signals that end a program, and SIGHUP, which is sent when a terminal closes.
use std::{fs, future::pending, io};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a program reacts to SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// Ends, as by SIGTERM: the program belongs to its terminal.
    Ends,
    /// Logs it and continues: a service outlives the terminal that started it.
    Logged,
}

/// SIGTERM, SIGINT, SIGQUIT and SIGHUP. Once installed, even after it is dropped, none of them ends the
/// process by itself.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// `None` if the parent ignores SIGHUP, as `nohup` does.
    hangup: Option<Signal>,
    meaning: Hangup,
}

impl Signals {
    /// Must be called inside a runtime.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn new(meaning: Hangup) -> io::Result<Self> {
        let is_ignored = meaning == Hangup::Ends && is_ignored(SignalKind::hangup());
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: (!is_ignored).then(|| signal(SignalKind::hangup())).transpose()?,
            meaning,
        })
    }

    /// The number of the next signal that ends the program.
    pub async fn next(&mut self) -> u8 {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => pending().await,
                }
            };
            let kind = tokio::select! {
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = self.quit.recv() => SignalKind::quit(),
                _ = hangup => SignalKind::hangup(),
            };
            if kind == SignalKind::hangup() && self.meaning == Hangup::Logged {
                log::info!("SIGHUP ignored: a changed configuration takes effect with a restart");
                continue;
            }
            return u8::try_from(kind.as_raw_value()).unwrap_or(u8::MAX);
        }
    }
}

/// Whether this process was started with a signal ignored.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// The mask of ignored signals in `/proc/self/status`.
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(ignored("Name:\ttidegate\nSigIgn:\t0000000000001001\nSigCgt:\t1\n"), Some(0x1001));
        assert_eq!(ignored("SigIgn:\tnone\n"), None);
        assert_eq!(ignored(""), None);
    }
}
