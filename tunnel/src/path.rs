//! Which way a peer's datagrams leave: by the session, which always exists
//! while the engine answers, or by UDP, once it is proven.
//!
//! ```text
//!            a probe is reported                acknowledged, or session lost
//!  Session ──────────────────────▶ Switching ──────────────────────▶ Udp
//!     ▲ ◀──── no acknowledgement ──────┘                               │
//!     └──────────── no report for SILENCE, session alive ──────────────┘
//! ```
//!
//! Each end runs this machine for what it sends itself. A probe is an empty
//! sealed packet; what proves a path is not an answer by UDP, which would
//! prove the other direction, but the peer's report over the session that it
//! authenticated that very seal.

mod candidates;
mod message;
mod report;
mod unreported;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use candidates::Candidates;
pub use message::{Path, PathMessage, PathPolicy, Seal};
pub(crate) use report::Reports;
use unreported::Unreported;

/// What is to be done with a packet now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Send(Path),
    Hold,
    Nowhere,
}

#[derive(Debug)]
pub(crate) struct Paths {
    policy: PathPolicy,
    session: Session,
    state: State,
    candidates: Candidates,
    unreported: Unreported,
    /// What a probe of the path in use is given to be reported.
    reproof: Duration,
    /// The peer has said that it takes UDP.
    peer_switched: bool,
    attempt: u32,
    message: Option<PathMessage>,
}

#[derive(Debug, Clone, Copy)]
enum Session {
    Down,
    Up {
        heard: Instant,
        /// Since when it has been heard without a gap.
        steady: Instant,
    },
}

#[derive(Debug, Clone, Copy)]
enum State {
    Session,
    Switching { to: SocketAddr, deadline: Instant },
    Udp { to: SocketAddr },
}

/// Without a report for this long, UDP is given up. Reports are due each
/// second; half a second is left for timers, so that a user sees ≤ 3 s.
const SILENCE: Duration = Duration::from_millis(2500);
/// A session that has been heard within this time, with a heartbeat each
/// second, is alive: then a missing report blames UDP and not the session.
const SESSION_ALIVE: Duration = Duration::from_millis(1600);
/// How long packets are held for the acknowledgement of a switch. What the
/// session still carries keeps the peer busy meanwhile.
const SWITCH_PATIENCE: Duration = Duration::from_secs(3);
/// How long a UDP path may take to prove itself when a session begins, or is
/// heard again: the missing reports may be on their way.
const REPROOF: Duration = Duration::from_secs(1);
/// The same when the peer has given up its half of the path: it looks for the
/// probe that is sent then, and reports it at once.
const DOUBT: Duration = Duration::from_millis(250);
/// A path whose report is overdue by this much yields to a proven one.
const OVERDUE: Duration = Duration::from_millis(1200);
/// How soon a silent path is looked at again while the session is silent too.
const RECHECK: Duration = Duration::from_millis(250);

impl Paths {
    pub(crate) fn new(policy: PathPolicy) -> Self {
        Self {
            policy,
            session: Session::Down,
            state: State::Session,
            candidates: Candidates::default(),
            unreported: Unreported::default(),
            reproof: REPROOF,
            peer_switched: false,
            attempt: 0,
            message: None,
        }
    }

    pub(crate) fn route(&self) -> Route {
        match (self.state, self.session, self.policy) {
            (State::Udp { to }, ..) => Route::Send(Path::Udp(to)),
            (State::Switching { .. }, ..) => Route::Hold,
            (State::Session, Session::Down, _) | (State::Session, _, PathPolicy::Udp) => {
                Route::Nowhere
            }
            (State::Session, Session::Up { .. }, _) => Route::Send(Path::Session),
        }
    }

    /// Handshakes take the session while it lives: it loses nothing.
    pub(crate) fn handshake_path(&self, now: Instant) -> Option<Path> {
        match (self.state, self.session) {
            (State::Udp { to }, _) if !self.session_alive(now) => Some(Path::Udp(to)),
            (_, Session::Up { .. }) => Some(Path::Session),
            (_, Session::Down) => None,
        }
    }

    /// Whether a handshake takes the session besides: a machine that wakes up
    /// knows of neither path whether it still lives.
    pub(crate) fn has_spare(&self, path: Path) -> bool {
        path != Path::Session && self.has_session()
    }

