//! Connections that carry a program's streams instead of HTTP.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bollard::errors::Error;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::route::{Route, Stream};
use super::{in_origin_form, open, unwrapped};

/// A connection of its own, behind the head of its response.
pub(in super::super) struct Duplex {
    stream: Box<dyn Stream>,
    /// What came with the head.
    early: Bytes,
}

/// Posts a request, whose answer is the end of HTTP on its connection (RFC 9110, 7.8). The runtime it is called on serves
/// the connection from then on.
///
/// bollard could do it, too, but goes on to read through hyper and a codec of its own, which costs a session a third of
/// its speed.
pub(in super::super) async fn upgrade(
    route: &Route,
    path: &str,
    body: &serde_json::Value,
) -> Result<Duplex, Error> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(body.to_string())?;
    let mut sender = open(route).await?;
    let response = sender.send_request(in_origin_form(request)).await;
    let response = response.map_err(unwrapped)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(unwrapped)?;
    let parts = upgraded.downcast::<TokioIo<Box<dyn Stream>>>();
    let parts = parts.map_err(|_| std::io::Error::other("the connection is not the one opened"))?;

    Ok(Duplex {
        stream: parts.io.into_inner(),
        early: parts.read_buf,
    })
}

async fn refusal(response: Response<Incoming>) -> Error {
    let status_code = response.status().as_u16();
    let mut body = pin!(response.into_body());
    let mut text = Vec::new();
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        text.extend(frame.into_data().unwrap_or_default());
    }
    let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let message = match said["message"].as_str() {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(&text).into_owned(),
    };

    Error::DockerResponseServerError {
        status_code,
        message,
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
