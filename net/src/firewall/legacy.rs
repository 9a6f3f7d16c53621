//! Engines that filter by `iptables-legacy`: in tables of the kernel which nf_tables does not show,
//! which can only be rewritten as a whole, and whose changes nobody announces.
//!
//! ```text
//!   kernel ──▶ blob ──▶ table ──▶ plan ──▶ table ──▶ blob ──▶ kernel
//!                     jumps name rules              jumps are offsets
//! ```
//!
//! Only the accepts stand here: what our own table of nf_tables drops and translates it does for
//! these engines, too. A rule of somebody else's that got lost would be worse than a container out
//! of reach. So a table is only written if it was understood completely, and only while the lock of
//! `iptables` is held.
//!
//! The kernel asks these tables and those of nf_tables alike: what one of them drops is gone, whichever the engine uses.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::Obstacle;
use super::ruleset::Family;
use kernel::Socket;
use table::Table;

mod blob;
#[cfg(test)]
mod fixtures;
mod kernel;
mod layout;
mod lock;
mod plan;
mod table;

/// Whether packets for containers may be dropped by legacy tables.
#[derive(Debug)]
pub(super) enum Filter {
    /// None of them does.
    Elsewhere,
    /// By some that can be written.
    Writable,
    /// By some that must be left alone.
    Obstructed(Obstacle),
}

/// Looks, without making a table that is not there: tables are asked about by their names first.
/// `has_other` tells whether an engine filters by nf_tables: then a table is in the way only if it is known to drop.
pub(super) fn filter(lock: &Path, has_other: impl Fn() -> bool) -> Filter {
    match look(lock) {
        Ok(tables) if tables.is_empty() => Filter::Elsewhere,
        Ok(_) => Filter::Writable,
        Err(left_alone) => left_alone.filter(has_other),
    }
}

/// Lets these interfaces through where they may not get, and of `nics` no others. Costs one look at each table while that
/// is so already.
pub(super) fn set(
    interfaces: &BTreeSet<&str>,
    nics: &BTreeSet<String>,
    lock: &Path,
    has_other: impl Fn() -> bool,
) -> Filter {
    let tables = match look(lock) {
        Ok(tables) if tables.is_empty() => return Filter::Elsewhere,
        Ok(tables) => tables,
        Err(left_alone) => return left_alone.filter(has_other),
    };
    let drops = tables.iter().any(plan::drops);
    let plan = |table: &mut Table| plan::set(table, interfaces, nics);
    let mut tables = tables.into_iter();
    match tables.try_for_each(|table| change(table, lock, plan)) {
        Ok(()) => Filter::Writable,
        Err(error) => LeftAlone::new(&error, drops).filter(has_other),
    }
}

/// Tables that matter and cannot be changed.
struct LeftAlone {
    obstacle: Obstacle,
    /// Whether one of them is known to drop.
    drops: bool,
}

impl LeftAlone {
    fn new(error: &io::Error, drops: bool) -> Self {
        let obstacle = Obstacle {
            reason: error.to_string(),
            lacks_lock: false,
        };
        Self { obstacle, drops }
    }

    fn filter(self, has_other: impl Fn() -> bool) -> Filter {
        if !self.drops && has_other() {
            return Filter::Elsewhere;
        }
        Filter::Obstructed(self.obstacle)
    }
}

/// The tables that matter.
fn look(lock: &Path) -> Result<Vec<Table>, LeftAlone> {
    let tables = tables().map_err(|error| LeftAlone::new(&error, false))?;
    if tables.is_empty() {
        return Ok(tables);
    }
    match lock::open(lock) {
        Ok(_) => Ok(tables),
        Err(error) => {
            let drops = tables.iter().any(plan::drops);
            let mut left_alone = LeftAlone::new(&error, drops);
            left_alone.obstacle.lacks_lock = true;
            Err(left_alone)
        }
    }
}

/// Those of an engine, which has IPv4 at least, and any other that is closed.
fn tables() -> io::Result<Vec<Table>> {
    let families = [Family::V4, Family::V6].into_iter();
    let there = families.filter(|family| kernel::exists(*family));
    let tables = there.map(|family| read(family).map(|(_, table)| table));
    let mut tables = tables.collect::<io::Result<Vec<_>>>()?;
    let v4 = tables.iter().find(|table| table.family == Family::V4);
    let is_engines = v4.is_some_and(plan::has_docker);
    tables.retain(|table| is_engines || plan::has_docker(table) || plan::is_closed(table));
    Ok(tables)
}

/// Removes our accepts, whatever interface or which of these NICs they were for and however the engine filters now.
///
/// # Errors
/// There are some, and they cannot be removed. A table that is not understood has none.
pub(super) fn clear(nics: &BTreeSet<String>, lock: &Path) -> io::Result<()> {
    let families = [Family::V4, Family::V6].into_iter();
    let cleared = families
        .filter(|family| kernel::exists(*family))
        .map(|family| match read(family) {
            Ok((_, table)) => change(table, lock, |table| plan::clear(table, nics)),
            Err(error) => {
                tracing::debug!(?family, %error, "legacy table left alone");
                Ok(())
            }
        });
    cleared.fold(Ok(()), Result::and)
}

/// Makes a change, if it is one for the table just read, in one piece, and keeps all counters.
fn change(mut seen: Table, lock: &Path, plan: impl Fn(&mut Table) -> bool) -> io::Result<()> {
    if !plan(&mut seen) {
        return Ok(());
    }
    let family = seen.family;
    let _held = lock::hold(lock::open(lock)?)?;
    for _ in 0..ATTEMPTS {
        let (socket, mut table) = read(family)?;
        let rules = table.entries.len();
        if !plan(&mut table) {
            return Ok(());
        }
        match socket.replace(&table.serialise(), rules) {
            Ok(counters) => {
                let moved = table.entries.iter().map(|entry| {
                    let counted = entry.origin.and_then(|origin| counters.get(origin));
                    counted.copied().unwrap_or_default()
                });
                if let Err(error) = socket.add_counters(&moved.collect::<Vec<_>>()) {
                    tracing::debug!(%error, "counters of a legacy table lost");
                }
                tracing::info!(?family, "legacy firewall changed");
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(attempt("write", family, &error)),
        }
    }
    Err(attempt(
        "write",
        family,
        &"it keeps changing despite the lock",
    ))
}

fn read(family: Family) -> io::Result<(Socket, Table)> {
    let failed = |error: io::Error| attempt("read", family, &error);
    let socket = Socket::open(family).map_err(failed)?;
    for _ in 0..ATTEMPTS {
        let blob = match socket.table() {
            Ok(blob) => blob,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        return match blob.parse(family) {
            Ok(table) => Ok((socket, table)),
            Err(blob::Malformed(what)) => Err(attempt("read", family, &format!("it has {what}"))),
        };
    }
    Err(attempt("read", family, &"it keeps changing"))
}

fn attempt(what: &str, family: Family, error: &dyn std::fmt::Display) -> io::Error {
    let program = match family {
        Family::V4 => "iptables-legacy",
        Family::V6 => "ip6tables-legacy",
    };
    io::Error::other(format!("{what} the filter table of {program}: {error}"))
}

/// Others change a table one rule at a time, and Docker many rules in a row.
const ATTEMPTS: usize = 50;
