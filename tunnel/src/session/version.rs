//! Which versions understand each other.

use serde::{Deserialize, Serialize};

/// The range of protocol numbers one end speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    pub oldest: u32,
    pub newest: u32,
}

/// What this build speaks. `newest` grows when an end must know that the other
/// understands something; `oldest` grows when an old way is no longer served.
pub const PROTOCOL: Protocol = Protocol {
    oldest: 1,
    newest: 1,
};

/// The first message of each end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: Protocol,
    /// The program's version, for people.
    pub version: String,
    /// Names one run of the server: another value means that its keys are gone.
    #[serde(default)]
    pub boot: Option<String>,
    /// Boot ID and inode of the server's network namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The server could let packets through the engine's filter if it had [`XTABLES_LOCK`].
    #[serde(default)]
    pub lacks_xtables_lock: bool,
}

/// The file that `iptables` locks while it changes a legacy table: on the engine's machine, and at
/// the same place in a server container that has it.
pub const XTABLES_LOCK: &str = "/run/xtables.lock";

/// The two ends have no protocol in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server is dtap {server}, this client is dtap {client}, and they do not understand each \
     other; install the same version at both ends: `dtap-client uninstall` removes the server and \
     the next `connect` starts the one this client carries"
)]
pub struct VersionError {
    server: String,
    client: String,
}

impl Hello {
    /// The newest protocol both ends speak, seen from the client.
    ///
    /// # Errors
    /// When the ranges do not meet.
    pub fn agree(&self, server: &Self) -> Result<u32, VersionError> {
        let newest = self.protocol.newest.min(server.protocol.newest);
        let oldest = self.protocol.oldest.max(server.protocol.oldest);
        if oldest <= newest {
            return Ok(newest);
        }
        Err(VersionError {
            server: server.version.clone(),
            client: self.version.clone(),
        })
    }
}
