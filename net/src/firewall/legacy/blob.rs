//! A table as the kernel hands it out, and as it wants it back: rules one behind the other, jumps
//! and chains as offsets.
//!
//! Whatever is not understood to the last byte is an error: a table that is written back must not
//! have lost a rule of somebody else's.

use std::collections::BTreeMap;

use super::layout::{
    ERROR_NAME, Layout, STANDARD_TARGET, TARGET, TARGET_NAME, VERDICT, text, u16_at, u32_at,
};
use super::table::{Chain, Entry, HOOKS, Table, Target};
use crate::firewall::ruleset::Family;

/// What `struct ipt_getinfo` and `ipt_get_entries` tell, and `ipt_replace` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) valid_hooks: u32,
    pub(super) hook_entry: [u32; HOOKS],
    pub(super) underflow: [u32; HOOKS],
    pub(super) count: u32,
    pub(super) entries: Vec<u8>,
}

/// Why a table is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl Blob {
    pub(super) fn parse(&self, family: Family) -> Result<Table, Malformed> {
        let split = split(&self.entries, Layout::of(family))?;
        if split.len() != self.count as usize {
            return Err(Malformed("another number of rules than announced"));
        }
        let places: BTreeMap<usize, usize> = split
            .iter()
            .enumerate()
            .map(|(index, (offset, _))| (*offset, index))
            .collect();
        let entries: Vec<_> = split
            .into_iter()
            .enumerate()
            .map(|(index, (_, bytes))| {
                Ok(Entry {
                    target: target(bytes, index, &places, Layout::of(family))?,
                    bytes: bytes.to_owned(),
                    origin: Some(index),
                })
            })
            .collect::<Result<_, _>>()?;
        let mut table = Table {
            family,
            valid_hooks: self.valid_hooks,
            entries,
            base: [None; HOOKS],
        };
        for hook in 0..HOOKS {
            table.base[hook] = self.base_chain(hook, &places)?;
        }
        check_jumps(&table)?;
        Ok(table)
    }

    fn base_chain(
        &self,
        hook: usize,
        places: &BTreeMap<usize, usize>,
    ) -> Result<Option<Chain>, Malformed> {
        if self.valid_hooks & (1 << hook) == 0 {
            return Ok(None);
        }
        let place = |offset: u32| places.get(&(offset as usize)).copied();
        let first = place(self.hook_entry[hook]);
        let last = place(self.underflow[hook]);
        match (first, last) {
            (Some(first), Some(last)) if first <= last => Ok(Some(Chain { first, last })),
            (None | Some(_), None | Some(_)) => Err(Malformed(
                "a chain of the kernel's that begins within a rule",
            )),
        }
    }
}

impl Table {
    pub(super) fn serialise(&self) -> Blob {
        let layout = Layout::of(self.family);
        let mut offsets = Vec::with_capacity(self.entries.len() + 1);
        let mut size = 0;
        for entry in &self.entries {
            offsets.push(size);
            size += entry.bytes.len();
        }
        offsets.push(size);
        let mut entries = Vec::with_capacity(size);
        for (index, entry) in self.entries.iter().enumerate() {
            let begin = entries.len();
            entries.extend(&entry.bytes);
            let to = match entry.target {
                Target::Jump(to) => to,
                Target::Next => index + 1,
                Target::Header(_) | Target::Final | Target::Extension => continue,
            };
            let target = begin + target_offset(&entry.bytes, layout);
            entries[target..][VERDICT].copy_from_slice(&(offsets[to] as u32).to_ne_bytes());
        }
        let place = |of: fn(&Chain) -> usize| {
            self.base
                .map(|chain| chain.map_or(ABSENT, |chain| offsets[of(&chain)] as u32))
        };
        Blob {
            valid_hooks: self.valid_hooks,
            hook_entry: place(|chain| chain.first),
            underflow: place(|chain| chain.last),
            count: self.entries.len() as u32,
            entries,
        }
    }
}

