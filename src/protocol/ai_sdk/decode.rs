//! Decodes the frames from a client.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::{
    super::{
        ClientFrame, DecodeError, Incoming, Limits, NumberInRun, Rejection,
        incoming::{check_message, is_blank},
    },
    parse::{self, Body, ClientMessage, Field, Frame, MISSING, Value},
};
use crate::chat::{
    ChatId, ChatMessage, Choice, IdFault, MessageId, ParameterFault, Parameters, RequestId, Role, RunId,
    TurnKind, TurnRequest,
};
use std::borrow::Cow;

pub(in crate::protocol) fn decode(message: Incoming<'_>, limits: Limits) -> Result<ClientFrame, DecodeError> {
    let Incoming::Text(text) = message else {
        return Err(DecodeError { request: None, reason: Rejection::Binary });
    };
    let named = |name: Option<Cow<'_, str>>| name.and_then(|name| RequestId::new(&name).ok());
    let mut frame = match Frame::parse(text) {
        Ok(frame) => frame,
        Err(reason) => return Err(DecodeError { request: named(parse::find_request(text)), reason }),
    };
    let request = frame.request.take();
    convert(frame, request.as_deref(), limits)
        .map_err(|reason| DecodeError { request: named(request), reason })
}

fn convert(frame: Frame<'_>, request: Option<&str>, limits: Limits) -> Result<ClientFrame, Rejection> {
    let kind = frame.kind.ok_or(malformed(parse::TYPE, MISSING))?;
    let request = request.map(|name| id(parse::REQUEST, name, RequestId::new)).transpose()?;
    if kind == "ping" {
        return Ok(ClientFrame::Ping { request });
    }
    if !["send", "resume", "abort"].contains(&kind.as_ref()) {
        return Err(malformed(parse::TYPE, "must be `send`, `resume`, `abort` or `ping`"));
    }
    let request = request.ok_or(malformed(parse::REQUEST, MISSING))?;
    if kind == "abort" {
        return Ok(ClientFrame::Abort { request });
    }
    let chat = frame.chat.ok_or(malformed(parse::CHAT, MISSING))?;
    let chat = id(parse::CHAT, &chat, ChatId::new)?;
    let named = frame.message.map(|name| id(parse::MESSAGE, &name, MessageId::new)).transpose()?;
    if kind == "resume" {
        let run = frame.run.map(RunId);
        let after = frame.last_sequence.map(|number| NumberInRun { number, run });
        return Ok(ClientFrame::Resume { request, chat, turn: named, after });
    }
    let trigger = frame.trigger.ok_or(malformed(parse::TRIGGER, MISSING))?;
    if trigger == "continue" {
        let answer = named.ok_or(malformed(parse::MESSAGE, MISSING))?;
        return Ok(ClientFrame::Continue { request, chat, answer, choice: choice(frame.body)? });
    }
    let kind = match (trigger.as_ref(), named) {
        ("submit-message", None) => TurnKind::Submit,
        ("submit-message", Some(replaces)) => TurnKind::Edit { replaces },
        ("regenerate-message", answer) => TurnKind::Regenerate { answer },
        _ => {
            return Err(malformed(
                parse::TRIGGER,
                "must be `submit-message`, `regenerate-message` or `continue`",
            ));
        }
    };
    let choice = choice(frame.body)?;
    let messages = frame.messages.ok_or(malformed(parse::MESSAGES, MISSING))?;
    let turn = turn(kind, messages, limits)?;
    Ok(ClientFrame::Ask { request, chat, turn: Box::new(turn), choice })
}

/// Splits the messages of a request: the last one is the question, the others are the transcript before it.
fn turn(
    kind: TurnKind,
    mut messages: Vec<ClientMessage<'_>>,
    limits: Limits,
) -> Result<TurnRequest, Rejection> {
    let last = messages.pop().filter(|last| last.role == Role::User);
    let last = last.ok_or(malformed(parse::MESSAGES, "must end with a message of the user"))?;
    if let Some(kind) = last.foreign {
        return Err(Rejection::UnsupportedPart { kind });
    }
    check_message(&last.text, limits)?;
    let message = ChatMessage::user(id(parse::ID, &last.id, MessageId::new)?, last.text);
    let mut transcript = Vec::with_capacity(messages.len());
    for message in messages {
        if message.role == Role::System && !limits.client_system_prompt {
            return Err(malformed(parse::ROLE, "must not be `system`"));
        }
        let id = id(parse::ID, &message.id, MessageId::new)?;
        // A message that consists only of files or tool calls is not sent to the model.
        if !is_blank(&message.text) {
            transcript.push(ChatMessage::new(id, message.role, message.text));
        }
    }
    Ok(TurnRequest { kind, message, transcript })
}

/// Reads what the client chose. Whether it is on offer is not known here.
fn choice(body: Body<'_>) -> Result<Choice, Rejection> {
    let number = |field, value: Option<Value<'_>>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number)),
        Some(_) => Err(bad_parameter(field, "must be a number")),
    };
    let model = match body.model {
        None | Some(Value::Null) => None,
        Some(Value::Text(name)) => Some(name.into()),
        Some(_) => return Err(bad_parameter("model", "must be a string")),
    };
    let thinking = match body.thinking {
        None | Some(Value::Null) => None,
        Some(Value::Bool(thinking)) => Some(thinking),
        Some(_) => return Err(bad_parameter("thinking", "must be true or false")),
    };
    let max_tokens = number("max_tokens", body.max_tokens)?.map(whole).transpose()?;
    let parameters = Parameters {
        temperature: number("temperature", body.temperature)?.map(narrow),
        top_p: number("top_p", body.top_p)?.map(narrow),
        max_tokens,
        thinking,
    };
    Ok(Choice { model, parameters })
}

/// A number of tokens; a larger one than any model has is out of range in any case.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn whole(number: f64) -> Result<u32, Rejection> {
    if number.fract() == 0.0 && number >= 0.0 {
        Ok(number.min(f64::from(u32::MAX)) as u32)
    } else {
        Err(bad_parameter("max_tokens", "must be a whole number"))
    }
}

/// As precise as any model service takes it.
#[expect(clippy::cast_possible_truncation, reason = "what is beyond becomes infinite, and is out of range")]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn bad_parameter(field: &'static str, must: &str) -> Rejection {
    Rejection::BadParameter { fault: ParameterFault::Field { field, must: must.into() } }
}

fn malformed(field: Field, fault: &'static str) -> Rejection {
    Rejection::Malformed { field: field.0, fault }
}

fn id<T>(field: Field, name: &str, new: impl Fn(&str) -> Result<T, IdFault>) -> Result<T, Rejection> {
    new(name).map_err(|fault| Rejection::BadId { field: field.0, fault })
}
