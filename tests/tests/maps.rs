//! A network whose subnet the host has already is reached under another prefix, by everything an address is good for.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dtap_tests::capture::Capture;
use dtap_tests::client::Client;
use dtap_tests::echo::{EchoServer, tcp_echoes, udp_echoes};
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Container, Lab, Options, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until};
use serde_json::Value;

#[test]
fn a_clashing_network_is_reached_under_the_prefixes_it_is_mapped_to() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = clashing(&lab)?;
    let client = Client::new(&lab, "maps");
    client.connect(&[])?;
    let network = network(&client)?;
    assert_eq!(network["state"], "conflict", "{network}");
    assert!(!serves(lab.mac_namespace(), web.v4()?));
    client.disconnect()?;
    for path in ["udp", "session"] {
        client.connect(&["--path", path, "--map", MAPS[0], "--map", MAPS[1]])?;
        client.wait_for_path(path);
        is_shown(&client, &web, &MAPPED)?;
        let before = wrong_checksums(&lab)?;
        for (mapped, &address) in MAPPED.iter().zip(&web.addresses) {
            let mapped: IpAddr = mapped.parse()?;
            await_page(&lab, mapped);
            calls_both_ways(&lab, &client, &web, mapped, address)
                .and_then(|()| errors_arrive(&lab, mapped))
                .with_context(|| format!("{mapped} for {address} by {path}"))?;
        }
        assert_eq!(wrong_checksums(&lab)?, before, "by {path}");
        assert!(!serves(lab.mac_namespace(), web.v4()?));
        client.disconnect()?;
    }
    Ok(())
}

#[test]
fn what_is_mapped_by_itself_keeps_its_prefix() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = clashing(&lab)?;
    let client = Client::new(&lab, "auto");
    client.connect(&["--map", "auto"])?;
    let mapped = mapped(&client)?;
    let answers = |what: &str| {
        for address in &mapped {
            let what = format!("{address} answers {what}");
            wait_until(PATIENCE, &what, || serves(lab.mac_namespace(), *address));
        }
    };
    assert_eq!(mapped.len(), 2);
    answers("at first");
    lab.docker(&["restart", "dtap"])?;
    answers("after a restart of the server");
    client.disconnect()?;
    // A network that comes first would be given the first prefix.
    create(&lab, "before", &["172.31.6.0/24", "fd00:d0c:6::/64"])?;
    occupy(&lab, &["172.31.6.0/24", "fd00:d0c:6::/64"])?;
    client.connect(&["--map", "auto"])?;
    assert_eq!(self::mapped(&client)?, mapped);
    answers("after a reconnect");
    assert!(!serves(lab.mac_namespace(), web.v4()?));
    client.disconnect()?;
    fs::write(client.state_dir().join("maps.json"), "garbage")?;
    client.connect(&["--map", "auto"])?;
    assert!(client.log().contains("chooses anew"), "{}", client.log());
    let anew = self::mapped(&client)?;
    await_page(&lab, *anew.first().context("an address")?);
    Ok(())
}

#[test]
fn a_clash_that_comes_up_while_connected_is_mapped_at_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    create(&lab, "web", &SUBNETS)?;
    let web = lab.container("web", &["--network", "web"])?;
    let client = Client::new(&lab, "late");
    client.connect(&["--map", "auto"])?;
    assert_eq!(network(&client)?["mapped"], Value::Array(Vec::new()));
    for address in &web.addresses {
        await_page(&lab, *address);
    }
    occupy(&lab, &SUBNETS)?;
    keeps_promise(AT_ONCE, "both subnets are mapped", || {
        mapped(&client).is_ok_and(|it| it.len() == 2)
    });
    for address in mapped(&client)? {
        await_page(&lab, address);
    }
    assert_eq!(network(&client)?["state"], "reachable");
    Ok(())
}

/// A container on a network whose subnets the host has, too.
fn clashing(lab: &Lab) -> Result<Container> {
    create(lab, "web", &SUBNETS)?;
    occupy(lab, &SUBNETS)?;
    let web = lab.container("web", &["--network", "web"])?;
    ensure!(web.addresses.len() == 2, "{web:?}");
    Ok(web)
}

