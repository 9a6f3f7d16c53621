//! Frames on their way to the devices of taps.

use crate::batch::Batch;
use crate::tap::TapId;

/// A reusable batch for each tap that gets frames.
#[derive(Debug, Default)]
pub struct Frames {
    batches: Vec<(TapId, Batch<()>)>,
    spare: Vec<Batch<()>>,
}

/// Batches whose memory is kept while nothing is on its way.
const MOST_SPARE: usize = 4;

impl Frames {
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The taps that get frames, and which.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (TapId, &mut Batch<()>)> {
        self.batches.iter_mut().map(|(tap, batch)| (*tap, batch))
    }

    /// Forgets the frames and keeps the memory.
    pub fn clear(&mut self) {
        for (_, mut batch) in self.batches.drain(..) {
            if self.spare.len() < MOST_SPARE {
                batch.clear();
                self.spare.push(batch);
            }
        }
    }

    pub(crate) fn push(&mut self, tap: TapId, frame: &[u8]) {
        let position = self.batches.iter().rposition(|(other, _)| *other == tap);
        let position = position.unwrap_or_else(|| {
            let batch = self.spare.pop().unwrap_or_default();
            self.batches.push((tap, batch));
            self.batches.len() - 1
        });
        self.batches[position].1.push((), frame);
    }
}
