//! From nothing to a running server: privileges, leftovers, device, socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use dtap_net::device::Device;
use dtap_net::driver;
use dtap_net::firewall::Firewall;
use dtap_net::router::Router;
use dtap_net::udp::Udp;
use dtap_tunnel::session::{Hello, PROTOCOL};
use dtap_tunnel::{PrivateKey, Tunnel};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Request, Server};
use crate::addresses::Addresses;
use crate::kernel::{Kernel, MTU};
use crate::socket;
use crate::store::Store;

/// A server and the inputs of its loop.
pub(super) struct Started {
    pub(super) server: Server,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) driving: JoinHandle<io::Result<()>>,
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
    let device = Device::create(MTU).context("create the tunnel interface")?;
    let interface = device.name().to_owned();
    let udp = bind(port, store.state.port)?;
    let port = udp.port();
    store.state.port = port;
    store.save()?;
    let tunnel = Tunnel::new(store.key.clone());
    let (driver, driving) = driver::start(tunnel, device, udp);
    let (sender, requests) = mpsc::channel(REQUESTS);
    let driving = tokio::spawn(driving);
    let mut server = Server {
        kernel: Kernel::new(&interface)?,
        hello: hello(),
        clients: BTreeMap::new(),
        sessions: 0,
        store,
        driver,
        port,
        sender,
        interface,
    };
    server.restore().await?;
    tracing::info!(interface = %server.interface, port, key = %server.store.key.public(), "server is up");
    Ok(Started {
        server,
        requests,
        driving,
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
        Firewall::sweep().context("clear the rules of an earlier run")?;
        for (client, known) in paired {
            self.admit(client, Addresses::numbered(known.number, key), None)
                .await?;
            if let Some(client) = self.clients.get_mut(&client) {
                client.attachments = known.attachments;
                client.begin_grace(Instant::now());
            }
        }
        self.apply().await
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

/// The port of the last run if it is still free: NATs and clients know it.
fn bind(wanted: u16, last: u16) -> Result<Udp> {
    if wanted == 0
        && last != 0
        && let Ok(udp) = Udp::bind(last)
    {
        return Ok(udp);
    }
    Udp::bind(wanted).with_context(|| format!("bind UDP port {wanted}"))
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: Some(PrivateKey::generate().public().to_string()),
        namespace: dtap_net::namespace::current(),
    }
}
