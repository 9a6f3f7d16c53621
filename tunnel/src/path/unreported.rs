//! What was sent on a path and not reported yet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Seal;

/// One packet in each [`SPACING`] since the last report, oldest first: a
/// report says nothing of what left after the packet it names.
#[derive(Debug, Default)]
pub(super) struct Unreported(VecDeque<(Seal, Instant)>);

const SPACING: Duration = Duration::from_millis(100);
/// More than fit into the longest silence that is waited for.
const MOST: usize = 32;

impl Unreported {
    /// When the oldest packet left.
    pub(super) fn since(&self) -> Option<Instant> {
        self.0.front().map(|(_, left)| *left)
    }

    pub(super) fn sent(&mut self, seal: Seal, now: Instant) {
        let is_spaced = self.0.back().is_none_or(|(_, left)| now >= *left + SPACING);
        if is_spaced && self.0.len() < MOST {
            self.0.push_back((seal, now));
        }
    }

    /// The peer authenticated `seal`, and hence what was sealed before it.
    pub(super) fn reported(&mut self, seal: Seal) {
        self.0
            .retain(|(sent, _)| sent.index == seal.index && sent.counter > seal.counter);
    }

    /// Counts what is unreported as if it had left at `left`.
    pub(super) fn pretend(&mut self, left: Instant) {
        self.0.truncate(1);
        if let Some((_, oldest)) = self.0.front_mut() {
            *oldest = left;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::start;

    #[test]
    fn a_report_covers_what_left_before_it_and_no_more() {
        let now = start();
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        let seal = |counter| Seal { index: 1, counter };
        let mut unreported = Unreported::default();
        for counter in 0..200 {
            unreported.sent(seal(counter), at(10 * counter));
        }
        unreported.reported(seal(104));
        assert_eq!(unreported.since(), Some(at(1100)));
        unreported.reported(seal(199));
        assert_eq!(unreported.since(), None);
    }

    #[test]
    fn the_oldest_is_kept_however_long_nothing_is_reported() {
        let now = start();
        let mut unreported = Unreported::default();
        for counter in 0..1000 {
            let seal = Seal { index: 1, counter };
            unreported.sent(seal, now + SPACING * u32::try_from(counter).unwrap());
        }
        assert_eq!(unreported.since(), Some(now));
        assert_eq!(unreported.0.len(), MOST);
    }
}