/// With a bridge so narrow that packets can be too big for it.
fn create(lab: &Lab, name: &str, subnets: &[&str; 2]) -> Result<()> {
    let narrow = "com.docker.network.driver.mtu=1300";
    let create = ["network", "create", "--ipv6", "--opt", narrow];
    let subnets = ["--subnet", subnets[0], "--subnet", subnets[1]];
    lab.docker(&[&create[..], &subnets, &[name]].concat())?;
    Ok(())
}

/// As a LAN or a VPN of the host's would.
fn occupy(lab: &Lab, subnets: &[&str]) -> Result<()> {
    if !lab.mac(&["ip", "link", "show", "lan"]).success() {
        lab.mac(&["ip", "link", "add", "lan", "type", "bridge"])
            .text()?;
        lab.mac(&["ip", "link", "set", "lan", "up"]).text()?;
    }
    for subnet in subnets {
        let route = ["ip", "route", "add", subnet, "dev", "lan", "metric", "100"];
        lab.mac(&route).text()?;
    }
    Ok(())
}

/// In `status` and `ls`, for programs and for people.
fn is_shown(client: &Client<'_>, web: &Container, mapped: &[&str]) -> Result<()> {
    let network = network(client)?;
    assert_eq!(network["state"], "reachable", "{network}");
    assert!(network["reason"].is_null(), "{network}");
    assert_eq!(network["subnets"], serde_json::json!(SUBNETS));
    assert_eq!(
        network["mapped"],
        serde_json::json!(["10.1.7.0/24", "fd7a:0:7::/64"])
    );
    let list: Value = serde_json::from_str(&client.run(&["ls", "--json"]).text()?)?;
    let listed = list.as_array().context("a list")?.iter();
    let listed = listed
        .filter(|it| it["name"] == web.name.as_str())
        .flat_map(|it| it["networks"].as_array().cloned().unwrap_or_default());
    let listed: Vec<_> = listed.collect();
    for ((listed, address), mapped) in listed.iter().zip(&web.addresses).zip(mapped) {
        assert_eq!(listed["address"], address.to_string());
        assert_eq!(listed["mapped"], *mapped);
    }
    assert_eq!(listed.len(), 2);
    for (command, says) in [("ls", mapped[0]), ("status", "10.1.7.0/24")] {
        let said = client.run(&[command]).text()?;
        ensure!(said.contains(says), "{command} does not show it: {said}");
    }
    Ok(())
}

/// Each end sees of the other what it can answer to.
fn calls_both_ways(
    lab: &Lab,
    client: &Client<'_>,
    web: &Container,
    mapped: IpAddr,
    address: IpAddr,
) -> Result<()> {
    let hosts = client.host_addresses()?;
    let host = hosts
        .into_iter()
        .find(|it| it.is_ipv4() == mapped.is_ipv4());
    let host = host.context("the host's tunnel address")?;
    let inside = Inside::of(lab, web)?;
    let start = || anyhow::Ok((Capture::start()?, EchoServer::start()?));
    let (in_container, echo) = inside.enter(start)?;
    lab.mac(&["ping", "-c1", "-W2", &mapped.to_string()])
        .text()?;
    lab.mac_namespace().enter(|| echoes(&echo, mapped))??;
    let seen = in_container.sources_to(address)?;
    assert_eq!(seen, BTreeSet::from([host]), "in the container");
    let (on_host, echo) = lab.mac_namespace().enter(start)??;
    inside.enter(|| echoes(&echo, host))?;
    let seen = on_host.sources_to(host)?;
    assert_eq!(seen, BTreeSet::from([mapped]), "on the host");
    Ok(())
}

fn echoes(server: &EchoServer, address: IpAddr) -> Result<()> {
    for length in [1, 1000, 1300, 9000] {
        udp_echoes(server.at(address), length)?;
    }
    tcp_echoes(server.at(address), 100_000)
}

