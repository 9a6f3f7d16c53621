//! `dtap-server leg`: a foot in the engine's overlay networks, in a container of its own.
//!
//! ```text
//!   VM ── docker0 ── uplink [leg] eth1 ── overlay ── containers of every node
//! ```
//!
//! Only the engine can give anything an address on an overlay network, so what the VM sends there passes a container. It
//! lets clients of the tunnel through, under its own address, and nothing else of what comes by its uplink. It ends when
//! its client has not been heard for a while, and leaves nothing: the network namespace is its own.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dtap_net::firewall::{Firewall, FirewallConfig};
use dtap_net::router::{self, RouteWatch};
use dtap_tunnel::session::XTABLES_LOCK;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Lets these tunnel addresses through until nobody writes to standard input any more.
pub(crate) async fn run(hosts: &[IpAddr]) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut routes = RouteWatch::new().context("watch the routes")?;
    let mut firewall =
        Firewall::new(Path::new(XTABLES_LOCK)).context("open the firewall (nf_tables) socket")?;
    let mut heard = heard();
    let mut end = Instant::now() + GRACE;
    loop {
        firewall
            .set(&config(hosts)?)
            .context("set the firewall rules")?;
        tokio::select! {
            changed = routes.changed() => changed.context("watch the routes")?,
            Some(()) = heard.recv() => end = Instant::now() + GRACE,
            () = tokio::time::sleep_until(end.into()) => {
                tracing::info!("the client is gone");
                return Ok(());
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// As for a tunnel, whose place the uplink has here: containers of the networks answer this machine only.
fn config(hosts: &[IpAddr]) -> Result<FirewallConfig> {
    let routes = router::routes().context("list the routes")?;
    let uplink = routes
        .into_iter()
        .filter(|route| route.destination.prefix_len() == 0)
        .find_map(|route| route.interface)
        .context("find the uplink: no default route")?;
    let networks: BTreeSet<_> = router::addresses()
        .context("list the addresses")?
        .into_iter()
        .filter(|(name, address)| *name != uplink && !address.addr().is_loopback())
        .map(|(name, _)| name)
        .collect();
    let attached = networks
        .iter()
        .flat_map(|name| hosts.iter().map(|host| (*host, name.clone())))
        .collect();
    Ok(FirewallConfig {
        interface: uplink,
        attached,
        footholds: networks,
        ..FirewallConfig::default()
    })
}

/// One item for whatever comes by standard input. Its end is no item: who was attached may come back.
fn heard() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(1..) = std::io::stdin().read(&mut bytes) {
            if sender.blocking_send(()).is_err() {
                return;
            }
        }
        // While this end lives, nobody takes its silence for news.
        std::thread::park();
    });
    receiver
}

/// Two heartbeats of the client's may get lost. No longer: a leg keeps its networks from being removed.
const GRACE: Duration = Duration::from_secs(12);