/// Each rule with its offset.
fn split(blob: &[u8], layout: Layout) -> Result<Vec<(usize, &[u8])>, Malformed> {
    if blob.len() > LARGEST {
        return Err(Malformed("more rules than are believable"));
    }
    let mut rules = Vec::new();
    let mut offset = 0;
    while offset < blob.len() {
        let rest = &blob[offset..];
        let rule = u16_at(rest, layout.next_offset).and_then(|next| rest.get(..next.into()));
        let rule = rule.filter(|rule| is_whole(rule, layout));
        let rule = rule.ok_or(Malformed("a rule whose lengths do not fit"))?;
        rules.push((offset, rule));
        offset += rule.len();
    }
    Ok(rules)
}

/// Whether the target ends where the rule does, as `iptables` always has it.
fn is_whole(rule: &[u8], layout: Layout) -> bool {
    let at = target_offset(rule, layout);
    let length = u16_at(rule, at).map_or(0, usize::from);
    rule.len().is_multiple_of(ALIGNMENT)
        && at >= layout.entry
        && at.is_multiple_of(ALIGNMENT)
        && length >= TARGET
        && at + length == rule.len()
}

fn target_offset(rule: &[u8], layout: Layout) -> usize {
    u16_at(rule, layout.target_offset).map_or(0, usize::from)
}

fn target(
    rule: &[u8],
    index: usize,
    places: &BTreeMap<usize, usize>,
    layout: Layout,
) -> Result<Target, Malformed> {
    let target = &rule[target_offset(rule, layout)..];
    match text(&target[TARGET_NAME]) {
        b"" => {
            let verdict = u32_at(target, VERDICT.start).filter(|_| target.len() == STANDARD_TARGET);
            let verdict = verdict.ok_or(Malformed("a verdict of another length"))?;
            if verdict.cast_signed() < 0 {
                return Ok(Target::Final);
            }
            match places.get(&(verdict as usize)) {
                Some(next) if *next == index + 1 => Ok(Target::Next),
                Some(to) => Ok(Target::Jump(*to)),
                None => Err(Malformed("a jump into the middle of a rule")),
            }
        }
        b"ERROR" => {
            let name = target.get(ERROR_NAME);
            let name = name.ok_or(Malformed("a chain without a name"))?;
            Ok(Target::Header(text(name).to_owned()))
        }
        _ => Ok(Target::Extension),
    }
}

/// Jumps lead to chains only, and the table ends with its own header: what no `iptables` writes may
/// mean what is not known here.
fn check_jumps(table: &Table) -> Result<(), Malformed> {
    let is_header = |index: usize| {
        let entry = table.entries.get(index);
        entry.is_some_and(|entry| matches!(entry.target, Target::Header(_)))
    };
    for entry in &table.entries {
        match entry.target {
            Target::Jump(to) if !to.checked_sub(1).is_some_and(is_header) => {
                return Err(Malformed("a jump into the middle of a chain"));
            }
            Target::Jump(_)
            | Target::Header(_)
            | Target::Final
            | Target::Next
            | Target::Extension => {}
        }
    }
    let bounds = table.base.iter().flatten();
    if bounds
        .into_iter()
        .any(|chain| (chain.first..=chain.last).any(is_header))
    {
        return Err(Malformed("a chain of the kernel's that runs into another"));
    }
    match table.entries.last().map(|entry| &entry.target) {
        Some(Target::Header(name)) if name == b"ERROR" => Ok(()),
        Some(
            Target::Header(_) | Target::Final | Target::Next | Target::Jump(_) | Target::Extension,
        )
        | None => Err(Malformed("no end")),
    }
}

/// What the kernel has for hooks a table does not have.
const ABSENT: u32 = u32::MAX;
/// Of every rule and target: that of `struct xt_counters`.
const ALIGNMENT: usize = 8;
/// Hundreds of thousands of rules, and far from where an offset overflows a verdict.
const LARGEST: usize = 64 << 20;

#[cfg(test)]
mod tests;
