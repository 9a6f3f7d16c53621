//! A TCP proxy in front of the Docker API that can stall as a sleeping laptop or a stuck forwarder does: without a FIN.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::namespace::Namespace;

/// Listens on a port of the host's 127.0.0.1. Dropped, it closes that port and every connection.
#[derive(Debug)]
pub struct ApiProxy {
    address: SocketAddr,
    flowing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl ApiProxy {
    pub(super) fn start(mac: &Namespace, socket: PathBuf, runtime: &Handle) -> Result<Self> {
        let listener = mac
            .enter(|| StdListener::bind((Ipv4Addr::LOCALHOST, 0)))?
            .context("listen on the host")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        let flowing = watch::Sender::new(true);
        let accepting = runtime.spawn(accept(listener, socket, flowing.subscribe()));
        Ok(Self {
            address,
            flowing,
            accepting,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `DOCKER_HOST` for it.
    pub fn docker_host(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Moves no byte and no end of a stream any more. Connections stay open, and new ones are accepted.
    pub fn stall(&self) {
        self.flowing.send_replace(false);
    }

    /// Moves on, beginning with what has waited.
    pub fn resume(&self) {
        self.flowing.send_replace(true);
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, flowing: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let socket = socket.clone();
        let flowing = flowing.clone();
        tokio::spawn(async move {
            let Ok(engine) = UnixStream::connect(socket).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_engine, to_engine) = engine.into_split();
            let _ = tokio::try_join!(
                pump(from_client, to_engine, flowing.clone()),
                pump(from_engine, to_client, flowing),
            );
        });
    }
}

/// Fails, and so ends its connection, when the proxy is dropped.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flowing: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut proxy = flowing.clone();
    loop {
        let length = tokio::select! {
            read = from.read(&mut buffer) => read?,
            () = gone(&mut proxy) => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        flowing
            .wait_for(|flowing| *flowing)
            .await
            .map_err(|_| io::ErrorKind::ConnectionAborted)?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

async fn gone(proxy: &mut watch::Receiver<bool>) {
    while proxy.changed().await.is_ok() {}
}
