use std::ops::Range;

use super::Header;
use crate::Batch;

/// Of which protocols the device takes super-packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Merge {
    #[default]
    Tcp,
    /// The device has `TUN_F_USO4` and `TUN_F_USO6`, too (Linux 6.2).
    TcpAndUdp,
}

/// Groups the packets of a batch into super-packets.
#[derive(Debug, Default)]
pub struct Coalescer {
    merge: Merge,
    writes: Vec<(Header, Range<usize>)>,
    pieces: Vec<Range<usize>>,
}

impl Coalescer {
    pub fn new(merge: Merge) -> Self {
        Self {
            merge,
            ..Self::default()
        }
    }

    /// The writes that put the batch into the device: a header, and the ranges
    /// of [`Batch::bytes`] that follow it. Headers of super-packets are
    /// patched in the batch.
    pub fn plan<'a>(
        &'a mut self,
        batch: &mut Batch<()>,
    ) -> impl Iterator<Item = (Header, &'a [Range<usize>])> + use<'a> {
        self.writes.clear();
        self.pieces.clear();
        for (index, (_, range)) in batch.items().iter().enumerate() {
            self.pieces.push(range.clone());
            self.writes.push((Header::default(), index..index + 1));
        }
        let pieces = self.pieces.as_slice();
        self.writes
            .iter()
            .map(move |(header, range)| (*header, &pieces[range.clone()]))
    }
}
