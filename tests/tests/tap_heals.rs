//! A host that is attached to a network is so again after whatever restarts, and once it leaves there is nothing left.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Container, Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::taps::Tap;
use dtap_tests::traffic::{Echo, serves};
use dtap_tests::{keeps_promise, wait_until, within};
use nix::sys::signal::Signal;

#[test]
fn a_server_that_is_restarted_killed_or_removed_attaches_again() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = web(&lab)?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    client.wait_for_path("udp");
    let tap = Tap::attach(&client, "web", &[])?;
    for command in [
        ["restart", "dtap"].as_slice(),
        &["kill", "dtap"],
        &["rm", "--force", "dtap"],
    ] {
        lab.docker(command)?;
        let what = format!("docker {}", command.join(" "));
        is_attached(&lab, &client, &web, &what)?;
        assert_eq!(Tap::of(&client, "web")?, tap, "{what}");
    }
    let pid = lab.docker(&["inspect", "--format", "{{.State.Pid}}", "dtap"])?;
    lab.vm(&["kill", "-KILL", &pid]).text()?;
    is_attached(&lab, &client, &web, "kill -9 of the server")?;
    client.wait_for_path("udp");
    let links = lab.vm(&["ip", "-o", "link"]).text()?;
    assert_eq!(links.matches(": dtapt").count(), 1, "{links}");
    client.disconnect()?;
    before.restored(&lab, AT_ONCE, "disconnect")?;
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

#[test]
fn a_dockerd_that_is_restarted_or_killed_is_followed() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = web(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    client.wait_for_path("udp");
    Tap::attach(&client, "web", &[])?;
    for (what, end) in [
        (
            "a dockerd that is stopped",
            Lab::stop_dockerd as fn(&Lab) -> _,
        ),
        ("a dockerd that is killed", Lab::kill_dockerd),
    ] {
        end(&lab)?;
        lab.start_dockerd()?;
        let up = || serves(lab.vm_namespace(), web.addresses[0]);
        wait_until(Duration::from_secs(20), "the container is up again", up);
        is_attached(&lab, &client, &web, what)?;
    }
    Ok(())
}

/// As `docker compose down` and `up` do.
#[test]
fn a_network_that_comes_back_has_the_host_again() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    web(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let tap = Tap::attach(&client, "web", &[])?;
    for _ in 0..2 {
        lab.docker(&["rm", "--force", "web"])?;
        lab.docker(&["network", "rm", "web"])?;
        keeps_promise(AT_ONCE, "the interface goes with the network", || {
            !lab.mac(&["ip", "link"]).stdout.contains(&tap.interface)
        });
        wait_until(AT_ONCE, "the status says that it waits", || {
            let connection = client.connection().unwrap_or_default();
            connection["taps"][0]["state"] == "waiting"
        });
        let web = web(&lab)?;
        is_attached(&lab, &client, &web, "a network that comes back")?;
    }
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

#[test]
fn however_a_host_leaves_there_is_nothing_left() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    web(&lab)?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let connected = Machines::of(&lab)?;
    Tap::attach(&client, "web", &[])?;
    assert!(!connected.difference(&Machines::of(&lab)?).is_empty());
    for _ in 0..2 {
        client.run(&["tap", "detach", "web"]).text()?;
        connected.restored(&lab, AT_ONCE, "tap detach")?;
    }

    Tap::attach(&client, "web", &[])?;
    client.disconnect()?;
    before.restored(&lab, AT_ONCE, "disconnect")?;

    client.connect(&[])?;
    Tap::attach(&client, "web", &[])?;
    client.run(&["uninstall", "--purge"]).text()?;
    before.restored(&lab, AT_ONCE, "uninstall")?;

    // Nobody is left to clean up but the next start.
    client.connect(&[])?;
    let connected = Machines::of(&lab)?;
    Tap::attach(&client, "web", &[])?;
    client.end(Signal::SIGKILL)?;
    lab.docker(&["kill", "dtap"])?;
    client.connect(&[])?;
    assert!(Tap::of(&client, "web").is_err(), "an end ends the wish");
    connected.restored(&lab, BACK, "a start after two kills")?;
    client.disconnect()?;
    before.restored(&lab, AT_ONCE, "its disconnect")
}

/// Half a minute long: the time itself is the promise.
#[test]
fn the_server_leaves_the_network_when_a_client_stays_silent() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    web(&lab)?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    Tap::attach(&client, "web", &[])?;
    client.end(Signal::SIGKILL)?;
    let has_port = || lab.vm(&["ip", "link"]).stdout.contains("dtapt");
    assert!(has_port(), "it may come back");
    wait_until(within(GRACE), "the server's end is gone", || !has_port());
    before.restored(&lab, AT_ONCE, "the end of the grace")
}

/// By the tunnel's address on one way and by the network on the other.
#[test]
fn a_connection_of_before_survives_attach_and_detach() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    let echo = Echo::start(&lab, &["--network", "web"])?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let mut before = Echo::connect(&lab, echo)?;
    before.exchange()?;
    Tap::attach(&client, "web", &[])?;
    before.exchange()?;
    client.run(&["tap", "detach", "web"]).text()?;
    before.exchange()?;
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

fn is_attached(lab: &Lab, client: &Client<'_>, web: &Container, after: &str) -> Result<()> {
    let what = format!("attached again after {after}");
    let address = web.addresses[0].to_string();
    keeps_promise(BACK, &what, || {
        let way = lab.mac(&["ip", "route", "get", &address]).stdout;
        serves(lab.mac_namespace(), web.addresses[0]) && way.contains("dev dtapt")
    });
    let shown = || Tap::of(client, "web").is_ok();
    wait_until(AT_ONCE, "the status says so", shown);
    Ok(())
}

/// One whose address survives whatever restarts.
fn web(lab: &Lab) -> Result<Container> {
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    let fixed = ["--network", "web", "--ip", "172.30.0.10"];
    lab.container("web", &[&fixed[..], &["--restart", "always"]].concat())
}

const BACK: Duration = Duration::from_secs(3);
const AT_ONCE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);
