//! Whether the engine shares this host's network namespace, as Docker on a
//! Linux host does: then there is nothing to tunnel.

use anyhow::{Context as _, Result};
use dtap_net::{namespace, router};
use dtap_tunnel::session::Hello;
use futures_util::StreamExt as _;
use ipnet::IpNet;

use super::connection::Connection;
use super::follow::{BURST, list};
use super::stay::{End, stopped};
use crate::docker::{Endpoint, Engine, Network, Subnet, Target};
use crate::plan::{self, Input, Reach};
use crate::status::State;

impl Connection {
    /// As [`Self::follow`], where there is nothing to set.
    pub(super) async fn follow_direct(&mut self, engine: Engine) -> Result<End> {
        let mut events = engine.events().await?;
        let mut stop = self.stop.clone();
        let mut elsewhere = Box::pin(self.leads_elsewhere());
        loop {
            let listed = list(engine.clone()).await?;
            let input = Input {
                networks: listed.networks,
                containers: listed.containers,
                swarm: listed.swarm,
                filters: self.settings.filters.clone(),
                reach: Reach::Direct,
                server: engine.server().await?.map(|server| server.id),
                ..Input::default()
            };
            let plan = plan::plan(&input);
            self.claims.settle();
            self.view.send_modify(|view| {
                view.status.state = State::Connected;
                view.status.reason = None;
                view.status.absent = false;
                view.status.mode = Some("tunnel".to_owned());
                view.status.path = Some("direct".to_owned());
                view.status.networks = plan.networks;
                view.containers = plan.containers;
            });
            tokio::select! {
                event = events.next() => event.context("follow the engine's events")??,
                () = &mut elsewhere => return Ok(End::Moved),
                () = stopped(&mut stop) => return Ok(End::Stopped),
            };
            tokio::time::sleep(BURST).await;
        }
    }
}

/// Decides without touching the engine.
///
/// A bridge named after a network's random ID that stands on this host with
/// the network's gateway is proof. An engine with no network but the default
/// one, whose `docker0` every machine with Docker has, is asked who it is: the
/// process behind its socket must be a local daemon in this very namespace.
pub(super) fn is_direct(target: &Target, networks: &[Network]) -> bool {
    let bridges = bridges_here(networks);
    if bridges.iter().any(|network| is_named_by_id(network)) {
        return true;
    }
    let Endpoint::Unix(socket) = &target.endpoint else {
        return false;
    };
    !bridges.is_empty() && namespace::is_shared_with_daemon(socket)
}

/// Whether only the server can tell: the engine is reached by TCP or a forwarder, and this host has a bridge like its
/// own.
pub(super) fn is_possible(networks: &[Network]) -> bool {
    namespace::current().is_some() && !bridges_here(networks).is_empty()
}

/// Whether a server that says this of itself is in this very network namespace.
pub(super) fn is_shared_with(server: &Hello) -> bool {
    server.namespace.is_some() && server.namespace == namespace::current()
}

fn bridges_here(networks: &[Network]) -> Vec<&Network> {
    let addresses = router::addresses().unwrap_or_default();
    let bridges = networks.iter().filter(|it| it.driver == "bridge");
    bridges
        .filter(|network| stands_here(network, &addresses))
        .collect()
}

fn is_named_by_id(network: &Network) -> bool {
    network.id.len() >= 12 && network.bridge_interface() == format!("br-{}", &network.id[..12])
}

fn stands_here(network: &Network, addresses: &[(String, IpNet)]) -> bool {
    let bridge = network.bridge_interface();
    let own = addresses.iter().filter(|(name, _)| *name == bridge);
    let mut own = own.map(|(_, address)| address);
    own.any(|address| network.subnets.iter().any(|it| is_gateway(it, address)))
}

/// Before Docker 23, an engine names no gateway of its default network until
/// it is started a second time.
fn is_gateway(subnet: &Subnet, address: &IpNet) -> bool {
    match subnet.gateway {
        Some(gateway) => address.addr() == gateway,
        None => address.trunc() == subnet.prefix.trunc(),
    }
}
