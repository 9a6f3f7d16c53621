//! `tap attach` and `tap detach`: told to the running client, and watched until it is so.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use super::wish::{NetworkName, Wish};
use crate::control::{self, Command};
use crate::privilege;
use crate::status::{Status, Tap, TapState};
use crate::stdout::say;

/// The engine may be busy, and an address is probed for a third of a second.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Returns when the host is in the network.
pub(super) async fn attach(directory: &Path, wish: Wish) -> Result<ExitCode> {
    privilege::require_root("creating a network interface")?;
    let name = wish.network.clone();
    let Some(answer) = tell(directory, Command::Attach(wish)).await? else {
        bail!("attach to network {name}: no client is running: `sudo dtap-client connect` first");
    };
    let replaced: Option<Wish> =
        serde_json::from_str(&answer).context("read the client's answer")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let tap = find(directory, &name).await?;
        match tap {
            Some(tap) if tap.state == TapState::Attached => {
                say(&attached(&tap));
                return Ok(ExitCode::SUCCESS);
            }
            Some(Tap {
                state: TapState::Refused,
                reason,
                ..
            }) => {
                let as_before =
                    replaced.map_or_else(|| Command::Detach(name.clone()), Command::Attach);
                tell(directory, as_before).await?;
                bail!("attach to network {name}: {}", reason.unwrap_or_default());
            }
            Some(tap) if Instant::now() > deadline => {
                let reason = tap.reason.unwrap_or_else(|| "no answer".to_owned());
                bail!(
                    "attach to network {name}: not within {} s: {reason} (it is still tried; `dtap-client tap detach {name}` ends that)",
                    PATIENCE.as_secs()
                );
            }
            None if Instant::now() > deadline => {
                bail!("attach to network {name}: the client does not say what became of it");
            }
            Some(_) | None => tokio::time::sleep(POLL).await,
        }
    }
}

/// Returns when the host is not in the network any more; it may not have been.
pub(super) async fn detach(directory: &Path, name: NetworkName) -> Result<ExitCode> {
    privilege::require_root("removing a network interface")?;
    if tell(directory, Command::Detach(name.clone()))
        .await?
        .is_some()
    {
        let deadline = Instant::now() + PATIENCE;
        while find(directory, &name).await?.is_some() {
            if Instant::now() > deadline {
                bail!(
                    "detach from network {name}: not within {} s",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
    say(&format!("detached from {name}"));
    Ok(ExitCode::SUCCESS)
}

async fn tell(directory: &Path, command: Command) -> Result<Option<String>> {
    control::ask(directory, command).await
}

async fn find(directory: &Path, name: &NetworkName) -> Result<Option<Tap>> {
    let Some(answer) = control::ask(directory, Command::Status).await? else {
        bail!("the client has ended");
    };
    let status: Status = serde_json::from_str(&answer).context("read the client's status")?;
    let mut connections = status.connections.into_iter();
    Ok(connections.find_map(|connection| {
        let mut taps = connection.taps.into_iter();
        taps.find(|tap| name.is(&connection.name, &tap.network))
    }))
}

fn attached(tap: &Tap) -> String {
    let Tap {
        network,
        interface,
        carrier,
        ..
    } = tap;
    let interface = interface.as_deref().unwrap_or("its interface");
    let addresses = tap.addresses();
    format!("attached to {network} as {addresses} on {interface}, by {carrier}")
}
