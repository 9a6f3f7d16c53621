#![cfg(target_os = "linux")]
//! The firewall against the real kernel, in namespaces of its own.

use dtap_net::firewall::{Firewall, FirewallConfig};
use namespace::{isolated, output, sh};
use std::collections::BTreeSet;
mod namespace;

#[test]
fn try_it() {
    if !isolated() {
        return;
    }
    sh("iptables -N DOCKER-USER");
    let mut fw = Firewall::new().unwrap();
    let mut config = FirewallConfig {
        interface: "dtap0".into(),
        attached: BTreeSet::new(),
        masquerade: BTreeSet::new(),
    };
    config
        .attached
        .insert(("10.75.0.2".parse().unwrap(), "br-a".into()));
    config
        .attached
        .insert(("fd75::2".parse().unwrap(), "br-a".into()));
    config.masquerade.insert("172.30.1.2".parse().unwrap());
    config.masquerade.insert("fd00:1::2".parse().unwrap());
    fw.set(&config).unwrap();
    println!("{}", output("nft -a list ruleset"));
    println!("{}", output("iptables -S; ip6tables -S; iptables -nvL"));
    fw.set(&config).unwrap();
    fw.clear().unwrap();
    println!("{}", output("nft -a list ruleset"));
}
