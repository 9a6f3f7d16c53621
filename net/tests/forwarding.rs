#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! The firewall as packets meet it, between namespaces.

use dtap_net::firewall::{Firewall, FirewallConfig};
use dtap_tunnel::session::XTABLES_LOCK;
use namespace::{Namespace, isolated, output, sh};
use site::{Delivery, IPTABLES_BACKEND, NFTABLES_BACKEND, Site};

mod namespace;
mod site;

#[test]
fn docker_drops_everything_without_us() {
    if !isolated() {
        return;
    }
    let site = Site::new(IPTABLES_BACKEND);
    assert_eq!(
        site.send(&site.client, "172.30.1.2", &site.web),
        Delivery::None
    );
    assert_eq!(
        site.send(&site.client, "fd00:1::2", &site.web),
        Delivery::None
    );
}

#[test]
fn a_container_and_a_client_see_each_others_true_addresses() {
    if !isolated() {
        return;
    }
    let site = Site::new(IPTABLES_BACKEND);
    firewall(&config(&[("10.75.0.2", "br-a"), ("fd75::2", "br-a")], &[]));
    assert_eq!(
        site.send(&site.client, "172.30.1.2", &site.web),
        Delivery::answered("10.75.0.2")
    );
    assert_eq!(
        site.send(&site.client, "fd00:1::2", &site.web),
        Delivery::answered("fd75::2")
    );
    assert_eq!(
        site.send(&site.web, "10.75.0.2", &site.client),
        Delivery::answered("172.30.1.2")
    );
    assert_eq!(
        site.send(&site.web, "fd75::2", &site.client),
        Delivery::answered("fd00:1::2")
    );
}

#[test]
fn the_nftables_backend_is_no_different() {
    if !isolated() {
        return;
    }
    let site = Site::new(NFTABLES_BACKEND);
    assert_eq!(
        site.send(&site.client, "172.30.1.2", &site.web),
        Delivery::None
    );
    firewall(&config(&[("10.75.0.2", "br-a")], &[]));
    let from_client = site.send(&site.client, "172.30.1.2", &site.web);
    assert_eq!(from_client, Delivery::answered("10.75.0.2"));
    let from_web = site.send(&site.web, "10.75.0.2", &site.client);
    assert_eq!(from_web, Delivery::answered("172.30.1.2"));
    assert_eq!(
        site.send(&site.client, "172.30.2.2", &site.db),
        Delivery::None
    );
    assert_eq!(site.send(&site.web, "172.30.2.2", &site.db), Delivery::None);
}

#[test]
fn tcp_and_icmp_errors_pass() {
    if !isolated() {
        return;
    }
    let site = Site::new(IPTABLES_BACKEND);
    firewall(&config(&[("10.75.0.2", "br-a"), ("fd75::2", "br-a")], &[]));
    assert_eq!(
        site.download(&site.client, "172.30.1.2", &site.web),
        site::DOWNLOAD
    );
    assert_eq!(
        site.download(&site.client, "fd00:1::2", &site.web),
        site::DOWNLOAD
    );
    assert!(site.is_refused(&site.client, "172.30.1.2"));
    site.client.sh("ping -c 1 -W 2 -M do -s 1400 172.30.1.2");
    sh("ip link set br-a mtu 1300");
    assert!(
        site.client
            .run(|| output("ping -c 1 -W 2 -M do -s 1400 172.30.1.2 || true"))
            .contains("mtu = 1300")
    );
}

#[test]
fn who_could_not_answer_sees_the_address_on_its_own_bridge() {
    if !isolated() {
        return;
    }
    let site = Site::new(IPTABLES_BACKEND);
    site.db.sh("ip route del default\n ip -6 route del default");
    let attached = [("10.75.0.2", "br-b"), ("fd75::2", "br-b")];
    let mut firewall = firewall(&config(&attached, &[]));
    assert_eq!(
        site.send(&site.client, "172.30.2.2", &site.db),
        Delivery::unanswered("10.75.0.2")
    );
    firewall
        .set(&config(&attached, &["172.30.2.2", "fd00:2::2"]))
        .unwrap();
    assert_eq!(
        site.send(&site.client, "172.30.2.2", &site.db),
        Delivery::answered("172.30.2.1")
    );
    assert_eq!(
        site.send(&site.client, "fd00:2::2", &site.db),
        Delivery::answered("fd00:2::1")
    );
}

