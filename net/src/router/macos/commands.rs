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
    commands.extend(added.into_values().map(|net| match is_tunnel(wanted) {
        true => add_tunnel_address(interface, net.addr()),
        false => add_address(interface, *net),
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

fn is_tunnel(config: &RouterConfig) -> bool {
    config.next_hops.is_empty()
}

/// Those that macOS does not make by itself.
fn routes(config: &RouterConfig) -> BTreeMap<IpNet, Option<IpAddr>> {
    let mut routes = config.hops();
    if is_tunnel(config) {
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

/// With its prefix, and so with the route to that by which macOS finds neighbours.
fn add_address(interface: &str, address: IpNet) -> Command {
    let family = match address {
        IpNet::V4(_) => "inet",
        IpNet::V6(_) => "inet6",
    };
    Command::new(
        IFCONFIG,
        &[interface, family, &address.to_string(), "alias"],
    )
}

fn delete_address(interface: &str, address: IpAddr) -> Command {
    let family = match address {
        IpAddr::V4(_) => "inet",
        IpAddr::V6(_) => "inet6",
    };
    Command::new(
        IFCONFIG,
        &[interface, family, &address.to_string(), "-alias"],
    )
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
mod tests {
    use super::*;

    #[test]
    fn a_fresh_interface_is_brought_up() {
        assert_eq!(
            planned(&State::default(), &config()),
            [
                "/sbin/ifconfig utun5 mtu 1420 up",
                "/sbin/ifconfig utun5 inet 10.75.0.2/32 10.75.0.2 alias",
                "/sbin/ifconfig utun5 inet6 fd75::2/128 alias",
                "/sbin/route -q -n add -proto1 -inet 10.75.0.0/24 -interface utun5",
                "/sbin/route -q -n add -proto1 -inet 172.18.0.0/16 -interface utun5",
                "/sbin/route -q -n add -proto1 -inet6 fd00:18::/64 -interface utun5",
                "/sbin/route -q -n add -proto1 -inet6 fd75::/64 -interface utun5",
            ]
        );
    }

    #[test]
    fn nothing_is_done_twice() {
        assert_eq!(planned(&reached(&config()), &config()), [""; 0]);
    }

    #[test]
    fn what_is_new_comes_before_what_is_stale_goes() {
        let mut moved = config();
        moved.mtu = 1380;
        moved.addresses = [
            "10.75.9.2/24".parse().unwrap(),
            "fd75::2/64".parse().unwrap(),
        ]
        .into();
        moved.routes = ["172.19.0.0/16".parse().unwrap()].into();
        assert_eq!(
            planned(&reached(&config()), &moved),
            [
                "/sbin/ifconfig utun5 mtu 1380 up",
                "/sbin/ifconfig utun5 inet 10.75.9.2/32 10.75.9.2 alias",
                "/sbin/ifconfig utun5 inet 10.75.0.2 -alias",
                "/sbin/route -q -n add -proto1 -inet 10.75.9.0/24 -interface utun5",
                "/sbin/route -q -n add -proto1 -inet 172.19.0.0/16 -interface utun5",
                "/sbin/route -q -n delete -proto1 -inet 10.75.0.0/24 -interface utun5",
                "/sbin/route -q -n delete -proto1 -inet 172.18.0.0/16 -interface utun5",
                "/sbin/route -q -n delete -proto1 -inet6 fd00:18::/64 -interface utun5",
            ]
        );
    }

    #[test]
    fn what_somebody_deleted_is_put_back() {
        let mut damaged = reached(&config());
        damaged.addresses.pop_first();
        damaged.routes.pop_first();
        assert_eq!(
            planned(&damaged, &config()),
            [
                "/sbin/ifconfig utun5 inet 10.75.0.2/32 10.75.0.2 alias",
                "/sbin/route -q -n add -proto1 -inet 10.75.0.0/24 -interface utun5",
            ]
        );
    }

    #[test]
    fn the_route_of_somebody_else_is_named_and_kept() {
        let destination: IpNet = "172.18.0.0/16".parse().unwrap();
        let mut state = reached(&config());
        state.routes.remove(&destination);
        state.others.insert(destination, "by en7".to_owned());
        assert_eq!(planned(&state, &config()), [""; 0]);
        assert_eq!(
            conflicts(&state, &config()),
            [(destination, "by en7".to_owned())]
        );
        assert_eq!(conflicts(&reached(&config()), &config()), []);
    }

    #[test]
    fn ethernet_has_neighbours_and_next_hops() {
        assert_eq!(
            planned(&State::default(), &ethernet()),
            [
                "/sbin/ifconfig utun5 mtu 1500 up",
                "/sbin/ifconfig utun5 inet 10.75.0.2/24 alias",
                "/sbin/ifconfig utun5 inet6 fd75::2/64 alias",
                "/sbin/route -q -n add -proto1 -inet 172.18.0.0/16 10.75.0.1",
                "/sbin/route -q -n add -proto1 -inet6 fd00:18::/64 fd75::1",
            ]
        );
        assert_eq!(planned(&reached(&ethernet()), &ethernet()), [""; 0]);
    }

    #[test]
    fn a_next_hop_that_moves_takes_the_routes_along() {
        let mut moved = ethernet();
        moved.addresses = ["10.75.9.2/24".parse().unwrap()].into();
        moved.next_hops = ["10.75.9.1".parse().unwrap()].into();
        moved.routes.pop_last();
        assert_eq!(
            planned(&reached(&ethernet()), &moved),
            [
                "/sbin/ifconfig utun5 inet 10.75.9.2/24 alias",
                "/sbin/ifconfig utun5 inet 10.75.0.2 -alias",
                "/sbin/ifconfig utun5 inet6 fd75::2 -alias",
                "/sbin/route -q -n delete -proto1 -inet 172.18.0.0/16 10.75.0.1",
                "/sbin/route -q -n add -proto1 -inet 172.18.0.0/16 10.75.9.1",
                "/sbin/route -q -n delete -proto1 -inet6 fd00:18::/64 fd75::1",
            ]
        );
    }

    #[test]
    fn what_is_left_on_ethernet_is_removed() {
        let nothing = RouterConfig {
            mtu: 1500,
            ..RouterConfig::default()
        };
        assert_eq!(
            planned(&reached(&ethernet()), &nothing),
            [
                "/sbin/ifconfig utun5 inet 10.75.0.2 -alias",
                "/sbin/ifconfig utun5 inet6 fd75::2 -alias",
                "/sbin/route -q -n delete -proto1 -inet 172.18.0.0/16 10.75.0.1",
                "/sbin/route -q -n delete -proto1 -inet6 fd00:18::/64 fd75::1",
            ]
        );
    }

    fn planned(current: &State, wanted: &RouterConfig) -> Vec<String> {
        plan("utun5", current, wanted)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn reached(config: &RouterConfig) -> State {
        State {
            addresses: config.addresses.iter().map(IpNet::addr).collect(),
            mtu: Some(config.mtu),
            routes: routes(config),
            others: BTreeMap::new(),
        }
    }

    fn config() -> RouterConfig {
        RouterConfig {
            addresses: [
                "10.75.0.2/24".parse().unwrap(),
                "fd75::2/64".parse().unwrap(),
            ]
            .into(),
            mtu: 1420,
            routes: [
                "172.18.0.0/16".parse().unwrap(),
                "fd00:18::/64".parse().unwrap(),
            ]
            .into(),
            ..RouterConfig::default()
        }
    }

    fn ethernet() -> RouterConfig {
        RouterConfig {
            mtu: 1500,
            next_hops: ["10.75.0.1".parse().unwrap(), "fd75::1".parse().unwrap()].into(),
            ..config()
        }
    }
}
