//! Networks come and go: each is reachable at once, and each leaves nothing.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Container, Engine, Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until};

#[test]
fn a_network_is_reachable_at_once_and_leaves_nothing_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let client = Client::new(&lab, "follow");
        client.connect(&[])?;
        client.wait_for_path("udp");
        settle(&lab)?;
        for number in 1..=3 {
            let before = Machines::of(&lab)?;
            let web = create(&lab)?;
            for &address in &web.addresses {
                if address.is_ipv6() {
                    await_duplicate_address_detection(&lab, address);
                }
                let what = format!("{}: {address} is reachable", lab.engine());
                keeps_promise(AT_ONCE, &what, || serves(lab.mac_namespace(), address));
            }
            remove(&lab)?;
            let what = format!("network {number} was removed on {}", lab.engine());
            before.restored(&lab, AT_ONCE, &what)?;
        }
        assert_eq!(networks(&client)?, ["bridge"]);
    }
    Ok(())
}

/// Docker drops by other rules what would leave or enter an internal network, some of them before ours.
#[test]
fn an_internal_network_made_after_connecting_is_reachable_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let client = Client::new(&lab, "internal");
        client.connect(&[])?;
        let subnets = ["--subnet", "172.30.0.0/24", "--subnet", "fd00:d0c:30::/64"];
        let create = ["network", "create", "--internal", "--ipv6"];
        lab.docker(&[&create[..], &subnets, &["inside"]].concat())?;
        let web = lab.container("web", &["--network", "inside"])?;
        for address in web.addresses {
            await_duplicate_address_detection(&lab, address);
            let what = format!("{}: {address} is reachable", lab.engine());
            keeps_promise(AT_ONCE, &what, || serves(lab.mac_namespace(), address));
        }
    }
    Ok(())
}

/// As with `docker network connect`: no container is started, and no network is new.
#[test]
fn a_container_that_joins_a_network_is_reachable_there_at_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "late"])?;
    lab.container("web", &[])?;
    let client = Client::new(&lab, "join");
    client.connect(&[])?;
    lab.docker(&["network", "connect", "late", "web"])?;
    let web = lab.inspect("web")?;
    keeps_promise(AT_ONCE, "the container answers on both networks", || {
        answers(&lab, &web)
    });
    lab.docker(&["network", "disconnect", "late", "web"])?;
    let web = lab.inspect("web")?;
    keeps_promise(AT_ONCE, "it answers on the network it is left with", || {
        answers(&lab, &web)
    });
    Ok(())
}

#[test]
fn fifty_networks_made_in_a_loop_are_all_reachable_and_leave_nothing() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let client = Client::new(&lab, "fifty");
    client.connect(&[])?;
    client.wait_for_path("udp");
    settle(&lab)?;
    let before = Machines::of(&lab)?;
    let names: Vec<_> = (1..=FIFTY).map(|number| format!("net{number}")).collect();
    for (number, name) in (1..).zip(&names) {
        let subnet = format!("172.30.{number}.0/24");
        lab.docker(&["network", "create", "--subnet", &subnet, name])?;
    }
    let containers: Result<Vec<_>> = names
        .iter()
        .map(|name| lab.container(name, &["--network", name]))
        .collect();
    let containers = containers?;
    keeps_promise(AT_ONCE, "fifty networks are reachable", || {
        containers.iter().all(|web| answers(&lab, web))
    });
    assert_eq!(networks(&client)?.len(), FIFTY + 1);

    let names: Vec<_> = names.iter().map(String::as_str).collect();
    lab.docker(&[&["rm", "--force"], &names[..]].concat())?;
    lab.docker(&[&["network", "rm"], &names[..]].concat())?;
    before.restored(&lab, AT_ONCE, "fifty networks were removed")?;
    assert_eq!(networks(&client)?, ["bridge"]);
    Ok(())
}

/// A network with a container that nobody has seen before.
fn create(lab: &Lab) -> Result<Container> {
    let subnets = ["--subnet", "172.30.0.0/24", "--subnet", "fd00:d0c:30::/64"];
    lab.docker(&[&["network", "create", "--ipv6"], &subnets[..], &["fresh"]].concat())?;
    lab.container("web", &["--network", "fresh"])
}

/// Some engines let the kernel look for a second or two whether somebody else has a container's IPv6 address; meanwhile
/// nobody at all reaches it.
fn await_duplicate_address_detection(lab: &Lab, address: IpAddr) {
    wait_until(SETTLED, "the VM itself reaches the container", || {
        serves(lab.vm_namespace(), address)
    });
}

fn remove(lab: &Lab) -> Result<()> {
    lab.docker(&["rm", "--force", "web"])?;
    lab.docker(&["network", "rm", "fresh"]).map(drop)
}

/// Docker's own part of the firewall grows with its first containers, and before Docker 23 every new network moves
/// Docker's IPv6 rules to the head: once through it all, and it stays as it is.
fn settle(lab: &Lab) -> Result<()> {
    let web = create(lab)?;
    wait_until(SETTLED, "it serves its page", || {
        serves(lab.vm_namespace(), web.addresses[0])
    });
    remove(lab)?;
    // Without one, the addresses of the default network would stay tentative.
    lab.container("resident", &[]).map(drop)
}

fn answers(lab: &Lab, container: &Container) -> bool {
    let mut addresses = container.addresses.iter();
    addresses.all(|address| serves(lab.mac_namespace(), *address))
}

/// The names of those that are reachable.
fn networks(client: &Client<'_>) -> Result<Vec<String>> {
    let connection = client.connection()?;
    let networks = connection["networks"].as_array().context("its networks")?;
    let reachable = networks.iter().filter(|it| it["state"] == "reachable");
    Ok(reachable
        .filter_map(|it| it["name"].as_str().map(str::to_owned))
        .collect())
}

const FIFTY: usize = 50;
const AT_ONCE: Duration = Duration::from_secs(1);
const SETTLED: Duration = Duration::from_secs(10);
