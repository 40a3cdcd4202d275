//! Faults in the middle of a stream.
use super::{Fault, Mode, Player, Stage, Step};

/// Bytes per write of a long line, so that a gigabyte needs no gigabyte of memory.
const PART: u64 = 64 * 1024;

impl Player {
    /// Performs a fault.
    pub(super) fn provoke(&mut self, fault: Fault) {
        match fault {
            Fault::Cut => self.stage = Stage::Last(Step::Cut),
            Fault::Reset => self.stage = Stage::Last(Step::Reset),
            Fault::End => self.stage = Stage::Last(Step::End),
            Fault::Stall => self.stage = Stage::Hang,
            Fault::CutInFrame => self.half_frame(Step::Cut),
            Fault::EndInFrame => self.half_frame(Step::End),
            Fault::Error => {
                let error = self.parts.error.clone();
                self.parts.frames.error(&mut self.out, &error);
                self.stage = Stage::Last(Step::End);
            }
            Fault::Data(payload) => self.parts.frames.data(&mut self.out, &payload),
            Fault::Odd(odd) => self.parts.frames.odd(&mut self.out, odd),
            Fault::Bytes(bytes) => self.out.extend_from_slice(&bytes),
            Fault::LongLine(length) => {
                self.out.extend_from_slice(b"data:{\"pad\":\"");
                self.stage = Stage::LongLine(length);
            }
            Fault::Rewrite => {
                let [answer, _] = &mut self.so_far;
                let old = std::mem::take(answer);
                answer.extend_from_slice(b"(rewritten) ");
                answer.extend_from_slice(&old);
            }
            Fault::Shrink => self.shrink(),
            // The chat dialect has increments only.
            Fault::SwitchMode if !self.parts.frames.has_modes() => {}
            Fault::SwitchMode => {
                self.parts.mode = match self.parts.mode {
                    Mode::Cumulative => Mode::Incremental,
                    Mode::Incremental => Mode::Cumulative,
                }
            }
        }
    }

    /// Writes the first half of another frame and stops.
    fn half_frame(&mut self, last: Step) {
        let from = self.out.len();
        self.escaped.clear();
        self.escaped.extend_from_slice(b"half a fra");
        self.write_delta(false, self.next);
        let length = self.out.len() - from;
        self.out.truncate(from + length / 2);
        self.stage = Stage::Last(last);
    }

    /// Removes the second half of the answer. The cut is moved so that it is neither inside a character nor
    /// inside an escape.
    fn shrink(&mut self) {
        let [answer, _] = &mut self.so_far;
        let mut length = answer.len() / 2;
        while length > 0 && !answer[length - 1].is_ascii_alphabetic() {
            length -= 1;
        }
        while length > 0 && answer[..length].iter().rev().take(6).any(|byte| *byte == b'\\') {
            length -= 1;
        }
        answer.truncate(length);
    }

    /// Writes the next part of a long line.
    pub(super) fn long_line(&mut self, left: u64) {
        let part = left.min(PART);
        self.out.resize(self.out.len() + part as usize, b'x');
        if part == left {
            self.out.extend_from_slice(b"\"}\n\n");
            self.stage = Stage::Text;
        } else {
            self.stage = Stage::LongLine(left - part);
        }
    }
}
