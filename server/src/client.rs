//! One paired client as the server holds it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dtap_tunnel::HardwareAddress;
use dtap_tunnel::PeerId;
use dtap_tunnel::session::{Attachment, Carrier, Tap, tap_ends};
use ipnet::IpNet;

use crate::addresses::Addresses;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: PeerId,
    /// Names one run of the client's program, which holds the keys.
    pub(crate) boot: Option<String>,
    pub(crate) addresses: Addresses,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) taps: Vec<Tap>,
    /// By which it is reached instead of the tunnel.
    pub(crate) nic: Option<HardwareAddress>,
    pub(crate) candidates: BTreeSet<SocketAddr>,
    pub(crate) presence: Presence,
}

/// Whether the client's session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here {
        session: SessionId,
    },
    /// Peer, attachments and UDP go on until then.
    Grace {
        until: Instant,
    },
}

/// Names a session of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) u64);

/// How long a client may be silent: dockerd restarts cut sessions, and
/// half-open TCP never says so.
const GRACE: Duration = Duration::from_secs(30);

impl Client {
    /// The addresses it may speak from: its host's, and those of its taps.
    pub(crate) fn allowed_ips(&self) -> BTreeSet<IpNet> {
        let taps = self.taps.iter().filter_map(|tap| match tap.carrier {
            Carrier::Tunnel { number } => Some(tap_ends(self.addresses.v6(), number).remote.into()),
            Carrier::Nic { .. } | Carrier::Unknown => None,
        });
        let host = self.addresses.host();
        host.into_iter().chain(taps).map(IpNet::from).collect()
    }

    pub(crate) fn begin_grace(&mut self, now: Instant) {
        self.presence = Presence::Grace { until: now + GRACE };
    }

    pub(crate) fn is_in(&self, session: SessionId) -> bool {
        self.presence == Presence::Here { session }
    }

    pub(crate) const fn grace_end(&self) -> Option<Instant> {
        match self.presence {
            Presence::Here { .. } => None,
            Presence::Grace { until } => Some(until),
        }
    }
}
