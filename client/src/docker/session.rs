//! A program run inside the server container, with its standard streams.

mod output;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bollard::exec::CreateExecOptions;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::runtime::Handle;

use super::Engine;
use super::dial::{self, Duplex};
use output::{Complaint, Demultiplexer};

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
pub struct SessionOutput(Demultiplexer<ReadHalf<Duplex>>);

/// What the session program reads.
pub struct SessionInput(WriteHalf<Duplex>);

/// What is known of the session program beside its streams.
#[derive(Clone, Debug)]
pub struct SessionProcess {
    engine: Engine,
    exec: String,
    complaint: Arc<Complaint>,
}

impl Engine {
    /// Runs `/dtap-server session` in this container and attaches to it, without a terminal, by a connection that this
    /// runtime serves.
    pub async fn session(&self, container_id: &str, runtime: &Handle) -> Result<Session> {
        self.run(container_id, &SESSION, runtime).await
    }

    pub(super) async fn run(
        &self,
        container_id: &str,
        command: &[&str],
        runtime: &Handle,
    ) -> Result<Session> {
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
        let path = format!("/v{}/exec/{exec}/start", self.docker.client_version());
        let route = self.route.clone();
        let start = async move {
            let options = json!({ "Detach": false, "Tty": false });
            dial::upgrade(&route, &path, &options).await
        };
        let started = runtime.spawn(self.clone().start(start));
        let (output, input) = tokio::io::split(started.await.context("start the session")??);
        let complaint = Arc::new(Complaint::default());

        Ok(Session {
            output: SessionOutput(Demultiplexer::new(output, complaint.clone())),
            input: SessionInput(input),
            process: SessionProcess {
                engine: self.clone(),
                exec,
                complaint,
            },
        })
    }

    async fn start(
        self,
        start: impl Future<Output = Result<Duplex, bollard::errors::Error>>,
    ) -> Result<Duplex> {
        self.ask("start the session", start).await
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
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SessionInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
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

const SESSION: [&str; 2] = ["/dtap-server", "session"];
