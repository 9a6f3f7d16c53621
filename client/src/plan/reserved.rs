//! What this host needs for itself, and which Docker subnets would take it away.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use super::{Host, HostRoute};

/// What a Docker subnet must leave alone.
#[derive(Debug)]
pub(super) struct Reserved {
    /// Prefixes it must neither equal nor contain. A route through the tunnel wins over everything broader than
    /// itself, so a subnet is harmless if it merely lies inside one of these.
    owners: JointPrefixMap<IpNet, String>,
    /// By other engines: prefixes it must not even lie inside, because it would take a part of theirs.
    claims: JointPrefixMap<IpNet, String>,
}

impl Reserved {
    pub(super) fn new(host: &Host, claims: &BTreeMap<IpNet, String>) -> Self {
        let mut routes: Vec<_> = host.routes.iter().filter(|it| !it.ours).collect();
        routes.sort();
        let mut reserved = Self {
            owners: JointPrefixMap::new(),
            claims: claims
                .iter()
                .map(|(prefix, engine)| (prefix.trunc(), engine.clone()))
                .collect(),
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
        special(subnet)
            .or_else(|| self.claimed(subnet))
            .or_else(|| self.owned(subnet))
    }

    fn claimed(&self, subnet: IpNet) -> Option<String> {
        let around = self.claims.get_lpm(&subnet);
        let (prefix, engine) = around.or_else(|| self.claims.children(&subnet).next())?;
        if prefix == subnet {
            return Some(format!("{subnet} is the subnet of engine '{engine}' too"));
        }

        Some(format!("{subnet} overlaps {prefix} of engine '{engine}'"))
    }

    fn owned(&self, subnet: IpNet) -> Option<String> {
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

/// Why a subnet can mean no remote container on any host.
fn special(subnet: IpNet) -> Option<String> {
    let overlaps = |prefix: &IpNet| prefix.contains(&subnet) || subnet.contains(prefix);
    let (text, role) = SPECIAL
        .iter()
        .find(|(text, _)| text.parse().is_ok_and(|it| overlaps(&it)))?;

    Some(format!("{subnet} overlaps {text}, {role}"))
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

/// RFC 1122 3.2.1.3, RFC 3927, RFC 5771, RFC 4291 2.4. All of IPv4 or IPv6 overlaps one of them.
const SPECIAL: [(&str, &str); 7] = [
    ("127.0.0.0/8", "each host's own loopback"),
    ("::1/128", "each host's own loopback"),
    ("0.0.0.0/8", "which means this network"),
    ("169.254.0.0/16", "which is local to each link"),
    ("fe80::/10", "which is local to each link"),
    ("224.0.0.0/4", "which is multicast"),
    ("ff00::/8", "which is multicast"),
];
