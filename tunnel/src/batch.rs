//! Payloads back to back in one buffer that is used again and again.

use std::ops::Range;

/// A reusable run of tagged payloads.
///
/// Consecutive payloads are adjacent in memory, so that equally sized
/// datagrams to one destination can be handed to the kernel as one segmented
/// write. Clearing keeps the memory.
#[derive(Debug)]
pub struct Batch<T> {
    buffer: Vec<u8>,
    end: usize,
    items: Vec<(T, Range<usize>)>,
}

impl<T> Batch<T> {
    /// An empty batch that has not allocated yet.
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            end: 0,
            items: Vec::new(),
        }
    }

    /// Appends what `write` puts at the start of a slice of `capacity` bytes
    /// and tags it as told with the length; nothing if it returns `None`.
    pub fn push_with(
        &mut self,
        capacity: usize,
        write: impl FnOnce(&mut [u8]) -> Option<(T, usize)>,
    ) {
        let limit = self.end + capacity;
        if self.buffer.len() < limit {
            self.buffer.resize(limit, 0);
        }
        if let Some((tag, length)) = write(&mut self.buffer[self.end..limit]) {
            let start = self.end;
            self.end = start + length.min(capacity);
            self.items.push((tag, start..self.end));
        }
    }

    /// Appends a copy of `payload`.
    pub fn push(&mut self, tag: T, payload: &[u8]) {
        self.push_with(payload.len(), |slot| {
            slot.copy_from_slice(payload);
            Some((tag, payload.len()))
        });
    }

    /// The payloads in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (&T, &[u8])> {
        self.items
            .iter()
            .map(|(tag, range)| (tag, &self.buffer[range.clone()]))
    }

    /// As [`Self::iter`], to be written to.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&T, &mut [u8])> {
        let mut rest = self.buffer.as_mut_slice();
        self.items.iter().map(move |(tag, range)| {
            let (payload, behind) = std::mem::take(&mut rest).split_at_mut(range.len());
            rest = behind;
            (tag, payload)
        })
    }

    /// Each payload with its tag and the range it has in [`Self::bytes`].
    pub fn items(&self) -> &[(T, Range<usize>)] {
        &self.items
    }

    /// The memory all payloads lie in.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.end]
    }

    /// As [`Self::bytes`], to be written to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.end]
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets the payloads and keeps the memory.
    pub fn clear(&mut self) {
        self.end = 0;
        self.items.clear();
    }
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Batch;

    #[test]
    fn payloads_lie_back_to_back() {
        let mut batch = Batch::new();
        batch.push('a', b"one");
        batch.push_with(100, |_| None);
        batch.push_with(100, |slot| {
            slot[..2].copy_from_slice(b"tw");
            Some(('c', 2))
        });
        batch.push('d', b"o");
        assert_eq!(batch.bytes(), b"onetwo");
        let tags: Vec<_> = batch.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, ['a', 'c', 'd']);
    }

    #[test]
    fn payloads_can_be_written_to() {
        let mut batch = Batch::new();
        batch.push('a', b"one");
        batch.push('b', b"");
        batch.push('c', b"three");
        for (tag, payload) in batch.iter_mut() {
            payload.fill(u8::try_from(*tag).unwrap());
        }
        assert_eq!(batch.bytes(), b"aaaccccc");
        let lengths: Vec<_> = batch.iter().map(|(_, payload)| payload.len()).collect();
        assert_eq!(lengths, [3, 0, 5]);
    }

    #[test]
    fn clearing_keeps_the_memory() {
        let mut batch = Batch::new();
        batch.push((), &[1; 4096]);
        let before = batch.bytes().as_ptr();
        batch.clear();
        batch.push((), &[2; 4096]);
        assert_eq!(batch.bytes().as_ptr(), before);
        assert_eq!(batch.len(), 1);
    }
}
