#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! The firewall against the real kernel, in namespaces of its own, as `nft` and `iptables` list it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use dtap_net::firewall::{Firewall, FirewallConfig, FirewallWatch, Handover};
use dtap_tunnel::session::XTABLES_LOCK;
use namespace::{isolated, output, sh};
use tokio::time::timeout;

mod namespace;

#[test]
fn the_table_is_the_documented_one() {
    if !isolated() {
        return;
    }
    firewall(&FirewallConfig {
        interface: "dtap0".to_owned(),
        ..FirewallConfig::default()
    });
    assert_eq!(
        output("nft list table inet dtap"),
        include_str!("../src/firewall/table.nft")
    );
}

#[test]
fn the_table_of_handovers_is_the_documented_one() {
    if !isolated() {
        return;
    }
    sh("ip link add br-x type bridge");
    let mut firewall = firewall(&handed_over());
    assert_eq!(
        output("nft list table netdev dtap"),
        include_str!("../src/firewall/handovers.nft")
    );
    let ruleset = || output("nft -a list ruleset");
    let before = ruleset();
    firewall.set(&handed_over()).unwrap();
    assert_eq!(ruleset(), before, "an intact table is left alone");

    sh("nft flush table netdev dtap");
    firewall.set(&handed_over()).unwrap();
    assert!(output("nft list table netdev dtap").contains("fd75::2"));

    firewall.set(&config(&[], &[])).unwrap();
    assert_eq!(output("nft list tables netdev"), "");

    firewall.set(&handed_over()).unwrap();
    Firewall::sweep(XTABLES_LOCK.as_ref(), &BTreeSet::new()).unwrap();
    assert_eq!(output("nft list ruleset"), "");
}

#[test]
fn a_refused_handover_costs_nobody_else_anything() {
    if !isolated() {
        return;
    }
    sh("ip link add br-x type bridge");
    let mut owner = Command::new("nft")
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let commands = owner.stdin.as_mut().unwrap();
    writeln!(commands, "add table netdev dtap {{ flags owner; }}").unwrap();
    while !output("nft list tables").contains("netdev dtap") {
        thread::yield_now();
    }
    let mut firewall = firewall(&handed_over());
    assert!(firewall.closed().unwrap().contains("change the ruleset"));
    assert!(output("nft list set inet dtap attached6").contains("dtaps0"));

    drop(owner.stdin.take());
    owner.wait().unwrap();
    firewall.set(&handed_over()).unwrap();
    assert_eq!(firewall.closed(), None);
    assert!(output("nft list table netdev dtap").contains("fd75::2"));
}

#[test]
fn networks_are_elements_of_sets() {
    if !isolated() {
        return;
    }
    let mut firewall = firewall(&config(&[("10.75.0.2", "br-a")], &["172.30.2.2"]));
    let rules = "nft -a list table inet dtap | grep -e chain -e handle | grep -v elements";
    let before = output(rules);
    let more = config(
        &[
            ("10.75.0.2", "br-a"),
            ("10.75.0.2", "br-b"),
            ("fd75::2", "br-a"),
        ],
        &["172.30.2.2", "fd00:2::2"],
    );
    firewall.set(&more).unwrap();
    let elements = |set: &str| {
        output(&format!(
            "nft list set inet dtap {set} | tr -d '\\n\\t' | grep -o '{{ [^{{]* }}'"
        ))
    };
    assert_eq!(
        elements("attached4"),
        "{ 10.75.0.2 . \"br-a\",     10.75.0.2 . \"br-b\" }\n"
    );
    assert_eq!(elements("attached6"), "{ fd75::2 . \"br-a\" }\n");
    assert_eq!(elements("masquerade4"), "{ 172.30.2.2 }\n");
    assert_eq!(elements("masquerade6"), "{ fd00:2::2 }\n");
    assert_eq!(
        output(rules),
        before,
        "another network's rules keep their handles"
    );
    firewall
        .set(&config(&[("10.75.0.2", "br-b")], &[]))
        .unwrap();
    assert_eq!(elements("attached4"), "{ 10.75.0.2 . \"br-b\" }\n");
    assert_eq!(output(rules), before);
}

