//! The `filter` tables of `ip_tables` and `ip6_tables`, by the options of a socket.
//!
//! Any socket of the family will do (`nf_getsockopt` in the kernel's `nf_sockopt.c`): a datagram
//! socket needs no `CAP_NET_RAW`. To ask for a table that is not there makes it: see [`exists`].

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::blob::Blob;
use super::layout::{COUNTERS, u32_at};
use super::table::HOOKS;
use crate::firewall::ruleset::Family;

/// Packets and bytes that a rule has seen: `struct xt_counters`.
pub(super) type Counters = [u8; COUNTERS];

/// Whether the table of this family is in use in this namespace.
pub(super) fn exists(family: Family) -> bool {
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == TABLE))
}

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    family: Family,
}

impl Socket {
    pub(super) fn open(family: Family) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let fd = socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { fd, family })
    }

    /// The whole table.
    ///
    /// # Errors
    /// `Interrupted` if it grew or shrank meanwhile.
    pub(super) fn table(&self) -> io::Result<Blob> {
        let mut info = named(INFO_SIZE);
        self.ask(GET_INFO, &mut info)?;
        let word = |index: usize| u32_at(&info, NAME_SIZE + 4 * index).unwrap_or_default();
        let hooks = |first: usize| std::array::from_fn(|hook| word(first + hook));
        let (count, size) = (word(1 + 2 * HOOKS), word(2 + 2 * HOOKS));

        let mut request = named(GET_ENTRIES_SIZE + size as usize);
        request[NAME_SIZE..][..4].copy_from_slice(&size.to_ne_bytes());
        self.ask(GET_ENTRIES, &mut request)?;
        Ok(Blob {
            valid_hooks: word(0),
            hook_entry: hooks(1),
            underflow: hooks(1 + HOOKS),
            count,
            entries: request.split_off(GET_ENTRIES_SIZE),
        })
    }

    /// Swaps the table for `blob` at once, or does nothing. Returns the counters of the `rules` rules
    /// that were there.
    ///
    /// # Errors
    /// `Interrupted` if there is another number of rules now.
    pub(super) fn replace(&self, blob: &Blob, rules: usize) -> io::Result<Vec<Counters>> {
        let mut counters = vec![[0; COUNTERS]; rules];
        let mut request = named(NAME_SIZE);
        for word in [blob.valid_hooks, blob.count, blob.entries.len() as u32]
            .into_iter()
            .chain(blob.hook_entry)
            .chain(blob.underflow)
            .chain([rules as u32])
        {
            request.extend(word.to_ne_bytes());
        }
        request.extend(counters.as_mut_ptr().expose_provenance().to_ne_bytes());
        request.extend(&blob.entries);
        // SAFETY: the kernel reads `request.len()` bytes of the request, and by the pointer in it
        // writes `rules` counters into `counters`, which has room for them and outlives the call.
        let done = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                self.level(),
                SET_REPLACE,
                request.as_ptr().cast(),
                request.len() as libc::socklen_t,
            )
        };
        done_or(done)?;
        Ok(counters)
    }

    /// Adds to the counters of the rules, in their order.
    pub(super) fn add_counters(&self, counters: &[Counters]) -> io::Result<()> {
        let mut request = named(ADD_COUNTERS_SIZE);
        let count = counters.len() as u32;
        request[NAME_SIZE..][..4].copy_from_slice(&count.to_ne_bytes());
        request.extend(counters.as_flattened());
        // SAFETY: the kernel reads `request.len()` bytes of the request.
        let done = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                self.level(),
                SET_ADD_COUNTERS,
                request.as_ptr().cast(),
                request.len() as libc::socklen_t,
            )
        };
        done_or(done)
    }

    fn ask(&self, option: libc::c_int, answer: &mut [u8]) -> io::Result<()> {
        let mut length = answer.len() as libc::socklen_t;
        // SAFETY: the kernel reads and writes at most `length` bytes of `answer`, and `length` itself.
        let done = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                self.level(),
                option,
                answer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        done_or(done)
    }

    fn level(&self) -> libc::c_int {
        match self.family {
            Family::V4 => libc::SOL_IP,
            Family::V6 => libc::SOL_IPV6,
        }
    }
}

/// A request about the table, of this length.
fn named(length: usize) -> Vec<u8> {
    let mut request = vec![0; length];
    request[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    request
}

fn done_or(result: libc::c_int) -> io::Result<()> {
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN) => Err(io::ErrorKind::Interrupted.into()),
        Err(error) => Err(error.into()),
    }
}

const TABLE: &str = "filter";

// The same numbers for both families: `ip_tables.h` and `ip6_tables.h`.
const SET_REPLACE: libc::c_int = 64;
const SET_ADD_COUNTERS: libc::c_int = 65;
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

/// `XT_TABLE_MAXNAMELEN`.
const NAME_SIZE: usize = 32;
/// `struct ipt_getinfo`: valid hooks, an entry and an underflow for each hook, count, size.
const INFO_SIZE: usize = NAME_SIZE + 4 * (3 + 2 * HOOKS);
/// `struct ipt_get_entries`: size, padding.
const GET_ENTRIES_SIZE: usize = NAME_SIZE + 8;
/// `struct xt_counters_info`: count, padding.
const ADD_COUNTERS_SIZE: usize = NAME_SIZE + 8;
