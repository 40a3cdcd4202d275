//! The AI SDK dialect: JSON frames, several conversations per socket, numbered chunks.
use super::ServerEvent;
use crate::load::measure::{ErrorKind, Failure};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// Bytes of a frame shown in an error.
const SHOWN: usize = 120;

/// A frame sent by the gateway.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(rename = "requestId", borrow, default)]
    request: Cow<'a, str>,
    #[serde(rename = "messageId", borrow)]
    message: Option<Text<'a>>,
    sequence: Option<u64>,
    /// Position in the answer where it differs from `sequence`; `null` before the first entry.
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

/// Borrowed unless it contains escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Distinguishes `null` from an absent field.
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
    /// The turn to follow, by the id of its question: the gateway may have an earlier one as its newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sequence: Option<u64>,
    headers: Empty,
    body: Empty,
}

/// Decodes a frame and the index of its conversation.
///
/// # Errors
/// It is not a frame of this dialect, or of none of our requests.
pub(super) fn read(text: &[u8]) -> Result<(usize, Frame<'_>), Failure> {
    let shown = || String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned();
    let frame: Frame<'_> = serde_json::from_slice(text).map_err(|error| {
        failure(ErrorKind::Frame, format!("no frame of the AI SDK dialect ({error}): {}", shown()))
    })?;
    let conversation = frame.request.split_once('.').and_then(|(conversation, _)| conversation.parse().ok());
    let conversation = conversation
        .ok_or_else(|| failure(ErrorKind::Frame, format!("a frame for no request of ours: {}", shown())))?;
    Ok((conversation, frame))
}

fn failure(kind: ErrorKind, why: String) -> Failure {
    Failure { kind, why }
}

/// State of one conversation.
pub(crate) struct Conversation {
    index: usize,
    chat: String,
    /// Keep the transcript and send all of it.
    whole: bool,
    requests: u64,
    turns: u64,
    /// Id of the open request; empty if there is none.
    request: String,
    /// Ends with the last question; without a transcript it is the only message.
    messages: Vec<Message>,
    /// Sequence number expected next.
    next: u64,
    /// Position of the last received entry of the answer.
    place: Option<u64>,
    /// Message id of the answer.
    answer: Option<String>,
    /// Text of the answer, if the transcript is kept.
    text: String,
    /// Error text of a failed answer whose end frame is still to come.
    failed: Option<String>,
}

impl Conversation {
    pub(super) fn new(index: usize, chat: String, whole: bool) -> Self {
        Conversation {
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
        encode(&Send {
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
            message_id: self.messages.last().map(|question| &*question.id),
            last_sequence: after,
            headers: Empty {},
            body: Empty {},
        };
        (encode(&frame), after.is_none())
    }

    /// Opens a new request that continues after this position of the answer.
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

    pub(super) fn receive<'a>(&mut self, frame: Frame<'a>) -> Result<ServerEvent<'a>, Failure> {
        if frame.request != self.request || self.request.is_empty() {
            let why = format!("a frame for request {}, while {:?} is open", frame.request, self.request);
            return Err(failure(ErrorKind::ForeignText, why));
        }
        match frame.kind {
            Kind::Start => {
                self.check_answer(frame.message)?;
                Ok(ServerEvent::Resumed)
            }
            Kind::Chunk => self.piece(frame),
            Kind::End => Ok(self.end()),
            Kind::Error => {
                self.request.clear();
                let code = frame.code.map(|code| code.0.into_owned() + ": ").unwrap_or_default();
                Ok(ServerEvent::Error(code + &frame.error.map(|text| text.0).unwrap_or_default()))
            }
            Kind::NoActive => {
                self.request.clear();
                Ok(ServerEvent::NoActive)
            }
            Kind::Unknown => Err(failure(ErrorKind::Frame, "a frame of unknown type".to_owned())),
        }
    }

