//! Makes the networks, and tries to reach what is on them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kinds::{Kind, Promise};
use super::{Cell, Mark};
use crate::client::Client;
use crate::echo::{EchoServer, tcp_echoes, udp_echoes};
use crate::inside::Inside;
use crate::lab::{Container, Lab};
use crate::traffic::serves;
use crate::wait::holds_within;

/// A kind of network as far as the engine and the kernel have it.
#[derive(Debug)]
pub enum Ready {
    Container(Container),
    /// The engine refused, in its words.
    Refused(String),
    Absent,
}

/// Makes the networks of a kind and its container.
///
/// # Errors
/// When the engine should have been able to, but was not.
pub fn prepare(lab: &Lab, kind: &Kind) -> Result<Ready> {
    if lab.engine().major() < kind.since {
        return Ok(Ready::Absent);
    }
    match make(lab, kind) {
        Ok(container) => Ok(Ready::Container(container)),
        Err(error) if kind.promise == Promise::IfTheKernelCan => {
            Ok(Ready::Refused(format!("{error:#}")))
        }
        Err(error) => Err(error.context(format!("make a network of kind {}", kind.name))),
    }
}

/// Tries to reach the container in every way.
///
/// # Errors
/// When the test itself fails; a container that is not reached is a cell.
pub fn probe(lab: &Lab, client: &Client<'_>, kind: &Kind, ready: &Ready) -> Result<Cell> {
    let container = match ready {
        Ready::Absent => return Ok(Cell::Absent),
        Ready::Refused(reason) => return Ok(Cell::Refused(in_one_line(reason))),
        Ready::Container(container) => container,
    };
    let listed = listed(client, &container.name)?;
    if kind.promise == Promise::Explained {
        let reason = listed["reason"].as_str().unwrap_or_default();
        if listed["reachable"] != false || reason.is_empty() {
            bail!("{} is not explained: {listed}", kind.name);
        }
        return Ok(Cell::Explained(reason.to_owned()));
    }
    if listed["reachable"] != true {
        eprintln!("{} is not reachable: {listed}", kind.name);
    }
    let excuse = excuse(client, &listed)?;
    let seen = reach(lab, container, &addresses(&listed)?)?;
    Ok(Cell::Tried {
        marks: marks(&seen, excuse.is_some()),
        reason: excuse,
    })
}

/// IPv4 in three marks and IPv6 in one, unless there is only IPv6.
fn marks(seen: &BTreeMap<IpAddr, [bool; 3]>, is_excused: bool) -> [Mark; 4] {
    let of = |is_v4: bool, ways: &[usize]| {
        let family = seen.iter().filter(|(it, _)| it.is_ipv4() == is_v4);
        let outcomes: Vec<_> = family
            .flat_map(|(_, seen)| ways.iter().map(|way| seen[*way]))
            .collect();
        match (outcomes.is_empty(), outcomes.contains(&false), is_excused) {
            (true, _, _) => Mark::Absent,
            (false, false, _) => Mark::Works,
            (false, true, true) => Mark::Unsupported,
            (false, true, false) => Mark::Fails,
        }
    };
    let has_v4 = seen.keys().any(IpAddr::is_ipv4);
    [
        of(has_v4, &[0]),
        of(has_v4, &[1]),
        of(has_v4, &[2]),
        of(false, &[0, 1, 2]),
    ]
}

/// What `status` says of a network of the container's that is not reachable, or not by all of its subnets.
fn excuse(client: &Client<'_>, listed: &Value) -> Result<Option<String>> {
    let connection = client.connection()?;
    let networks = connection["networks"].as_array().context("its networks")?;
    let own = listed["networks"].as_array().context("its networks")?;
    let mut unsupported = networks.iter().filter(|network| {
        network["state"] == "unsupported" && own.iter().any(|it| it["network"] == network["name"])
    });
    let found = unsupported.find(|it| it["driver"] != "host");
    Ok(found.and_then(|it| it["reason"].as_str().map(str::to_owned)))
}

fn make(lab: &Lab, kind: &Kind) -> Result<Container> {
    let names: Vec<_> = (0..kind.networks.len())
        .map(|number| format!("{}{number}", kind.name))
        .collect();
    for (name, arguments) in names.iter().zip(kind.networks) {
        let create: &[&str] = &["network", "create"];
        lab.docker(&[create, arguments, &[name.as_str()]].concat())?;
    }
    let mut run = kind.run.to_vec();
    if let Some(first) = names.first() {
        run.extend(["--network", first.as_str()]);
    }
    lab.container(kind.name, &run)?;
    for name in names.iter().skip(1) {
        // A second address in the same network's second subnet is not asked for here.
        lab.docker(&["network", "connect", name, kind.name])?;
    }
    lab.inspect(kind.name)
}

/// By ping, TCP and UDP, each address.
fn reach(
    lab: &Lab,
    container: &Container,
    addresses: &[IpAddr],
) -> Result<BTreeMap<IpAddr, [bool; 3]>> {
    let inside = Inside::of(lab, container)?;
    let echo = inside.enter(EchoServer::start)?;
    let mut seen = BTreeMap::new();
    for &address in addresses {
        let text = address.to_string();
        let ping = || lab.mac(&["ping", "-c1", "-W1", &text]).success();
        let in_mac = |echoes: &(dyn Fn() -> Result<()> + Sync)| {
            lab.mac_namespace().enter(echoes).is_ok_and(|it| it.is_ok())
        };
        let tcp = || {
            serves(lab.mac_namespace(), address)
                && in_mac(&|| tcp_echoes(echo.at(address), 100_000))
        };
        let udp = || in_mac(&|| udp_echoes(echo.at(address), 1000));
        seen.insert(
            address,
            [
                holds_within(SETTLED, ping),
                holds_within(SETTLED, tcp),
                holds_within(SETTLED, udp),
            ],
        );
    }
    Ok(seen)
}

fn listed(client: &Client<'_>, name: &str) -> Result<Value> {
    let list = client.run(&["ls", "--json"]).text()?;
    let list: Vec<Value> = serde_json::from_str(&list)?;
    let found = list.into_iter().find(|it| it["name"] == name);
    found.with_context(|| format!("{name} is not listed"))
}

/// All that `ls` promises.
fn addresses(listed: &Value) -> Result<Vec<IpAddr>> {
    let networks = listed["networks"].as_array().context("its networks")?;
    let addresses = networks.iter().filter_map(|it| it["address"].as_str());
    addresses
        .map(|it| it.parse().with_context(|| format!("read the address {it}")))
        .collect()
}

fn in_one_line(text: &str) -> String {
    let line = text
        .lines()
        .map(str::trim)
        .find(|it| it.contains("driver") || it.contains("rror"));
    line.unwrap_or(text).to_owned()
}

/// Some engines let the kernel look for a second or two whether somebody else has an IPv6 address.
const SETTLED: Duration = Duration::from_secs(4);
