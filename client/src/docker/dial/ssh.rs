//! The user's own ssh to the engine's machine, where `docker system dial-stdio` relays to the engine's socket.
//!
//! It runs as the user who called sudo, so that their keys, agent and known hosts count.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::super::environment::User;
use super::super::find::Target;

pub(super) struct Dialler {
    program: PathBuf,
    user: User,
    agent: Option<PathBuf>,
    arguments: Vec<String>,
}

/// The standard streams of one ssh process, which ends with it.
pub(super) struct Ssh {
    _process: Child,
    /// Until it is shut down: a pipe's other end learns of that only when it is closed.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: ChildStderr,
    complaint: Vec<u8>,
    has_answered: bool,
}

impl Dialler {
    pub(super) fn new(target: &Target, arguments: Vec<String>) -> Self {
        Self {
            program: "ssh".into(),
            user: target.user.clone(),
            agent: target.ssh_agent.clone(),
            arguments,
        }
    }

    pub(super) fn dial(&self) -> io::Result<Ssh> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("HOME", &self.user.home)
            .env("USER", &self.user.name)
            .env("LOGNAME", &self.user.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if nix::unistd::geteuid().is_root() {
            command.uid(self.user.uid).gid(self.user.gid);
        }

        let mut process = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("run ssh: {error}")))?;
        let streams = process.stdin.take().zip(process.stdout.take());
        let Some(((stdin, stdout), stderr)) = streams.zip(process.stderr.take()) else {
            return Err(io::Error::other("run ssh: it has no standard streams"));
        };

        Ok(Ssh {
            _process: process,
            stdin: Some(stdin),
            stdout,
            stderr,
            complaint: Vec::new(),
            has_answered: false,
        })
    }
}

/// As Docker's own command runs ssh, but never asking the terminal for a password.
pub(super) fn arguments(
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    socket: Option<&Path>,
) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-T",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=10",
        "-o",
        "ServerAliveInterval=15",
    ]
    .map(str::to_owned)
    .into();
    if let Some(user) = user {
        arguments.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), host.to_owned(), "docker".to_owned()]);
    if let Some(socket) = socket {
        arguments.extend([
            "--host".to_owned(),
            quoted(&format!("unix://{}", socket.display())),
        ]);
    }
    arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);

    arguments
}

/// ssh joins its arguments with spaces and gives them to a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

impl Ssh {
    /// Keeps what ssh says about itself; `Ready` when it has said everything.
    fn poll_complaint(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; 512];

        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            let result = ready!(Pin::new(&mut self.stderr).poll_read(cx, &mut buffer));
            if result.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
            let room = LONGEST_COMPLAINT.saturating_sub(self.complaint.len());
            self.complaint.extend(buffer.filled().iter().take(room));
        }
    }

    fn complaint(&self) -> io::Error {
        let text = String::from_utf8_lossy(&self.complaint);
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .collect();

        io::Error::other(format!("ssh ended: {}", lines.join("; ")))
    }
}

impl AsyncRead for Ssh {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let complaint = self.poll_complaint(cx);
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.has_answered = true;
        }
        if self.has_answered {
            return Poll::Ready(Ok(()));
        }

        ready!(complaint);
        Poll::Ready(Err(self.complaint()))
    }
}

impl AsyncWrite for Ssh {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.stdin = None;

        Poll::Ready(Ok(()))
    }
}

/// Bytes.
const LONGEST_COMPLAINT: usize = 4096;

#[cfg(test)]
mod tests;
