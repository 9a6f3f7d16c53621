//! Which addresses this host takes in a network's Ethernet.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Input;
use crate::docker::{Network, Subnet};

/// One for each subnet, or why there is none. Those in `current` stay while nobody else has them.
///
/// From the top, where Docker's IPAM comes last, and outside the range it hands out if there is such a place. `taken` are
/// addresses that others have, as far as anybody knows.
pub(crate) fn choose(
    network: &Network,
    taken: &BTreeSet<IpAddr>,
    current: &BTreeSet<IpNet>,
    wanted: Option<IpAddr>,
) -> Result<BTreeSet<IpNet>, String> {
    let taken: BTreeSet<_> = taken.union(&reserved(network)).copied().collect();
    if let Some(wanted) = wanted {
        check(network, &taken, wanted)?;
    }
    let chosen = network.subnets.iter().filter_map(|subnet| {
        let prefix = subnet.prefix;
        let wanted = wanted.filter(|it| prefix.contains(it));
        let is_kept = |it: &&IpNet| prefix.contains(*it) && !taken.contains(&it.addr());
        let current = current.iter().find(is_kept).map(IpNet::addr);
        let address = wanted.or(current).or_else(|| best(subnet, &taken))?;
        IpNet::new(address, prefix.prefix_len()).ok()
    });
    let chosen: BTreeSet<_> = chosen.collect();
    if chosen.is_empty() {
        return Err(format!("network {} has no free address", network.name));
    }
    Ok(chosen)
}

/// What containers of this network have.
pub(crate) fn taken(input: &Input, network: &Network) -> BTreeSet<IpAddr> {
    let endpoints = input.containers.iter().flat_map(|it| &it.endpoints);
    endpoints
        .filter(|endpoint| endpoint.network_id == network.id)
        .flat_map(|endpoint| endpoint.addresses().map(|(address, _)| address))
        .collect()
}

fn check(network: &Network, taken: &BTreeSet<IpAddr>, wanted: IpAddr) -> Result<(), String> {
    let name = &network.name;
    let mut subnets = network.subnets.iter().map(|it| it.prefix);
    let Some(subnet) = subnets.find(|it| it.contains(&wanted)) else {
        let subnets: Vec<_> = network
            .subnets
            .iter()
            .map(|it| it.prefix.to_string())
            .collect();
        let subnets = subnets.join(" or ");
        return Err(format!(
            "{wanted} is not in network {name}: take one of {subnets}"
        ));
    };
    let is_network_address = wanted == subnet.network();
    let is_broadcast = wanted.is_ipv4() && wanted == subnet.broadcast();
    if subnet.prefix_len() + 1 < subnet.max_prefix_len() && (is_network_address || is_broadcast) {
        return Err(format!(
            "{wanted} is nobody's address: it means network {name} itself"
        ));
    }
    if taken.contains(&wanted) {
        return Err(format!(
            "{wanted} is in use on network {name}: take another, or leave it to dtap"
        ));
    }
    Ok(())
}

fn reserved(network: &Network) -> BTreeSet<IpAddr> {
    let gateways = network.subnets.iter().filter_map(|it| it.gateway);
    gateways.chain(network.auxiliary.iter().copied()).collect()
}

fn best(subnet: &Subnet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let free = || from_the_top(subnet.prefix).filter(|it| !taken.contains(it));
    let outside = subnet
        .range
        .and_then(|range| free().find(|address| !range.contains(address)));
    outside.or_else(|| free().next())
}

fn from_the_top(prefix: IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    match prefix {
        IpNet::V4(prefix) => {
            let first = u32::from(prefix.network()) + 1;
            let end = u32::from(prefix.broadcast());
            let all = (first..end).rev().take(MOST_TRIED);
            Box::new(all.map(|it| Ipv4Addr::from(it).into()))
        }
        IpNet::V6(prefix) => {
            let first = u128::from(prefix.network()) + 1;
            let last = u128::from(prefix.broadcast()).saturating_sub(SUBNET_ANYCAST);
            let all = (first..=last).rev().take(MOST_TRIED);
            Box::new(all.map(|it| Ipv6Addr::from(it).into()))
        }
    }
}

