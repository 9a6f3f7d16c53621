//! The messages themselves, as JSON: read by people in a trace, and open to
//! new fields.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::attachment::{Attachment, Problem};
use super::tap::Tap;
use super::version::Hello;
use crate::hardware::HardwareAddress;
use crate::key::PublicKey;
use crate::path::PathMessage;

/// Everything but datagrams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum Message {
    Hello(Hello),
    /// The client asks to be let in.
    Pair {
        public_key: PublicKey,
        /// Prefixes the host uses: no tunnel address is taken from them.
        used: BTreeSet<IpNet>,
        /// Where the host may be reachable by UDP.
        candidates: Vec<SocketAddr>,
        /// The host's UDP port, for the addresses that only the VM knows.
        port: u16,
        /// False if the user wants the session only.
        udp: bool,
    },
    Paired(Paired),
    /// What this client wants to be reachable, all of it, each time.
    Plan {
        generation: u64,
        attachments: Vec<Attachment>,
        #[serde(default)]
        taps: Vec<Tap>,
        /// The NIC of the server's machine that leads to this host, if packets are to go by that instead of the tunnel.
        #[serde(default)]
        nic: Option<HardwareAddress>,
    },
    /// The plan of this generation is in force, but for `problems`.
    PlanDone {
        generation: u64,
        problems: Vec<Problem>,
        /// Those of taps; none from a server that knows no taps.
        #[serde(default)]
        tap_problems: Option<Vec<Problem>>,
        /// How it went with the NIC, if the plan named one that the server knows what to do with.
        #[serde(default)]
        nic: Option<NicOutcome>,
    },
    /// The host's addresses have changed.
    Candidates {
        candidates: Vec<SocketAddr>,
    },
    /// The client's once a second; the server answers with the same.
    Heartbeat,
    Path(PathMessage),
    /// The client leaves for good: undo everything now. The server answers
    /// with the same when it is done.
    Bye,
    /// The server cannot go on; the text is for the user.
    Failed {
        error: String,
    },
    /// Something a newer version says.
    #[serde(other)]
    Unknown,
}

/// Whether packets go by the NIC that a plan named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "nic", rename_all = "kebab-case")]
pub enum NicOutcome {
    Used,
    Failed { reason: String },
}

/// What the server allots to one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    pub public_key: PublicKey,
    /// The host's addresses in the tunnel, IPv4 first; stable per client key.
    pub host: Vec<IpAddr>,
    /// The server's own, in the same prefixes.
    pub server: Vec<IpAddr>,
    /// The prefixes both are taken from.
    pub prefixes: Vec<IpNet>,
    /// Where the server may be reachable by UDP.
    pub candidates: Vec<SocketAddr>,
    /// The server's UDP port, for addresses that only the client knows.
    pub port: u16,
    /// The names that Ethernet interfaces have in the server's machine.
    #[serde(default)]
    pub nics: BTreeMap<HardwareAddress, String>,
}

impl Message {
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
