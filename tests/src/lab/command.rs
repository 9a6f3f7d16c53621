//! Programs run in a lab: to their end with a deadline, or in the background.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::holds_within;

/// What a finished program said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; 128 + the signal's number as in a shell when a signal ended it, 124 when it ran out of time.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Its standard output without the last line break; an error with all it said when it failed.
    pub fn text(self) -> Result<String> {
        if !self.success() {
            bail!("exit code {}: {}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout.trim_end().to_owned())
    }
}

/// Runs `command` to its end. One that is still running after `timeout` is killed with all its children.
pub(super) fn run(command: &mut Command, timeout: Duration) -> Result<Output> {
    // Files rather than pipes: a daemon left behind may hold them open without making anybody wait.
    let stdout = tempfile::tempfile().context("create a file for standard output")?;
    let stderr = tempfile::tempfile().context("create a file for standard error")?;
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let status = wait(&mut child, timeout)?;
    let mut stderr = written(&stderr)?;
    if status.is_none() {
        kill_group(&mut child)?;
        stderr.push_str(&format!("killed: still running after {timeout:?}\n"));
    }
    Ok(Output {
        code: status.map_or(TIMED_OUT, exit_code),
        stdout: written(&stdout)?,
        stderr,
    })
}

/// Runs `command` and returns its standard output; failing is an error.
pub(super) fn check(command: &mut Command) -> Result<String> {
    run(command, Duration::from_secs(60))
        .and_then(Output::text)
        .with_context(|| format!("run {command:?}"))
}

/// A program that runs beside the story; killed, with its children, when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    nesting: Nesting,
    output: File,
}

/// Whether the child we started is the program itself or an `nsenter` that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nesting {
    Direct,
    Forked,
}

impl Background {
    pub(super) fn spawn(command: &mut Command, nesting: Nesting) -> Result<Self> {
        let output = tempfile::tempfile().context("create a file for the output")?;
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self {
            child,
            nesting,
            output,
        })
    }

    /// Everything it has written so far, standard output and error interleaved.
    pub fn output(&self) -> String {
        written(&self.output).unwrap_or_default()
    }

    /// The process ID of the program, as seen from outside every namespace.
    pub fn pid(&self) -> Result<Pid> {
        match self.nesting {
            Nesting::Direct => Ok(pid_of(&self.child)),
            Nesting::Forked => only_child(pid_of(&self.child)),
        }
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("send {signal}"))
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end and returns the exit code, as [`Output::code`] has it.
    pub fn wait(&mut self, timeout: Duration) -> Result<i32> {
        let Some(status) = wait(&mut self.child, timeout)? else {
            bail!(
                "still running after {timeout:?}; it said: {}",
                self.output()
            );
        };
        Ok(exit_code(status))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.nesting == Nesting::Forked && self.signal(Signal::SIGKILL).is_ok() {
            // An orphan would be the business of this machine's first process, which may take its time; until then the
            // VM's processes could not all be gone.
            let _ = self.wait(Duration::from_secs(10));
        }
        let _ = kill_group(&mut self.child);
    }
}

pub(super) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// The one child process of a process that waits for it.
pub(super) fn only_child(parent: Pid) -> Result<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .with_context(|| format!("list the children of process {parent}"))?;
    let pid = children
        .trim()
        .parse()
        .with_context(|| format!("process {parent} has no single child but {children:?}"))?;
    Ok(Pid::from_raw(pid))
}

fn kill_group(child: &mut Child) -> io::Result<()> {
    let _ = killpg(pid_of(child), Signal::SIGKILL);
    child.wait().map(drop)
}

fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let mut status = None;
    let mut failure = None;
    holds_within(timeout, || match child.try_wait() {
        Ok(found) => {
            status = found;
            found.is_some()
        }
        Err(error) => {
            failure = Some(error);
            true
        }
    });
    match failure {
        Some(error) => Err(error).context("wait for a program"),
        None => Ok(status),
    }
}

fn written(file: &File) -> Result<String> {
    let size = usize::try_from(file.metadata()?.len())?;
    let mut bytes = vec![0; size];
    // Not `read`: the offset is shared with the program that writes.
    file.read_exact_at(&mut bytes, 0)
        .context("read the output of a program")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn exit_code(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => -1,
    }
}

/// As coreutils' timeout(1) has it.
const TIMED_OUT: i32 = 124;
