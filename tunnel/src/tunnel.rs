//! All peers of one interface.

mod frames;
mod output;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixSet;
use rand_core::{OsRng, RngCore as _};
use rustc_hash::FxHashMap;

use crate::allowed_ips::AllowedIps;
use crate::datagram::Datagram;
use crate::drops::{Drop, Drops};
use crate::frames::Frames;
use crate::key::{PrivateKey, PublicKey};
use crate::packet::Addresses;
use crate::path::{Path, PathMessage};
use crate::peer::{Accepted, Peer, PeerConfig, PeerId, PeerStatus};
use crate::source::Sources;
use crate::tap::{Taps, carries_frame};
use crate::translation::{Direction, translate};
pub use output::Output;

/// Where a datagram came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The session of this peer.
    Session(PeerId),
    Udp(SocketAddr),
}

/// Peers, cryptokey routing and what is due when.
///
/// Call `handle_*` for whatever arrived, then [`Self::poll_output`], act on
/// it, and wait until [`Self::poll_timeout`] or the next arrival.
#[derive(Debug)]
pub struct Tunnel {
    key: PrivateKey,
    limiter: Limiter,
    peers: FxHashMap<PeerId, Peer>,
    indices: FxHashMap<u32, PeerId>,
    keys: HashMap<PublicKey, PeerId>,
    allowed_ips: AllowedIps,
    local: BTreeSet<IpAddr>,
    inner: JointPrefixSet<IpNet>,
    sources: Sources,
    taps: Taps,
    next_id: u32,
    dirty: Vec<PeerId>,
    /// What is due next, and whose it is.
    deadline: Option<(Instant, PeerId)>,
    /// That may not be due so soon any more.
    is_deadline_stale: bool,
    output: Output,
    drops: Drops,
}

struct Limiter(RateLimiter);

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Limiter")
    }
}

/// Handshake messages per second from strangers before cookies are asked for.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// boringtun keeps 8 bits of each 32-bit index for its own sessions.
const SESSION_BITS: u32 = 8;

impl Tunnel {
    pub fn new(key: PrivateKey) -> Self {
        let public = x25519::PublicKey::from(*key.public().as_bytes());
        Self {
            limiter: Limiter(RateLimiter::new(&public, HANDSHAKES_PER_SECOND)),
            key,
            peers: FxHashMap::default(),
            indices: FxHashMap::default(),
            keys: HashMap::new(),
            allowed_ips: AllowedIps::default(),
            local: BTreeSet::new(),
            inner: JointPrefixSet::new(),
            sources: Sources::default(),
            taps: Taps::default(),
            next_id: 0,
            dirty: Vec::new(),
            deadline: None,
            is_deadline_stale: false,
            output: Output::default(),
            drops: Drops::default(),
        }
    }

    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// Adds a peer; one with the same key is replaced, and with it its keys.
    pub fn add_peer(&mut self, config: PeerConfig, now: Instant) -> PeerId {
        if let Some(old) = self.keys.get(&config.public_key).copied() {
            self.remove_peer(old);
        }
        let id = PeerId::from_slot(self.next_id);
        self.next_id += 1;
        let index = self.free_index();
        self.indices.insert(index, id);
        self.keys.insert(config.public_key, id);
        self.allowed_ips.set(id, &config.allowed_ips);
        let peer = Peer::new(id, index, &self.key, config, now);
        self.peers.insert(id, peer);
        self.touch(id);
        id
    }

    pub fn remove_peer(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.remove(&id) {
            self.keys.remove(&peer.public_key());
            self.indices.retain(|_, owner| *owner != id);
            self.allowed_ips.remove(id);
            self.taps.remove_peer(id);
        }
    }

    pub fn set_allowed_ips(&mut self, id: PeerId, allowed_ips: &BTreeSet<IpNet>) {
        if self.peers.contains_key(&id) {
            self.allowed_ips.set(id, allowed_ips);
        }
    }

    /// True prefixes of the peer and those under which they are reached from
    /// this end, pairwise of equal length. The true ones lead nowhere then.
    ///
    /// Allowed IPs are true prefixes, and so several peers can have the same.
    pub fn set_translations(&mut self, id: PeerId, pairs: &BTreeMap<IpNet, IpNet>) {
        if self.peers.contains_key(&id) {
            self.allowed_ips.translate(id, pairs);
        }
    }

