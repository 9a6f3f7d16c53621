//! Becomes HyperKit, with one more NIC if nothing speaks against it.
//!
//! Started by Docker in HyperKit's place. It says nothing, and what exec(2) keeps stays: process id,
//! file descriptors, environment. Rust's library unblocks all signals and gives SIGPIPE its default,
//! which HyperKit ignores as its first act (moby/hyperkit src/hyperkit.c).

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, io};

use dtap_shim::{MARKER, ORIGINAL, RECORD, inject, nics};

/// What a shell returns for a command that is not there.
const NOT_FOUND: u8 = 127;
/// In bytes; a record is far smaller.
const LONGEST_RECORD: u64 = 64 * 1024;

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let place = place(&name);
    let original = beside(&place, ORIGINAL);

    let error = become_program(&original, &name, &extended(&place, &arguments));
    let (original, error) = match renamed_original(&place) {
        Some(found) if error.kind() == io::ErrorKind::NotFound => {
            let error = become_program(&found, &name, &arguments);
            (found, error)
        }
        _ => (original, error),
    };
    eprintln!("{MARKER}: cannot start {}: {error}", original.display());
    ExitCode::from(NOT_FOUND)
}

/// Where this program lies, even if it was called by a symlink.
fn place(name: &OsStr) -> PathBuf {
    let path = env::current_exe().unwrap_or_else(|_| name.into());
    path.canonicalize().unwrap_or(path)
}

fn beside(place: &Path, ending: &str) -> PathBuf {
    let mut path = place.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn extended(place: &Path, arguments: &[OsString]) -> Vec<OsString> {
    record(&beside(place, RECORD))
        .and_then(|record| nics(&record))
        .and_then(|nics| inject(arguments, &nics).ok())
        .unwrap_or_else(|| arguments.to_vec())
}

fn record(path: &Path) -> Option<String> {
    let mut text = String::new();
    // A pipe or a terminal in its place would keep Docker waiting.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?.take(LONGEST_RECORD);
    file.read_to_string(&mut text).ok()?;
    (file.limit() > 0).then_some(text)
}

/// Another tool's installer renames whatever it finds in HyperKit's place, also a shim. Never this
/// program, which would start itself for ever.
fn renamed_original(place: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(place.parent()?).ok()?;
    let mut originals = entries
        .flatten()
        .map(|it| it.path())
        .filter(|path| path != place && path.to_string_lossy().ends_with(ORIGINAL));
    originals.next().filter(|_| originals.next().is_none())
}

fn become_program(program: &Path, name: &OsStr, arguments: &[OsString]) -> io::Error {
    Command::new(program).arg0(name).args(arguments).exec()
}
