//! A program run inside the server container, with its standard streams.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use anyhow::{Result, anyhow};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Engine;

/// The session program and its streams.
#[derive(Debug)]
pub struct Session {
    /// The program's standard output. Its end is the program's, or the engine's.
    pub output: SessionOutput,
    /// The program's standard input. Shutting it down ends the input.
    pub input: SessionInput,
    pub process: SessionProcess,
}

/// What the session program writes.
pub struct SessionOutput {
    frames: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    unread: Bytes,
    complaint: Arc<Complaint>,
}

/// What the session program reads.
pub struct SessionInput {
    stream: Pin<Box<dyn AsyncWrite + Send>>,
}

/// What is known of the session program beside its streams.
#[derive(Clone, Debug)]
pub struct SessionProcess {
    engine: Engine,
    exec: String,
    complaint: Arc<Complaint>,
}

impl Engine {
    /// Runs `/dtap-server session` in this container and attaches to it, without a terminal.
    pub async fn session(&self, container_id: &str) -> Result<Session> {
        self.run(container_id, &SESSION).await
    }

    pub(super) async fn run(&self, container_id: &str, command: &[&str]) -> Result<Session> {
        let program = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(container_id, program);
        let exec = self.ask("create the session", exec).await?.id;
        let options = StartExecOptions {
            output_capacity: Some(OUTPUT_CAPACITY),
            ..StartExecOptions::default()
        };
        let start = self.docker.start_exec(&exec, Some(options));

        let StartExecResults::Attached { output, input } =
            self.ask("start the session", start).await?
        else {
            return Err(anyhow!(
                "start the session: the engine did not attach to it"
            ));
        };
        let complaint = Arc::new(Complaint::default());

        Ok(Session {
            output: SessionOutput {
                frames: output,
                unread: Bytes::new(),
                complaint: complaint.clone(),
            },
            input: SessionInput { stream: input },
            process: SessionProcess {
                engine: self.clone(),
                exec,
                complaint,
            },
        })
    }
}

impl SessionProcess {
    /// What the program wrote to its standard error so far, at most 4 KiB. Complete when the output has ended.
    pub fn stderr(&self) -> String {
        self.complaint.text()
    }

    /// The program's exit code, or `None` while it runs.
    pub async fn exit_code(&self) -> Result<Option<i64>> {
        let inspection = self.engine.docker.inspect_exec(&self.exec);
        let program = self.engine.ask("inspect the session", inspection).await?;

        Ok(program.exit_code.filter(|_| program.running != Some(true)))
    }
}

impl AsyncRead for SessionOutput {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();

        while this.unread.is_empty() {
            match ready!(this.frames.as_mut().poll_next(cx)) {
                Some(Ok(LogOutput::StdErr { message })) => this.complaint.add(&message),
                Some(Ok(LogOutput::StdOut { message } | LogOutput::StdIn { message })) => {
                    this.unread = message
                }
                // What is left of a frame when the stream is cut.
                Some(Ok(LogOutput::Console { .. })) => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }

        let length = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..length]);
        this.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SessionInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

impl std::fmt::Debug for SessionOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOutput").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SessionInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionInput").finish_non_exhaustive()
    }
}

/// The beginning of the program's standard error.
#[derive(Debug, Default)]
struct Complaint(Mutex<Vec<u8>>);

impl Complaint {
    fn add(&self, message: &[u8]) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LONGEST_COMPLAINT.saturating_sub(text.len());

        text.extend(message.iter().take(room));
    }

    fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);

        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

const SESSION: [&str; 2] = ["/dtap-server", "session"];

/// Bytes.
const LONGEST_COMPLAINT: usize = 4096;
const OUTPUT_CAPACITY: usize = 64 * 1024;

#[cfg(test)]
mod tests;
