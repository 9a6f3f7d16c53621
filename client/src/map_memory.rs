//! What `--map auto` chose, so that a container keeps its address over
//! disconnects and restarts.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use crate::plan::Memory;

/// By engine, from true to mapped prefixes.
type Chosen = BTreeMap<String, BTreeMap<IpNet, IpNet>>;

pub(crate) const FILE: &str = "maps.json";
/// What is being written.
pub(crate) const DRAFT: &str = "maps.json.new";

/// Connections of one process write one after the other.
static WRITING: Mutex<()> = Mutex::new(());

/// What was chosen for this engine, and for others. A file that cannot be read
/// is as good as none, but said.
pub(crate) fn recall(directory: &Path, engine: &str) -> Memory {
    let mut chosen = read(directory).unwrap_or_else(|error| {
        tracing::warn!("{error:#}: --map auto chooses anew");
        Chosen::new()
    });
    Memory {
        engine: engine.to_owned(),
        own: chosen.remove(engine).unwrap_or_default(),
        others: chosen
            .into_values()
            .flat_map(BTreeMap::into_values)
            .collect(),
    }
}

/// Writes down what was chosen for this engine.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn remember(directory: &Path, memory: &Memory) -> Result<()> {
    // A panic elsewhere has not touched the file.
    let _writing = WRITING.lock().unwrap_or_else(|error| error.into_inner());
    let mut chosen = read(directory).unwrap_or_default();
    chosen.insert(memory.engine.clone(), memory.own.clone());
    let write = || {
        let draft = directory.join(DRAFT);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(serde_json::to_string(&chosen)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, directory.join(FILE))
    };
    write().with_context(|| format!("remember the maps in {}", directory.join(FILE).display()))
}

fn read(directory: &Path) -> Result<Chosen> {
    let path = directory.join(FILE);
    let attempt = || format!("read the maps in {}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).with_context(attempt),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Chosen::new()),
        Err(error) => Err(error).with_context(attempt),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn chosen(engine: &str, truth: &str, mapped: &str) -> Memory {
        Memory {
            engine: engine.into(),
            own: [(truth.parse().unwrap(), mapped.parse().unwrap())].into(),
            ..Memory::default()
        }
    }

    #[test]
    fn each_engine_gets_its_own_back_and_knows_of_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let one = chosen("one", "172.18.0.0/16", "10.254.0.0/16");
        let two = chosen("two", "172.18.0.0/16", "10.253.0.0/16");
        remember(directory.path(), &one).unwrap();
        remember(directory.path(), &two).unwrap();
        let recalled = recall(directory.path(), "one");
        assert_eq!(recalled.own, one.own);
        assert_eq!(recalled.others, two.own.into_values().collect());
        assert!(recall(directory.path(), "three").own.is_empty());
        let mode = fs::metadata(directory.path().join(FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(!directory.path().join(DRAFT).exists());
    }

    #[test]
    fn a_broken_file_is_as_good_as_none_and_gets_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{\"one\":").unwrap();
        assert!(recall(directory.path(), "one").own.is_empty());
        let one = chosen("one", "fd00:1::/64", "fd7a::/64");
        remember(directory.path(), &one).unwrap();
        assert_eq!(recall(directory.path(), "one").own, one.own);
    }
}
