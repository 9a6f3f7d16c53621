//! `connect --mode tap`: the host's way to the containers is a NIC that HyperKit gives the VM, and no tunnel.

#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::lab::{DockerDesktop, Vm, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::wait_until;
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn containers_are_reached_by_a_nic_of_the_vm() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let desktop = DockerDesktop::start()?;
    let client = Client::new(&desktop, "tap");
    let refused = |word: &str| {
        let output = client.run(&[&CONNECT[..], &["--detach"]].concat());
        let said = output.stdout.clone() + &output.stderr;
        ensure!(!output.success() && said.contains(word), "{output:?}");
        Ok(said)
    };
    ensure!(refused("tap install")?.contains("--mode tunnel"));
    client.run(&["tap", "install"]).text()?;
    refused("restarted")?;
    desktop.restart()?;

    let mac = desktop.mac_namespace();
    let web = desktop.container("web", &["--restart=always"])?.v4()?;
    let nic = ["ip", "-br", "address", "show", "dev", "eth1"];
    wait_until(PATIENCE, "the VM's end is nobody's", || {
        desktop.vm(&nic).stdout.contains("DOWN")
    });
    let before = Ends::of(&desktop)?;
    client.connect(&CONNECT[1..])?;
    wait_until(PATIENCE, "the page is served", || serves(mac, web));
    let status = client.connection()?;
    for (key, value) in [
        ("mode", Value::from("tap")),
        ("interface", Value::from(TAP)),
        ("mtu", Value::from(1500)),
        ("path", Value::Null),
        ("endpoint", Value::Null),
    ] {
        assert_eq!(status[key], value, "{key} in {status}");
    }
    let host: IpAddr = client.field("host_address").parse()?;
    assert_eq!(caller(&desktop, web.into())?, host);
    let ping = ["exec", "web", "ping", "-c2", "-W5"];
    desktop.docker(&[&ping[..], &[&host.to_string()]].concat())?;

    let create = ["network", "create", "--ipv6", "--subnet=fd00:77::/64"];
    desktop.docker(&[&create[..], &["more"]].concat())?;
    let more = desktop.container("more", &["--network=more"])?;
    for address in more.addresses {
        let what = format!("the page is served at {address}");
        wait_until(PATIENCE, &what, || serves(mac, address));
        let is_v4 = address.is_ipv4();
        assert_eq!(caller(&desktop, address)?.is_ipv4(), is_v4);
    }
    assert_eq!(desktop.strays()?, 0);

    // Docker starts it again, because nobody asked for its end.
    let connected = Ends::of(&desktop)?;
    let server = desktop.docker(&["inspect", "--format", "{{.State.Pid}}", "dtap"])?;
    desktop.vm(&["kill", "-KILL", server.trim()]).text()?;
    wait_until(PATIENCE, "there is another server", || {
        desktop
            .docker(&["inspect", "--format", "{{.State.Pid}}", "dtap"])
            .is_ok_and(|it| it.trim() != "0" && it != server)
    });
    wait_until(PATIENCE, "the client has found it", || {
        client.field("state") == "connected"
    });
    connected.are_back(&desktop, "kill -9 of the server")?;
    wait_until(PATIENCE, "the page is served by the next", || {
        serves(mac, web)
    });

    // The interfaces of both ends are others now.
    desktop.restart()?;
    wait_until(PATIENCE, "the page is served again", || serves(mac, web));
    wait_until(PATIENCE, "the client says so", || {
        client.field("state") == "connected"
    });
    assert_eq!(client.field("host_address"), host.to_string());

    for container in ["more", "dtap-leg"] {
        // There need not be a leg.
        let _ = desktop.docker(&["rm", "-f", container]);
    }
    desktop.docker(&["network", "rm", "more"])?;
    client.disconnect()?;
    before.are_back(&desktop, "disconnect")?;

    client.connect(&CONNECT[1..])?;
    wait_until(PATIENCE, "the page is served once more", || {
        serves(mac, web)
    });
    client.end(Signal::SIGKILL)?;
    client.disconnect()?;
    before.are_back(&desktop, "kill -9 of the client")
}

/// What both ends of the NIC have, and the packet filter.
#[derive(Debug, PartialEq, Eq)]
struct Ends(Vec<String>);

impl Ends {
    fn of(desktop: &DockerDesktop) -> Result<Self> {
        let mut text = String::new();
        for show in [
            "ip -br address show",
            "ip route show table all proto 75",
            "ip -6 route show table all proto 75",
        ] {
            let show: Vec<_> = show.split(' ').collect();
            for output in [desktop.mac(&show), desktop.vm(&show)] {
                text += &output.text()?;
                text.push('\n');
            }
        }
        text += &desktop.vm(&["iptables", "-S"]).text()?;
        // Those that are made anew have other addresses of the kernel's own, and bridges other MACs.
        let engines = |line: &&str| ["veth", "docker0"].iter().any(|it| line.starts_with(it));
        let lines = text.lines().filter(|it| !engines(it)).map(|line| {
            let words = line
                .split_whitespace()
                .filter(|it| !it.starts_with("fe80:"));
            words.collect::<Vec<_>>().join(" ")
        });
        Ok(Self(lines.collect()))
    }

    fn are_back(&self, desktop: &DockerDesktop, after: &str) -> Result<()> {
        let mut last = Vec::new();
        wait_until(PATIENCE, &format!("all is as before {after}"), || {
            let Ok(now) = Self::of(desktop) else {
                return false;
            };
            let difference = self.difference(&now);
            if last != difference {
                eprintln!("after {after}: {difference:#?}");
                last = difference;
            }
            last.is_empty()
        });
        Ok(())
    }

    fn difference(&self, now: &Self) -> Vec<String> {
        let without = |all: &Self, others: &Self, sign| {
            let lines = all.0.iter().filter(|it| !others.0.contains(*it));
            lines.map(|it| format!("{sign} {it}")).collect::<Vec<_>>()
        };
        [without(self, now, '-'), without(now, self, '+')].concat()
    }
}

/// Who a container thinks has asked it.
fn caller(desktop: &DockerDesktop, container: IpAddr) -> Result<IpAddr> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(container, 80), PATIENCE)?;
        stream.write_all(b"GET /cgi-bin/peer HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = desktop.mac_namespace().enter(ask)??;
    let body = answer.lines().last().unwrap_or_default().trim();
    body.parse()
        .with_context(|| format!("who asked, in {answer:?}"))
}

const CONNECT: [&str; 5] = ["connect", "--mode", "tap", "--timeout", "60"];
const TAP: &str = "tap1";
/// An emulated VM takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
