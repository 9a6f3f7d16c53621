use std::ops::Range;

use super::flow::{Flow, addresses};
use super::group::{Fit, Group, MOST_SEGMENTS};
use super::{Header, Link};
use crate::Batch;

/// Of which protocols the device takes super-packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Merge {
    /// One packet per write.
    Nothing,
    #[default]
    Tcp,
    /// It has `TUN_F_USO4` and `TUN_F_USO6`, too (Linux 6.2).
    TcpAndUdp,
}

/// Groups the packets of a batch into super-packets.
///
/// Merged is what the kernel's own GRO would merge, and only packets whose
/// checksums are right: of a super-packet they are not looked at again. A flow
/// keeps its order; packets of different flows may pass each other.
#[derive(Debug, Default)]
pub struct Coalescer {
    link: Link,
    merge: Merge,
    writes: Vec<Write>,
    /// Groups that may still grow, at most one of a flow; the newest last.
    open: Vec<Group>,
    /// Groups that may not.
    settled: Vec<Group>,
    /// What of each packet is to be written, and by which write.
    parts: Vec<(usize, Range<usize>)>,
    /// The same in the order of writes.
    pieces: Vec<Range<usize>>,
}

#[derive(Debug, Default)]
struct Write {
    header: Header,
    parts: usize,
    /// Where they are among all pieces.
    pieces: Range<usize>,
}

impl Coalescer {
    /// Ranges of a write at most.
    pub const MOST_PIECES: usize = MOST_SEGMENTS as usize;

    pub fn new(link: Link, merge: Merge) -> Self {
        Self {
            link,
            merge,
            ..Self::default()
        }
    }

    /// The writes that put a batch into the device: a header each, and the
    /// ranges of [`Batch::bytes`] to follow it. The headers of super-packets
    /// are patched in the batch.
    pub fn plan<'a>(
        &'a mut self,
        batch: &mut Batch<()>,
    ) -> impl Iterator<Item = (Header, &'a [Range<usize>])> + use<'a> {
        self.writes.clear();
        self.parts.clear();
        for (_, range) in batch.items() {
            self.add(range.clone(), batch.bytes());
        }
        let link = self.link;
        for group in self.settled.drain(..).chain(self.open.drain(..)) {
            self.writes[group.write].header = group.finish(link, batch.bytes_mut());
        }
        self.gather();
        let pieces = self.pieces.as_slice();
        self.writes
            .iter()
            .map(move |write| (write.header, &pieces[write.pieces.clone()]))
    }

    fn add(&mut self, range: Range<usize>, bytes: &[u8]) {
        let frame = &bytes[range.clone()];
        let packet = self.link.packet(frame);
        let link = usize::from(self.link.header_length());
        // Of a tagged frame the kernel is not told where its packet begins.
        let is_plain = packet.len() + link == frame.len();
        let Some(flow) = Flow::of(packet).filter(|_| is_plain) else {
            self.settle_between(packet, bytes);
            self.write(range);
            return;
        };
        let link_header = &frame[..link];
        let position = self
            .open
            .iter()
            .rposition(|group| group.is_of(flow, link_header, packet, bytes));
        let Some(segment) = flow.segment(packet, self.merge) else {
            self.settle(position);
            self.write(range);
            return;
        };
        let fit = match position {
            Some(position) => self.open[position].join(packet, segment, bytes),
            None => Fit::Apart { is_intact: false },
        };
        match fit {
            Fit::Joined { write, is_complete } => {
                let headers = link + usize::from(segment.headers);
                self.put(write, range.start + headers..range.end);
                if is_complete {
                    self.settle(position);
                }
            }
            Fit::Apart { is_intact } => {
                self.settle(position);
                let write = self.write(range.clone());
                let first = range.start + link..range.end;
                self.open(Group::new(write, flow, first, segment, is_intact));
            }
            Fit::Corrupt => {
                self.settle(position);
                self.write(range);
            }
        }
    }

    /// A write of its own for a packet.
    fn write(&mut self, packet: Range<usize>) -> usize {
        let write = self.writes.len();
        self.writes.push(Write::default());
        self.put(write, packet);
        write
    }

    fn put(&mut self, write: usize, part: Range<usize>) {
        self.writes[write].parts += 1;
        self.parts.push((write, part));
    }

    fn open(&mut self, group: Option<Group>) {
        let Some(group) = group else { return };
        if self.open.len() == MOST_OPEN {
            self.settle(Some(0));
        }
        self.open.push(group);
    }

    fn settle(&mut self, position: Option<usize>) {
        if let Some(position) = position {
            let group = self.open.remove(position);
            self.settled.push(group);
        }
    }

    /// A packet of no known flow may be of any between its addresses, as a
    /// fragment is.
    fn settle_between(&mut self, packet: &[u8], bytes: &[u8]) {
        if let Some(addresses) = addresses(packet) {
            let settled = self
                .open
                .extract_if(.., |group| group.is_between(addresses, bytes));
            self.settled.extend(settled);
        }
    }

    /// Brings the parts into the order of writes.
    fn gather(&mut self) {
        let mut start = 0;
        for write in &mut self.writes {
            write.pieces = start..start;
            start += write.parts;
        }
        self.pieces.resize(start, 0..0);
        for (write, part) in &self.parts {
            let pieces = &mut self.writes[*write].pieces;
            self.pieces[pieces.end] = part.clone();
            pieces.end += 1;
        }
    }
}

/// What a packet is compared with; of more flows the oldest group is let go.
const MOST_OPEN: usize = 16;
