//! The upgrade hook: after our 101 the socket is handed over to a WebSocket connection; any other response is written,
//! and the connection closed.
use super::connection::HttpStream;
use crate::hub::{
    Connections,
    take_over::{self, Upgrade},
};
use actix_codec::{Encoder, Framed};
use actix_http::{ConnectionType, Response, body::BodySize, h1};
use actix_web::{
    HttpMessage,
    body::{MessageBody, to_bytes},
    dev::ServiceResponse,
    http::Method,
};
use bytes::Bytes;
use std::rc::Rc;
use tokio::io::AsyncWriteExt;

pub(super) async fn hand_over<B: MessageBody>(
    connections: Rc<Connections>,
    response: ServiceResponse<B>,
    framed: Framed<HttpStream, h1::Codec>,
) -> Result<(), actix_web::Error> {
    let upgrade = response.request().extensions_mut().remove::<Upgrade>();
    let is_head = response.request().method() == Method::HEAD;
    let (mut head, body): (Response<()>, B) = Response::from(response.into_parts().1).into_parts();
    let upgrade = upgrade.filter(|_| head.status() == 101);
    let mut parts = framed.into_parts();
    let (size, body) = match &upgrade {
        Some(_) => (BodySize::None, Bytes::new()),
        None => {
            let body = to_bytes(body).await.unwrap_or_default();
            head.head_mut().set_connection_type(ConnectionType::Close);
            (BodySize::Sized(body.len() as u64), body)
        }
    };
    parts.codec.encode(h1::Message::Item((head, size)), &mut parts.write_buf)?;
    if let Some(upgrade) = upgrade {
        if let Some((io, ahead)) = parts.io.into_parts() {
            parts.read_buf.extend_from_slice(&ahead);
            take_over::open(connections, upgrade, io, parts.write_buf.to_vec(), &parts.read_buf);
        }
        return Ok(());
    }
    if !is_head {
        parts.write_buf.extend_from_slice(&body);
    }
    // That the client has disconnected or does not read is no error here; the stream counts it.
    if parts.io.write_all(&parts.write_buf).await.is_ok() {
        let _ = parts.io.shutdown().await;
    }
    Ok(())
}
