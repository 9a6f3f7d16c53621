//! The user's choice: networks by name, CIDR and label, containers by label.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::host::pings;
use dtap_tests::lab::{Container, Lab, Options, can_run};
use dtap_tests::traffic::serves;

#[test]
fn only_what_the_user_wants_is_reached_and_the_rest_says_why() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let network = |name: &str, subnet: &str, more: &[&str]| {
        let create = ["network", "create", "--subnet", subnet];
        lab.docker(&[&create, more, &[name]].concat())?;
        lab.container(name, &["--network", name])
    };
    let front = network("shop_front", "172.30.1.0/24", &[])?;
    let back = network("shop_back", "172.30.2.0/24", &[])?;
    let silent = network(
        "shop_silent",
        "172.30.3.0/24",
        &["--label", "dtap.enable=false"],
    )?;
    let other = network("other", "172.30.4.0/24", &[])?;
    let label = ["--network", "shop_front", "--label", "dtap.enable=false"];
    let hidden = lab.container("hidden", &label)?;

    let client = Client::new(&lab, "filters");
    client.connect(&["--include", "shop_*", "--exclude", "172.30.2.0/24"])?;
    let reached = |it: &Container| it.v4().is_ok_and(|to| serves(lab.mac_namespace(), to));
    assert!(reached(&front));
    for container in [&back, &silent, &other, &hidden] {
        assert!(!reached(container), "{}", container.name);
    }
    let ping = |to| pings(|program| lab.mac(program), to);
    assert!(!ping(hidden.addresses[0]) && ping(front.addresses[0]));
    let host = client.field("host_address");
    let calls = |name: &str| {
        lab.docker(&["exec", name, "ping", "-c1", "-W1", &host])
            .is_ok()
    };
    assert!(calls("shop_front") && !calls("hidden"));

    let reasons = reasons(&client)?;
    assert_eq!(reasons["shop_back"], "excluded by '172.30.2.0/24'");
    assert_eq!(
        reasons["shop_silent"],
        "excluded by its label dtap.enable=false"
    );
    assert_eq!(reasons["other"], "not among the included networks");
    assert_eq!(reasons["hidden"], "excluded by its label dtap.enable=false");
    assert!(!reasons.contains_key("shop_front"));
    Ok(())
}

/// Why containers are not reachable, by name.
fn reasons(client: &Client<'_>) -> Result<BTreeMap<String, String>> {
    let list = client.run(&["ls", "--json"]).text()?;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list)?;
    let unreachable = list.iter().filter(|it| it["reachable"] == false);
    unreachable
        .map(|it| {
            let name = it["name"].as_str().context("its name")?;
            let reason = it["reason"].as_str().context("the reason")?;
            Ok((name.to_owned(), reason.to_owned()))
        })
        .collect()
}
