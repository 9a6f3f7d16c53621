//! The words both ends share about paths.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Where a datagram goes, or came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    Session,
    Udp(SocketAddr),
}

/// What the user allows (`--path`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathPolicy {
    /// UDP where it is proven, the session otherwise.
    #[default]
    Auto,
    /// Packets wait for UDP; only handshakes use the session.
    Udp,
    Session,
}

/// What names one sealed datagram: the receiver's index and the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub index: u32,
    pub counter: u64,
}

/// What the two ends tell each other over the session about UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum PathMessage {
    /// From here on the sender holds its packets until the acknowledgement,
    /// so that none overtakes the session's backlog.
    Switch { attempt: u32 },
    /// Everything sent before the `Switch` of this attempt has been opened.
    SwitchAck { attempt: u32 },
    /// The newest seal authenticated per UDP source since the last report.
    Report { seals: Vec<Seal> },
    /// Something a newer version says.
    #[serde(other)]
    Unknown,
}
