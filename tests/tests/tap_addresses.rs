//! The address of a host in a network's Ethernet is one that nobody else has, nor gets.

#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::host::{Host, pings};
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::taps::{Tap, neighbour};
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until};

#[test]
fn it_is_what_docker_will_not_give_or_what_the_user_says() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    network(&lab, &["--ip-range", "172.30.0.128/25"])?;
    let web = lab.container("web", &["--network", "web"])?.v4()?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let outside = Tap::attach(&client, "web", &[])?;
    assert_eq!(outside.v4()?, Ipv4Addr::new(172, 30, 0, 127));
    let said = Tap::attach(&client, "web", &["--address", "172.30.0.77"])?;
    assert_eq!(said.v4()?, Ipv4Addr::new(172, 30, 0, 77));
    assert!(serves(lab.mac_namespace(), web));

    // What cannot be leaves what is.
    for (address, reason) in [
        (web.to_string().as_str(), "is in use on network web"),
        // The gateway, which this engine keeps to itself: the first of the range.
        ("172.30.0.128", "is in use on network web"),
        ("172.30.0.255", "means network web itself"),
        ("10.1.2.3", "take one of 172.30.0.0/24"),
    ] {
        refused(&client, address, reason)?;
        wait_until(SOON, "the former address is back", || {
            Tap::of(&client, "web").is_ok_and(|now| now.addresses == said.addresses)
        });
        assert!(serves(lab.mac_namespace(), web), "{address}");
    }
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

#[test]
fn it_moves_when_docker_gives_it_to_a_container() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    network(&lab, &[])?;
    let web = lab.container("web", &["--network", "web"])?.v4()?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let first = Tap::attach(&client, "web", &[])?.v4()?.to_string();
    let late = lab.container("late", &["--network", "web", "--ip", &first])?;
    keeps_promise(
        SOON,
        "the host moves away from a container's address",
        || {
            let now = Tap::of(&client, "web").and_then(|tap| tap.v4());
            now.is_ok_and(|now| now.to_string() != first)
        },
    );
    let host = Tap::of(&client, "web")?.v4()?.to_string();
    for container in [web, late.v4()?] {
        wait_until(SOON, "both containers are reached", || {
            serves(lab.mac_namespace(), container)
        });
    }
    for container in ["web", "late"] {
        lab.docker(&["exec", container, "ping", "-c1", "-W2", &host])?;
    }
    let listed = lab.mac(&["ip", "-o", "address"]).text()?;
    assert!(listed.contains(&format!("{host}/24")), "{listed}");
    assert!(!listed.contains(&format!("{first}/24")), "{listed}");
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

#[test]
fn what_another_host_has_is_found_by_asking() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    network(&lab, &[])?;
    let web = lab.container("web", &["--network", "web"])?.v4()?;
    let host = Host::start(&lab)?;
    let one = Client::new(&lab, "one");
    let other = Client::new(&lab, "other").on(&host);
    one.connect(&[])?;
    other.connect(&[])?;
    let of_one = Tap::attach(&one, "web", &[])?;
    let taken = of_one.v4()?.to_string();
    refused(&other, &taken, "is in use on network web")?;
    let of_other = Tap::attach(&other, "web", &[])?;
    assert_ne!(of_other.v4()?, of_one.v4()?);

    // Both are in one Ethernet with the containers, and with each other.
    let on_mac = |program: &[&str]| lab.mac(program);
    let on_other = |program: &[&str]| host.run(program);
    assert!(pings(on_mac, web) && pings(on_other, web));
    assert!(pings(on_mac, of_other.v4()?) && pings(on_other, of_one.v4()?));
    let found = neighbour(on_mac, of_other.v4()?.into());
    assert_eq!(found, Some(of_other.hardware(on_other)?));
    let found = neighbour(on_other, of_one.v4()?.into());
    assert_eq!(found, Some(of_one.hardware(on_mac)?));
    Ok(())
}

fn network(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let create = ["network", "create", "--subnet", "172.30.0.0/24"];
    lab.docker(&[&create, arguments, &["web"]].concat())?;
    Ok(())
}

fn refused(client: &Client<'_>, address: &str, reason: &str) -> Result<()> {
    let said = client.run(&["tap", "attach", "web", "--address", address]);
    ensure!(said.code == 1, "{said:?}");
    ensure!(said.stderr.contains(reason), "{said:?}");
    ensure!(!said.stderr.contains("not within"), "{said:?}");
    Ok(())
}

const SOON: Duration = Duration::from_secs(3);
