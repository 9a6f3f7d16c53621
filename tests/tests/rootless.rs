//! An engine without root, on the same machine, is reached like any other.

#![cfg(target_os = "linux")]

use std::net::IpAddr;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, Rootless, can_run};
use dtap_tests::traffic::serves;

#[test]
fn containers_of_a_rootless_engine_answer_and_call() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    let engine = Rootless::start(&lab)?;
    engine.docker(&["network", "create", "--subnet", "172.30.9.0/24", "web"])?;
    engine.docker(&[
        "network",
        "create",
        "--internal",
        "--subnet",
        "172.30.10.0/24",
        "inside",
    ])?;
    let mut addresses = Vec::new();
    for network in ["bridge", "web", "inside"] {
        engine.docker(&[
            "run",
            "--detach",
            "--name",
            network,
            "--network",
            network,
            "busybox",
        ])?;
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = engine.docker(&["inspect", "--format", format, network])?;
        let address: IpAddr = address.parse().with_context(|| format!("of {network}"))?;
        assert!(!serves(lab.mac_namespace(), address));
        addresses.push(address);
    }
    let client = Client::new(&lab, "rootless").by(engine.docker_host());
    client.connect(&[])?;
    // slirp4netns forwards what the engine's side dials.
    client.wait_for_path("udp");
    for address in addresses {
        let ping = lab.mac(&["ping", "-c1", "-W2", &address.to_string()]);
        assert!(ping.success(), "{address}: {ping:?}");
        assert!(serves(lab.mac_namespace(), address), "{address}");
    }
    let host = client.field("host_address");
    engine.docker(&["exec", "web", "ping", "-c1", "-W2", &host])?;
    client.disconnect()?;
    let rules = engine.docker(&["exec", "dtap", "/dtap-server", "status"])?;
    assert!(rules.contains("\"clients\": []"), "{rules}");
    Ok(())
}
