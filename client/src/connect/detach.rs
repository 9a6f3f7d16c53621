//! `connect --detach`: a second process stays, this one waits until it is
//! connected to all engines that run.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::report;
use crate::config::Settings;
use crate::control;
use crate::state_dir;
use crate::status::{ConnectionStatus, State, Status};
use crate::stdout::say;

const CONNECTING: &str = "it is still connecting";
const POLL: Duration = Duration::from_millis(25);
/// How long the background process may take to undo what it began.
const ENDING: Duration = Duration::from_secs(10);

pub(super) async fn command(settings: &Settings) -> Result<ExitCode> {
    let existed = settings.state_dir.exists();
    state_dir::create(&settings.state_dir)?;
    let mut child = spawn(settings)?;
    let result = wait(&settings.state_dir, settings.timeout, &mut child).await;
    if result.is_err() {
        end(&mut child).await;
        if !existed {
            // It was made for a log that has been read by now.
            state_dir::purge(&settings.state_dir)?;
        }
    }
    match result? {
        Waited::All(lines) => say(&lines),
        Waited::Some { lines, missing } => {
            say(&lines);
            bail!("{missing}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of the connections, while the background process stays.
#[derive(Debug, PartialEq, Eq)]
enum Waited {
    All(String),
    /// Connected to some of several engines; no reason to take them away.
    Some {
        lines: String,
        missing: String,
    },
}

/// Makes this process its own session, so that closing the terminal does not
/// end it.
pub(super) fn leave_terminal() {
    if let Err(error) = nix::unistd::setsid() {
        tracing::debug!(%error, "stays in the terminal's session");
    }
}

fn spawn(settings: &Settings) -> Result<Child> {
    let path = state_dir::log(&settings.state_dir);
    let log = File::create(&path).with_context(|| {
        format!(
            "write the log {} (choose another directory with --state-dir)",
            path.display()
        )
    })?;
    Command::new(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start the background process")
}

/// Waits for the connections.
///
/// # Errors
/// With the reason, when the background process is not to go on.
async fn wait(directory: &Path, patience: Duration, child: &mut Child) -> Result<Waited> {
    let deadline = Instant::now() + patience;
    let mut connections = Vec::new();
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            bail!("{}", last_words(directory));
        }
        let answer = control::ask(directory, control::Command::Status).await;
        if let Ok(Some(answer)) = answer {
            let status: Status = serde_json::from_str(&answer)?;
            connections = status.connections;
            if connections.iter().all(is_settled) {
                return Ok(Waited::All(lines(&connections)));
            }
        }
        sleep(POLL).await;
    }
    let missing = format!(
        "not connected after {patience:?}: {}",
        reasons(&connections)
    );
    let (connected, others): (Vec<_>, Vec<_>) = connections
        .into_iter()
        .partition(|it| it.state == State::Connected);
    if connected.is_empty() || others.is_empty() {
        bail!("{missing}");
    }
    Ok(Waited::Some {
        lines: lines(&connected),
        missing: format!(
            "{missing}; it goes on in the background, connected as said above: `sudo dtap-client disconnect` ends it"
        ),
    })
}

fn lines(connections: &[ConnectionStatus]) -> String {
    let lines: Vec<_> = connections.iter().filter_map(report::state).collect();
    lines.join("\n")
}

/// Whether there is nothing more to wait for now: an engine that does not run yet is followed in the background.
fn is_settled(connection: &ConnectionStatus) -> bool {
    connection.state == State::Connected || connection.absent
}

/// Why those that are not settled are not.
fn reasons(connections: &[ConnectionStatus]) -> String {
    let reason = |it: &ConnectionStatus| {
        let reason = it.reason.as_deref().unwrap_or(CONNECTING);
        match connections.len() {
            1 => reason.to_owned(),
            _ => format!("{}: {reason}", it.name),
        }
    };
    let missing = connections.iter().filter(|it| !is_settled(it));
    let reasons: Vec<_> = missing.map(reason).collect();
    match reasons.is_empty() {
        true => CONNECTING.to_owned(),
        false => reasons.join("; "),
    }
}

/// The error the background process ended with.
fn last_words(directory: &Path) -> String {
    let log = fs::read_to_string(state_dir::log(directory)).unwrap_or_default();
    let error = log
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: "));
    error
        .unwrap_or("the background process ended without a word")
        .to_owned()
}

async fn end(child: &mut Child) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else {
        return;
    };
    let pid = nix::unistd::Pid::from_raw(pid);
    // It may have ended by itself.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    if timeout(ENDING, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;

    fn connection(name: &str, state: State, reason: Option<&str>) -> ConnectionStatus {
        ConnectionStatus {
            name: name.into(),
            state,
            reason: reason.map(str::to_owned),
            ..ConnectionStatus::default()
        }
    }

    /// Waits for a background process that has these connections all the time.
    async fn waited(connections: &[ConnectionStatus]) -> Result<Waited> {
        let directory = tempfile::tempdir().unwrap();
        let mut control = Control::listen(&state_dir::socket(directory.path())).unwrap();
        let json = serde_json::to_string(&Status::of(connections.to_vec())).unwrap();
        let answering = async {
            loop {
                control.question().await.answer(&json).await;
            }
        };
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let waited = tokio::select! {
            waited = wait(directory.path(), Duration::from_millis(200), &mut child) => waited,
            () = answering => unreachable!(),
        };
        assert!(child.try_wait().unwrap().is_none(), "it lives on");
        child.kill().await.unwrap();
        waited
    }

    #[tokio::test]
    async fn one_of_several_engines_that_is_not_reached_does_not_take_the_others_away() {
        let connections = [
            connection("one", State::Connected, None),
            connection("two", State::Connecting, Some("no answer")),
        ];
        let Waited::Some { lines, missing } = waited(&connections).await.unwrap() else {
            panic!("not all");
        };
        assert!(lines.starts_with("one: connected"), "{lines}");
        assert!(!lines.contains("two"), "{lines}");
        for words in [
            "two: no answer",
            "in the background",
            "sudo dtap-client disconnect",
        ] {
            assert!(missing.contains(words), "{missing}");
        }
    }

    #[tokio::test]
    async fn without_any_connection_it_ends_with_the_reasons() {
        let one = connection("one", State::Connecting, Some("no answer"));
        let two = connection("two", State::Connecting, None);
        let error = waited(std::slice::from_ref(&one)).await.unwrap_err();
        assert_eq!(error.to_string(), "not connected after 200ms: no answer");
        let error = waited(&[one, two]).await.unwrap_err().to_string();
        assert!(
            error.ends_with("one: no answer; two: it is still connecting"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_engine_that_does_not_run_yet_is_not_waited_for() {
        let away = ConnectionStatus {
            absent: true,
            ..connection("two", State::Connecting, Some("no socket"))
        };
        let all = waited(&[connection("one", State::Connected, None), away]).await;
        let Waited::All(lines) = all.unwrap() else {
            panic!("nothing to wait for");
        };
        assert!(lines.ends_with("two: waiting: no socket"), "{lines}");
    }
}
