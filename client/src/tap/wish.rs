//! What the user wants of a network's Ethernet; said to the running client.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A network that this host shall be in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) network: NetworkName,
    pub(crate) carrier: CarrierChoice,
    pub(crate) address: Option<IpAddr>,
}

/// A network of one connection: by its name, or as `CONNECTION/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkName {
    pub(crate) connection: Option<String>,
    pub(crate) network: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CarrierChoice {
    /// HyperKit's where it works and is free, else the tunnel
    Auto,
    /// A NIC of the VM, by the shim
    Hyperkit,
    /// The tunnel
    Tunnel,
}

impl NetworkName {
    /// Whether it is this one of this connection.
    pub(crate) fn is(&self, connection: &str, network: &str) -> bool {
        let connected = self.connection.as_deref().unwrap_or(connection);
        connected == connection && self.network == network
    }
}

impl From<&str> for NetworkName {
    fn from(text: &str) -> Self {
        // Docker allows no slash in a network's name.
        let (connection, network) = match text.rsplit_once('/') {
            Some((connection, network)) => (Some(connection.to_owned()), network),
            None => (None, text),
        };
        Self {
            connection,
            network: network.to_owned(),
        }
    }
}

impl std::fmt::Display for NetworkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.connection {
            Some(connection) => write!(f, "{connection}/{}", self.network),
            None => f.write_str(&self.network),
        }
    }
}
