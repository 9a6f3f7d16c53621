//! From nothing to a running server: privileges, leftovers, device, socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use dtap_net::bridge;
use dtap_net::firewall::Firewall;
use dtap_net::foothold;
use dtap_net::router::Router;
use dtap_net::thread::PacketThread;
use dtap_tunnel::PrivateKey;
use dtap_tunnel::session::{Hello, PROTOCOL, XTABLES_LOCK};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{Request, Server};
use crate::addresses::Addresses;
use crate::data_plane::DataPlane;
use crate::socket;
use crate::store::Store;

/// A server and the inputs of its loop.
pub(super) struct Started {
    pub(super) server: Server,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) listener: UnixListener,
}

const TUN: &str = "/dev/net/tun";
/// `CAP_NET_ADMIN`, capabilities(7).
const NET_ADMIN: u32 = 12;
const REQUESTS: usize = 64;

/// Says in one line which permission is missing.
pub(super) fn check_privileges() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("read own capabilities")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default();
    if effective & (1 << NET_ADMIN) == 0 {
        bail!("the capability NET_ADMIN is missing: start the container with --cap-add NET_ADMIN");
    }
    let opened = fs::OpenOptions::new().read(true).write(true).open(TUN);
    opened
        .map(drop)
        .with_context(|| format!("open {TUN}: start the container with --device {TUN}"))
}

/// Takes over what an earlier run left, and lets its clients in again.
pub(super) async fn start(state_dir: &Path, port: u16) -> Result<Started> {
    let mut store = Store::open(state_dir)?;
    let listener = listen(&state_dir.join(socket::NAME))?;
    let (sender, requests) = mpsc::channel(REQUESTS);
    // Even if no client is paired: what is missing is to be said at the start.
    let thread = PacketThread::start().context("start the thread that moves packets")?;
    let data_plane = DataPlane::open(thread.runtime(), &store.key, port, store.state.port)?;
    store.state.port = data_plane.port;
    store.save()?;
    let mut server = Server {
        store,
        port,
        thread,
        data_plane: Some(data_plane),
        hello: hello(),
        clients: BTreeMap::new(),
        sender,
        sessions: 0,
    };
    server.restore().await?;
    tracing::info!(port = server.store.state.port, key = %server.store.key.public(), "server is up");
    Ok(Started {
        server,
        requests,
        listener,
    })
}

impl Server {
    /// Clients that were paired when the last run ended get their grace: they
    /// are on their way back, and their blackholes must not go before routes
    /// stand beside them.
    async fn restore(&mut self) -> Result<()> {
        let key = self.store.key.public();
        let paired = self
            .store
            .state
            .clients
            .iter()
            .filter(|(_, known)| known.paired);
        let paired: Vec<_> = paired
            .map(|(client, known)| (*client, known.clone()))
            .collect();
        if paired.is_empty() {
            Router::sweep().context("clear the routes of an earlier run")?;
        }
        let nics = bridge::borrowed_nics().context("find the NICs of an earlier run")?;
        bridge::sweep().context("give back the NICs of an earlier run")?;
        foothold::clear().context("clear the footholds of an earlier run")?;
        Firewall::sweep(Path::new(XTABLES_LOCK), &nics)
            .context("clear the rules of an earlier run")?;
        for (client, known) in paired {
            self.admit(client, Addresses::numbered(known.number, key), None)
                .await?;
            if let Some(client) = self.clients.get_mut(&client) {
                client.attachments = known.attachments;
                client.taps = known.taps;
                client.nic = known.nic;
                client.begin_grace(Instant::now());
            }
        }
        self.apply().await.map(|_| ())
    }
}

fn listen(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("remove the socket of an earlier run"),
    }
    UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: Some(PrivateKey::generate().public().to_string()),
        namespace: dtap_net::namespace::current(),
        lacks_xtables_lock: false,
    }
}
