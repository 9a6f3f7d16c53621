//! `status`: what the running client says of its connections.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::cli::StateDir;
use crate::control;
use crate::plan::{NetworkState, Reachability};
use crate::stdout::print;
use crate::table;

/// The JSON of `status --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: u32,
    pub(crate) state: State,
    pub(crate) connections: Vec<ConnectionStatus>,
    pub(crate) dns: Option<Dns>,
    pub(crate) page: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Connected,
    Reconnecting,
    #[default]
    Connecting,
    Disconnected,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ConnectionStatus {
    pub(crate) name: String,
    pub(crate) engine: Option<String>,
    pub(crate) state: State,
    /// Why it is not connected; a connection that is has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Its engine does not run yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) absent: bool,
    pub(crate) mode: Option<String>,
    pub(crate) interface: Option<String>,
    /// How datagrams of the tunnel travel; in tap mode packets are none of them.
    pub(crate) path: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) server_version: Option<String>,
    pub(crate) host_address: Option<IpAddr>,
    pub(crate) server_address: Option<IpAddr>,
    pub(crate) mtu: Option<u16>,
    pub(crate) last_handshake_s: Option<u64>,
    pub(crate) rx_bytes: Option<u64>,
    pub(crate) tx_bytes: Option<u64>,
    pub(crate) networks: Vec<NetworkState>,
    pub(crate) taps: Vec<Tap>,
}

/// Where names are served; not before there are names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Dns {
    domain: String,
    listen: String,
}

/// A network that this host is in, or shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tap {
    pub(crate) network: String,
    pub(crate) carrier: String,
    pub(crate) interface: Option<String>,
    /// The IPv4 address if there is one.
    pub(crate) address: Option<IpNet>,
    /// Of the other family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address6: Option<IpNet>,
    pub(crate) state: TapState,
    pub(crate) reason: Option<String>,
    /// Whether the interface is the other end of the network's parent.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) is_by_parent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TapState {
    Attaching,
    Attached,
    /// Waits for what the reason names.
    Waiting,
    /// What is wanted cannot be.
    Refused,
}

impl Tap {
    /// As a person reads them.
    pub(crate) fn addresses(&self) -> String {
        let both = self.address.iter().chain(&self.address6);
        let both: Vec<_> = both.map(ToString::to_string).collect();
        both.join(" and ")
    }
}

const VERSION: u32 = 1;
const REFRESH: Duration = Duration::from_secs(1);

impl Status {
    /// The state of all: connected only if every connection is.
    pub(crate) fn of(connections: Vec<ConnectionStatus>) -> Self {
        let states = connections.iter().map(|connection| connection.state);
        Self {
            version: VERSION,
            state: states
                .max_by_key(|state| rank(*state))
                .unwrap_or(State::Disconnected),
            connections,
            dns: None,
            page: None,
        }
    }
}

pub(crate) async fn command(state: &StateDir, json: bool, watch: bool) -> Result<ExitCode> {
    loop {
        let status = match control::ask(&state.directory, control::Command::Status).await? {
            Some(answer) => serde_json::from_str(&answer).context("read the client's status")?,
            None => Status::of(Vec::new()),
        };
        let text = if json {
            serde_json::to_string(&status)? + "\n"
        } else {
            human(&status)
        };
        if watch && !json {
            print("\x1b[2J\x1b[H");
        }
        print(&text);
        if !watch {
            return Ok(match status.state {
                State::Connected => ExitCode::SUCCESS,
                State::Connecting | State::Reconnecting | State::Disconnected => ExitCode::FAILURE,
            });
        }
        tokio::time::sleep(REFRESH).await;
    }
}

/// As serde wants it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// From good to bad; the worst connection decides.
const fn rank(state: State) -> u8 {
    match state {
        State::Connected => 0,
        State::Connecting => 1,
        State::Reconnecting => 2,
        State::Disconnected => 3,
    }
}

fn human(status: &Status) -> String {
    if status.connections.is_empty() {
        return "disconnected\n".to_owned();
    }
    let connections: Vec<_> = status.connections.iter().map(connection).collect();
    connections.join("\n")
}

