//! Containers on ipvlan networks are reached: by a kernel that has ipvlan, in a virtual machine, since those of many machines have
//! none.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dtap_net::foothold::{self, Foothold};
use dtap_tests::client::Client;
use dtap_tests::guest;
use dtap_tests::lab::{Lab, Options};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use dtap_tests::wait_until;
use dtap_tunnel::session::SiblingKind;
use nix::sched::{CloneFlags, unshare};

#[test]
fn an_ipvlan_neighbour_is_reached_in_every_mode() -> Result<()> {
    if !guest::is_here() {
        return guest::run(
            "an_ipvlan_neighbour_is_reached_in_every_mode",
            &["ipvlan", "veth"],
        );
    }
    for (kind, mode) in MODES {
        let lan = Lan::new(mode)?;
        let before = state()?;
        let pings = || CONTAINER.map(pings);
        ensure!(pings() == [false, false], "{mode}: already reached");
        let outcomes = foothold::set(&lan.footholds(kind))?;
        for outcome in outcomes {
            ensure!(outcome?.interface.starts_with("dtaps"));
        }
        let made = output("ip -d -o link show type ipvlan")?;
        let ours = made.lines().filter(|line| line.contains("dtaps"));
        let in_mode = ours.filter(|line| line.contains(&format!(" mode {mode} ")));
        ensure!(in_mode.count() == 2, "{mode}: {made}");
        ensure!(pings() == [true, true], "{mode}: {}", state()?);
        for outcome in foothold::set(&lan.footholds(kind))? {
            outcome.with_context(|| format!("set {mode} again"))?;
        }
        ensure!(output("ip -d -o link show type ipvlan")? == made);
        foothold::clear()?;
        ensure!(state()? == before, "{mode}: {before}\nbecame {}", state()?);
    }
    Ok(())
}

#[test]
fn containers_of_ipvlan_networks_are_reached_through_the_tunnel() -> Result<()> {
    if !guest::is_here() {
        return guest::run_with_lab(
            "containers_of_ipvlan_networks_are_reached_through_the_tunnel",
            &["ipvlan"],
        );
    }
    let lab = Lab::start(Options::default())?;
    let mut containers = Vec::new();
    for (number, mode) in [(1, "l2"), (2, "l3")] {
        let add = format!("ip link add lan{number} up type dummy");
        let added = lab.vm(&add.split(' ').collect::<Vec<_>>());
        ensure!(added.success(), "{added:?}");
        lab.docker(&[
            "network",
            "create",
            "--driver=ipvlan",
            "--ipv6",
            &format!("--opt=parent=lan{number}"),
            &format!("--opt=ipvlan_mode={mode}"),
            &format!("--subnet=172.31.{number}.0/24"),
            &format!("--subnet=fd00:31:{number}::/64"),
            mode,
        ])?;
        containers.push(lab.container(&format!("web-{mode}"), &["--network", mode])?);
    }
    let addresses = || containers.iter().flat_map(|web| &web.addresses);
    ensure!(addresses().count() == 4);
    ensure!(!addresses().any(|address| serves(lab.mac_namespace(), *address)));
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "ipvlan");
    client.connect(&["--timeout", "120"])?;
    let mut seen = Vec::new();
    for &address in addresses() {
        let what = format!("{address} is reached");
        wait_until(REACHED, &what, || serves(lab.mac_namespace(), address));
        seen.push(peer(&lab, address)?);
    }
    let subnets = ["172.31.1.0", "fd00:31:1::", "172.31.2.0", "fd00:31:2::"];
    ensure!(seen == subnets, "{seen:?}");
    client.disconnect()?;
    let difference = before.difference(&Machines::of(&lab)?);
    ensure!(difference.is_empty(), "{difference}");
    Ok(())
}

/// From where the container sees the host's request come.
fn peer(lab: &Lab, container: IpAddr) -> Result<String> {
    let page = format!("http://{}/cgi-bin/peer", SocketAddr::new(container, 80));
    lab.mac(&["wget", "-q", "-O", "-", &page]).text()
}

/// A namespace with a parent interface, and a container on it.
struct Lan {
    parent: String,
}

impl Lan {
    fn new(mode: &str) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        // Else addresses would differ from one look to the next.
        fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")?;
        let parent = format!("parent-{mode}");
        sh(&format!(
            "ip link set lo up
            ip link add {parent} up type veth peer name wire
            ip link set wire up
            ip netns add container
            ip link add link {parent} name inside type ipvlan mode {mode}
            ip link set inside netns container name eth0
            ip -n container link set eth0 up
            ip -n container address add {}/24 dev eth0
            ip -n container -6 address add {}/64 dev eth0 nodad",
            CONTAINER[0], CONTAINER[1]
        ))?;
        Ok(Self { parent })
    }

    fn footholds(&self, kind: SiblingKind) -> Vec<Foothold> {
        let beside = |subnet: &str| Foothold::Sibling {
            parent: self.parent.clone(),
            kind,
            subnet: subnet.parse().expect("a subnet"),
            destinations: BTreeSet::from([subnet.parse().expect("a subnet")]),
        };
        ["10.50.0.0/24", "fd00:50::/64"].map(beside).to_vec()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = sh("ip netns delete container");
    }
}

fn pings(address: &str) -> bool {
    output(&format!("ping -c1 -W1 {address}")).is_ok()
}

fn state() -> Result<String> {
    output("ip -d link; ip address; ip route; ip -6 route")
}

/// Runs each line as a command.
fn sh(script: &str) -> Result<()> {
    script.lines().try_for_each(|line| output(line).map(drop))
}

fn output(line: &str) -> Result<String> {
    let run = Command::new("sh").arg("-c").arg(line).output()?;
    if !run.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&run.stderr));
    }
    Ok(String::from_utf8(run.stdout)?)
}

const MODES: [(SiblingKind, &str); 3] = [
    (SiblingKind::IpvlanL2, "l2"),
    (SiblingKind::IpvlanL3, "l3"),
    (SiblingKind::IpvlanL3s, "l3s"),
];
const CONTAINER: [&str; 2] = ["10.50.0.7", "fd00:50::7"];
const REACHED: Duration = Duration::from_secs(30);
