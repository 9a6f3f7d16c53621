//! A long stream arrives as it was sent, in either direction and by either path: summed up by whoever sends and by whoever receives.

#![cfg(target_os = "linux")]

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::transfer::both_ways;

#[test]
fn a_gibibyte_arrives_whole_in_either_direction() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    for (path, length) in [("udp", GIBIBYTE), ("session", GIBIBYTE / 4)] {
        let client = Client::new(&lab, path);
        client.connect(&["--path", path])?;
        client.wait_for_path(path);
        both_ways(&lab, &[], length, &format!("by {path}"))?;
        assert_eq!(client.field("path"), path);
    }
    Ok(())
}

const GIBIBYTE: usize = 1 << 30;
