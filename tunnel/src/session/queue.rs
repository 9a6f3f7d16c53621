//! What waits for the stream of a session: bounded in bytes, and kept short in time.
//!
//! The stream loses nothing, so a connection inside the tunnel would learn of
//! congestion by waiting only, and its retransmissions would queue behind what
//! they repeat (TCP over TCP). Something must be lost before that. But the
//! programs that pass the stream on take turns on the same processors, for
//! milliseconds each: whoever drops a mere burst loses hundreds of packets at
//! once, of all connections. So bursts are kept, and one datagram is dropped now
//! and then while the queue does not get short at all: `CoDel` (RFC 8289).
//!
//! Messages are never dropped, nor do they overtake: a `Switch` speaks of all
//! that was sent before it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Message;
use super::frame::{self, HEADER, encode_datagram, encode_message};
use crate::datagram::INITIATION;

/// Frames in the order they were queued, in pieces to be written.
#[derive(Debug, Default)]
pub struct Queue {
    pieces: VecDeque<Piece>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    codel: Codel,
    dropped: u64,
}

#[derive(Debug)]
struct Piece {
    since: Instant,
    frames: Vec<u8>,
}

/// Decides when a datagram has to go for the queue to get shorter.
#[derive(Debug, Default)]
struct Codel {
    long_since: Option<Instant>,
    next_drop: Option<Instant>,
    last_drop: Option<Instant>,
    drops: u32,
}

/// Bytes: what a connection has on its way at most (Linux, `tcp_wmem`), so that
/// one alone never fills the queue.
const MOST: usize = 4 << 20;
/// Bytes that are written at once, as many as a pipe takes (pipe(7)).
const PIECE: usize = 64 << 10;
/// Pieces of memory that an empty queue keeps.
const MOST_SPARE: usize = 8;
/// Whatever waited for so long has been sent again, or is of no use any more. Only
/// a stream that is slow or stands still gets there; heartbeats must go on.
const STALE: Duration = Duration::from_secs(1);
/// RFC 8289, §4.2 and §4.3.
const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

impl Queue {
    /// Queues a datagram unless the queue is full; says whether it did.
    pub fn datagram(&mut self, datagram: &[u8], now: Instant) -> bool {
        let length = HEADER + datagram.len();
        if self.bytes + length > MOST {
            self.dropped += 1;
            return false;
        }
        encode_datagram(datagram, self.room(length, now));
        self.bytes += length;
        true
    }

    /// Queues a message, however long the queue is.
    pub fn message(&mut self, message: &Message, now: Instant) {
        let room = self.room(0, now);
        let before = room.len();
        encode_message(message, room);
        let length = room.len() - before;
        self.bytes += length;
    }

    /// The next frames to write, in exchange for the memory of those that are written.
    pub fn take(&mut self, written: Vec<u8>, now: Instant) -> Option<Vec<u8>> {
        self.keep(written);
        loop {
            let Piece { since, mut frames } = self.pieces.pop_front()?;
            self.bytes -= frames.len();
            let waited = now.saturating_duration_since(since);
            let before = frames.len();
            if waited > STALE {
                self.dropped += frame::drop_datagrams(&mut frames, usize::MAX, 0);
            } else if self.codel.is_drop_due(waited, self.pieces.is_empty(), now) {
                // Not a handshake, and not what merely acknowledges.
                self.dropped += frame::drop_datagrams(&mut frames, 1, INITIATION);
            }
            if frames.len() < before {
                tracing::trace!(
                    bytes = before - frames.len(),
                    ?waited,
                    "drop: queued for long"
                );
            }
            if !frames.is_empty() {
                return Some(frames);
            }
            self.keep(frames);
        }
    }

    /// Whether more waits than is written at once.
    pub fn is_long(&self) -> bool {
        self.pieces.len() > 1
    }

    /// How many datagrams were dropped, because the queue was full or did not get short.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn keep(&mut self, mut frames: Vec<u8>) {
        if self.spare.len() < MOST_SPARE && (PIECE..=2 * PIECE).contains(&frames.capacity()) {
            frames.clear();
            self.spare.push(frames);
        }
    }

    fn room(&mut self, length: usize, now: Instant) -> &mut Vec<u8> {
        let is_done = |piece: &Piece| {
            let age = now.saturating_duration_since(piece.since);
            piece.frames.len() + length > PIECE || age > INTERVAL
        };
        if self.pieces.back().is_none_or(is_done) {
            let frames = self.spare.pop();
            self.pieces.push_back(Piece {
                since: now,
                frames: frames.unwrap_or_else(|| Vec::with_capacity(PIECE)),
            });
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last].frames
    }
}

impl Codel {
    /// To be asked once for each piece, with the time it has waited and whether it was the last one.
    fn is_drop_due(&mut self, waited: Duration, is_last: bool, now: Instant) -> bool {
        if waited < TARGET || is_last {
            self.long_since = None;
            self.next_drop = None;
            return false;
        }
        let long_since = *self.long_since.get_or_insert(now);
        let is_due = match self.next_drop {
            Some(next) => now >= next,
            None => now >= long_since + INTERVAL,
        };
        if is_due {
            let is_recent = |last| now.saturating_duration_since(last) < 16 * INTERVAL;
            self.drops = match self.next_drop {
                Some(_) => self.drops.saturating_add(1),
                // The rate that was needed a moment ago is nearly right now.
                None if self.last_drop.is_some_and(is_recent) => {
                    self.drops.saturating_sub(2).max(1)
                }
                None => 1,
            };
            self.last_drop = Some(now);
            self.next_drop = Some(now + INTERVAL.div_f64(f64::from(self.drops).sqrt()));
        }
        is_due
    }
}

#[cfg(test)]
mod tests;
