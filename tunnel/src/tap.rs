//! Ethernet through the tunnel: taps, whose frames travel as EtherIP.
//!
//! ```text
//!  frame ─▶ Guard ─▶ Encapsulation ─▶ packets, sealed like any others
//!  frame ◀─ Guard ◀─ Reassembly ◀──── packets, opened
//! ```
//!
//! A tap is known by the addresses of its packets, which lie in its peer's
//! allowed IPs: cryptokey routing says who may speak. The kernel sees none of
//! these packets, so that nobody else at either end can speak for a tap.
//!
//! The packets are of IPv6, whatever the frames hold: its 32 bits of
//! identification do not come round while fragments are under way, as the 16
//! of IPv4 do at this speed (RFC 4963), and addresses are plenty.

mod encapsulation;
mod guard;
mod outer;
mod probe;
mod reassembly;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::drops::{Drop, Drops};
use crate::frames::Frames;
use crate::hardware::HardwareAddress;
use crate::peer::PeerId;
use encapsulation::Encapsulation;
use guard::Guard;
use outer::{Outer, Part};
use reassembly::Reassembly;

pub(crate) use outer::carries_frame;

/// A tap of a tunnel; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(u32);

/// A network of this end whose taps are ports of one bridge, such as the
/// bridge's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// The addresses of the packets that carry frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TapEnds {
    pub local: Ipv6Addr,
    /// Among the peer's allowed IPs.
    pub remote: Ipv6Addr,
}

