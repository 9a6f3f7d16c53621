//! Stays with an engine, session after session, until the user has enough or chooses another.

use std::time::Duration;

use anyhow::{Error, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::connection::{Aim, Begun, Connection, Debt, GOODBYE};
use super::outlook::Patience;
use super::view::View;
use crate::docker::is_absent;
use crate::map_memory;
use crate::status::State;

/// Why a connection that has not failed goes on no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    /// The user has chosen another engine.
    Moved,
}

/// Waits between attempts to get a session back.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// As long as the server keeps what a silent client had. What this host has for an engine that stays away longer, others
/// may have.
const GRACE: Duration = Duration::from_secs(30);

impl Connection {
    /// Connects and stays connected until told to stop; then, or if the first
    /// attempt fails and that is to end it, everything is undone.
    pub(super) async fn run(mut self) -> Result<()> {
        let result = self.stay_connected().await;
        result.and(self.leave().await)
    }

    async fn stay_connected(&mut self) -> Result<()> {
        let mut wait = SHORTEST_WAIT;
        let mut lost = None;
        loop {
            let mut stop = self.stop.clone();
            let error = match self.once().await {
                Ok(End::Stopped) => return Ok(()),
                Ok(End::Moved) => {
                    self.move_on().await;
                    wait = SHORTEST_WAIT;
                    continue;
                }
                Err(error) => error,
            };
            self.claims.settle();
            let state = self.view.borrow().status.state;
            if state == State::Connecting && self.patience == Patience::None {
                return Err(error);
            }
            if state == State::Connected {
                wait = SHORTEST_WAIT;
                lost = None;
            }
            self.show_failure(&error);
            let lost = lost.get_or_insert_with(Instant::now);
            if lost.elapsed() > GRACE && self.claims.are_shared() {
                self.yield_claims();
                *lost = Instant::now();
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One session from beginning to end.
    async fn once(&mut self) -> Result<End> {
        if let Some(aim) = &self.aim
            && self.source.is_elsewhere(&aim.choice)
        {
            return Ok(End::Moved);
        }
        self.take_aim()?;
        let mut stop = self.stop.clone();
        let elsewhere = self.leads_elsewhere();
        let begun = tokio::select! {
            begun = self.begin() => begun?,
            () = elsewhere => return Ok(End::Moved),
            () = stopped(&mut stop) => return Ok(End::Stopped),
        };
        match begun {
            Begun::Direct(engine) => self.follow_direct(engine).await,
            Begun::Tunnel(attached) => self.follow(*attached).await,
        }
    }

    /// Finds out which engine is meant, unless that is known.
    fn take_aim(&mut self) -> Result<()> {
        if self.aim.is_some() {
            return Ok(());
        }
        let choice = self.source.choose()?;
        let target = self.source.target(choice.clone())?;
        let engine = target.endpoint.identity();
        self.claims.take(&target.name, &engine)?;
        let key = self.keys.of(&engine)?;
        self.memory = map_memory::recall(&self.settings.state_dir, &engine);
        self.view.send_modify(|view| {
            view.status.name.clone_from(&target.name);
            view.engine = Some(engine);
            view.endpoint = Some(target.endpoint.clone());
        });
        self.aim = Some(Aim {
            choice,
            target,
            key,
            is_direct: false,
        });
        Ok(())
    }

    /// Returns once the user has chosen another engine than this; never before one is known.
    pub(super) fn leads_elsewhere(&self) -> impl Future<Output = ()> + 'static {
        let source = self.source.clone();
        let choice = self.aim.as_ref().map(|aim| aim.choice.clone());
        async move {
            match choice {
                Some(choice) => source.leads_elsewhere(choice).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Leaves the engine the user has turned away from.
    async fn move_on(&mut self) {
        if let Err(error) = self.leave().await {
            tracing::warn!("cannot undo all of the last engine's: {error:#}");
        }
        self.patience = Patience::UntilThere;
        let name = self.source.name();
        self.view.send_modify(|view| {
            let connected_once = view.status.state != State::Connecting;
            let reason = format!(
                "the context leads elsewhere now, '{}' is left",
                view.status.name
            );
            *view = View::new(&name);
            view.status.reason = Some(reason);
            if connected_once {
                view.status.state = State::Reconnecting;
            }
        });
    }

    /// Undoes everything at both ends.
    async fn leave(&mut self) -> Result<()> {
        if self.debt == Debt::Goodbye {
            self.take_leave().await;
            self.debt = Debt::Nothing;
        }
        std::mem::take(&mut self.leg).remove().await;
        if let Some(link) = &self.link {
            self.taps.clear(&link.driver).await;
        }
        let closed = self.close_link().await;
        self.claims.leave();
        self.aim = None;
        closed
    }

    /// Lets others have what an engine had that has been away for long.
    fn yield_claims(&mut self) {
        if let Some(link) = &mut self.link
            && let Err(error) = link.withdraw()
        {
            tracing::warn!("routes to an engine that is gone may stay: {error:#}");
            return;
        }
        self.claims.release();
    }

    fn show_failure(&self, error: &Error) {
        self.view.send_modify(|view| {
            let status = &mut view.status;
            if status.state != State::Connecting {
                status.state = State::Reconnecting;
            }
            status.absent = status.state == State::Connecting && is_absent(error);
            status.reason = Some(format!("{error:#}"));
        });
    }

    /// Says goodbye by a new session, because the last one broke before it
    /// could be said.
    async fn take_leave(&mut self) {
        let goodbye = async {
            match self.begin().await? {
                Begun::Direct(_) => {}
                Begun::Tunnel(attached) => self.say_bye(*attached).await,
            }
            Ok::<_, Error>(())
        };
        if let Ok(Err(error)) = timeout(GOODBYE, goodbye).await {
            tracing::debug!("no goodbye: {error:#}");
        }
        if self.debt == Debt::Goodbye {
            tracing::warn!(
                "the server did not hear the goodbye; it will undo what is left in 30 s"
            );
        }
    }
}

/// Returns when the user has enough.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
