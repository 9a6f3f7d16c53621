//! Changes to files that are made all or not at all.
//!
//! Each goes by a rename in its own directory, so that whoever looks finds the old file or the new
//! one, whole. What was there keeps a second name until all is done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, fchown, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Error, Result};

use super::facts::beside;
use super::hyperkit::Owner;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: PathBuf,
    pub(super) becomes: Becomes,
    /// What it is for, to people.
    pub(super) what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// A second name of this file: the same bytes, owner, mode and time.
    Link(PathBuf),
    File {
        content: Vec<u8>,
        owner: Owner,
    },
    Nothing,
    /// What it is, but with this owner.
    Owned(Owner),
}

pub(super) const NEW: &str = ".dtap-new";
pub(super) const OLD: &str = ".dtap-old";

/// Makes all changes in order.
///
/// # Errors
/// When one fails; then those before it are undone, and what could not be is said.
pub(super) fn apply(changes: &[Change]) -> Result<()> {
    let mut done = Vec::new();
    for change in changes {
        sweep(&change.path);
        match make(change) {
            Ok(undo) => done.push(undo),
            Err(error) => return Err(undone(error.context(change.what.clone()), done)),
        }
    }
    for Undo { path, .. } in &done {
        sweep(path);
    }
    Ok(())
}

/// Removes what a killed predecessor has left: half a file, or a second name.
pub(super) fn sweep(path: &Path) {
    for ending in [NEW, OLD] {
        let _ = fs::remove_file(beside(path, ending));
    }
    remove_own_directories(path);
}

#[derive(Debug)]
struct Undo {
    path: PathBuf,
    was: Was,
}

#[derive(Debug)]
enum Was {
    Nothing,
    /// Still there by its other name.
    File,
    Owned(Owner),
}

fn make(change: &Change) -> Result<Undo> {
    let path = &change.path;
    let was = match &change.becomes {
        Becomes::Owned(owner) => {
            let metadata = fs::symlink_metadata(path)?;
            // Even a failed one may have done the half.
            let before = Owner::of(&metadata);
            if let Err(error) = own(path, *owner) {
                let _ = own(path, before);
                return Err(error.into());
            }
            Was::Owned(before)
        }
        Becomes::Link(_) | Becomes::File { .. } | Becomes::Nothing => {
            replace(path, &change.becomes)
                .inspect_err(|_| sweep(path))
                .map_err(|error| explained(error, path))?
        }
    };
    Ok(Undo {
        path: path.clone(),
        was,
    })
}

fn replace(path: &Path, becomes: &Becomes) -> io::Result<Was> {
    let new = beside(path, NEW);
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    if matches!(becomes, Becomes::File { .. }) {
        fs::create_dir_all(parent)?;
    }
    let was = match fs::hard_link(path, beside(path, OLD)) {
        Ok(()) => Was::File,
        Err(error) if error.kind() == ErrorKind::NotFound => Was::Nothing,
        Err(error) => return Err(error),
    };
    match becomes {
        Becomes::Nothing if matches!(was, Was::Nothing) => {}
        Becomes::Nothing => fs::remove_file(path)?,
        Becomes::Link(source) => {
            fs::hard_link(source, &new)?;
            fs::rename(&new, path)?;
            // Between two names of one file a rename does nothing at all: rename(2).
            let _ = fs::remove_file(&new);
        }
        Becomes::File { content, owner } => {
            write(&new, content, *owner)?;
            fs::rename(&new, path)?;
        }
        Becomes::Owned(_) => {}
    }
    // Some file systems cannot; the rename has happened all the same.
    let _ = File::open(parent).and_then(|it| it.sync_all());
    Ok(was)
}

fn write(path: &Path, content: &[u8], owner: Owner) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    fchown(&file, Some(owner.uid), Some(owner.gid))?;
    // After the owner, whose change takes away the set-id bits.
    file.set_permissions(fs::Permissions::from_mode(owner.mode))?;
    file.sync_all()
}

fn own(path: &Path, owner: Owner) -> io::Result<()> {
    lchown(path, Some(owner.uid), Some(owner.gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(owner.mode))
}

fn undone(error: Error, done: Vec<Undo>) -> Error {
    let failures: Vec<_> = done
        .into_iter()
        .rev()
        .filter_map(|undo| {
            let error = back(&undo).err()?;
            Some(format!("{}: {error}", undo.path.display()))
        })
        .collect();
    match failures.is_empty() {
        true => error.context("one step failed, and everything is as it was"),
        false => error.context(format!(
            "one step failed, and this could not be undone: {}",
            failures.join("; ")
        )),
    }
}

fn back(undo: &Undo) -> io::Result<()> {
    let path = &undo.path;
    match undo.was {
        Was::Owned(owner) => own(path, owner),
        Was::File => fs::rename(beside(path, OLD), path).inspect(|()| sweep(path)),
        Was::Nothing => fs::remove_file(path).inspect(|()| sweep(path)),
    }
}

/// The memory lies in a directory of ours, which goes with it, and those above that are empty.
fn remove_own_directories(path: &Path) {
    let own: Vec<_> = path.ancestors().skip(1).take(3).collect();
    if own.first().is_some_and(|it| it.ends_with(OWN_DIRECTORY)) {
        let _ = own.into_iter().try_for_each(fs::remove_dir);
    }
}

const OWN_DIRECTORY: &str = "dtap-tap";

fn explained(error: io::Error, path: &Path) -> Error {
    let is_mac = std::env::consts::OS == "macos";
    let is_protected = is_mac && error.kind() == ErrorKind::PermissionDenied;
    let error = Error::from(error).context(format!("change {}", path.display()));
    match is_protected {
        true => error.context(
            "macOS protects other apps: allow your terminal in System Settings, Privacy & Security, App Management",
        ),
        false => error,
    }
}
