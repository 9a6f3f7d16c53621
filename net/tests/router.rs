#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! The router against the real kernel, in namespaces of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use dtap_net::router::{RouteWatch, Router, RouterConfig, addresses, routes};
use ipnet::IpNet;
use namespace::{isolated, output, sh};
use tokio::time::timeout;

mod namespace;

#[test]
fn an_interface_gets_addresses_mtu_and_routes() {
    if !isolated() {
        return;
    }
    tunnel();
    Router::new("dtap0").unwrap().set(&config()).unwrap();
    let link = output("ip -o link show dtap0");
    assert!(
        link.contains(",UP") && link.contains("mtu 1420") && link.contains("qlen 1000"),
        "{link}"
    );
    assert_eq!(
        listed("ip -o addr show dev dtap0 | sed 's/ \\+/ /g; s/ valid_lft.*//; s/^[0-9]*: //'"),
        [
            "dtap0 inet 10.75.0.2/24 scope global noprefixroute dtap0\\",
            "dtap0 inet6 fd75::2/64 scope global nodad noprefixroute \\",
        ]
    );
    assert_eq!(
        listed("ip route; ip -6 route show proto 75"),
        [
            "10.75.0.0/24 dev dtap0 proto 75 scope link linkdown",
            "172.18.0.0/16 dev dtap0 proto 75 scope link linkdown",
            "blackhole 10.75.0.0/24 proto 75 metric 4294967295",
            "blackhole fd75::/64 dev lo metric 4294967295 pref medium",
            "fd00:18::/64 dev dtap0 metric 1024 linkdown pref medium",
            "fd75::/64 dev dtap0 metric 1024 linkdown pref medium",
        ]
    );
}

#[test]
fn setting_the_same_again_changes_nothing() {
    if !isolated() {
        return;
    }
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    let announced = runtime().block_on(async {
        let mut watch = RouteWatch::new().unwrap();
        while timeout(QUIET, watch.changed()).await.is_ok() {}
        router.set(&config()).unwrap();
        timeout(QUIET, watch.changed()).await
    });
    assert!(announced.is_err(), "something was announced");
}

#[test]
fn a_removed_network_leaves_no_route() {
    if !isolated() {
        return;
    }
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    let without = RouterConfig {
        routes: BTreeSet::new(),
        ..config()
    };
    router.set(&without).unwrap();
    let left = output("ip route; ip -6 route");
    assert!(
        !left.contains("172.18.0.0/16") && !left.contains("fd00:18::"),
        "{left}"
    );
}

#[test]
fn what_somebody_deleted_is_put_back_and_announced() {
    if !isolated() {
        return;
    }
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    let before = state();
    runtime().block_on(async {
        let mut watch = RouteWatch::new().unwrap();
        sh("ip route del 172.18.0.0/16\n ip addr del fd75::2/64 dev dtap0\n ip link set dtap0 mtu 1500");
        timeout(Duration::from_secs(5), watch.changed()).await.unwrap().unwrap();
    });
    assert_ne!(state(), before);
    router.set(&config()).unwrap();
    assert_eq!(state(), before);
}