    fn end(&mut self) -> ServerEvent<'static> {
        self.request.clear();
        if self.whole && !self.text.is_empty() {
            let parts = [Part { r#type: "text", text: std::mem::take(&mut self.text) }];
            let id = self.answer.clone().unwrap_or_else(|| format!("a{}", self.turns));
            self.messages.push(Message { id, role: "assistant", parts });
        }
        self.failed.take().map_or(ServerEvent::End, ServerEvent::Error)
    }

    /// Checks that a replay belongs to the answer that was followed.
    fn check_answer(&mut self, message: Option<Text<'_>>) -> Result<(), Failure> {
        let Some(Text(message)) = message else { return Ok(()) };
        match &self.answer {
            Some(known) if *known != message => {
                let why = format!("the answer was {known:?}, and goes on as {message:?}");
                Err(failure(ErrorKind::WrongMessage, why))
            }
            Some(_) => Ok(()),
            None => {
                self.answer = Some(message.into_owned());
                Ok(())
            }
        }
    }

    fn piece<'a>(&mut self, frame: Frame<'a>) -> Result<ServerEvent<'a>, Failure> {
        let numbers = |why| Err(failure(ErrorKind::BadSequence, why));
        let (Some(sequence), Some(chunk)) = (frame.sequence, frame.chunk) else {
            return Err(failure(ErrorKind::Frame, "a chunk without its number or its content".to_owned()));
        };
        if sequence != self.next {
            return numbers(format!("chunk {sequence} came where {} was due", self.next));
        }
        self.next += 1;
        let place = frame.entry.unwrap_or(Some(sequence));
        // A notice has the position of the entry before it.
        let is_notice = chunk.transient || chunk.kind == "message-metadata";
        let goes_on = if is_notice { place >= self.place } else { place > self.place };
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
                return Ok(ServerEvent::Text(match text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                }));
            }
            "start" => self.check_answer(chunk.message)?,
            "reset-step" => {
                self.text.clear();
                return Ok(ServerEvent::Restarted);
            }
            "error" => self.failed = Some(chunk.error.map(|text| text.0.into_owned()).unwrap_or_default()),
            "abort" => self.failed = Some("the answer was stopped".to_owned()),
            _ => {}
        }
        Ok(ServerEvent::NonText)
    }
}

