//! What a plan is computed from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Filters;
use crate::docker::{Container, Network};

/// Everything a plan depends on. The order of its lists does not matter.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub networks: Vec<Network>,
    pub containers: Vec<Container>,
    pub host: Host,
    pub filters: Filters,
    pub reach: Reach,
    /// Networks the server could not attach, by ID, with its reason.
    pub refused: BTreeMap<String, String>,
    /// The server's addresses in the tunnel, where containers on the host network answer.
    pub server_addresses: Vec<IpAddr>,
    /// The ID of dtap's own server container, which is no destination.
    pub server: Option<String>,
}

/// How packets get from this host to the engine's networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    Tunnel,
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
