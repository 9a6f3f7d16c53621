//! A VPN that comes up while containers are reached: what it takes is given, what it merely surrounds is kept.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::keeps_promise;
use dtap_tests::lab::{Lab, Options, can_run};
use dtap_tests::traffic::serves;
use serde_json::Value;

#[test]
fn a_vpn_that_surrounds_a_network_takes_nothing_and_one_that_equals_it_takes_it() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "--subnet", SUBNET, "web"])?;
    let web = lab.container("web", &["--network", "web"])?.v4()?;
    let client = Client::new(&lab, "vpn");
    client.connect(&[])?;
    let reached = || serves(lab.mac_namespace(), web);
    assert!(reached());

    lab.mac(&["ip", "tuntap", "add", "vpn0", "mode", "tun"])
        .text()?;
    lab.mac(&["ip", "link", "set", "vpn0", "up"]).text()?;
    for broad in ["0.0.0.0/1", "128.0.0.0/1", "172.16.0.0/12"] {
        lab.mac(&["ip", "route", "add", broad, "dev", "vpn0"])
            .text()?;
        assert!(reached(), "{broad}");
    }
    // What such a client may do to make its own routes count.
    lab.mac(&["ip", "route", "del", SUBNET]).text()?;
    keeps_promise(AGAIN, "a deleted route is there again", reached);
    assert_eq!(network(&client)?["state"], "reachable");

    let taken = ["ip", "route", "add", SUBNET, "dev", "vpn0", "metric", "5"];
    lab.mac(&taken).text()?;
    keeps_promise(AGAIN, "an equal route is a conflict", || {
        network(&client).is_ok_and(|it| it["state"] == "conflict")
    });
    let reason = network(&client)?["reason"].to_string();
    assert!(reason.contains("equals this host's route"), "{reason}");
    let own = lab.mac(&["ip", "route", "show", SUBNET, "proto", "75"]);
    assert_eq!(own.text()?, "", "the VPN has its route for itself");

    lab.mac(&["ip", "link", "del", "vpn0"]).text()?;
    keeps_promise(AGAIN, "reachable once the VPN is down", reached);
    assert_eq!(network(&client)?["state"], "reachable");
    Ok(())
}

#[test]
fn a_route_that_another_program_keeps_deleting_is_given_up_and_said() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "--subnet", SUBNET, "web"])?;
    let client = Client::new(&lab, "contest");
    client.connect(&[])?;
    let end = Instant::now() + PATIENCE;
    let mut deleted = 0;
    while network(&client)?["state"] == "reachable" {
        assert!(Instant::now() < end, "fought for {PATIENCE:?}");
        let delete = lab.mac(&["ip", "route", "del", SUBNET]);
        deleted += u32::from(delete.success());
    }
    eprintln!("given up after {deleted} deletions");
    let given_up = network(&client)?;
    assert_eq!(given_up["state"], "conflict");
    let reason = given_up["reason"].to_string();
    assert!(reason.contains("another program has deleted"), "{reason}");
    let own = lab.mac(&["ip", "route", "show", SUBNET]).text()?;
    assert_eq!(own, "");
    Ok(())
}

/// What `status` says of the network `web`.
fn network(client: &Client<'_>) -> Result<Value> {
    let connection = client.connection()?;
    let networks = connection["networks"].as_array().context("its networks")?;
    let found = networks.iter().find(|it| it["name"] == "web");
    found.cloned().context("find the network")
}

const SUBNET: &str = "172.30.0.0/24";
const AGAIN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
