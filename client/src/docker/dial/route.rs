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
pub(in super::super) struct Route(Way);

enum Way {
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
    pub(in super::super) fn new(target: &Target) -> Result<Self> {
        Ok(Self(match &target.endpoint {
            Endpoint::Unix(path) => Way::Unix(path.clone()),
            Endpoint::Tcp { host, port } => Way::Tcp(tcp::Dialler::new(host, *port)),
            Endpoint::Tls {
                host,
                port,
                certificates,
            } => {
                let tcp = tcp::Dialler::new(host, *port);
                Way::Tls(tls::Dialler::new(tcp, host, certificates)?)
            }
            Endpoint::Ssh {
                user,
                host,
                port,
                socket,
            } => {
                let arguments = ssh::arguments(user.as_deref(), host, *port, socket.as_deref());
                Way::Ssh(ssh::Dialler::new(target, arguments))
            }
        }))
    }

    pub(super) async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.0 {
            Way::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Way::Tcp(dialler) => Box::new(dialler.dial().await?),
            Way::Tls(dialler) => Box::new(dialler.dial().await?),
            Way::Ssh(dialler) => Box::new(dialler.dial()?),
        })
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}
