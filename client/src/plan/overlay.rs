//! Overlay networks, which span the nodes of a swarm.
//!
//! A container of the engine's own node is reached by where it leaves its networks for the engine's machine. Those that
//! leave by nothing (the network is internal) and those of other nodes are reached by our leg, a container on the network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use dtap_tunnel::session::Hop;
use ipnet::IpNet;

use super::container::is_excluded;
use super::network::Decision;
use super::{Input, Reach};
use crate::docker::{
    Container, ContainerEndpoint, GATEWAY_BRIDGE, LEG_UPLINK, Network, Remote, Swarm,
};

/// The subnets that can be attached, or why none can.
pub(super) fn subnets(input: &Input, network: &Network) -> Result<Vec<IpNet>, String> {
    if network.ingress {
        return Err(
            "it carries published ports only: they answer at the server's address".to_owned(),
        );
    }
    match input.reach {
        Reach::Direct => {
            return Err("overlay: this host itself has no way to its containers".to_owned());
        }
        Reach::Nic => {
            return Err("overlay: only the tunnel leads there (--mode tunnel)".to_owned());
        }
        Reach::Tunnel => {}
    }
    let prefixes = network.subnets.iter().map(|it| it.prefix);
    // The engine gives neither the leg nor a container's exit an IPv6 address that could be relied on.
    let subnets: Vec<_> = prefixes.filter(|it| it.addr().is_ipv4()).collect();
    if subnets.is_empty() {
        return Err("overlay: the network has no IPv4 subnet".to_owned());
    }
    if !network.attachable && needs_leg(input, network) && exits(input, network).is_empty() {
        return Err(NOT_ATTACHABLE.to_owned());
    }
    Ok(subnets)
}

/// Why the leg cannot reach any container of a network, if so.
pub(super) fn refusal(input: &Input, network: &Network) -> Option<String> {
    if !network.is_overlay() || !exits(input, network).is_empty() {
        return None;
    }
    input.leg.refused.get(&network.id).cloned()
}

/// What is to be said of a network of which some containers cannot be reached.
pub(super) fn note(input: &Input, network: &Network) -> Option<String> {
    let reason = obstacle(input, network)?;

    Some(format!(
        "network '{}': only some of its containers are reachable: {reason}",
        network.name
    ))
}

