//! There is no MTU black hole: a packet of any size gets through, or its sender is told that it is too big.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::echo::{EchoServer, tcp_echoes, udp_echoes};
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Background, Lab, Link, Options, can_run};
use dtap_tests::wait_until;

#[test]
fn packets_of_every_size_pass_or_are_said_to_be_too_big() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    for (network, mtu, third) in [("plain", 1500, 1), ("narrow", 1300, 2), ("jumbo", 9000, 3)] {
        let option = format!("com.docker.network.driver.mtu={mtu}");
        let (v4, v6) = (
            format!("172.31.{third}.0/24"),
            format!("fd00:d0c:{third}::/64"),
        );
        let create = ["network", "create", "--opt", &option, "--ipv6"];
        lab.docker(&[&create[..], &["--subnet", &v4, "--subnet", &v6, network]].concat())?;
        lab.container(network, &["--network", network])?;
    }
    for path in ["udp", "session"] {
        let client = Client::new(&lab, path);
        client.connect(&["--path", path])?;
        client.wait_for_path(path);
        for network in ["plain", "narrow", "jumbo"] {
            both_ways(&lab, &client, network)
                .with_context(|| format!("network {network} by {path}"))?;
        }
        let plain = lab.inspect("plain")?;
        for address in &plain.addresses {
            let largest = whole_ping(*address, TUNNEL_MTU);
            lab.mac(&words(&largest)).text()?;
        }
    }
    Ok(())
}

/// As with a VM behind a VPN, or a remote engine: whole datagrams of the tunnel do not fit.
#[test]
fn a_cable_that_is_narrower_than_the_tunnel_is_no_black_hole() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    lab.container("web", &[])?;
    lab.vm(&["ip", "link", "set", "eth0", "mtu", "1280"])
        .text()?;
    lab.mac(&["ip", "link", "set", "vm0", "mtu", "1280"])
        .text()?;
    let client = Client::new(&lab, "narrow");
    client.connect(&["--path", "udp"])?;
    client.wait_for_path("udp");
    both_ways(&lab, &client, "web")
}

/// From the host to a container and from the container to the host, over every IP version it has.
fn both_ways(lab: &Lab, client: &Client<'_>, name: &str) -> Result<()> {
    let container = lab.inspect(name)?;
    let inside = Inside::of(lab, &container)?;
    let in_container = inside.enter(EchoServer::start)?;
    let on_host = lab.mac_namespace().enter(EchoServer::start)??;
    let hosts = client.host_addresses()?;
    for &address in &container.addresses {
        let host = hosts.iter().find(|it| it.is_ipv4() == address.is_ipv4());
        let host = *host.context("the host's tunnel address")?;
        lab.mac_namespace()
            .enter(|| echoes(&in_container, address))?
            .with_context(|| format!("host to {address}"))?;
        inside
            .enter(|| echoes(&on_host, host))
            .with_context(|| format!("{address} to host"))?;
        let ping = whole_ping(address, ETHERNET_MTU);
        passes_or_is_too_big(&lab.mac_background(&words(&ping))?);
        let ping = whole_ping(host, ETHERNET_MTU);
        passes_or_is_too_big(&inside.background(&words(&ping))?);
    }
    Ok(())
}

fn echoes(server: &EchoServer, address: IpAddr) -> Result<()> {
    for length in LENGTHS {
        udp_echoes(server.at(address), length)?;
    }
    tcp_echoes(server.at(address), STREAM)
}

/// A command that sends one packet of `size` bytes that must not be fragmented.
fn whole_ping(to: IpAddr, size: usize) -> [String; 8] {
    let payload = (size - headers(to)).to_string();
    let to = to.to_string();
    ["ping", "-c1", "-W9", "-M", "do", "-s", &payload, &to].map(str::to_owned)
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

fn passes_or_is_too_big(ping: &Background) {
    let expected = [
        "bytes from",
        "message too long",
        "Frag needed",
        "Packet too big",
    ];
    wait_until(PATIENCE, "a big ping is answered or refused", || {
        let said = ping.output();
        expected.iter().any(|words| said.contains(words))
    });
}

/// Bytes of IP and ICMP before a ping's payload.
fn headers(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

/// Around the MTUs of the tunnel and of Ethernet with the headers of either IP version, and far beyond.
const LENGTHS: [usize; 11] = [
    1, 1232, 1372, 1373, 1392, 1393, 1452, 1472, 1473, 9000, 60_000,
];
const STREAM: usize = 4 << 20;
const TUNNEL_MTU: usize = 1420;
const ETHERNET_MTU: usize = 1500;
const PATIENCE: Duration = Duration::from_secs(5);
