//! One peer: its keys, the path its datagrams take, and what is held back
//! while that path changes.

mod backlog;
mod config;
mod schedule;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};

use crate::datagram::{DATA_OVERHEAD, Datagram, INITIATION};
use crate::drops::{Drop, Drops};
use crate::frames::Frames;
use crate::key::{PrivateKey, PublicKey};
use crate::path::{Path, Paths, Reports, Route, Seal};
use crate::tunnel::Output;
use backlog::Backlog;
pub(crate) use config::Accepted;
pub use config::{PeerConfig, PeerId, PeerStatus};

pub(crate) struct Peer {
    id: PeerId,
    config: PeerConfig,
    tunn: Tunn,
    pub(crate) paths: Paths,
    reports: Reports,
    held: VecDeque<Vec<u8>>,
    backlog: Backlog,
    receiver: Option<u32>,
    /// When keys were last seen to exist; only time takes them away.
    keyed: Option<Instant>,
    next_tick: Instant,
    due: Instant,
    /// As it was shown last.
    path: Option<Path>,
    rx_bytes: u64,
    tx_bytes: u64,
}

/// Seconds between keepalives: NATs between VM and host forget a UDP flow
/// after 60 s, vpnkit's among them.
const KEEPALIVE: u16 = 25;
/// Packets held for the acknowledgement of a switch: 1 s at most.
const MOST_HELD: usize = 4096;

impl Peer {
    pub(crate) fn new(
        id: PeerId,
        index: u32,
        key: &PrivateKey,
        config: PeerConfig,
        now: Instant,
    ) -> Self {
        // The tunnel's own limiter has already counted what gets here.
        let limiter = Arc::new(RateLimiter::new(
            &boringtun::x25519::PublicKey::from(*key.public().as_bytes()),
            u64::MAX,
        ));
        let tunn = Tunn::new(
            key.x25519().clone(),
            config.public_key.x25519(),
            None,
            Some(KEEPALIVE),
            index,
            Some(limiter),
        );
        Self {
            id,
            paths: Paths::new(config.policy),
            config,
            tunn,
            reports: Reports::default(),
            held: VecDeque::new(),
            backlog: Backlog::default(),
            receiver: None,
            keyed: None,
            next_tick: now,
            due: now,
            path: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    pub(crate) const fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) const fn public_key(&self) -> PublicKey {
        self.config.public_key
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            path: self.paths.current(),
            last_handshake: self.tunn.time_since_last_handshake(),
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
        }
    }

    /// Starts a handshake now, whatever the timers say.
    pub(crate) fn initiate(&mut self, now: Instant, output: &mut Output) {
        if self.config.initiates {
            self.update_timers(now, output);
            self.emit(now, INITIATION, output, |tunn, slot| {
                tunn.format_handshake_initiation(slot, true)
            });
        }
    }

    /// Seals a packet for the peer, or holds or drops it.
    pub(crate) fn seal(
        &mut self,
        packet: &[u8],
        now: Instant,
        output: &mut Output,
        drops: &mut Drops,
    ) {
        match self.paths.route() {
            Route::Nowhere => drops.count(Drop::NoPath),
            Route::Send(_) if self.held.is_empty() => self.send(packet, now, output, drops),
            Route::Send(_) | Route::Hold if self.held.len() < MOST_HELD => {
                self.held.push_back(packet.to_vec());
            }
            Route::Send(_) | Route::Hold => drops.count(Drop::QueueFull),
        }
    }

