//! What lies between the two ends: UDP routes that lose, delay, reorder,
//! translate and forget, and a session that only queues.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::PathMessage;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Client, Self::Server];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// One way through the network: the address each end shows to the other.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) addresses: [SocketAddr; 2],
    /// The end behind a NAT, which alone can begin a flow. Its address is the
    /// NAT's, with a port that lives as long as the flow.
    dialler: Option<Side>,
    used: Option<Instant>,
    pub(super) delay: Duration,
    /// A datagram takes up to this much longer, at random.
    pub(super) jitter: Duration,
    /// Out of 100.
    pub(super) loss: u64,
    /// Out of 100.
    pub(super) duplicates: u64,
    /// Senders whose datagrams disappear.
    pub(super) blocked: Vec<Side>,
}

/// vpnkit and gvisor-tap-vsock forget a UDP flow after this time.
const FLOW_TIMEOUT: Duration = Duration::from_secs(60);

impl Route {
    /// Both ends reach each other, as with Colima's `--network-address`.
    pub(super) fn open(client: &str, server: &str) -> Self {
        Self {
            addresses: [client.parse().unwrap(), server.parse().unwrap()],
            dialler: None,
            used: None,
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0,
            duplicates: 0,
            blocked: Vec::new(),
        }
    }

    /// Only `dialler` reaches the other end first.
    pub(super) fn nat(dialler: Side, client: &str, server: &str) -> Self {
        Self {
            dialler: Some(dialler),
            ..Self::open(client, server)
        }
    }

    /// The user-space gateway of Docker Desktop: the VM reaches the host as
    /// 192.168.65.254, and the host sees a port of its own loopback.
    pub(super) fn docker_desktop() -> Self {
        Self::nat(Side::Server, "192.168.65.254:41641", "127.0.0.1:50000")
    }

    /// The NAT loses the flow; the next one gets another port.
    pub(super) const fn forget_flow(&mut self) {
        self.used = None;
    }

    /// The source the receiver sees, if the datagram takes this route.
    fn carry(&mut self, from: Side, to: SocketAddr, now: Instant) -> Option<SocketAddr> {
        if to != self.addresses[from.other().index()] {
            return None;
        }
        if let Some(dialler) = self.dialler {
            let live = self.used.is_some_and(|used| now - used < FLOW_TIMEOUT);
            match (live, dialler == from) {
                (true, _) => {}
                (false, false) => return None,
                (false, true) => {
                    let own = &mut self.addresses[dialler.index()];
                    own.set_port(own.port() + 1);
                }
            }
            self.used = Some(now);
        }
        Some(self.addresses[from.index()])
    }
}

/// A datagram on its way.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) at: Instant,
    pub(super) to: Side,
    pub(super) source: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// All routes, and what is under way on them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) routes: Vec<Route>,
    /// Every datagram an eavesdropper has seen, with its sender.
    pub(super) seen: Vec<(Side, Vec<u8>)>,
    in_flight: Vec<InFlight>,
    random: u64,
}

impl Network {
    pub(super) const fn new(routes: Vec<Route>) -> Self {
        Self {
            routes,
            seen: Vec::new(),
            in_flight: Vec::new(),
            random: 0x5eed,
        }
    }

    pub(super) fn send(&mut self, from: Side, to: SocketAddr, bytes: &[u8], now: Instant) {
        self.seen.push((from, bytes.to_vec()));
        for index in 0..self.routes.len() {
            let Some(source) = self.routes[index].carry(from, to, now) else {
                continue;
            };
            let route = self.routes[index].clone();
            let copies = 1 + u64::from(self.chance(route.duplicates));
            for _ in 0..copies {
                if route.blocked.contains(&from) || self.chance(route.loss) {
                    continue;
                }
                let late = route.jitter * u32::try_from(self.next() % 1000).unwrap() / 1000;
                self.in_flight.push(InFlight {
                    at: now + route.delay + late,
                    to: from.other(),
                    source,
                    bytes: bytes.to_vec(),
                });
            }
            return;
        }
    }

    /// What was sent last does not arrive.
    pub(super) fn lose_one(&mut self) {
        self.in_flight.pop();
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.iter().map(|datagram| datagram.at).min()
    }

    /// What has arrived, in the order of arrival.
    pub(super) fn arrived(&mut self, now: Instant) -> Vec<InFlight> {
        let (mut arrived, rest): (Vec<_>, Vec<_>) =
            self.in_flight.drain(..).partition(|it| it.at <= now);
        self.in_flight = rest;
        arrived.sort_by_key(|datagram| datagram.at);
        arrived
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.next() % 100 < percent
    }

    /// SplitMix64: the same numbers in every run.
    const fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[derive(Debug, Clone)]
pub(super) enum Item {
    Datagram(Vec<u8>),
    Message(PathMessage),
    Heartbeat,
}

/// The session: ordered and reliable, as slow as it is told to be.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) delay: Duration,
    /// The time one item occupies the line.
    pub(super) pace: Duration,
    /// Nothing arrives and nothing is lost, as with half-open TCP.
    pub(super) stalled: bool,
    queues: [VecDeque<(Instant, Item)>; 2],
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            delay: Duration::from_millis(2),
            pace: Duration::ZERO,
            stalled: false,
            queues: [VecDeque::new(), VecDeque::new()],
        }
    }

    pub(super) fn send(&mut self, from: Side, item: Item, now: Instant) {
        let queue = &mut self.queues[from.index()];
        let earliest = now + self.delay;
        let turn = queue.back().map_or(earliest, |(at, _)| *at);
        queue.push_back((earliest.max(turn) + self.pace, item));
    }

    /// What queued up behind a stall trickles in from now on.
    pub(super) fn heal(&mut self, pace: Duration, now: Instant) {
        self.stalled = false;
        for queue in &mut self.queues {
            for ((at, _), turn) in queue.iter_mut().zip(1..) {
                *at = now + pace * turn;
            }
        }
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        if self.stalled {
            return None;
        }
        let heads = self.queues.iter().filter_map(VecDeque::front);
        heads.map(|(at, _)| *at).min()
    }

    /// The next item that has arrived from `from`.
    pub(super) fn arrived(&mut self, from: Side, now: Instant) -> Option<Item> {
        let queue = &mut self.queues[from.index()];
        if self.stalled || queue.front()?.0 > now {
            return None;
        }
        queue.pop_front().map(|(_, item)| item)
    }

    pub(super) fn backlog(&self, from: Side) -> usize {
        self.queues[from.index()].len()
    }

    pub(super) fn clear(&mut self) {
        self.queues = [VecDeque::new(), VecDeque::new()];
    }
}
