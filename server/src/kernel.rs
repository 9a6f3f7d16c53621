//! What all paired clients together want of the kernel, and its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use dtap_net::device::MTU;
use dtap_net::firewall::{Firewall, FirewallConfig};
use dtap_net::foothold;
use dtap_net::router::{Router, RouterConfig};
use dtap_tunnel::PublicKey;
use dtap_tunnel::session::{Access, XTABLES_LOCK};
use ipnet::IpNet;

use crate::client::Client;
use crate::grounds::{Grounds, Problems};
use crate::nics::{NicProblems, Nics};

/// The owner of the interface's addresses and routes and of the firewall.
#[derive(Debug)]
pub(crate) struct Kernel {
    interface: String,
    router: Router,
    nics: Nics,
    firewall: Firewall,
}

impl Kernel {
    pub(crate) fn new(interface: &str) -> Result<Self> {
        Ok(Self {
            interface: interface.to_owned(),
            router: Router::new(interface).context("open the routing socket")?,
            nics: Nics::default(),
            firewall: Firewall::new(Path::new(XTABLES_LOCK))
                .context("open the firewall (nf_tables) socket")?,
        })
    }

    /// Makes it so; cheap when it is so already. Routes come last, so that no
    /// packet passes before the firewall is up. Returns what could not be
    /// attached, and who is not reached by a NIC.
    pub(crate) fn set(
        &mut self,
        clients: &BTreeMap<PublicKey, Client>,
    ) -> Result<(Problems, NicProblems)> {
        let mut nic_problems = self.nics.borrow(clients);
        let attachments = clients.values().flat_map(|client| &client.attachments);
        let mut grounds = Grounds::take(attachments.clone())?;
        let firewall = FirewallConfig {
            nics: self.nics.hosts(clients),
            ..firewall(&self.interface, clients, &grounds)
        };
        self.firewall
            .set(&firewall)
            .context("set the firewall rules")?;
        let router = router(clients);
        self.router
            .set(&router)
            .context("set addresses and routes")?;
        nic_problems.extend(self.nics.route(clients));
        if let Some(obstacle) = self.firewall.obstructed() {
            let reason = format!(
                "the engine filters by iptables-legacy, and its rules must be left alone: {}",
                obstacle.reason
            );
            let all = attachments.map(|it| (it.id.clone(), reason.clone()));
            grounds.problems.extend(all);
        }
        if let Some(error) = self.firewall.closed() {
            let reason = format!(
                "its bridge is closed to IPv6, and the engine's kernel hands no answers past it: \
                 {error}; without its IPv6 subnet (--exclude) it is reachable"
            );
            let closed = grounds.handovers.keys();
            let closed = closed.map(|id| (id.clone(), reason.clone()));
            grounds.problems.extend(closed);
        }
        Ok((grounds.problems, nic_problems))
    }

    /// Whether what is set may be changed by others without an announcement.
    pub(crate) const fn is_changed_silently(&self) -> bool {
        self.firewall.is_changed_silently()
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
        self.nics.borrow(&BTreeMap::new());
        let footholds = foothold::clear();
        let rules = self.firewall.clear();
        routes.context("clear addresses and routes")?;
        rules.context("clear the firewall rules")?;
        footholds.context("clear addresses and routes on the engine's networks")
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

/// Which sources of containers' answers are to be others.
pub(crate) fn sources(clients: &BTreeMap<PublicKey, Client>) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let attachments = clients.values().flat_map(|client| &client.attachments);
    attachments
        .filter_map(|it| match &it.access {
            Access::Hops { sources, .. } => Some(sources),
            Access::Bridge { .. } | Access::Sibling { .. } | Access::Unknown => None,
        })
        .flat_map(|sources| sources.iter().map(|(from, to)| (*from, *to)))
        .collect()
}

fn router(clients: &BTreeMap<PublicKey, Client>) -> RouterConfig {
    let prefixes = clients.values().flat_map(|it| it.addresses.prefixes());
    let tunnelled = clients.values().filter(|it| it.nic.is_none());
    RouterConfig {
        addresses: tunnelled.flat_map(|it| it.addresses.interface()).collect(),
        mtu: MTU.into(),
        blackholes: prefixes.collect(),
        ..RouterConfig::default()
    }
}

fn firewall(
    interface: &str,
    clients: &BTreeMap<PublicKey, Client>,
    grounds: &Grounds,
) -> FirewallConfig {
    let mut config = FirewallConfig {
        interface: interface.to_owned(),
        footholds: grounds.footholds.clone(),
        handovers: grounds.handovers.values().flatten().cloned().collect(),
        ..FirewallConfig::default()
    };
    for client in clients.values() {
        for attachment in &client.attachments {
            let passed = grounds.passed.get(&attachment.id).into_iter().flatten();
            for interface in passed {
                let hosts = client.addresses.host().into_iter();
                config
                    .attached
                    .extend(hosts.map(|host| (host, interface.clone())));
            }
            if let Some(exits) = grounds.exits.get(&attachment.id) {
                for host in client.addresses.host() {
                    let interfaces = exits.interfaces.iter();
                    config
                        .outward
                        .extend(interfaces.map(|it| (host, it.clone())));
                    let callers = exits.callers.iter();
                    let callers = callers.filter(|it| it.is_ipv4() == host.is_ipv4());
                    config.callers.extend(callers.map(|it| (host, *it)));
                }
            }
            config.masquerade.extend(&attachment.masquerade);
            config.excluded.extend(&attachment.excluded);
        }
    }
    config
}
