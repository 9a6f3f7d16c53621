//! A host that is attached to a network is one of its neighbours: whatever Ethernet carries, it gets and gives.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::host::pings;
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Container, Engine, Lab, Link, Options, can_run};
use dtap_tests::mdns::{Responder, resolve};
use dtap_tests::taps::{EVERYBODYS_PORT, Tap, hardware, neighbour, neighbour_in, to_everybody};
use dtap_tests::traffic::answers;
use dtap_tests::transfer::both_ways;
use dtap_tests::wait_until;

#[test]
fn host_and_container_are_neighbours_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let web = web(&lab)?;
        let client = Client::new(&lab, "tap");
        client.connect(&[])?;
        let tap = Tap::attach(&client, "web", &[])?;
        assert_eq!(tap.carrier, "tunnel");
        assert_eq!(tap.addresses.len(), 2, "{tap:?}");
        let own = tap.hardware(|program| lab.mac(program))?;
        let containers = hardware(&lab, "web")?;
        for (&host, &container) in tap.addresses.iter().zip(&web.addresses) {
            let what = format!("{}: {host} and {container}", lab.engine());
            wait_until(PATIENCE, &what, || {
                pings(|program| lab.mac(program), container)
            });
            let ping = ["exec", "web", "ping", "-c1", "-W2", &host.to_string()];
            lab.docker(&ping).context(what.clone())?;
            let found = neighbour(|program| lab.mac(program), container);
            assert_eq!(found.as_ref(), Some(&containers), "{what}");
            let found = neighbour_in(&lab, "web", host)?;
            assert_eq!(found.as_ref(), Some(&own), "{what}");
        }
        answers(&lab, &web)?;
        // Another attach is the same.
        assert_eq!(Tap::attach(&client, "web", &[])?, tap);
        assert_eq!(lab.strays()?, 0);
    }
    Ok(())
}

#[test]
fn what_one_says_to_everybody_the_other_hears() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = web(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let tap = Tap::attach(&client, "web", &[])?;
    let inside = Inside::of(&lab, &web)?;
    let on_host = lab.mac_namespace().enter(to_everybody)??;
    let in_container = inside.enter(to_everybody)?;
    for (from, to, source) in [
        (&on_host, &in_container, tap.v4()?),
        (&in_container, &on_host, web.v4()?),
    ] {
        from.send_to(b"everybody", ("172.30.0.255", EVERYBODYS_PORT))?;
        let mut heard = [0; 100];
        let hears_other = |it: &(usize, std::net::SocketAddr)| it.1.ip() == IpAddr::from(source);
        let mut all = std::iter::from_fn(|| to.recv_from(&mut heard).ok());
        let found = all.find(hears_other);
        assert!(found.is_some(), "nothing came from {source}");
    }

    lab.mac(&["sysctl", "-w", ANSWER_BROADCASTS]).text()?;
    let everybody = ["ping", "-b", "-c1", "-W2", "172.30.0.255"];
    let said = lab.mac(&everybody).text()?;
    assert!(said.contains(&format!("from {}", web.v4()?)), "{said}");
    let said = lab.docker(&["exec", "web", "ping", "-c3", "-W2", "172.30.0.255"])?;
    assert!(said.contains(&format!("from {}", tap.v4()?)), "{said}");
    Ok(())
}

#[test]
fn each_finds_the_other_by_multicast_dns() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = web(&lab)?.v4()?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let host = Tap::attach(&client, "web", &[])?.v4()?;
    let inside = Inside::of(&lab, &lab.inspect("web")?)?;
    let mac = lab.mac_namespace();
    let _in_container = inside.enter(|| Responder::start("web", web))?;
    let _on_host = mac.enter(|| Responder::start("mac", host))??;
    assert_eq!(mac.enter(|| resolve("web", host))??, web);
    assert_eq!(inside.enter(|| resolve("mac", web))?, host);
    Ok(())
}

/// A bridge says to nobody that a packet was too big.
#[test]
fn the_longest_frames_of_containers_arrive() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = web(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let inside = Inside::of(&lab, &web)?;
    for path in ["udp", "session"] {
        client.disconnect()?;
        client.connect(&["--path", path])?;
        let host = Tap::attach(&client, "web", &[])?.v4()?.to_string();
        for (may, length) in [("do", "1472"), ("dont", "1472"), ("dont", "9000")] {
            let options = ["-c2", "-i0.2", "-W2", "-M", may, "-s", length];
            let ping = [&["ping"], &options[..], &[host.as_str()]].concat();
            let mut ping = inside.background(&ping)?;
            let code = ping.wait(PATIENCE)?;
            assert_eq!(code, 0, "{length} bytes by {path}: {}", ping.output());
        }
    }
    Ok(())
}

#[test]
fn a_gibibyte_arrives_whole_in_either_direction() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    web(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    client.wait_for_path("udp");
    Tap::attach(&client, "web", &[])?;
    both_ways(&lab, &["--network", "web"], 1 << 30, "by a tap")
}

fn web(lab: &Lab) -> Result<Container> {
    let create = ["network", "create", "--subnet", "172.30.0.0/24"];
    let v6 = ["--ipv6", "--subnet", "fd00:30::/64", "web"];
    lab.docker(&[&create[..], &v6].concat())?;
    lab.container("web", &["--network", "web", "--sysctl", ANSWER_BROADCASTS])
}

const ANSWER_BROADCASTS: &str = "net.ipv4.icmp_echo_ignore_broadcasts=0";
const PATIENCE: Duration = Duration::from_secs(10);
