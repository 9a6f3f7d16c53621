//! Overlay networks: containers of every node of a swarm are reachable by their own addresses, and nobody is kept from
//! removing anything.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::echo::{EchoServer, tcp_echoes, udp_echoes};
use dtap_tests::host::{Host, fetches};
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Container, Engine, Lab, Link, Options, Worker, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::serves;
use dtap_tests::{keeps_promise, wait_until, within};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn containers_of_every_node_are_reachable_from_either_on_the_newest_and_the_oldest_engine()
-> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let engines = Engine::required()?;
    let ends = [engines.first(), engines.last()].into_iter().flatten();
    for engine in ends {
        let lab = Lab::start(Options {
            engine: Some(engine.clone()),
            ..Options::default()
        })?;
        let worker = Worker::join(&lab)?;
        // Without one, the addresses of the default network would stay tentative.
        lab.container("resident", &[])?;
        overlay(&lab, "ov", &["--attachable"])?;
        overlay(&lab, "inside", &["--attachable", "--internal"])?;
        let mut containers = Vec::new();
        for network in ["ov", "inside"] {
            let name = |node: &str| format!("{node}-{network}");
            containers.push(lab.container(&name("here"), &["--network", network])?);
            containers.push(worker.container(&name("there"), &["--network", network])?);
        }
        let before = Machines::of(&lab)?;
        for node in [lab.docker_host(), worker.docker_host()] {
            let client = Client::new(&lab, "node").by(node.clone());
            client.connect(&[])?;
            for container in &containers {
                let what = format!("{}: {} by {node}", lab.engine(), container.name);
                is_reached(&lab, container).context(what)?;
            }
            assert_eq!(network(&client, "ingress")?["state"], "unsupported");
            assert!(!client.run(&["ls"]).stdout.contains("dtap-leg"));
            client.disconnect()?;
            assert_eq!(legs(&lab)? + &legs_of(&worker)?, "");
        }
        before.restored(&lab, AT_ONCE, "disconnect")?;
    }
    Ok(())
}

#[test]
fn no_leg_is_started_for_containers_of_the_own_node() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let lab = Lab::start(Options::default())?;
    let _worker = Worker::join(&lab)?;
    let client = Client::new(&lab, "own");
    client.connect(&[])?;
    overlay(&lab, "ov", &["--attachable"])?;
    let web = lab.container("web", &["--network", "ov"])?;
    is_reached(&lab, &web)?;
    let host = client.field("host_address");
    assert_eq!(peer(&lab, web.addresses[0])?, host, "it sees the host");
    let echo = lab.mac_namespace().enter(EchoServer::start)??;
    let host: IpAddr = host.parse()?;
    Inside::of(&lab, &web)?.enter(|| {
        udp_echoes(echo.at(host), 1000)?;
        tcp_echoes(echo.at(host), 100_000)
    })?;
    lab.docker(&["network", "create", "plain"])?;
    let both = lab.container("both", &["--network", "ov"])?;
    lab.docker(&["network", "connect", "plain", "both"])?;
    let address = both.addresses[0];
    keeps_promise(AT_ONCE, "so is one with a bridge of its own", || {
        serves(lab.mac_namespace(), address)
    });
    assert_eq!(legs(&lab)?, "");
    Ok(())
}

#[test]
fn a_network_for_services_only_is_reached_on_the_own_node_and_says_why_not_elsewhere() -> Result<()>
{
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let lab = Lab::start(Options::default())?;
    let worker = Worker::join(&lab)?;
    overlay(&lab, "services", &[])?;
    let client = Client::new(&lab, "services");
    client.connect(&[])?;
    let create = ["service", "create", "--detach", "--endpoint-mode", "dnsrr"];
    let service = |name: &str, role: &str| {
        let place = format!("node.role=={role}");
        let options = ["--name", name, "--network", "services", "--constraint"];
        lab.docker(&[&create[..], &options, &[&place, "busybox"]].concat())
    };
    service("far", "worker")?;
    wait_until(SETTLED, "its task runs", || {
        worker
            .docker(&["ps", "--quiet"])
            .is_ok_and(|it| !it.is_empty())
    });
    keeps_promise(POLLED, "the reason is told", || {
        network(&client, "services").is_ok_and(|it| {
            let reason = it["reason"].as_str().unwrap_or_default();
            it["state"] == "unsupported" && reason.contains("--attachable")
        })
    });
    service("near", "manager")?;
    let task = ["ps", "--quiet", "--filter", "name=near"];
    wait_until(SETTLED, "its task runs", || {
        lab.docker(&task).is_ok_and(|it| !it.is_empty())
    });
    let task = lab.inspect(&lab.docker(&task)?)?;
    keeps_promise(AT_ONCE, "the own node's task is reachable", || {
        serves(lab.mac_namespace(), task.addresses[0])
    });
    assert_eq!(network(&client, "services")?["state"], "reachable");
    assert_eq!(legs(&lab)?, "");
    Ok(())
}

