//! `connect --detach`: a second process stays, this one waits until it is
//! connected to all engines that run.

use std::fs::{self, File};
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

const POLL: Duration = Duration::from_millis(25);
/// How long the background process may take to undo what it began.
const ENDING: Duration = Duration::from_secs(10);

pub(super) async fn command(settings: &Settings) -> Result<ExitCode> {
    let existed = settings.state_dir.exists();
    state_dir::create(&settings.state_dir)?;
    let mut child = spawn(settings)?;
    let result = wait(settings, &mut child).await;
    if result.is_err() {
        end(&mut child).await;
        if !existed {
            // It was made for a log that has been read by now.
            state_dir::purge(&settings.state_dir)?;
        }
    }
    say(&result?);
    Ok(ExitCode::SUCCESS)
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

/// Waits for the connections; returns what to say about them.
async fn wait(settings: &Settings, child: &mut Child) -> Result<String> {
    let deadline = Instant::now() + settings.timeout;
    let mut reason = "it is still connecting".to_owned();
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            bail!("{}", last_words(settings));
        }
        let answer = control::ask(&settings.state_dir, control::Command::Status).await;
        if let Ok(Some(answer)) = answer {
            let status: Status = serde_json::from_str(&answer)?;
            let missing: Vec<_> = status
                .connections
                .iter()
                .filter(|it| !is_settled(it))
                .collect();
            if missing.is_empty() {
                let lines: Vec<_> = status
                    .connections
                    .iter()
                    .filter_map(report::state)
                    .collect();
                return Ok(lines.join("\n"));
            }
            reason = reasons(&missing, status.connections.len());
        }
        sleep(POLL).await;
    }
    bail!("not connected after {:?}: {reason}", settings.timeout)
}

/// Whether there is nothing more to wait for now: an engine that does not run yet is followed in the background.
fn is_settled(connection: &ConnectionStatus) -> bool {
    connection.state == State::Connected || connection.absent
}

fn reasons(missing: &[&ConnectionStatus], all: usize) -> String {
    let reason = |it: &ConnectionStatus| {
        let reason = it.reason.as_deref().unwrap_or("it is still connecting");
        match all {
            1 => reason.to_owned(),
            _ => format!("{}: {reason}", it.name),
        }
    };
    let reasons: Vec<_> = missing.iter().map(|it| reason(it)).collect();
    reasons.join("; ")
}

/// The error the background process ended with.
fn last_words(settings: &Settings) -> String {
    let log = fs::read_to_string(state_dir::log(&settings.state_dir)).unwrap_or_default();
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
