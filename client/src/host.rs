//! What this host has of its own: routes, addresses, resolvers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use dtap_net::router::{self, Route};
use dtap_net::udp::is_dialable;
use ipnet::IpNet;

use crate::plan::{Host, HostRoute};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Everything no Docker subnet may take, without what is on these interfaces, ours.
pub(crate) fn describe(own: &[&str], endpoint: Option<IpAddr>) -> Result<Host> {
    let routes = router::routes().context("list this host's routes")?;
    let routes = routes.into_iter().map(|route| HostRoute {
        ours: is_own(&route, own),
        destination: route.destination,
        gateway: route.gateway,
        interface: route.interface,
    });
    let addresses = router::addresses().context("list this host's addresses")?;
    let addresses = addresses
        .into_iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(_, net)| net.addr());
    Ok(Host {
        routes: routes.collect(),
        addresses: addresses.collect(),
        resolvers: resolvers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
        endpoint,
    })
}

/// A route of dtap's on another interface is that of another tunnel, of this process or another, and as good as
/// anybody's.
fn is_own(route: &Route, own: &[&str]) -> bool {
    match route.interface.as_deref() {
        Some(name) => own.contains(&name),
        None => route.ours,
    }
}

/// Prefixes this host uses: no tunnel address is to be taken from them.
pub(crate) fn used(interface: &str) -> Result<BTreeSet<IpNet>> {
    let host = describe(&[interface], None)?;
    let routes = host.routes.into_iter().filter(|route| !route.ours);
    let routes = routes.map(|route| route.destination);
    let addresses = host.addresses.into_iter().map(IpNet::from);
    Ok(routes
        .chain(addresses)
        .filter(|net| net.prefix_len() > 0)
        .collect())
}

/// This host's addresses at its UDP port, for the server to dial.
pub(crate) fn candidates(interface: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let host = describe(&[interface], None)?;
    let dialable = host.addresses.into_iter().filter(|it| is_dialable(*it));
    Ok(dialable
        .map(|address| SocketAddr::new(address, port))
        .collect())
}

/// `nameserver` lines of resolv.conf(5).
fn resolvers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| {
            rest.split_whitespace()
                .next()?
                .split('%')
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_other_tunnels_are_not_this_one_s() {
        let route = |interface: Option<&str>, ours| Route {
            destination: "172.18.0.0/16".parse().unwrap(),
            interface: interface.map(str::to_owned),
            gateway: None,
            ours,
        };
        assert!(is_own(&route(Some("dtap0"), true), &["dtap0"]));
        assert!(is_own(&route(Some("dtap0"), false), &["dtap0"]));
        assert!(!is_own(&route(Some("dtap1"), true), &["dtap0"]));
        assert!(!is_own(&route(Some("dtap1"), true), &[]));
        assert!(is_own(&route(None, true), &["dtap0"]));
        assert!(!is_own(&route(None, false), &["dtap0"]));
    }

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let text = "# a comment\nsearch lan\nnameserver 192.168.1.1\n nameserver fe80::1%en0\n";
        let expected: Vec<IpAddr> = ["192.168.1.1", "fe80::1"]
            .map(|it| it.parse().unwrap())
            .to_vec();
        assert_eq!(resolvers(text), expected);
    }
}