/// As quick as a script does it: the internal network is one that the leg must be on.
#[test]
fn a_network_can_be_removed_right_after_its_last_container() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let lab = Lab::start(Options::default())?;
    let _worker = Worker::join(&lab)?;
    let client = Client::new(&lab, "rm");
    client.connect(&[])?;
    for (number, kind) in (1..=REMOVALS).zip(["--internal", "--label=kind=plain"].iter().cycle()) {
        let name = format!("ov{number}");
        overlay(&lab, &name, &["--attachable", kind])?;
        let last = lab.container("last", &["--network", &name])?;
        wait_until(SETTLED, "it is reachable", || {
            serves(lab.mac_namespace(), last.addresses[0])
        });
        let begin = Instant::now();
        lab.docker(&["rm", "--force", "last"])?;
        lab.docker(&["network", "rm", &name])
            .with_context(|| format!("removal {number}"))?;
        if number % 10 == 0 {
            eprintln!("removal {number}: {:.0?}", begin.elapsed());
        }
    }
    Ok(())
}

/// What `docker compose down` asks for: stop, remove, remove the network.
#[test]
fn a_project_goes_down_as_it_would_without_a_tunnel() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let lab = Lab::start(Options::default())?;
    let worker = Worker::join(&lab)?;
    let client = Client::new(&lab, "down");
    client.connect(&[])?;
    for round in 1..=5 {
        let name = format!("project{round}");
        overlay(&lab, &name, &["--attachable", "--internal"])?;
        for container in ["web", "db"] {
            let web = lab.container(container, &["--network", &name])?;
            wait_until(SETTLED, "it is reachable", || {
                serves(lab.mac_namespace(), web.addresses[0])
            });
        }
        lab.docker(&["stop", "web", "db"])?;
        lab.docker(&["rm", "web", "db"])?;
        lab.docker(&["network", "rm", &name])?;
    }
    // Nobody tells this engine of a container that ends elsewhere: the leg is gone soon.
    overlay(&lab, "far", &["--attachable"])?;
    let far = worker.container("far", &["--network", "far"])?;
    keeps_promise(POLLED, "a container of another node is reachable", || {
        serves(lab.mac_namespace(), far.addresses[0])
    });
    worker.docker(&["rm", "--force", "far"])?;
    keeps_promise(AT_ONCE, "its network can be removed", || {
        lab.docker(&["network", "rm", "far"]).is_ok()
    });
    keeps_promise(POLLED, "there is no leg any more", || {
        legs(&lab).is_ok_and(|it| it.is_empty())
    });
    Ok(())
}

#[test]
fn two_clients_do_not_hold_each_other_in_a_network() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    let worker = Worker::join(&lab)?;
    let host = Host::start(&lab)?;
    overlay(&lab, "ov", &["--attachable"])?;
    let here = lab.container("here", &["--network", "ov"])?;
    let there = worker.container("there", &["--network", "ov"])?;
    let one = Client::new(&lab, "one");
    one.connect(&[])?;
    let other = Client::new(&lab, "other")
        .on(&host)
        .by(worker.docker_host());
    other.connect(&[])?;
    wait_until(SETTLED, "both have a leg", || {
        serves(lab.mac_namespace(), there.addresses[0])
            && fetches(|program| host.run(program), here.addresses[0])
    });
    lab.docker(&["rm", "--force", "here"])?;
    worker.docker(&["rm", "--force", "there"])?;
    keeps_promise(POLLED, "no leg is left", || {
        legs(&lab).is_ok_and(|it| it.is_empty()) && legs_of(&worker).is_ok_and(|it| it.is_empty())
    });
    lab.docker(&["network", "rm", "ov"]).map(drop)
}

