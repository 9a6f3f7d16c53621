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

/// How the engine filters.
#[derive(Debug)]
pub(super) enum Filter {
    /// Not by legacy tables.
    Elsewhere,
    /// By legacy tables that can be written.
    Writable,
    /// By legacy tables that must be left alone.
    Obstructed(Obstacle),
}

/// Looks, without making a table that is not there: tables are asked about by their names first.
pub(super) fn filter(lock: &Path) -> Filter {
    look(lock).0
}

/// Lets `interface` through if the engine filters here. Costs one look at each table while that is
/// so already.
pub(super) fn set(interface: &str, lock: &Path) -> Filter {
    let (filter, tables) = look(lock);
    match filter {
        Filter::Elsewhere | Filter::Obstructed(_) => filter,
        Filter::Writable => {
            let plan = |table: &mut Table| plan::set(table, interface);
            let mut tables = tables.into_iter();
            match tables.try_for_each(|table| change(table, lock, plan)) {
                Ok(()) => filter,
                Err(error) => Filter::obstructed(&error),
            }
        }
    }
}

impl Filter {
    fn obstructed(error: &io::Error) -> Self {
        Self::Obstructed(Obstacle {
            reason: error.to_string(),
            lacks_lock: false,
        })
    }
}

/// With the tables by which the engine filters.
fn look(lock: &Path) -> (Filter, Vec<Table>) {
    let filter = match tables() {
        Err(error) => Filter::obstructed(&error),
        Ok(tables) if tables.is_empty() => Filter::Elsewhere,
        Ok(tables) => match lock::open(lock) {
            Ok(_) => return (Filter::Writable, tables),
            Err(error) => Filter::Obstructed(Obstacle {
                reason: error.to_string(),
                lacks_lock: true,
            }),
        },
    };
    (filter, Vec::new())
}

/// Of an engine: none without its IPv4 chains.
fn tables() -> io::Result<Vec<Table>> {
    if !kernel::exists(Family::V4) {
        return Ok(Vec::new());
    }
    let v4 = read(Family::V4)?.1;
    if !plan::has_docker(&v4) {
        return Ok(Vec::new());
    }
    let v6 = kernel::exists(Family::V6).then(|| read(Family::V6));
    let v6 = v6.transpose()?.map(|(_, table)| table);
    Ok([v4].into_iter().chain(v6).collect())
}

/// Removes our accepts, whatever interface they were for and however the engine filters now.
///
/// # Errors
/// There are some, and they cannot be removed. A table that is not understood has none.
pub(super) fn clear(lock: &Path) -> io::Result<()> {
    let families = [Family::V4, Family::V6].into_iter();
    let cleared = families
        .filter(|family| kernel::exists(*family))
        .map(|family| match read(family) {
            Ok((_, table)) => change(table, lock, plan::clear),
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
