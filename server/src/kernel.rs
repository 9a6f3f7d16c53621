//! What all paired clients together want of the kernel, and its owner.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use dtap_net::device::MTU;
use dtap_net::firewall::{Firewall, FirewallConfig};
use dtap_net::router::{Router, RouterConfig};
use dtap_tunnel::PublicKey;
use dtap_tunnel::session::Access;
use ipnet::IpNet;

use crate::client::Client;

/// The owner of the interface's addresses and routes and of the firewall.
#[derive(Debug)]
pub(crate) struct Kernel {
    interface: String,
    router: Router,
    firewall: Firewall,
}

impl Kernel {
    pub(crate) fn new(interface: &str) -> Result<Self> {
        Ok(Self {
            interface: interface.to_owned(),
            router: Router::new(interface).context("open the routing socket")?,
            firewall: Firewall::new().context("open the firewall (nf_tables) socket")?,
        })
    }

    /// Makes it so; cheap when it is so already. Routes come last, so that no
    /// packet passes before the firewall is up.
    pub(crate) fn set(&mut self, clients: &BTreeMap<PublicKey, Client>) -> Result<()> {
        let firewall = firewall(&self.interface, clients);
        self.firewall
            .set(&firewall)
            .context("set the firewall rules")?;
        let router = router(clients);
        self.router.set(&router).context("set addresses and routes")
    }

    /// Undoes everything but the blackholes of clients that are still paired:
    /// what containers send them must not leave by the VM's uplink while the
    /// server is away.
    pub(crate) fn leave(&mut self, clients: &BTreeMap<PublicKey, Client>) -> Result<()> {
        let blackholes = router(clients).blackholes;
        let routes = if blackholes.is_empty() {
            self.router.clear()
        } else {
            self.router.set(&RouterConfig {
                blackholes,
                mtu: MTU.into(),
                ..RouterConfig::default()
            })
        };
        let rules = self.firewall.clear();
        routes.context("clear addresses and routes")?;
        rules.context("clear the firewall rules")
    }
}

/// Everything reached through the tunnel or behind it.
pub(crate) fn inner(clients: &BTreeMap<PublicKey, Client>) -> BTreeSet<IpNet> {
    clients
        .values()
        .flat_map(|client| {
            let subnets = client
                .attachments
                .iter()
                .flat_map(|it| it.subnets.iter().copied());
            client.addresses.prefixes().into_iter().chain(subnets)
        })
        .collect()
}

fn router(clients: &BTreeMap<PublicKey, Client>) -> RouterConfig {
    let all = || clients.values().map(|client| client.addresses);
    RouterConfig {
        addresses: all().flat_map(|it| it.interface()).collect(),
        mtu: MTU.into(),
        routes: BTreeSet::new(),
        blackholes: all().flat_map(|it| it.prefixes()).collect(),
    }
}

fn firewall(interface: &str, clients: &BTreeMap<PublicKey, Client>) -> FirewallConfig {
    let mut config = FirewallConfig {
        interface: interface.to_owned(),
        ..FirewallConfig::default()
    };
    for client in clients.values() {
        for attachment in &client.attachments {
            for host in client.addresses.host() {
                for interface in interfaces(&attachment.access) {
                    config.attached.insert((host, interface));
                }
            }
            config.masquerade.extend(&attachment.masquerade);
        }
    }
    config
}

/// Those that packets to and from the network's containers pass.
fn interfaces(access: &Access) -> BTreeSet<String> {
    match access {
        Access::Bridge { interface, .. } => [interface.clone()].into(),
        Access::Sibling { .. } | Access::Unknown => BTreeSet::new(),
        Access::Hops { hops } => hops.values().map(|hop| hop.interface.clone()).collect(),
    }
}