#[test]
fn many_networks_at_once_fit() {
    if !isolated() {
        return;
    }
    let mut large = config(&[], &[]);
    large.attached = (0..2000)
        .map(|n| ("10.75.0.2".parse().unwrap(), format!("br-{n}")))
        .collect();
    let mut firewall = firewall(&large);
    assert_eq!(
        output("nft list set inet dtap attached4 | grep -o 10.75.0.2 | wc -l"),
        "2000\n"
    );
    firewall.set(&config(&[], &[])).unwrap();
    assert!(!output("nft list set inet dtap attached4").contains("elements"));
}

#[test]
fn the_accepts_stand_at_the_head_of_docker_user() {
    if !isolated() {
        return;
    }
    sh("iptables -N DOCKER-USER
        iptables -A FORWARD -j DOCKER-USER
        iptables -A DOCKER-USER -j RETURN
        iptables -P FORWARD DROP
        ip6tables -P FORWARD DROP
        ip6tables -A FORWARD -j RETURN");
    firewall(&config(&[], &[]));
    assert_eq!(
        output("iptables -S DOCKER-USER"),
        "-N DOCKER-USER\n-A DOCKER-USER -i dtap0 -j ACCEPT\n-A DOCKER-USER -o dtap0 -j ACCEPT\n-A DOCKER-USER -j RETURN\n"
    );
    assert_eq!(
        output("iptables -S FORWARD"),
        "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n"
    );
    assert_eq!(
        output("ip6tables -S FORWARD"),
        "-P FORWARD DROP\n-A FORWARD -i dtap0 -j ACCEPT\n-A FORWARD -o dtap0 -j ACCEPT\n-A FORWARD -j RETURN\n"
    );
}

#[test]
fn the_accepts_stand_in_the_nftables_backend_and_in_what_drops_by_policy() {
    if !isolated() {
        return;
    }
    sh(NFTABLES_BACKEND);
    firewall(&config(&[], &[]));
    let rules = |table: &str| {
        output(&format!(
            "nft list table {table} | grep -e chain -e accept -e vmap -e policy"
        ))
    };
    let bridges = rules("ip docker-bridges");
    let heads: Vec<_> = bridges.lines().skip(3).map(str::trim).collect();
    assert_eq!(
        heads,
        [
            "iifname \"dtap0\" counter packets 0 bytes 0 accept",
            "oifname \"dtap0\" counter packets 0 bytes 0 accept",
            "oifname vmap { \"br-a\" : jump in }",
        ],
        "{bridges}"
    );
    assert!(rules("inet wall").contains("iifname \"dtap0\""));
    assert!(!rules("inet open").contains("dtap0"));
}

#[test]
fn what_somebody_flushed_is_noticed_and_repaired() {
    if !isolated() {
        return;
    }
    sh("iptables -N DOCKER-USER");
    let config = config(&[("10.75.0.2", "br-a")], &["172.30.2.2"]);
    let mut firewall = firewall(&config);
    let before = listed();
    let damages = [
        "iptables -F DOCKER-USER",
        "iptables -D DOCKER-USER -i dtap0 -j ACCEPT",
        "nft delete table inet dtap",
        "nft flush chain inet dtap forward",
        "nft insert rule inet dtap forward accept",
        "nft flush set inet dtap attached4",
        "nft 'add element inet dtap masquerade4 { 172.30.9.9 }'",
        "nft 'add set inet dtap more { type mark; }'",
        "nft 'add chain inet dtap forward { policy drop; }'",
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for damage in damages {
        runtime.block_on(async {
            let mut watch = FirewallWatch::new().unwrap();
            sh(damage);
            timeout(Duration::from_secs(5), watch.changed())
                .await
                .unwrap()
                .unwrap();
        });
        assert_ne!(listed(), before, "{damage}");
        firewall.set(&config).unwrap();
        assert_eq!(listed(), before, "{damage}");
    }
}

#[test]
fn setting_the_same_again_changes_nothing() {
    if !isolated() {
        return;
    }
    sh("iptables -N DOCKER-USER");
    let config = config(&[("10.75.0.2", "br-a")], &["172.30.2.2"]);
    let mut firewall = firewall(&config);
    let before = output("nft -a list ruleset");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut watch = FirewallWatch::new().unwrap();
        firewall.set(&config).unwrap();
        // A second owner knows nothing, and has to look at everything.
        Firewall::new(lock()).unwrap().set(&config).unwrap();
        assert!(
            timeout(Duration::from_millis(200), watch.changed())
                .await
                .is_err()
        );
    });
    assert_eq!(output("nft -a list ruleset"), before);
}

