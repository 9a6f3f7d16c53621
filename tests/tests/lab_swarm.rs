//! The lab's swarm is a real one: its nodes' containers reach each other.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use dtap_tests::lab::{Lab, Options, PAGE, Worker, can_run};
use dtap_tests::wait_until;

#[test]
fn containers_of_an_overlay_network_reach_each_other_across_nodes() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let worker = Worker::join(&lab)?;
    lab.docker(&[
        "network",
        "create",
        "--driver",
        "overlay",
        "--attachable",
        "ov",
    ])?;
    let here = lab.container("here", &["--network", "ov"])?;
    let there = worker.container("there", &["--network", "ov"])?;
    assert_ne!(here.addresses, there.addresses);
    wait_until(SETTLED, "one node reaches the other", || {
        // Not busybox's wget: a static program cannot look names up, and it does not survive the attempt.
        let fetch = format!(
            "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {} 80",
            there.addresses[0]
        );
        let page = lab.docker(&["exec", "here", "sh", "-c", &fetch]);
        page.is_ok_and(|page| page.ends_with(PAGE.trim_end()))
    });
    let ping = [
        "exec",
        "there",
        "ping",
        "-c1",
        "-W1",
        &here.addresses[0].to_string(),
    ];
    worker.docker(&ping).map(drop)
}

const SETTLED: Duration = Duration::from_secs(10);
