//! Whatever restarts or breaks between host and containers: traffic flows again within 3 s after the cause is over, and
//! nobody had to do anything.

#![cfg(target_os = "linux")]

use std::thread;
use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Container, Engine, Lab, Link, Options, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until};

#[test]
fn a_server_that_is_restarted_killed_or_removed_is_back_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let web = web(&lab)?;
        let client = connected(&lab)?;
        for command in [
            ["restart", "dtap"].as_slice(),
            &["kill", "dtap"],
            &["stop", "dtap"],
            &["rm", "--force", "dtap"],
        ] {
            lab.docker(command)?;
            let what = format!("{}: docker {} healed", lab.engine(), command.join(" "));
            keeps_promise(BACK, &what, || {
                serves(lab.mac_namespace(), web.addresses[0])
            });
            client.wait_for_path("udp");
        }
        assert_eq!(client.field("state"), "connected");
    }
    Ok(())
}

#[test]
fn a_dockerd_that_is_restarted_or_killed_is_followed_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let web = web(&lab)?;
        let client = connected(&lab)?;
        for end in [Lab::stop_dockerd, Lab::kill_dockerd] {
            end(&lab)?;
            lab.start_dockerd()?;
            // Docker may still be busy starting it.
            let up = || serves(lab.vm_namespace(), web.addresses[0]);
            wait_until(Duration::from_secs(20), "the container is up again", up);
            let what = format!("{}: a dockerd that ended healed", lab.engine());
            keeps_promise(BACK, &what, || {
                serves(lab.mac_namespace(), web.addresses[0])
            });
            client.wait_for_path("udp");
        }
    }
    Ok(())
}

/// Whatever stopped the server, a client starts it again; that it says nothing any more takes 5 s to be noticed.
#[test]
fn a_server_that_is_paused_goes_on() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = web(&lab)?;
    let client = connected(&lab)?;
    lab.docker(&["pause", "dtap"])?;
    assert!(!serves(lab.mac_namespace(), web.addresses[0]));
    keeps_promise(NOTICED + BACK, "a paused server goes on", || {
        serves(lab.mac_namespace(), web.addresses[0])
    });
    client.wait_for_path("udp");
    Ok(())
}

/// A remote engine whose API goes by the same cable as everything else. A minute, because by then the server has given
/// the client up, NATs have forgotten it, and TCP's own retries are far between.
#[test]
fn a_cable_that_is_cut_for_more_than_a_minute_heals() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        dockerd_arguments: vec!["--host=tcp://192.168.106.2:2375".into()],
        ..Options::default()
    })?;
    let web = web(&lab)?;
    let client = Client::new(&lab, "remote").by("tcp://192.168.106.2:2375".into());
    client.connect(&[])?;
    client.wait_for_path("udp");
    lab.link_down()?;
    thread::sleep(Duration::from_secs(64));
    assert!(!serves(lab.mac_namespace(), web.addresses[0]));
    assert_eq!(client.field("state"), "reconnecting");
    lab.link_up()?;
    keeps_promise(BACK, "a cable healed", || {
        serves(lab.mac_namespace(), web.addresses[0])
    });
    client.wait_for_path("udp");
    assert_eq!(client.field("state"), "connected");
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

/// As when a laptop sleeps: streams stay open, and nothing moves in them.
#[test]
fn an_api_that_stalls_and_moves_on_heals() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::None,
        ..Options::default()
    })?;
    let web = web(&lab)?;
    let proxy = lab.api_proxy()?;
    let client = Client::new(&lab, "stalled").by(proxy.docker_host());
    client.connect(&[])?;
    proxy.stall();
    wait_until(Duration::from_secs(20), "the client notices", || {
        client.field("state") == "reconnecting"
    });
    assert!(!serves(lab.mac_namespace(), web.addresses[0]));
    proxy.resume();
    keeps_promise(BACK, "a stalled API healed", || {
        serves(lab.mac_namespace(), web.addresses[0])
    });
    Ok(())
}

/// One whose address survives whatever restarts.
fn web(lab: &Lab) -> Result<Container> {
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    let fixed = ["--network", "web", "--ip", "172.30.0.10"];
    lab.container(
        "web",
        &[&fixed, ["--restart", "always"].as_slice()].concat(),
    )
}

fn connected(lab: &Lab) -> Result<Client<'_>> {
    let client = Client::new(lab, "heal");
    client.connect(&[])?;
    client.wait_for_path("udp");
    Ok(client)
}

const NOTICED: Duration = Duration::from_secs(5);
const BACK: Duration = Duration::from_secs(3);
