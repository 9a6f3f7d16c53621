//! The changes of a macOS interface as command lines. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::RouterConfig;

/// What one interface looks like, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) addresses: BTreeSet<IpAddr>,
    /// In bytes, if a router has set it.
    pub(super) mtu: Option<u32>,
    /// Our routes by this interface, with their next hops.
    pub(super) routes: BTreeMap<IpNet, Option<IpAddr>>,
    /// Everybody else's destinations, with where they lead.
    pub(super) others: BTreeMap<IpNet, String>,
}

/// A command line, without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
}

impl Command {
    fn new(program: &'static str, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program, self.arguments.join(" "))
    }
}

/// The commands, in order, that make an interface what `wanted` says. Routes to what somebody else
/// routes already are left out: see [`conflicts`].
pub(super) fn plan(interface: &str, current: &State, wanted: &RouterConfig) -> Vec<Command> {
    let addresses: BTreeMap<_, _> = wanted.addresses.iter().map(|it| (it.addr(), it)).collect();
    let routes = routes(wanted);
    let mut commands = Vec::new();
    if current.mtu != Some(wanted.mtu) {
        commands.push(Command::new(
            IFCONFIG,
            &[interface, "mtu", &wanted.mtu.to_string(), "up"],
        ));
    }
    let mut added = addresses.clone();
    added.retain(|address, _| !current.addresses.contains(address));
    commands.extend(added.into_values().map(|net| match wanted.is_ethernet {
        true => add_address(interface, *net),
        false => add_tunnel_address(interface, net.addr()),
    }));
    let mut stale = current.addresses.clone();
    stale.retain(|address| !addresses.contains_key(address));
    commands.extend(stale.iter().map(|it| delete_address(interface, *it)));
    for (route, hop) in &routes {
        let present = current.routes.get(route);
        if present == Some(hop) || current.others.contains_key(route) {
            continue;
        }
        let before = present.map(|hop| change_route("delete", interface, *route, *hop));
        commands.extend(before);
        commands.push(change_route("add", interface, *route, *hop));
    }
    let mut stale = current.routes.clone();
    stale.retain(|route, _| !routes.contains_key(route));
    let stale = stale.into_iter();
    commands.extend(stale.map(|(route, hop)| change_route("delete", interface, route, hop)));
    commands
}

pub(super) fn take_down(interface: &str) -> Command {
    Command::new(IFCONFIG, &[interface, "down"])
}

/// The routes that are to be added: those to the neighbours of Ethernet come with its addresses.
fn routes(config: &RouterConfig) -> BTreeMap<IpNet, Option<IpAddr>> {
    let mut routes = config.hops();
    if !config.is_ethernet {
        routes.extend(config.prefixes().into_iter().map(|prefix| (prefix, None)));
    }
    routes
}

/// The wanted routes whose destination somebody else routes already, with where that leads.
pub(super) fn conflicts(current: &State, wanted: &RouterConfig) -> Vec<(IpNet, String)> {
    let mut missing = routes(wanted);
    missing.retain(|route, _| !current.routes.contains_key(route));
    let missing = missing.into_keys();
    missing
        .filter_map(|route| Some((route, current.others.get(&route)?.clone())))
        .collect()
}

/// Without its prefix: for IPv6 macOS would add a route to that by itself, which is then neither
/// ours nor replaceable. An IPv4 address of a point-to-point interface needs a peer, by custom
/// itself.
fn add_tunnel_address(interface: &str, address: IpAddr) -> Command {
    match address {
        IpAddr::V4(v4) => Command::new(
            IFCONFIG,
            &[
                interface,
                "inet",
                &format!("{v4}/32"),
                &v4.to_string(),
                "alias",
            ],
        ),
        IpAddr::V6(v6) => Command::new(
            IFCONFIG,
            &[interface, "inet6", &format!("{v6}/128"), "alias"],
        ),
    }
}

/// With its prefix, in which the neighbours are.
fn add_address(interface: &str, address: IpNet) -> Command {
    let family = family(address.addr());
    Command::new(
        IFCONFIG,
        &[interface, family, &address.to_string(), "alias"],
    )
}

fn delete_address(interface: &str, address: IpAddr) -> Command {
    let family = family(address);
    Command::new(
        IFCONFIG,
        &[interface, family, &address.to_string(), "-alias"],
    )
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "inet",
        IpAddr::V6(_) => "inet6",
    }
}

/// `-proto1` sets the flag by which [`table`](super::table) knows our routes: the nearest to Linux'
/// route protocol.
fn change_route(action: &str, interface: &str, route: IpNet, hop: Option<IpAddr>) -> Command {
    let family = match route {
        IpNet::V4(_) => "-inet",
        IpNet::V6(_) => "-inet6",
    };
    let (route, hop) = (route.to_string(), hop.map(|it| it.to_string()));
    let target = match &hop {
        Some(hop) => vec![hop.as_str()],
        None => vec!["-interface", interface],
    };
    let what = ["-q", "-n", action, "-proto1", family, &route];
    Command::new(ROUTE, &[&what[..], &target].concat())
}

const IFCONFIG: &str = "/sbin/ifconfig";
const ROUTE: &str = "/sbin/route";

#[cfg(test)]
#[path = "commands/tests.rs"]
mod tests;
