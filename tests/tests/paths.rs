//! Datagrams take UDP where there is a way for it, the session where there is none, and what the user says.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::keeps_promise;
use dtap_tests::lab::{Background, Lab, Link, Options, can_run};
use dtap_tests::traffic::{Echo, serves};

#[test]
fn udp_is_taken_where_there_is_a_way_for_it() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for link in [Link::Gateway, Link::Veth] {
        let lab = lab(link)?;
        let web = lab.container("web", &[])?;
        for arguments in [["--path", "auto"], ["--path", "udp"]] {
            let client = Client::new(&lab, "host");
            client.connect(&arguments)?;
            let what = format!("{link:?}, {}: the path is udp", arguments.join(" "));
            keeps_promise(UDP, &what, || client.field("path") == "udp");
            assert!(serves(lab.mac_namespace(), web.v4()?), "{what}");
            let endpoint = client.field("endpoint");
            let expected = match link {
                Link::Gateway => "127.0.0.1:",
                Link::Veth => "192.168.106.2:",
                Link::None => unreachable!("it has no way for UDP"),
            };
            let v6 = "[fd6a:106::2]:";
            assert!(
                endpoint.starts_with(expected) || endpoint.starts_with(v6),
                "{endpoint}"
            );
        }
    }
    Ok(())
}

#[test]
fn where_udp_has_no_way_the_session_carries_everything() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Link::None)?;
    let web = lab.container("web", &[])?;
    let echo = Echo::start(&lab, &[])?;
    let client = Client::new(&lab, "host");
    client.connect(&[])?;
    let mut connection = Echo::connect(&lab, echo)?;
    // For as long as probes go on: none of them may take effect.
    for _ in 0..300 {
        connection.exchange()?;
        assert!(serves(lab.mac_namespace(), web.v4()?));
        assert_eq!(client.field("path"), "session");
    }
    let ping = ["ping", "-c3", "-i0.1", "-W1", &web.v4()?.to_string()];
    assert!(lab.mac(&ping).success());
    let connection = client.connection()?;
    assert!(connection["endpoint"].is_null(), "{connection}");
    assert_eq!(connection["state"], "connected");
    Ok(())
}

#[test]
fn a_user_who_wants_the_session_gets_no_datagram_by_udp() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Link::Veth)?;
    let web = lab.container("web", &[])?;
    let seen = watch_udp(&lab)?;
    let client = Client::new(&lab, "host");
    client.connect(&["--path", "session"])?;
    for _ in 0..100 {
        assert!(serves(lab.mac_namespace(), web.v4()?));
    }
    assert_eq!(client.field("path"), "session");
    client.disconnect()?;
    assert_eq!(datagrams(&seen), Vec::<String>::new());

    client.connect(&[])?;
    keeps_promise(UDP, "the same link would carry UDP", || {
        !datagrams(&seen).is_empty()
    });
    Ok(())
}

fn lab(link: Link) -> Result<Lab> {
    Lab::start(Options {
        link,
        ..Options::default()
    })
}

/// Shows what goes over the cable between the VM and the host by UDP.
fn watch_udp(lab: &Lab) -> Result<Background> {
    let capture = ["tcpdump", "-l", "-n", "-i", "vm", "udp and not port 53"];
    let seen = lab.neighbour_background(&capture)?;
    dtap_tests::wait_until(Duration::from_secs(10), "tcpdump listens", || {
        seen.output().contains("listening on")
    });
    Ok(seen)
}

fn datagrams(seen: &Background) -> Vec<String> {
    let output = seen.output();
    let lines = output.lines().filter(|line| line.contains("UDP"));
    lines.map(str::to_owned).collect()
}

/// Counted from `connected`.
const UDP: Duration = Duration::from_secs(2);