#[test]
fn ethernet_is_routed_by_next_hops_and_they_may_move() {
    if !isolated() {
        return;
    }
    sh("ip link add tap1 type veth peer name other
        ip link set other up");
    let by = |hops: [&str; 2], prefixes: &[&str]| RouterConfig {
        addresses: nets(prefixes),
        // Before and after those of the addresses.
        routes: nets(&["10.9.0.0/16", "172.18.0.0/16", "fd00:18::/64"]),
        next_hops: hops.map(|it| it.parse().unwrap()).into(),
        mtu: 1500,
        is_ethernet: true,
        ..RouterConfig::default()
    };
    let shown = || {
        listed("ip route; ip -6 route show proto 75")
            .join("\n")
            .replace(" metric 1024 pref medium", "")
    };
    let mut router = Router::new("tap1").unwrap();
    let first = by(["10.75.0.1", "fd75::1"], &["10.75.0.2/24", "fd75::2/64"]);
    router.set(&first).unwrap();
    assert_eq!(
        shown(),
        "10.75.0.0/24 dev tap1 proto 75 scope link\n\
         10.9.0.0/16 via 10.75.0.1 dev tap1 proto 75\n\
         172.18.0.0/16 via 10.75.0.1 dev tap1 proto 75\n\
         fd00:18::/64 via fd75::1 dev tap1\n\
         fd75::/64 dev tap1"
    );
    let moved = by(
        ["10.75.3.1", "fd75:3::1"],
        &["10.75.3.2/24", "fd75:3::2/64"],
    );
    router.set(&moved).unwrap();
    assert_eq!(
        shown(),
        "10.75.3.0/24 dev tap1 proto 75 scope link\n\
         10.9.0.0/16 via 10.75.3.1 dev tap1 proto 75\n\
         172.18.0.0/16 via 10.75.3.1 dev tap1 proto 75\n\
         fd00:18::/64 via fd75:3::1 dev tap1\n\
         fd75:3::/64 dev tap1"
    );
    // A killed process leaves what its successor removes.
    Router::new("tap1").unwrap().retire().unwrap();
    assert_eq!(shown(), "");
    assert_eq!(output("ip -o addr show dev tap1"), "");
    assert!(output("ip -o link show tap1").contains("state DOWN"));
    Router::new("tap9").unwrap().retire().unwrap();
}

#[test]
fn a_changed_address_keeps_the_routes() {
    if !isolated() {
        return;
    }
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    let moved = RouterConfig {
        addresses: nets(&["10.75.9.2/24"]),
        ..config()
    };
    router.set(&moved).unwrap();
    let state = state();
    assert!(
        state.contains("172.18.0.0/16") && state.contains("fd00:18::/64"),
        "{state}"
    );
    assert!(
        state.contains("10.75.9.0/24") && !state.contains("10.75.0.2"),
        "{state}"
    );
}

/// The kernel has one of them as the other's secondary, which goes with it.
#[test]
fn an_address_moves_within_its_prefix() {
    if !isolated() {
        return;
    }
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    for (address, other) in [("10.75.0.254", "10.75.0.2"), ("10.75.0.2", "10.75.0.254")] {
        let moved = RouterConfig {
            addresses: nets(&[&format!("{address}/24")]),
            ..config()
        };
        router.set(&moved).unwrap();
        let state = state();
        assert!(
            state.contains(&format!("{address}/24")) && !state.contains(&format!("{other}/24")),
            "{state}"
        );
        assert!(state.contains("172.18.0.0/16"), "{state}");
    }
}

#[test]
fn the_route_of_somebody_else_is_named_and_kept_while_the_rest_is_set() {
    if !isolated() {
        return;
    }
    tunnel();
    sh("ip link add vpn0 type bridge
        ip addr add 192.0.2.1/24 dev vpn0
        ip link set vpn0 up
        ip route add 172.18.0.0/16 via 192.0.2.9 metric 700
        ip -6 route add fd00:18::/64 dev vpn0");
    let error = Router::new("dtap0").unwrap().set(&config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        error.to_string(),
        "add route 172.18.0.0/16: there is one via 192.0.2.9; add route fd00:18::/64: there is one by vpn0"
    );
    let state = state();
    assert!(
        state.contains("172.18.0.0/16 via 192.0.2.9") && state.contains("10.75.0.0/24 dev dtap0"),
        "{state}"
    );
}

#[test]
fn a_blackhole_takes_over_when_the_interface_vanishes() {
    if !isolated() {
        return;
    }
    sh("ip link add up0 type bridge
        ip addr add 192.0.2.1/24 dev up0
        ip link set up0 up
        ip route add default via 192.0.2.9");
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    assert!(output("ip route get 10.75.0.9").contains("dev dtap0"));
    assert!(Router::left_blackholes().unwrap().is_empty());
    sh("ip link del dtap0");
    assert_eq!(
        refusal("ip route get 10.75.0.9"),
        "RTNETLINK answers: Invalid argument\n"
    );
    assert_eq!(Router::left_blackholes().unwrap(), config().blackholes);
    let other = RouterConfig {
        blackholes: BTreeSet::new(),
        ..config()
    };
    tunnel();
    let mut successor = Router::new("dtap0").unwrap();
    successor.set(&config()).unwrap();
    successor.set(&other).unwrap();
    assert!(
        !output("ip route; ip -6 route").contains("blackhole"),
        "the successor adopts and removes it"
    );
}

#[test]
fn sweeping_removes_what_was_left_and_spares_what_is_alive() {
    if !isolated() {
        return;
    }
    let before = state();
    tunnel();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    let alive = state();
    Router::sweep().unwrap();
    assert_eq!(state(), alive);
    sh("ip link del dtap0");
    assert_ne!(state(), before);
    Router::sweep().unwrap();
    assert_eq!(state(), before);
}

#[test]
fn clearing_leaves_the_host_as_it_was() {
    if !isolated() {
        return;
    }
    tunnel();
    sh("ip link set dtap0 up mtu 1420 txqueuelen 1000");
    let before = state();
    let mut router = Router::new("dtap0").unwrap();
    router.set(&config()).unwrap();
    router.clear().unwrap();
    assert_eq!(state(), before);
    router.set(&config()).unwrap();
    sh("ip link del dtap0");
    router.clear().unwrap();
    assert!(!state().contains("blackhole"));
}

#[test]
fn the_routes_and_addresses_of_the_host_are_listed() {
    if !isolated() {
        return;
    }
    tunnel();
    sh("ip link add lan0 type bridge
        ip addr add 192.0.2.1/24 dev lan0
        ip link set lan0 up
        ip route add default via 192.0.2.9
        ip route add 198.51.100.0/24 nexthop via 192.0.2.7 nexthop via 192.0.2.8
        ip route add 203.0.113.0/24 dev lan0 table 52
        ip route add unreachable 240.0.0.0/8");
    Router::new("dtap0").unwrap().set(&config()).unwrap();
    let mut listed: Vec<_> = routes()
        .unwrap()
        .into_iter()
        .filter(|route| matches!(route.destination, IpNet::V4(_)))
        .map(|route| {
            format!(
                "{} {:?} {:?} {}",
                route.destination, route.interface, route.gateway, route.ours
            )
        })
        .collect();
    listed.sort();
    assert_eq!(
        listed,
        [
            "0.0.0.0/0 Some(\"lan0\") Some(192.0.2.9) false",
            "10.75.0.0/24 None None true",
            "10.75.0.0/24 Some(\"dtap0\") None true",
            "172.18.0.0/16 Some(\"dtap0\") None true",
            "192.0.2.0/24 Some(\"lan0\") None false",
            "198.51.100.0/24 Some(\"lan0\") Some(192.0.2.7) false",
            "198.51.100.0/24 Some(\"lan0\") Some(192.0.2.8) false",
            "203.0.113.0/24 Some(\"lan0\") None false",
            "240.0.0.0/8 None None false",
        ]
    );
    let addresses = addresses().unwrap();
    for expected in ["10.75.0.2/24", "fd75::2/64"] {
        assert!(
            addresses.contains(&("dtap0".to_owned(), expected.parse().unwrap())),
            "{addresses:?}"
        );
    }
}

#[test]
fn a_host_without_ipv6_gets_the_rest() {
    if !isolated() {
        return;
    }
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    tunnel();
    Router::new("dtap0").unwrap().set(&config()).unwrap();
    let state = state();
    assert!(
        state.contains("10.75.0.2/24") && state.contains("172.18.0.0/16"),
        "{state}"
    );
    assert!(
        !state.contains("fd75") && !state.contains("fd00"),
        "{state}"
    );
}

#[test]
fn a_missing_interface_is_named() {
    if !isolated() {
        return;
    }
    let error = Router::new("dtap7").unwrap().set(&config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "find interface dtap7: there is none");
}

fn config() -> RouterConfig {
    RouterConfig {
        addresses: nets(&["10.75.0.2/24", "fd75::2/64"]),
        mtu: 1420,
        routes: nets(&["172.18.0.0/16", "fd00:18::/64"]),
        blackholes: nets(&["10.75.0.0/24", "fd75::/64"]),
        ..RouterConfig::default()
    }
}

fn nets(nets: &[&str]) -> BTreeSet<IpNet> {
    nets.iter().map(|net| net.parse().unwrap()).collect()
}

fn tunnel() {
    sh("ip tuntap add dtap0 mode tun");
}

/// Addresses and routes as `ip` prints them, without interface numbers, and without the kernel's
/// own multicast route, which comes with the first address and stays.
fn state() -> String {
    output(
        "ip -o addr | sed 's/^[0-9]*: //; s/valid_lft.*//'; ip -o link | sed 's/^[0-9]*: //'; \
         ip -4 route show table all | sort; ip -6 route show table all | grep -v ^multicast | sort",
    )
}

fn listed(command: &str) -> Vec<String> {
    let mut lines: Vec<_> = output(command)
        .lines()
        .map(|line| line.trim().to_owned())
        .collect();
    lines.sort();
    lines
}

fn refusal(command: &str) -> String {
    output(&format!("{command} 2>&1 || true"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// The kernel announces what it does by itself to a new interface for a while.
const QUIET: Duration = Duration::from_millis(200);
