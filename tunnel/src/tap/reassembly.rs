//! Frames from the fragments that carry them (RFC 8200, §4.5).
//!
//! In any order, but without overlaps: those cost the whole frame (RFC 5722).
//! Of more frames than are kept at a time the oldest is let go.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::outer::Fragment;
use crate::drops::{Drop, Drops};

#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// The oldest first.
    partials: VecDeque<Partial>,
    complete: Partial,
    spare: Vec<Partial>,
}

#[derive(Debug, Default)]
struct Partial {
    id: u32,
    began: Option<Instant>,
    /// Those bytes that are in `pieces` are valid.
    bytes: Vec<u8>,
    /// Where each fragment began and ended, in this order.
    pieces: Vec<(usize, usize)>,
    /// In bytes, if the last fragment is here.
    length: Option<usize>,
    /// What else there is of it is dropped.
    is_refused: bool,
}

/// Each has up to 64 KiB.
const MOST_PARTIALS: usize = 16;
/// Fragments of a frame at most: of 65,535 bytes at the least MTU, and some.
const MOST_PIECES: usize = 64;
/// Far more than the tunnel ever delays one fragment after another. RFC 8200
/// gives a minute, for an internet.
const PATIENCE: Duration = Duration::from_secs(2);

impl Reassembly {
    /// The EtherIP header and frame that this fragment completes, if any.
    pub(super) fn insert(
        &mut self,
        fragment: Fragment<'_>,
        now: Instant,
        drops: &mut Drops,
    ) -> Result<Option<&[u8]>, Drop> {
        let end = fragment.offset + fragment.data.len();
        let is_aligned = fragment.is_last || fragment.data.len().is_multiple_of(8);
        if fragment.data.is_empty() || !is_aligned || end > usize::from(u16::MAX) {
            return Err(Drop::MalformedFragment);
        }
        let position = match self.partials.iter().rposition(|it| it.id == fragment.id) {
            Some(position) => position,
            None => self.begin(fragment.id, now, drops),
        };
        let partial = &mut self.partials[position];
        if !partial.insert(fragment, end) {
            partial.is_refused = true;
            return Err(Drop::OverlappingFragment);
        }
        if !partial.is_complete() {
            return Ok(None);
        }
        if let Some(partial) = self.partials.remove(position) {
            let last = std::mem::replace(&mut self.complete, partial);
            self.spare.push(last);
        }
        let length = self.complete.length.unwrap_or_default();
        Ok(self.complete.bytes.get(..length))
    }

    /// Gives up frames whose fragments do not come any more.
    pub(super) fn expire(&mut self, now: Instant, drops: &mut Drops) {
        while let Some(oldest) = self.partials.front()
            && oldest.began.is_none_or(|began| now >= began + PATIENCE)
        {
            self.let_go(drops);
        }
    }

    fn begin(&mut self, id: u32, now: Instant, drops: &mut Drops) -> usize {
        self.expire(now, drops);
        if self.partials.len() == MOST_PARTIALS {
            self.let_go(drops);
        }
        let mut partial = self.spare.pop().unwrap_or_default();
        partial.reset(id, now);
        self.partials.push_back(partial);
        self.partials.len() - 1
    }

    fn let_go(&mut self, drops: &mut Drops) {
        if let Some(partial) = self.partials.pop_front() {
            if !partial.is_refused {
                drops.count(Drop::Unassembled);
            }
            self.spare.push(partial);
        }
    }
}

impl Partial {
    fn reset(&mut self, id: u32, now: Instant) {
        self.id = id;
        self.began = Some(now);
        self.pieces.clear();
        self.length = None;
        self.is_refused = false;
    }

    /// False if it does not fit to the others.
    fn insert(&mut self, fragment: Fragment<'_>, end: usize) -> bool {
        let start = fragment.offset;
        let position = self.pieces.partition_point(|piece| piece.0 < start);
        let (before, after) = self.pieces.split_at(position);
        let is_apart = before.last().is_none_or(|piece| piece.1 <= start)
            && after.first().is_none_or(|piece| end <= piece.0);
        let is_within = match self.length {
            Some(length) => end < length && !fragment.is_last,
            None => !fragment.is_last || after.is_empty(),
        };
        if self.is_refused || !is_apart || !is_within || self.pieces.len() == MOST_PIECES {
            return false;
        }
        self.pieces.insert(position, (start, end));
        if fragment.is_last {
            self.length = Some(end);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(fragment.data);
        true
    }

    fn is_complete(&self) -> bool {
        let present: usize = self.pieces.iter().map(|(start, end)| end - start).sum();
        self.length == Some(present)
    }
}

#[cfg(test)]
mod tests;
