//! What a peer does at which time.

use std::time::{Duration, Instant};

use boringtun::noise::TunnResult;

use super::{Peer, nothing, seal_of};
use crate::datagram::{DATA_OVERHEAD, Datagram, INITIATION};
use crate::drops::Drops;
use crate::path::Path;
use crate::tunnel::Output;

/// How often boringtun's timers, which count in seconds, are looked at; with the
/// session's heartbeat, which comes once a second, if there is one.
const TICK: Duration = Duration::from_millis(1250);
/// By how much a tick may be early, so that a thousand peers tick as one.
const TOGETHER: Duration = Duration::from_millis(500);
/// Timers finer than this would only cost wake-ups.
const SOONEST: Duration = Duration::from_millis(5);
/// REKEY_AFTER_TIME of the WireGuard paper, §6.1, here for idle keys too: the
/// responder cannot ask for new ones once they have lapsed.
const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);

impl Peer {
    /// Everything that time or an earlier event made due.
    pub(crate) fn settle(&mut self, now: Instant, output: &mut Output, drops: &mut Drops) {
        self.paths.handle_timeout(now);
        if now + TOGETHER >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now, output);
        }
        self.probe(now, output);
        while let Some((from, head, datagram)) = self.backlog.pop() {
            if let Err(reason) = self.open(&datagram, head, Some(from), now, output, nothing) {
                drops.count(reason);
            }
        }
        if !self.paths.is_holding() {
            for packet in std::mem::take(&mut self.held) {
                self.seal(&packet, now, output, drops);
            }
        }
        let path = self.paths.current();
        output.is_path_changed |= path != std::mem::replace(&mut self.path, path);
        if self.paths.has_session() {
            let messages = [self.paths.poll_message(), self.reports.poll(now)];
            let messages = messages.into_iter().flatten();
            output
                .messages
                .extend(messages.map(|message| (self.id, message)));
        }
    }

    /// When [`Self::settle`] is next due, and remembers it.
    pub(crate) fn poll_timeout(&mut self, now: Instant) -> Instant {
        let reports = self.reports.poll_timeout();
        let others = [
            self.paths.poll_timeout(now),
            reports.filter(|_| self.paths.has_session()),
        ];
        let first = others
            .into_iter()
            .flatten()
            .fold(self.next_tick, Instant::min);
        self.due = first.max(now + SOONEST);
        self.due
    }

    /// As [`Self::poll_timeout`] said last.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    fn tick(&mut self, now: Instant, output: &mut Output) {
        self.update_timers(now, output);
        let age = self.tunn.time_since_last_handshake();
        if self.config.initiates && age.is_none_or(|age| age >= REKEY_AFTER_TIME) {
            self.emit(now, INITIATION, output, |tunn, slot| {
                tunn.format_handshake_initiation(slot, false)
            });
        }
    }

    /// boringtun dates whatever happens by its last look at the clock, which
    /// may be a night's sleep ago: it looks before each handshake message.
    ///
    /// A responder lends it too little room for an initiation. One that was
    /// begun and not sent would be one that nobody answers, and 90 s later
    /// boringtun would throw away all keys for it.
    pub(super) fn update_timers(&mut self, now: Instant, output: &mut Output) {
        let room = if self.config.initiates {
            INITIATION
        } else {
            DATA_OVERHEAD
        };
        self.emit(now, room, output, |tunn, slot| tunn.update_timers(slot));
    }

    fn probe(&mut self, now: Instant, output: &mut Output) {
        for address in self.paths.due_probes(now) {
            let mut seal = None;
            if self.has_keys() {
                let tag = (self.id, Path::Udp(address));
                output.datagrams.push_with(INITIATION, |slot| {
                    let TunnResult::WriteToNetwork(probe) = self.tunn.encapsulate(&[], slot) else {
                        return None;
                    };
                    seal = Datagram::parse(probe).and_then(seal_of);
                    seal.map(|_| (tag, probe.len()))
                });
            }
            self.paths.probed(address, seal, now);
        }
    }
}
