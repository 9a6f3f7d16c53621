//! `dtap-server run`: the one task that owns the clients and the kernel state.

mod requests;
mod startup;
mod status;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dtap_net::firewall::FirewallWatch;
use dtap_net::router::RouteWatch;
use dtap_net::session::{Heart, Session};
use dtap_net::stdio;
use dtap_net::thread::PacketThread;
use dtap_tunnel::PublicKey;
use dtap_tunnel::session::Hello;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::{Client, SessionId};
use crate::conversation::Conversation;
use crate::data_plane::DataPlane;
use crate::socket;
use crate::store::Store;
pub(crate) use requests::{Outcome, Pairing, Plan, Request, Welcome};

pub(crate) struct Server {
    store: Store,
    /// The UDP port the user wants, 0 for any.
    port: u16,
    /// Of the data plane, and of the sessions that carry datagrams for it.
    thread: PacketThread,
    /// Open while there are clients.
    data_plane: Option<DataPlane>,
    hello: Hello,
    clients: BTreeMap<PublicKey, Client>,
    sender: mpsc::Sender<Request>,
    sessions: u64,
}

/// After a change by others, the rest of their changes is awaited.
const SETTLE: Duration = Duration::from_millis(100);
/// The kernel's state is compared with the wished one at least this often.
const RECHECK: Duration = Duration::from_secs(5);
/// Where nobody announces changes.
const RECHECK_SILENT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn run(state_dir: &Path, port: u16) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    startup::check_privileges()?;
    let started = startup::start(state_dir, port).await?;
    let startup::Started {
        mut server,
        mut requests,
        listener,
    } = started;
    let mut rules = FirewallWatch::new().context("watch the firewall")?;
    let mut routes = RouteWatch::new().context("watch the routes")?;
    let mut recheck = Instant::now() + server.recheck_interval();
    let ended = loop {
        let grace = server.next_grace_end();
        tokio::select! {
            broken = server.broken() => break broken,
            request = requests.recv() => match request {
                Some(request) => {
                    server.handle(request).await;
                    recheck = recheck.min(Instant::now() + server.recheck_interval());
                }
                None => break Ok(()),
            },
            accepted = listener.accept() => server.accept(accepted),
            changed = changed(&mut rules, &mut routes) => {
                changed?;
                recheck = recheck.min(Instant::now() + SETTLE);
            }
            () = sleep_until(Some(recheck)) => {
                server.recheck().await;
                recheck = Instant::now() + server.recheck_interval();
            }
            () = sleep_until(grace) => server.end_graces().await,
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
        }
    };
    let left = server.leave();
    ended.and(left)
}

impl Server {
    fn accept(&mut self, accepted: io::Result<(UnixStream, tokio::net::unix::SocketAddr)>) {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => return tracing::warn!(%error, "cannot accept on the socket"),
        };
        self.sessions += 1;
        let conversation = Conversation {
            id: SessionId(self.sessions),
            hello: self.hello.clone(),
            requests: self.sender.clone(),
        };
        let packets = self.thread.runtime().clone();
        tokio::spawn(async move {
            if let Err(error) = serve(stream, conversation, &packets).await {
                tracing::debug!("socket connection ended: {error:#}");
            }
        });
    }

    /// Compares the kernel's state with what it should be and repairs it:
    /// dockerd restarts and firewall reloads flush rules.
    async fn recheck(&mut self) {
        let Some(data_plane) = &mut self.data_plane else {
            return;
        };
        if let Err(error) = data_plane.set(&self.clients).await {
            tracing::warn!("cannot repair the kernel state: {error:#}");
        }
    }

    fn recheck_interval(&self) -> Duration {
        let data_plane = self.data_plane.as_ref();
        if data_plane.is_some_and(DataPlane::is_changed_silently) {
            RECHECK_SILENT
        } else {
            RECHECK
        }
    }

    fn next_grace_end(&self) -> Option<Instant> {
        self.clients.values().filter_map(Client::grace_end).min()
    }

    async fn broken(&mut self) -> Result<()> {
        match &mut self.data_plane {
            Some(data_plane) => data_plane.broken().await,
            None => std::future::pending().await,
        }
    }

    fn leave(&mut self) -> Result<()> {
        match &mut self.data_plane {
            Some(data_plane) => data_plane.leave(&self.clients),
            None => Ok(()),
        }
    }
}

/// Waits for a change of rules, addresses or routes by anybody.
async fn changed(rules: &mut FirewallWatch, routes: &mut RouteWatch) -> Result<()> {
    tokio::select! {
        changed = rules.changed() => changed.context("watch the firewall"),
        changed = routes.changed() => changed.context("watch the routes"),
    }
}

async fn serve(stream: UnixStream, conversation: Conversation, packets: &Handle) -> Result<()> {
    stream.readable().await?;
    let mut stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let received = stdio::receive(&stream).context("read what is wanted")?;
    match (received.byte, received.stdio) {
        (socket::SESSION, Some((stdin, stdout))) => {
            let session = {
                let _context = packets.enter();
                let (read, write) = stdio::pipes(stdin, stdout).context("use a session's stdio")?;
                Session::start(packets, Heart::Answers, read, write)
            };
            conversation.hold(session).await;
        }
        (socket::STATUS, None) => {
            let status = conversation.status().await?;
            stream.write_all(status.as_bytes())?;
        }
        (socket::RESET, None) => {
            conversation.reset().await?;
            stream.write_all(b"done\n")?;
        }
        (byte, _) => anyhow::bail!("unknown request {byte:#x}"),
    }
    // `dtap-server session` waits for the end of its connection.
    drop(stream);
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
