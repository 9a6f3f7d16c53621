//! The server's packet filter: a table of its own, and two accepts in Docker's forward path.
//!
//! ```text
//!            Docker's raw drops                    Docker's filter     Docker's masquerade
//!  -310          -300        -290         -10           0          90         100
//!  pre1           │          pre2       forward         │      postrouting     │
//!  flip ──────────┼───────── flip ───── narrow ─────── accept ── keep source ──┼──▶
//! ```
//!
//! The accepts open everything; `forward` narrows that to what is attached, since a drop is final in whichever table it
//! stands, those of `iptables-legacy` included. Everything that changes with a network is an element of a set, so that
//! one network never touches another's. Nothing here needs `iptables` or `nft`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::sys::socket::SockProtocol;

use crate::announcements::Announcements;
use crate::netlink::{Socket, subscribe};
use legacy::Filter;
use plan::Change;
pub use ruleset::Handover;

mod codec;
mod expression;
mod kernel;
mod legacy;
mod plan;
mod ruleset;

/// What the tunnel interface may forward.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallConfig {
    /// The tunnel interface.
    pub interface: String,
    /// NICs whose other end is a host's: to that host they are what the tunnel interface is to others. With the tunnel
    /// addresses it has, since nothing else than this tells that a packet comes from one of them.
    pub nics: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Which tunnel address may exchange packets with which bridge: a host's address in the tunnel,
    /// and the name of the bridge's interface.
    pub attached: BTreeSet<(IpAddr, String)>,
    /// Which tunnel address may send packets to which interface, and get the answers.
    pub outward: BTreeSet<(IpAddr, String)>,
    /// Which tunnel address may be called by which address, both of one family.
    pub callers: BTreeSet<(IpAddr, IpAddr)>,
    /// Containers that could not answer a tunnel address: they see the VM's address on their own
    /// bridge instead.
    pub masquerade: BTreeSet<IpAddr>,
    /// Containers that exchange no packet with the tunnel.
    pub excluded: BTreeSet<IpAddr>,
    /// Interfaces by which containers answer the VM only: they see its address there.
    pub footholds: BTreeSet<String>,
    /// Those of them on bridges that are closed to IPv6.
    pub handovers: BTreeSet<Handover>,
}

impl FirewallConfig {
    /// By which hosts come in.
    fn ways(&self) -> BTreeSet<&str> {
        let nics = self.nics.keys().map(String::as_str);
        nics.chain([self.interface.as_str()]).collect()
    }
}

/// The owner of the tables `inet dtap` and `netdev dtap`, and of the accepts in the tables of others.
#[derive(Debug)]
pub struct Firewall {
    /// See [`XTABLES_LOCK`](dtap_tunnel::session::XTABLES_LOCK).
    lock: PathBuf,
    intact: Option<Intact>,
    legacy: Filter,
    /// Those there were rules for: in legacy tables only their names tell those rules from others'.
    nics: BTreeSet<String>,
    /// Why there are no handovers.
    closed: Option<String>,
}

/// What was last found in place, and in which generation of the ruleset.
#[derive(Debug)]
struct Intact {
    settled: Settled,
    config: FirewallConfig,
}

impl Firewall {
    /// A firewall that is not set. `lock` is the file that `iptables` locks on this
    /// machine: without it legacy tables are left alone.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or the process no `CAP_NET_ADMIN`.
    pub fn new(lock: &Path) -> io::Result<Self> {
        kernel::generation(&mut open()?)
            .map_err(|error| io::Error::new(error.kind(), format!("use nf_tables: {error}")))?;
        Ok(Self {
            lock: lock.to_owned(),
            intact: None,
            legacy: Filter::Elsewhere,
            nics: BTreeSet::new(),
            closed: None,
        })
    }

    /// Makes the ruleset what `config` says, wherever it differs, in one transaction. Costs one
    /// question to the kernel while nobody has changed any ruleset since the last call, and a look
    /// at each legacy table that is there. Those may have to be left alone, and a kernel may know
    /// no handover, which is no error: see [`Self::obstructed`] and [`Self::closed`].
    ///
    /// # Errors
    /// `InvalidInput` for a name no interface can have; what the kernel refuses, with everything
    /// left as it was.
    pub fn set(&mut self, config: &FirewallConfig) -> io::Result<()> {
        validate(config)?;
        let settled = self.settle_with_handovers(config)?;
        self.nics.extend(config.nics.keys().cloned());
        let legacy = legacy::set(&config.ways(), &self.nics, &self.lock, || {
            settled.has_docker
        });
        if let Filter::Obstructed(obstacle) = &legacy
            && self.obstructed() != Some(obstacle)
        {
            tracing::warn!(reason = obstacle.reason, "legacy tables left alone");
        }
        self.legacy = legacy;
        Ok(())
    }

    /// Why the last [`Self::set`] left legacy tables alone, so that packets may not get
    /// through.
    pub const fn obstructed(&self) -> Option<&Obstacle> {
        match &self.legacy {
            Filter::Obstructed(obstacle) => Some(obstacle),
            Filter::Elsewhere | Filter::Writable => None,
        }
    }