    /// Where datagrams go now; `None` before there is any path. Keepalives do
    /// not wait for the end of a switch.
    pub(crate) fn current(&self) -> Option<Path> {
        match self.route() {
            Route::Send(path) => Some(path),
            Route::Hold => Some(Path::Session),
            Route::Nowhere => None,
        }
    }

    pub(crate) const fn is_holding(&self) -> bool {
        matches!(self.state, State::Switching { .. })
    }

    /// Addresses the peer may answer at; those known already keep their state.
    pub(crate) fn set_candidates(&mut self, addresses: &[SocketAddr], now: Instant) {
        self.candidates.set(addresses, now);
    }

    pub(crate) fn session_up(&mut self, now: Instant) {
        self.session = Session::Up {
            heard: now,
            steady: now,
        };
        self.candidates.restart(now);
        self.peer_switched = false;
        if let State::Udp { to } = self.state {
            self.candidates.add(to, now);
            self.unreported.pretend(now - SILENCE + REPROOF);
        }
    }

    pub(crate) fn session_heard(&mut self, now: Instant) {
        let alive = self.session_alive(now);
        if let Session::Up { heard, steady } = &mut self.session {
            *heard = now;
            if !alive {
                *steady = now;
                self.candidates.hasten(now);
            }
        }
    }

    pub(crate) fn session_down(&mut self) {
        if let Session::Up { heard, .. } = self.session {
            self.candidates.hasten(heard);
        }
        self.session = Session::Down;
        if let State::Switching { to, .. } = self.state {
            self.take_udp(to);
        }
    }

    /// The peer takes UDP for whatever follows this.
    pub(crate) const fn peer_switched(&mut self) {
        self.peer_switched = true;
    }

    /// A packet of the peer came by the session. From a peer that had switched
    /// it says that UDP failed for it: waiting for our own reports to stay away
    /// would double the outage of whoever asks and is answered.
    pub(crate) fn packet_by_session(&mut self, now: Instant) {
        if std::mem::take(&mut self.peer_switched) && matches!(self.state, State::Udp { .. }) {
            self.candidates.restart(now);
            self.unreported.clear();
            self.reproof = DOUBT;
        }
    }

    pub(crate) const fn has_session(&self) -> bool {
        matches!(self.session, Session::Up { .. })
    }

    /// Forgets whatever lies `inside` a tunnel.
    pub(crate) fn leave(&mut self, inside: impl Fn(SocketAddr) -> bool) {
        self.candidates.remove(&inside);
        match self.state {
            State::Switching { to, .. } | State::Udp { to } if inside(to) => {
                self.state = State::Session;
            }
            State::Session | State::Switching { .. } | State::Udp { .. } => {}
        }
    }

    /// New keys exist: what is probed now is sealed with them.
    pub(crate) fn established(&mut self, now: Instant) {
        self.candidates.hasten(now);
    }

    /// A datagram from `from` has been authenticated.
    ///
    /// A peer that moved to another port of the same address went through a
    /// NAT that forgot its flow and is followed at once, as is any peer
    /// without a session (WireGuard paper, §2.1). Any other source must prove
    /// itself first: two ends that each follow the other's choice would swap
    /// paths for ever.
    pub(crate) fn authenticated(&mut self, from: SocketAddr, now: Instant) {
        if self.policy == PathPolicy::Session {
            return;
        }
        match (self.state, self.session) {
            (State::Udp { to }, _) if to == from => {}
            (State::Udp { to }, Session::Up { .. }) if to.ip() != from.ip() => {
                self.candidates.add(from, now);
            }
            (State::Udp { .. }, _) | (State::Session, Session::Down) => self.take_udp(from),
            (State::Session | State::Switching { .. }, _) => self.candidates.add(from, now),
        }
    }

    /// A sealed packet left for `path`.
    pub(crate) fn sent(&mut self, path: Path, seal: Seal, now: Instant) {
        if let (Path::Udp(_), State::Udp { .. }) = (path, self.state) {
            self.unreported.sent(seal, now);
        }
    }

