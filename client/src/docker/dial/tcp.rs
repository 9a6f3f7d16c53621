//! TCP to an engine.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub(super) struct Dialler {
    host: String,
    port: u16,
}

impl Dialler {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
        }
    }

    pub(super) async fn dial(&self) -> io::Result<TcpStream> {
        let stream = self.connect().await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;

        Ok(stream)
    }

    /// Tries all addresses, and again while none of them says anything, until the caller has had enough.
    async fn connect(&self) -> io::Result<TcpStream> {
        loop {
            let mut refusal = None;
            for address in lookup_host((self.host.as_str(), self.port)).await? {
                match timeout(ATTEMPT, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => refusal = Some(error),
                    Err(_) => {}
                }
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
        }
    }
}

/// TCP asks after 0, 1, 3 and 7 s: a link that is back after a night would wait for the longest of them.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The stream of events may be silent for days, and a vanished engine never says so.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10));
