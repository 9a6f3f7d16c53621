//! A host in the Ethernet of a network: its end, and what is seen there.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::Client;
use crate::lab::{Lab, Output};

/// A host's end that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    pub interface: String,
    pub carrier: String,
    /// That of IPv4 first.
    pub addresses: Vec<IpAddr>,
}

impl Tap {
    /// `tap attach` with further arguments.
    ///
    /// # Errors
    /// When it failed, with all it said.
    pub fn attach(client: &Client<'_>, network: &str, arguments: &[&str]) -> Result<Self> {
        let command = [&["tap", "attach", network], arguments].concat();
        client.run(&command).text()?;
        Self::of(client, network)
    }

    /// As `status` has it now.
    ///
    /// # Errors
    /// When this host is not attached, with what is said instead.
    pub fn of(client: &Client<'_>, network: &str) -> Result<Self> {
        let connection = client.connection()?;
        let taps = connection["taps"].as_array().context("no taps")?;
        let tap = taps.iter().find(|tap| tap["network"] == network);
        let tap = tap.with_context(|| format!("not attached to {network}"))?;
        if tap["state"] != "attached" {
            bail!("not attached: {tap}");
        }
        let text = |name: &str| tap[name].as_str().unwrap_or_default().to_owned();
        let addresses = [&tap["address"], &tap["address6"]].map(Value::as_str);
        let addresses = addresses.into_iter().flatten().map(|prefix| {
            let address = prefix.split('/').next().unwrap_or_default();
            address.parse().with_context(|| format!("read {prefix}"))
        });
        Ok(Self {
            interface: text("interface"),
            carrier: text("carrier"),
            addresses: addresses.collect::<Result<_>>()?,
        })
    }

    /// # Errors
    /// When it has none.
    pub fn v4(&self) -> Result<Ipv4Addr> {
        let mut all = self.addresses.iter();
        let v4 = all.find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        v4.context("no IPv4 address")
    }

    /// # Errors
    /// When the interface is gone.
    pub fn hardware(&self, run: impl Fn(&[&str]) -> Output) -> Result<String> {
        let link = run(&["ip", "-o", "link", "show", "dev", &self.interface]).text()?;
        after(&link, "link/ether").with_context(|| format!("no Ethernet: {link}"))
    }
}

/// The hardware address of a container's first interface.
///
/// # Errors
/// When it does not run.
pub fn hardware(lab: &Lab, container: &str) -> Result<String> {
    lab.docker(&["exec", container, "cat", "/sys/class/net/eth0/address"])
}

/// The hardware address that the host has found for a neighbour.
pub fn neighbour(run: impl Fn(&[&str]) -> Output, address: IpAddr) -> Option<String> {
    let listed = run(&["ip", "neighbour", "show", &address.to_string()]);
    after(&listed.stdout, "lladdr")
}

/// The same for a container.
///
/// # Errors
/// When it does not run.
pub fn neighbour_in(lab: &Lab, container: &str, address: IpAddr) -> Result<Option<String>> {
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    let listed = lab.docker(&["exec", container, "ip", family, "neigh", "show"])?;
    let of_address = format!("{address} ");
    let line = listed.lines().find(|line| line.starts_with(&of_address));
    Ok(line.and_then(|line| after(line, "lladdr")))
}

/// The word that follows.
fn after(text: &str, word: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|it| *it != word);
    words.nth(1).map(str::to_owned)
}

/// A socket of the calling thread's namespace that hears what is sent to everybody, and sends to everybody.
///
/// # Errors
/// When the port is taken.
pub fn to_everybody() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, EVERYBODYS_PORT))?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

pub const EVERYBODYS_PORT: u16 = 9999;
const PATIENCE: Duration = Duration::from_secs(5);
