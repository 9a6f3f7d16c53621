//! The server's packet filter: a table of its own, and two accepts in Docker's forward path.
//!
//! ```text
//!            Docker's raw drops                    Docker's filter     Docker's masquerade
//!  -310          -300        -290         -10           0          90         100
//!  pre1           │          pre2       forward         │      postrouting     │
//!  flip ──────────┼───────── flip ───── narrow ─────── accept ── keep source ──┼──▶
//! ```
//!
//! The accepts open everything; `forward` narrows that to what is attached, since a drop is final
//! in whichever table it stands. Everything that changes with a network is an element of a set, so
//! that one network never touches another's. Nothing here needs `iptables` or `nft`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use crate::announcements::Announcements;
use crate::netlink::{Socket, subscribe};
use plan::Change;

mod codec;
mod expression;
mod kernel;
mod plan;
mod ruleset;

/// What the tunnel interface may forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallConfig {
    /// The tunnel interface.
    pub interface: String,
    /// Which tunnel address may exchange packets with which bridge: a host's address in the tunnel,
    /// and the name of the bridge's interface.
    pub attached: BTreeSet<(IpAddr, String)>,
    /// Containers that could not answer a tunnel address: they see the VM's address on their own
    /// bridge instead.
    pub masquerade: BTreeSet<IpAddr>,
    /// Containers that exchange no packet with the tunnel.
    pub excluded: BTreeSet<IpAddr>,
    /// Interfaces by which containers answer the VM only: they see its address there.
    pub footholds: BTreeSet<String>,
}

/// The owner of the table `inet dtap` and of the accepts in the tables of others.
#[derive(Debug, Default)]
pub struct Firewall {
    /// What was last found in place, and in which generation of the ruleset.
    intact: Option<(u32, FirewallConfig)>,
}

impl Firewall {
    /// A firewall that is not set.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or the process no `CAP_NET_ADMIN`.
    pub fn new() -> io::Result<Self> {
        kernel::generation(&mut open()?)
            .map_err(|error| io::Error::new(error.kind(), format!("use nf_tables: {error}")))?;
        Ok(Self::default())
    }

    /// Makes the ruleset what `config` says, wherever it differs, in one transaction. Costs one
    /// question to the kernel while nobody has changed any ruleset since the last call.
    ///
    /// # Errors
    /// `InvalidInput` for a name no interface can have; what the kernel refuses, with everything
    /// left as it was.
    pub fn set(&mut self, config: &FirewallConfig) -> io::Result<()> {
        validate(config)?;
        let mut socket = open()?;
        if self.intact == Some((kernel::generation(&mut socket)?, config.clone())) {
            return Ok(());
        }
        self.intact = None;
        let generation = settle(&mut socket, |snapshot| plan::set(snapshot, config))?;
        self.intact = Some((generation, config.clone()));
        Ok(())
    }

    /// Removes everything of ours.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn clear(&mut self) -> io::Result<()> {
        self.intact = None;
        Self::sweep()
    }

    /// Removes what a killed predecessor left, whatever its interface was.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn sweep() -> io::Result<()> {
        settle(&mut open()?, plan::clear).map(|_| ())
    }
}

/// Announces changes of the ruleset by anybody, our own included: a [`Firewall::set`] then is
/// cheap.
#[derive(Debug)]
pub struct FirewallWatch {
    announcements: Announcements,
}

impl FirewallWatch {
    /// Subscribes; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The kernel refused a socket.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            announcements: subscribe(SockProtocol::NetlinkNetFilter, 1 << (NFNLGRP_NFTABLES - 1))?,
        })
    }

    /// Waits until something has changed since the last call.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.announcements.changed().await
    }
}

/// Whether the engine filters by the legacy iptables of the kernel, where none of our accepts is
/// seen.
///
/// It asks the list of tables only: a question about a legacy table would create it.
pub fn legacy_in_use() -> bool {
    let legacy = fs::read_to_string("/proc/thread-self/net/ip_tables_names")
        .is_ok_and(|tables| tables.lines().any(|table| table == "filter"));
    legacy
        && open()
            .and_then(|mut socket| kernel::snapshot(&mut socket))
            .is_ok_and(|ruleset| !ruleset.has_docker())
}

fn open() -> io::Result<Socket> {
    Socket::new(SockProtocol::NetlinkNetFilter)
}

/// Plans and commits until nothing is left to do; gives the generation in which that was so.
fn settle(socket: &mut Socket, plan: impl Fn(&plan::Snapshot) -> Vec<Change>) -> io::Result<u32> {
    for _ in 0..ATTEMPTS {
        match step(socket, &plan) {
            Ok(Some(generation)) => return Ok(generation),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("change the ruleset: {error}"),
                ));
            }
            Ok(None) | Err(_) => {}
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "change the ruleset: another program keeps changing it",
    ))
}

/// The generation in which nothing was left to do, or none if something was. `Interrupted` if
/// somebody else was busy.
fn step(
    socket: &mut Socket,
    plan: impl Fn(&plan::Snapshot) -> Vec<Change>,
) -> io::Result<Option<u32>> {
    let snapshot = kernel::snapshot(socket)?;
    let changes = plan(&snapshot);
    if changes.is_empty() {
        let unchanged = kernel::generation(socket)? == snapshot.generation;
        return Ok(unchanged.then_some(snapshot.generation));
    }
    kernel::commit(socket, snapshot.generation, &changes)?;
    tracing::info!(changes = changes.len(), "firewall changed");
    Ok(None)
}

fn validate(config: &FirewallConfig) -> io::Result<()> {
    let bridges = config.attached.iter().map(|(_, bridge)| bridge);
    for name in bridges.chain(&config.footholds).chain([&config.interface]) {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['\0', '/']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no interface is named {name:?}"),
            ));
        }
    }
    Ok(())
}

/// Docker may change its rules many times in a row.
const ATTEMPTS: usize = 20;
/// `enum nfnetlink_groups` of the kernel's `nfnetlink.h`.
const NFNLGRP_NFTABLES: u32 = 7;
