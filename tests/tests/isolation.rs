//! The tunnel opens a way between its hosts and the containers, and no other.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::host::{NEIGHBOUR, fetches, pings};
use dtap_tests::lab::{Container, Engine, Firewall, Lab, Link, Options, can_run};
use dtap_tests::wait_until;

#[test]
fn nobody_but_the_host_reaches_more_than_before_on_every_engine() -> Result<()> {
    nobody_reaches_more(Firewall::IptablesNft)
}

#[test]
fn nobody_but_the_host_reaches_more_than_before_on_every_engine_with_iptables_legacy() -> Result<()>
{
    nobody_reaches_more(Firewall::IptablesLegacy)
}

/// Who reaches what before a client connects, while it is connected, and after.
fn nobody_reaches_more(firewall: Firewall) -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            link: Link::Veth,
            firewall,
            ..Options::default()
        })?;
        let town = Town::build(&lab)?;
        let before = town.observe(None)?;
        eprintln!("{}: {before:?}", lab.engine());
        assert!(before.published && before.uplink_sees_the_vm, "{before:?}");
        assert!(!before.across_networks, "{before:?}");
        assert_eq!(before.beside, [false, false]);

        let client = Client::new(&lab, "host");
        client.connect(&[])?;
        client.wait_for_path("udp");
        let address: IpAddr = client.field("host_address").parse()?;
        assert!(fetches(|program| lab.mac(program), town.front.v4()?));
        assert!(fetches(|program| lab.mac(program), town.beside.v4()?));
        assert!(town.calls(address)?, "containers reach the host");
        let during = town.observe(Some(address))?;
        assert_eq!(during, before, "{}", lab.engine());

        client.disconnect()?;
        let after = town.observe(Some(address))?;
        assert_eq!(after, before, "{}", lab.engine());
    }
    Ok(())
}

/// Two networks with a container each, one of them published; one beside the VM's own interface, which the VM itself cannot
/// talk to; and a neighbour on the VM's LAN.
struct Town<'a> {
    lab: &'a Lab,
    front: Container,
    back: Container,
    beside: Container,
}

/// Who reaches what.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    /// The neighbour, the containers of both networks, by ping or TCP.
    containers: Vec<bool>,
    /// The neighbour, the host in its tunnel.
    host: bool,
    /// A container, that of the other network.
    across_networks: bool,
    /// A container, that beside the VM's interface; that one, the VM.
    beside: [bool; 2],
    /// The neighbour, the published port.
    published: bool,
    /// The neighbour is reached by a container, as if by the VM.
    uplink_sees_the_vm: bool,
}

impl<'a> Town<'a> {
    fn build(lab: &'a Lab) -> Result<Self> {
        for (network, v4, v6) in [
            ("front", "172.30.1.0/24", "fd00:30:1::/64"),
            ("back", "172.30.2.0/24", "fd00:30:2::/64"),
        ] {
            lab.docker(&[
                "network", "create", "--ipv6", "--subnet", v4, "--subnet", v6, network,
            ])?;
        }
        let front = lab.container("front", &["--network", "front", "--publish", "8080:80"])?;
        let back = lab.container("back", &["--network", "back"])?;
        let parent = ["--driver", "macvlan", "-o", "parent=eth0"];
        let subnet = ["--subnet", "172.30.3.0/24", "beside"];
        lab.docker(&[&["network", "create"], &parent[..], &subnet].concat())?;
        let beside = lab.container("beside", &["--network", "beside"])?;
        let town = Self {
            lab,
            front,
            back,
            beside,
        };
        // The neighbour could reply and be replied to if only the VM let it.
        for command in [
            "address add fd6a:106::3/64 dev uplink nodad",
            "route add default via fd6a:106::2",
        ] {
            let words: Vec<_> = ["ip"].into_iter().chain(command.split(' ')).collect();
            lab.neighbour(&words).text()?;
        }
        for address in town.addresses() {
            // IPv6 addresses take a second to settle.
            wait_until(SOON, "the VM reaches its containers", || {
                pings(|program| lab.vm(program), address)
            });
        }
        Ok(town)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let both = [&self.front, &self.back];
        both.into_iter()
            .flat_map(|container| container.addresses.clone())
    }

    fn observe(&self, host: Option<IpAddr>) -> Result<Sight> {
        let neighbour = |program: &[&str]| self.lab.neighbour(program);
        let reaches = |to: IpAddr| pings(neighbour, to) || fetches(neighbour, to);
        let port = [
            "curl",
            "--silent",
            "--fail",
            "--max-time",
            "2",
            "http://192.168.106.2:8080/",
        ];
        let beside = self.beside.addresses[0];
        let calls_out =
            format!("ping -c1 -W1 {BESIDE_FOOTHOLD} >/dev/null && echo answered || echo silent");
        let calls_out = self
            .lab
            .docker(&["exec", "beside", "sh", "-c", &calls_out])?;
        let across = at_once(self.back.addresses.clone(), |to| {
            self.calls(to).is_ok_and(|it| it)
        });
        Ok(Sight {
            containers: at_once(self.addresses(), reaches),
            host: host.is_some_and(reaches),
            across_networks: across.contains(&true),
            beside: [self.calls(beside)?, calls_out == "answered"],
            published: neighbour(&port).success(),
            uplink_sees_the_vm: self.leaves_as_the_vm()?,
        })
    }

    /// Whether the container in front gets an answer.
    fn calls(&self, to: IpAddr) -> Result<bool> {
        let ping = format!("ping -c1 -W1 {to} >/dev/null && echo answered || echo silent");
        let said = self.lab.docker(&["exec", "front", "sh", "-c", &ping])?;
        Ok(said == "answered")
    }

    /// Whether the neighbour sees a container's ping come from the VM.
    fn leaves_as_the_vm(&self) -> Result<bool> {
        let capture = ["tcpdump", "-l", "-n", "-i", "vm", "-c", "1"];
        let only = ["icmp[icmptype] == icmp-echo and dst host 192.168.106.3"];
        let mut seen = self
            .lab
            .neighbour_background(&[&capture, only.as_slice()].concat())?;
        wait_until(SOON, "tcpdump listens", || {
            seen.output().contains("listening on")
        });
        let answered = self.calls(NEIGHBOUR.into()).context("ping the neighbour")?;
        // It ends with the first packet, once that is written down.
        let captured = seen.wait(SOON).is_ok();
        Ok(answered && captured && seen.output().contains("IP 192.168.106.2 > 192.168.106.3"))
    }
}

/// Asks for all of them at the same time: most will not be answered.
fn at_once(
    addresses: impl IntoIterator<Item = IpAddr>,
    reaches: impl Fn(IpAddr) -> bool + Sync,
) -> Vec<bool> {
    let reaches = &reaches;
    thread::scope(|scope| {
        let asked: Vec<_> = addresses
            .into_iter()
            .map(|address| scope.spawn(move || reaches(address)))
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().expect("a thread that asked did not panic"))
            .collect()
    })
}

const SOON: Duration = Duration::from_secs(10);
/// The address by which the VM reaches what is beside its interface.
const BESIDE_FOOTHOLD: &str = "172.30.3.0";
