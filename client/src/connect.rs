//! `connect`: one [`Connection`] per engine, and what is said about them.

mod connection;
mod detach;
mod direct;
mod follow;
mod leg;
mod link;
mod report;
mod server;
mod view;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::ConnectOptions;
use crate::config::Settings;
use crate::control::{Command, Control, Question};
use crate::docker::{self, Engine, Environment};
use crate::privilege;
use crate::state_dir::{self, StateDir};
use crate::status::Status;
use crate::stdout::say;
pub(crate) use connection::Connection;
use view::View;

pub(crate) async fn command(options: ConnectOptions) -> Result<ExitCode> {
    let settings = Settings::new(&options)?;
    privilege::require_root("creating a network interface and routes")?;
    state_dir::refuse_second(&settings.state_dir)?;
    if options.detach && !options.detached {
        return detach::command(&settings).await;
    }
    foreground(settings, &options).await?;
    Ok(ExitCode::SUCCESS)
}

/// All connections of this client, and the socket others ask at.
struct Client {
    views: Vec<watch::Receiver<View>>,
    connections: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
    control: Control,
}

async fn foreground(settings: Settings, options: &ConnectOptions) -> Result<()> {
    if options.detached {
        detach::leave_terminal();
    }
    let target = docker::find(&settings.engine, &Environment::current()?)?;
    // Before anything is written: an engine that does not answer changes nothing.
    Engine::connect(&target).await?;
    let state = StateDir::lock(&settings.state_dir)?;
    let key = state.key()?;
    let control = Control::listen(&state.socket())?;
    let (stop, stopped) = watch::channel(false);
    let (view, seen) = watch::channel(View::new(&target.name));
    let mut connections = JoinSet::new();
    let connection = Connection::new(target, Arc::new(settings), key, view, stopped);
    connections.spawn(connection.run());
    let mut client = Client {
        views: vec![seen],
        connections,
        stop,
        control,
    };
    let asker = match client.until_enough().await {
        Ok(asker) => asker,
        Err(error) => {
            // It never was connected: nothing is to show that it was tried.
            state.remove_if_new();
            return Err(error);
        }
    };
    let ended = client.end().await;
    say("disconnected");
    // Whoever waits for the end may connect anew at once.
    drop((client, state));
    if let Some(asker) = asker {
        asker.answer_end(&ended).await;
    }
    ended
}

impl Client {
    /// Shows what happens until the user has had enough; returns who said so, if
    /// it was not by a signal.
    async fn until_enough(&mut self) -> Result<Option<Question>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut shown: Vec<_> = self
            .views
            .iter()
            .map(|view| view.borrow().clone())
            .collect();
        loop {
            tokio::select! {
                Some(ended) = self.connections.join_next() => {
                    return ended.context("run a connection")?.map(|()| None);
                }
                question = self.control.question() => match question.command {
                    Command::Status | Command::Ls => self.answer(question),
                    Command::Disconnect => return Ok(Some(question)),
                },
                index = changed(&mut self.views) => {
                    let now = self.views[index].borrow_and_update().clone();
                    for line in report::lines(&shown[index], &now) {
                        say(&line);
                    }
                    shown[index] = report::told(&shown[index], &now);
                }
                _ = terminate.recv() => return Ok(None),
                _ = interrupt.recv() => return Ok(None),
                _ = hangup.recv() => return Ok(None),
            }
        }
    }

    /// Answers in the background: the tunnel is asked for its counters.
    fn answer(&self, question: Question) {
        let views: Vec<_> = self
            .views
            .iter()
            .map(|view| view.borrow().clone())
            .collect();
        tokio::spawn(async move {
            let json = match question.command {
                Command::Ls => {
                    let containers = views.iter().flat_map(|view| view.containers.clone());
                    serde_json::to_string(&containers.collect::<Vec<_>>())
                }
                Command::Status | Command::Disconnect => {
                    let mut connections = Vec::new();
                    for view in &views {
                        connections.push(view.live().await);
                    }
                    serde_json::to_string(&Status::of(connections))
                }
            };
            match json {
                Ok(json) => question.answer(&json).await,
                Err(error) => tracing::warn!(%error, "cannot describe the connections"),
            }
        });
    }

    async fn end(&mut self) -> Result<()> {
        // Connections that have ended need not be told.
        let _ = self.stop.send(true);
        let mut result = Ok(());
        while let Some(ended) = self.connections.join_next().await {
            result = result.and(ended.context("run a connection")?);
        }
        result
    }
}

/// The index of a view that changed; pending for ever when all have ended.
async fn changed(views: &mut [watch::Receiver<View>]) -> usize {
    let waits = views.iter_mut().enumerate().map(|(index, view)| {
        Box::pin(async move {
            match view.changed().await {
                Ok(()) => index,
                Err(_) => std::future::pending().await,
            }
        })
    });
    futures_util::future::select_all(waits).await.0
}
