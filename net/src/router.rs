//! Addresses, MTU and routes of one interface of ours, declared and compared with what the kernel
//! really has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

#[cfg(any(target_os = "macos", test))]
#[path = "router/macos/commands.rs"]
mod commands;
#[cfg_attr(target_os = "linux", path = "router/linux.rs")]
#[cfg_attr(target_os = "macos", path = "router/macos.rs")]
mod imp;
#[cfg(any(target_os = "macos", test))]
#[path = "router/macos/table.rs"]
mod table;

pub use imp::{RouteWatch, Router};

/// What one interface should look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// The interface's own addresses; the prefix of each is routed through the interface as well.
    pub addresses: BTreeSet<IpNet>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Prefixes that are reached through the interface.
    pub routes: BTreeSet<IpNet>,
    /// Who takes the packets for `routes`, of each family at most one, in the prefixes of the addresses: in Ethernet
    /// somebody has to.
    pub next_hops: BTreeSet<IpAddr>,
    /// Prefixes whose packets are dropped while the interface is absent, so that they never leave
    /// in the clear by another.
    pub blackholes: BTreeSet<IpNet>,
    /// Whether it is an interface of Ethernet, with neighbours in the prefixes of its addresses.
    pub is_ethernet: bool,
    /// Interfaces of ours whose routes to the same destinations may become this one's, without a
    /// moment in which there is none (macOS: those have to be gone before).
    pub heir_of: BTreeSet<String>,
}

impl RouterConfig {
    /// The prefixes of the addresses.
    fn prefixes(&self) -> BTreeSet<IpNet> {
        let prefixes = self.addresses.iter();
        prefixes
            .filter(|address| address.prefix_len() < address.max_prefix_len())
            .map(IpNet::trunc)
            .collect()
    }

    /// The other routes, with their next hops.
    fn hops(&self) -> BTreeMap<IpNet, Option<IpAddr>> {
        let hop = |route: &IpNet| {
            let mut hops = self.next_hops.iter();
            hops.find(|it| it.is_ipv4() == route.addr().is_ipv4())
                .copied()
        };
        let prefixes = self.prefixes();
        let routes = self.routes.difference(&prefixes);
        routes.map(|route| (*route, hop(route))).collect()
    }
}

/// One next hop of one route of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub destination: IpNet,
    /// The interface packets leave by; none for a route that drops them.
    pub interface: Option<String>,
    pub gateway: Option<IpAddr>,
    /// Whether a [`Router`] of this or of an earlier process installed it.
    pub ours: bool,
}

/// Every IPv4 and IPv6 route of the host, in no particular order, without those to its own
/// addresses.
///
/// # Errors
/// The operating system refused to list them.
pub fn routes() -> io::Result<Vec<Route>> {
    imp::routes()
}

/// Every IPv4 and IPv6 address of the host with the name of its interface.
///
/// # Errors
/// The operating system refused to list them.
pub fn addresses() -> io::Result<Vec<(String, IpNet)>> {
    let interfaces = getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = ip(&interface.address?)?;
            let prefix = match interface.netmask.as_ref().and_then(ip) {
                Some(mask) => ipnet::ip_mask_to_prefix(mask).ok()?,
                None if address.is_ipv4() => 32,
                None => 128,
            };
            Some((interface.interface_name, IpNet::new(address, prefix).ok()?))
        })
        .collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(v4.ip().into()),
        (None, Some(v6)) => Some(v6.ip().into()),
        (None, None) => None,
    }
}

fn missing(interface: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("find interface {interface}: there is none"),
    )
}

/// What could not be done while the rest was.
#[derive(Debug, Default)]
struct Failures(Vec<io::Error>);

impl Failures {
    /// Whether `outcome` is a success.
    fn note(&mut self, action: &str, object: impl fmt::Display, outcome: io::Result<()>) -> bool {
        let Err(error) = outcome else { return true };
        self.0.push(io::Error::new(
            error.kind(),
            format!("{action} {object}: {error}"),
        ));
        false
    }

    fn into_result(self) -> io::Result<()> {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        Err(io::Error::new(first.kind(), texts.join("; ")))
    }
}