fn connection(status: &ConnectionStatus) -> String {
    let mut text = format!("{}: {}", status.name, state_word(status.state));
    if let Some(engine) = &status.engine {
        text += &format!(" to Docker {engine}");
    }
    if let Some(reason) = &status.reason {
        text += &format!(" ({reason})");
    }
    text.push('\n');
    let mut rows = Vec::new();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push(vec![format!("  {name}"), value]);
        }
    };
    row(
        "path",
        status.path.as_ref().map(|path| match &status.endpoint {
            Some(endpoint) => format!("{path} to {endpoint}"),
            None => path.clone(),
        }),
    );
    row(
        "host",
        status.host_address.map(|address| match &status.interface {
            Some(interface) => format!("{address} on {interface}"),
            None => address.to_string(),
        }),
    );
    row("server", status.server_address.map(|it| it.to_string()));
    row(
        "handshake",
        status.last_handshake_s.map(|it| format!("{it} s ago")),
    );
    row(
        "traffic",
        status
            .rx_bytes
            .zip(status.tx_bytes)
            .map(|(rx, tx)| format!("{} in, {} out", bytes(rx), bytes(tx))),
    );
    text += &table::render(&rows);
    if !status.networks.is_empty() {
        text += "  networks\n";
    }
    let networks: Vec<_> = status.networks.iter().map(network).collect();
    text += &table::render(&networks);
    if !status.taps.is_empty() {
        text += "  taps\n";
    }
    let taps: Vec<_> = status.taps.iter().map(tap).collect();
    text + &table::render(&taps)
}

fn tap(tap: &Tap) -> Vec<String> {
    let state = match tap.state {
        TapState::Attaching => "attaching",
        TapState::Attached => "attached",
        TapState::Waiting => "waiting",
        TapState::Refused => "refused",
    };
    let reason = tap.reason.as_ref();
    vec![
        format!("    {}", tap.network),
        tap.addresses(),
        format!(
            "{} by {}",
            tap.interface.as_deref().unwrap_or_default(),
            tap.carrier
        ),
        reason.map_or_else(|| state.to_owned(), |reason| format!("{state}: {reason}")),
    ]
}

/// In the largest unit that leaves a whole number, and a tenth.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (1..)
        .zip(UNITS)
        .filter(|(step, _)| count >> (10 * step) > 0);
    match unit.last() {
        Some((step, unit)) => {
            let tenths = (u128::from(count) * 10) >> (10 * step);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{count} B"),
    }
}

fn network(network: &NetworkState) -> Vec<String> {
    let subnets: Vec<_> = network.subnets.iter().map(IpNet::to_string).collect();
    let state = match network.state {
        Reachability::Reachable => "reachable",
        Reachability::Conflict => "conflict",
        Reachability::Excluded => "excluded",
        Reachability::Unsupported => "unsupported",
    };
    let state = match &network.reason {
        Some(reason) => format!("{state}: {reason}"),
        None if network.mapped.is_empty() => state.to_owned(),
        None => {
            let mapped: Vec<_> = network.mapped.iter().map(IpNet::to_string).collect();
            format!("{state} as {}", mapped.join(", "))
        }
    };
    vec![format!("    {}", network.name), subnets.join(", "), state]
}

pub(crate) const fn state_word(state: State) -> &'static str {
    match state {
        State::Connected => "connected",
        State::Connecting => "connecting",
        State::Reconnecting => "reconnecting",
        State::Disconnected => "disconnected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_connection_decides() {
        let in_state = |state| ConnectionStatus {
            state,
            ..ConnectionStatus::default()
        };
        let both = [State::Connected, State::Reconnecting]
            .map(in_state)
            .to_vec();
        assert_eq!(Status::of(both).state, State::Reconnecting);
        assert_eq!(
            Status::of(vec![in_state(State::Connected)]).state,
            State::Connected
        );
        assert_eq!(Status::of(Vec::new()).state, State::Disconnected);
    }

    #[test]
    fn a_person_reads_the_state_first_and_the_networks_last() {
        let status = ConnectionStatus {
            name: "default".into(),
            engine: Some("28.5.2".into()),
            state: State::Connected,
            path: Some("udp".into()),
            endpoint: Some("127.0.0.1:40542".into()),
            rx_bytes: Some(1023),
            tx_bytes: Some(3 << 29),
            networks: vec![NetworkState {
                name: "web".into(),
                driver: "bridge".into(),
                subnets: vec!["172.18.0.0/16".parse().unwrap()],
                mapped: Vec::new(),
                state: Reachability::Reachable,
                reason: None,
            }],
            ..ConnectionStatus::default()
        };
        let expected = "default: connected to Docker 28.5.2
  path     udp to 127.0.0.1:40542
  traffic  1023 B in, 1.5 GiB out
  networks
    web  172.18.0.0/16  reachable
";
        assert_eq!(human(&Status::of(vec![status])), expected);
    }

    #[test]
    fn unknown_values_are_null_and_not_absent() {
        let json = serde_json::to_value(Status::of(vec![ConnectionStatus::default()])).unwrap();
        assert_eq!(json["version"], 1);
        assert!(json["dns"].is_null() && json["page"].is_null());
        let connection = json["connections"][0].as_object().unwrap();
        for key in ["endpoint", "path", "last_handshake_s", "mtu"] {
            assert!(connection[key].is_null(), "{key}");
        }
    }
}
