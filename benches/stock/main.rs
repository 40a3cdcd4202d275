//! A gateway of stock parts: `HttpServer`, `WebsocketContext` and a dispatcher actor, as it is commonly written.
//!
//! benches/compare/run compares the gateway with it. It listens on `PORT` of 127.0.0.1; `UPSTREAM` (host:port) is the
//! simulator.
#![allow(deprecated, clippy::disallowed_methods, reason = "written as the examples of these crates are")]
use actix::prelude::*;
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// The gateway's allocator, so that memory can be compared.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The connection of one browser, with its history.
struct Session {
    dispatcher: Addr<Dispatcher>,
    history: Vec<Value>,
    answer: String,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ask {
    history: Vec<Value>,
    to: Addr<Session>,
}

#[derive(Message)]
#[rtype(result = "()")]
enum RunEvent {
    Delta(String),
    End,
    Failed(String),
}

/// The only dispatcher: sends requests to the model and passes on the answers.
struct Dispatcher {
    client: awc::Client,
    url: String,
}

impl Actor for Session {
    type Context = ws::WebsocketContext<Self>;
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Session {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Text(text)) => {
                self.history.push(json!({ "role": "user", "content": text.trim_end() }));
                self.dispatcher.do_send(Ask { history: self.history.clone(), to: ctx.address() });
            }
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(_) => {}
            Err(_) => ctx.stop(),
        }
    }
}

impl Handler<RunEvent> for Session {
    type Result = ();

    fn handle(&mut self, event: RunEvent, ctx: &mut Self::Context) {
        match event {
            RunEvent::Delta(text) => {
                self.answer.push_str(&text);
                ctx.text(text);
            }
            RunEvent::Failed(why) => ctx.text(format!("Error: {why}")),
            RunEvent::End => {
                let answer = std::mem::take(&mut self.answer);
                self.history.push(json!({ "role": "assistant", "content": answer }));
            }
        }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;
}

impl Handler<Ask> for Dispatcher {
    type Result = ();

    fn handle(&mut self, ask: Ask, _: &mut Context<Self>) {
        let request = self
            .client
            .post(&self.url)
            .insert_header(("Authorization", "Bearer bench-key"))
            .insert_header(("Accept", "text/event-stream"))
            .insert_header(("X-DashScope-SSE", "enable"))
            .send_json(&json!({
                "model": "sim-chat",
                "input": { "messages": ask.history },
                "parameters": { "result_format": "message", "incremental_output": true },
            }));
        let to = ask.to;
        actix::spawn(async move {
            let mut response = match request.await {
                Ok(response) => response,
                Err(error) => return to.do_send(RunEvent::Failed(error.to_string())),
            };
            let mut rest = String::new();
            while let Some(Ok(bytes)) = response.next().await {
                rest.push_str(&String::from_utf8_lossy(&bytes));
                while let Some(end) = rest.find('\n') {
                    let line: String = rest.drain(..=end).collect();
                    let Some(data) = line.strip_prefix("data:") else { continue };
                    let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
                    let text = &event["output"]["choices"][0]["message"]["content"];
                    if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
                        to.do_send(RunEvent::Delta(text.to_owned()));
                    }
                }
            }
            to.do_send(RunEvent::End);
        });
    }
}

async fn chat(
    request: HttpRequest,
    stream: web::Payload,
    dispatcher: web::Data<Addr<Dispatcher>>,
) -> Result<HttpResponse, Error> {
    let dispatcher = dispatcher.get_ref().clone();
    ws::start(Session { dispatcher, history: Vec::new(), answer: String::new() }, &request, stream)
}

fn main() -> std::io::Result<()> {
    let (Ok(port), Ok(upstream)) = (std::env::var("PORT"), std::env::var("UPSTREAM")) else {
        eprintln!("the stock server needs PORT and UPSTREAM (host:port); benches/compare/run starts it");
        return Ok(());
    };
    let url = format!("http://{upstream}/api/v1/services/aigc/text-generation/generation");
    actix::System::new().block_on(async move {
        let client = awc::Client::builder().timeout(std::time::Duration::from_secs(60)).finish();
        let dispatcher = Dispatcher { client, url }.start();
        HttpServer::new(move || {
            App::new().app_data(web::Data::new(dispatcher.clone())).route("/chat", web::get().to(chat))
        })
        .backlog(4096)
        .tcp_nodelay(true)
        .bind(format!("127.0.0.1:{port}"))?
        .run()
        .await
    })
}