    /// Addresses of this end's interface. macOS hands packets for them to the
    /// utun's reader; they go back to the device.
    pub fn set_local(&mut self, addresses: BTreeSet<IpAddr>) {
        self.local = addresses;
    }

    /// Sources of answers by UDP from the device, and the addresses at which peers ask.
    pub fn set_sources(&mut self, sources: BTreeMap<Ipv4Addr, Ipv4Addr>) {
        self.sources.set(sources);
    }

    /// Prefixes reached through a tunnel. Datagrams from them are ignored, and
    /// none is sent to them: a tunnel must not carry itself.
    pub fn set_inner(&mut self, prefixes: BTreeSet<IpNet>) {
        self.inner = prefixes.into_iter().collect();
        let inner = &self.inner;
        for peer in self.peers.values_mut() {
            peer.paths.leave(|address| is_within(inner, address));
        }
        self.dirty = self.peers.keys().copied().collect();
    }

    pub fn set_candidates(&mut self, id: PeerId, addresses: &[SocketAddr], now: Instant) {
        let inner = &self.inner;
        let outside = |address: &&SocketAddr| !is_within(inner, **address);
        let addresses: Vec<_> = addresses.iter().filter(outside).copied().collect();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.paths.set_candidates(&addresses, now);
            self.touch(id);
        }
    }

    /// A session to the peer begins; the end that initiates shakes hands anew.
    pub fn handle_session_up(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.paths.session_up(now);
            peer.initiate(now, &mut self.output);
            self.touch(id);
        }
    }

    /// Something arrived over the peer's session, if only a heartbeat.
    pub fn handle_session_heard(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.paths.session_heard(now);
            // What is soon due anyway is done now, so that nobody wakes twice.
            self.touch(id);
        }
    }

    pub fn handle_session_down(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.paths.session_down();
            self.touch(id);
        }
    }

    /// A packet from the device; it may be written to.
    pub fn handle_packet(&mut self, packet: &mut [u8], now: Instant) {
        let Some(addresses) = Addresses::of(packet) else {
            return self.drops.count(Drop::MalformedPacket);
        };
        if self.local.contains(&addresses.destination) {
            return self.output.packets.push((), packet);
        }
        let Some(id) = self.allowed_ips.owner(addresses.destination) else {
            return self.drops.count(Drop::NoPeer);
        };
        // Nobody but its own device speaks for a tap.
        if carries_frame(packet) {
            return self.drops.count(Drop::NoTap);
        }
        self.sources.correct(packet, now);
        if let Some(pairs) = self.allowed_ips.pairs(id)
            && let Err(reason) =
                translate(packet, Direction::Outbound, |address| pairs.truth(address))
        {
            return self.drops.count(reason);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.seal(packet, now, &mut self.output, &mut self.drops);
            self.touch(id);
        }
    }

    /// A datagram from UDP or from a session.
    pub fn handle_datagram(&mut self, source: Source, datagram: &[u8], now: Instant) {
        let Some(head) = Datagram::parse(datagram) else {
            return self.drops.count(Drop::MalformedDatagram);
        };
        let (id, from) = match source {
            Source::Session(id) => (Some(id), None),
            Source::Udp(from) if is_within(&self.inner, from) => {
                return self.drops.count(Drop::NoPath);
            }
            Source::Udp(from) => (self.sender(head, datagram, from), Some(from)),
        };
        let Some((id, peer)) = id.and_then(|id| Some((id, self.peers.get_mut(&id)?))) else {
            return self.drops.count(Drop::UnknownPeer);
        };
        let (allowed_ips, sources) = (&mut self.allowed_ips, &mut self.sources);
        let (taps, drops) = (&mut self.taps, &mut self.drops);
        let accept = |source, packet: &mut [u8], frames: &mut Frames| {
            if !allowed_ips.allows(id, source) {
                return Err(Drop::SourceNotAllowed);
            }
            if carries_frame(packet) {
                taps.decapsulate(id, packet, now, frames, drops)?;
                return Ok(Accepted::Frame);
            }
            if let Some(pairs) = allowed_ips.pairs(id) {
                translate(packet, Direction::Inbound, |address| pairs.mapped(address))?;
            }
            sources.note(packet, now);
            Ok(Accepted::Packet)
        };
        if let Err(reason) = peer.open(datagram, head, from, now, &mut self.output, accept) {
            self.drops.count(reason);
        }
        self.touch(id);
    }

    /// A path message from the peer's session.
    pub fn handle_message(&mut self, id: PeerId, message: &PathMessage, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        match message {
            PathMessage::Switch { attempt } => {
                peer.paths.peer_switched();
                let answer = PathMessage::SwitchAck { attempt: *attempt };
                self.output.messages.push((id, answer));
            }
            PathMessage::Unknown => {}
            PathMessage::SwitchAck { attempt } => peer.paths.acknowledged(*attempt),
            PathMessage::Report { seals } => {
                for seal in seals {
                    peer.paths.reported(*seal, now);
                }
            }
        }
        self.touch(id);
    }

    /// Does what time made due; call at [`Self::poll_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.taps.handle_timeout(now, &mut self.drops);
        self.deadline = None;
        self.is_deadline_stale = false;
        self.dirty.clear();
        let ids: Vec<_> = self.peers.keys().copied().collect();
        for id in ids {
            self.settle(id, now);
        }
    }

    /// When [`Self::handle_timeout`] is next due; `None` without peers.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if std::mem::take(&mut self.is_deadline_stale) {
            let due = self.peers.iter().map(|(id, peer)| (peer.due(), *id));
            self.deadline = due.min();
        }
        self.deadline.map(|(due, _)| due)
    }

    /// Moves everything that is to be done into `output`, which must be clear.
    pub fn poll_output(&mut self, now: Instant, output: &mut Output) {
        while let Some(id) = self.dirty.pop() {
            self.settle(id, now);
        }
        self.taps.handle_timeout(now, &mut self.drops);
        std::mem::swap(output, &mut self.output);
    }

    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        self.peers.get(&id).map(Peer::status)
    }

    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Whose datagram it is, without trusting it yet. An initiation names its
    /// sender under our key only, which costs a Diffie-Hellman: strangers are
    /// limited and asked for cookies first (WireGuard paper, §5.3).
    fn sender(&mut self, head: Datagram, datagram: &[u8], from: SocketAddr) -> Option<PeerId> {
        let receiver = match head {
            Datagram::Response { receiver }
            | Datagram::CookieReply { receiver }
            | Datagram::Data { receiver, .. } => receiver,
            Datagram::Initiation => return self.initiator(datagram, from),
        };
        self.indices.get(&(receiver >> SESSION_BITS)).copied()
    }

    fn initiator(&mut self, datagram: &[u8], from: SocketAddr) -> Option<PeerId> {
        self.limiter.0.reset_count();
        let mut cookie = [0; 64];
        match self
            .limiter
            .0
            .verify_packet(Some(from.ip()), datagram, &mut cookie)
        {
            Ok(_) => {}
            Err(TunnResult::WriteToNetwork(reply)) => {
                let nobody = PeerId::from_slot(u32::MAX);
                self.output.datagrams.push((nobody, Path::Udp(from)), reply);
                return None;
            }
            Err(_) => return None,
        }
        let Ok(Packet::HandshakeInit(initiation)) = Tunn::parse_incoming_packet(datagram) else {
            return None;
        };
        let public = x25519::PublicKey::from(*self.key.public().as_bytes());
        let half = parse_handshake_anon(self.key.x25519(), &public, &initiation).ok()?;
        let key = PublicKey::from_bytes(half.peer_static_public);
        self.keys.get(&key).copied()
    }

    fn settle(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.settle(now, &mut self.output, &mut self.drops);
            let due = peer.poll_timeout(now);
            match self.deadline {
                Some((earlier, owner)) if earlier <= due => {
                    self.is_deadline_stale |= owner == id && earlier < due;
                }
                Some(_) | None => self.deadline = Some((due, id)),
            }
        }
    }

    fn touch(&mut self, id: PeerId) {
        if self.dirty.last() != Some(&id) && !self.dirty.contains(&id) {
            self.dirty.push(id);
        }
    }

    fn free_index(&self) -> u32 {
        loop {
            let index = OsRng.next_u32() >> SESSION_BITS;
            if !self.indices.contains_key(&index) {
                return index;
            }
        }
    }
}

fn is_within(prefixes: &JointPrefixSet<IpNet>, address: SocketAddr) -> bool {
    prefixes.get_lpm(&address.ip().into()).is_some()
}
