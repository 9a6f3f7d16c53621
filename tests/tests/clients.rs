//! Several hosts use one engine at once and do not notice one another.

#![cfg(target_os = "linux")]

use std::net::IpAddr;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::host::{Host, fetches, pings};
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::pings::Pings;
use dtap_tests::traffic::Echo;

#[test]
fn two_hosts_reach_the_containers_and_not_each_other() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let web = lab.container("web", &[])?;
    let other = Host::start(&lab)?;
    let clients = [
        Client::new(&lab, "mac"),
        Client::new(&lab, "other").on(&other),
    ];
    for client in &clients {
        client.connect(&[])?;
        client.wait_for_path("udp");
    }
    let mac = |program: &[&str]| lab.mac(program);
    let other = |program: &[&str]| other.run(program);
    let addresses = [address(&clients[0])?, address(&clients[1])?];
    assert_ne!(addresses[0], addresses[1]);
    for container in &web.addresses {
        assert!(
            fetches(mac, *container) && fetches(other, *container),
            "{container}"
        );
    }
    for host in addresses {
        let ping = ["exec", "web", "ping", "-c1", "-W2", &host.to_string()];
        lab.docker(&ping).context("both hosts answer containers")?;
    }
    // Neither has a route to the other; one who makes it wins nothing.
    for (run, to) in [
        (&mac as &dyn Fn(&[&str]) -> _, addresses[1]),
        (&other, addresses[0]),
    ] {
        assert!(!pings(run, to), "{to} before there is a route");
        run(&["ip", "route", "add", &to.to_string(), "dev", "dtap0"]).text()?;
        assert!(!pings(run, to), "{to}");
        let attempt = ["nc", "-z", "-w1", &to.to_string(), "22"];
        assert!(!run(&attempt).stderr.contains("refused"), "{to} answered");
    }
    Ok(())
}

#[test]
fn one_host_leaves_and_the_other_goes_on() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let echo = Echo::start(&lab, &[])?;
    let other = Host::start(&lab)?;
    let stays = Client::new(&lab, "stays");
    let leaves = Client::new(&lab, "leaves").on(&other);
    for client in [&stays, &leaves] {
        client.connect(&[])?;
        client.wait_for_path("udp");
    }
    let pings_of_stays = Pings::start(&lab, echo)?;
    let mut connection = Echo::connect(&lab, echo)?;
    for _ in 0..3 {
        let before = address(&leaves)?;
        leaves.disconnect()?;
        assert!(!pings(|program| other.run(program), echo));
        connection.exchange()?;
        leaves.connect(&[])?;
        assert!(pings(|program| other.run(program), echo));
        assert_eq!(address(&leaves)?, before, "its address is its own");
        connection.exchange()?;
    }
    let answers = pings_of_stays.answers();
    let silence = answers.longest_silence();
    eprintln!(
        "{} answers, none for {silence:.2?} at most",
        answers.count()
    );
    assert!(silence.as_millis() <= 500, "{silence:?}");
    assert_eq!(answers.out_of_order(), 0);
    Ok(())
}

#[test]
fn what_one_host_excludes_the_other_still_reaches() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let mut containers = Vec::new();
    for (network, subnet) in [("front", "172.30.1.0/24"), ("back", "172.30.2.0/24")] {
        lab.docker(&["network", "create", "--subnet", subnet, network])?;
        containers.push(lab.container(&format!("in-{network}"), &["--network", network])?);
    }
    let other = Host::start(&lab)?;
    let choosy = Client::new(&lab, "choosy");
    let everything = Client::new(&lab, "everything").on(&other);
    let mac = |program: &[&str]| lab.mac(program);
    let other = |program: &[&str]| other.run(program);
    everything.connect(&[])?;
    for (arguments, expected) in [
        (["--include", "front"], ["reachable", "excluded"]),
        (["--exclude", "172.30.2.0/24"], ["reachable", "excluded"]),
        (["--include", "172.30.2.0/24"], ["excluded", "reachable"]),
    ] {
        choosy.connect(&arguments)?;
        for ((network, container), expected) in
            ["front", "back"].iter().zip(&containers).zip(expected)
        {
            let what = format!("{} and {network}", arguments.join(" "));
            assert_eq!(state(&choosy, network)?, expected, "{what}");
            assert_eq!(state(&everything, network)?, "reachable", "{what}");
            let address = container.v4()?;
            assert_eq!(fetches(mac, address), expected == "reachable", "{what}");
            assert!(fetches(other, address), "{what}");
        }
        choosy.disconnect()?;
    }
    Ok(())
}

fn lab() -> Result<Lab> {
    Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })
}

fn address(client: &Client<'_>) -> Result<IpAddr> {
    let address = client.field("host_address");
    address
        .parse()
        .with_context(|| format!("parse {address:?}"))
}

/// What `status` says of a network.
fn state(client: &Client<'_>, network: &str) -> Result<String> {
    let connection = client.connection()?;
    let networks = connection["networks"].as_array().context("no networks")?;
    let found = networks.iter().find(|known| known["name"] == network);
    let state = found.context("no such network")?["state"].as_str();
    Ok(state.unwrap_or_default().to_owned())
}
