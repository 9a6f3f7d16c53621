//! One client and two engines: each has its tunnel, and what befalls one does not touch the other.
//!
//! The client runs on the host of lab `a`. Of lab `b` it has nothing but the engine's socket.

#![cfg(target_os = "linux")]

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::misuse::Misuse;
use dtap_tests::traffic::{Echo, serves};
use dtap_tests::{keeps_promise, wait_until};
use serde_json::Value;

#[test]
fn two_engines_are_reached_at_once_and_never_by_the_same_prefix() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (a, b) = labs()?;
    let echo = Echo::start(&a, &["--network", "own"])?;
    let web = b.container("web", &["--network", "own"])?.v4()?;
    let before = Machines::of(&a)?;
    let client = Client::new(&a, "both");
    let by_url = b.docker_host();
    client.connect(&["--context", "one", "--docker-host", &by_url])?;

    let [to_a, to_b] = ["one", &by_url].map(|name| client.connection_to(name));
    let (to_a, to_b) = (to_a?, to_b?);
    for field in ["host_address", "server_address", "interface"] {
        assert_ne!(to_a[field], to_b[field], "{field}");
    }
    assert_eq!(client.status()?["state"], "connected");
    assert_eq!(
        state_of(&to_a, "bridge"),
        ("reachable".into(), String::new())
    );
    let (verdict, reason) = state_of(&to_b, "bridge");
    assert_eq!(verdict, "conflict");
    assert!(
        reason.contains("172.17.0.0/16 is the subnet of engine 'one' too"),
        "{reason}"
    );
    let mut connection = Echo::connect(&a, echo)?;
    connection.exchange()?;
    assert!(serves(a.mac_namespace(), web));

    let listed = client.run(&["ls", "--json"]).text()?;
    let listed: Value = serde_json::from_str(&listed)?;
    let engines: Vec<_> = [0, 1].map(|index| listed[index]["engine"].clone()).into();
    assert_eq!(engines, ["one", by_url.as_str()]);
    assert!(client.run(&["ls"]).text()?.starts_with("ENGINE "));
    assert_eq!(fs::read_dir(client.state_dir().join("keys"))?.count(), 2);

    // First come, first served; and what is given up is had at once.
    let (first, second) = (
        ["network", "create", "--subnet=172.30.9.0/24", "shared"],
        ["network", "rm", "shared"],
    );
    a.docker(&first)?;
    wait_for_state(&client, "one", "shared", "reachable");
    b.docker(&first)?;
    let late = b.container("late", &["--network", "shared"])?.v4()?;
    wait_for_state(&client, &by_url, "shared", "conflict");
    a.docker(&second)?;
    keeps_promise(NOTICED, "b has what a gave up", || {
        serves(a.mac_namespace(), late)
    });

    b.kill_dockerd()?;
    wait_until(PATIENCE, "b is lost", || {
        state(&client, &by_url) == "reconnecting"
    });
    connection.exchange()?;
    assert_eq!(state(&client, "one"), "connected");
    b.start_dockerd()?;
    wait_until(PATIENCE, "b is back", || {
        state(&client, &by_url) == "connected"
    });
    connection.exchange()?;
    client.disconnect()?;
    assert!(!serves(a.mac_namespace(), web));
    let address = to_b["host_address"].clone();
    client.connect(&["--docker-host", &by_url])?;
    assert_eq!(client.connection_to("default")?["host_address"], address);
    client.disconnect()?;

    // What clashes is reached under another prefix, if the user says so.
    let plain = b.container("plain", &[])?;
    client.connect(&["--context=one", "--context=two", "--map=auto"])?;
    let (verdict, _) = state_of(&client.connection_to("two")?, "bridge");
    assert_eq!(verdict, "reachable");
    let listed: Value = serde_json::from_str(&client.run(&["ls", "--json"]).text()?)?;
    let mut containers = listed.as_array().into_iter().flatten();
    let entry = containers.find(|it| it["id"] == plain.id.as_str());
    let mapped = entry.and_then(|it| it["networks"][0]["mapped"].as_str());
    let mapped: IpAddr = mapped.context("the mapped address")?.parse()?;
    assert!(serves(a.mac_namespace(), mapped));
    client.disconnect()?;
    before.restored(&a, AT_ONCE, "disconnect")
}

