//! Docker Desktop with HyperKit: a VM with a kernel of its own, started by whatever stands in HyperKit's place.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::lab::{DockerDesktop, Vm, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::wait_until;

#[test]
fn a_container_of_the_vm_is_reached_and_again_after_a_restart() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let desktop = DockerDesktop::start()?;
    let web = desktop.container("web", &["--restart=always"])?.v4()?;
    let mac = desktop.mac_namespace();
    assert!(!serves(mac, web), "without a tunnel");

    let client = Client::new(&desktop, "desktop");
    client.connect(&["--timeout", "60"])?;
    wait_until(PATIENCE, "the page is served", || serves(mac, web));
    client.wait_for_path("udp");

    desktop.stop()?;
    ensure!(!desktop.is_running());
    desktop.boot(&desktop.arguments())?;
    wait_until(PATIENCE, "the page is served again", || serves(mac, web));
    wait_until(PATIENCE, "the client says so", || {
        client.field("state") == "connected"
    });
    assert_eq!(desktop.strays()?, 0);
    Ok(())
}

#[test]
fn a_nic_of_the_arguments_leads_to_an_interface_of_the_mac() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let desktop = DockerDesktop::install()?;
    let with = |slots: [&str; 2]| {
        let mut arguments = desktop.arguments();
        for slot in slots {
            arguments.extend(["-s", slot].map(str::to_owned));
        }
        arguments
    };
    let Err(error) = desktop.boot(&with(["2:0,virtio-tap,tap1", "9,virtio-tap,tap2"])) else {
        panic!("the disk is at 2:0");
    };
    ensure!(
        format!("{error:#}").contains("pci slot 2:0 already occupied!"),
        "{error:#}"
    );
    // Of a tap that cannot be opened HyperKit only warns.
    fs::remove_file(desktop.root().join("dev/tap2"))?;
    desktop.boot(&with([
        "1:1,virtio-tap,tap1,mac=02:0d:7a:00:00:01",
        "30,virtio-tap,tap2,mac=02:0d:7a:00:00:02",
    ]))?;

    let links = desktop.vm(&["ip", "-o", "link"]).text()?;
    for (nic, mac) in [
        ("eth0", "02:50:00:00:00:01"),
        ("eth1", "02:0d:7a:00:00:01"),
        ("eth2", "02:0d:7a:00:00:02"),
    ] {
        let is_there = |line: &str| line.contains(&format!(" {nic}: ")) && line.contains(mac);
        ensure!(links.lines().any(is_there), "{nic} in {links}");
    }
    ensure!(!links.contains("eth3"), "nobody sees virtio-sock: {links}");
    for nic in ["eth1", "eth2"] {
        desktop.vm(&["ip", "link", "set", nic, "up"]).text()?;
    }
    let carrier = |nic: &str| {
        let file = format!("/sys/class/net/{nic}/carrier");
        desktop.vm(&["cat", &file]).text()
    };
    assert_eq!(carrier("eth1")?, "1");
    assert_eq!(carrier("eth2")?, "0");

    let address = ["ip", "address", "add"];
    desktop
        .vm(&[&address[..], &["10.0.75.2/30", "dev", "eth1"]].concat())
        .text()?;
    desktop
        .mac(&[&address[..], &["10.0.75.1/30", "dev", "tap1"]].concat())
        .text()?;
    desktop.mac(&["ip", "link", "set", "tap1", "up"]).text()?;
    desktop.mac(&["ping", "-c2", "-W5", "10.0.75.2"]).text()?;
    let neighbours = desktop
        .mac(&["ip", "neighbour", "show", "dev", "tap1"])
        .text()?;
    ensure!(neighbours.contains("02:0d:7a:00:00:01"), "{neighbours}");
    desktop.vm(&["ping", "-c2", "-W5", "10.0.75.1"]).text()?;

    // As on a Mac: who closes the device takes the interface away.
    desktop.stop()?;
    ensure!(!desktop.mac(&["ip", "link", "show", "tap1"]).success());
    Ok(())
}

/// An emulated VM takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
