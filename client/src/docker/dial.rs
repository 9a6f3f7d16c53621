//! Connections to an engine: one HTTP/1.1 connection per request, by whatever way leads there.

mod ssh;
mod tcp;
mod tls;

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http::header::HOST;
use http::{HeaderValue, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tracing::debug;

use super::endpoint::Endpoint;
use super::find::Target;

/// A client that connects when a request is made, and waits for the head of its response at most this long.
pub(super) fn client(target: &Target, timeout: Duration) -> Result<Docker> {
    let dialler = Arc::new(Dialler::new(target)?);
    let transport = move |request| dialler.clone().send(request);
    let docker = Docker::connect_with_custom_transport(
        transport,
        Some(BASE),
        timeout.as_secs(),
        API_DEFAULT_VERSION,
    )?;

    Ok(docker)
}

/// How to open a connection.
enum Dialler {
    Unix(PathBuf),
    Tcp(tcp::Dialler),
    Tls(tls::Dialler),
    Ssh(ssh::Dialler),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Dialler {
    fn new(target: &Target) -> Result<Self> {
        Ok(match &target.endpoint {
            Endpoint::Unix(path) => Self::Unix(path.clone()),
            Endpoint::Tcp { host, port } => Self::Tcp(tcp::Dialler::new(host, *port)),
            Endpoint::Tls {
                host,
                port,
                certificates,
            } => Self::Tls(tls::Dialler::new(
                tcp::Dialler::new(host, *port),
                host,
                certificates,
            )?),
            Endpoint::Ssh {
                user,
                host,
                port,
                socket,
            } => {
                let arguments = ssh::arguments(user.as_deref(), host, *port, socket.as_deref());
                Self::Ssh(ssh::Dialler::new(target, arguments))
            }
        })
    }

    async fn send(self: Arc<Self>, request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let stream = TokioIo::new(self.dial().await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "connection to the engine broke");
            }
        });

        let response = sender.send_request(in_origin_form(request)).await;
        response.map_err(unwrapped)
    }

    async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(dialler) => Box::new(dialler.dial().await?),
            Self::Tls(dialler) => Box::new(dialler.dial().await?),
            Self::Ssh(dialler) => Box::new(dialler.dial()?),
        })
    }
}

/// Requests to a server (unlike those to a proxy) have the path alone in their first line, and name the host
/// in a header.
fn in_origin_form(mut request: BollardRequest) -> BollardRequest {
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
const BASE: &str = "http://docker";
