//! What the server remembers in its volume: its key, its port, its clients.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use dtap_tunnel::HardwareAddress;
use dtap_tunnel::session::{Attachment, Tap};
use dtap_tunnel::{PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};

/// The state directory.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    pub(crate) key: PrivateKey,
    pub(crate) state: State,
}

/// Kept as JSON; every change replaces the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The UDP port of the last run: NATs and clients know it.
    #[serde(default)]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) clients: BTreeMap<PublicKey, Known>,
}

/// What is kept of a client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Its place in the address pool.
    pub(crate) number: u8,
    /// Whether it was paired when the server stopped; with it, what it wanted.
    pub(crate) paired: bool,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
    #[serde(default)]
    pub(crate) taps: Vec<Tap>,
    #[serde(default)]
    pub(crate) nic: Option<HardwareAddress>,
}

const KEY: &str = "key";
const STATE: &str = "state.json";

impl Store {
    /// Opens the directory; makes it and the key if they are missing.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("create {}", directory.display()))?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))
            .with_context(|| format!("make {} private", directory.display()))?;
        Ok(Self {
            key: key(&directory.join(KEY))?,
            state: state(&directory.join(STATE))?,
            directory: directory.to_owned(),
        })
    }

    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.state)?;
        replace(&self.directory.join(STATE), text.as_bytes())
    }

    pub(crate) fn numbers(&self) -> BTreeSet<u8> {
        self.state
            .clients
            .values()
            .map(|known| known.number)
            .collect()
    }
}

fn key(path: &Path) -> Result<PrivateKey> {
    match fs::read_to_string(path) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("read the key {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = PrivateKey::generate();
            replace(path, format!("{}\n", key.to_base64()).as_bytes())?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("read the key {}", path.display())),
    }
}

fn state(path: &Path) -> Result<State> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "state is unreadable, starting without");
            State::default()
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes a file that only root reads, so that a crash leaves the old or the
/// new content and nothing between.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = Store::open(&path).unwrap().key.public();
        assert_eq!(Store::open(&path).unwrap().key.public(), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(KEY)), 0o600);
    }

    #[test]
    fn clients_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        let client = PublicKey::from_bytes([3; 32]);
        let known = Known {
            number: 9,
            paired: true,
            nic: Some(HardwareAddress([2; 6])),
            ..Known::default()
        };
        store.state.clients.insert(client, known);
        store.save().unwrap();
        let again = Store::open(directory.path()).unwrap();
        let known = &again.state.clients[&client];
        assert_eq!(known.number, 9);
        assert_eq!(known.nic, Some(HardwareAddress([2; 6])));
    }

    #[test]
    fn a_broken_state_file_is_not_fatal_but_a_broken_key_is() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).unwrap();
        fs::write(directory.path().join(STATE), "{").unwrap();
        assert!(
            Store::open(directory.path())
                .unwrap()
                .state
                .clients
                .is_empty()
        );
        fs::write(directory.path().join(KEY), "no key").unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(format!("{error:#}").contains("read the key"), "{error:#}");
    }
}