#[test]
fn an_engine_that_does_not_run_is_followed_until_it_does() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (a, b) = labs()?;
    let web = a.container("web", &["--network", "own"])?.v4()?;
    b.stop_dockerd()?;
    let client = Client::new(&a, "both");
    client.connect(&["--context", "two", "--context", "one"])?;
    assert!(serves(a.mac_namespace(), web));
    assert_eq!(client.status()?["state"], "connecting");
    let reason = client.connection_to("two")?["reason"].to_string();
    assert!(reason.contains("start Docker"), "{reason}");
    b.start_dockerd()?;
    wait_until(PATIENCE, "b is connected", || {
        state(&client, "two") == "connected"
    });
    assert_eq!(client.status()?["state"], "connected");
    let servers = ["ps", "--all", "--filter", "label=dtap.server", "--quiet"];
    assert!(
        [&a, &b]
            .iter()
            .all(|it| it.docker(&servers).is_ok_and(|list| !list.is_empty()))
    );
    client.run(&["uninstall"]).text()?;
    assert!(
        [&a, &b]
            .iter()
            .all(|it| it.docker(&servers).is_ok_and(|list| list.is_empty()))
    );
    client.connect(&["--context", "one"])?;
    client.disconnect()?;

    b.stop_dockerd()?;
    let alone = Client::new(&a, "alone").by(b.docker_host());
    alone.connect(&["--wait"])?;
    assert_eq!(state(&alone, "default"), "connecting");
    b.start_dockerd()?;
    wait_until(PATIENCE, "it is connected", || {
        state(&alone, "default") == "connected"
    });
    alone.disconnect()?;

    b.stop_dockerd()?;
    assert_ne!(a.docker(&servers)?, "");
    let uninstall = client.run(&["uninstall", "--context=two", "--context=one"]);
    assert_eq!(uninstall.code, 1, "{uninstall:?}");
    assert!(uninstall.stderr.contains("two: "), "{uninstall:?}");
    assert_eq!(a.docker(&servers)?, "");

    a.stop_dockerd()?;
    for arguments in [
        ["--context=one", "--context=two"],
        ["--detach", "--context=one,two"],
    ] {
        let neither = Client::new(&a, "neither").run(&[&["connect"], &arguments[..]].concat());
        assert_eq!(neither.code, 1, "{neither:?}");
        for words in ["no engine can be reached", "one: ", "two: ", "start Docker"] {
            assert!(neither.stderr.contains(words), "{words}: {neither:?}");
        }
        assert!(!a.directory().join("client-neither").exists());
    }
    Ok(())
}

#[test]
fn an_engine_that_stays_away_gives_up_what_it_had() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (a, b) = labs()?;
    let web = b.container("web", &[])?.v4()?;
    let client = Client::new(&a, "both");
    client.connect(&["--context", "one", "--context", "two"])?;
    assert!(!serves(a.mac_namespace(), web));
    a.stop_dockerd()?;
    keeps_promise(GIVEN_UP, "two has what one had", || {
        serves(a.mac_namespace(), web)
    });
    a.start_dockerd()?;
    wait_until(PATIENCE, "one is back", || {
        state(&client, "one") == "connected"
    });
    let (verdict, reason) = state_of(&client.connection_to("one")?, "bridge");
    assert_eq!(verdict, "conflict");
    assert!(reason.contains("engine 'two' too"), "{reason}");
    assert!(serves(a.mac_namespace(), web));
    Ok(())
}

#[test]
fn a_context_is_followed_to_another_engine_and_back() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (a, b) = labs()?;
    let web = b.container("web", &["--network", "own"])?.v4()?;
    a.container("web", &[])?;
    let before = (Machines::of(&a)?.vm, Machines::of(&b)?);
    a.docker(&["context", "use", "one"])?;
    let client = Client::new(&a, "follower").by_the_context();
    client.connect(&[])?;
    let address = client.connection_to("one")?["host_address"].clone();

    a.docker(&["context", "use", "two"])?;
    keeps_promise(FOLLOWED, "b is reached", || serves(a.mac_namespace(), web));
    wait_until(PATIENCE, "b is connected", || {
        state(&client, "two") == "connected"
    });
    assert_eq!(before.0, Machines::of(&a)?.vm);
    assert!(client.log().contains("'one' is left"), "{}", client.log());

    // Rewritten, to where nothing runs: b is left all the same.
    a.docker(&[
        "context",
        "update",
        "two",
        "--docker",
        "host=unix:///nowhere/docker.sock",
    ])?;
    let reason = || client.field("reason");
    wait_until(PATIENCE, "the reason is given", || {
        reason().contains("no engine at /nowhere")
    });
    assert_eq!(client.field("state"), "reconnecting");
    before
        .1
        .restored(&b, AT_ONCE, "the context was rewritten")?;

    a.docker(&["context", "use", "one"])?;
    keeps_promise(FOLLOWED, "a is connected", || {
        state(&client, "one") == "connected"
    });
    assert_eq!(client.connection_to("one")?["host_address"], address);
    Ok(())
}

