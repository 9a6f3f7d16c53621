//! HTTP/1.1 connections to an engine, by whatever way leads there.

mod route;
mod ssh;
mod tcp;
mod tls;
mod upgrade;

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tracing::debug;

pub(super) use route::Route;
pub(super) use upgrade::{Duplex, upgrade};

/// A client that connects when a request is made, and waits for the head of its response at most this long.
pub(super) fn client(route: Arc<Route>, timeout: Duration) -> Result<Docker> {
    let connections = Arc::new(Connections {
        route,
        idle: Mutex::new(None),
    });
    let transport = move |request: BollardRequest| connections.clone().send(request);
    let docker = Docker::connect_with_custom_transport(
        transport,
        Some(BASE),
        timeout.as_secs(),
        API_DEFAULT_VERSION,
    )?;

    Ok(docker)
}

/// The connections to one engine. One is kept for the next request: a new one costs half a second by ssh.
struct Connections<B> {
    route: Arc<Route>,
    idle: Mutex<Option<http1::SendRequest<B>>>,
}

impl<B> Connections<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Unpin
        + Send
        + 'static,
{
    async fn send(self: Arc<Self>, request: Request<B>) -> Result<Response<Incoming>, Error> {
        let mut request = in_origin_form(request);
        let idle = self.idle().take();
        if let Some(idle) = idle {
            match self.clone().send_by(idle, request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(unwrapped(error.into_error())),
                },
            }
        }

        let sender = self.open().await?;
        let response = self.send_by(sender, request).await;
        response.map_err(|error| unwrapped(error.into_error()))
    }

    async fn open(&self) -> Result<http1::SendRequest<B>, Error> {
        open(&self.route).await
    }

    async fn send_by(
        self: Arc<Self>,
        mut sender: http1::SendRequest<B>,
        request: Request<B>,
    ) -> Result<Response<Incoming>, TrySendError<Request<B>>> {
        let response = sender.try_send_request(request).await?;
        tokio::spawn(async move {
            // Not before the response has been read to its end.
            if sender.ready().await.is_ok() {
                *self.idle() = Some(sender);
            }
        });

        Ok(response)
    }

    fn idle(&self) -> MutexGuard<'_, Option<http1::SendRequest<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open<B>(route: &Route) -> Result<http1::SendRequest<B>, Error>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = TokioIo::new(route.dial().await?);
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection to the engine broke");
        }
    });

    Ok(sender)
}

/// Requests to a server (unlike those to a proxy) have the path alone in their first line, and name the host
/// in a header.
fn in_origin_form<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    request
        .headers_mut()
        .insert(HOST, HeaderValue::from_static(NAME));

    request
}

/// What the operating system or ssh said, rather than what it meant for HTTP.
fn unwrapped(error: hyper::Error) -> Error {
    let cause = error.source().and_then(|it| it.downcast_ref::<io::Error>());

    match cause {
        Some(cause) => io::Error::new(cause.kind(), cause.to_string()).into(),
        None => error.into(),
    }
}

/// Engines ignore the name.
const NAME: &str = "docker";
pub(super) const BASE: &str = "http://docker";
