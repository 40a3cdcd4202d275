//! The dialect of the AI SDK: JSON frames, many conversations on a socket, every piece of an answer numbered.
use super::{Fault, Word};
use crate::load::measure::Trouble;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// Bytes of a frame that a complaint shows.
const SHOWN: usize = 120;

/// A frame of the gateway.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(rename = "requestId", borrow, default)]
    request: Cow<'a, str>,
    #[serde(rename = "messageId", borrow)]
    message: Option<Text<'a>>,
    sequence: Option<u64>,
    /// The place in the answer where it is not `sequence`; `null` before its first word.
    #[serde(default, deserialize_with = "present")]
    entry: Option<Option<u64>>,
    #[serde(borrow)]
    chunk: Option<Chunk<'a>>,
    #[serde(rename = "errorText", borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    code: Option<Text<'a>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Start,
    Chunk,
    End,
    Error,
    NoActive,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
struct Chunk<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    delta: Option<Text<'a>>,
    #[serde(rename = "messageId", borrow)]
    message: Option<Text<'a>>,
    #[serde(rename = "errorText", borrow)]
    error: Option<Text<'a>>,
    #[serde(default)]
    transient: bool,
}

/// Borrowed where nothing in it is escaped.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Tells `null` from nothing.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Clone, Debug, Serialize)]
struct Message {
    id: String,
    role: &'static str,
    parts: [Part; 1],
}

#[derive(Clone, Debug, Serialize)]
struct Part {
    r#type: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Send<'a> {
    r#type: &'static str,
    request_id: &'a str,
    id: &'a str,
    trigger: &'static str,
    messages: &'a [Message],
    headers: Empty,
    body: Empty,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resume<'a> {
    r#type: &'static str,
    request_id: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sequence: Option<u64>,
    headers: Empty,
    body: Empty,
}

/// Reads a frame, and for which conversation of the socket it is.
///
/// # Errors
/// It is no frame of this dialect, or of no request.
pub(super) fn read(text: &[u8]) -> Result<(usize, Frame<'_>), Fault> {
    let shown = || String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned();
    let frame: Frame<'_> = serde_json::from_slice(text).map_err(|error| {
        fault(Trouble::Frame, format!("no frame of the AI SDK dialect ({error}): {}", shown()))
    })?;
    let talk = frame.request.split_once('.').and_then(|(talk, _)| talk.parse().ok());
    let talk =
        talk.ok_or_else(|| fault(Trouble::Frame, format!("a frame for no request of ours: {}", shown())))?;
    Ok((talk, frame))
}

fn fault(trouble: Trouble, why: String) -> Fault {
    Fault { trouble, why }
}

/// One conversation.
pub(crate) struct Talk {
    index: usize,
    chat: String,
    /// The transcript is kept and sent.
    whole: bool,
    requests: u64,
    turns: u64,
    /// The open one; empty when there is none.
    request: String,
    /// Ends with the question that is, or was last, asked; without a transcript it is all there is.
    messages: Vec<Message>,
    /// The number that the next chunk has to have.
    next: u64,
    /// The last word of the answer that was heard.
    place: Option<u64>,
    /// The answer's name.
    answer: Option<String>,
    /// Its text, where the transcript is kept.
    text: String,
    /// Why it failed; its end is still to come.
    failed: Option<String>,
}

impl Talk {
    pub(super) fn new(index: usize, chat: String, whole: bool) -> Self {
        Talk {
            index,
            chat,
            whole,
            requests: 0,
            turns: 0,
            request: String::new(),
            messages: Vec::new(),
            next: 0,
            place: None,
            answer: None,
            text: String::new(),
            failed: None,
        }
    }

