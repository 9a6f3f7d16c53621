//! What this host needs for itself, and which Docker subnets would take it away.

use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use super::{Host, HostRoute};

/// The prefixes a Docker subnet must neither equal nor contain.
///
/// A route through the tunnel wins over everything broader than itself, so a subnet is harmless if it merely
/// lies inside one of these.
#[derive(Debug)]
pub(super) struct Reserved {
    owners: JointPrefixMap<IpNet, String>,
}

impl Reserved {
    pub(super) fn new(host: &Host) -> Self {
        let mut routes: Vec<_> = host.routes.iter().filter(|it| !it.ours).collect();
        routes.sort();
        let mut reserved = Self {
            owners: JointPrefixMap::new(),
        };

        for route in &routes {
            if !is_default(route.destination) {
                reserved.add(route.destination, described(route));
            }
        }
        for hop in routes.iter().filter_map(|it| it.gateway) {
            reserved.add_address(hop, "the next hop");
        }
        for &address in &host.addresses {
            reserved.add_address(address, "this host's address");
        }
        for &resolver in &host.resolvers {
            reserved.add_address(resolver, "the DNS resolver");
        }
        if let Some(endpoint) = host.endpoint {
            reserved.add_address(endpoint, "the tunnel's endpoint");
        }
        reserved
    }

    /// What a route to `subnet` would take away, in words.
    pub(super) fn conflict(&self, subnet: IpNet) -> Option<String> {
        let (prefix, owner) = self.owners.children(&subnet).next()?;
        let relation = if prefix == subnet {
            "equals"
        } else {
            "contains"
        };

        Some(format!("{subnet} {relation} {owner}"))
    }

    /// The narrowest prefix that `subnet` lies inside, in words.
    pub(super) fn surrounding(&self, subnet: IpNet) -> Option<&str> {
        let (_, owner) = self.owners.get_lpm(&subnet)?;

        Some(owner)
    }

    fn add_address(&mut self, address: IpAddr, role: &str) {
        self.add(address.into(), format!("{role} {address}"));
    }

    fn add(&mut self, prefix: IpNet, owner: String) {
        self.owners.entry(prefix.trunc()).or_insert(owner);
    }
}

/// A VPN that takes all traffic installs the two halves (`0.0.0.0/1` and `128.0.0.0/1`, `::/1` and `8000::/1`)
/// rather than replace the default route.
fn is_default(destination: IpNet) -> bool {
    destination.prefix_len() <= 1
}

fn described(route: &HostRoute) -> String {
    let destination = route.destination;
    let gateway = route.gateway.map(|it| format!(" via {it}"));
    let interface = route.interface.as_ref().map(|it| format!(" on {it}"));

    format!(
        "this host's route {destination}{}{}",
        gateway.unwrap_or_default(),
        interface.unwrap_or_default()
    )
}