/// What a host is told of its packets, by the container and on the way there.
fn errors_arrive(lab: &Lab, mapped: IpAddr) -> Result<()> {
    let refused = lab.mac_namespace().enter(|| {
        let any: IpAddr = match mapped {
            IpAddr::V4(_) => [0; 4].into(),
            IpAddr::V6(_) => [0; 16].into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((mapped, CLOSED_PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(b"anybody?")?;
        anyhow::Ok(socket.recv(&mut [0; 8]).err().map(|error| error.kind()))
    })??;
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    let address = mapped.to_string();
    let big = ["ping", "-c1", "-W2", "-M", "do", "-s", "1360", &address];
    // The kernel may know from an earlier packet, which was too big as well.
    let too_big = ["Frag needed", "Packet too big", "mtu=1300", "mtu: 1300"];
    says(lab, &big, &too_big)?;
    let short = ["ping", "-c1", "-W2", "-t", "1", &address];
    says(lab, &short, &["Time to live exceeded", "Hop limit"])
}

fn says(lab: &Lab, ping: &[&str], expected: &[&str]) -> Result<()> {
    let said = lab.mac(ping);
    let is_said = |words: &&str| said.stdout.contains(*words) || said.stderr.contains(*words);
    let is_said = expected.iter().any(is_said);
    ensure!(is_said, "{ping:?} is not told {expected:?}: {said:?}");
    Ok(())
}

fn await_page(lab: &Lab, address: IpAddr) {
    let what = format!("{address} answers");
    wait_until(PATIENCE, &what, || serves(lab.mac_namespace(), address));
}

fn network(client: &Client<'_>) -> Result<Value> {
    let connection = client.connection()?;
    let networks = connection["networks"].as_array().context("networks")?;
    let network = networks.iter().find(|it| it["name"] == "web");
    network.cloned().context("the network is not in the status")
}

/// The addresses under which `ls` says that the container is reached.
fn mapped(client: &Client<'_>) -> Result<Vec<IpAddr>> {
    let list: Value = serde_json::from_str(&client.run(&["ls", "--json"]).text()?)?;
    let containers = list.as_array().context("a list")?;
    let web = containers.iter().find(|it| it["name"] == "web");
    let networks = web.context("the container is not listed")?["networks"].as_array();
    let mapped = networks.into_iter().flatten();
    let mapped = mapped.filter_map(|it| it["mapped"].as_str());
    mapped.map(|it| Ok(it.parse()?)).collect()
}

/// How many packets either end has refused for their checksum.
fn wrong_checksums(lab: &Lab) -> Result<u64> {
    let files = ["/proc/net/snmp", "/proc/net/snmp6"];
    let read = [&["cat"], &files[..]].concat();
    let on_host = lab.mac(&read).text()?;
    let in_container = lab.docker(&[&["exec", "web"], &read[..]].concat())?;
    let counted = [on_host, in_container].map(|it| count(&it));
    ensure!(
        counted.iter().all(|it| it.0 >= 6),
        "not counted: {counted:?}"
    );
    Ok(counted.iter().map(|it| it.1).sum())
}

/// Of pairs of lines with names and values, and of lines with both: how many counters, and their sum.
fn count(text: &str) -> (usize, u64) {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    let tables = lines
        .windows(2)
        .filter(|pair| pair[0].first() == pair[1].first());
    let tables = tables.flat_map(|pair| pair[0].iter().zip(&pair[1]));
    let singles = lines
        .iter()
        .filter_map(|line| Some((line.first()?, line.get(1)?)));
    let counters = tables.chain(singles);
    let wrong = counters.filter(|(name, _)| name.ends_with("InCsumErrors"));
    let values: Vec<u64> = wrong.filter_map(|(_, value)| value.parse().ok()).collect();
    (values.len(), values.iter().sum())
}

const SUBNETS: [&str; 2] = ["172.31.7.0/24", "fd00:d0c:7::/64"];
/// One for the subnet, one for everything around it.
const MAPS: [&str; 2] = ["172.31.7.0/24=10.1.7.0/24", "fd00:d0c::/32=fd7a::/32"];
/// The container's addresses under these.
const MAPPED: [&str; 2] = ["10.1.7.2", "fd7a:0:7::2"];
const CLOSED_PORT: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: Duration = Duration::from_secs(1);
