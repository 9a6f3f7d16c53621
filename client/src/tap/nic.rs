//! This host's ends of the NICs that HyperKit gives Docker's VM.

use anyhow::{Context as _, Result, bail};
use dtap_tunnel::HardwareAddress;

use super::facts::{Facts, locate};
use super::hyperkit::Content;
use super::{How, Root, install};
use crate::docker::Environment;

/// A NIC of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nic {
    /// The other end, on this host.
    pub(crate) interface: String,
    pub(crate) address: HardwareAddress,
}

impl Nic {
    /// Whether HyperKit runs, and has opened it.
    pub(crate) fn is_there(&self) -> bool {
        nix::net::if_::if_nametoindex(self.interface.as_str()).is_ok()
    }
}

/// Those that the shim adds, if any.
///
/// # Errors
/// What is there cannot be read.
pub(crate) fn all(root: &Root) -> Result<Vec<Nic>> {
    Ok(installed(&gather(root)?))
}

/// Those that the shim adds; a VM that was started before has none yet.
///
/// # Errors
/// There are none.
pub(crate) fn nics(root: &Root) -> Result<Vec<Nic>> {
    let nics = installed(&gather(root)?);
    if nics.is_empty() {
        bail!(
            "Docker's VM has no network interface of ours: `sudo dtap-client tap install --restart` gives it one where \
             that is possible; the tunnel needs none: `sudo dtap-client connect --mode tunnel`"
        );
    }
    Ok(nics)
}

/// Puts the shim back where an update of Docker has put HyperKit.
///
/// # Errors
/// As those of `tap install`.
pub(crate) fn repair(root: &Root) -> Result<()> {
    let facts = gather(root)?;
    let is_shim = |content| content == Content::Shim;
    let is_replaced = facts
        .hyperkit
        .as_ref()
        .is_some_and(|it| !is_shim(it.file.content));
    if is_replaced && facts.installed().is_some() {
        let how = How {
            dry_run: false,
            restart: false,
        };
        install::install(root, None, how).context("repair what an update of Docker has undone")?;
    }
    Ok(())
}

fn gather(root: &Root) -> Result<Facts> {
    let user = Environment::current()?.user;
    Facts::gather(root, &user, locate(root, &user)?.as_ref())
}

fn installed(facts: &Facts) -> Vec<Nic> {
    let nics = facts.installed().map(|it| it.nics).unwrap_or_default();
    let nics = nics.iter().map(|nic| Nic {
        interface: nic.interface(),
        address: HardwareAddress(nic.mac.0),
    });
    nics.collect()
}
