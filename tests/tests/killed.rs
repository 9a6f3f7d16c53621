//! What a killed client or server leaves is cleaned up by the next start: in the end both machines are as they were before
//! the first.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::keeps_promise;
use dtap_tests::lab::{Engine, Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use nix::sys::signal::Signal;

#[test]
fn the_start_after_a_killed_client_cleans_up() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &[])?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "killed");
    client.connect(&[])?;
    let address = client.field("host_address");
    let connected = Machines::of(&lab)?;
    let files = files(&client)?;

    client.end(Signal::SIGKILL)?;
    client.connect(&[])?;
    assert_eq!(client.field("host_address"), address);
    keeps_promise(SOON, "the next client serves", || {
        serves(lab.mac_namespace(), web.addresses[0])
    });
    connected.restored(&lab, SOON, "the start after a killed client")?;
    assert_eq!(self::files(&client)?, files);

    client.end(Signal::SIGKILL)?;
    client.connect(&[])?;
    client.disconnect()?;
    before.restored(&lab, SOON, "its disconnect")
}

#[test]
fn the_start_after_a_killed_server_cleans_up_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        lab.container("web", &[])?;
        let before = Machines::of(&lab)?;
        let client = Client::new(&lab, "killed");
        client.connect(&[])?;
        client.wait_for_path("udp");
        let connected = Machines::of(&lab)?;
        // Docker starts it again, because nobody asked for its end.
        kill_server(&lab)?;
        let what = format!("{}: kill -9 of the server", lab.engine());
        connected.restored(&lab, SOON, &what)?;
        client.wait_for_path("udp");
        // The client says goodbye even if it has to wait for the server.
        kill_server(&lab)?;
        client.disconnect()?;
        before.restored(&lab, SOON, "disconnect")?;
    }
    Ok(())
}

/// Nobody is left to clean up but the next start of the server.
#[test]
fn a_server_that_was_killed_with_its_client_cleans_up_when_it_starts() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.container("web", &[])?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "killed");
    client.connect(&[])?;
    client.end(Signal::SIGKILL)?;
    lab.docker(&["kill", "dtap"])?;
    assert!(!before.difference(&Machines::of(&lab)?).is_empty());
    client.connect(&[])?;
    client.disconnect()?;
    before.restored(&lab, SOON, "a start and a disconnect")?;

    client.connect(&[])?;
    client.end(Signal::SIGKILL)?;
    lab.docker(&["kill", "dtap"])?;
    client.run(&["uninstall", "--purge"]).text()?;
    before.restored(&lab, SOON, "uninstall --purge")
}

fn kill_server(lab: &Lab) -> Result<()> {
    let pid = lab.docker(&["inspect", "--format", "{{.State.Pid}}", "dtap"])?;
    lab.vm(&["kill", "-KILL", &pid]).text()?;
    Ok(())
}

/// The names of the files in its state directory.
fn files(client: &Client<'_>) -> Result<Vec<String>> {
    let entries = fs::read_dir(client.state_dir())?.flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

const SOON: Duration = Duration::from_secs(3);