#[test]
fn nothing_is_left_of_a_killed_or_a_cleared_firewall() {
    if !isolated() {
        return;
    }
    sh("iptables -N DOCKER-USER
        iptables -A DOCKER-USER -i dtap0 -d 203.0.113.1 -j ACCEPT
        ip6tables -P FORWARD DROP");
    sh(NFTABLES_BACKEND);
    let before = listed();
    let config = config(&[("10.75.0.2", "br-a")], &["172.30.2.2"]);
    let mut firewall = firewall(&config);
    assert_ne!(listed(), before);
    firewall.clear().unwrap();
    assert_eq!(listed(), before);
    firewall.clear().unwrap();

    drop(firewall);
    let killed = FirewallConfig {
        interface: "dtap7".to_owned(),
        ..config.clone()
    };
    Firewall::new(lock()).unwrap().set(&killed).unwrap();
    Firewall::new(lock()).unwrap().set(&config).unwrap();
    assert!(
        !listed().contains("dtap7"),
        "a successor with another interface takes over"
    );
    Firewall::sweep(lock(), &BTreeSet::new()).unwrap();
    assert_eq!(listed(), before);
}

#[test]
fn a_neighbour_who_keeps_changing_its_own_rules_does_no_harm() {
    if !isolated() {
        return;
    }
    sh("iptables -N DOCKER-USER");
    let busy = "for n in $(seq 50); do iptables -A FORWARD -j DOCKER-USER; iptables -D FORWARD -j DOCKER-USER; done";
    let mut neighbour = Command::new("sh").args(["-c", busy]).spawn().unwrap();
    let mut firewall = Firewall::new(lock()).unwrap();
    let mut number = 0;
    while neighbour.try_wait().unwrap().is_none() {
        number += 1;
        firewall
            .set(&config(
                &[("10.75.0.2", &format!("br-{}", number % 7))],
                &[],
            ))
            .unwrap();
    }
    assert!(
        neighbour.wait().unwrap().success() && number > 10,
        "{number}"
    );
    firewall.set(&config(&[], &[])).unwrap();
    assert_eq!(
        output("nft list table inet dtap"),
        include_str!("../src/firewall/table.nft")
    );
    assert_eq!(output("iptables -S DOCKER-USER | grep -c dtap0"), "2\n");
}

#[test]
fn a_name_no_interface_can_have_is_refused() {
    if !isolated() {
        return;
    }
    let error = Firewall::new(lock())
        .unwrap()
        .set(&config(&[("10.75.0.2", "br-0123456789abcdef")], &[]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no interface is named \"br-0123456789abcdef\""
    );
    assert_eq!(listed(), "");
}

fn lock() -> &'static Path {
    Path::new(XTABLES_LOCK)
}

fn handed_over() -> FirewallConfig {
    let handover = Handover {
        bridge: "br-x".to_owned(),
        foothold: "dtaps0".to_owned(),
        hardware: [2, 0, 0, 0, 0, 10],
    };
    FirewallConfig {
        handovers: [handover].into(),
        ..config(&[("10.75.0.2", "dtaps0"), ("fd75::2", "dtaps0")], &[])
    }
}

fn firewall(config: &FirewallConfig) -> Firewall {
    let mut firewall = Firewall::new(lock()).unwrap();
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

/// The ruleset without what our changes of it must alter: counters.
fn listed() -> String {
    output("nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'")
}

/// Docker's own two rules there, a firewall that drops by policy, and one that does not.
const NFTABLES_BACKEND: &str = "
    nft add table ip docker-bridges
    nft 'add chain ip docker-bridges in'
    nft 'add chain ip docker-bridges filter-FORWARD { type filter hook forward priority 0; policy accept; }'
    nft 'add rule ip docker-bridges filter-FORWARD oifname vmap { br-a : jump in }'
    nft add table inet wall
    nft 'add chain inet wall forward { type filter hook forward priority 10; policy drop; }'
    nft add table inet open
    nft 'add chain inet open forward { type filter hook forward priority 10; policy accept; }'
    nft 'add chain inet open input { type filter hook input priority 10; policy drop; }'";