#[test]
fn what_is_not_attached_is_out_of_reach() {
    if !isolated() {
        return;
    }
    let site = Site::new(IPTABLES_BACKEND);
    let mut firewall = firewall(&config(&[("10.75.0.2", "br-a"), ("fd75::2", "br-a")], &[]));
    assert_eq!(
        site.send(&site.client, "172.30.2.2", &site.db),
        Delivery::None,
        "another bridge"
    );
    assert_eq!(
        site.send(&site.client, "fd00:2::2", &site.db),
        Delivery::None,
        "another bridge"
    );
    assert_eq!(
        site.send(&site.db, "10.75.0.2", &site.client),
        Delivery::None,
        "another bridge's container"
    );
    assert_eq!(
        site.send(&site.other, "172.30.1.2", &site.web),
        Delivery::None,
        "another client's attachment"
    );
    assert_eq!(
        site.send(&site.client, "10.75.1.2", &site.other),
        Delivery::None,
        "client to client"
    );
    assert_eq!(
        site.send(&site.client, "192.0.2.2", &site.lan),
        Delivery::None,
        "the VM's uplink"
    );
    assert_eq!(
        site.send(&site.lan, "10.75.0.2", &site.client),
        Delivery::None,
        "the VM's LAN to a client"
    );
    assert_eq!(
        site.send(&site.lan, "172.30.1.2", &site.web),
        Delivery::None,
        "the VM's LAN to a container"
    );
    assert_eq!(
        site.send(&site.web, "172.30.2.2", &site.db),
        Delivery::None,
        "bridge to bridge"
    );
    assert_eq!(
        site.send(&site.client, "172.30.1.2", &site.web),
        Delivery::answered("10.75.0.2")
    );
    firewall.set(&config(&[], &[])).unwrap();
    assert_eq!(
        site.send(&site.client, "172.30.1.2", &site.web),
        Delivery::None,
        "detached"
    );
}

#[test]
fn a_host_at_a_nic_meets_the_same_rules() {
    if !isolated() {
        return;
    }
    let site = Site::new(IPTABLES_BACKEND);
    let mac = Namespace::new();
    sh(&format!(
        "ip link add eth1 type veth peer name eth0 netns {}
         ip addr add 10.75.2.1/24 dev eth1
         ip addr add fd75:2::1/64 dev eth1 nodad
         ip link set eth1 up",
        mac.thread
    ));
    mac.sh("ip addr add 10.75.2.2/24 dev eth0
         ip addr add fd75:2::2/64 dev eth0 nodad
         ip link set eth0 up
         ip route add default via 10.75.2.1
         ip -6 route add default via fd75:2::1");
    let attached = [
        ("10.75.0.2", "br-a"),
        ("fd75::2", "br-a"),
        ("10.75.2.2", "br-b"),
        ("fd75:2::2", "br-b"),
    ];
    let hosts = ["10.75.2.2", "fd75:2::2"].map(|it| it.parse().unwrap());
    let without = config(&attached, &[]);
    let with = FirewallConfig {
        nics: [("eth1".to_owned(), hosts.into())].into(),
        ..without.clone()
    };
    let mut firewall = firewall(&without);
    let to_db = || site.send(&mac, "172.30.2.2", &site.db);
    assert_eq!(to_db(), Delivery::None, "the NIC is none of ours yet");

    firewall.set(&with).unwrap();
    assert_eq!(to_db(), Delivery::answered("10.75.2.2"));
    let to_db6 = site.send(&mac, "fd00:2::2", &site.db);
    assert_eq!(to_db6, Delivery::answered("fd75:2::2"));
    let from_db = site.send(&site.db, "10.75.2.2", &mac);
    assert_eq!(from_db, Delivery::answered("172.30.2.2"));
    let from_client = site.send(&site.client, "172.30.1.2", &site.web);
    assert_eq!(from_client, Delivery::answered("10.75.0.2"));
    for (from, to, receiver, what) in [
        (&mac, "172.30.1.2", &site.web, "another client's attachment"),
        (&mac, "10.75.0.2", &site.client, "host to client"),
        (&site.client, "10.75.2.2", &mac, "client to host"),
        (&mac, "192.0.2.2", &site.lan, "the VM's uplink"),
        (&site.lan, "10.75.2.2", &mac, "the VM's LAN to the host"),
        (&site.web, "10.75.2.2", &mac, "another bridge's container"),
    ] {
        assert_eq!(site.send(from, to, receiver), Delivery::None, "{what}");
    }
    mac.sh("ip addr add 10.75.0.2/32 dev eth0");
    let feigned = site.send_as(&mac, "10.75.0.2", "172.30.1.2", &site.web);
    assert_eq!(feigned, Delivery::None, "as another client");
    let masquerade = config(&attached, &["172.30.2.2"]).masquerade;
    let masquerading = FirewallConfig { masquerade, ..with };
    firewall.set(&masquerading).unwrap();
    assert_eq!(to_db(), Delivery::answered("172.30.2.1"));

    firewall.set(&without).unwrap();
    assert_eq!(to_db(), Delivery::None, "it is nobody's again");
    let rules = output("iptables-save; ip6tables-save; nft list ruleset");
    assert!(!rules.contains("eth1"), "{rules}");
}

fn firewall(config: &FirewallConfig) -> Firewall {
    let mut firewall = Firewall::new(XTABLES_LOCK.as_ref()).unwrap();
    firewall.set(config).unwrap();
    firewall
}

fn config(attached: &[(&str, &str)], masquerade: &[&str]) -> FirewallConfig {
    FirewallConfig {
        interface: "dtap0".to_owned(),
        attached: attached
            .iter()
            .map(|(address, bridge)| (address.parse().unwrap(), (*bridge).to_owned()))
            .collect(),
        masquerade: masquerade
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        ..FirewallConfig::default()
    }
}
