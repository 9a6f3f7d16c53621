//! Which connection has which prefix: no two may route the same.
//!
//! First come, first served; at the start in the order of the command line. What one gives up the others learn
//! at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::plan::Plan;

/// One connection's view of what all have.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    registry: watch::Sender<Vec<Claim>>,
    own: usize,
}

/// What the other connections have, with their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Others {
    /// Prefixes that lead into their tunnels.
    pub(super) prefixes: BTreeMap<IpNet, String>,
    /// Where their tunnels' datagrams go: to be reached by whatever way, but not by a tunnel.
    endpoints: BTreeMap<IpNet, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Claim {
    name: String,
    /// The engine's identity.
    engine: Option<String>,
    tunnel: BTreeSet<IpNet>,
    routes: BTreeSet<IpNet>,
    endpoint: Option<IpAddr>,
    /// Nobody waits for it: it has planned, or failed, once.
    settled: bool,
}

/// How long those after it wait for a connection's first plan.
const TURN: Duration = Duration::from_secs(3);

impl Claims {
    /// One view for each connection.
    pub(super) fn of(names: &[String]) -> Vec<Self> {
        let claims = names.iter().map(|name| Claim {
            name: name.clone(),
            ..Claim::default()
        });
        let registry = watch::Sender::new(claims.collect());
        (0..names.len())
            .map(|own| Self {
                registry: registry.clone(),
                own,
            })
            .collect()
    }

    pub(super) fn are_shared(&self) -> bool {
        self.registry.borrow().len() > 1
    }

    /// Takes an engine, which must not be another connection's.
    pub(super) fn take(&self, name: &str, engine: &str) -> Result<()> {
        let mut owner = None;
        self.change(|own, others| {
            owner = others
                .filter(|it| it.engine.as_deref() == Some(engine))
                .map(|it| it.name.clone())
                .next();
            if owner.is_none() {
                name.clone_into(&mut own.name);
                own.engine = Some(engine.to_owned());
            }
        });
        match owner {
            Some(owner) => bail!("the engine at {engine} is that of connection '{owner}' already"),
            None => Ok(()),
        }
    }

    /// Returns once all connections before this one have planned or failed, or had time enough.
    pub(super) async fn turn(&self) {
        let mut registry = self.registry.subscribe();
        let settled = async {
            let before = |all: &Vec<Claim>| all[..self.own].iter().all(|it| it.settled);
            drop(registry.wait_for(before).await);
        };
        // Too late is as good.
        let _ = timeout(TURN, settled).await;
    }

    pub(super) fn settle(&self) {
        self.change(|own, _| own.settled = true);
    }

    /// Claims tunnel prefixes; false, and nothing claimed, where another has a part of them.
    pub(super) fn pair(&self, prefixes: &[IpNet]) -> bool {
        let mut free = false;
        self.change(|own, mut others| {
            free = !others.any(|it| {
                it.prefixes()
                    .any(|it| prefixes.iter().any(|new| overlap(it, new)))
            });
            if free {
                own.tunnel = prefixes.iter().copied().collect();
            }
        });
        free
    }

    /// Plans beside the others, and claims the plan's routes on top of those that are set already.
    pub(super) fn plan(
        &self,
        endpoint: Option<IpAddr>,
        plan: impl FnOnce(&Others) -> Plan,
    ) -> Plan {
        let mut planned = Plan::default();
        self.change(|own, others| {
            planned = plan(&Others::of(others));
            own.routes.extend(&planned.routes);
            own.endpoint = endpoint;
            own.settled = true;
        });
        planned
    }

    /// Gives up all routes but these, once the others are gone from this host.
    pub(super) fn keep(&self, routes: &BTreeSet<IpNet>) {
        self.change(|own, _| own.routes.clone_from(routes));
    }

    /// Gives up everything but the place in the order.
    pub(super) fn release(&self) {
        self.change(|own, _| {
            *own = Claim {
                name: std::mem::take(&mut own.name),
                engine: own.engine.take(),
                settled: own.settled,
                ..Claim::default()
            };
        });
    }

    /// As [`Self::release`], and the engine may be another's.
    pub(super) fn leave(&self) {
        self.release();
        self.change(|own, _| own.engine = None);
    }

    pub(super) fn others(&self) -> Others {
        let all = self.registry.borrow();
        Others::of(beside(&all, self.own))
    }

