//! The Internet checksum (RFC 1071), updated by what changed (RFC 1624).

use std::ops::AddAssign;

use super::layout::Checksum;
use crate::checksum::fold;

/// By how much the one's complement sum over some 16-bit words changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Difference(u32);

impl Difference {
    /// From `old` to `new`, which are equally long and begin at an even offset.
    pub(super) fn between(old: &[u8], new: &[u8]) -> Self {
        let old = words(old).map(|word| u32::from(!word));
        let new = words(new).map(u32::from);
        Self(old.chain(new).sum::<u32>()).folded()
    }

    /// The checksum after the change: `HC' = ~(~HC + ~m + m')`, equation 3 of
    /// RFC 1624.
    pub(super) fn of_checksum(self, checksum: u16) -> u16 {
        !self.of_sum(!checksum)
    }

    /// The plain sum after the change.
    pub(super) fn of_sum(self, sum: u16) -> u16 {
        fold(u64::from(self.0) + u64::from(sum))
    }

    fn folded(self) -> Self {
        Self(fold(self.0.into()).into())
    }
}

impl AddAssign for Difference {
    fn add_assign(&mut self, other: Self) {
        *self = Self(self.0 + other.0).folded();
    }
}

/// Updates the checksum at this offset by what it covers; returns by how much
/// the checksum's own word changed. One that is not there stays so.
pub(super) fn adjust(
    packet: &mut [u8],
    at: usize,
    kind: Checksum,
    covered: Difference,
) -> Difference {
    let Some(field) = packet.get_mut(at..at + 2) else {
        return Difference::default();
    };
    let old = [field[0], field[1]];
    let updated = covered.of_checksum(u16::from_be_bytes(old));
    let new = match (kind, u16::from_be_bytes(old), updated) {
        (Checksum::Always, _, updated) => updated,
        (Checksum::ZeroIsNone, 0, _) => return Difference::default(),
        (Checksum::ZeroIsNone, _, 0) => 0xffff,
        (Checksum::ZeroIsNone, _, updated) => updated,
    };
    field.copy_from_slice(&new.to_be_bytes());
    Difference::between(&old, &new.to_be_bytes())
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .chunks_exact(2)
        .map(|word| u16::from_be_bytes([word[0], word[1]]))
}
