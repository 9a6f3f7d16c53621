//! Names and directories: of each lab, and of the programs beside this one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// A lab's name, which says whose it is, and its directory. Dropped, it removes the directory and the lab's cgroups.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
}

impl Place {
    pub(super) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = directory_of(&format!("{PREFIX}{}-{number}", process::id()));
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let place = Self { directory };
        fs::create_dir(place.home()).context("create a home directory")?;
        Ok(place)
    }

    /// That of a killed lab, to be dropped.
    pub(super) fn adopt(lab: &str) -> Self {
        Self {
            directory: directory_of(lab),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lab(&self) -> String {
        let name = self.directory.file_name();
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The home directory of whoever uses the host.
    pub(super) fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// The name of the network namespace of one of its machines.
    pub(super) fn namespace(&self, machine: &str) -> String {
        format!("{}-{machine}", self.lab())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let lab = self.lab();
        remove_cgroup(&Path::new(CGROUPS).join(&lab));
        for hierarchy in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
            remove_cgroup(&hierarchy.path().join(&lab));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The process that made the lab of which `name` is a directory or a namespace.
pub(super) fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// The lab whose namespace has this name.
pub(super) fn lab_of(namespace: &str) -> Option<&str> {
    owner(namespace)?;
    namespace.rsplit_once('-').map(|(lab, _)| lab)
}

/// Where the directories of labs are.
pub(super) fn directories() -> PathBuf {
    env::temp_dir()
}

/// Cargo's target directory, which holds the program that runs.
pub(super) fn target() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let mut ancestors = program.ancestors();
    let target = ancestors.find(|directory| directory.join("CACHEDIR.TAG").is_file());
    target.map(Path::to_owned)
}

/// Where cargo puts the programs of a release build, whose client carries the server's image, and then those of this one.
pub(super) fn programs() -> Vec<PathBuf> {
    let own = env::current_exe().ok().and_then(|program| {
        let directory = program.parent()?;
        match directory.ends_with("deps") {
            true => directory.parent().map(Path::to_owned),
            false => Some(directory.to_owned()),
        }
    });
    let release = target().map(|target| target.join("release"));
    release.into_iter().chain(own).collect()
}

fn directory_of(lab: &str) -> PathBuf {
    directories().join(lab)
}

/// Removes a cgroup and those in it, which are directories that cannot be emptied of their files.
fn remove_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

const PREFIX: &str = "dtap-lab-";
const CGROUPS: &str = "/sys/fs/cgroup";

#[cfg(test)]
mod tests {
    use super::{lab_of, owner};

    #[test]
    fn a_namespace_tells_its_lab_and_its_owner() {
        assert_eq!(lab_of("dtap-lab-812-3-vm"), Some("dtap-lab-812-3"));
        assert_eq!(owner("dtap-lab-812-3-vm"), Some(812));
        assert_eq!(owner("dtap-lab-812-3"), Some(812));
    }

    #[test]
    fn names_of_others_have_no_owner() {
        assert_eq!(owner("dtap-lab-shell"), None);
        assert_eq!(lab_of("cni-0a1b"), None);
    }
}