    /// Waits until the others have something else than this.
    pub(super) async fn changed(&self, known: &Others) -> Others {
        let mut registry = self.registry.subscribe();
        // The sender is this very connection's, too, so it cannot be gone.
        let _ = registry
            .wait_for(|all| Others::of(beside(all, self.own)) != *known)
            .await;
        self.others()
    }

    fn change(&self, change: impl FnOnce(&mut Claim, Box<dyn Iterator<Item = &Claim> + '_>)) {
        self.registry.send_if_modified(|all| {
            let mut own = all[self.own].clone();
            change(&mut own, Box::new(beside(all, self.own)));
            let is_new = all[self.own] != own;
            all[self.own] = own;
            is_new
        });
    }
}

impl Others {
    fn of<'a>(claims: impl Iterator<Item = &'a Claim>) -> Self {
        let mut others = Self::default();
        for claim in claims {
            let name = || claim.name.clone();
            others
                .prefixes
                .extend(claim.prefixes().map(|it| (*it, name())));
            let endpoint = claim.endpoint.map(IpNet::from);
            others.endpoints.extend(endpoint.map(|it| (it, name())));
        }
        others
    }

    /// What no route of this connection's may touch.
    pub(super) fn claims(&self) -> BTreeMap<IpNet, String> {
        let mut claims = self.endpoints.clone();
        claims.extend(self.prefixes.clone());
        claims
    }
}

impl Claim {
    fn prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.tunnel.iter().chain(&self.routes)
    }
}

fn beside(all: &[Claim], own: usize) -> impl Iterator<Item = &Claim> {
    let (before, after) = all.split_at(own);
    before.iter().chain(after.iter().skip(1))
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Claims, Claims) {
        let mut both = Claims::of(&["a".into(), "b".into()]).into_iter();
        (both.next().unwrap(), both.next().unwrap())
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// Claims what nobody else has of this.
    fn want(claims: &Claims, prefix: &str) -> bool {
        let prefix = net(prefix);
        let plan = claims.plan(None, |others| {
            let taken = others.claims().keys().any(|it| overlap(it, &prefix));
            let free = Some(prefix).filter(|_| !taken);
            Plan {
                routes: free.into_iter().collect(),
                ..Plan::default()
            }
        });
        !plan.routes.is_empty()
    }

    #[test]
    fn what_one_has_the_other_does_not_get_until_it_is_given_up() {
        let (a, b) = two();
        assert!(want(&a, "172.17.0.0/16"));
        assert!(!want(&b, "172.17.0.0/16"));
        assert_eq!(
            b.others().prefixes,
            [(net("172.17.0.0/16"), "a".to_owned())].into()
        );
        a.keep(&BTreeSet::new());
        assert!(want(&b, "172.17.0.0/16"));
    }

    #[test]
    fn a_route_is_claimed_until_it_is_gone() {
        let (a, b) = two();
        assert!(want(&a, "172.17.0.0/16"));
        assert!(want(&a, "172.18.0.0/16"));
        assert!(!want(&b, "172.17.0.0/16"));
        a.keep(&[net("172.18.0.0/16")].into());
        assert!(want(&b, "172.17.0.0/16"));
    }

    #[test]
    fn two_tunnels_do_not_get_the_same_addresses() {
        let (a, b) = two();
        assert!(a.pair(&[net("10.75.0.0/24")]));
        assert!(!b.pair(&[net("10.75.0.0/24")]));
        assert!(b.pair(&[net("10.75.1.0/24")]));
        assert!(a.pair(&[net("10.75.0.0/24")]));
    }

    #[test]
    fn an_engine_is_one_connection_s() {
        let (a, b) = two();
        a.take("x", "unix:///a.sock").unwrap();
        let error = b.take("y", "unix:///a.sock").unwrap_err().to_string();
        assert!(error.contains("connection 'x'"), "{error}");
        a.leave();
        b.take("y", "unix:///a.sock").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_plans_first_unless_it_fails_or_takes_too_long() {
        let (a, b) = two();
        let begin = tokio::time::Instant::now();
        a.turn().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        b.turn().await;
        assert_eq!(begin.elapsed(), TURN);
        a.settle();
        b.turn().await;
        assert_eq!(begin.elapsed(), TURN);
    }

    #[tokio::test]
    async fn who_waits_learns_of_what_is_given_up() {
        let (a, b) = two();
        assert!(want(&a, "172.17.0.0/16"));
        let known = b.others();
        let waiting = b.changed(&known);
        let giving_up = async { a.keep(&BTreeSet::new()) };
        let (now, ()) = tokio::join!(waiting, giving_up);
        assert_eq!(now, Others::default());
    }
}
