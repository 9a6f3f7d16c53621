//! While a host enters and leaves a network's Ethernet, nothing for its containers goes by any other way than dtap's.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Options, can_run};
use dtap_tests::taps::Tap;
use dtap_tests::wait_until;

#[test]
fn nothing_for_a_container_leaves_by_the_hosts_default_route() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    let web = lab.container("web", &["--network", "web"])?.v4()?;
    default_route(&lab)?;
    let client = Client::new(&lab, "tap");
    client.connect(&[])?;
    let everybody = ["ping", "-q", "-i", "0.001", "-W", "1", &web.to_string()];
    let _pings = lab.mac_background(&everybody)?;
    for round in 0..4 {
        let first = Tap::attach(&client, "web", &[])?.v4()?.to_string();
        assert_eq!(strays(&lab)?, 0, "attach {round}");
        Tap::attach(&client, "web", &["--address", "172.30.0.77"])?;
        assert_eq!(strays(&lab)?, 0, "another address {round}");
        Tap::attach(&client, "web", &[])?;
        lab.container("late", &["--network", "web", "--ip", &first])?;
        wait_until(SOON, "the host moves", || {
            let now = Tap::of(&client, "web").and_then(|it| it.v4());
            now.is_ok_and(|now| now.to_string() != first)
        });
        lab.docker(&["rm", "--force", "late"])?;
        assert_eq!(strays(&lab)?, 0, "a move {round}");
        client.run(&["tap", "detach", "web"]).text()?;
        assert_eq!(strays(&lab)?, 0, "detach {round}");
    }
    Ok(())
}

/// By a cable at which everything for containers is counted.
fn default_route(lab: &Lab) -> Result<()> {
    let script = "ip link add out type veth peer name end
        ip link set end up
        ip link set out up
        ip address add 198.51.100.1/24 dev out
        ip neighbour add 198.51.100.2 lladdr 02:00:00:00:00:02 dev out
        ip route add default via 198.51.100.2
        nft add table ip out
        nft add chain ip out post '{ type filter hook postrouting priority 0; }'
        nft add rule ip out post oifname out ip daddr 172.30.0.0/24 counter";
    lab.mac(&["sh", "-e", "-c", script]).text().map(drop)
}

fn strays(lab: &Lab) -> Result<u64> {
    let listed = lab.mac(&["nft", "list", "table", "ip", "out"]).text()?;
    let mut words = listed.split_whitespace().skip_while(|it| *it != "packets");
    let packets = words.nth(1).context("read the counter")?;
    packets.parse().context("read the counter")
}

const SOON: Duration = Duration::from_secs(3);
