//! A large engine: what one plan costs the client, and whether a storm of events delays packets.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtap_tests::churn::Churn;
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options};
use dtap_tests::pings::Pings;
use dtap_tests::wait_until;

const NETWORKS: usize = 100;
const PER_NETWORK: usize = 5;
/// As many programs start containers at once.
const STARTERS: usize = 4;
const PLANS: u32 = 20;
const STORM: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn measure() -> Result<()> {
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    let begin = Instant::now();
    let containers = populate(&lab)?;
    println!(
        "engine  {} containers on {NETWORKS} networks, made in {:.0} s",
        containers.len(),
        begin.elapsed().as_secs_f64()
    );
    let client = Client::new(&lab, "engine");
    client.connect(&[])?;
    client.wait_for_path("udp");
    plans(&lab, &client)?;
    storm(&lab, &client, &containers)
}

/// CPU of the client for one change of one network: an event, a listing of everything, a plan, and what it sets.
fn plans(lab: &Lab, client: &Client<'_>) -> Result<()> {
    let pid = client.pid()?;
    let begin = cpu(pid)?;
    for number in 0..PLANS {
        let subnet = format!("172.29.{number}.0/24");
        let route = || lab.mac(&["ip", "route", "show", &subnet]).stdout;
        lab.docker(&["network", "create", "--subnet", &subnet, "changed"])?;
        wait_until(PATIENCE, "the network is routed", || !route().is_empty());
        lab.docker(&["network", "rm", "changed"])?;
        wait_until(PATIENCE, "it is not any more", || route().is_empty());
    }
    let used = cpu(pid)? - begin;
    println!(
        "engine  {:.1} ms of client CPU for each of {} plans",
        used.as_secs_f64() * 1e3 / f64::from(2 * PLANS),
        2 * PLANS
    );
    Ok(())
}

fn storm(lab: &Lab, client: &Client<'_>, containers: &[String]) -> Result<()> {
    let web = lab.inspect(&containers[0])?;
    let pings = Pings::start(lab, web.v4()?)?;
    wait_until(PATIENCE, "pings are answered", || {
        pings.answers().count() > 10
    });
    let pid = client.pid()?;
    let (begin, used) = (Instant::now(), cpu(pid)?);
    let churn = Churn::start(&lab.socket(), &containers[1..=8])?;
    thread::sleep(STORM);
    let events = churn.end()?;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "engine  {:.0} events per second: longest silence {:?}, client {:.0} % of a core",
        events as f64 / seconds,
        pings.answers().longest_silence(),
        (cpu(pid)? - used).as_secs_f64() * 100.0 / seconds
    );
    Ok(())
}

/// The IDs of all containers.
fn populate(lab: &Lab) -> Result<Vec<String>> {
    let mut containers = Vec::new();
    let numbers: Vec<_> = (0..NETWORKS).collect();
    let made: Vec<Result<Vec<String>>> = thread::scope(|scope| {
        let starters = numbers.chunks(NETWORKS.div_ceil(STARTERS));
        let starters: Vec<_> = starters
            .map(|numbers| scope.spawn(|| numbers.iter().map(|it| network(lab, *it)).collect()))
            .collect();
        let ended = starters.into_iter().map(|it| it.join());
        ended
            .map(|it| {
                let networks: Result<Vec<Vec<String>>> = it.expect("a starter did not panic");
                Ok(networks?.concat())
            })
            .collect()
    });
    for ids in made {
        containers.extend(ids?);
    }
    Ok(containers)
}

fn network(lab: &Lab, number: usize) -> Result<Vec<String>> {
    let name = format!("net{number}");
    let subnet = format!("172.30.{number}.0/24");
    lab.docker(&["network", "create", "--subnet", &subnet, &name])?;
    (0..PER_NETWORK)
        .map(|_| lab.docker(&["run", "--detach", "--network", &name, "busybox"]))
        .collect()
}

/// CPU time that all threads of a process have used, from `/proc/PID/task/TID/schedstat` (in nanoseconds).
fn cpu(pid: i32) -> Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("list the client's threads")?;
    let times = tasks.flatten().map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        let nanoseconds = text.split_whitespace().next().context("read schedstat")?;
        Ok(Duration::from_nanos(nanoseconds.parse()?))
    });
    times.sum::<Result<Duration>>()
}