/// The networks the leg should be on.
pub(super) fn for_leg(input: &Input, decisions: &[Decision<'_>]) -> BTreeSet<String> {
    decisions
        .iter()
        .filter(|it| it.network.is_overlay() && !it.attached.is_empty())
        .filter(|it| it.network.attachable && needs_leg(input, it.network))
        .map(|it| it.network.id.clone())
        .collect()
}

/// How the engine's machine gets to the network's containers now.
pub(super) fn hops(input: &Input, decision: &Decision<'_>) -> BTreeMap<IpNet, Hop> {
    let network = decision.network;
    let mut hops = BTreeMap::new();

    if let Some(hop) = leg_hop(input, network) {
        hops.extend(decision.attached.iter().map(|it| (*it, hop.clone())));
    }
    let exits = exits(input, network).into_iter();
    let exits =
        exits.filter(|(address, _)| decision.attached.iter().any(|it| it.contains(address)));
    hops.extend(exits.map(|(address, exit)| (address.into(), exit.hop)));
    hops
}

/// Where answers come from that a container gives by UDP without knowing the address it was asked at. One that is on
/// several overlay networks gives them for one of them.
pub(super) fn sources(input: &Input, decision: &Decision<'_>) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let mut sources = BTreeMap::new();

    for (container, _, address) in locals(input, decision.network) {
        if let Some(exit) = gateway_exit(input, container) {
            sources.entry(exit).or_insert(address);
        }
    }
    sources
}

/// The addresses by which containers that are to be left alone leave for the engine's machine: by label, or because none
/// of their overlay networks is wanted.
pub(super) fn excluded_exits(input: &Input, decisions: &[Decision<'_>]) -> BTreeSet<IpAddr> {
    let overlays = decisions.iter().filter(|it| it.network.is_overlay());
    let wanted: BTreeSet<_> = overlays
        .filter(|it| !it.attached.is_empty())
        .map(|it| it.network.id.as_str())
        .collect();
    let is_wanted = |container: &&Container| {
        let mut endpoints = container.endpoints.iter();
        !is_excluded(container) && endpoints.any(|it| wanted.contains(it.network_id.as_str()))
    };
    let containers = input.containers.iter().filter(|it| !is_wanted(it));
    let exits = containers.filter_map(|it| input.swarm.exits.get(&it.id));

    exits.flatten().copied().collect()
}

/// The addresses of containers that would perhaps answer by another bridge than they were reached by.
pub(super) fn masquerade(input: &Input, network: &Network) -> BTreeSet<IpAddr> {
    let exits = exits(input, network).into_iter();

    exits
        .filter(|(_, exit)| exit.has_choice)
        .map(|(address, _)| address)
        .collect()
}

/// Adds the tasks of other nodes that turn out to stand for legs of other clients, and forgets those that are no more.
///
/// Managers list tasks without names, names are known only of networks that this node is on, and two legs must not hold
/// each other in a network that nobody else is on.
pub fn recognise_legs(swarm: &Swarm, legs: &mut BTreeSet<String>) {
    let mut present = BTreeSet::new();

    for remote in swarm.remote.values() {
        let (tasks, endpoints): (Vec<_>, Vec<_>) = remote.iter().partition(|it| match it {
            Remote::Task { .. } => true,
            Remote::Endpoint { .. } => false,
        });
        let tasks: BTreeSet<_> = tasks.into_iter().filter_map(task_id).collect();
        if endpoints.len() == tasks.len() && endpoints.iter().all(|it| is_foreign_leg(it)) {
            legs.extend(tasks.iter().cloned());
        }
        present.extend(tasks);
    }
    legs.retain(|it| present.contains(it));
}

/// How a local container's packets leave the overlay network.
struct Exit {
    hop: Hop,
    /// Whether it has other bridges, of which one has its default route.
    has_choice: bool,
}

/// Why containers that can be reached by the leg only cannot be reached.
fn obstacle(input: &Input, network: &Network) -> Option<String> {
    if !needs_leg(input, network) {
        return None;
    }
    if !network.attachable {
        return Some(NOT_ATTACHABLE.to_owned());
    }
    input.leg.refused.get(&network.id).cloned()
}

fn needs_leg(input: &Input, network: &Network) -> bool {
    let mut locals = locals(input, network).map(|(container, _, _)| container);

    is_elsewhere(input, network)
        || locals.any(|it| !input.leg.doomed.contains(&it.id) && exit(input, it).is_none())
}

/// Whether somebody else's container is on the network on another node.
fn is_elsewhere(input: &Input, network: &Network) -> bool {
    let mut remote = input.swarm.remote.get(&network.id).into_iter().flatten();

    remote.any(|it| match it {
        Remote::Task { id } => !input.leg.foreign.contains(id),
        Remote::Endpoint { .. } => !is_foreign_leg(it),
    })
}

fn is_foreign_leg(remote: &Remote) -> bool {
    match remote {
        Remote::Task { .. } => false,
        Remote::Endpoint { name, .. } => name.starts_with(LEG_PREFIX),
    }
}

fn task_id(remote: &Remote) -> Option<String> {
    match remote {
        Remote::Task { id } => Some(id.clone()),
        Remote::Endpoint { .. } => None,
    }
}

/// Running containers of this node that are on the network, with their addresses.
fn locals<'a>(
    input: &'a Input,
    network: &'a Network,
) -> impl Iterator<Item = (&'a Container, &'a ContainerEndpoint, Ipv4Addr)> {
    let containers = input.containers.iter();
    let containers = containers.filter(|it| it.running && !it.is_leg() && !is_excluded(it));

    containers.flat_map(move |container| {
        let endpoints = container.endpoints.iter();
        endpoints
            .filter(|it| it.network_id == network.id)
            .filter_map(move |it| Some((container, it, it.ipv4?)))
    })
}

fn exits(input: &Input, network: &Network) -> BTreeMap<IpAddr, Exit> {
    locals(input, network)
        .filter_map(|(container, _, address)| Some((address.into(), exit(input, container)?)))
        .collect()
}

/// By Docker's gateway bridge, which it gives those that are on overlay networks only; else by another bridge.
fn exit(input: &Input, container: &Container) -> Option<Exit> {
    if let Some(address) = gateway_exit(input, container) {
        return Some(Exit {
            hop: Hop {
                address: address.into(),
                interface: GATEWAY_BRIDGE.to_owned(),
            },
            has_choice: false,
        });
    }
    let bridges = input.networks.iter();
    let bridges: BTreeMap<_, _> = bridges
        .filter(|it| it.driver == "bridge" && !it.internal)
        .map(|it| (it.id.as_str(), it))
        .collect();
    let mut hops = container.endpoints.iter().filter_map(|endpoint| {
        endpoint.ipv4_gateway?;
        Some(Hop {
            address: endpoint.ipv4?.into(),
            interface: bridges
                .get(endpoint.network_id.as_str())?
                .bridge_interface(),
        })
    });

    Some(Exit {
        hop: hops.next()?,
        has_choice: hops.next().is_some(),
    })
}

fn gateway_exit(input: &Input, container: &Container) -> Option<Ipv4Addr> {
    let addresses = input.swarm.exits.get(&container.id)?.iter();
    let mut v4 = addresses.filter_map(|it| match it {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });

    v4.next()
}

fn leg_hop(input: &Input, network: &Network) -> Option<Hop> {
    let leg = input.containers.iter().find(|it| input.leg.is(it))?;
    let on = |id: &str| {
        let mut endpoints = leg.endpoints.iter();
        endpoints.find(|it| it.network_id == id && it.ipv4.is_some())
    };
    on(&network.id)?;
    let uplink = input.networks.iter().find(|it| it.name == LEG_UPLINK)?;

    Some(Hop {
        address: on(&uplink.id)?.ipv4?.into(),
        interface: uplink.bridge_interface(),
    })
}

const NOT_ATTACHABLE: &str =
    "its containers run on other nodes, and only services may join it: create it with --attachable";
/// What the names of all legs begin with.
pub(crate) const LEG_PREFIX: &str = "dtap-leg-";
