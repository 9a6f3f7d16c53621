//! Whether the engine shares this host's network namespace, as Docker on a
//! Linux host does: then there is nothing to tunnel.

use std::net::IpAddr;

use dtap_net::{namespace, router};

use crate::docker::{Endpoint, Network, Target};

/// Decides without touching the engine.
///
/// A bridge named after a network's random ID that stands on this host with
/// the network's gateway is proof. An engine with no network but the default
/// one, whose `docker0` every machine with Docker has, is asked who it is: the
/// process behind its socket must be a local daemon in this very namespace.
pub(super) fn is_direct(target: &Target, networks: &[Network]) -> bool {
    let addresses = router::addresses().unwrap_or_default();
    let here = |network: &&Network| stands_here(network, &addresses);
    let bridges = || networks.iter().filter(|network| network.driver == "bridge");
    if bridges().any(|network| is_named_by_id(network) && here(&network)) {
        return true;
    }
    let Endpoint::Unix(socket) = &target.endpoint else {
        return false;
    };
    bridges().any(|network| here(&network)) && namespace::is_shared_with_daemon(socket)
}

fn is_named_by_id(network: &Network) -> bool {
    network.id.len() >= 12 && network.bridge_interface() == format!("br-{}", &network.id[..12])
}

fn stands_here(network: &Network, addresses: &[(String, ipnet::IpNet)]) -> bool {
    let bridge = network.bridge_interface();
    let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
    let has = |gateway: IpAddr| {
        addresses
            .iter()
            .any(|(name, net)| *name == bridge && net.addr() == gateway)
    };
    gateways.into_iter().any(has)
}
