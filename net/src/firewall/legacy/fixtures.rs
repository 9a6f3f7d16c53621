//! Tables of a real kernel, before and after `iptables-legacy` itself inserted the accepts for
//! dtap0: `record.sh` beside them recorded them.

use super::blob::Blob;
use super::layout::u32_at;
use super::table::{HOOKS, Table};
use crate::firewall::ruleset::Family;

pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) fn before(family: Family) -> Blob {
    blob(match family {
        Family::V4 => include_bytes!("fixtures/filter.bin"),
        Family::V6 => include_bytes!("fixtures/filter6.bin"),
    })
}

pub(super) fn after(family: Family) -> Blob {
    blob(match family {
        Family::V4 => include_bytes!("fixtures/filter-set.bin"),
        Family::V6 => include_bytes!("fixtures/filter6-set.bin"),
    })
}

pub(super) fn table(family: Family) -> Table {
    before(family).parse(family).unwrap()
}

fn blob(file: &[u8]) -> Blob {
    let word = |index: usize| u32_at(file, 32 + 4 * index).unwrap();
    Blob {
        valid_hooks: word(0),
        hook_entry: std::array::from_fn(|hook| word(1 + hook)),
        underflow: std::array::from_fn(|hook| word(1 + HOOKS + hook)),
        count: word(1 + 2 * HOOKS),
        entries: file[32 + 4 * (3 + 2 * HOOKS)..].to_owned(),
    }
}
