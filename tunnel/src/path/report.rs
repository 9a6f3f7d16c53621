//! What this end tells the peer of the datagrams that arrived by UDP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{PathMessage, Seal};

/// The newest authenticated seal per UDP source, reported at once for a new
/// source and each second while datagrams arrive.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    sources: BTreeMap<SocketAddr, Source>,
}

#[derive(Debug)]
struct Source {
    newest: Seal,
    heard: Instant,
    pending: bool,
    due: Instant,
}

const INTERVAL: Duration = Duration::from_secs(1);
/// A peer has a handful of addresses; who shows more loses the one that has
/// been silent for longest.
const MOST: usize = 16;

impl Reports {
    pub(crate) fn authenticated(&mut self, from: SocketAddr, seal: Seal, now: Instant) {
        if let Some(source) = self.sources.get_mut(&from) {
            source.heard = now;
            if source.newest.index != seal.index || source.newest.counter < seal.counter {
                source.newest = seal;
                source.pending = true;
            }
            return;
        }
        if self.sources.len() >= MOST {
            let quietest = self.sources.iter().min_by_key(|(_, source)| source.heard);
            let quietest = quietest.map(|(address, _)| *address);
            quietest.and_then(|address| self.sources.remove(&address));
        }
        let source = Source {
            newest: seal,
            heard: now,
            pending: true,
            due: now,
        };
        self.sources.insert(from, source);
    }

    /// A probe deserves its answer at once: someone waits for it to switch.
    pub(crate) fn probed(&mut self, from: SocketAddr, now: Instant) {
        if let Some(source) = self.sources.get_mut(&from) {
            source.due = now;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let pending = self.sources.values().filter(|source| source.pending);
        pending.map(|source| source.due).min()
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Option<PathMessage> {
        let mut seals = Vec::new();
        for source in self.sources.values_mut() {
            if source.pending && source.due <= now {
                source.pending = false;
                source.due = now + INTERVAL;
                seals.push(source.newest);
            }
        }
        (!seals.is_empty()).then_some(PathMessage::Report { seals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    fn source(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn seals(message: Option<PathMessage>) -> Vec<u64> {
        match message {
            Some(PathMessage::Report { seals }) => seals.iter().map(|it| it.counter).collect(),
            Some(other) => panic!("{other:?}"),
            None => Vec::new(),
        }
    }

    #[test]
    fn a_busy_source_is_reported_at_once_and_then_each_second() {
        let mut now = start();
        let mut reports = Reports::default();
        let mut reported = Vec::new();
        for counter in 0..300 {
            reports.authenticated(source(1), Seal { index: 1, counter }, now);
            reported.extend(seals(reports.poll(now)));
            now += Duration::from_millis(10);
        }
        assert_eq!(reported, [0, 100, 200]);
    }

    #[test]
    fn a_late_datagram_does_not_take_a_report_back() {
        let now = start();
        let mut reports = Reports::default();
        for counter in [5, 3, 4] {
            reports.authenticated(source(1), Seal { index: 1, counter }, now);
        }
        assert_eq!(seals(reports.poll(now)), [5]);
        assert_eq!(reports.poll_timeout(), None);
    }

    #[test]
    fn among_too_many_sources_the_quietest_is_forgotten() {
        let mut now = start();
        let mut reports = Reports::default();
        for counter in 0..1000 {
            // The first keeps talking while the others come and go.
            reports.authenticated(source(1), Seal { index: 1, counter }, now);
            let stranger = source(2 + u16::try_from(counter).unwrap());
            reports.authenticated(stranger, Seal { index: 1, counter }, now);
            now += Duration::from_millis(1);
        }
        assert_eq!(reports.sources.len(), MOST);
        assert!(reports.sources.contains_key(&source(1)));
        assert!(reports.sources.contains_key(&source(1001)));
    }
}
