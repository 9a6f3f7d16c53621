//! What a plan asks of the server: one attachment per Docker network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What the server does so that one Docker network is reachable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// The network's ID, by which a [`Problem`] names it.
    pub id: String,
    /// The network's name, for messages to people.
    pub network: String,
    pub access: Access,
    pub subnets: BTreeSet<IpNet>,
    /// Containers that could not answer the host's own address.
    pub masquerade: BTreeSet<IpAddr>,
    /// Containers that are to be left alone.
    pub excluded: BTreeSet<IpAddr>,
}

/// How the VM itself gets to the containers of a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Access {
    /// By the bridge that they are ports of.
    Bridge {
        interface: String,
        /// Subnets in which the bridge has no address of its own.
        bare: BTreeSet<IpNet>,
    },
    /// By an interface of the server's own on the same parent.
    Sibling {
        parent: String,
        kind: SiblingKind,
        /// The containers, for where the VM has another route to the subnet.
        containers: BTreeSet<IpAddr>,
    },
    /// By routes of the VM.
    Hops {
        hops: BTreeMap<IpNet, Hop>,
        /// The address by which a container leaves for the VM, and the one it is asked at: where it cannot know the
        /// latter, it answers from the former.
        #[serde(default)]
        sources: BTreeMap<Ipv4Addr, Ipv4Addr>,
    },
    /// Something a newer version knows.
    #[serde(other)]
    Unknown,
}

/// The driver of an interface that shares its parent with those of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SiblingKind {
    Macvlan,
    IpvlanL2,
    IpvlanL3,
    IpvlanL3s,
}

/// The next hop of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hop {
    pub address: IpAddr,
    pub interface: String,
}

/// Why the server could not attach a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The network's ID.
    pub id: String,
    /// In words, for the user.
    pub reason: String,
}
