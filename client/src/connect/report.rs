//! One line per change of state, for whoever watches `connect`.

use super::view::View;
use crate::plan::{NetworkState, Reachability};
use crate::status::{ConnectionStatus, State};

/// Whether a line about a network has to name the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    OneOfSeveral,
}

/// What there is to say about the difference.
pub(super) fn lines(before: &View, after: &View, company: Company) -> Vec<String> {
    let (old, new) = (&before.status, &after.status);
    let mut lines = Vec::new();
    if old.state != new.state || (old.reason != new.reason && new.reason.is_some()) {
        lines.extend(state(new));
    }
    if new.state == State::Connected {
        if old.path != new.path || old.endpoint != new.endpoint {
            lines.extend(path(new));
        }
        let networks = networks(&old.networks, &new.networks);
        lines.extend(networks.into_iter().map(|line| match company {
            Company::Alone => line,
            Company::OneOfSeveral => format!("{}: {line}", new.name),
        }));
    }
    lines
}

/// What the user knows once the lines are out: of path and networks only what
/// they were while connected.
pub(super) fn told(before: &View, after: &View) -> View {
    let mut told = after.clone();
    if after.status.state != State::Connected {
        told.status.path.clone_from(&before.status.path);
        told.status.endpoint.clone_from(&before.status.endpoint);
        told.status.networks.clone_from(&before.status.networks);
    }
    told
}

/// The line for a change of state; being about to connect is none, unless something is in the way.
pub(super) fn state(status: &ConnectionStatus) -> Option<String> {
    let name = &status.name;
    let reason = status.reason.as_deref().unwrap_or("no reason known");
    match status.state {
        State::Connecting if status.absent => Some(format!("{name}: waiting: {reason}")),
        State::Connecting => {
            let obstacle = status.reason.as_ref();
            obstacle.map(|reason| format!("{name}: connecting: {reason}"))
        }
        State::Disconnected => Some(format!("{name}: disconnected: {reason}")),
        State::Reconnecting => Some(format!("{name}: reconnecting: {reason}")),
        State::Connected => {
            let engine = status.engine.as_deref().unwrap_or("unknown");
            let whereabouts = match (&status.host_address, &status.interface) {
                (Some(address), Some(interface)) => format!(" as {address} on {interface}"),
                _ => String::new(),
            };
            Some(format!("{name}: connected to Docker {engine}{whereabouts}"))
        }
    }
}

fn path(status: &ConnectionStatus) -> Option<String> {
    let name = &status.name;
    match (status.path.as_deref()?, &status.endpoint) {
        ("direct", _) => Some(format!(
            "{name}: this host has the networks itself, nothing to tunnel"
        )),
        (path, Some(endpoint)) => Some(format!("{name}: path {path} to {endpoint}")),
        (path, None) => Some(format!("{name}: path {path}")),
    }
}

fn networks(before: &[NetworkState], after: &[NetworkState]) -> Vec<String> {
    let is_gone = |network: &&NetworkState| !after.iter().any(|it| it.name == network.name);
    let is_news = |network: &&NetworkState| !before.contains(network) && !is_built_in(network);
    let changed = after.iter().filter(is_news).map(network);
    let gone = before.iter().filter(is_gone);
    changed
        .chain(gone.map(|network| format!("network {}: gone", network.name)))
        .collect()
}

/// Every engine has `host` and `none`, and nobody asked for them.
fn is_built_in(network: &NetworkState) -> bool {
    ["host", "null"].contains(&network.driver.as_str())
}

fn network(network: &NetworkState) -> String {
    let subnets: Vec<_> = network.subnets.iter().map(ToString::to_string).collect();
    let name = &network.name;
    let reason = network.reason.as_deref().unwrap_or_default();
    match network.state {
        Reachability::Reachable if reason.is_empty() => {
            let mapped: Vec<_> = network.mapped.iter().map(ToString::to_string).collect();
            let under = if mapped.is_empty() { "" } else { " as " };
            format!(
                "network {name}: {} reachable{under}{}",
                subnets.join(", "),
                mapped.join(", ")
            )
        }
        Reachability::Reachable => format!("network {name}: reachable, {reason}"),
        Reachability::Conflict => format!("network {name}: conflict, {reason}"),
        Reachability::Excluded => format!("network {name}: excluded, {reason}"),
        Reachability::Unsupported => format!("network {name}: unsupported, {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> View {
        let mut view = View::new("default");
        view.status.state = State::Connected;
        view.status.engine = Some("28.5.2".into());
        view.status.host_address = Some([10, 75, 0, 2].into());
        view.status.interface = Some("dtap0".into());
        view.status.path = Some("session".into());
        view.status.networks = vec![NetworkState {
            name: "web".into(),
            driver: "bridge".into(),
            subnets: vec!["172.18.0.0/16".parse().unwrap()],
            mapped: Vec::new(),
            state: Reachability::Reachable,
            reason: None,
        }];
        view
    }

    #[test]
    fn connecting_says_where_how_and_what() {
        let expected = [
            "default: connected to Docker 28.5.2 as 10.75.0.2 on dtap0",
            "default: path session",
            "network web: 172.18.0.0/16 reachable",
        ];
        assert_eq!(
            lines(&View::new("default"), &connected(), Company::Alone),
            expected
        );
    }

    #[test]
    fn what_came_before_the_connection_is_said_once_it_stands() {
        let mut connecting = connected();
        connecting.status.state = State::Connecting;
        let before = View::new("default");
        assert_eq!(lines(&before, &connecting, Company::Alone), [""; 0]);
        let before = told(&before, &connecting);
        assert_eq!(lines(&before, &connected(), Company::Alone).len(), 3);
    }

    #[test]
    fn of_several_connections_each_line_names_its_own() {
        for line in lines(&View::new("default"), &connected(), Company::OneOfSeveral) {
            assert!(line.starts_with("default: "), "{line}");
        }
    }

    #[test]
    fn an_engine_that_is_waited_for_is_said_once() {
        let mut waiting = View::new("default");
        waiting.status.reason = Some("no engine at /x".into());
        waiting.status.absent = true;
        let before = View::new("default");
        let said = lines(&before, &waiting, Company::Alone);
        assert_eq!(said, ["default: waiting: no engine at /x"]);
        assert_eq!(lines(&waiting, &waiting, Company::Alone), [""; 0]);
    }

    #[test]
    fn a_mapped_network_is_said_with_its_other_prefix() {
        let mut view = connected();
        view.status.networks[0].mapped = vec!["10.254.0.0/16".parse().unwrap()];
        assert_eq!(
            lines(&connected(), &view, Company::Alone),
            ["network web: 172.18.0.0/16 reachable as 10.254.0.0/16"]
        );
    }

    #[test]
    fn nothing_new_is_nothing_said() {
        assert_eq!(lines(&connected(), &connected(), Company::Alone), [""; 0]);
    }

    #[test]
    fn a_lost_connection_says_why_and_a_lost_network_that_it_is_gone() {
        let mut lost = connected();
        lost.status.state = State::Reconnecting;
        lost.status.reason = Some("the engine stopped".into());
        assert_eq!(
            lines(&connected(), &lost, Company::Alone),
            ["default: reconnecting: the engine stopped"]
        );
        let mut without = connected();
        without.status.networks.clear();
        assert_eq!(
            lines(&connected(), &without, Company::Alone),
            ["network web: gone"]
        );
    }
}
