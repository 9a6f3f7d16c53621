//! HyperKit's carrier: the host in a network's Ethernet by a NIC of the VM, which the real `tap install` has given it.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::lab::{DockerDesktop, Vm, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::wait_until;

#[test]
fn a_nic_of_the_shim_is_a_port_of_a_networks_bridge_and_heals_and_is_put_back() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let desktop = DockerDesktop::start()?;
    let original = fs::read(desktop.hyperkit())?;
    let client = Client::new(&desktop, "hyperkit");
    client.run(&["tap", "install"]).text()?;
    ensure!(
        fs::read(desktop.hyperkit())? != original,
        "the shim is in its place"
    );
    desktop.restart()?;

    let web = desktop.container("web", &["--restart=always"])?;
    let page = web.v4()?;
    let mac = desktop.mac_namespace();
    client.connect(&["--timeout", "60"])?;
    client
        .run(&["tap", "attach", "bridge", "--carrier", "hyperkit"])
        .text()?;
    let interface = attached_by(&client, "hyperkit")?;
    let by_nic = format!("dev {interface}");
    wait_until(PATIENCE, "the page is served", || serves(mac, page));
    let address = page.to_string();
    let neighbours = desktop
        .mac(&["ip", "neigh", "show", &address, "dev", &interface])
        .text()?;
    let hardware = desktop.docker(&["inspect", "-f", "{{.NetworkSettings.MacAddress}}", "web"])?;
    ensure!(
        neighbours.contains(hardware.trim()),
        "{hardware} in {neighbours}"
    );
    let routes = desktop.mac(&["ip", "route", "get", &address]).text()?;
    ensure!(routes.contains(&by_nic), "{routes}");

    desktop.restart()?;
    wait_until(PATIENCE, "attached again after a restart of the VM", || {
        serves(mac, page)
            && desktop
                .mac(&["ip", "route", "get", &address])
                .stdout
                .contains(&by_nic)
    });

    client.run(&["tap", "detach", "bridge"]).text()?;
    let addresses = desktop
        .mac(&["ip", "address", "show", "dev", &interface])
        .text()?;
    ensure!(!addresses.contains("inet "), "{addresses}");
    let nics = desktop.vm(&["ip", "-o", "link", "show"]).text()?;
    ensure!(!nics.contains("alias dtap"), "{nics}");
    wait_until(PATIENCE, "the tunnel leads there again", || {
        serves(mac, page)
    });

    client.disconnect()?;
    desktop.stop()?;
    client.run(&["tap", "uninstall"]).text()?;
    assert_eq!(fs::read(desktop.hyperkit())?, original);
    Ok(())
}

/// The interface by which the host is in the network.
fn attached_by(client: &Client<'_>, carrier: &str) -> Result<String> {
    let status = client.status()?;
    let tap = &status["connections"][0]["taps"][0];
    assert_eq!(tap["carrier"], carrier, "{status}");
    assert_eq!(tap["state"], "attached", "{status}");
    Ok(tap["interface"].as_str().unwrap_or_default().to_owned())
}

/// An emulated machine boots, and others are busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn containers_of_a_macvlan_network_on_a_nic_of_the_shim_are_in_the_hosts_ethernet() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let desktop = DockerDesktop::start()?;
    let client = Client::new(&desktop, "macvlan");
    client.run(&["tap", "install"]).text()?;
    desktop.restart()?;
    client.connect(&["--timeout", "60"])?;

    let parent = client.run(&["tap", "parent"]).text()?;
    assert_eq!(
        client.run(&["tap", "parent"]).text()?,
        parent,
        "the same each time"
    );
    let parent = format!("parent={}", parent.trim());
    let network = [
        "network",
        "create",
        "--driver",
        "macvlan",
        "--subnet",
        "192.168.99.0/24",
        "-o",
    ];
    desktop.docker(&[&network[..], &[&parent, "lan"]].concat())?;
    let web = desktop.container("web", &["--network", "lan"])?;
    let page = web.v4()?;
    client.run(&["tap", "attach", "lan"]).text()?;
    let interface = attached_by(&client, "hyperkit")?;
    let mac = desktop.mac_namespace();
    wait_until(PATIENCE, "the page is served", || serves(mac, page));
    let page = page.to_string();
    let route = desktop.mac(&["ip", "route", "get", &page]).text()?;
    ensure!(route.contains(&format!("dev {interface}")), "{route}");
    let address = client.status()?["connections"][0]["taps"][0]["address"].clone();
    let address = address.as_str().unwrap_or_default();
    let (address, _) = address.split_once('/').unwrap_or_default();
    desktop.docker(&["exec", "web", "ping", "-c2", "-W5", address])?;
    let refused = client.run(&["tap", "attach", "bridge", "--carrier", "hyperkit"]);
    ensure!(
        !refused.success() && refused.stderr.contains("in use"),
        "{refused:?}"
    );
    client.disconnect()
}
