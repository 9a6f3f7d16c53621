//! The NICs that HyperKit gives the VM, as the running client uses them.

use std::path::PathBuf;

use anyhow::Result;
use dtap_tunnel::HardwareAddress;

use super::Root;
use super::facts::{Facts, locate};
use crate::docker::Environment;

/// An interface of this host whose other end is one of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nic {
    /// This host's, such as `tap1`; it is there while HyperKit runs.
    pub(crate) interface: String,
    /// Of the VM's end.
    pub(crate) address: HardwareAddress,
}

impl Nic {
    /// Whether HyperKit runs, and has opened it.
    pub(crate) fn is_there(&self) -> bool {
        nix::net::if_::if_nametoindex(self.interface.as_str()).is_ok()
    }
}

/// Those that `tap install` has noted.
///
/// # Errors
/// What is there cannot be read.
pub(crate) fn nics() -> Result<Vec<Nic>> {
    let root = Root(std::env::var_os(ROOT).map(PathBuf::from));
    if cfg!(not(target_os = "macos")) && !root.is_lab() {
        return Ok(Vec::new());
    }
    let user = Environment::current()?.user;
    let location = locate(&root, &user)?;
    let facts = Facts::gather(&root, &user, location.as_ref())?;
    let installed = facts.installed().map(|it| it.nics);
    let nics = installed.into_iter().flatten().map(|nic| Nic {
        interface: nic.interface(),
        address: HardwareAddress(nic.mac.0),
    });
    Ok(nics.collect())
}

/// As the command line names it.
const ROOT: &str = "DTAP_TAP_ROOT";