#[test]
fn what_cannot_be_meant_is_said_and_changes_nothing() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (a, b) = labs()?;
    a.container("web", &[])?;
    let client = Client::new(&a, "misused");
    let by_url = a.docker_host();
    let (of_b, both) = (b.docker_host(), ["--context=one", "--context=two"]);
    for (arguments, says) in [
        (
            vec!["--context=one", "--context=nope"],
            vec!["'nope'", "choose one of default, one, two"],
        ),
        (
            vec!["--context=one", "--docker-host=garbage"],
            vec!["'garbage'", "write it like unix:///"],
        ),
        (
            vec!["--context=one", "--docker-host", &by_url],
            vec!["context 'one'", "the same engine", "name it once"],
        ),
        (
            vec!["--include=foo"],
            vec![
                "no network matches --include 'foo'",
                "there are bridge, own",
            ],
        ),
        (
            vec!["--include=10.99.0.0/16"],
            vec!["--include '10.99.0.0/16'", "there are bridge, own"],
        ),
        (
            [&both[..], &["--include=own,fo*"]].concat(),
            vec!["--include 'fo*'", "there are bridge, own"],
        ),
        (
            vec!["--docker-host", &of_b, "--docker-host", &of_b],
            vec!["is named twice", "name it once"],
        ),
    ] {
        for detach in [["--detach"].as_slice(), &[]] {
            let misuse = Misuse {
                arguments: &[&["connect"], detach, &arguments].concat(),
                says: &says,
                ..Misuse::default()
            };
            misuse.commit(&a, &client)?;
        }
    }
    let variable = ["env", "DTAP_CONTEXT=one,nope"];
    for (arguments, says) in [
        (["connect", "--quiet"], "'nope'"),
        // A flag wins over all variables.
        (["connect", "--docker-host=garbage"], "'garbage'"),
    ] {
        let misuse = Misuse {
            arguments: &arguments,
            wrapper: &variable,
            says: &[says],
            ..Misuse::default()
        };
        misuse.commit(&a, &client)?;
    }
    Ok(())
}

/// Two labs, with contexts for both where the client is, and a subnet that only the one has.
fn labs() -> Result<(Lab, Lab)> {
    let (a, b) = (
        Lab::start(Options::default())?,
        Lab::start(Options::default())?,
    );
    for (name, lab, subnet) in [("one", &a, "172.30.1.0/24"), ("two", &b, "172.30.2.0/24")] {
        let host = format!("host={}", lab.docker_host());
        a.docker(&["context", "create", name, "--docker", &host])?;
        lab.docker(&["network", "create", "--subnet", subnet, "own"])?;
    }
    Ok((a, b))
}

fn state(client: &Client<'_>, connection: &str) -> String {
    let connection = client.connection_to(connection).unwrap_or_default();
    connection["state"].as_str().unwrap_or_default().to_owned()
}

#[track_caller]
fn wait_for_state(client: &Client<'_>, connection: &str, network: &str, state: &str) {
    let what = format!("{network} of {connection} is {state}");
    keeps_promise(NOTICED, &what, || {
        let connection = client.connection_to(connection);
        connection.is_ok_and(|it| state_of(&it, network).0 == state)
    });
}

/// State and reason of one network.
fn state_of(connection: &Value, network: &str) -> (String, String) {
    let networks = connection["networks"].as_array();
    let found = networks
        .into_iter()
        .flatten()
        .find(|it| it["name"] == network);
    let text = |field: &str| {
        let value = found.and_then(|it| it[field].as_str());
        value.unwrap_or_default().to_owned()
    };
    (text("state"), text("reason"))
}

const NOTICED: Duration = Duration::from_secs(1);
const FOLLOWED: Duration = Duration::from_secs(3);
/// The grace of the server, and a little.
const GIVEN_UP: Duration = Duration::from_secs(33);
const AT_ONCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
