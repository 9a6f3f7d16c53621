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
    /// Our routes by this interface.
    pub(super) routes: BTreeSet<IpNet>,
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
    let addresses: BTreeSet<_> = wanted.addresses.iter().map(IpNet::addr).collect();
    let routes = routes(wanted);
    let mut commands = Vec::new();
    if current.mtu != Some(wanted.mtu) {
        commands.push(Command::new(
            IFCONFIG,
            &[interface, "mtu", &wanted.mtu.to_string(), "up"],
        ));
    }
    commands.extend(
        addresses
            .difference(&current.addresses)
            .map(|address| add_address(interface, *address, wanted)),
    );
    commands.extend(
        current
            .addresses
            .difference(&addresses)
            .map(|address| delete_address(interface, *address)),
    );
    let added = routes
        .difference(&current.routes)
        .filter(|route| !current.others.contains_key(*route));
    commands.extend(added.map(|route| change_route("add", interface, *route)));
    commands.extend(
        current
            .routes
            .difference(&routes)
            .map(|route| change_route("delete", interface, *route)),
    );
    commands
}

/// The wanted routes whose destination somebody else routes already, with where that leads.
pub(super) fn conflicts(current: &State, wanted: &RouterConfig) -> Vec<(IpNet, String)> {
    let missing = routes(wanted)
        .into_iter()
        .filter(|route| !current.routes.contains(route));
    missing
        .filter_map(|route| Some((route, current.others.get(&route)?.clone())))
        .collect()
}

/// The command that takes an interface down.
pub(super) fn take_down(interface: &str) -> Command {
    Command::new(IFCONFIG, &[interface, "down"])
}

/// The routes that are to be added: those to the neighbours of Ethernet come with its addresses.
fn routes(wanted: &RouterConfig) -> BTreeSet<IpNet> {
    if wanted.is_ethernet {
        return wanted.routes.clone();
    }
    wanted.all_routes()
}

/// Of Ethernet with its prefix, in which the neighbours are. Else without: for IPv6 macOS would add a route to that by itself, which is then neither
/// ours nor replaceable. An IPv4 address of a point-to-point interface needs a peer, by custom
/// itself.
fn add_address(interface: &str, address: IpAddr, wanted: &RouterConfig) -> Command {
    let whole = wanted.addresses.iter().find(|it| it.addr() == address);
    if let Some(whole) = whole.filter(|_| wanted.is_ethernet) {
        let family = family(address);
        return Command::new(IFCONFIG, &[interface, family, &whole.to_string(), "alias"]);
    }
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
fn change_route(action: &str, interface: &str, route: IpNet) -> Command {
    let family = match route {
        IpNet::V4(_) => "-inet",
        IpNet::V6(_) => "-inet6",
    };
    Command::new(
        ROUTE,
        &[
            "-q",
            "-n",
            action,
            "-proto1",
            family,
            &route.to_string(),
            "-interface",
            interface,
        ],
    )
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
    fn an_interface_of_ethernet_has_its_neighbours_by_its_addresses() {
        let wanted = RouterConfig {
            is_ethernet: true,
            addresses: [
                "172.18.255.254/16".parse().unwrap(),
                "fd00:18::ff7f/64".parse().unwrap(),
            ]
            .into(),
            mtu: 1364,
            ..RouterConfig::default()
        };
        assert_eq!(
            planned(&State::default(), &wanted),
            [
                "/sbin/ifconfig utun5 mtu 1364 up",
                "/sbin/ifconfig utun5 inet 172.18.255.254/16 alias",
                "/sbin/ifconfig utun5 inet6 fd00:18::ff7f/64 alias",
            ]
        );
    }

    #[test]
    fn an_interface_of_somebody_else_is_left_down() {
        assert_eq!(take_down("tap1").to_string(), "/sbin/ifconfig tap1 down");
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
            routes: config.all_routes(),
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
}
