//! Where the fields of `struct ipt_entry`, `struct ip6t_entry` and of their targets are: the kernel's
//! `ip_tables.h`, `ip6_tables.h` and `x_tables.h` on 64-bit machines. Integers are in native order.

use std::ops::Range;

use crate::firewall::ruleset::{Direction, Family};

/// How a rule of one family begins: what it selects by, then bookkeeping, then matches and a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Length of `struct ipt_ip` or `ip6t_ip6`.
    pub(super) selector: usize,
    pub(super) target_offset: usize,
    pub(super) next_offset: usize,
    /// Length of the whole structure.
    pub(super) entry: usize,
    interfaces: usize,
}

impl Layout {
    pub(super) const fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                selector: 84,
                target_offset: 88,
                next_offset: 90,
                entry: 112,
                interfaces: 16,
            },
            Family::V6 => Self {
                selector: 136,
                target_offset: 140,
                next_offset: 142,
                entry: 168,
                interfaces: 64,
            },
        }
    }

    /// Where an interface's name is, and the mask of its significant bytes.
    pub(super) const fn interface(self, direction: Direction) -> (Range<usize>, Range<usize>) {
        let name = match direction {
            Direction::In => self.interfaces,
            Direction::Out => self.interfaces + libc::IFNAMSIZ,
        };
        let mask = name + 2 * libc::IFNAMSIZ;
        (name..name + libc::IFNAMSIZ, mask..mask + libc::IFNAMSIZ)
    }
}

/// `struct xt_entry_target`: its length in 16 bits, then its name.
pub(super) const TARGET: usize = 32;
pub(super) const TARGET_NAME: Range<usize> = 2..31;
/// `struct xt_standard_target`: the verdict behind it, and padding.
pub(super) const STANDARD_TARGET: usize = 40;
pub(super) const VERDICT: Range<usize> = 32..36;
/// `struct xt_error_target`: the name of a chain behind it.
pub(super) const ERROR_NAME: Range<usize> = 32..62;

/// Verdicts that are no offset: `-NF_ACCEPT - 1` and `-NF_DROP - 1`.
pub(super) const ACCEPT: i32 = -2;
pub(super) const DROP: i32 = -1;
pub(super) const COUNTERS: usize = 16;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A text up to its first NUL.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Offsets are written as 4 bytes on every machine, and the header of a replacement as a 64-bit
/// machine has it.
const _: () = assert!(
    size_of::<usize>() == 8,
    "legacy tables need a 64-bit machine"
);
