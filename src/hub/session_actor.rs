//! The actor of one session: translates messages into inputs and performs effects; it decides nothing.
mod holdings;

use super::{
    messages::{Attach, AttachKind, AttachRequest, SessionHandle, SessionMessage, SessionSignal},
    subscriber::Subscriber,
    worker::Worker,
};
use crate::{
    access::Pass,
    chat::{ChatKey, RunEnd, RunError, RunErrorKind, RunEvent, RunId, SessionId, SubscriberId},
    dispatch::{CancelQueued, LocalRun, RunChannel, RunUpdate, SubmitRun},
    protocol::{Codec, Rejection, ServerFrame},
    session::{Effect, Input, Lifetime, Occupancy, Outgoing, Session},
    socket::window::Ready,
    upstream::route::Affinity,
};
use actix::prelude::*;
use holdings::Holdings;
use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

pub struct SessionActor {
    worker: Rc<Worker>,
    id: SessionId,
    holdings: Holdings,
    /// The pass of the client that asked last.
    pass: Arc<Pass>,
    session: Session<Subscriber>,
    run: Option<(RunId, LocalRun)>,
    /// Where the conversation was answered last.
    affinity: Affinity,
    /// The chat's entry in the registry; `None` for the session of a single socket.
    chat: Option<Box<ChatHandle>>,
    /// The time at which it is to be woken.
    wake: Option<Duration>,
}

/// A session's chat, and what was last reported to the registry.
struct ChatHandle {
    key: ChatKey,
    occupancy: Occupancy,
}

/// Polls a run and takes its text, for as long as it is the session's current run. A future of the actor: woken
/// by the run, polled after the mailbox.
struct RunTextStream {
    run: RunId,
}

/// A test's access to a session, on its thread.
#[cfg(test)]
pub type TestHook = Box<dyn FnOnce(&mut SessionActor, &mut Context<SessionActor>) + Send>;

impl SessionActor {
    /// Starts the session of one socket, on the socket's own thread, with its only subscriber.
    pub fn begin(
        worker: &Rc<Worker>,
        connection: u64,
        pass: Arc<Pass>,
        subscriber: SubscriberId,
        sink: Subscriber,
    ) -> SessionHandle {
        let address = Self::create(|ctx| {
            let mut actor = Self::new(worker, SessionId(connection.into()), pass, Lifetime::OfSocket, None);
            actor.feed(ctx, Input::Attach { subscriber, sink });
            actor
        });
        SessionHandle::new(address.recipient())
    }

    /// Starts the session of a chat on this thread, without subscribers.
    pub fn begin_chat(worker: &Rc<Worker>, id: SessionId, pass: Arc<Pass>, key: ChatKey) -> SessionHandle {
        // As in the registry: the question that creates it is in flight.
        let chat = ChatHandle { key, occupancy: Occupancy::InUse };
        let address = Self::new(worker, id, pass, Lifetime::OfChat, Some(Box::new(chat))).start();
        SessionHandle::new(address.recipient())
    }

    fn new(
        worker: &Rc<Worker>,
        id: SessionId,
        pass: Arc<Pass>,
        lifetime: Lifetime,
        chat: Option<Box<ChatHandle>>,
    ) -> Self {
        SessionActor {
            worker: Rc::clone(worker),
            id,
            holdings: Holdings::new(worker, pass.source(), lifetime),
            pass,
            session: Session::new(Arc::clone(&worker.session_settings), id, lifetime),
            run: None,
            affinity: Affinity::default(),
            chat,
            wake: None,
        }
    }

    /// Handles one input, performs its effects, and handles what they return.
    fn feed(&mut self, ctx: &mut Context<Self>, input: Input<Subscriber>) {
        let mut effects = self.worker.scratch.effects.take();
        let now = self.worker.now();
        let is_text = input.is_text();
        self.session.handle(&mut effects, now, input);
        self.perform_all(ctx, &mut effects);
        let wake = self.session.settle(&mut effects);
        self.perform_all(ctx, &mut effects);
        if wake != self.wake {
            let before = std::mem::replace(&mut self.wake, wake);
            self.worker.timers.set(self.id, before, wake);
        }
        self.worker.scratch.effects.set(effects);
        if !is_text || self.holdings.is_due(&self.session) {
            self.holdings.renew(&self.worker, self.id, &self.session);
        }
        if let Some(chat) = &mut self.chat {
            let occupancy = self.session.occupancy();
            if chat.occupancy != occupancy {
                chat.occupancy = occupancy;
                self.worker.registry.report(&chat.key, self.id, occupancy);
            }
        }
    }

    fn perform_all(&mut self, ctx: &mut Context<Self>, effects: &mut Vec<Effect<Subscriber>>) {
        while !effects.is_empty() {
            let mut refused = self.worker.scratch.refused.take();
            for effect in effects.drain(..) {
                self.perform(ctx, effect, &mut refused);
            }
            if !refused.is_empty() {
                self.session.sinks_mut().for_each(|(_, sink)| sink.end_batch());
            }
            for input in refused.drain(..) {
                self.session.handle(effects, self.worker.now(), input);
            }
            self.worker.scratch.refused.set(refused);
        }
    }

