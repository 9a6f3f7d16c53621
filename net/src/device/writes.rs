//! What is still to be written to a device.

use std::collections::VecDeque;
use std::ops::Range;

use dtap_tunnel::offload::{Coalescer, Header, Link, Merge};
use dtap_tunnel::{Batch, Lanes, Ticket};

/// Packets in the order they are written in: short ones pass long ones.
#[derive(Debug)]
pub(super) struct Writes {
    coalescer: Coalescer,
    lanes: Lanes,
    waiting: VecDeque<Waiting>,
    spare: Vec<Waiting>,
    bytes: usize,
}

/// What of a batch still waits.
#[derive(Debug, Default)]
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
    pub(super) fn new(link: Link, merge: Merge) -> Self {
        Self {
            coalescer: Coalescer::new(link, merge),
            lanes: Lanes::new(link),
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
        let mut waiting = self.spare.pop().unwrap_or_default();
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
            let start = waiting.pieces.len();
            waiting.pieces.extend_from_slice(pieces);
            let length = pieces.iter().map(Range::len).sum();
            self.bytes += length;
            waiting.writes.push_back(Write {
                header,
                pieces: start..waiting.pieces.len(),
                bytes: length,
                ticket: self.lanes.enter(packet),
            });
        }
        if waiting.writes.is_empty() {
            batch.clear();
            self.spare.push(waiting);
        } else {
            std::mem::swap(batch, &mut waiting.batch);
            self.waiting.push_back(waiting);
        }
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
                    done.pieces.clear();
                    self.spare.push(done);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::device::tests::{number_of, packet};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_packet_is_written_and_flows_keep_their_order(
            batches in prop::collection::vec(
                (prop::collection::vec((0..6u16, 40..1400u16), 0..100), 0..200_000usize),
                1..20,
            ),
        ) {
            let mut writes = Writes::new(Link::Ip, Merge::Nothing);
            let mut given = 0;
            let mut written = BTreeMap::<u16, Vec<u32>>::new();
            let mut write = |_: Header, bytes: &[u8], pieces: &[Range<usize>]| {
                let [piece] = pieces else { panic!("nothing was to be merged") };
                let (flow, number) = number_of(&bytes[piece.clone()]);
                written.entry(flow).or_default().push(number);
            };
            let mut batch = Batch::new();
            for (packets, most) in batches {
                for (flow, length) in packets {
                    batch.push((), &packet(flow, length, given));
                    given += 1;
                }
                writes.push(&mut batch, &mut write);
                prop_assert!(batch.is_empty());
                writes.pop(most, &mut write);
            }
            writes.pop(usize::MAX, &mut write);
            prop_assert!(writes.is_empty());
            prop_assert_eq!(writes.bytes, 0);
            prop_assert_eq!(written.values().map(Vec::len).sum::<usize>(), given as usize);
            prop_assert!(written.values().all(|numbers| numbers.is_sorted()));
        }
    }

    #[test]
    fn short_packets_pass_and_the_memory_is_bounded() {
        let mut writes = Writes::new(Link::Ip, Merge::Tcp);
        let mut batch = Batch::new();
        while !writes.is_full() {
            batch.push((), &packet(1, 1400, 0));
            writes.push(&mut batch, |_, _, _| panic!("it should wait"));
        }
        batch.push((), &packet(1, 60, 0));
        batch.push((), &packet(2, 60, 0));
        let mut passed = Vec::new();
        writes.push(&mut batch, |_, bytes, pieces| {
            passed.push(number_of(&bytes[pieces[0].clone()]).0);
        });
        assert_eq!(passed, [2]);
        writes.pop(MOST, |_, _, _| {});
        assert!(!writes.is_full());
    }
}
