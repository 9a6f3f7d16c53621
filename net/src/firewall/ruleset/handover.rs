//! The table that hands answers past bridges which would not take them.
//!
//! Where Docker gives a bridge no IPv6 address it disables IPv6 on it. A container answers the address of the foothold,
//! but where `br_netfilter` is at work (the kernel's `br_nf_pre_routing_finish_ipv6`) the masquerade is undone while the
//! frame still is on its way through the bridge, and the frame then is handed to the bridge itself: it would be dropped
//! there. At the bridge's ingress it gets the foothold's hardware address instead.

use std::net::{IpAddr, Ipv6Addr};

use super::{Chain, Hook, Ruleset, Statement, TableFamily};
use crate::firewall::FirewallConfig;

/// A bridge that takes no IPv6, and our interface on it that does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handover {
    pub bridge: String,
    pub foothold: String,
    /// That of the foothold.
    pub hardware: [u8; 6],
}

impl Ruleset {
    /// One chain for each foothold: what the tunnel addresses attached to it are answered.
    pub(in crate::firewall) fn handovers(config: &FirewallConfig) -> Self {
        let chains = config.handovers.iter().map(|handover| Chain {
            name: handover.foothold.clone(),
            kind: "filter",
            hook: Hook::Ingress,
            device: Some(handover.bridge.clone()),
            priority: 0,
            priority_name: "filter",
            rules: hosts(config, &handover.foothold)
                .map(|host| vec![Statement::To(host), Statement::HandTo(handover.hardware)])
                .collect(),
        });
        Self {
            family: TableFamily::Netdev,
            chains: chains.collect(),
        }
    }
}

fn hosts(config: &FirewallConfig, foothold: &str) -> impl Iterator<Item = Ipv6Addr> {
    let attached = config.attached.iter();
    attached.filter_map(move |(host, interface)| match host {
        IpAddr::V6(host) if interface == foothold => Some(*host),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    })
}
