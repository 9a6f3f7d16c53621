//! Two tunnels, what is between them, and a clock that jumps to whatever is
//! due next.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::link::{Item, Network, Route, Side, Stream};
use crate::{
    Output, Path, PathMessage, PathPolicy, PeerConfig, PeerId, PrivateKey, Source, TapId, Tunnel,
};

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 75, 0, 2);
pub(super) const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// One end, and what its driver would have noticed.
#[derive(Debug)]
pub(super) struct End {
    pub(super) key: PrivateKey,
    pub(super) tunnel: Tunnel,
    pub(super) peer: PeerId,
    /// Numbers of the packets that reached the device.
    pub(super) received: Vec<u32>,
    /// What reached the devices of taps.
    pub(super) frames: Vec<(TapId, Vec<u8>)>,
    /// Where they came from.
    pub(super) sources: Vec<Ipv4Addr>,
    /// Each path it has used, and since when.
    pub(super) paths: Vec<(Instant, Option<Path>)>,
    pub(super) wakeups: usize,
    pub(super) reports: usize,
    pub(super) initiations: usize,
    pub(super) responses: usize,
    pub(super) empties: usize,
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) ends: [End; 2],
    pub(super) network: Network,
    pub(super) session: Stream,
    has_session: bool,
    next_heartbeat: Instant,
    policy: PathPolicy,
    output: Output,
}

impl Pair {
    pub(super) fn new(routes: Vec<Route>) -> Self {
        Self::with_policy(routes, PathPolicy::Auto)
    }

    pub(super) fn with_policy(routes: Vec<Route>, policy: PathPolicy) -> Self {
        let now = super::start();
        let keys = [PrivateKey::generate(), PrivateKey::generate()];
        let ends = Side::BOTH.map(|side| {
            let peer = keys[side.other().index()].clone();
            End::new(side, keys[side.index()].clone(), &peer, policy, now)
        });
        Self {
            now,
            ends,
            network: Network::new(routes),
            session: Stream::new(),
            has_session: false,
            next_heartbeat: now,
            policy,
            output: Output::default(),
        }
    }

    /// A pair with a session over which hands have been shaken.
    pub(super) fn connected(routes: Vec<Route>) -> Self {
        let mut pair = Self::new(routes);
        pair.connect();
        pair.run(Duration::from_millis(20));
        pair
    }

    /// A pair that uses UDP in both directions.
    pub(super) fn on_udp(routes: Vec<Route>) -> Self {
        let mut pair = Self::new(routes);
        pair.connect();
        pair.run_until(Duration::from_secs(2), |pair| {
            Side::BOTH.iter().all(|side| pair.is_on_udp(*side))
        });
        pair
    }

    /// Opens a session, as the programs do: each end names its candidates.
    pub(super) fn connect(&mut self) {
        self.has_session = true;
        self.session.clear();
        self.next_heartbeat = self.now;
        for side in [Side::Server, Side::Client] {
            let routes = self.network.routes.iter();
            let candidates: Vec<_> = routes
                .map(|route| route.addresses[side.other().index()])
                .collect();
            let end = &mut self.ends[side.index()];
            end.tunnel.handle_session_up(end.peer, self.now);
            end.tunnel.set_candidates(end.peer, &candidates, self.now);
            self.act(side);
        }
    }

    /// The stream ends and both programs see it.
    pub(super) fn cut_session(&mut self) {
        self.has_session = false;
        self.session.clear();
        for side in Side::BOTH {
            let end = &mut self.ends[side.index()];
            end.tunnel.handle_session_down(end.peer);
            self.act(side);
        }
    }

    /// The program at this end is started again with its key, and nothing else.
    pub(super) fn restart(&mut self, side: Side) {
        let peer = self.ends[side.other().index()].key.clone();
        let key = self.ends[side.index()].key.clone();
        self.ends[side.index()] = End::new(side, key, &peer, self.policy, self.now);
    }

