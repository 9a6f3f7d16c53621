//! What the server is asked to do, network by network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dtap_tunnel::session::{Access, Attachment};

use super::network::Decision;
use super::{Input, bridge, container, overlay, parent};
use crate::docker::GATEWAY_BRIDGE;

/// Addresses of containers by network ID.
type Addresses<'a> = BTreeMap<&'a str, BTreeSet<IpAddr>>;

/// The attachments of the networks that are to be reached through the tunnel, also of those the server has refused: its
/// machine may have changed.
pub(super) fn attachments(input: &Input, decisions: &[Decision<'_>]) -> Vec<Attachment> {
    let all = container::addresses_by_network(input, |_| true);
    let masquerade = container::masquerade(input);
    let excluded = container::addresses_by_network(input, container::is_excluded);

    decisions
        .iter()
        .filter(|it| !it.attached.is_empty())
        .map(|decision| Attachment {
            id: decision.network.id.clone(),
            network: decision.network.name.clone(),
            access: access(input, decision, &all),
            subnets: decision.attached.clone(),
            masquerade: if decision.network.is_overlay() {
                overlay::masquerade(input, decision.network)
            } else {
                within(decision, &masquerade)
            },
            excluded: if decision.network.name == GATEWAY_BRIDGE {
                overlay::excluded_exits(input, decisions)
            } else {
                within(decision, &excluded)
            },
        })
        .collect()
}

fn access(input: &Input, decision: &Decision<'_>, containers: &Addresses<'_>) -> Access {
    let network = decision.network;

    if network.is_overlay() {
        return Access::Hops {
            hops: overlay::hops(input, decision),
            sources: overlay::sources(input, decision),
        };
    }
    match parent::kind(network) {
        Some(kind) => Access::Sibling {
            parent: parent::interface(network),
            kind,
            containers: within(decision, containers),
        },
        None => Access::Bridge {
            interface: network.bridge_interface(),
            bare: decision
                .attached
                .iter()
                .copied()
                .filter(|subnet| bridge::is_bare(network, *subnet))
                .collect(),
        },
    }
}

/// Those of the network's addresses that are in its attached subnets.
fn within(decision: &Decision<'_>, addresses: &Addresses<'_>) -> BTreeSet<IpAddr> {
    addresses
        .get(decision.network.id.as_str())
        .into_iter()
        .flatten()
        .copied()
        .filter(|address| decision.attached.iter().any(|it| it.contains(address)))
        .collect()
}
