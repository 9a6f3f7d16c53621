//! The Internet checksum's sum (RFC 1071).

/// The one's complement sum of the bytes' 16-bit words in network byte order;
/// an odd last byte is a word's first. Zero only if all of them are.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    // The processor carries from half to half of a lane, faster than vectors
    // can be widened, and no lane waits for another.
    let mut lanes = [0u128; 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks().0) {
            *lane += u128::from(u64::from_ne_bytes(*word));
        }
    }
    let lanes = lanes.iter().sum::<u128>().to_ne_bytes();
    let (words, rest) = rest.as_chunks();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words = lanes.as_chunks().0.iter().chain(words).chain([&last]);
    let sum = words.map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    // The sum of swapped words is the swapped sum (RFC 1071, §2 (B)).
    u16::from_be_bytes(fold(sum).to_ne_bytes())
}

/// A sum with its carries added in, again until none is left.
pub(crate) const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "four folds leave 16 bits")]
    {
        sum as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{fold, sum};

    /// RFC 1071, §4.1, byte pair by byte pair.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            let second = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(pair[0]) << 8 | u32::from(second);
            while sum >> 16 != 0 {
                sum = (sum & 0xffff) + (sum >> 16);
            }
        }
        u16::try_from(sum).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_has_the_sum_of_the_rfc() {
        assert_eq!(
            sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0xddf2
        );
    }

    #[test]
    fn carries_are_folded_until_none_is_left() {
        assert_eq!(fold(0), 0);
        assert_eq!(fold(0xffff), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0xffff_ffff_0000_0001), 1);
        assert_eq!(sum(&[0xff; 65_535]), reference(&[0xff; 65_535]));
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_byte_pairs(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            from in 0..8usize,
        ) {
            let bytes = bytes.get(from..).unwrap_or_default();
            prop_assert_eq!(sum(bytes), reference(bytes));
        }
    }
}
