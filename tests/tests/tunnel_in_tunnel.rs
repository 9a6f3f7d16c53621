//! A tunnel never carries itself: not into a network that lies where its other end is.

#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::wait_until;
use serde_json::Value;

#[test]
fn a_network_around_the_live_endpoint_is_a_conflict_and_udp_goes_on() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let web = lab.container("web", &[])?.v4()?;
    let client = Client::new(&lab, "host");
    client.connect(&[])?;
    client.wait_for_path("udp");
    swallow(&lab)?;
    wait_until(SOON, "the network is a conflict", || {
        network(&client).is_ok_and(|network| network["state"] == "conflict")
    });
    let network = network(&client)?;
    let reason = network["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(&VM.to_string()), "{network}");
    assert_eq!(way_to_the_vm(&lab)?, "vm0");
    assert!(serves(lab.mac_namespace(), web));
    let endpoint = client.field("endpoint");
    assert!(endpoint.starts_with(&format!("{VM}:")), "{endpoint}");
    Ok(())
}

#[test]
fn a_network_around_the_live_endpoint_can_be_mapped_and_udp_goes_on() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    lab.container("web", &[])?;
    let client = Client::new(&lab, "host");
    client.connect(&["--map", "auto"])?;
    client.wait_for_path("udp");
    swallow(&lab)?;
    let swallowed = lab
        .container("swallowed", &["--network", "swallow"])?
        .v4()?;
    let mapped = Ipv4Addr::new(10, 254, 106, swallowed.octets()[3]);
    wait_until(SOON, "the network is mapped", || {
        serves(lab.mac_namespace(), mapped)
    });
    // For longer than the 3 s after which a path that is dead is left.
    for _ in 0..150 {
        assert!(serves(lab.mac_namespace(), mapped));
        assert_eq!(client.field("path"), "udp");
    }
    assert_eq!(way_to_the_vm(&lab)?, "vm0");
    let network = network(&client)?;
    assert_eq!(network["state"], "reachable");
    assert_eq!(network["mapped"][0], "10.254.106.0/29");
    Ok(())
}

/// Nobody knows yet that the engine's machine answers there.
#[test]
fn an_endpoint_inside_a_network_that_was_there_first_is_not_used() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let web = lab.container("web", &[])?.v4()?;
    swallow(&lab)?;
    let client = Client::new(&lab, "host");
    client.connect(&[])?;
    assert_eq!(network(&client)?["state"], "reachable");
    assert_ne!(way_to_the_vm(&lab)?, "vm0");
    // For longer than the 2 s in which UDP would be found.
    for _ in 0..100 {
        assert!(serves(lab.mac_namespace(), web));
        assert_eq!(client.field("path"), "session");
    }
    Ok(())
}

/// A host that the networks of [`swallow`] do not touch, without a second way by IPv6.
fn lab() -> Result<Lab> {
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    lab.mac(&["ip", "address", "flush", "dev", "vm0", "scope", "global"])
        .text()?;
    lab.mac(&["ip", "address", "add", "192.168.106.9/24", "dev", "vm0"])
        .text()?;
    Ok(lab)
}

/// Creates a network whose subnet has the VM's own address in it, and not the host's.
fn swallow(lab: &Lab) -> Result<()> {
    let subnet = ["--subnet", "192.168.106.0/29", "--gateway", "192.168.106.6"];
    let create = [&["network", "create"], subnet.as_slice(), &["swallow"]].concat();
    lab.docker(&create).map(drop)
}

fn network(client: &Client<'_>) -> Result<Value> {
    let connection = client.connection()?;
    let networks = connection["networks"].as_array().context("list networks")?;
    let found = networks.iter().find(|network| network["name"] == "swallow");
    found.cloned().context("find the network")
}

/// The interface by which the host sends to the VM.
fn way_to_the_vm(lab: &Lab) -> Result<String> {
    let route = lab.mac(&["ip", "route", "get", &VM.to_string()]).text()?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    Ok(words.nth(1).context("read a route")?.to_owned())
}

const VM: Ipv4Addr = Ipv4Addr::new(192, 168, 106, 2);
const SOON: Duration = Duration::from_secs(10);