    /// A packet for the other end arrives from this end's device.
    pub(super) fn send(&mut self, side: Side, number: u32) {
        let packet = match side {
            Side::Client => packet(HOST, CONTAINER, number),
            Side::Server => packet(CONTAINER, HOST, number),
        };
        self.send_packet(side, &packet);
    }

    pub(super) fn send_packet(&mut self, side: Side, packet: &[u8]) {
        let now = self.now;
        let tunnel = &mut self.end_mut(side).tunnel;
        tunnel.handle_packet(&mut packet.to_vec(), now);
        self.act(side);
    }

    /// A frame arrives from the device of a tap at this end.
    pub(super) fn send_frame(&mut self, side: Side, tap: TapId, frame: &[u8]) {
        let now = self.now;
        self.end_mut(side).tunnel.handle_frame(tap, frame, now);
        self.act(side);
    }

    /// A datagram from anybody.
    pub(super) fn inject(&mut self, side: Side, source: SocketAddr, datagram: &[u8]) {
        let now = self.now;
        let tunnel = &mut self.end_mut(side).tunnel;
        tunnel.handle_datagram(Source::Udp(source), datagram, now);
        self.act(side);
    }

    /// Both ends send numbered packets, one each `interval`, for `duration`;
    /// the next number is returned.
    pub(super) fn talk(&mut self, first: u32, interval: Duration, duration: Duration) -> u32 {
        let end = self.now + duration;
        let mut number = first;
        while self.now < end {
            for side in Side::BOTH {
                self.send(side, number);
            }
            number += 1;
            self.run(interval);
        }
        number
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
    }

