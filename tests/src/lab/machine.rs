//! A machine of the lab: a network namespace with files and, for the VM, processes of its own.

use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use super::command::{Nesting, only_child, pid_of};
use super::namespace::Namespace;

/// Everything in it ends when it is dropped, or when the process that booted it ends in whatever way: its first process
/// reads from a pipe that only we hold open.
#[derive(Debug)]
pub(super) struct Machine {
    first: Child,
    /// The first process as seen from outside: whoever enters the machine joins its namespaces.
    init: Pid,
    processes: Processes,
    /// Declared last, hence dropped last: it kills what outlived the first process.
    namespace: Namespace,
}

/// Whose process IDs a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processes {
    /// This machine's: a program started here is found under the ID that its starter knows.
    Shared,
    /// Its own: all of them, containers included, end with the first.
    Own,
}

impl Machine {
    /// Boots a machine in `namespace` with `hosts` (lines of a hosts file) beside localhost.
    pub(super) fn boot(namespace: Namespace, processes: Processes, hosts: &str) -> Result<Self> {
        let mut command = namespace.command();
        command.args(["unshare", "--mount"]);
        if processes == Processes::Own {
            command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        }
        let mut first = command
            .args(["bash", "-c", include_str!("machine.sh"), "machine"])
            .arg(hosts.replace('\n', "\\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start nsenter")?;
        await_ready(&mut first).with_context(|| format!("boot {}", namespace.name()))?;
        let init = match processes {
            Processes::Shared => pid_of(&first),
            Processes::Own => only_child(pid_of(&first))?,
        };
        Ok(Self {
            first,
            init,
            processes,
            namespace,
        })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn nesting(&self) -> Nesting {
        match self.processes {
            Processes::Shared => Nesting::Direct,
            Processes::Own => Nesting::Forked,
        }
    }

    /// A command that will run in this machine, in the current directory.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command();
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.init));
        if self.processes == Processes::Own {
            command.arg(format!("--pid=/proc/{}/ns/pid", self.init));
        }
        if let Ok(directory) = env::current_dir() {
            command.arg(format!("--wdns={}", directory.display()));
        }
        command.args(["--", program]);
        for variable in CALLERS {
            command.env_remove(variable);
        }
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.first.stdin.take());
        let _ = self.first.wait();
    }
}

/// Puts `directories` before the system's in a PATH.
pub(super) fn search_path(directories: &[&Path]) -> String {
    let mut path = String::new();
    for directory in directories {
        let _ = write!(path, "{}:", directory.display());
    }
    path + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

fn await_ready(first: &mut Child) -> Result<()> {
    let mut line = String::new();
    if let Some(stdout) = first.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.trim() == "ready" {
        return Ok(());
    }
    let mut reason = String::new();
    if let Some(mut stderr) = first.stderr.take() {
        stderr.read_to_string(&mut reason)?;
    }
    let _ = first.wait();
    bail!("{}", reason.trim_end());
}

/// What the caller's environment says about another engine or another user, which no program in the lab shall see.
const CALLERS: [&str; 8] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "SUDO_USER",
    "SUDO_UID",
    "SUDO_GID",
];