    pub(super) fn ask(&mut self, text: &str) -> String {
        if !self.whole {
            self.messages.clear();
        }
        let parts = [Part { r#type: "text", text: text.to_owned() }];
        self.messages.push(Message { id: format!("u{}", self.turns), role: "user", parts });
        self.turns += 1;
        self.answer = None;
        self.ask_again()
    }

    pub(super) fn ask_again(&mut self) -> String {
        self.open(None);
        self.answer = None;
        spell(&Send {
            r#type: "send",
            request_id: &self.request,
            id: &self.chat,
            trigger: "submit-message",
            messages: &self.messages,
            headers: Empty {},
            body: Empty {},
        })
    }

    pub(super) fn resume(&mut self, from_beginning: bool) -> (String, bool) {
        let after = self.place.filter(|_| !from_beginning);
        self.open(after);
        let frame = Resume {
            r#type: "resume",
            request_id: &self.request,
            id: &self.chat,
            last_sequence: after,
            headers: Empty {},
            body: Empty {},
        };
        (spell(&frame), after.is_none())
    }

    /// A new request, which goes on after this place of the answer.
    fn open(&mut self, after: Option<u64>) {
        self.requests += 1;
        self.request = format!("{}.{}", self.index, self.requests);
        self.next = after.map_or(0, |after| after + 1);
        self.place = after;
        self.failed = None;
        if after.is_none() {
            self.text.clear();
        }
    }

    pub(super) fn hear<'a>(&mut self, frame: Frame<'a>) -> Result<Word<'a>, Fault> {
        if frame.request != self.request || self.request.is_empty() {
            let why = format!("a frame for request {}, while {:?} is open", frame.request, self.request);
            return Err(fault(Trouble::ForeignText, why));
        }
        match frame.kind {
            Kind::Start => {
                self.check_answer(frame.message)?;
                Ok(Word::Found)
            }
            Kind::Chunk => self.piece(frame),
            Kind::End => Ok(self.end()),
            Kind::Error => {
                self.request.clear();
                let code = frame.code.map(|code| code.0.into_owned() + ": ").unwrap_or_default();
                Ok(Word::Error(code + &frame.error.map(|text| text.0).unwrap_or_default()))
            }
            Kind::NoActive => {
                self.request.clear();
                Ok(Word::NoActive)
            }
            Kind::Unknown => Err(fault(Trouble::Frame, "a frame of unknown type".to_owned())),
        }
    }

    fn end(&mut self) -> Word<'static> {
        self.request.clear();
        if self.whole && !self.text.is_empty() {
            let parts = [Part { r#type: "text", text: std::mem::take(&mut self.text) }];
            let id = self.answer.clone().unwrap_or_else(|| format!("a{}", self.turns));
            self.messages.push(Message { id, role: "assistant", parts });
        }
        self.failed.take().map_or(Word::End, Word::Error)
    }

    /// A replay has to be of the answer that was followed.
    fn check_answer(&mut self, message: Option<Text<'_>>) -> Result<(), Fault> {
        let Some(Text(message)) = message else { return Ok(()) };
        match &self.answer {
            Some(known) if *known != message => {
                let why = format!("the answer was {known:?}, and goes on as {message:?}");
                Err(fault(Trouble::WrongMessage, why))
            }
            Some(_) => Ok(()),
            None => {
                self.answer = Some(message.into_owned());
                Ok(())
            }
        }
    }

    fn piece<'a>(&mut self, frame: Frame<'a>) -> Result<Word<'a>, Fault> {
        let numbers = |why| Err(fault(Trouble::BadSequence, why));
        let (Some(sequence), Some(chunk)) = (frame.sequence, frame.chunk) else {
            return Err(fault(Trouble::Frame, "a chunk without its number or its content".to_owned()));
        };
        if sequence != self.next {
            return numbers(format!("chunk {sequence} came where {} was due", self.next));
        }
        self.next += 1;
        let place = frame.entry.unwrap_or(Some(sequence));
        // News beside the answer has the place of the word before it.
        let goes_on = if chunk.transient { place >= self.place } else { place > self.place };
        if !goes_on {
            return numbers(format!("chunk {sequence} is at {place:?}, after {:?}", self.place));
        }
        self.place = place;
        match &*chunk.kind {
            "text-delta" => {
                let text = chunk.delta.map(|delta| delta.0).unwrap_or_default();
                if self.whole {
                    self.text += &text;
                }
                return Ok(Word::Text(match text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                }));
            }
            "start" => self.check_answer(chunk.message)?,
            "error" => self.failed = Some(chunk.error.map(|text| text.0.into_owned()).unwrap_or_default()),
            "abort" => self.failed = Some("the answer was stopped".to_owned()),
            _ => {}
        }
        Ok(Word::Beside)
    }
}

fn spell(frame: &impl Serialize) -> String {
    // Nothing in these frames can fail to be spelled.
    serde_json::to_string(frame).unwrap_or_default()
}
