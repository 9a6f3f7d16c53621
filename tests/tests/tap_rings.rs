//! Hosts that join a network's Ethernet a second way close a ring, and the network goes on.

#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::host::Host;
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Lab, Link, Options, Output, can_run};
use dtap_tests::taps::{EVERYBODYS_PORT, Tap, to_everybody};
use dtap_tests::wait_until;

#[test]
fn two_hosts_that_bridge_their_taps_by_a_cable_do_not_melt_the_network() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    let speaker = lab.container("speaker", &["--network", "web"])?;
    let listener = lab.container("listener", &["--network", "web"])?;
    let host = Host::start(&lab)?;
    let clients = [
        Client::new(&lab, "mac"),
        Client::new(&lab, "other").on(&host),
    ];
    let mut taps = Vec::new();
    for client in &clients {
        client.connect(&[])?;
        client.wait_for_path("udp");
        taps.push(Tap::attach(client, "web", &[])?);
    }

    let speaker = Inside::of(&lab, &speaker)?.enter(to_everybody)?;
    let listener = Inside::of(&lab, &listener)?;
    let heard = listener.enter(to_everybody)?;
    assert_eq!(copies(&speaker, &heard)?, MESSAGES, "without a ring");

    // A second cable from one to the other, bridged with the tap at both ends.
    let pid = host.pid()?;
    lab.mac(&[
        "ip", "link", "add", "ring", "type", "veth", "peer", "name", "ring", "netns", &pid,
    ])
    .text()?;
    bridge(|program| lab.mac(program), &taps[0])?;
    bridge(|program| host.run(program), &taps[1])?;
    let most = MESSAGES * ROUNDS_BEFORE_IT_IS_NOTICED;
    for _ in 0..3 {
        let copies = copies(&speaker, &heard)?;
        eprintln!("{copies} of {MESSAGES} messages to everybody");
        assert!((MESSAGES..most).contains(&copies), "{copies}");
        let ping = ["exec", "speaker", "ping", "-c2", "-W2", "listener"];
        lab.docker(&ping)?;
    }

    let logs = lab.mac(&["docker", "logs", "dtap"]);
    assert!(logs.stderr.contains("frames come round"), "{logs:?}");

    // Once it is cut, both hosts are in the network again.
    lab.mac(&["ip", "link", "delete", "ring"]).text()?;
    for (tap, run) in taps.iter().zip([
        &(|program: &[&str]| lab.mac(program)) as &dyn Fn(&[&str]) -> Output,
        &|program: &[&str]| host.run(program),
    ]) {
        run(&["ip", "link", "delete", "ring-br"]).text()?;
        let address = tap.v4()?.to_string();
        wait_until(OPEN_AGAIN, "a host is in the network again", || {
            lab.docker(&["exec", "speaker", "ping", "-c1", "-W1", &address])
                .is_ok()
        });
    }
    Ok(())
}

fn bridge(run: impl Fn(&[&str]) -> Output, tap: &Tap) -> Result<()> {
    run(&["ip", "link", "add", "ring-br", "type", "bridge"]).text()?;
    for port in [tap.interface.as_str(), "ring"] {
        run(&["ip", "link", "set", port, "up", "master", "ring-br"]).text()?;
    }
    run(&["ip", "link", "set", "ring-br", "up"]).text()?;
    Ok(())
}

/// How many times a container hears what another says to everybody, until it has been silent for a second.
fn copies(speaker: &UdpSocket, listener: &UdpSocket) -> Result<usize> {
    listener.set_read_timeout(Some(SILENCE))?;
    for _ in 0..MESSAGES {
        speaker.send_to(b"everybody", (BROADCAST, EVERYBODYS_PORT))?;
    }
    let mut message = [0; 100];
    let all = std::iter::from_fn(|| listener.recv(&mut message).ok());
    Ok(all.take(MELTED).count())
}

const BROADCAST: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 255);
const MESSAGES: usize = 20;
/// A frame that goes round is dropped when it comes home.
const ROUNDS_BEFORE_IT_IS_NOTICED: usize = 3;
const MELTED: usize = 100_000;
const SILENCE: Duration = Duration::from_secs(1);
/// The longest that a tap stays shut.
const OPEN_AGAIN: Duration = Duration::from_secs(70);
