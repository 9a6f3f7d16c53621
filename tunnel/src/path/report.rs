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
