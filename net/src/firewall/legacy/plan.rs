//! Our two accepts in a table, and none of them elsewhere. Pure.

use std::collections::BTreeSet;

use super::table::{Chain, Entry, Table, Target};
use crate::firewall::plan::{DOCKER_ISOLATION, DOCKER_USER};
use crate::firewall::ruleset::Direction;

/// Whether an engine filters by this table.
pub(super) fn has_docker(table: &Table) -> bool {
    DOCKERS.iter().any(|name| table.chain(name).is_some())
}

/// Whether what no rule of it accepts is not forwarded.
pub(super) fn is_closed(table: &Table) -> bool {
    let policy = table.forward().map(|chain| &table.entries[chain.last]);
    policy.is_some_and(|policy| policy.drops(table.family))
}

/// Whether packets for containers are dropped by it: chains of an engine that is gone may be empty.
pub(super) fn drops(table: &Table) -> bool {
    let mut is_dockers = false;
    is_closed(table)
        || table.entries.iter().any(|entry| match &entry.target {
            Target::Header(name) => {
                is_dockers = name.starts_with(DOCKERS[0].as_bytes());
                false
            }
            Target::Final => is_dockers && entry.drops(table.family),
            Target::Next | Target::Jump(_) | Target::Extension => false,
        })
}

/// Puts the accepts for these interfaces where they are needed, and for no others of ours, such as others of `nics`;
/// says whether anything had to change.
///
/// As in the tables of nf_tables: each exactly once, at the head when it is put there, and then left
/// where it is unless Docker itself puts drops above it.
pub(super) fn set(table: &mut Table, interfaces: &BTreeSet<&str>, nics: &BTreeSet<String>) -> bool {
    let (place, loses_head) = match table.chain(DOCKER_USER) {
        Some(_) => (Place::DockerUser, false),
        None => (Place::Forward, table.chain(DOCKER_ISOLATION).is_some()),
    };
    let mut changed = false;
    let mut found = BTreeSet::new();
    for other in Place::ALL {
        changed |= retain(
            table,
            other,
            nics,
            |direction, name, is_headed_by_others| {
                other == place
                    && interfaces.contains(name)
                    && !(loses_head && is_headed_by_others)
                    && found.insert((name.to_owned(), direction))
            },
        );
    }
    for interface in interfaces {
        for direction in [Direction::Out, Direction::In] {
            if !found.contains(&((*interface).to_owned(), direction))
                && let Some(chain) = place.chain(table)
            {
                let accept = Entry::accept(table.family, direction, interface);
                table.insert(chain.first, accept);
                changed = true;
            }
        }
    }
    changed
}

/// Removes the accepts for any interface of ours and for these NICs; says whether there were any.
pub(super) fn clear(table: &mut Table, nics: &BTreeSet<String>) -> bool {
    Place::ALL.into_iter().fold(false, |changed, place| {
        retain(table, place, nics, |_, _, _| false) | changed
    })
}

/// Where accepts of ours may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    DockerUser,
    /// Where the engine has no chain for others: IPv6 before Engine 23.
    Forward,
}

impl Place {
    const ALL: [Self; 2] = [Self::DockerUser, Self::Forward];

    fn chain(self, table: &Table) -> Option<Chain> {
        match self {
            Self::DockerUser => table.chain(DOCKER_USER),
            Self::Forward => table.forward(),
        }
    }
}

/// Keeps those accepts of ours that are `wanted`, by their direction, their interface and whether
/// rules of others stand above them.
fn retain(
    table: &mut Table,
    place: Place,
    nics: &BTreeSet<String>,
    mut wanted: impl FnMut(Direction, &str, bool) -> bool,
) -> bool {
    let Some(chain) = place.chain(table) else {
        return false;
    };
    let mut is_headed_by_others = false;
    let mut unwanted = Vec::new();
    // The last rule of a chain is its policy or its return.
    for index in chain.first..chain.last {
        let accepted = table.entries[index].accepted(table.family);
        match accepted.filter(|(_, it)| is_ours(it) || nics.contains(it)) {
            Some((direction, interface)) => {
                if !wanted(direction, &interface, is_headed_by_others) {
                    unwanted.push(index);
                }
            }
            None => is_headed_by_others = true,
        }
    }
    for index in unwanted.iter().rev() {
        table.remove(*index);
    }
    !unwanted.is_empty()
}

/// Whether a server may have made this interface: nothing else tells a rule here from another.
fn is_ours(interface: &str) -> bool {
    let number = interface.strip_prefix("dtap");
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Chains that every engine since 1.0 has, or since 17.06.
const DOCKERS: [&str; 2] = ["DOCKER", DOCKER_USER];

#[cfg(test)]
mod tests;