    fn perform(
        &mut self,
        ctx: &mut Context<Self>,
        effect: Effect<Subscriber>,
        refused: &mut Vec<Input<Subscriber>>,
    ) {
        match effect {
            Effect::Push { subscriber, outgoing, from, ask } => {
                if let Err(outgoing) = self.push(ctx, subscriber, outgoing, ask) {
                    refused.push(Input::PushRefused { subscriber, outgoing, from });
                }
            }
            Effect::StartRun { run, request } => {
                self.worker.metrics.turns_truncated.inc_by(request.omitted_turns as u64);
                let channel = Arc::new(RunChannel::new(self.affinity));
                let local = self.worker.local_runs.register(self.id, run, Arc::clone(&channel));
                let submission = SubmitRun {
                    pass: Arc::clone(&self.pass),
                    account: self.holdings.of_run(&request),
                    session: self.id,
                    run,
                    codec: if self.chat.is_some() { Codec::AiSdk } else { Codec::Plain },
                    worker: self.worker.index,
                    request,
                    sink: ctx.address().recipient(),
                    channel,
                    submitted: tokio::time::Instant::now(),
                };
                if self.worker.dispatcher.try_send(submission).is_ok() {
                    ctx.spawn(RunTextStream { run });
                    self.run = Some((run, local));
                } else {
                    let error = RunError::new(RunErrorKind::Overloaded, "the dispatcher's mailbox is full");
                    let event = RunEvent::End(Box::new(RunEnd::failed(error)));
                    refused.push(Input::Run { run, event });
                }
            }
            Effect::CancelRun { run } => self.cancel(run),
            Effect::HoldRun { .. } => self.with_run(RunChannel::hold),
            Effect::ContinueRun { .. } => self.with_run(RunChannel::resume),
            Effect::Release { subscriber, sink } => sink.finish(subscriber),
            Effect::Lose { subscriber, sink } => sink.lose(subscriber),
            Effect::End => self.end(ctx),
        }
    }

    /// Removes the session from the registry and stops it: requests in its mailbox are returned, and start a
    /// new session.
    fn end(&mut self, ctx: &mut Context<Self>) {
        if let Some(chat) = &self.chat {
            self.worker.registry.forget_chat(&chat.key, self.id);
        }
        ctx.stop();
    }

    /// Sends to a subscriber, or returns what it cannot take.
    fn push(
        &mut self,
        ctx: &Context<Self>,
        id: SubscriberId,
        outgoing: Outgoing,
        ask: bool,
    ) -> Result<(), Outgoing> {
        let Some(sink) = self.session.sink_mut(id) else { return Ok(()) };
        let (rejected, resumed) = match &outgoing {
            Outgoing::Frame(ServerFrame::Rejected { reason }) => {
                (Some(reason.code()), matches!(reason, Rejection::BadResume).then_some("refused"))
            }
            Outgoing::Frame(ServerFrame::Resumed { position }) => {
                (None, Some(if position.is_some() { "replayed" } else { "queued" }))
            }
            Outgoing::Frame(ServerFrame::NoActive) => (None, Some("no_active")),
            _ => (None, None),
        };
        let session = || ctx.address().recipient();
        sink.try_push(session, id, outgoing, ask)?;
        // Counted once it is sent: a rejected push is retried.
        rejected.into_iter().for_each(|code| self.worker.metrics.messages_rejected.inc(code));
        resumed.into_iter().for_each(|outcome| self.worker.metrics.resumes.inc(outcome));
        Ok(())
    }

    /// Takes the text that the run has produced.
    fn drain_run(&mut self, ctx: &mut Context<Self>) {
        let Some((run, local)) = self.run.as_ref().filter(|(_, local)| local.channel().has_pending()) else {
            return;
        };
        let run = *run;
        let mut events = self.worker.scratch.events.take();
        local.channel().drain(&mut events);
        for event in events.drain(..) {
            self.feed(ctx, Input::Run { run, event });
        }
        self.worker.scratch.events.set(events);
    }

    /// Takes the run's usage so far, before the session may cancel it.
    fn take_usage(&mut self, ctx: &mut Context<Self>) {
        let Some((run, local)) = &self.run else { return };
        let (run, usage) = (*run, local.channel().usage());
        if let Some(usage) = usage {
            self.feed(ctx, Input::Run { run, event: RunEvent::Usage(usage) });
        }
    }

