//! What others delete of dtap's rules and routes is there again within 2 s.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until};

#[test]
fn a_firewall_that_others_flush_is_asserted_again() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    let fixed = ["--network", "web", "--ip", "172.30.0.10"];
    let restarts = ["--restart", "always"];
    let web = lab.container("web", &[&fixed[..], &restarts].concat())?;
    let client = Client::new(&lab, "firewall");
    client.connect(&[])?;
    for flush in [
        ["iptables", "-F", "DOCKER-USER"].as_slice(),
        &["ip6tables", "-F", "DOCKER-USER"],
        &["nft", "delete", "table", "inet", "dtap"],
        &["nft", "flush", "table", "inet", "dtap"],
    ] {
        lab.vm(flush).text()?;
        let what = format!("asserted again after {}", flush.join(" "));
        keeps_promise(AGAIN, &what, || is_asserted(&lab) && accepts(&lab));
        assert!(serves(lab.mac_namespace(), web.addresses[0]), "{what}");
    }
    lab.vm(&["nft", "flush", "ruleset"]).text()?;
    keeps_promise(AGAIN, "a table after nft flush ruleset", || {
        is_asserted(&lab)
    });
    lab.restart_dockerd()?;
    keeps_promise(AGAIN, "all of it after dockerd restarted", || {
        is_asserted(&lab) && accepts(&lab)
    });
    wait_until(WEB_STARTS, "the container serves", || {
        serves(lab.mac_namespace(), web.addresses[0])
    });
    Ok(())
}

#[test]
fn routes_and_addresses_that_others_delete_are_set_again() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &[])?;
    let client = Client::new(&lab, "routes");
    client.connect(&[])?;
    let interface = client.field("interface");
    let connected = Machines::of(&lab)?;
    for damage in [
        ["ip", "route", "flush", "dev", &interface].as_slice(),
        &["ip", "-6", "route", "flush", "dev", &interface],
        &["ip", "address", "flush", "dev", &interface],
        &["ip", "link", "set", &interface, "down"],
    ] {
        lab.mac(damage).text()?;
        let what = format!("{} on the host", damage.join(" "));
        connected.restored(&lab, AGAIN, &what)?;
        assert!(serves(lab.mac_namespace(), web.addresses[0]), "{what}");
    }
    lab.vm(&["ip", "route", "flush", "proto", "75"]).text()?;
    connected.restored(&lab, AGAIN, "ip route flush in the VM")?;
    lab.vm(&["ip", "address", "flush", "dev", "dtap0"]).text()?;
    connected.restored(&lab, AGAIN, "ip address flush in the VM")?;
    assert!(serves(lab.mac_namespace(), web.addresses[0]));
    Ok(())
}

fn is_asserted(lab: &Lab) -> bool {
    let table = lab.vm(&["nft", "list", "table", "inet", "dtap"]).stdout;
    ["^ 128.0.0.0", "@attached4 accept", ". \"br-"]
        .iter()
        .all(|part| table.contains(part))
}

/// Whether both of Docker's forward chains let the tunnel through.
fn accepts(lab: &Lab) -> bool {
    ["iptables", "ip6tables"].into_iter().all(|iptables| {
        let rules = lab.vm(&[iptables, "-S", "DOCKER-USER"]).stdout;
        ["-i dtap0", "-o dtap0"]
            .iter()
            .all(|way| rules.contains(way))
    })
}

/// Docker may still be busy starting it.
const WEB_STARTS: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_secs(2);