    /// The peer authenticated `seal`, which arrived by UDP.
    pub(crate) fn reported(&mut self, seal: Seal, now: Instant) {
        let proof = self.candidates.proven(seal, now);
        match (self.state, proof) {
            (State::Udp { to }, Some(proof)) if proof.address != to => {
                if self.is_overdue(now) && !proof.rests {
                    self.take_udp(proof.address);
                }
            }
            (State::Udp { .. }, _) => self.unreported.reported(seal),
            (State::Session, Some(proof)) if !proof.rests => self.switch(proof.address, now),
            (State::Session | State::Switching { .. }, _) => {}
        }
    }

    pub(crate) fn acknowledged(&mut self, attempt: u32) {
        if let State::Switching { to, .. } = self.state
            && attempt == self.attempt
        {
            self.take_udp(to);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Switching { to, deadline } if now >= deadline => {
                if self.session_alive(now) {
                    self.give_up(to, now);
                } else {
                    self.take_udp(to);
                }
            }
            State::Udp { to } if self.is_silent(now) && self.session_steady(now) => {
                self.give_up(to, now);
            }
            State::Session | State::Switching { .. } | State::Udp { .. } => {}
        }
    }

    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let state = match self.state {
            State::Session => None,
            State::Switching { deadline, .. } => Some(deadline),
            State::Udp { .. } => {
                self.unreported
                    .since()
                    .filter(|_| self.has_session())
                    .map(|since| {
                        let steps = [since + OVERDUE, since + SILENCE];
                        let next = steps.into_iter().find(|step| *step > now);
                        next.unwrap_or(now + RECHECK)
                    })
            }
        };
        let probe = self.is_probing(now).then(|| self.candidates.next_probe());
        [state, probe.flatten()].into_iter().flatten().min()
    }

    /// The candidates to probe now; each is to be confirmed by [`Self::probed`].
    pub(crate) fn due_probes(&self, now: Instant) -> Vec<SocketAddr> {
        if !self.is_probing(now) {
            return Vec::new();
        }
        self.candidates.due(now)
    }

    pub(crate) fn probed(&mut self, address: SocketAddr, seal: Option<Seal>, now: Instant) {
        self.candidates.probed(address, seal, now);
        if let (State::Udp { to }, Some(seal)) = (self.state, seal)
            && to == address
            && self.unreported.since().is_none()
        {
            self.unreported.sent(seal, now - SILENCE + self.reproof);
            self.reproof = REPROOF;
        }
    }

    pub(crate) const fn poll_message(&mut self) -> Option<PathMessage> {
        self.message.take()
    }

    fn is_probing(&self, now: Instant) -> bool {
        match (self.policy, self.state) {
            (PathPolicy::Session, _) | (_, State::Switching { .. }) => false,
            (PathPolicy::Auto | PathPolicy::Udp, State::Session) => true,
            (PathPolicy::Auto | PathPolicy::Udp, State::Udp { to }) => {
                self.has_session() && (self.is_overdue(now) || self.candidates.is_unproven(to))
            }
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.unreported
            .since()
            .is_some_and(|since| now - since > OVERDUE)
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.unreported
            .since()
            .is_some_and(|since| now - since >= SILENCE)
    }

    fn session_alive(&self, now: Instant) -> bool {
        matches!(self.session, Session::Up { heard, .. } if now - heard < SESSION_ALIVE)
    }

    /// Alive for so long that a report would have come.
    fn session_steady(&self, now: Instant) -> bool {
        matches!(self.session, Session::Up { steady, .. } if now - steady >= REPROOF)
            && self.session_alive(now)
    }

    fn switch(&mut self, to: SocketAddr, now: Instant) {
        match (self.policy, self.session) {
            (PathPolicy::Session, _) => {}
            (PathPolicy::Udp, _) | (PathPolicy::Auto, Session::Down) => self.take_udp(to),
            (PathPolicy::Auto, Session::Up { .. }) => {
                self.attempt = self.attempt.wrapping_add(1);
                self.message = Some(PathMessage::Switch {
                    attempt: self.attempt,
                });
                self.state = State::Switching {
                    to,
                    deadline: now + SWITCH_PATIENCE,
                };
            }
        }
    }

    fn take_udp(&mut self, to: SocketAddr) {
        self.state = State::Udp { to };
        self.unreported.clear();
    }

    fn give_up(&mut self, address: SocketAddr, now: Instant) {
        self.state = State::Session;
        self.candidates.restart(now);
        self.candidates.failed(address, now);
    }
}