    /// Why the last [`Self::set`] made none of the handovers, so that no answers get past those bridges.
    pub fn closed(&self) -> Option<&str> {
        self.closed.as_deref()
    }

    /// Whether something that [`Self::set`] has made can be changed by others without a word from
    /// [`FirewallWatch`].
    pub const fn is_changed_silently(&self) -> bool {
        match self.legacy {
            Filter::Elsewhere => false,
            Filter::Writable | Filter::Obstructed(_) => true,
        }
    }

    /// What [`Self::set`] would find in its way.
    pub fn obstacle(lock: &Path) -> Option<Obstacle> {
        let has_other = || {
            let ruleset = open().and_then(|mut socket| kernel::snapshot(&mut socket));
            ruleset.is_ok_and(|ruleset| ruleset.has_docker())
        };
        match legacy::filter(lock, has_other) {
            Filter::Obstructed(obstacle) => Some(obstacle),
            Filter::Elsewhere | Filter::Writable => None,
        }
    }

    /// Removes everything of ours.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn clear(&mut self) -> io::Result<()> {
        self.intact = None;
        self.legacy = Filter::Elsewhere;
        let legacy = legacy::clear(&self.nics, &self.lock);
        settle(&mut open()?, plan::clear)?;
        legacy
    }

    /// Removes what a killed predecessor left, whatever its interface was; `nics` are those that were its. What it left
    /// in legacy tables stays there, with a warning, where those cannot be written.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn sweep(lock: &Path, nics: &BTreeSet<String>) -> io::Result<()> {
        if let Err(error) = legacy::clear(nics, lock) {
            tracing::warn!(%error, "rules of an earlier run stay");
        }
        settle(&mut open()?, plan::clear).map(|_| ())
    }

    /// Of a kernel without ingress hooks, or a bridge that has just gone, other networks know nothing.
    fn settle_with_handovers(&mut self, config: &FirewallConfig) -> io::Result<Settled> {
        let before = self.closed.take();
        let error = match self.settle(config) {
            Err(error) if !config.handovers.is_empty() => error.to_string(),
            outcome => return outcome,
        };
        let rest = FirewallConfig {
            handovers: BTreeSet::new(),
            ..config.clone()
        };
        let settled = self.settle(&rest)?;
        if before.as_ref() != Some(&error) {
            tracing::warn!(error, "no handovers");
        }
        self.closed = Some(error);
        Ok(settled)
    }

    fn settle(&mut self, config: &FirewallConfig) -> io::Result<Settled> {
        let mut socket = open()?;
        let generation = kernel::generation(&mut socket)?;
        if let Some(Intact {
            settled,
            config: intact,
        }) = &self.intact
            && settled.generation == generation
            && intact == config
        {
            return Ok(*settled);
        }
        self.intact = None;
        let settled = settle(&mut socket, |snapshot| plan::set(snapshot, config))?;
        self.intact = Some(Intact {
            settled,
            config: config.clone(),
        });
        Ok(settled)
    }
}

/// A ruleset in which nothing is left to do.
#[derive(Debug, Clone, Copy)]
struct Settled {
    generation: u32,
    /// Whether an engine filters by it.
    has_docker: bool,
}

/// Why legacy tables are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: String,
    /// Whether they could be written if the file to lock were there.
    pub lacks_lock: bool,
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

fn open() -> io::Result<Socket> {
    Socket::new(SockProtocol::NetlinkNetFilter)
}

/// Plans and commits until nothing is left to do.
fn settle(
    socket: &mut Socket,
    plan: impl Fn(&plan::Snapshot) -> Vec<Change>,
) -> io::Result<Settled> {
    for _ in 0..ATTEMPTS {
        match step(socket, &plan) {
            Ok(Some(settled)) => return Ok(settled),
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

/// None if something was left to do. `Interrupted` if somebody else was busy.
fn step(
    socket: &mut Socket,
    plan: impl Fn(&plan::Snapshot) -> Vec<Change>,
) -> io::Result<Option<Settled>> {
    let snapshot = kernel::snapshot(socket)?;
    let changes = plan(&snapshot);
    if changes.is_empty() {
        let unchanged = kernel::generation(socket)? == snapshot.generation;
        return Ok(unchanged.then(|| Settled {
            generation: snapshot.generation,
            has_docker: snapshot.has_docker(),
        }));
    }
    kernel::commit(socket, snapshot.generation, &changes)?;
    tracing::info!(changes = changes.len(), "firewall changed");
    Ok(None)
}

fn validate(config: &FirewallConfig) -> io::Result<()> {
    let bridges = config.attached.iter().chain(&config.outward);
    let bridges = bridges.map(|(_, bridge)| bridge);
    let handovers = config.handovers.iter();
    let handovers = handovers.flat_map(|it| [&it.bridge, &it.foothold]);
    let own = config.footholds.iter().chain(config.nics.keys());
    let own = own.chain([&config.interface]);
    for name in bridges.chain(handovers).chain(own) {
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