impl TapEnds {
    /// Those of the other end.
    pub const fn reversed(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct TapConfig {
    pub peer: PeerId,
    pub ends: TapEnds,
    /// Bytes of a packet that the tunnel carries; what is longer travels in
    /// fragments.
    pub mtu: u16,
    /// Where this end is a port of a bridge, which must not become part of a
    /// loop.
    pub segment: Option<SegmentId>,
}

impl TapConfig {
    /// Bytes between the tunnel's MTU and that of an interface whose frames
    /// are never fragmented: IPv6, EtherIP and untagged Ethernet headers.
    pub const OVERHEAD: u16 = 56;
}

#[derive(Debug, Default)]
pub(crate) struct Taps {
    taps: FxHashMap<TapId, Tap>,
    ends: FxHashMap<(PeerId, TapEnds), TapId>,
    guards: BTreeMap<SegmentId, Guard>,
    probes: Vec<Probe>,
    next: u32,
    /// When [`Self::handle_timeout`] last looked.
    looked: Option<Instant>,
}

/// Between two looks at what may be outdated.
const LOOK: Duration = Duration::from_secs(1);

/// An address that is asked for.
#[derive(Debug)]
struct Probe {
    tap: TapId,
    own: HardwareAddress,
    address: IpAddr,
    is_taken: bool,
}

#[derive(Debug)]
struct Tap {
    config: TapConfig,
    encapsulation: Encapsulation,
    reassembly: Reassembly,
}

impl Taps {
    /// One between the same ends is replaced.
    pub(crate) fn add(&mut self, config: TapConfig) -> TapId {
        let ends = (config.peer, config.ends);
        if let Some(old) = self.ends.get(&ends).copied() {
            self.remove(old);
        }
        let id = TapId(self.next);
        self.next += 1;
        if let Some(segment) = config.segment {
            self.guards.entry(segment).or_default().add(id);
        }
        let tap = Tap {
            config,
            encapsulation: Encapsulation::new(config.ends, config.mtu),
            reassembly: Reassembly::default(),
        };
        self.taps.insert(id, tap);
        self.ends.insert(ends, id);
        id
    }

    pub(crate) fn remove(&mut self, id: TapId) {
        let Some(Tap { config, .. }) = self.taps.remove(&id) else {
            return;
        };
        self.ends.remove(&(config.peer, config.ends));
        self.probes.retain(|probe| probe.tap != id);
        if let Some(segment) = config.segment
            && let Some(guard) = self.guards.get_mut(&segment)
        {
            guard.remove(id);
            if guard.is_empty() {
                self.guards.remove(&segment);
            }
        }
    }

    pub(crate) fn remove_peer(&mut self, peer: PeerId) {
        let of_peer = self.taps.iter().filter(|(_, tap)| tap.config.peer == peer);
        let of_peer: Vec<_> = of_peer.map(|(id, _)| *id).collect();
        of_peer.into_iter().for_each(|id| self.remove(id));
    }

    /// Whose packets carry the tap's frames.
    pub(crate) fn peer(&self, id: TapId) -> Option<PeerId> {
        self.taps.get(&id).map(|tap| tap.config.peer)
    }

    /// A frame from the tap's device: `each` gets the packets that carry it.
    pub(crate) fn encapsulate(
        &mut self,
        id: TapId,
        frame: &[u8],
        now: Instant,
        each: impl FnMut(&[u8]),
    ) -> Result<(), Drop> {
        let tap = self.taps.get_mut(&id).ok_or(Drop::NoTap)?;
        if let Some(segment) = tap.config.segment
            && let Some(guard) = self.guards.get_mut(&segment)
        {
            guard.leave(id, frame, now)?;
        }
        tap.encapsulation.packets(frame, each)
    }

    /// A packet of the peer's that [`carries_frame`]: what it carries, or
    /// completes, is added to `frames`.
    pub(crate) fn decapsulate(
        &mut self,
        peer: PeerId,
        packet: &[u8],
        now: Instant,
        frames: &mut Frames,
        drops: &mut Drops,
    ) -> Result<(), Drop> {
        let outer = Outer::of(packet).ok_or(Drop::MalformedFrame)?;
        let id = self.ends.get(&(peer, outer.ends)).ok_or(Drop::NoTap)?;
        let tap = self.taps.get_mut(id).ok_or(Drop::NoTap)?;
        let payload = match outer.part {
            Part::Whole(payload) => Some(payload),
            Part::Fragment(fragment) => tap.reassembly.insert(fragment, now, drops)?,
        };
        let Some(payload) = payload else {
            return Ok(());
        };
        let frame = outer::frame_of(payload).ok_or(Drop::MalformedFrame)?;
        if let Some(segment) = tap.config.segment
            && let Some(guard) = self.guards.get_mut(&segment)
        {
            guard.enter(*id, frame, now)?;
        }
        for probe in self.probes.iter_mut().filter(|it| it.tap == *id) {
            probe.is_taken |= probe::is_claim(frame, probe.own, probe.address);
        }
        frames.push(*id, frame);
        Ok(())
    }

    /// The question whether somebody has the address; what comes by this tap is
    /// watched for answers from now on.
    pub(crate) fn probe(&mut self, id: TapId, own: HardwareAddress, address: IpAddr) -> Vec<u8> {
        let is_known = |it: &Probe| it.tap == id && it.address == address;
        if self.taps.contains_key(&id) && !self.probes.iter().any(is_known) {
            self.probes.push(Probe {
                tap: id,
                own,
                address,
                is_taken: false,
            });
        }
        probe::question(own, address)
    }

    /// Whether there was an answer; it is not waited for any more.
    pub(crate) fn end_probe(&mut self, id: TapId, address: IpAddr) -> bool {
        let is_meant = |it: &Probe| it.tap == id && it.address == address;
        let at = self.probes.iter().position(is_meant);
        at.is_some_and(|at| self.probes.swap_remove(at).is_taken)
    }

    /// Forgets what time has outdated, as often as it is worth it.
    pub(crate) fn handle_timeout(&mut self, now: Instant, drops: &mut Drops) {
        if self.looked.is_some_and(|then| now < then + LOOK) {
            return;
        }
        self.looked = Some(now);
        for tap in self.taps.values_mut() {
            tap.reassembly.expire(now, drops);
        }
        for guard in self.guards.values_mut() {
            guard.expire(now);
        }
    }
}

#[cfg(test)]
mod tests;