fn encode(frame: &impl Serialize) -> String {
    // Serialization of these frames cannot fail.
    serde_json::to_string(frame).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A conversation with an open question.
    fn asked(whole: bool) -> Conversation {
        let mut conversation = Conversation::new(3, "c".to_owned(), whole);
        let frame: Value = serde_json::from_str(&conversation.ask("Hi \"you\"")).expect("JSON");
        let messages =
            json!([{ "id": "u0", "role": "user", "parts": [{ "type": "text", "text": "Hi \"you\"" }] }]);
        assert_eq!(
            frame,
            json!({ "type": "send", "requestId": "3.1", "id": "c", "trigger": "submit-message",
                "messages": messages, "headers": {}, "body": {} })
        );
        conversation
    }

    /// Applies the frame and renders the event.
    fn receive(conversation: &mut Conversation, frame: Value) -> Result<String, ErrorKind> {
        let text = frame.to_string();
        let (index, frame) = read(text.as_bytes()).map_err(|failure| failure.kind)?;
        assert_eq!(index, 3);
        let word = conversation.receive(frame).map_err(|failure| failure.kind)?;
        Ok(match word {
            ServerEvent::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            word => format!("{word:?}"),
        })
    }

    fn chunk(
        conversation: &mut Conversation,
        sequence: u64,
        entry: Option<Value>,
        chunk: Value,
    ) -> Result<String, ErrorKind> {
        let mut frame = json!({ "type": "chunk", "requestId": conversation.request, "sequence": sequence, "chunk": chunk });
        if let Some(entry) = entry {
            frame["entry"] = entry;
        }
        receive(conversation, frame)
    }

    fn delta(text: &str) -> Value {
        json!({ "type": "text-delta", "id": "1", "delta": text })
    }

    fn begin(conversation: &mut Conversation) {
        let start = json!({ "type": "start", "messageId": "m1", "messageMetadata": { "model": "m" } });
        for (sequence, chunk_of) in [start, json!({ "type": "start-step" })].into_iter().enumerate() {
            assert_eq!(chunk(conversation, sequence as u64, None, chunk_of), Ok("NonText".to_owned()));
        }
        assert_eq!(
            chunk(conversation, 2, None, json!({ "type": "text-start", "id": "1" })),
            Ok("NonText".to_owned())
        );
        assert_eq!(chunk(conversation, 3, None, delta("one ")), Ok("one ".to_owned()));
    }

    #[test]
    fn an_answer_is_received_to_its_end() {
        let mut conversation = asked(false);
        begin(&mut conversation);
        assert_eq!(chunk(&mut conversation, 4, None, delta("\"two\"\n")), Ok("\"two\"\n".to_owned()));
        let request = conversation.request.clone();
        assert_eq!(
            receive(&mut conversation, json!({ "type": "end", "requestId": request })),
            Ok("End".to_owned())
        );
        let late = receive(&mut conversation, json!({ "type": "end", "requestId": request }));
        assert_eq!(late, Err(ErrorKind::ForeignText), "behind the end");
    }

    #[test]
    fn a_resume_continues_after_the_last_number_or_from_the_beginning() {
        let mut conversation = asked(false);
        begin(&mut conversation);
        // Entries were merged: chunk 4 is entry 9; then a notice with the same position.
        assert_eq!(chunk(&mut conversation, 4, Some(json!(9)), delta("two ")), Ok("two ".to_owned()));
        let news = json!({ "type": "data-notice", "transient": true, "data": {} });
        assert_eq!(chunk(&mut conversation, 5, Some(json!(9)), news), Ok("NonText".to_owned()));
        let (frame, from_beginning) = conversation.resume(false);
        let frame: Value = serde_json::from_str(&frame).expect("JSON");
        assert_eq!(
            (frame["lastSequence"].as_u64(), &frame["requestId"], from_beginning),
            (Some(9), &json!("3.2"), false)
        );
        let found = json!({ "type": "start", "requestId": "3.2", "messageId": "m1" });
        assert_eq!(receive(&mut conversation, found), Ok("Resumed".to_owned()));
        assert_eq!(chunk(&mut conversation, 10, None, delta("three ")), Ok("three ".to_owned()));
        let (frame, from_beginning) = conversation.resume(true);
        assert!(from_beginning && !frame.contains("lastSequence"), "{frame}");
        begin(&mut conversation);
        let (frame, from_beginning) = asked(false).resume(false);
        assert!(from_beginning && !frame.contains("lastSequence"), "nothing was received: {frame}");
    }

    #[test]
    fn an_answer_that_begins_anew_has_another_model_at_the_same_position() {
        let mut conversation = asked(true);
        begin(&mut conversation);
        assert_eq!(
            chunk(&mut conversation, 4, None, json!({ "type": "reset-step" })),
            Ok("Restarted".to_owned())
        );
        let model =
            json!({ "type": "message-metadata", "messageMetadata": { "model": "n", "restarted": 1 } });
        assert_eq!(chunk(&mut conversation, 5, Some(json!(4)), model), Ok("NonText".to_owned()));
        assert_eq!(chunk(&mut conversation, 6, Some(json!(6)), delta("new ")), Ok("new ".to_owned()));
        let request = conversation.request.clone();
        receive(&mut conversation, json!({ "type": "end", "requestId": request })).expect("an end");
        let transcript = conversation.messages.last().expect("the answer");
        assert_eq!(transcript.parts[0].text, "new ", "what was withdrawn is not part of it");
    }

    #[test]
    fn a_resume_names_its_question_so_that_no_earlier_answer_is_taken_for_its_own() {
        for whole in [false, true] {
            let mut conversation = asked(whole);
            begin(&mut conversation);
            let request = conversation.request.clone();
            receive(&mut conversation, json!({ "type": "end", "requestId": request })).expect("the end");
            // The second question is lost with its socket: the newest turn of the gateway is the first.
            conversation.ask("More");
            let (frame, from_beginning) = conversation.resume(false);
            let frame: Value = serde_json::from_str(&frame).expect("JSON");
            assert_eq!((&frame["messageId"], from_beginning), (&json!("u1"), true), "{frame}");
            let request = conversation.request.clone();
            let nothing = json!({ "type": "no-active", "requestId": request });
            assert_eq!(receive(&mut conversation, nothing), Ok("NoActive".to_owned()));
            let again: Value = serde_json::from_str(&conversation.ask_again()).expect("JSON");
            let last = again["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
            assert_eq!(last["id"], "u1", "the question is sent again under its id");
        }
    }

    #[test]
    fn notices_may_precede_the_first_text() {
        let mut conversation = asked(false);
        let news = json!({ "type": "data-queue", "transient": true, "data": { "position": 1 } });
        assert_eq!(chunk(&mut conversation, 0, Some(Value::Null), news), Ok("NonText".to_owned()));
        let start = json!({ "type": "start", "messageId": "m1" });
        assert_eq!(chunk(&mut conversation, 1, Some(json!(0)), start), Ok("NonText".to_owned()));
        assert!(conversation.resume(false).0.contains("\"lastSequence\":0"));
    }

    #[test]
    fn wrong_numbers_and_names_are_reported() {
        let begun = || {
            let mut conversation = asked(false);
            begin(&mut conversation);
            conversation
        };
        for (sequence, entry) in
            [(3, None), (5, None), (4, Some(json!(3))), (4, Some(json!(2))), (4, Some(Value::Null))]
        {
            let result = chunk(&mut begun(), sequence, entry.clone(), delta("two "));
            assert_eq!(result, Err(ErrorKind::BadSequence), "{sequence} {entry:?}");
        }
        let mut conversation = begun();
        conversation.resume(false);
        let other = json!({ "type": "start", "requestId": "3.2", "messageId": "m2" });
        assert_eq!(receive(&mut conversation, other), Err(ErrorKind::WrongMessage));
        let mut conversation = begun();
        conversation.resume(true);
        let other = json!({ "type": "start", "messageId": "m2" });
        assert_eq!(chunk(&mut conversation, 0, None, other), Err(ErrorKind::WrongMessage), "in a replay");
        for wrong in
            ["", "{}", "[]", "Error: no", "{\"type\":\"end\"}", "{\"type\":\"end\",\"requestId\":\"\"}"]
        {
            assert_eq!(
                read(wrong.as_bytes()).map(|_| ()).map_err(|failure| failure.kind),
                Err(ErrorKind::Frame),
                "{wrong}"
            );
        }
        let mut conversation = begun();
        for wrong in [
            json!({ "type": "chunk", "requestId": "3.1", "sequence": 4 }),
            json!({ "type": "chunk", "requestId": "3.1", "chunk": delta("two ") }),
            json!({ "type": "what", "requestId": "3.1" }),
        ] {
            assert_eq!(receive(&mut conversation, wrong.clone()), Err(ErrorKind::Frame), "{wrong}");
        }
        assert_eq!(
            receive(&mut conversation, json!({ "type": "end", "requestId": "3.7" })),
            Err(ErrorKind::ForeignText)
        );
    }

    #[test]
    fn an_error_in_an_answer_ends_with_it_and_one_of_a_request_at_once() {
        let mut conversation = asked(false);
        begin(&mut conversation);
        let broke = json!({ "type": "error", "errorText": "It broke.", "code": "interrupted" });
        assert_eq!(chunk(&mut conversation, 4, None, broke), Ok("NonText".to_owned()));
        let end = json!({ "type": "end", "requestId": "3.1" });
        assert_eq!(receive(&mut conversation, end), Ok("Error(\"It broke.\")".to_owned()));
        let mut conversation = asked(false);
        let busy = json!({ "type": "error", "requestId": "3.1", "errorText": "Busy.", "code": "overloaded" });
        assert_eq!(receive(&mut conversation, busy), Ok("Error(\"overloaded: Busy.\")".to_owned()));
        let mut conversation = asked(false);
        conversation.resume(false);
        let nothing = json!({ "type": "no-active", "requestId": "3.2" });
        assert_eq!(receive(&mut conversation, nothing), Ok("NoActive".to_owned()));
        let again: Value = serde_json::from_str(&conversation.ask_again()).expect("JSON");
        assert_eq!(again["messages"][0]["id"], "u0", "the same question by the same name");
    }

    #[test]
    fn the_whole_conversation_or_its_last_message_is_sent() {
        for (whole, wanted) in [(true, vec!["u0", "m1", "u1"]), (false, vec!["u1"])] {
            let mut conversation = asked(whole);
            begin(&mut conversation);
            conversation.resume(true);
            begin(&mut conversation);
            let request = conversation.request.clone();
            receive(&mut conversation, json!({ "type": "end", "requestId": request })).expect("the end");
            let frame: Value = serde_json::from_str(&conversation.ask("More")).expect("JSON");
            let messages = frame["messages"].as_array().expect("messages");
            assert!(
                messages.iter().map(|message| message["id"].as_str().expect("an id")).eq(wanted),
                "{frame}"
            );
            if whole {
                assert_eq!(messages[1]["parts"][0]["text"], "one ", "received twice, kept once");
            }
        }
    }
}