    /// Opens a datagram of this peer; `accept` says whether an inner source
    /// address is its own, and finishes the packet or takes a frame from it. `from` is `None` for the session, whose datagrams
    /// never move the UDP endpoint.
    pub(crate) fn open(
        &mut self,
        datagram: &[u8],
        head: Datagram,
        from: Option<SocketAddr>,
        now: Instant,
        output: &mut Output,
        mut accept: impl FnMut(IpAddr, &mut [u8], &mut Frames) -> Result<Accepted, Drop>,
    ) -> Result<(), Drop> {
        match (seal_of(head), from) {
            (Some(seal), Some(from)) if self.backlog.is_overtaken_by(seal, datagram) => {
                self.backlog.defer(from, seal, datagram);
                return Ok(());
            }
            (Some(_), _) => {}
            (None, _) => self.update_timers(now, output),
        }
        let address = from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.ip());
        let reply_path = from.map_or(Path::Session, Path::Udp);
        let mut refused = None;
        let mut is_authentic = true;
        let mut flush = false;
        let mut empty = false;
        let mut received = 0;
        let Output {
            packets,
            frames,
            datagrams,
            ..
        } = output;
        packets.push_with(datagram.len().max(INITIATION), |slot| {
            let (packet, source) = match self.tunn.decapsulate(Some(address), datagram, slot) {
                TunnResult::WriteToTunnelV4(packet, source) => (packet, IpAddr::from(source)),
                TunnResult::WriteToTunnelV6(packet, source) => (packet, IpAddr::from(source)),
                TunnResult::Done => {
                    empty = true;
                    return None;
                }
                TunnResult::Err(error) => {
                    let reason = refusal(&error);
                    is_authentic = reason == Drop::MalformedPacket;
                    refused = Some(reason);
                    return None;
                }
                TunnResult::WriteToNetwork(reply) => {
                    flush = true;
                    datagrams.push((self.id, reply_path), reply);
                    return None;
                }
            };
            let length = packet.len();
            match accept(source, packet, frames) {
                Ok(accepted) => {
                    received = length;
                    matches!(accepted, Accepted::Packet).then_some(((), length))
                }
                Err(reason) => {
                    refused = Some(reason);
                    None
                }
            }
        });
        self.rx_bytes += received as u64;
        if received > 0 && from.is_none() {
            self.paths.packet_by_session(now);
        }
        if is_authentic {
            self.note_authentic(head, from, empty, now);
        }
        if flush && self.config.initiates {
            self.flush_queue(now, output);
        }
        refused.map_or(Ok(()), Err)
    }

    fn note_authentic(
        &mut self,
        head: Datagram,
        from: Option<SocketAddr>,
        empty: bool,
        now: Instant,
    ) {
        if let (Some(from), false) = (from, matches!(head, Datagram::CookieReply { .. })) {
            self.paths.authenticated(from, now);
        }
        if let Some(seal) = seal_of(head) {
            self.backlog.opened(from, seal, empty);
            if let Some(from) = from {
                self.reports.authenticated(from, seal, now);
                if empty {
                    self.reports.probed(from, now);
                }
            }
        }
        let (Datagram::Data { receiver, .. } | Datagram::Response { receiver }) = head else {
            return;
        };
        if self.receiver.replace(receiver) != Some(receiver) {
            self.paths.established(now);
        }
    }

    fn send(&mut self, packet: &[u8], now: Instant, output: &mut Output, drops: &mut Drops) {
        if !self.config.initiates && self.keyed != Some(now) {
            if !self.has_keys() {
                return drops.count(Drop::NoKeys);
            }
            self.keyed = Some(now);
        }
        self.tx_bytes += packet.len() as u64;
        let capacity = (packet.len() + DATA_OVERHEAD).max(INITIATION);
        self.emit(now, capacity, output, |tunn, slot| {
            tunn.encapsulate(packet, slot)
        });
    }

    fn has_keys(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    /// Sends what boringtun queued while there were no keys.
    fn flush_queue(&mut self, now: Instant, output: &mut Output) {
        loop {
            let before = output.datagrams.len();
            self.emit(now, usize::from(u16::MAX), output, |tunn, slot| {
                tunn.decapsulate(None, &[], slot)
            });
            if output.datagrams.len() == before {
                return;
            }
        }
    }

    /// Lets boringtun write one datagram and sends it the way its kind goes.
    fn emit(
        &mut self,
        now: Instant,
        capacity: usize,
        output: &mut Output,
        write: impl for<'a> FnOnce(&mut Tunn, &'a mut [u8]) -> TunnResult<'a>,
    ) {
        let Self {
            id, tunn, paths, ..
        } = self;
        let mut spare = None;
        output.datagrams.push_with(capacity, |slot| {
            let TunnResult::WriteToNetwork(datagram) = write(tunn, slot) else {
                return None;
            };
            let path = match Datagram::parse(datagram).and_then(seal_of) {
                Some(seal) => {
                    let path = paths.current()?;
                    paths.sent(path, seal, now);
                    path
                }
                None => {
                    let path = paths.handshake_path(now)?;
                    spare = paths.has_spare(path).then(|| datagram.to_vec());
                    path
                }
            };
            Some(((*id, path), datagram.len()))
        });
        if let Some(initiation) = spare {
            output.datagrams.push((*id, Path::Session), &initiation);
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("config", &self.config)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// A probe carries no packet.
const fn nothing(_: IpAddr, _: &mut [u8], _: &mut Frames) -> Result<Accepted, Drop> {
    Err(Drop::SourceNotAllowed)
}

const fn seal_of(head: Datagram) -> Option<Seal> {
    match head {
        Datagram::Data { receiver, counter } => Some(Seal {
            index: receiver,
            counter,
        }),
        Datagram::Initiation | Datagram::Response { .. } | Datagram::CookieReply { .. } => None,
    }
}

const fn refusal(error: &WireGuardError) -> Drop {
    if matches!(error, WireGuardError::InvalidPacket) {
        Drop::MalformedPacket
    } else {
        Drop::NotAuthentic
    }
}
