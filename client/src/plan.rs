//! What should be: from what the engine and this host have, computes what the server attaches, what this host
//! routes, and what `status` and `ls` say.
//!
//! Pure and deterministic: equal inputs, in any order, give equal plans.

mod attachment;
mod bridge;
mod container;
mod filter;
mod input;
mod map;
mod mapping;
mod network;
mod overlay;
mod parent;
mod pool;
mod reserved;
mod state;
pub(crate) mod tap;

use std::collections::{BTreeMap, BTreeSet};

use dtap_tunnel::session::Attachment;
use ipnet::IpNet;

pub use filter::{Filter, Filters, MalformedFilter, Unmatched};
pub use input::{Host, HostRoute, Input, Leg, Memory, Reach};
pub use map::{MalformedMap, Map, Maps, OverlappingMaps};
pub(crate) use overlay::LEG_PREFIX;
pub use overlay::recognise_legs;
pub use state::{ContainerAddress, ContainerState, NetworkState, Reachability};

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For the server, sorted by the network's name.
    pub attachments: Vec<Attachment>,
    /// The IDs of the networks that the leg should be on; no leg is needed without any.
    pub leg: BTreeSet<String>,
    /// For this host: exactly the attached subnets, or what they are mapped to.
    pub routes: BTreeSet<IpNet>,
    /// From attached subnets to what they are mapped to.
    pub translations: BTreeMap<IpNet, IpNet>,
    /// Every network of the engine, sorted by name.
    pub networks: Vec<NetworkState>,
    /// Every container of the engine but the server's, sorted by name.
    pub containers: Vec<ContainerState>,
    /// What the log should say about this plan, once.
    pub notes: Vec<String>,
}

impl Plan {
    /// The attached subnets, as the engine knows them.
    pub fn subnets(&self) -> BTreeSet<IpNet> {
        let subnets = self.attachments.iter().flat_map(|it| &it.subnets);
        subnets.copied().collect()
    }
}

/// Computes what should be.
///
/// Costs O(n log n) in networks, containers and routes together.
pub fn plan(input: &Input) -> Plan {
    let networks = network::decide(input);
    let containers = container::describe(input, &networks);

    Plan {
        attachments: attachment::attachments(input, &networks),
        leg: overlay::for_leg(input, &networks),
        routes: networks
            .iter()
            .flat_map(network::Decision::routes)
            .collect(),
        translations: networks.iter().flat_map(|it| it.mapped.clone()).collect(),
        notes: networks.iter().flat_map(|it| it.notes.clone()).collect(),
        networks: networks.into_iter().map(|it| it.state).collect(),
        containers,
    }
}

#[cfg(test)]
mod tests;
