//! What killed labs left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::namespace::{DIRECTORY, Namespace};
use super::place::{self, Place};

/// Removes namespaces, with the processes in them, and directories of labs whose owner is no more.
pub(super) fn remove() {
    let namespaces = orphans(Path::new(DIRECTORY));
    let mut labs = orphans(&place::directories());
    labs.extend(
        namespaces
            .iter()
            .filter_map(|name| place::lab_of(name))
            .map(str::to_owned),
    );
    for namespace in namespaces {
        // Two labs that start together may both try: the loser finds nothing.
        drop(Namespace::adopt(namespace));
    }
    for lab in labs {
        drop(Place::adopt(&lab));
    }
}

fn orphans(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| place::owner(name).is_some_and(|owner| !is_alive(owner)))
        .collect()
}

fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}
