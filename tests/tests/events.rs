//! A storm of Docker events delays neither packets nor what is new.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::Result;
use dtap_tests::churn::Churn;
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Options, can_run};
use dtap_tests::pings::Pings;
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until, within};

#[test]
fn a_storm_of_events_starves_neither_packets_nor_news() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &[])?;
    let names: Vec<_> = (0..CROWD).map(|number| format!("idle{number}")).collect();
    let mut crowd = Vec::new();
    for name in &names {
        let create = ["create", "--name", name, "busybox"];
        crowd.push(lab.docker(&create)?);
    }
    let client = Client::new(&lab, "storm");
    client.connect(&[])?;
    client.wait_for_path("udp");
    let pings = Pings::start(&lab, web.v4()?)?;
    wait_until(STORM, "pings are answered", || pings.answers().count() > 10);

    let begin = Instant::now();
    let churn = Churn::start(&lab.socket(), &crowd)?;
    let late = lab.container("late", &[])?;
    keeps_promise(
        AT_ONCE,
        "a container started in the storm is listed",
        || {
            let list = client.run(&["ls", "--json"]).text().unwrap_or_default();
            serves(lab.mac_namespace(), late.addresses[0]) && list.contains("\"late\"")
        },
    );
    wait_until(STORM * 4, "the storm has lasted", || {
        begin.elapsed() > STORM
    });
    let events = churn.end()?;
    let rate = events as f64 / begin.elapsed().as_secs_f64();
    let silence = pings.answers().longest_silence();
    eprintln!("{rate:.0} events per second, longest silence {silence:?}");
    assert!(silence <= within(SILENCE), "{silence:?} at {rate:.0}/s");
    Ok(())
}

/// Enough to make the engine's lists long, and to rename in parallel.
const CROWD: usize = 8;
const STORM: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_millis(200);
