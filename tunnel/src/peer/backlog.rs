//! Probes that must wait for what the session still carries.
//!
//! A probe is sealed after thousands of packets that may still be queued in
//! the session, and by UDP it arrives before them. Opening it at once would
//! move the replay window past them all. So it waits until the session has
//! nearly caught up; the sender cannot use UDP earlier anyway.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::datagram::{DATA_OVERHEAD, Datagram};
use crate::path::Seal;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The newest seal the session brought, while data come that way.
    newest: Option<Seal>,
    deferred: VecDeque<(SocketAddr, Seal, Vec<u8>)>,
}

/// Half of boringtun's replay window of 1,024 packets.
const LEAD: u64 = 512;
/// Probes of all candidates, twice.
const MOST: usize = 64;

impl Backlog {
    pub(super) fn is_overtaken_by(&self, seal: Seal, datagram: &[u8]) -> bool {
        datagram.len() == DATA_OVERHEAD && self.lags(seal)
    }

    pub(super) fn defer(&mut self, from: SocketAddr, seal: Seal, datagram: &[u8]) {
        if self.deferred.len() >= MOST {
            self.deferred.pop_front();
        }
        self.deferred.push_back((from, seal, datagram.to_vec()));
    }

    /// A datagram has been authenticated; `from` is `None` for the session.
    pub(super) fn opened(&mut self, from: Option<SocketAddr>, seal: Seal, empty: bool) {
        match (from, self.newest) {
            (Some(_), _) if empty => {}
            (Some(_), _) => self.newest = None,
            (None, Some(newest)) if newest.index == seal.index => {
                let counter = newest.counter.max(seal.counter);
                self.newest = Some(Seal { counter, ..newest });
            }
            (None, _) => self.newest = Some(seal),
        }
    }

    /// A deferred probe whose time has come.
    pub(super) fn pop(&mut self) -> Option<(SocketAddr, Datagram, Vec<u8>)> {
        let ready = self
            .deferred
            .iter()
            .position(|(_, seal, _)| !self.lags(*seal))?;
        let (from, _, datagram) = self.deferred.remove(ready)?;
        Some((from, Datagram::parse(&datagram)?, datagram))
    }

    fn lags(&self, seal: Seal) -> bool {
        self.newest.is_some_and(|newest| {
            newest.index == seal.index && seal.counter > newest.counter.saturating_add(LEAD)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seal(counter: u64) -> Seal {
        Seal { index: 1, counter }
    }

    fn probe(counter: u64) -> Vec<u8> {
        let mut datagram = vec![4, 0, 0, 0, 1, 0, 0, 0];
        datagram.extend(counter.to_le_bytes());
        datagram.resize(DATA_OVERHEAD, 0);
        datagram
    }

    fn from() -> SocketAddr {
        ([192, 0, 2, 1], 1).into()
    }

    #[test]
    fn a_probe_waits_until_the_session_has_nearly_caught_up() {
        let mut backlog = Backlog::default();
        backlog.opened(None, seal(10), false);
        assert!(backlog.is_overtaken_by(seal(5000), &probe(5000)));
        backlog.defer(from(), seal(5000), &probe(5000));
        for counter in 11..5000 - LEAD {
            backlog.opened(None, seal(counter), false);
            assert_eq!(backlog.pop(), None);
        }
        backlog.opened(None, seal(5000 - LEAD), false);
        let (_, head, datagram) = backlog.pop().unwrap();
        assert_eq!(Some(head), Datagram::parse(&datagram));
        assert_eq!(datagram, probe(5000));
        assert_eq!(backlog.pop(), None);
    }

    #[test]
    fn packets_other_keys_and_peers_without_a_session_never_wait() {
        let mut backlog = Backlog::default();
        assert!(!backlog.is_overtaken_by(seal(5000), &probe(5000)));
        backlog.opened(None, seal(10), false);
        assert!(!backlog.is_overtaken_by(seal(5000), &[0; 100]));
        let rekeyed = Seal {
            index: 2,
            ..seal(5000)
        };
        assert!(!backlog.is_overtaken_by(rekeyed, &probe(5000)));
        backlog.opened(Some(from()), seal(11), false);
        assert!(!backlog.is_overtaken_by(seal(5000), &probe(5000)));
    }

    #[test]
    fn forged_probes_do_not_pile_up() {
        let mut backlog = Backlog::default();
        backlog.opened(None, seal(0), false);
        for counter in 1000..2000 {
            backlog.defer(from(), seal(counter), &probe(counter));
        }
        assert_eq!(backlog.deferred.len(), MOST);
    }
}
