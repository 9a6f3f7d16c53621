//! Every kind of network on every engine, whichever iptables it uses.

#![cfg(target_os = "linux")]

use std::path::Path;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Engine, Firewall, Lab, Options, can_run};
use dtap_tests::matrix::{Column, KINDS, prepare, probe, render};

#[test]
fn every_kind_of_network_is_reachable_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut columns = Vec::new();
    for engine in Engine::required()? {
        for firewall in Firewall::required() {
            let heading = format!("{engine} {firewall}");
            let column = column(engine.clone(), firewall).context(heading.clone())?;
            columns.push((heading, column));
        }
    }
    let table = render(&columns);
    eprintln!("{table}");
    if std::env::var_os("DTAP_WRITE_MATRIX").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("MATRIX.md");
        std::fs::write(path, &table).context("write the matrix")?;
    }
    let holes = holes(&columns);
    assert!(holes.is_empty(), "{holes:?}");
    Ok(())
}

fn column(engine: Engine, firewall: Firewall) -> Result<Vec<dtap_tests::matrix::Cell>> {
    let lab = Lab::start(Options {
        engine: Some(engine),
        firewall,
        ..Options::default()
    })?;
    for parent in ["lan0", "lan1", "lan2"] {
        let peer = format!("{parent}-far");
        let add = ["ip", "link", "add", parent, "up", "type", "veth"];
        lab.vm(&[&add[..], &["peer", "name", &peer]].concat())
            .text()?;
        lab.vm(&["ip", "link", "set", &peer, "up"]).text()?;
    }
    lab.docker(&["swarm", "init", "--advertise-addr", UPLINK])?;
    let ready: Result<Vec<_>> = KINDS.iter().map(|kind| prepare(&lab, kind)).collect();
    let ready = ready?;
    let client = Client::new(&lab, "matrix");
    client.connect(&[])?;
    client.wait_for_path("udp");
    let cells = KINDS
        .iter()
        .zip(&ready)
        .map(|(kind, ready)| probe(&lab, &client, kind, ready));
    cells.collect()
}

fn holes(columns: &[Column]) -> Vec<String> {
    let mut holes = Vec::new();
    for (heading, cells) in columns {
        for (kind, cell) in KINDS.iter().zip(cells) {
            if cell.is_hole() {
                holes.push(format!("{} on {heading}: {cell}", kind.title));
            }
        }
    }
    holes
}

/// The VM's address on the default link.
const UPLINK: &str = "192.168.65.3";
