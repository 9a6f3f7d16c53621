//! Next to a native engine there is nothing to tunnel, and nothing is installed; an engine that only looks native gets its
//! tunnel.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Engine, Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use serde_json::Value;

#[test]
fn next_to_a_native_engine_nothing_is_installed_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let web = lab.container("web", &[])?;
        let is_direct = |networks: &[&str]| -> Result<()> {
            let (before, containers) = (Machines::of(&lab)?, lab.docker(&["ps", "--all"])?);
            let client = Client::new(&lab, "native").beside_the_engine();
            client.connect(&[])?;
            assert_eq!(before.difference(&Machines::of(&lab)?), "");
            assert_eq!(names(&containers), names(&lab.docker(&["ps", "--all"])?));
            let connection = client.connection()?;
            assert_eq!(connection["path"], "direct");
            assert_eq!(connection["state"], "connected");
            for field in ["interface", "endpoint", "host_address", "server_address"] {
                assert!(connection[field].is_null(), "{connection}");
            }
            for network in networks {
                assert_eq!(state_of(&connection, network)?, "reachable");
            }
            assert!(serves(lab.vm_namespace(), web.v4()?));
            let list = client.run(&["ls", "--json"]).text()?;
            let list: Value = serde_json::from_str(&list)?;
            assert_eq!(list[0]["name"], "web");
            assert_eq!(list[0]["reachable"], true);
            client.disconnect()?;
            assert_eq!(before.difference(&Machines::of(&lab)?), "");
            Ok(())
        };
        // The first may be any machine's docker0; the second is nobody else's.
        is_direct(&["bridge"])?;
        lab.docker(&["network", "create", "mine"])?;
        is_direct(&["bridge", "mine"])?;
    }
    Ok(())
}

/// Nothing on the host tells such an engine from another machine's; its server does, and goes again.
#[test]
fn a_native_engine_that_is_reached_by_tcp_is_left_as_it_was() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tcp = "tcp://127.0.0.1:2375";
    let lab = Lab::start(Options {
        dockerd_arguments: ["--host", tcp].map(str::to_owned).to_vec(),
        ..Options::default()
    })?;
    let web = lab.container("web", &[])?;
    let objects = || -> Result<Vec<String>> {
        let lists = [["ps", "--all"], ["images", "--all"], ["volume", "ls"]];
        lists
            .iter()
            .map(|list| lab.docker(&[&list[..], &["--quiet"]].concat()))
            .collect()
    };
    let before = (Machines::of(&lab)?, objects()?);
    let client = Client::new(&lab, "native")
        .beside_the_engine()
        .by(tcp.into());
    client.connect(&[])?;
    let connection = client.connection()?;
    assert_eq!(connection["path"], "direct");
    assert!(connection["interface"].is_null(), "{connection}");
    assert_eq!(state_of(&connection, "bridge")?, "reachable");
    assert!(serves(lab.vm_namespace(), web.v4()?));
    assert_eq!(before.1, objects()?);
    before.0.restored(&lab, AT_ONCE, "connect")?;
    client.disconnect()?;
    before.0.restored(&lab, AT_ONCE, "disconnect")
}

/// As on a Linux laptop that has Docker, too.
#[test]
fn a_host_with_a_docker0_of_its_own_is_not_taken_for_the_engines() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "mine"])?;
    let web = lab.container("web", &["--network", "mine"])?;
    for command in [
        "link add docker0 type bridge",
        "address add 172.17.0.1/16 dev docker0",
        "link set docker0 up",
    ] {
        let ip: Vec<_> = std::iter::once("ip").chain(command.split(' ')).collect();
        lab.mac(&ip).text()?;
    }
    let client = Client::new(&lab, "laptop");
    client.connect(&[])?;
    client.wait_for_path("udp");
    let connection = client.connection()?;
    assert_eq!(state_of(&connection, "bridge")?, "conflict");
    assert_eq!(state_of(&connection, "mine")?, "reachable");
    assert!(serves(lab.mac_namespace(), web.v4()?));
    Ok(())
}

fn state_of(connection: &Value, network: &str) -> Result<String> {
    let networks = connection["networks"].as_array().context("its networks")?;
    let found = networks.iter().find(|it| it["name"] == network);
    let found = found.with_context(|| format!("find network {network}"))?;
    Ok(found["state"].as_str().unwrap_or_default().to_owned())
}

/// The last column; those before it have times in them.
fn names(list: &str) -> Vec<&str> {
    list.lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect()
}

const AT_ONCE: Duration = Duration::from_secs(2);
