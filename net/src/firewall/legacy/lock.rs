//! The lock that keeps programs which rewrite a legacy table from losing each other's rules, as
//! `iptables` takes it: an exclusive flock(2) of one file (`xtables_lock` in its `xshared.c`).

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// A file that is there already: one of our own making would keep nobody out.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let failed =
        |error: &dyn Display| io::Error::other(format!("open {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    // Docker makes a directory of the source of a bind mount that does not exist.
    if !metadata.is_file() {
        return Err(failed(&"it is no file"));
    }
    // A bind mount goes on showing it.
    if metadata.nlink() == 0 {
        return Err(failed(
            &"the engine's machine has another one by now: restart the server container",
        ));
    }
    Ok(file)
}

/// Waits until nobody else holds it. Let go of when dropped.
pub(super) fn hold(mut file: File) -> io::Result<Flock<File>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((back, Errno::EAGAIN | Errno::EINTR)) if Instant::now() < deadline => file = back,
            Err((_, Errno::EAGAIN)) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "lock the legacy tables: another program has held the lock of iptables for 2 s",
                ));
            }
            Err((_, error)) => return Err(error.into()),
        }
        sleep(RETRY);
    }
}

/// `iptables` holds it for milliseconds, and as long as this the server does nothing else.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(2);
