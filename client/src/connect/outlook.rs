//! A look at all engines before anything is changed: are they there, and is what the user wants on them?

use std::time::Duration;

use anyhow::{Error, Result};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::config::Settings;
use crate::docker::{Engine, Network, is_absent};
use crate::engines::Source;
use crate::plan::{Filters, Unmatched};

/// How a connection takes it that its engine cannot be reached at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The first failure ends it.
    None,
    UntilThere,
}

/// What the first of several to answer waits for the others.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// Looks at all engines at once.
///
/// # Errors
/// With the reasons, when no engine can be reached and none is to be waited for; or when a network the user wants to
/// include is nowhere.
pub(super) async fn look(sources: &[Source], settings: &Settings) -> Result<Patience> {
    let (reached, failed) = reach(sources).await;
    check(&settings.filters, &reached, sources.len())?;
    match (sources, failed.is_empty()) {
        (_, true) if sources.len() == 1 => Ok(Patience::None),
        _ if !reached.is_empty() => Ok(Patience::UntilThere),
        _ if settings.waits && failed.iter().any(|(_, error)| is_absent(error)) => {
            Ok(Patience::UntilThere)
        }
        _ => Err(reasons(failed)),
    }
}

/// A network to include that no engine has is a slip of the pen; but it may be on one of `all` that has not answered.
fn check(filters: &Filters, reached: &[Vec<Network>], all: usize) -> Result<(), Unmatched> {
    let networks: Vec<_> = reached.iter().flatten().collect();
    match filters.check(&networks) {
        Err(unmatched) if reached.len() < all => {
            tracing::info!(
                "{} of {all} engines have answered: {unmatched}, unless another engine has it",
                reached.len()
            );
            Ok(())
        }
        checked => checked,
    }
}

/// The networks of the engines that answer in time, and why others do not.
async fn reach(sources: &[Source]) -> (Vec<Vec<Network>>, Vec<(String, Error)>) {
    let looks = sources.iter().map(|source| async {
        let networks = networks(source).await;
        (source.name(), networks)
    });
    let mut looks: FuturesUnordered<_> = looks.collect();
    let (mut reached, mut failed) = (Vec::new(), Vec::new());
    let mut deadline = None;
    loop {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            look = looks.next() => match look {
                Some((_, Ok(networks))) => {
                    reached.push(networks);
                    deadline.get_or_insert_with(|| Instant::now() + STRAGGLERS);
                }
                Some((name, Err(error))) => failed.push((name, error)),
                None => break,
            },
            () = late => break,
        }
    }
    (reached, failed)
}

async fn networks(source: &Source) -> Result<Vec<Network>> {
    let target = source.target(source.choose()?)?;
    Engine::connect(&target).await?.networks().await
}

fn reasons(mut failed: Vec<(String, Error)>) -> Error {
    if failed.len() == 1
        && let Some((_, error)) = failed.pop()
    {
        return error;
    }
    failed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let reasons: Vec<_> = failed
        .iter()
        .map(|(name, error)| format!("{name}: {error:#}"))
        .collect();
    Error::msg(format!("no engine can be reached: {}", reasons.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(names: &[&str]) -> Vec<Network> {
        let networks = names.iter().map(|name| Network {
            name: (*name).to_owned(),
            driver: "bridge".to_owned(),
            ..Network::default()
        });
        networks.collect()
    }

    #[test]
    fn a_network_to_include_is_missed_only_once_every_engine_has_answered() {
        let filters = Filters {
            include: vec!["web".parse().unwrap()],
            ..Filters::default()
        };
        let (without, with) = (networks(&["db"]), networks(&["web"]));
        assert!(check(&filters, &[], 1).is_ok());
        assert!(check(&filters, std::slice::from_ref(&without), 2).is_ok());
        assert!(check(&filters, &[without.clone(), with], 2).is_ok());
        let error = check(&filters, &[without.clone(), without], 2).unwrap_err();
        assert!(error.to_string().contains("'web'"), "{error}");
    }
}