#[test]
fn a_killed_client_leaves_no_leg() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let _alone = alone();
    let lab = Lab::start(Options::default())?;
    let worker = Worker::join(&lab)?;
    overlay(&lab, "ov", &["--attachable"])?;
    let there = worker.container("there", &["--network", "ov"])?;
    let client = Client::new(&lab, "killed");
    for start in [true, false] {
        client.connect(&[])?;
        wait_until(SETTLED, "a leg is there", || {
            serves(lab.mac_namespace(), there.addresses[0])
        });
        let leg = legs(&lab)?;
        client.end(Signal::SIGKILL)?;
        assert_eq!(legs(&lab)?, leg);
        if start {
            client.connect(&["--exclude", "ov"])?;
            keeps_promise(AT_ONCE, "the next start removes it", || {
                legs(&lab).is_ok_and(|it| it.is_empty())
            });
            client.disconnect()?;
        }
    }
    keeps_promise(GRACE, "the leg ends by itself", || {
        legs(&lab).is_ok_and(|it| it.is_empty())
    });
    client.connect(&[])?;
    wait_until(SETTLED, "a leg is there", || {
        serves(lab.mac_namespace(), there.addresses[0])
    });
    client.end(Signal::SIGKILL)?;
    client.run(&["uninstall"]).text()?;
    assert_eq!(legs(&lab)?, "");
    Ok(())
}

/// One story after the other: a race against a script is fair on a machine that has nothing else to do.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn overlay(lab: &Lab, name: &str, arguments: &[&str]) -> Result<()> {
    let create = ["network", "create", "--driver", "overlay"];
    lab.docker(&[&create[..], arguments, &[name]].concat())
        .map(drop)
}

/// At once, by ping, TCP and UDP.
fn is_reached(lab: &Lab, container: &Container) -> Result<()> {
    let begin = Instant::now();
    loop {
        let reached = reaches(lab, container);
        if reached.is_ok() {
            eprintln!("{} after {:.2?}", container.name, begin.elapsed());
        }
        if reached.is_ok() || begin.elapsed() > within(AT_ONCE) {
            return reached;
        }
    }
}

fn reaches(lab: &Lab, container: &Container) -> Result<()> {
    let address = container.addresses[0];
    let ping = lab.mac(&["ping", "-c1", "-W1", &address.to_string()]);
    ensure!(ping.success(), "no answer to a ping");
    ensure!(serves(lab.mac_namespace(), address), "no page");
    let echo = Inside::of(lab, container)?.enter(EchoServer::start)?;
    lab.mac_namespace().enter(|| {
        tcp_echoes(echo.at(address), 100_000)?;
        udp_echoes(echo.at(address), 1000)
    })?
}

/// Whom a container sees.
fn peer(lab: &Lab, container: IpAddr) -> Result<String> {
    let url = format!("http://{container}/cgi-bin/peer");
    lab.mac(&["curl", "--silent", "--max-time", "2", &url])
        .text()
}

fn network(client: &Client<'_>, name: &str) -> Result<Value> {
    let connection = client.connection()?;
    let mut networks = connection["networks"]
        .as_array()
        .context("its networks")?
        .iter();
    let found = networks.find(|it| it["name"] == name);
    found.cloned().with_context(|| format!("no network {name}"))
}

fn legs(lab: &Lab) -> Result<String> {
    lab.docker(&LEGS)
}

fn legs_of(worker: &Worker<'_>) -> Result<String> {
    worker.docker(&LEGS)
}

const LEGS: [&str; 5] = ["ps", "--all", "--quiet", "--filter", "label=dtap.leg"];
const REMOVALS: u32 = 100;
const AT_ONCE: Duration = Duration::from_secs(1);
/// What no event tells is asked for each second.
const POLLED: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(12);
const SETTLED: Duration = Duration::from_secs(15);
