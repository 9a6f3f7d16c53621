//! What a plan says about each network and container: the JSON of `status` and `ls`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A network as `status --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    pub name: String,
    pub driver: String,
    pub subnets: Vec<IpNet>,
    /// Prefixes under which the subnets are reached instead of their own.
    pub mapped: Vec<IpNet>,
    pub state: Reachability,
    /// In words, whenever the state is not `reachable`.
    pub reason: Option<String>,
}

/// Whether the containers of a network can be reached from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reachability {
    Reachable,
    /// A subnet would take something from this host.
    Conflict,
    /// By the user's filters or label.
    Excluded,
    Unsupported,
}

/// A container as `ls --json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    pub name: String,
    pub id: String,
    /// DNS names that resolve to this container; empty while no names are served.
    pub names: Vec<String>,
    pub networks: Vec<ContainerAddress>,
    /// Such as `80/tcp`.
    pub ports: Vec<String>,
    pub reachable: bool,
    /// In words; one that is reachable has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An address of a container; one entry per address of a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerAddress {
    pub network: String,
    /// Absent while the container does not run; on the host's network, the server's address.
    pub address: Option<IpAddr>,
    /// The same host under the prefix its subnet is mapped to.
    pub mapped: Option<IpAddr>,
}
