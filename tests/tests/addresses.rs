//! Both ends see each other's own address, on the wire: the host that of the container, the container that of the host,
//! unless it could not answer there.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dtap_tests::capture::Capture;
use dtap_tests::client::Client;
use dtap_tests::echo::{EchoServer, tcp_echoes, udp_echoes};
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Container, Engine, Lab, Options, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until};

#[test]
fn host_and_container_see_each_others_own_address_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        network(&lab, "mine", 1, &[])?;
        let containers = [
            lab.container("default", &["--publish", "8080:80"])?,
            lab.container("other", &["--network", "mine"])?,
        ];
        let client = Client::new(&lab, "addresses");
        client.connect(&[])?;
        let hosts = client.host_addresses()?;
        for container in &containers {
            for &address in &container.addresses {
                let host = like(&hosts, address)?;
                let story = format!("{}: {address} and {host}", lab.engine());
                let seen = calls(&lab, container, address)?;
                assert_eq!(seen, BTreeSet::from([host]), "{story}, in the container");
                let seen = is_called(&lab, container, host)?;
                assert_eq!(seen, BTreeSet::from([address]), "{story}, on the host");
            }
        }
        assert_eq!(lab.strays()?, 0);
    }
    Ok(())
}

#[test]
fn who_could_not_answer_the_host_sees_its_own_bridge_and_answers_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        network(&lab, "inside", 1, &["--internal"])?;
        network(&lab, "first", 2, &[])?;
        network(&lab, "second", 3, &[])?;
        lab.container("hidden", &["--network", "inside"])?;
        lab.container("double", &["--network", "first"])?;
        lab.docker(&["network", "connect", "second", "double"])?;
        await_addresses(&lab);
        let client = Client::new(&lab, "masqueraded");
        client.connect(&[])?;
        for name in ["hidden", "double"] {
            let container = lab.inspect(name)?;
            for &address in &container.addresses {
                let seen = calls(&lab, &container, address)?;
                let bridge = bridge_beside(address);
                let story = format!("{}: {name} at {address}", lab.engine());
                assert_eq!(seen, BTreeSet::from([bridge]), "{story}");
            }
        }
        // One that has left its second network can answer for itself again.
        lab.docker(&["network", "disconnect", "second", "double"])?;
        let double = lab.inspect("double")?;
        let address = double.v4()?.into();
        let host = like(&client.host_addresses()?, address)?;
        keeps_promise(AT_ONCE, "masquerading ends with the second network", || {
            calls(&lab, &double, address).is_ok_and(|seen| seen == BTreeSet::from([host]))
        });
    }
    Ok(())
}

#[test]
fn the_hosts_address_is_stable_over_reconnects_and_restarts() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &[])?;
    let client = Client::new(&lab, "stable");
    client.connect(&[])?;
    let first = client.host_addresses()?;
    let is_stable = |after: &str| -> Result<()> {
        wait_until(Duration::from_secs(20), "the page is served", || {
            serves(lab.mac_namespace(), web.addresses[0])
        });
        assert_eq!(client.host_addresses()?, first, "{after}");
        assert_eq!(client.field("host_address"), first[0].to_string());
        Ok(())
    };
    client.disconnect()?;
    client.connect(&[])?;
    is_stable("a reconnect")?;
    for command in [["restart", "dtap"].as_slice(), &["rm", "--force", "dtap"]] {
        lab.docker(command)?;
        is_stable(&command.join(" "))?;
    }
    client.disconnect()?;
    lab.docker(&["rm", "--force", "dtap"])?;
    // Another host that comes first does not get it.
    let other = Client::new(&lab, "other");
    other.connect(&[])?;
    assert_ne!(other.field("host_address"), first[0].to_string());
    other.disconnect()?;
    client.connect(&[])?;
    is_stable("another host")
}

/// Before Docker 23 the kernel looks for a second or two whether somebody else has a bridge's IPv6 address, and takes that
/// of another bridge until then.
fn await_addresses(lab: &Lab) {
    wait_until(
        Duration::from_secs(10),
        "bridges have their addresses",
        || {
            let tentative = lab.vm(&["ip", "-6", "-o", "address", "show", "tentative"]);
            // That of a bridge without a container stays so.
            !tentative.stdout.lines().any(|line| line.contains("br-"))
        },
    );
}

/// Whom the container sees when the host calls it, by TCP and UDP.
fn calls(lab: &Lab, container: &Container, address: IpAddr) -> Result<BTreeSet<IpAddr>> {
    let inside = Inside::of(lab, container)?;
    let (capture, echo) = inside.enter(|| Ok((Capture::start()?, EchoServer::start()?)))?;
    lab.mac_namespace().enter(|| echoes(&echo, address))??;
    capture.sources_to(address)
}

/// Whom the host sees when the container calls it.
fn is_called(lab: &Lab, container: &Container, host: IpAddr) -> Result<BTreeSet<IpAddr>> {
    let start = || anyhow::Ok((Capture::start()?, EchoServer::start()?));
    let (capture, echo) = lab.mac_namespace().enter(start)??;
    Inside::of(lab, container)?.enter(|| echoes(&echo, host))?;
    capture.sources_to(host)
}

fn echoes(server: &EchoServer, address: IpAddr) -> Result<()> {
    udp_echoes(server.at(address), 1000)?;
    tcp_echoes(server.at(address), 1000)
}

/// With subnets whose bridge has the address 1.
fn network(lab: &Lab, name: &str, number: u8, arguments: &[&str]) -> Result<()> {
    let (v4, v6) = (
        format!("172.30.{number}.0/24"),
        format!("fd00:d0c:{number}::/64"),
    );
    let create = ["network", "create", "--ipv6", "--subnet", &v4, "--subnet"];
    lab.docker(&[&create[..], &[&v6], arguments, &[name]].concat())?;
    Ok(())
}

fn bridge_beside(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            [a, b, c, 1].into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 1].into()
        }
    }
}

/// The one of the same IP version.
fn like(addresses: &[IpAddr], other: IpAddr) -> Result<IpAddr> {
    ensure!(addresses.len() == 2, "{addresses:?}");
    let found = addresses.iter().find(|it| it.is_ipv4() == other.is_ipv4());
    found.copied().context("the host's tunnel address")
}

const AT_ONCE: Duration = Duration::from_secs(1);
