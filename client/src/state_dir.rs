//! The state directory: the keys, which make addresses stable, and the lock
//! that one running client holds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use dtap_tunnel::PrivateKey;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::{borrowed, map_memory};

/// This host's keys, one per engine: no server learns what another calls this host.
#[derive(Debug, Clone)]
pub(crate) struct Keys(PathBuf);

/// Held by the running client; released by the kernel when it ends.
#[derive(Debug)]
pub(crate) struct StateDir {
    directory: PathBuf,
    is_new: bool,
    lock: Flock<File>,
}

const KEYS: &str = "keys";
const LOCK: &str = "lock";
const SOCKET: &str = "client.sock";
const LOG: &str = "client.log";

impl StateDir {
    /// Makes the directory and takes the lock.
    ///
    /// # Errors
    /// When another client runs, or the directory cannot be written.
    pub(crate) fn lock(directory: &Path) -> Result<Self> {
        let is_new = !directory.exists();
        create(directory)?;
        let mut lock = acquire(directory)?;
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut lock).with_context(|| unusable(directory))?;
        Ok(Self {
            directory: directory.to_owned(),
            is_new,
            lock,
        })
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys(self.directory.join(KEYS))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// Removes the directory, with the keys, if this client made it.
    pub(crate) fn remove_if_new(self) {
        if self.is_new
            && let Err(error) = purge(&self.directory)
        {
            tracing::warn!("{error:#}");
        }
    }
}

impl Keys {
    /// The key for the engine of this identity, made at the first use.
    pub(crate) fn of(&self, engine: &str) -> Result<PrivateKey> {
        let Self(directory) = self;
        let path = directory.join(file_name(engine));
        let attempt = || format!("read the key {}", path.display());
        match fs::read_to_string(&path) {
            Ok(text) => text.parse().with_context(attempt),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create(directory)?;
                let key = PrivateKey::generate();
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .with_context(|| unusable(directory))?;
                writeln!(file, "{}", key.to_base64()).with_context(|| unusable(directory))?;
                Ok(key)
            }
            Err(error) => Err(error).with_context(attempt),
        }
    }
}

/// An identity is a URL, with slashes and of any length.
fn file_name(engine: &str) -> String {
    format!("{:x}", Sha256::digest(engine))
}

fn is_file_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|it| it.is_ascii_hexdigit())
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // The lock file stays: removing it would let two clients lock two files.
        let _ = fs::remove_file(self.socket());
        let _ = self.lock.set_len(0);
    }
}

/// Fails if another client holds the lock; changes nothing.
pub(crate) fn refuse_second(directory: &Path) -> Result<()> {
    if directory.join(LOCK).exists() {
        drop(acquire(directory)?);
    }
    Ok(())
}

/// Where the running client listens.
pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// What the background half of `connect --detach` wrote.
pub(crate) fn log(directory: &Path) -> PathBuf {
    directory.join(LOG)
}

/// Makes the directory; its files say themselves who may read them.
pub(crate) fn create(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .with_context(|| unusable(directory))
}

/// Removes keys and state, and nothing that is not ours.
pub(crate) fn purge(directory: &Path) -> Result<()> {
    let keys = directory.join(KEYS);
    let entries = fs::read_dir(&keys).into_iter().flatten().flatten();
    let own = entries.filter(|it| it.file_name().to_str().is_some_and(is_file_name));
    let files = [
        LOCK,
        SOCKET,
        LOG,
        borrowed::FILE,
        map_memory::FILE,
        map_memory::DRAFT,
    ]
    .map(|name| directory.join(name));
    for path in own.map(|it| it.path()).chain(files) {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("remove {}", path.display())),
        }
    }
    remove_if_empty(&keys)?;
    remove_if_empty(directory)
}

fn remove_if_empty(directory: &Path) -> Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("remove {}", directory.display())),
    }
}

fn acquire(directory: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(LOCK))
        .with_context(|| unusable(directory))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            // The pid only helps people; without it the sentence still holds.
            let _ = file.read_to_string(&mut pid);
            bail!(
                "a client is running already (pid {}): `dtap-client status` shows it, `sudo dtap-client disconnect` ends it",
                pid.trim()
            );
        }
        Err((_, error)) => Err(error).with_context(|| unusable(directory)),
    }
}

fn unusable(directory: &Path) -> String {
    format!(
        "write to the state directory {} (choose another with --state-dir)",
        directory.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::plan::Memory;

    #[test]
    fn a_second_client_is_refused_and_told_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDir::lock(directory.path()).unwrap();
        let error = StateDir::lock(directory.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("pid {}", std::process::id())),
            "{error}"
        );
        assert!(error.contains("disconnect"), "{error}");
        drop(first);
        StateDir::lock(directory.path()).unwrap();
    }

    #[test]
    fn each_engine_keeps_its_key_and_purge_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let key = |engine: &str| {
            let key = StateDir::lock(&directory).unwrap().keys().of(engine);
            key.unwrap().public()
        };
        let engine = "ssh://me@vm:22/run/../docker.sock";
        let first = key(engine);
        assert_eq!(first, key(engine));
        assert_ne!(first, key("unix:///var/run/docker.sock"));
        let files: Vec<_> = fs::read_dir(directory.join(KEYS)).unwrap().collect();
        assert_eq!(files.len(), 2);
        for file in files {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        map_memory::remember(&directory, &Memory::default()).unwrap();
        purge(&directory).unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateDir::lock(&file.path().join("state")).unwrap_err();
        assert!(format!("{error:#}").contains("--state-dir"), "{error:#}");
    }
}
