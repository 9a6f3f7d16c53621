//! Any container, any port, TCP, UDP and ICMP, by its IP: on the default network and on others, published or not.

#![cfg(target_os = "linux")]

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::echo::{EchoServer, tcp_echoes, udp_echoes};
use dtap_tests::lab::{Container, Engine, Lab, Options, can_run};
use dtap_tests::traffic::{answers, serves};

#[test]
fn every_container_answers_by_its_ip_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let containers = containers(&lab)?;
        for container in &containers {
            assert!(!serves(lab.mac_namespace(), container.v4()?));
        }
        for path in ["udp", "session"] {
            let client = Client::new(&lab, path);
            client.connect(&["--path", path])?;
            client.wait_for_path(path);
            for container in &containers {
                answers(&lab, container)
                    .with_context(|| format!("{} on {} by {path}", container.name, lab.engine()))?;
            }
            are_listed(&client, &containers)?;
        }
        eprintln!("{}: {} containers answer", lab.engine(), containers.len());
    }
    Ok(())
}

#[test]
fn a_container_on_the_hosts_network_answers_at_the_servers_address_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        lab.container("web", &["--network", "host"])?;
        let client = Client::new(&lab, "host");
        client.connect(&[])?;
        let server: IpAddr = client.field("server_address").parse()?;
        ensure!(serves(lab.mac_namespace(), server), "no page at {server}");
        let echo = lab.vm_namespace().enter(EchoServer::start)??;
        lab.mac_namespace().enter(|| {
            udp_echoes(echo.at(server), 1000)?;
            tcp_echoes(echo.at(server), 1000)
        })??;
        let list = client.run(&["ls", "--json"]).text()?;
        let list: serde_json::Value = serde_json::from_str(&list)?;
        assert_eq!(list[0]["name"], "web");
        assert_eq!(list[0]["reachable"], true, "{list}");
    }
    Ok(())
}

/// On every kind of network, with and without a published port.
fn containers(lab: &Lab) -> Result<Vec<Container>> {
    lab.docker(&["network", "create", "v4"])?;
    let subnets = ["--subnet", "172.31.7.0/24", "--subnet", "fd00:d0c:7::/64"];
    lab.docker(&[&["network", "create", "--ipv6"], &subnets[..], &["dual"]].concat())?;
    let kinds: [(&str, &[&str]); 6] = [
        ("bridge-plain", &[]),
        ("bridge-published", &["--publish", "8001:80"]),
        ("v4-plain", &["--network", "v4"]),
        ("v4-published", &["--network", "v4", "--publish", "8002:80"]),
        ("dual-plain", &["--network", "dual"]),
        (
            "dual-published",
            &["--network", "dual", "--publish", "8003:80"],
        ),
    ];
    let started: Result<Vec<_>> = kinds
        .iter()
        .map(|(name, arguments)| lab.container(name, arguments))
        .collect();
    let started = started?;
    let with_v6 = started.iter().filter(|it| it.v6().is_ok()).count();
    ensure!(
        with_v6 == 4,
        "{with_v6} containers have an IPv6 address instead of 4"
    );
    Ok(started)
}

fn are_listed(client: &Client<'_>, containers: &[Container]) -> Result<()> {
    let list = client.run(&["ls", "--json"]).text()?;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list)?;
    for container in containers {
        let listed = list.iter().find(|it| it["name"] == container.name.as_str());
        let listed = listed.with_context(|| format!("{} is not listed", container.name))?;
        assert_eq!(listed["reachable"], true, "{listed}");
        let addresses = listed["networks"].as_array().context("its networks")?;
        let addresses = addresses.iter().filter_map(|it| it["address"].as_str());
        let addresses: Result<Vec<IpAddr>, _> = addresses.map(str::parse).collect();
        assert_eq!(addresses?, container.addresses, "{listed}");
    }
    Ok(())
}
