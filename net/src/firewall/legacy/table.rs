//! One table as a list of rules whose jumps name rules, so that a rule can be inserted or removed
//! anywhere without a jump that then leads elsewhere.

use super::layout::{ACCEPT, DROP, Layout, STANDARD_TARGET, TARGET_NAME, VERDICT, text, u16_at};
use crate::firewall::ruleset::{Direction, Family};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) valid_hooks: u32,
    pub(super) entries: Vec<Entry>,
    /// The chains the kernel itself calls, by the number of their hook.
    pub(super) base: [Option<Chain>; HOOKS],
}

/// One rule, or the header of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// As the kernel has it. Only the verdict of a jump is not: it is an offset.
    pub(super) bytes: Vec<u8>,
    pub(super) target: Target,
    /// Its place in the table it was read from.
    pub(super) origin: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// The header of the chain of this name, or the end of the table.
    Header(Vec<u8>),
    /// A verdict that is no jump.
    Final,
    /// A rule without a target: on to the next one.
    Next,
    /// To a chain, named by its first rule.
    Jump(usize),
    /// A target of some module of the kernel's.
    Extension,
}

/// Rules `first` to `last`; the last is the policy, or the return to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Table {
    /// The chain called `name` that somebody has made.
    pub(super) fn chain(&self, name: &str) -> Option<Chain> {
        let is_header = |entry: &Entry| matches!(entry.target, Target::Header(_));
        let header = self.entries.iter().position(
            |entry| matches!(&entry.target, Target::Header(it) if it == name.as_bytes()),
        )?;
        let rules = self.entries.get(header + 1..)?;
        let length = rules.iter().position(is_header)?;
        (length > 0).then_some(Chain {
            first: header + 1,
            last: header + length,
        })
    }

    /// The chain of packets that are forwarded.
    pub(super) fn forward(&self) -> Option<Chain> {
        self.base[libc::NF_INET_FORWARD as usize]
    }

    /// Puts `entry` at `index`; a chain that began there begins with it.
    pub(super) fn insert(&mut self, index: usize, entry: Entry) {
        self.shift(
            |place| place + usize::from(place > index),
            |last| last + usize::from(last >= index),
        );
        self.entries.insert(index, entry);
    }

    /// Takes out a rule that is not the last of its chain; a chain that began with it begins with
    /// the next one.
    pub(super) fn remove(&mut self, index: usize) {
        self.entries.remove(index);
        self.shift(
            |place| place - usize::from(place > index),
            |last| last - usize::from(last > index),
        );
    }

    fn shift(&mut self, first: impl Fn(usize) -> usize, last: impl Fn(usize) -> usize) {
        for entry in &mut self.entries {
            match &mut entry.target {
                Target::Jump(to) => *to = first(*to),
                Target::Header(_) | Target::Final | Target::Next | Target::Extension => {}
            }
        }
        for chain in self.base.iter_mut().flatten() {
            chain.first = first(chain.first);
            chain.last = last(chain.last);
        }
    }
}

impl Entry {
    /// What `iptables -i INTERFACE -j ACCEPT`, or `-o`, makes.
    pub(super) fn accept(family: Family, direction: Direction, interface: &str) -> Self {
        let layout = Layout::of(family);
        let mut bytes = vec![0; layout.entry + STANDARD_TARGET];
        let (name, mask) = layout.interface(direction);
        // With the NUL: without it, names that only begin like this one match, too.
        let length = interface.len().min(name.len() - 1);
        bytes[name][..length].copy_from_slice(&interface.as_bytes()[..length]);
        bytes[mask][..=length].fill(u8::MAX);
        put_u16(&mut bytes, layout.target_offset, layout.entry);
        put_u16(
            &mut bytes,
            layout.next_offset,
            layout.entry + STANDARD_TARGET,
        );
        put_u16(&mut bytes, layout.entry, STANDARD_TARGET);
        bytes[layout.entry..][VERDICT].copy_from_slice(&ACCEPT.to_ne_bytes());
        Self {
            bytes,
            target: Target::Final,
            origin: None,
        }
    }

    /// The direction and interface of an entry that does what [`Self::accept`] does and nothing
    /// else.
    pub(super) fn accepted(&self, family: Family) -> Option<(Direction, String)> {
        let layout = Layout::of(family);
        DIRECTIONS.into_iter().find_map(|direction| {
            let (name, _) = layout.interface(direction);
            let name = std::str::from_utf8(text(self.bytes.get(name)?)).ok()?;
            let accept = Self::accept(family, direction, name);
            (!name.is_empty() && self.does_as(&accept, layout))
                .then(|| (direction, name.to_owned()))
        })
    }

    /// Whether it drops what it selects.
    pub(super) fn drops(&self, family: Family) -> bool {
        let target = u16_at(&self.bytes, Layout::of(family).target_offset);
        let target = target.and_then(|at| self.bytes.get(usize::from(at)..));
        let verdict = target.and_then(|target| target.get(VERDICT));
        self.target == Target::Final && verdict == Some(&DROP.to_ne_bytes())
    }

    /// Whether both select the same and accept it; counters and bookkeeping may differ.
    fn does_as(&self, accept: &Self, layout: Layout) -> bool {
        let verdict = |entry: &Self| {
            let target = entry.bytes.get(layout.entry..)?;
            let name = text(target.get(TARGET_NAME)?).to_owned();
            Some((name, target.get(VERDICT)?.to_owned()))
        };
        self.target == Target::Final
            && self.bytes.len() == accept.bytes.len()
            && self.bytes[..layout.selector] == accept.bytes[..layout.selector]
            && u16_at(&self.bytes, layout.target_offset)
                == u16_at(&accept.bytes, layout.target_offset)
            && verdict(self) == verdict(accept)
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
}

/// `NF_INET_NUMHOOKS`.
pub(super) const HOOKS: usize = 5;
const DIRECTIONS: [Direction; 2] = [Direction::In, Direction::Out];
