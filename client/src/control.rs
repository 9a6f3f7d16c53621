//! The socket in the state directory, by which other commands reach the
//! running client: one word in, one text out.
//!
//! Anyone on the host may ask for the status; only root may disconnect, as
//! only root may connect.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::stdout::say;
use crate::{privilege, state_dir};

/// What can be asked of the running client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Status,
    Ls,
    Disconnect,
}

const COMMANDS: [(Command, &str); 3] = [
    (Command::Status, "status"),
    (Command::Ls, "ls"),
    (Command::Disconnect, "disconnect"),
];
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_WORD: usize = 32;
const REFUSED: &str = "error: only root may do this";

/// Asks the client that uses this state directory; `None` if none runs.
pub(crate) async fn ask(directory: &Path, command: Command) -> Result<Option<String>> {
    let path = state_dir::socket(directory);
    let mut stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("connect to {}", path.display()));
        }
    };
    let word = COMMANDS.iter().find(|(known, _)| *known == command);
    let exchange = async {
        if let Some((_, word)) = word {
            stream.write_all(format!("{word}\n").as_bytes()).await?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .context("ask the running client: it does not answer")?
        .context("ask the running client")?;
    if answer == REFUSED {
        bail!("{REFUSED}");
    }
    Ok(Some(answer))
}

/// `disconnect`: returns when everything is undone.
pub(crate) async fn disconnect(directory: &Path) -> Result<ExitCode> {
    privilege::require_root("removing the tunnel")?;
    match ask(directory, Command::Disconnect).await? {
        Some(_) => say("disconnected"),
        None => say("disconnected (no client was running)"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The running client's end.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
}

/// A command to be answered by the client.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) command: Command,
    stream: UnixStream,
}

impl Control {
    /// Listens in the locked state directory; a socket that is there is of a
    /// client that was killed.
    pub(crate) fn listen(path: &Path) -> Result<Self> {
        let listen = || -> std::io::Result<UnixListener> {
            match std::fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let listener = UnixListener::bind(path)?;
            let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            std::fs::set_permissions(path, everyone)?;
            Ok(listener)
        };
        let listener = listen().with_context(|| format!("listen on {}", path.display()))?;
        Ok(Self { listener })
    }

    /// The next command somebody may give.
    pub(crate) async fn question(&self) -> Question {
        loop {
            match self.accept().await {
                Ok(question) => return question,
                Err(error) => tracing::debug!("command refused: {error:#}"),
            }
        }
    }

    async fn accept(&self) -> Result<Question> {
        let (mut stream, _) = self.listener.accept().await?;
        let mut word = [0; LONGEST_WORD];
        let length = tokio::time::timeout(PATIENCE, stream.read(&mut word)).await??;
        let word = String::from_utf8_lossy(&word[..length]);
        let known = COMMANDS.iter().find(|(_, known)| *known == word.trim());
        let Some((command, _)) = known else {
            bail!("unknown command {word:?}");
        };
        let root = stream.peer_cred()?.uid() == 0;
        if *command == Command::Disconnect && !root {
            stream.write_all(REFUSED.as_bytes()).await?;
            bail!("a user who is not root may not disconnect");
        }
        Ok(Question {
            command: *command,
            stream,
        })
    }
}

impl Question {
    /// Answers and closes; who asked may have gone.
    pub(crate) async fn answer(mut self, text: &str) {
        if let Err(error) = self.stream.write_all(text.as_bytes()).await {
            tracing::debug!(%error, "answer not delivered");
        }
    }
}
