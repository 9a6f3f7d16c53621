//! What dtap does on the host and in the VM is undone when it shall be, and not before.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Background, Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use dtap_tests::{wait_until, within};
use nix::sys::signal::Signal;

#[test]
fn however_a_client_leaves_both_machines_are_as_before_at_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.container("web", &[])?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "undo");

    client.connect(&[])?;
    assert!(!before.difference(&Machines::of(&lab)?).is_empty());
    client.disconnect()?;
    before.restored(&lab, AT_ONCE, "disconnect")?;

    client.connect(&[])?;
    client.end(Signal::SIGTERM)?;
    before.restored(&lab, AT_ONCE, "SIGTERM")?;

    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        let mut foreground = connect_in_foreground(&lab, &client)?;
        foreground.signal(signal)?;
        assert_eq!(foreground.wait(SOON)?, 0, "{}", foreground.output());
        before.restored(&lab, AT_ONCE, signal.as_str())?;
    }
    Ok(())
}

#[test]
fn a_server_without_a_client_leaves_nothing_when_it_ends() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.container("web", &[])?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "undo");
    client.connect(&[])?;
    client.disconnect()?;
    lab.docker(&["restart", "dtap"])?;
    lab.docker(&["stop", "dtap"])?;
    before.restored(&lab, AT_ONCE, "SIGTERM of a server without a client")?;
    let exit_code = ["inspect", "--format", "{{.State.ExitCode}}", "dtap"];
    assert_eq!(lab.docker(&exit_code)?, "0");
    Ok(())
}

/// Half a minute long: the time itself is the promise.
#[test]
fn a_client_that_fell_silent_has_half_a_minute_to_come_back() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &[])?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "undo");
    let paired = || lab.vm(&["ip", "route"]).stdout.contains("10.75.");

    client.connect(&[])?;
    client.end(Signal::SIGKILL)?;
    client.connect(&[])?;
    assert!(serves(lab.mac_namespace(), web.v4()?));

    client.end(Signal::SIGKILL)?;
    let killed = Instant::now();
    wait_until(
        within(GRACE),
        "the server undoes what a silent client had",
        || !paired(),
    );
    let taken = killed.elapsed();
    eprintln!("undone after {taken:.1?}");
    assert!(taken > GRACE - Duration::from_secs(2), "{taken:?}");
    before.restored(&lab, AT_ONCE, "the end of the grace")?;
    Ok(())
}

#[test]
fn the_servers_key_is_private_and_made_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let client = Client::new(&lab, "key");
    client.connect(&[])?;
    let volume = ["volume", "inspect", "--format", "{{.Mountpoint}}", "dtap"];
    let volume = PathBuf::from(lab.docker(&volume)?);
    let key = fs::read(volume.join("key")).context("read the server's key")?;
    let address = client.field("host_address");
    assert_eq!(mode(&volume)?, 0o700);
    for file in fs::read_dir(&volume)?.flatten() {
        if file.file_type()?.is_file() {
            assert_eq!(mode(&file.path())?, 0o600, "{:?}", file.file_name());
        }
    }
    lab.docker(&["rm", "--force", "dtap"])?;
    client.disconnect()?;
    client.connect(&[])?;
    assert_eq!(fs::read(volume.join("key"))?, key);
    assert_eq!(client.field("host_address"), address);
    Ok(())
}

fn connect_in_foreground(lab: &Lab, client: &Client<'_>) -> Result<Background> {
    let command = client.command(&["connect"]);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let foreground = lab.mac_background(&command)?;
    wait_until(
        SOON,
        "a foreground connect says that it is connected",
        || foreground.output().contains("connected to Docker"),
    );
    Ok(foreground)
}

fn mode(path: &Path) -> Result<u32> {
    let metadata = fs::metadata(path).with_context(|| format!("stat {}", path.display()))?;
    Ok(metadata.permissions().mode() & 0o777)
}

const SOON: Duration = Duration::from_secs(20);
/// A snapshot alone takes a few hundred milliseconds.
const AT_ONCE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);
