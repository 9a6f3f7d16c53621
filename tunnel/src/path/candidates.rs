//! The addresses a peer may answer at, and when each is probed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Seal;

#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<Candidate>);

#[derive(Debug)]
struct Candidate {
    address: SocketAddr,
    /// Named by the peer, rather than learnt from what arrived.
    named: bool,
    /// The last few probes, oldest first.
    probes: VecDeque<Seal>,
    proven: bool,
    next: Instant,
    interval: Duration,
    /// How long this address rests after it failed while in use.
    penalty: Duration,
    failed: Option<Instant>,
}

/// The first interval between probes; it doubles up to [`SLOWEST`].
const FASTEST: Duration = Duration::from_millis(200);
const SLOWEST: Duration = Duration::from_secs(10);
/// Rest after a failure; it doubles up to [`LONGEST_REST`] while failures
/// follow one another.
const SHORTEST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// More addresses than a host has, and few enough to probe at once.
const MOST: usize = 32;
/// Probes of one candidate whose reports may still come.
const MOST_PROBES: usize = 8;

/// A candidate's probe has been authenticated by the peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    pub(super) address: SocketAddr,
    /// It failed in use a moment ago and is not to be used yet.
    pub(super) rests: bool,
}

impl Candidates {
    /// Takes what the peer names now and keeps what was learnt.
    pub(super) fn set(&mut self, addresses: &[SocketAddr], now: Instant) {
        self.0
            .retain(|known| !known.named || addresses.contains(&known.address));
        for address in addresses {
            self.add(*address, now);
            if let Some(candidate) = self.find(*address) {
                candidate.named = true;
            }
        }
    }

    /// Adds an address; among too many, one that was learnt and never proven
    /// makes room.
    pub(super) fn add(&mut self, address: SocketAddr, now: Instant) {
        if self.find(address).is_some() {
            return;
        }
        if self.0.len() >= MOST {
            let stale = self.0.iter().position(|it| !it.named && !it.proven);
            let Some(stale) = stale else { return };
            self.0.remove(stale);
        }
        self.0.push(Candidate {
            address,
            named: false,
            probes: VecDeque::new(),
            proven: false,
            next: now,
            interval: FASTEST,
            penalty: Duration::ZERO,
            failed: None,
        });
    }

    pub(super) fn remove(&mut self, unwanted: impl Fn(SocketAddr) -> bool) {
        self.0.retain(|known| !unwanted(known.address));
    }

    /// Probes all of them again, beginning now.
    pub(super) fn restart(&mut self, now: Instant) {
        for candidate in &mut self.0 {
            candidate.probes.clear();
            candidate.proven = false;
        }
        self.hasten(now);
    }

    /// Probes at the fastest pace again, and keeps what is proven.
    pub(super) fn hasten(&mut self, now: Instant) {
        for candidate in &mut self.0 {
            candidate.next = now;
            candidate.interval = FASTEST;
        }
    }

    /// The candidate one of whose probes `seal` was.
    pub(super) fn proven(&mut self, seal: Seal, now: Instant) -> Option<Proof> {
        let known = self.0.iter_mut();
        let candidate = known.into_iter().find(|it| it.probes.contains(&seal))?;
        candidate.proven = true;
        let rests = candidate
            .failed
            .is_some_and(|failed| now < failed + candidate.penalty);
        if !rests {
            candidate.interval = FASTEST;
        }
        Some(Proof {
            address: candidate.address,
            rests,
        })
    }

    pub(super) fn failed(&mut self, address: SocketAddr, now: Instant) {
        let Some(candidate) = self.find(address) else {
            return;
        };
        let again = candidate
            .failed
            .is_some_and(|failed| now < failed + candidate.penalty * 4 + LONGEST_REST);
        candidate.penalty = if again {
            (candidate.penalty * 2).clamp(SHORTEST_REST, LONGEST_REST)
        } else {
            SHORTEST_REST
        };
        candidate.failed = Some(now);
    }

    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.0.iter().map(|candidate| candidate.next).min()
    }

    pub(super) fn due(&self, now: Instant) -> Vec<SocketAddr> {
        let due = self.0.iter().filter(|candidate| candidate.next <= now);
        due.map(|candidate| candidate.address).collect()
    }

    /// A probe with `seal` left, or could not be sealed for want of keys.
    pub(super) fn probed(&mut self, address: SocketAddr, seal: Option<Seal>, now: Instant) {
        if let Some(candidate) = self.find(address) {
            candidate.probes.extend(seal);
            if candidate.probes.len() > MOST_PROBES {
                candidate.probes.pop_front();
            }
            candidate.next = now + candidate.interval;
            candidate.interval = (candidate.interval * 2).min(SLOWEST);
        }
    }

    pub(super) fn is_unproven(&self, address: SocketAddr) -> bool {
        let known = self.0.iter().find(|known| known.address == address);
        known.is_some_and(|candidate| !candidate.proven)
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Candidate> {
        self.0.iter_mut().find(|known| known.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    const fn seal(counter: u64) -> Seal {
        Seal { index: 1, counter }
    }

    #[test]
    fn the_newest_address_finds_room_among_the_unproven() {
        let now = start();
        let mut candidates = Candidates::default();
        candidates.set(&[address(1)], now);
        for port in 2..1000 {
            candidates.add(address(port), now);
            if port == 2 {
                candidates.probed(address(2), Some(seal(7)), now);
                assert!(candidates.proven(seal(7), now).is_some());
            }
        }
        let known = candidates.due(now + SLOWEST);
        assert_eq!(known.len(), MOST);
        for port in [1, 2, 999] {
            assert!(known.contains(&address(port)), "{port}");
        }
    }

    #[test]
    fn each_of_the_last_probes_proves_its_candidate() {
        let now = start();
        let mut candidates = Candidates::default();
        candidates.set(&[address(1), address(2)], now);
        for counter in 0..6 {
            let port = 1 + u16::try_from(counter % 2).unwrap();
            candidates.probed(address(port), Some(seal(counter)), now);
        }
        for counter in 0..6 {
            let port = 1 + u16::try_from(counter % 2).unwrap();
            let proof = candidates.proven(seal(counter), now).unwrap();
            assert_eq!(proof.address, address(port));
        }
        candidates.restart(now);
        assert!(candidates.proven(seal(5), now).is_none());
    }

    #[test]
    fn failures_that_follow_one_another_rest_longer() {
        let mut now = start();
        let mut candidates = Candidates::default();
        candidates.set(&[address(1)], now);
        let mut rests = Vec::new();
        for counter in 0..10 {
            candidates.failed(address(1), now);
            let failed = now;
            loop {
                candidates.probed(address(1), Some(seal(counter)), now);
                if candidates
                    .proven(seal(counter), now)
                    .is_some_and(|proof| !proof.rests)
                {
                    break;
                }
                now += FASTEST;
            }
            rests.push(now - failed);
        }
        assert!(rests.is_sorted(), "{rests:?}");
        assert!(rests[0] <= SHORTEST_REST + FASTEST);
        assert_eq!(*rests.last().unwrap(), LONGEST_REST);
    }
}
