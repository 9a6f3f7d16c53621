//! What is still to be written to a device.

use std::collections::VecDeque;
use std::ops::Range;

use dtap_tunnel::offload::{Coalescer, Header, Merge};
use dtap_tunnel::{Batch, Lanes, Ticket};

/// Packets in the order they are written in: short ones pass long ones.
#[derive(Debug)]
pub(super) struct Writes {
    coalescer: Coalescer,
    lanes: Lanes,
    waiting: VecDeque<Waiting>,
    spare: Vec<Batch<()>>,
    bytes: usize,
}

/// What of a batch still waits.
#[derive(Debug)]
struct Waiting {
    batch: Batch<()>,
    writes: VecDeque<Write>,
    pieces: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Write {
    header: Header,
    pieces: Range<usize>,
    bytes: usize,
    ticket: Ticket,
}

/// Bytes that wait before no more are to be taken in.
const MOST: usize = 2 << 20;

impl Writes {
    pub(super) fn new(merge: Merge) -> Self {
        Self {
            coalescer: Coalescer::new(merge),
            lanes: Lanes::default(),
            waiting: VecDeque::new(),
            spare: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= MOST
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the batch's packets, and leaves it empty. Those that may pass all
    /// others are written at once.
    pub(super) fn push(
        &mut self,
        batch: &mut Batch<()>,
        mut write: impl FnMut(Header, &[u8], &[Range<usize>]),
    ) {
        if batch.is_empty() {
            return;
        }
        let mut writes = VecDeque::new();
        let mut waiting = Vec::new();
        let plan = self.coalescer.plan(batch);
        let bytes = batch.bytes();
        for (header, pieces) in plan {
            let packet = pieces
                .first()
                .map_or(&[][..], |first| &bytes[first.clone()]);
            if pieces.len() == 1 && self.lanes.may_pass(packet) {
                write(header, bytes, pieces);
                continue;
            }
            let start = waiting.len();
            waiting.extend_from_slice(pieces);
            let length = pieces.iter().map(Range::len).sum();
            self.bytes += length;
            writes.push_back(Write {
                header,
                pieces: start..waiting.len(),
                bytes: length,
                ticket: self.lanes.enter(packet),
            });
        }
        if writes.is_empty() {
            return batch.clear();
        }
        let batch = std::mem::replace(batch, self.spare.pop().unwrap_or_default());
        self.waiting.push_back(Waiting {
            batch,
            writes,
            pieces: waiting,
        });
    }

    /// Writes what waits, until it was `most` bytes.
    pub(super) fn pop(
        &mut self,
        most: usize,
        mut write: impl FnMut(Header, &[u8], &[Range<usize>]),
    ) {
        let mut written = 0;
        while written < most
            && let Some(oldest) = self.waiting.front_mut()
        {
            let Some(next) = oldest.writes.pop_front() else {
                if let Some(mut done) = self.waiting.pop_front()
                    && self.spare.len() < MOST_SPARE
                {
                    done.batch.clear();
                    self.spare.push(done.batch);
                }
                continue;
            };
            write(
                next.header,
                oldest.batch.bytes(),
                &oldest.pieces[next.pieces],
            );
            self.lanes.leave(next.ticket);
            self.bytes -= next.bytes;
            written += next.bytes;
        }
    }
}

/// Batches whose memory is kept while nothing waits.
const MOST_SPARE: usize = 4;
