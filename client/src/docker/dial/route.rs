//! The ways to an engine.

use std::io;
use std::path::PathBuf;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::super::endpoint::Endpoint;
use super::super::find::Target;
use super::{ssh, tcp, tls};

/// How a connection is opened.
pub(super) enum Route {
    Unix(PathBuf),
    Tcp(tcp::Dialler),
    Tls(tls::Dialler),
    Ssh(ssh::Dialler),
}

/// A connection's bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Route {
    /// Reads what it takes to authenticate, but opens nothing yet.
    pub(super) fn new(target: &Target) -> Result<Self> {
        Ok(match &target.endpoint {
            Endpoint::Unix(path) => Self::Unix(path.clone()),
            Endpoint::Tcp { host, port } => Self::Tcp(tcp::Dialler::new(host, *port)),
            Endpoint::Tls {
                host,
                port,
                certificates,
            } => {
                let tcp = tcp::Dialler::new(host, *port);
                Self::Tls(tls::Dialler::new(tcp, host, certificates)?)
            }
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

    pub(super) async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(dialler) => Box::new(dialler.dial().await?),
            Self::Tls(dialler) => Box::new(dialler.dial().await?),
            Self::Ssh(dialler) => Box::new(dialler.dial()?),
        })
    }
}