    /// Runs until `condition` holds, and says how long that took.
    pub(super) fn run_until(
        &mut self,
        limit: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Duration {
        let start = self.now;
        while !condition(self) {
            assert!(self.step(start + limit), "not within {limit:?}: {self:#?}");
        }
        self.now - start
    }

    pub(super) const fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    pub(super) const fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    pub(super) fn path(&self, side: Side) -> Option<Path> {
        let end = self.end(side);
        end.tunnel.status(end.peer).and_then(|status| status.path)
    }

    pub(super) fn is_on_udp(&self, side: Side) -> bool {
        matches!(self.path(side), Some(Path::Udp(_)))
    }

    /// Goes to the next event, at most to `end`; false once it is reached.
    fn step(&mut self, end: Instant) -> bool {
        let timers: Vec<_> = self
            .ends
            .iter_mut()
            .filter_map(|end| end.tunnel.poll_timeout())
            .collect();
        let arrivals = [self.network.next_arrival(), self.session.next_arrival()];
        let heartbeat = self.has_session.then_some(self.next_heartbeat);
        let events = timers.into_iter().chain(arrivals.into_iter().flatten());
        let next = events.chain(heartbeat).min().filter(|next| *next <= end);
        let reached = next.unwrap_or(end).max(self.now);
        super::advance_clock(reached - self.now);
        self.now = reached;
        if next.is_some() {
            self.deliver();
            self.wake();
        }
        next.is_some()
    }

    fn deliver(&mut self) {
        for datagram in self.network.arrived(self.now) {
            self.inject(datagram.to, datagram.source, &datagram.bytes);
        }
        for from in Side::BOTH {
            while let Some(item) = self.session.arrived(from, self.now) {
                self.hear(from.other(), &item);
            }
        }
        if self.has_session && self.next_heartbeat <= self.now {
            self.next_heartbeat = self.now + HEARTBEAT;
            for side in Side::BOTH {
                self.session.send(side, Item::Heartbeat, self.now);
            }
        }
    }

    fn hear(&mut self, side: Side, item: &Item) {
        let now = self.now;
        let end = self.end_mut(side);
        end.tunnel.handle_session_heard(end.peer, now);
        match item {
            Item::Datagram(datagram) => {
                let source = Source::Session(end.peer);
                end.tunnel.handle_datagram(source, datagram, now);
            }
            Item::Message(message) => end.tunnel.handle_message(end.peer, message, now),
            Item::Heartbeat => {}
        }
        self.act(side);
    }

    fn wake(&mut self) {
        for side in Side::BOTH {
            let now = self.now;
            let end = self.end_mut(side);
            if end.tunnel.poll_timeout().is_some_and(|due| due <= now) {
                end.wakeups += 1;
                end.tunnel.handle_timeout(now);
                self.act(side);
                let due = self.end_mut(side).tunnel.poll_timeout();
                assert!(due.is_none_or(|due| due > now), "{side:?} spins");
            }
        }
    }

    /// What the driver does with what the tunnel wants.
    fn act(&mut self, side: Side) {
        let mut output = std::mem::take(&mut self.output);
        let now = self.now;
        self.end_mut(side).tunnel.poll_output(now, &mut output);
        for ((_, path), datagram) in output.datagrams.iter() {
            self.end_mut(side).count(datagram);
            match path {
                Path::Udp(to) => self.network.send(side, *to, datagram, now),
                Path::Session if self.has_session => {
                    let item = Item::Datagram(datagram.to_vec());
                    self.session.send(side, item, now);
                }
                Path::Session => {}
            }
        }
        for (_, message) in &output.messages {
            let is_report = matches!(message, PathMessage::Report { .. });
            self.end_mut(side).reports += usize::from(is_report);
            if self.has_session {
                self.session.send(side, Item::Message(message.clone()), now);
            }
        }
        let numbers = output.packets.iter().map(|((), packet)| number(packet));
        self.end_mut(side).received.extend(numbers);
        let sources = output.packets.iter().map(|((), packet)| source(packet));
        self.end_mut(side).sources.extend(sources);
        for (tap, batch) in output.frames.iter_mut() {
            let frames = batch.iter().map(|((), frame)| (tap, frame.to_vec()));
            self.end_mut(side).frames.extend(frames);
        }
        output.clear();
        self.output = output;
        let path = self.path(side);
        let end = self.end_mut(side);
        if end.paths.last().map(|(_, path)| *path) != Some(path) {
            end.paths.push((now, path));
        }
    }
}

impl End {
    fn new(
        side: Side,
        key: PrivateKey,
        peer: &PrivateKey,
        policy: PathPolicy,
        now: Instant,
    ) -> Self {
        let allowed_ips: BTreeSet<IpNet> = match side {
            Side::Client => nets(&["10.75.0.1/32", "172.18.0.0/16"]),
            Side::Server => nets(&["10.75.0.2/32"]),
        };
        let mut tunnel = Tunnel::new(key.clone());
        let config = PeerConfig {
            public_key: peer.public(),
            allowed_ips,
            policy,
            initiates: side == Side::Client,
        };
        let peer = tunnel.add_peer(config, now);
        Self {
            key,
            tunnel,
            peer,
            received: Vec::new(),
            frames: Vec::new(),
            sources: Vec::new(),
            paths: Vec::new(),
            wakeups: 0,
            reports: 0,
            initiations: 0,
            responses: 0,
            empties: 0,
        }
    }

    fn count(&mut self, datagram: &[u8]) {
        match (datagram[0], datagram.len()) {
            (1, _) => self.initiations += 1,
            (2, _) => self.responses += 1,
            (4, 32) => self.empties += 1,
            _ => {}
        }
    }
}

pub(super) fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// An IPv4 packet of 100 bytes that carries a number.
pub(super) fn packet(from: Ipv4Addr, to: Ipv4Addr, number: u32) -> Vec<u8> {
    let mut packet = vec![0; 100];
    packet[0] = 0x45;
    packet[3] = 100;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet[20..24].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..24].try_into().unwrap())
}

fn source(packet: &[u8]) -> Ipv4Addr {
    let octets: [u8; 4] = packet[12..16].try_into().unwrap();
    octets.into()
}