    fn on_attach(&mut self, ctx: &mut Context<Self>, attach: Attach) {
        if self.session.has_ended() {
            return; // Dropping the request returns it.
        }
        let Some(request) = attach.take() else { return };
        let AttachRequest { subscriber, request, kind, pass, account, codec, sink, .. } = *request;
        self.holdings.run = account;
        if matches!(kind, AttachKind::Ask { .. } | AttachKind::Continue { .. }) {
            self.holdings.transfer_to(pass.source());
            self.pass = pass;
        }
        let direct = sink.socket.and_then(|socket| self.worker.direct_writer(socket));
        let sink = Subscriber::new(sink, direct, codec.encoder(Some(&request)));
        let input = match kind {
            AttachKind::Ask { turn, chosen } => Input::Ask { subscriber, sink, turn, chosen },
            AttachKind::Resume { turn, after } => Input::Resume { subscriber, sink, turn, after },
            AttachKind::Continue { answer, choice, catalog } => {
                Input::Continue { subscriber, sink, answer, choice, catalog }
            }
        };
        self.feed(ctx, input);
        if let Some(chat) = &self.chat {
            // After the registry knows that the session is in use.
            self.worker.registry.delivered(&chat.key, self.id);
        }
    }

    fn on_signal(&mut self, ctx: &mut Context<Self>, signal: SessionSignal) {
        match signal {
            SessionSignal::Wake => {
                self.wake = None;
                self.take_usage(ctx);
                self.feed(ctx, Input::Wake);
            }
            SessionSignal::ReleaseRetained => self.feed(ctx, Input::ReleaseRetained),
            SessionSignal::Drain => self.feed(ctx, Input::Drain),
            // It was idle when the registry removed it, and nothing has reached it since.
            SessionSignal::Evict => {
                debug_assert_ne!(self.session.occupancy(), Occupancy::InUse);
                self.worker.metrics.sessions_evicted.inc();
                self.feed(ctx, Input::Evict);
            }
            SessionSignal::Close => self.feed(ctx, Input::Close),
        }
    }

    fn with_run(&self, act: impl FnOnce(&RunChannel)) {
        if let Some((_, local)) = &self.run {
            act(local.channel());
        }
    }

    fn cancel(&mut self, run: RunId) {
        if let Some((_, local)) = self.run.take_if(|(current, _)| *current == run) {
            local.channel().cancel();
            drop(local);
            // If this is rejected, the dispatcher finds the cancelled run when it is due.
            let _ = self.worker.dispatcher.try_send(CancelQueued { session: self.id });
        }
    }
}

impl ActorFuture<SessionActor> for RunTextStream {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SessionActor,
        ctx: &mut Context<SessionActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let Some((_, local)) = actor.run.as_mut().filter(|(current, _)| *current == self.run) else {
            return Poll::Ready(());
        };
        // The session may cancel the run while it takes the text: then the run's own poll is over.
        local.poll(task);
        actor.drain_run(ctx);
        Poll::Pending
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let handle = SessionHandle::new(ctx.address().recipient());
        self.worker.registry.insert(self.id, self.worker.index, handle.downgrade());
        self.worker.metrics.sessions.inc();
    }
}

/// Runs on every end, a panic included: cancels the run and notifies the subscribers.
impl Drop for SessionActor {
    fn drop(&mut self) {
        if let Some((run, _)) = &self.run {
            self.cancel(*run);
        }
        self.worker.registry.remove(self.id);
        if let Some(chat) = &self.chat {
            self.worker.registry.forget_chat(&chat.key, self.id);
        }
        self.worker.timers.forget(self.id, self.wake);
        self.holdings.leave(&self.worker, self.id);
        self.worker.metrics.sessions.dec();
        if !self.session.has_ended() {
            self.session.sinks_mut().for_each(|(subscriber, sink)| sink.lose(subscriber));
        }
    }
}

impl Handler<SessionMessage> for SessionActor {
    type Result = ();

    fn handle(&mut self, message: SessionMessage, ctx: &mut Self::Context) {
        match message {
            SessionMessage::Message { subscriber, text, chosen, account } => {
                self.holdings.run = Some(account);
                self.feed(ctx, Input::Message { subscriber, text, chosen });
            }
            SessionMessage::Attach(attach) => self.on_attach(ctx, attach),
            SessionMessage::Detach { subscriber } => {
                self.feed(ctx, Input::Detach { subscriber });
            }
            SessionMessage::Stop { subscriber } => {
                self.take_usage(ctx);
                self.feed(ctx, Input::Abort { subscriber });
            }
            SessionMessage::GetTranscript(reply) => drop(reply.send(self.session.transcript())),
            SessionMessage::Signal(signal) => self.on_signal(ctx, signal),
            #[cfg(test)]
            SessionMessage::Test(hook) => hook(self, ctx),
        }
    }
}

impl Handler<Ready> for SessionActor {
    type Result = ();

    fn handle(&mut self, Ready { id }: Ready, ctx: &mut Self::Context) {
        self.feed(ctx, Input::Ready { subscriber: SubscriberId(id) });
    }
}

impl Handler<RunUpdate> for SessionActor {
    type Result = ();

    fn handle(&mut self, RunUpdate { run, event }: RunUpdate, ctx: &mut Self::Context) {
        self.drain_run(ctx); // Text that precedes the event.
        if matches!(event, RunEvent::End(_))
            && let Some((_, local)) = self.run.take_if(|(current, _)| *current == run)
        {
            self.affinity = local.channel().affinity();
            local.release();
        }
        self.feed(ctx, Input::Run { run, event });
    }
}

#[cfg(test)]
mod tests;
