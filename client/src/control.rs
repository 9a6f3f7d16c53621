//! The socket in the state directory, by which other commands reach the
//! running client: one line in, one text out.
//!
//! Anyone on the host may ask for the status; only root may disconnect, as
//! only root may connect.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::stdout::say;
use crate::tap::{NetworkName, Wish};
use crate::{borrowed, privilege, state_dir};

/// What can be asked of the running client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    Status,
    Ls,
    Engines,
    Disconnect,
    Attach(Wish),
    Detach(NetworkName),
    Parent,
}

impl Command {
    /// Whether anybody on the host may ask.
    const fn is_harmless(&self) -> bool {
        match self {
            Self::Status | Self::Ls | Self::Engines => true,
            Self::Disconnect | Self::Attach(_) | Self::Detach(_) | Self::Parent => false,
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a command with all it says.
const LONGEST: u64 = 4096;
/// Commands that may wait for an answer.
const QUESTIONS: usize = 16;
/// Until the process may have a file descriptor to spare.
const RETRY: Duration = Duration::from_millis(100);
/// Begins an answer that says why not.
const ERROR: &str = "error: ";

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
    let line = serde_json::to_string(&command)? + "\n";
    let exchange = async {
        stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .context("ask the running client: it does not answer")?;
    let answer = match answer {
        Ok(answer) if answer.is_empty() => return Ok(None),
        Err(error) if has_ended(&error) => return Ok(None),
        Ok(answer) => answer,
        Err(error) => return Err(error).context("ask the running client"),
    };
    if let Some(error) = answer.strip_prefix(ERROR) {
        bail!("{}", error.trim_end());
    }
    Ok(Some(answer))
}

/// A client that ends closes its socket without an answer.
fn has_ended(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// `disconnect`: returns when everything is undone.
pub(crate) async fn disconnect(directory: &Path) -> Result<ExitCode> {
    privilege::require_root("removing the tunnel")?;
    match ask(directory, Command::Disconnect).await? {
        Some(_) => say("disconnected"),
        None => {
            borrowed::sweep(directory)?;
            say("disconnected (no client was running)");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The running client's end; nobody is listened to after it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    questions: mpsc::Receiver<Question>,
    _listening: JoinSet<()>,
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
        let bind = || -> std::io::Result<UnixListener> {
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
        let listener = bind().with_context(|| format!("listen on {}", path.display()))?;
        let (sender, questions) = mpsc::channel(QUESTIONS);
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, sender));
        Ok(Self {
            questions,
            _listening: listening,
        })
    }

    /// The next command somebody may give. Dropping the future loses none.
    pub(crate) async fn question(&mut self) -> Question {
        match self.questions.recv().await {
            Some(question) => question,
            None => std::future::pending().await,
        }
    }
}

/// Hears everybody at once: one who says nothing keeps nobody waiting.
async fn listen(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let mut callers = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => callers.spawn(pass_on(stream, questions.clone())),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a command");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        while callers.try_join_next().is_some() {}
    }
}

async fn pass_on(stream: UnixStream, questions: mpsc::Sender<Question>) {
    match hear(stream).await {
        // A client that ends answers nobody.
        Ok(question) => drop(questions.send(question).await),
        Err(error) => tracing::debug!("command refused: {error:#}"),
    }
}

async fn hear(stream: UnixStream) -> Result<Question> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream).take(LONGEST);
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let mut stream = reader.into_inner().into_inner();
    let command: Command =
        serde_json::from_str(&line).with_context(|| format!("unknown command {line:?}"))?;
    let root = stream.peer_cred()?.uid() == 0;
    if !command.is_harmless() && !root {
        let refusal = format!("{ERROR}only root may do this");
        stream.write_all(refusal.as_bytes()).await?;
        bail!("a user who is not root may not {command:?}");
    }
    Ok(Question { command, stream })
}

impl Question {
    /// Answers who wanted the end, and now knows whether all is undone.
    pub(crate) async fn answer_end(self, ended: &Result<()>) {
        match ended {
            Ok(()) => self.answer("done\n").await,
            Err(error) => self.answer_error(error).await,
        }
    }

    pub(crate) async fn answer_or_error(self, answer: &Result<String>) {
        match answer {
            Ok(text) => self.answer(text).await,
            Err(error) => self.answer_error(error).await,
        }
    }

    async fn answer_error(self, error: &anyhow::Error) {
        self.answer(&format!("{ERROR}{error:#}\n")).await;
    }

    /// Answers and closes; who asked may have gone.
    pub(crate) async fn answer(mut self, text: &str) {
        if let Err(error) = self.stream.write_all(text.as_bytes()).await {
            tracing::debug!(%error, "answer not delivered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_command_is_lost_by_a_client_with_other_things_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let mut control = Control::listen(&state_dir::socket(directory.path())).unwrap();
        let client = async {
            loop {
                tokio::select! {
                    biased;
                    question = control.question() => break question.answer("fine").await,
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        let (answer, ()) = tokio::join!(ask(directory.path(), Command::Status), client);
        assert_eq!(answer.unwrap().as_deref(), Some("fine"));
    }

    #[tokio::test]
    async fn who_wants_the_end_hears_what_could_not_be_undone() {
        let directory = tempfile::tempdir().unwrap();
        let mut control = Control::listen(&state_dir::socket(directory.path())).unwrap();
        let client = async {
            let ended = Err(anyhow::anyhow!("delete route").context("clear routes"));
            control.question().await.answer_end(&ended).await;
        };
        let (answer, ()) = tokio::join!(ask(directory.path(), Command::Disconnect), client);
        assert_eq!(
            format!("{:#}", answer.unwrap_err()),
            "clear routes: delete route"
        );
    }

    #[tokio::test]
    async fn a_client_that_ends_meanwhile_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut control = Control::listen(&state_dir::socket(directory.path())).unwrap();
        let client = async move { drop(control.question().await) };
        let (answer, ()) = tokio::join!(ask(directory.path(), Command::Status), client);
        assert_eq!(answer.unwrap(), None);
        assert_eq!(ask(directory.path(), Command::Status).await.unwrap(), None);
    }
}
