//! While the server is away, what containers and the VM send to a client goes nowhere: never in the clear by the uplink.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Engine, Lab, Options, can_run};
use dtap_tests::traffic::Caller;
use dtap_tests::wait_until;

#[test]
fn nothing_for_a_client_leaves_the_vm_while_the_server_is_away_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        // Starts the server; the client after it leaves that to others.
        Client::new(&lab, "strays").connect(&[])?;
        let client = Client::new(&lab, "strays");
        client.connect(&["--no-start-server"])?;
        let host: IpAddr = client.field("host_address").parse()?;
        let caller = Caller::start(&lab, host, &[])?;
        count_packets_to(&lab, host)?;
        for end in ["stop", "kill"] {
            lab.docker(&[end, "dtap"])?;
            let before = packets(&lab)?;
            wait_until(SOON, "a container and the VM go on sending", || {
                let _ = lab.vm(&["ping", "-c1", "-W1", &host.to_string()]);
                packets(&lab).is_ok_and(|now| now > before + 20)
            });
            assert_eq!(lab.strays()?, 0, "{}: docker {end}", lab.engine());
            let counted = caller.counted();
            lab.docker(&["start", "dtap"])?;
            wait_until(SOON, "the container's connection lives", || {
                caller.counted() > counted
            });
            assert_eq!(lab.strays()?, 0, "{}: after docker {end}", lab.engine());
        }
    }
    Ok(())
}

/// Counts in the VM what containers send to this address.
fn count_packets_to(lab: &Lab, host: IpAddr) -> Result<()> {
    let script = format!(
        "add table ip sent; \
         add chain ip sent before {{ type filter hook prerouting priority -400; }}; \
         add rule ip sent before iifname docker0 ip daddr {host} counter"
    );
    lab.vm(&["nft", &script]).text().map(drop)
}

fn packets(lab: &Lab) -> Result<u64> {
    let listed = lab.vm(&["nft", "list", "table", "ip", "sent"]).text()?;
    let mut words = listed
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    let packets = words.nth(1).context("read the counter")?;
    packets.parse().context("read the counter")
}

const SOON: Duration = Duration::from_secs(30);
