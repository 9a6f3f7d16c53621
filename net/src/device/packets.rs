//! What was read of a device and is still to be looked at.

use std::collections::VecDeque;
use std::ops::Range;

use dtap_tunnel::offload::{Header, Link, segment};
use dtap_tunnel::{Lanes, Ticket};

/// Packets that were read, in memory that is used again.
///
/// Reading on while long ones wait empties the kernel's queue, in which nobody
/// could pass anybody.
#[derive(Debug)]
pub struct Packets {
    link: Link,
    /// A ring, but no read crosses its end.
    memory: Vec<u8>,
    /// Where the next read may begin.
    end: usize,
    passing: Vec<Read>,
    waiting: VecDeque<(Read, Ticket)>,
    lanes: Lanes,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Read {
    header: Header,
    range: Range<usize>,
}

/// Bytes before an IP packet in a frame with two VLAN tags.
const ETHERNET: usize = 22;
/// Longer than any read, its header included.
const LONGEST: usize = 65_536 + Header::LENGTH + ETHERNET;
/// Bytes of all reads. What TCP has on its way fits, mostly.
const MEMORY: usize = 32 * LONGEST;

impl Packets {
    pub fn new(link: Link) -> Self {
        Self {
            link,
            memory: vec![0; MEMORY],
            end: 0,
            passing: Vec::new(),
            waiting: VecDeque::new(),
            lanes: Lanes::new(link),
            scratch: Vec::new(),
        }
    }

    /// Memory for a read, if there is any.
    pub(super) fn slot(&mut self) -> Option<&mut [u8]> {
        self.end = match self.oldest() {
            None => 0,
            Some(oldest) if self.end >= oldest => {
                if self.end + LONGEST <= self.memory.len() {
                    self.end
                } else if self.passing.is_empty() && LONGEST < oldest {
                    0
                } else {
                    return None;
                }
            }
            Some(oldest) if self.end + LONGEST < oldest => self.end,
            Some(_) => return None,
        };
        self.memory.get_mut(self.end..self.end + LONGEST)
    }

    /// A read of `length` bytes is in the slot, behind `header_length` bytes
    /// of header.
    pub(super) fn push(&mut self, length: usize, header_length: usize) {
        let bytes = &self.memory[self.end..self.end + length];
        let Some((header, packet)) = bytes.split_at_checked(header_length) else {
            return;
        };
        let header = header.first_chunk().map(Header::parse).unwrap_or_default();
        let range = self.end + header_length..self.end + length;
        let read = Read { header, range };
        if self.lanes.may_pass(packet) {
            self.passing.push(read);
        } else {
            let ticket = self.lanes.enter(packet);
            self.waiting.push_back((read, ticket));
        }
        self.end += length;
    }

    /// Whether any still wait.
    pub fn is_empty(&self) -> bool {
        self.passing.is_empty() && self.waiting.is_empty()
    }

    /// Takes the packets that do not wait, and those that do until they are
    /// `most` bytes. Each is lent to `each`, who may write to it.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(&mut [u8])) {
        let link = self.link;
        let Self {
            memory,
            passing,
            waiting,
            lanes,
            scratch,
            ..
        } = self;
        let mut lend = |read: Read| {
            let Read { header, range } = read;
            let frame = &mut memory[range];
            if let Err(error) = segment(link, header, frame, scratch, &mut each) {
                tracing::trace!(%error, ?header, "drop: device gave a malformed packet");
            }
        };
        passing.drain(..).for_each(&mut lend);
        let mut taken = 0;
        while taken < most
            && let Some((read, ticket)) = waiting.pop_front()
        {
            taken += read.range.len();
            lanes.leave(ticket);
            lend(read);
        }
    }

    /// Where the oldest read begins that is still needed.
    fn oldest(&self) -> Option<usize> {
        let waiting = self.waiting.front().map(|(read, _)| read);
        let oldest = waiting.or_else(|| self.passing.first())?;
        Some(oldest.range.start)
    }
}

impl Default for Packets {
    fn default() -> Self {
        Self::new(Link::Ip)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::device::tests::{number_of, packet};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_packet_comes_out_whole_and_flows_keep_their_order(
            rounds in prop::collection::vec(
                (prop::collection::vec((0..6u16, 40..60_000u16), 0..40), 0..300_000usize),
                1..20,
            ),
        ) {
            let mut packets = Packets::default();
            let mut given = 0;
            let mut taken = BTreeMap::<u16, Vec<u32>>::new();
            let mut take = |packets: &mut Packets, most| {
                packets.take(most, |packet| {
                    let (flow, number) = number_of(packet);
                    taken.entry(flow).or_default().push(number);
                });
            };
            for (reads, most) in rounds {
                for (flow, length) in reads {
                    let Some(slot) = packets.slot() else { break };
                    let read = packet(flow, length, given);
                    slot[Header::LENGTH..][..read.len()].copy_from_slice(&read);
                    slot[..Header::LENGTH].fill(0);
                    packets.push(Header::LENGTH + read.len(), Header::LENGTH);
                    given += 1;
                }
                take(&mut packets, most);
            }
            take(&mut packets, usize::MAX);
            prop_assert!(packets.is_empty());
            prop_assert_eq!(taken.values().map(Vec::len).sum::<usize>(), given as usize);
            prop_assert!(taken.values().all(|numbers| numbers.is_sorted()));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_waits_is_passed() {
        let mut packets = Packets::default();
        let push = |packets: &mut Packets, flow, length| {
            let read = packet(flow, length, 0);
            let slot = packets.slot()?;
            slot[..read.len()].copy_from_slice(&read);
            packets.push(read.len(), 0);
            Some(())
        };
        let fits = (0..1000).take_while(|_| push(&mut packets, 1, 60_000).is_some());
        assert!((31..=34).contains(&fits.count()));
        packets.take(60_000, |_| {});
        packets.take(60_000, |_| {});
        push(&mut packets, 2, 60).unwrap();
        let mut first = None;
        packets.take(1, |packet| {
            first.get_or_insert(packet.len());
        });
        assert_eq!(first, Some(60));
    }
}