/// All of a /16.
const MOST_TRIED: usize = 1 << 16;
/// The highest addresses of a subnet are nobody's (RFC 2526).
const SUBNET_ANYCAST: u128 = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(subnets: &[(&str, Option<&str>)]) -> Network {
        let subnets = subnets.iter().map(|(prefix, range)| {
            let prefix: IpNet = prefix.parse().unwrap();
            Subnet {
                prefix,
                gateway: prefix.hosts().next(),
                range: range.map(|it| it.parse().unwrap()),
            }
        });
        Network {
            name: "web".into(),
            subnets: subnets.collect(),
            ..Network::default()
        }
    }

    fn chosen(network: &Network, taken: &[&str], current: &[&str], wanted: Option<&str>) -> String {
        let taken = taken.iter().map(|it| it.parse().unwrap()).collect();
        let current = current.iter().map(|it| it.parse().unwrap()).collect();
        let wanted = wanted.map(|it| it.parse().unwrap());
        match choose(network, &taken, &current, wanted) {
            Ok(chosen) => {
                let chosen: Vec<_> = chosen.iter().map(ToString::to_string).collect();
                chosen.join(" ")
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn the_highest_that_nobody_has() {
        let web = network(&[("172.18.0.0/16", None), ("fd00:1::/64", None)]);
        assert_eq!(
            chosen(&web, &["172.18.255.254"], &[], None),
            "172.18.255.253/16 fd00:1::ffff:ffff:ffff:ff7f/64"
        );
    }

    #[test]
    fn outside_the_range_that_docker_hands_out() {
        let web = network(&[("172.18.0.0/16", Some("172.18.128.0/17"))]);
        assert_eq!(chosen(&web, &[], &[], None), "172.18.127.255/16");
        let all = network(&[("172.18.0.0/24", Some("172.18.0.0/24"))]);
        assert_eq!(chosen(&all, &[], &[], None), "172.18.0.254/24");
    }

    #[test]
    fn what_one_has_stays_until_somebody_else_has_it() {
        let web = network(&[("172.18.0.0/16", None)]);
        let current = ["172.18.9.9/16"];
        assert_eq!(chosen(&web, &[], &current, None), "172.18.9.9/16");
        assert_eq!(
            chosen(&web, &["172.18.9.9"], &current, None),
            "172.18.255.254/16"
        );
    }

    #[test]
    fn what_the_user_wants_is_taken_or_refused_with_the_reason() {
        let web = network(&[("172.18.0.0/24", None)]);
        let taken = ["172.18.0.9"];
        let with = |wanted| chosen(&web, &taken, &[], Some(wanted));
        assert_eq!(with("172.18.0.8"), "172.18.0.8/24");
        for (wanted, reason) in [
            ("172.18.0.9", "in use"),
            ("172.18.0.1", "in use"),
            ("172.18.0.0", "means network web itself"),
            ("172.18.0.255", "means network web itself"),
            ("172.18.1.1", "take one of 172.18.0.0/24"),
        ] {
            assert!(with(wanted).contains(reason), "{}", with(wanted));
        }
    }

    #[test]
    fn a_full_network_has_none() {
        let web = network(&[("172.18.0.0/30", None)]);
        assert_eq!(
            chosen(&web, &["172.18.0.2"], &[], None),
            "network web has no free address"
        );
    }

    proptest! {
        #[test]
        fn nobody_gets_what_somebody_has(length in 20_u8..30, range in 20_u8..30, taken in prop::collection::btree_set(0_u32..64, 0..60)) {
            let prefix = format!("172.18.0.0/{length}");
            let range = format!("172.18.0.0/{range}");
            let web = network(&[(&prefix, Some(&range))]);
            let prefix: IpNet = prefix.parse().unwrap();
            let top = match prefix.broadcast() {
                IpAddr::V4(top) => u32::from(top),
                IpAddr::V6(_) => 0,
            };
            let taken: BTreeSet<_> = taken.iter().map(|it| IpAddr::from(Ipv4Addr::from(top - it))).collect();
            if let Ok(chosen) = choose(&web, &taken, &BTreeSet::new(), None) {
                for address in chosen {
                    prop_assert!(prefix.contains(&address.addr()));
                    prop_assert!(!taken.contains(&address.addr()));
                    prop_assert!(address.addr() != prefix.network() && address.addr() != prefix.broadcast());
                    prop_assert!(web.subnets.iter().all(|it| it.gateway != Some(address.addr())));
                }
            }
        }
    }
}
