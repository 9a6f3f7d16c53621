//! Routes that another program deletes: set again, but not in a loop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

/// What became of the routes of one connection.
#[derive(Debug, Default)]
pub(super) struct Contest {
    set: BTreeSet<IpNet>,
    deletions: BTreeMap<IpNet, Vec<Instant>>,
    yielded: BTreeMap<IpNet, Instant>,
}

/// Within [`PERIOD`]; a VPN client that comes up clears routes once or twice.
const DELETIONS: usize = 5;
const PERIOD: Duration = Duration::from_secs(30);
/// How long a route is left to whoever deletes it.
const PEACE: Duration = Duration::from_secs(60);

impl Contest {
    /// Counts which of the routes that were set are gone from those there are.
    pub(super) fn observe(&mut self, present: &BTreeSet<IpNet>, now: Instant) {
        self.end_peace(now);
        for destination in self.set.difference(present) {
            let deletions = self.deletions.entry(*destination).or_default();
            deletions.retain(|then| now - *then < PERIOD);
            deletions.push(now);
            if deletions.len() >= DELETIONS {
                tracing::warn!(%destination, "another program keeps deleting our route");
                self.yielded.insert(*destination, now + PEACE);
                deletions.clear();
            }
        }
    }

    /// Remembers what is set now.
    pub(super) fn set(&mut self, routes: &BTreeSet<IpNet>) {
        self.set.clone_from(routes);
        self.deletions.retain(|it, _| routes.contains(it));
    }

    /// The routes that are not to be set for now, each with the reason.
    pub(super) fn yielded(&self) -> BTreeMap<IpNet, String> {
        let reason = |destination: &IpNet| {
            format!(
                "another program has deleted the route to {destination} {DELETIONS} times: it is tried again within {} s",
                PEACE.as_secs()
            )
        };
        let yielded = self.yielded.keys();
        yielded.map(|it| (*it, reason(it))).collect()
    }

    /// When the first of them is to be tried again.
    pub(super) fn peace_ends(&self) -> Option<Instant> {
        self.yielded.values().min().copied()
    }

    /// Tries again those whose time has come.
    pub(super) fn end_peace(&mut self, now: Instant) {
        self.yielded.retain(|_, until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> BTreeSet<IpNet> {
        text.split_whitespace()
            .map(|it| it.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_route_deleted_now_and_then_is_set_again() {
        let mut contest = Contest::default();
        let start = Instant::now();
        contest.set(&routes("172.18.0.0/16"));
        for number in 0..100 {
            contest.observe(&routes(""), start + PERIOD / 4 * number);
            assert!(contest.yielded().is_empty(), "deletion {number}");
        }
    }

    #[test]
    fn a_route_that_is_deleted_again_and_again_is_left_for_a_while() {
        let mut contest = Contest::default();
        let start = Instant::now();
        contest.set(&routes("172.18.0.0/16 172.19.0.0/16"));
        for _ in 0..DELETIONS {
            contest.observe(&routes("172.19.0.0/16"), start);
        }
        let yielded = contest.yielded();
        let yielded: Vec<_> = yielded.keys().map(ToString::to_string).collect();
        assert_eq!(yielded, ["172.18.0.0/16"]);
        assert_eq!(contest.peace_ends(), Some(start + PEACE));

        contest.set(&routes("172.19.0.0/16"));
        contest.observe(&routes("172.19.0.0/16"), start + PEACE);
        assert!(contest.yielded().is_empty() && contest.peace_ends().is_none());
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_missed() {
        let mut contest = Contest::default();
        let start = Instant::now();
        contest.set(&routes("172.18.0.0/16"));
        contest.set(&routes(""));
        for _ in 0..DELETIONS {
            contest.observe(&routes(""), start);
        }
        assert!(contest.yielded().is_empty());
    }
}
