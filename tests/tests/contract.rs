//! The JSON that scripts rely on: exactly these fields, with these types, whatever the engine.

#![cfg(target_os = "linux")]

use std::net::IpAddr;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Engine, Lab, Options, can_run};
use serde_json::{Value, json};

#[test]
fn status_and_ls_have_the_documented_fields_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let version = engine.to_string();
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
        lab.container("web", &["--network", "web", "--publish", "8080:80/udp"])?;
        let client = Client::new(&lab, "contract");
        client.connect(&[])?;
        client.wait_for_path("udp");

        let status = json_of(&client, "status", 0)?;
        assert_eq!(fields(&status), STATUS);
        assert_eq!(status["version"], 1);
        assert_eq!(status["state"], "connected");
        assert!(status["dns"].is_null() && status["page"].is_null());
        let connection = &status["connections"][0];
        assert_eq!(fields(connection), CONNECTION);
        assert!(
            connection["engine"]
                .as_str()
                .is_some_and(|it| it.starts_with(&version))
        );
        describes_a_tunnel(connection)?;
        let networks = connection["networks"].as_array().context("networks")?;
        for network in networks {
            assert_eq!(fields(network), NETWORK);
            let is_reachable = network["state"] == "reachable";
            assert_eq!(is_reachable, network["reason"].is_null(), "{network}");
        }
        let web = networks.iter().find(|it| it["name"] == "web");
        let expected = json!({
            "name": "web", "driver": "bridge", "subnets": ["172.30.0.0/24"], "mapped": [],
            "state": "reachable", "reason": null,
        });
        assert_eq!(web, Some(&expected));

        let list = json_of(&client, "ls", 0)?;
        let id = lab.inspect("web")?.id;
        let expected = json!([{
            "name": "web", "id": id, "names": [],
            "networks": [{ "network": "web", "address": "172.30.0.2", "mapped": null }],
            "ports": ["80/tcp", "80/udp"], "reachable": true,
        }]);
        assert_eq!(list, expected);
    }
    Ok(())
}

#[test]
fn without_a_connection_status_fails_and_ls_lists_what_is_not_reachable() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let id = lab.container("web", &[])?.id;
    let client = Client::new(&lab, "contract");
    let expected = json!({
        "version": 1, "state": "disconnected", "connections": [], "dns": null, "page": null,
    });
    assert_eq!(json_of(&client, "status", 1)?, expected);
    let list = json_of(&client, "ls", 0)?;
    assert_eq!(list[0]["id"], id.as_str());
    assert_eq!(list[0]["reachable"], false);

    client.connect(&["--path", "session"])?;
    let status = json_of(&client, "status", 0)?;
    let connection = &status["connections"][0];
    assert_eq!(connection["path"], "session");
    assert!(connection["endpoint"].is_null());
    assert_eq!(fields(connection), CONNECTION);

    lab.stop_dockerd()?;
    dtap_tests::wait_until(dtap_tests::within(LOST), "the engine is missed", || {
        client.field("state") == "reconnecting"
    });
    let status = json_of(&client, "status", 1)?;
    assert_eq!(status["state"], "reconnecting");
    Ok(())
}

fn describes_a_tunnel(connection: &Value) -> Result<()> {
    assert_eq!(connection["state"], "connected");
    assert_eq!(connection["mode"], "tunnel");
    assert_eq!(connection["mtu"], 1420);
    assert_eq!(connection["server_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(connection["taps"], json!([]));
    let text = |name: &str| connection[name].as_str().context(name.to_owned());
    text("endpoint")?.parse::<std::net::SocketAddr>()?;
    text("host_address")?.parse::<IpAddr>()?;
    text("server_address")?.parse::<IpAddr>()?;
    assert!(!text("name")?.is_empty() && !text("interface")?.is_empty());
    for count in ["last_handshake_s", "rx_bytes", "tx_bytes"] {
        assert!(connection[count].is_u64(), "{count} in {connection}");
    }
    Ok(())
}

fn json_of(client: &Client<'_>, command: &str, code: i32) -> Result<Value> {
    let output = client.run(&[command, "--json"]);
    assert_eq!(output.code, code, "{output:?}");
    serde_json::from_str(&output.stdout).with_context(|| format!("read {output:?}"))
}

/// In alphabetical order.
fn fields(object: &Value) -> Vec<&str> {
    let fields = object.as_object().into_iter().flatten();
    let mut names: Vec<_> = fields.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

const STATUS: [&str; 5] = ["connections", "dns", "page", "state", "version"];
const CONNECTION: [&str; 16] = [
    "endpoint",
    "engine",
    "host_address",
    "interface",
    "last_handshake_s",
    "mode",
    "mtu",
    "name",
    "networks",
    "path",
    "rx_bytes",
    "server_address",
    "server_version",
    "state",
    "taps",
    "tx_bytes",
];
const NETWORK: [&str; 6] = ["driver", "mapped", "name", "reason", "state", "subnets"];
const LOST: std::time::Duration = std::time::Duration::from_secs(6);
