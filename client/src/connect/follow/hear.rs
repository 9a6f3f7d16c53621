//! What becomes of what the server says.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dtap_tunnel::session::{Message, Problem};
use tokio::time::Instant;

use super::{BURST, Follower};
use crate::connect::connection::Connection;
use crate::connect::view::set_path;
use crate::status::State;

/// Of the server, for the handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// The handshake takes two round trips of the session.
const HANDSHAKE_POLL: Duration = Duration::from_millis(5);
/// How long until the server is asked again for what it could not attach.
pub(super) const REFUSED_AGAIN: Duration = Duration::from_secs(2);

impl Connection {
    pub(super) async fn hear(&mut self, follower: &mut Follower, message: Message) -> Result<()> {
        match message {
            Message::PlanDone {
                generation,
                problems,
                tap_problems,
                nic,
            } => {
                self.hear_of_nic(nic)?;
                if generation == follower.generation {
                    follower.refuse(problems);
                    if let Some(link) = &self.link {
                        self.taps.hear(tap_problems, &link.driver).await;
                    }
                    if self.taps.is_unsettled() {
                        follower.pace.wake_within(REFUSED_AGAIN);
                    }
                    self.view
                        .send_modify(|view| view.status.taps = self.taps.states());
                }
                if self.view.borrow().status.state != State::Connected && !self.leg.is_settling() {
                    self.connected(follower).await?;
                }
            }
            Message::Failed { error } => bail!("the server gave up: {error}"),
            Message::Bye => bail!("the server ended the session"),
            Message::Heartbeat
            | Message::Hello(_)
            | Message::Pair { .. }
            | Message::Paired(_)
            | Message::Plan { .. }
            | Message::Candidates { .. }
            | Message::Path(_)
            | Message::Unknown => {}
        }
        Ok(())
    }

    /// The first plan is in force; connected when the keys are agreed, too.
    async fn connected(&self, follower: &Follower) -> Result<()> {
        let link = self.link.as_ref().context("open the tunnel")?;
        let peer = follower.attached.peer;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            let status = link.driver.call(move |tunnel, _| tunnel.status(peer)).await;
            let status = status.flatten().context("reach the tunnel")?;
            if status.last_handshake.is_some() {
                break status;
            }
            if Instant::now() > deadline {
                bail!("the server does not answer the handshake");
            }
            tokio::time::sleep(HANDSHAKE_POLL).await;
        };
        self.view.send_modify(|view| {
            view.status.state = State::Connected;
            view.status.reason = None;
            view.status.absent = false;
            if link.nic.is_none() {
                set_path(&mut view.status, status.path);
            }
        });
        Ok(())
    }

    /// Shows a change of path, and plans again: the endpoint must not be
    /// routed into the tunnel.
    pub(super) async fn look_at_path(&self, follower: &mut Follower) -> Result<()> {
        let link = self.link.as_ref().context("open the tunnel")?;
        let path = link.path(follower.attached.peer).await?;
        if path != follower.path {
            follower.path = path;
            follower.pace.wake_within(BURST);
            if link.nic.is_none() {
                self.view
                    .send_modify(|view| set_path(&mut view.status, path));
            }
        }
        Ok(())
    }
}

impl Follower {
    /// What the server cannot attach is not to be routed; what it can again, is. Its machine may change without an event,
    /// so it is asked again.
    fn refuse(&mut self, problems: Vec<Problem>) {
        let reason = |reason: String| match &self.attached.unequipped {
            Some(cause) => format!("{reason}; {cause}"),
            None => reason,
        };
        let refused = problems.into_iter();
        let refused = refused.map(|it| (it.id, reason(it.reason))).collect();
        if self.refused != refused {
            self.refused = refused;
            self.pace.wake_within(BURST);
        } else if !self.refused.is_empty() {
            self.pace.wake_within(REFUSED_AGAIN);
        }
    }
}
