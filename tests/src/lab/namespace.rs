//! Network namespaces by name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::command::check;
use crate::wait::holds_within;

/// A network namespace with its loopback up. Dropped, it kills every process in it and goes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    entrance: Entrance,
}

/// A way into a namespace that does not keep its name.
#[derive(Clone, Debug)]
pub(super) struct Entrance(Arc<File>);

impl Namespace {
    pub(super) fn create(name: String) -> Result<Self> {
        check(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self::adopt(name)?;
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// One that a killed lab left behind, to be dropped.
    pub(super) fn adopt(name: String) -> Result<Self> {
        let path = Path::new(DIRECTORY).join(&name);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let entrance = Entrance(Arc::new(file));
        Ok(Self { name, entrance })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds it open.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs `inside` in this namespace, on a thread of its own: the sockets it makes stay there for ever.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `inside` does.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.entrance.enter(inside)
    }

    pub(super) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// A command that will run in this namespace, with the machine's own files.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display()));
        command
    }

    /// Runs lines of `ip -batch`, all or until the first that fails.
    pub(super) fn ip(&self, batch: &str) -> Result<()> {
        self.feed(&["ip", "-batch", "-"], batch)
    }

    /// Loads an nft script in one transaction.
    pub(super) fn nft(&self, script: &str) -> Result<()> {
        self.feed(&["nft", "-f", "-"], script)
    }

    fn feed(&self, program: &[&str], input: &str) -> Result<()> {
        let mut child = self
            .command()
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {program:?}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that gave up early says why; a broken pipe does not.
            let _ = io::Write::write_all(&mut stdin, input.as_bytes());
        }
        let output = child.wait_with_output().context("wait for a program")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("{program:?} in {}: {reason}of: {input}", self.name);
        }
        Ok(())
    }

    /// Kills until nobody is left, because what is killed may have forked meanwhile.
    fn kill_all(&self) {
        let Ok(namespace) = fs::metadata(self.path()) else {
            return;
        };
        holds_within(Duration::from_secs(10), || {
            let inside = processes_in(&namespace);
            for pid in &inside {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            inside.is_empty()
        });
    }
}

impl Entrance {
    pub(super) fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET)?;
                Ok(inside())
            });
            match entered.join() {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            }
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.kill_all();
        let _ = check(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

/// Where ip-netns(8) keeps named namespaces.
pub(super) const DIRECTORY: &str = "/run/netns";

fn processes_in(namespace: &Metadata) -> Vec<Pid> {
    let own = process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|found| (found.dev(), found.ino()) == (namespace.dev(), namespace.ino()))
        })
        .map(Pid::from_raw)
        .collect()
}
