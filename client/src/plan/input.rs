//! What a plan is computed from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Filters, Maps};
use crate::docker::{Container, Network, Swarm};

/// Everything a plan depends on. The order of its lists does not matter.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub networks: Vec<Network>,
    pub containers: Vec<Container>,
    pub swarm: Swarm,
    pub leg: Leg,
    pub host: Host,
    /// What this host's connections to other engines have taken, with the engine's name.
    pub claims: BTreeMap<IpNet, String>,
    pub filters: Filters,
    pub reach: Reach,
    /// Routes that are left to another program for now, with the reason.
    pub contested: BTreeMap<IpNet, String>,
    /// Networks the server could not attach, by ID, with its reason.
    pub refused: BTreeMap<String, String>,
    /// The server's addresses in the tunnel, where containers on the host network answer.
    pub server_addresses: Vec<IpAddr>,
    pub maps: Maps,
    pub memory: Memory,
    /// Whether this is the only engine. Where there are several, pairs of `--map` are for those that clash: their
    /// subnets may well be equal.
    pub alone: bool,
    /// Prefixes of the tunnel itself.
    pub tunnel: BTreeSet<IpNet>,
    /// The ID of dtap's own server container, which is no destination.
    pub server: Option<String>,
}

/// What is known of legs beside their containers.
#[derive(Clone, Debug, Default)]
pub struct Leg {
    /// That of our own, whether it is there or not.
    pub name: String,
    /// Tasks of the swarm that stand for legs of other clients.
    pub foreign: BTreeSet<String>,
    /// Containers that are about to end: no reason to stay on their networks.
    pub doomed: BTreeSet<String>,
    /// Networks our own could not join, by ID, and why.
    pub refused: BTreeMap<String, String>,
}

impl Leg {
    /// Whether it is this container, and at work.
    pub fn is(&self, container: &Container) -> bool {
        container.is_leg() && container.running && container.name == self.name
    }
}

/// How packets get from this host to the engine's networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    Tunnel,
    /// By a NIC of the engine's machine, in which nothing is translated.
    Nic,
    /// The engine shares this host's network namespace: nothing is to be attached or routed.
    Direct,
}

/// What this host needs for itself, and so what no Docker subnet may take from it.
///
/// Addresses and routes of dtap's own interface are marked or left out: they are no reason for a conflict.
#[derive(Clone, Debug, Default)]
pub struct Host {
    pub routes: Vec<HostRoute>,
    pub addresses: Vec<IpAddr>,
    pub resolvers: Vec<IpAddr>,
    /// Where the tunnel's datagrams go while its path is UDP.
    pub endpoint: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRoute {
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    pub interface: Option<String>,
    /// Installed by dtap.
    pub ours: bool,
}

/// What `--map auto` chose before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub engine: String,
    /// By true prefix, what subnets of this engine were mapped to.
    pub own: BTreeMap<IpNet, IpNet>,
    /// What those of other engines were mapped to.
    pub others: BTreeSet<IpNet>,
}
