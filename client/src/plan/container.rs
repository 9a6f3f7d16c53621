//! What `ls` says about containers, and which of them need masquerading.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::map::moved;
use super::network::Decision;
use super::{ContainerAddress, ContainerState, Input};
use crate::docker::{Container, ContainerEndpoint, ENABLE_LABEL};

/// Describes every container but dtap's own, sorted by name.
pub(super) fn describe(input: &Input, networks: &[Decision<'_>]) -> Vec<ContainerState> {
    let networks: HashMap<_, _> = networks
        .iter()
        .map(|it| (it.network.id.as_str(), it))
        .collect();
    let by_id: HashMap<_, _> = input
        .containers
        .iter()
        .map(|it| (it.id.as_str(), it))
        .collect();
    let mut containers: Vec<_> = input
        .containers
        .iter()
        .filter(|it| input.server.as_deref() != Some(it.id.as_str()) && !it.is_leg())
        .collect();
    containers.sort_by_key(|it| (&it.name, &it.id));

    containers
        .into_iter()
        .map(|container| {
            let owner = namespace_owner(container, &by_id);
            state(input, container, owner, &networks)
        })
        .collect()
}

/// The addresses, by network ID, of the containers that `chosen` picks.
pub(super) fn addresses_by_network(
    input: &Input,
    chosen: impl Fn(&Container) -> bool,
) -> BTreeMap<&str, BTreeSet<IpAddr>> {
    collect(input, |container, _, _, _| chosen(container))
}

/// The addresses, by network ID, of containers that could not answer the host's own address.
///
/// They have no route to it: on an internal network, without a gateway, or perhaps by another of their networks.
pub(super) fn masquerade(input: &Input) -> BTreeMap<&str, BTreeSet<IpAddr>> {
    let internal: BTreeSet<_> = input
        .networks
        .iter()
        .filter(|it| it.internal)
        .map(|it| it.id.as_str())
        .collect();

    collect(input, |container, network, address, gateway| {
        gateway.is_none() || internal.contains(network) || has_choice(container, address)
    })
}

/// Whether the user wants this container to be left alone.
pub(super) fn is_excluded(container: &Container) -> bool {
    container
        .labels
        .get(ENABLE_LABEL)
        .is_some_and(|it| it == "false")
}

/// The addresses that `chosen` picks by container, network ID, address and gateway.
fn collect(
    input: &Input,
    chosen: impl Fn(&Container, &str, IpAddr, Option<IpAddr>) -> bool,
) -> BTreeMap<&str, BTreeSet<IpAddr>> {
    let mut addresses: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();

    for container in &input.containers {
        for endpoint in &container.endpoints {
            for (address, gateway) in endpoint.addresses() {
                let network = endpoint.network_id.as_str();
                if chosen(container, network, address, gateway) {
                    addresses.entry(network).or_default().insert(address);
                }
            }
        }
    }
    addresses
}

/// Whether the container has several addresses of this family, of which only one leads to the default gateway.
fn has_choice(container: &Container, address: IpAddr) -> bool {
    let addresses = container
        .endpoints
        .iter()
        .flat_map(ContainerEndpoint::addresses);

    addresses
        .filter(|(other, _)| other.is_ipv4() == address.is_ipv4())
        .nth(1)
        .is_some()
}

/// The container whose network namespace this one uses: with `--network container:ID` another's.
fn namespace_owner<'a>(
    container: &'a Container,
    by_id: &HashMap<&str, &'a Container>,
) -> &'a Container {
    let owner = container.network_mode.strip_prefix("container:");

    owner
        .and_then(|id| by_id.get(id).copied())
        .unwrap_or(container)
}

fn state(
    input: &Input,
    container: &Container,
    owner: &Container,
    networks: &HashMap<&str, &Decision<'_>>,
) -> ContainerState {
    let reason = obstacle(container, owner, networks);

    ContainerState {
        name: container.name.clone(),
        id: container.id.clone(),
        names: Vec::new(),
        networks: (owner.endpoints.iter())
            .flat_map(|endpoint| addresses(input, endpoint, networks))
            .collect(),
        ports: container.ports.iter().map(ToString::to_string).collect(),
        reachable: reason.is_none(),
        reason,
    }
}

/// Why a container cannot be reached, in words, or `None` if it can.
fn obstacle(
    container: &Container,
    owner: &Container,
    networks: &HashMap<&str, &Decision<'_>>,
) -> Option<String> {
    if !container.running {
        return Some("does not run".to_owned());
    }
    if is_excluded(container) {
        return Some(format!("excluded by its label {ENABLE_LABEL}=false"));
    }
    if owner.network_mode == HOST_MODE || has_reachable_address(owner, networks) {
        return None;
    }
    let reasons = owner.endpoints.iter().filter_map(|endpoint| {
        let decision = networks.get(endpoint.network_id.as_str())?;
        decision.state.reason.clone()
    });
    let reasons: Vec<_> = reasons.collect();
    if reasons.is_empty() {
        return Some("has no address".to_owned());
    }
    Some(reasons.join("; "))
}

fn has_reachable_address(container: &Container, networks: &HashMap<&str, &Decision<'_>>) -> bool {
    container.endpoints.iter().any(|endpoint| {
        let decision = networks.get(endpoint.network_id.as_str());
        let reachable = decision.map(|it| &it.reachable);

        endpoint.addresses().any(|(address, _)| {
            reachable
                .into_iter()
                .flatten()
                .any(|it| it.contains(&address))
        })
    })
}

fn addresses(
    input: &Input,
    endpoint: &ContainerEndpoint,
    networks: &HashMap<&str, &Decision<'_>>,
) -> Vec<ContainerAddress> {
    let decision = networks.get(endpoint.network_id.as_str());
    let mapped = |address: IpAddr| {
        let mut pairs = decision.into_iter().flat_map(|it| &it.mapped);
        let (_, prefix) = pairs.find(|(subnet, _)| subnet.contains(&address))?;
        Some(moved(address.into(), *prefix)?.addr())
    };
    let entry = |address: Option<IpAddr>| ContainerAddress {
        network: endpoint.network.clone(),
        address,
        mapped: address.and_then(mapped),
    };
    let addresses: Vec<_> = endpoint
        .addresses()
        .map(|(address, _)| entry(Some(address)))
        .collect();

    if addresses.is_empty() {
        let is_host = endpoint.network == HOST_MODE;
        return vec![entry(
            input.server_addresses.first().copied().filter(|_| is_host),
        )];
    }
    addresses
}

const HOST_MODE: &str = "host";
