//! Decodes the frames from a client.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::cast_possible_truncation))]
use super::{
    super::{
        ClientFrame, DecodeError, Incoming, Limits, Rejection,
        incoming::{check_message, is_blank},
    },
    parse::{self, ClientMessage, Field, Frame, MISSING},
};
use crate::chat::{ChatId, ChatMessage, IdFault, MessageId, RequestId, Role, TurnKind, TurnRequest};
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
        return Ok(ClientFrame::Resume { request, chat, turn: named, after: frame.last_sequence });
    }
    let trigger = frame.trigger.ok_or(malformed(parse::TRIGGER, MISSING))?;
    let kind = match (trigger.as_ref(), named) {
        ("submit-message", None) => TurnKind::Submit,
        ("submit-message", Some(replaces)) => TurnKind::Edit { replaces },
        ("regenerate-message", answer) => TurnKind::Regenerate { answer },
        _ => return Err(malformed(parse::TRIGGER, "must be `submit-message` or `regenerate-message`")),
    };
    let messages = frame.messages.ok_or(malformed(parse::MESSAGES, MISSING))?;
    let turn = turn(kind, messages, limits)?;
    Ok(ClientFrame::Ask { request, chat, turn: Box::new(turn) })
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
    Ok(TurnRequest { kind, message, model: None, transcript })
}

fn malformed(field: Field, fault: &'static str) -> Rejection {
    Rejection::Malformed { field: field.0, fault }
}

fn id<T>(field: Field, name: &str, new: impl Fn(&str) -> Result<T, IdFault>) -> Result<T, Rejection> {
    new(name).map_err(|fault| Rejection::BadId { field: field.0, fault })
}
