#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! Footholds against the real kernel, in namespaces of their own.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddrV6;

use dtap_net::firewall::{Firewall, FirewallConfig, Handover};
use dtap_net::foothold::{self, Foothold};
use dtap_tunnel::session::{SiblingKind, XTABLES_LOCK};
use namespace::{Namespace, isolated, output, sh};
use socket2::{Domain, Protocol, Socket, Type};

mod namespace;

#[test]
fn a_macvlan_neighbour_is_reached_by_the_subnets_network_address() {
    if !isolated() {
        return;
    }
    let container = lan();
    assert!(!pings("10.50.0.7"));
    let outcomes = foothold::set(&[beside("eth1", "10.50.0.0/24", &["10.50.0.0/24"])]).unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap().interface, "dtaps0");
    assert_eq!(
        output("ip -o address show dev dtaps0 scope global | grep -o 'inet [^ ]*'"),
        "inet 10.50.0.0/32\n"
    );
    assert_eq!(
        output("ip route show proto 76"),
        "10.50.0.0/24 dev dtaps0 scope link src 10.50.0.0 \n"
    );
    assert!(pings("10.50.0.7"));
    drop(container);
}

#[test]
fn an_ipvlan_neighbour_is_reached_in_every_mode_or_the_kernel_is_blamed() {
    if !isolated() {
        return;
    }
    for (kind, mode) in [
        (SiblingKind::IpvlanL2, "l2"),
        (SiblingKind::IpvlanL3, "l3"),
        (SiblingKind::IpvlanL3s, "l3s"),
    ] {
        let parent = format!("parent-{mode}");
        sh(&format!(
            "ip link add {parent} up type veth peer name wire-{mode}"
        ));
        let foothold = Foothold::Sibling {
            parent: parent.clone(),
            kind,
            subnet: "10.50.0.0/24".parse().unwrap(),
            destinations: ["10.50.0.0/24".parse().unwrap()].into(),
        };
        let container = Namespace::new();
        let made = output(&format!(
            "ip link set wire-{mode} up
            ip link add link {parent} name inside type ipvlan mode {mode} 2>&1 || echo no"
        ));
        let outcomes = foothold::set(&[foothold]).unwrap();
        if made.contains("no") {
            let error = outcomes[0].as_ref().unwrap_err().to_string();
            assert_eq!(error, format!("the engine's kernel has no ipvlan-{mode}"));
            eprintln!("not tried: {error}");
            continue;
        }
        sh(&format!(
            "ip link set inside netns {} name eth0",
            container.thread
        ));
        container.sh("ip address add 10.50.0.7/24 dev eth0
            ip link set eth0 up");
        assert!(pings("10.50.0.7"), "{mode}");
        foothold::clear().unwrap();
    }
}

#[test]
fn a_bridge_without_an_address_is_a_parent_too() {
    if !isolated() {
        return;
    }
    let container = Namespace::new();
    sh(&format!(
        "ip link add br-x up type bridge
        ip link add port up master br-x type veth peer name eth0 netns {}",
        container.thread
    ));
    container.sh("ip address add 172.30.1.1/24 dev eth0\n ip link set eth0 up");
    foothold::set(&[beside("br-x", "172.30.1.0/24", &["172.30.1.0/24"])]).unwrap();
    assert!(pings("172.30.1.1"));
    assert_eq!(output("ip -o -4 address show dev br-x"), "");
    Firewall::new(XTABLES_LOCK.as_ref())
        .unwrap()
        .set(&for_the_tunnel())
        .unwrap();
    assert!(!container.run(|| pings("172.30.1.0")));
    assert!(!pings("172.30.1.1"));
}

/// As Docker makes it for `gateway_mode_ipv6=isolated`, with a host behind the tunnel.
#[test]
fn a_bridge_that_is_closed_to_ipv6_is_got_past() {
    if !isolated() {
        return;
    }
    let [container, host] = [(); 2].map(|()| Namespace::new());
    sh(&format!(
        "ip link add br-x up type bridge
        echo 1 > /proc/sys/net/ipv6/conf/br-x/disable_ipv6
        ip link add port up master br-x type veth peer name eth0 netns {}
        ip link add dtap0 mtu 1420 up type veth peer name eth0 netns {}
        ip address add fd75::1/64 dev dtap0 nodad",
        container.thread, host.thread
    ));
    // A router would have the subnet's network address itself (RFC 4291, section 2.6.1).
    container.sh("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding
        ip address add fd00:1::7/64 dev eth0 nodad
        ip link set eth0 up");
    host.sh("ip address add fd75::2/64 dev eth0 nodad
        ip link set eth0 mtu 1420 up
        ip -6 route add default via fd75::1");
    let outcomes = foothold::set(&[beside("br-x", "fd00:1::/64", &["fd00:1::/64"])]).unwrap();
    let passage = outcomes[0].as_ref().unwrap();
    let attached = FirewallConfig {
        attached: ["br-x", "dtaps0"]
            .map(|it| ("fd75::2".parse().unwrap(), it.to_owned()))
            .into(),
        ..for_the_tunnel()
    };
    let reaches = || host.run(|| pings("fd00:1::7"));
    let mut firewall = Firewall::new(XTABLES_LOCK.as_ref()).unwrap();
    for filtered in ["0", "1"] {
        sh(&format!(
            "echo {filtered} > /proc/sys/net/bridge/bridge-nf-call-ip6tables"
        ));
        firewall.set(&attached).unwrap();
        if filtered == "0" {
            // Nothing is in the way, and a new link loses its first packets.
            host.sh("ping -q -c1 -w10 fd00:1::7");
        } else {
            assert!(!reaches(), "the bridge drops the answers");
        }
        firewall
            .set(&FirewallConfig {
                handovers: BTreeSet::from([Handover {
                    bridge: "br-x".to_owned(),
                    foothold: passage.interface.clone(),
                    hardware: passage.hardware.unwrap(),
                }]),
                ..attached.clone()
            })
            .unwrap();
        assert!(reaches(), "bridge-nf-call-ip6tables {filtered}");
        sh("ip -6 neighbour flush dev dtaps0");
        assert!(reaches(), "neighbours are found again");
    }
    let asks = |namespace: &Namespace, to: &'static str| namespace.run(move || pings(to));
    assert!(!asks(&container, "fd00:1::"), "only the tunnel is answered");
    assert!(!pings("fd00:1::7"), "only the tunnel may ask");
    assert_eq!(output("ip -6 address show dev br-x"), "");
}

#[test]
fn what_stands_is_left_and_what_is_not_wanted_goes() {
    if !isolated() {
        return;
    }
    let _container = lan();
    let before = output("ip link; ip address; ip route; ip -6 route");
    let both = [
        beside("eth1", "10.50.0.0/24", &["10.50.0.0/24"]),
        beside("eth1", "fd00:50::/64", &["fd00:50::/64"]),
    ];
    foothold::set(&both).unwrap();
    let made = output("ip -o link show type macvlan");
    assert_eq!(made.lines().count(), 2, "{made}");
    for outcome in foothold::set(&both).unwrap() {
        outcome.unwrap();
    }
    assert_eq!(output("ip -o link show type macvlan"), made);
    foothold::set(&both[..1]).unwrap();
    assert_eq!(output("ip -o link show type macvlan").lines().count(), 1);
    foothold::clear().unwrap();
    assert_eq!(output("ip link; ip address; ip route; ip -6 route"), before);
}

#[test]
fn only_what_is_asked_for_is_led_to() {
    if !isolated() {
        return;
    }
    let _container = lan();
    let one = |address: &str| [beside("eth1", "10.50.0.0/24", &[address])];
    foothold::set(&one("10.50.0.7/32")).unwrap();
    let routes = || output("ip route show proto 76 | cut -d' ' -f1-3");
    assert_eq!(routes(), "10.50.0.7 dev dtaps0\n");
    foothold::set(&one("10.50.0.8/32")).unwrap();
    assert_eq!(routes(), "10.50.0.8 dev dtaps0\n");
}

#[test]
fn nobody_but_the_parent_answers_for_the_machines_own_address() {
    if !isolated() {
        return;
    }
    let neighbour = Namespace::new();
    sh(&format!(
        "ip link add eth1 up type veth peer name eth0 netns {}
        ip address add 10.50.0.1/24 dev eth1",
        neighbour.thread
    ));
    neighbour.sh("ip address add 10.50.0.9/24 dev eth0\n ip link set eth0 up");
    foothold::set(&[beside("eth1", "10.50.0.0/24", &["10.50.0.7/32"])]).unwrap();
    let answers = neighbour.run(|| {
        output("busybox arping -I eth0 -c 2 -w 3 10.50.0.1 | grep -o '\\[.*\\]' | sort -u")
    });
    let parent = output("ip -o link show eth1 | grep -o 'link/ether [^ ]*' | cut -d' ' -f2");
    assert_eq!(answers, format!("[{}]\n", parent.trim()));
}

#[test]
fn a_router_on_the_parents_lan_does_not_become_the_machines_by_a_foothold() {
    if !isolated() {
        return;
    }
    let router = Namespace::new();
    sh(&format!(
        "ip link add eth1 up type veth peer name eth0 netns {}",
        router.thread
    ));
    router.sh("ip address add fe80::9/64 dev eth0 nodad\n ip link set eth0 up");
    foothold::set(&[beside("eth1", "10.50.0.0/24", &["10.50.0.7/32"])]).unwrap();
    Firewall::new(XTABLES_LOCK.as_ref())
        .unwrap()
        .set(&FirewallConfig {
            interface: "dtap0".to_owned(),
            ..FirewallConfig::default()
        })
        .unwrap();
    for interface in ["eth1", "dtaps0"] {
        sh(&format!(
            "echo 0 > /proc/sys/net/ipv6/conf/{interface}/forwarding"
        ));
    }
    let routes = || output("ip -6 route show default");
    for _ in 0..500 {
        router.run(advertise);
        if routes().contains("eth1") {
            break;
        }
    }
    assert!(
        routes().contains("eth1") && !routes().contains("dtaps0"),
        "{}",
        routes()
    );
}

#[test]
fn next_hops_are_routes_and_follow_their_addresses() {
    if !isolated() {
        return;
    }
    sh("ip link add gw up type veth peer name far
        ip link set far up
        ip address add 172.19.0.1/16 dev gw
        ip address add fd00:19::1/64 dev gw nodad");
    let hop = |destination: &str, address: &str| Foothold::Hop {
        destination: destination.parse().unwrap(),
        address: address.parse().unwrap(),
        interface: "gw".to_owned(),
    };
    let hops = [
        hop("10.0.1.2/32", "172.19.0.3"),
        hop("fd00:1::2/128", "fd00:19::3"),
    ];
    let outcomes = foothold::set(&hops).unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap().interface, "gw");
    let routes = || output("ip route show proto 76; ip -6 route show proto 76 | cut -d' ' -f1-3");
    assert_eq!(
        routes(),
        "10.0.1.2 via 172.19.0.3 dev gw \nfd00:1::2 via fd00:19::3\n"
    );
    for outcome in foothold::set(&[hop("10.0.1.2/32", "172.19.0.9")]).unwrap() {
        outcome.unwrap();
    }
    assert_eq!(routes(), "10.0.1.2 via 172.19.0.9 dev gw \n");
    foothold::clear().unwrap();
    assert_eq!(routes(), "");
}

#[test]
fn what_cannot_be_made_is_said_and_the_rest_stands() {
    if !isolated() {
        return;
    }
    let _container = lan();
    let outcomes = foothold::set(&[
        beside("nowhere", "10.51.0.0/24", &[]),
        beside("eth1", "10.50.0.0/24", &["10.50.0.0/24"]),
    ])
    .unwrap();
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "the engine's machine has no interface nowhere"
    );
    assert!(outcomes[1].is_ok() && pings("10.50.0.7"));
}

#[test]
fn a_foothold_is_for_the_tunnel_alone() {
    if !isolated() {
        return;
    }
    let container = lan();
    let other = Namespace::new();
    sh(&format!(
        "ip link add br-a up type bridge
        ip address add 172.30.1.1/24 dev br-a
        ip link add port up master br-a type veth peer name eth0 netns {}",
        other.thread
    ));
    other.sh("ip address add 172.30.1.2/24 dev eth0
        ip link set eth0 up
        ip route add default via 172.30.1.1");
    sh("nft add table ip engine
        nft add chain ip engine post '{ type nat hook postrouting priority srcnat; }'
        nft add rule ip engine post ip saddr 172.30.1.0/24 oifname != br-a masquerade");
    foothold::set(&[beside("eth1", "10.50.0.0/24", &["10.50.0.0/24"])]).unwrap();
    let reaches = |namespace: &Namespace, to: &'static str| namespace.run(move || pings(to));
    assert!(
        reaches(&other, "10.50.0.7"),
        "it would, but for the firewall"
    );
    assert!(
        reaches(&container, "10.50.0.0"),
        "it would, but for the firewall"
    );
    Firewall::new(XTABLES_LOCK.as_ref())
        .unwrap()
        .set(&for_the_tunnel())
        .unwrap();
    assert!(!reaches(&other, "10.50.0.7"));
    assert!(!reaches(&container, "10.50.0.0"));
    assert!(!pings("10.50.0.7"));
}

fn for_the_tunnel() -> FirewallConfig {
    FirewallConfig {
        interface: "dtap0".to_owned(),
        footholds: BTreeSet::from(["dtaps0".to_owned()]),
        ..FirewallConfig::default()
    }
}

/// A container on a macvlan interface of `eth1`.
fn lan() -> Namespace {
    let container = Namespace::new();
    sh(&format!(
        "ip link add eth1 up type veth peer name wire
        ip link set wire up
        ip link add link eth1 name inside type macvlan mode bridge
        ip link set inside netns {} name eth0",
        container.thread
    ));
    container.sh("ip address add 10.50.0.7/24 dev eth0\n ip link set eth0 up");
    container
}

fn beside(parent: &str, subnet: &str, destinations: &[&str]) -> Foothold {
    Foothold::Sibling {
        parent: parent.to_owned(),
        kind: SiblingKind::Macvlan,
        subnet: subnet.parse().unwrap(),
        destinations: destinations.iter().map(|it| it.parse().unwrap()).collect(),
    }
}

/// Tells everybody on eth0 that here is a router (RFC 4861, section 4.2).
fn advertise() {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    let index = nix::net::if_::if_nametoindex("eth0").unwrap();
    socket.set_multicast_if_v6(index).unwrap();
    socket.set_multicast_hops_v6(255).unwrap();
    let mut message = [0; 16];
    message[0] = 134;
    message[6..8].copy_from_slice(&1800_u16.to_be_bytes());
    let everybody = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, index);
    // Until the cable is found to be plugged in, there is no way.
    let _ = socket.send_to(&message, &everybody.into());
}

fn pings(address: &str) -> bool {
    let ping = format!("ping -c1 -W1 {address} >/dev/null && echo yes || echo no");
    output(&ping) == "yes\n"
}
