//! Interfaces that are ours for a while: unlike those we make, they outlive a client that is killed, with all it has set.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};
use dtap_net::router::Router;

/// In the state directory: their names, one per line.
pub(crate) const FILE: &str = "borrowed";

/// Remembers an interface; before anything is set on it.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn take(directory: &Path, interface: &str) -> Result<()> {
    let mut names = read(directory)?;
    names.insert(interface.to_owned());
    write(directory, &names)
}

/// Forgets an interface; after everything was undone on it.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn give_back(directory: &Path, interface: &str) -> Result<()> {
    let mut names = read(directory)?;
    names.remove(interface);
    write(directory, &names)
}

/// Undoes what a killed client has left.
///
/// # Errors
/// The operating system refused.
pub(crate) fn sweep(directory: &Path) -> Result<()> {
    for interface in read(directory)? {
        let retired = Router::new(&interface).and_then(|mut router| router.retire());
        retired.with_context(|| format!("undo what a killed client left on {interface}"))?;
    }
    write(directory, &BTreeSet::new())
}

fn read(directory: &Path) -> Result<BTreeSet<String>> {
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn write(directory: &Path, names: &BTreeSet<String>) -> Result<()> {
    let path = directory.join(FILE);
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    let written = match lines.is_empty() {
        false => fs::write(&path, lines),
        true => match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        },
    };
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_known_until_it_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let names = || {
            read(directory.path())
                .unwrap()
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), [""; 0]);
        for interface in ["tap1", "tap2", "tap1"] {
            take(directory.path(), interface).unwrap();
        }
        assert_eq!(names(), ["tap1", "tap2"]);
        give_back(directory.path(), "tap1").unwrap();
        give_back(directory.path(), "tap3").unwrap();
        assert_eq!(names(), ["tap2"]);
        give_back(directory.path(), "tap2").unwrap();
        assert!(!directory.path().join(FILE).exists());
    }

    #[test]
    fn an_interface_that_is_gone_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        take(directory.path(), "dtap-none").unwrap();
        sweep(directory.path()).unwrap();
        assert!(!directory.path().join(FILE).exists());
    }
}
