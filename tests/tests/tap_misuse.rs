//! Whoever asks to be in a network that cannot be joined gets one sentence with the reason, and keeps what stands.

#![cfg(target_os = "linux")]

use anyhow::{Result, ensure};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, Output, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::misuse::Misuse;
use dtap_tests::taps::Tap;

#[test]
fn without_a_client_or_the_right_there_is_no_tap() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let client = Client::new(&lab, "host");
    let usage = ["--carrier", "pigeon"];
    let no_address = ["--address", "nowhere"];
    for (arguments, wrapper, code, says) in [
        (
            [].as_slice(),
            [].as_slice(),
            1,
            ["no client is running", "sudo dtap-client connect"],
        ),
        (&[], &NOBODY, 1, ["needs root", "run `sudo "]),
        (&usage, &[], 2, ["'pigeon'", "auto, hyperkit, tunnel"]),
        (&no_address, &[], 2, ["'nowhere'", "invalid IP address"]),
    ] {
        let misuse = Misuse {
            arguments: &[&["tap", "attach", "web"], arguments].concat(),
            wrapper,
            code,
            says: &says,
        };
        misuse.commit(&lab, &client)?;
    }
    let misuse = Misuse {
        arguments: &["tap", "attach"],
        code: 2,
        says: &["<NETWORK>"],
        ..Misuse::default()
    };
    misuse.commit(&lab, &client)
}

#[test]
fn a_network_that_cannot_be_joined_is_named_with_the_reason() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    lab.docker(&["network", "create", "--subnet", "172.31.0.0/24", "mapped"])?;
    let icc = "com.docker.network.bridge.enable_icc=false";
    lab.docker(&["network", "create", "-o", icc, "mute"])?;
    let client = Client::new(&lab, "host");
    client.connect(&["--map", "172.31.0.0/24=10.1.0.0/24"])?;
    let tap = Tap::attach(&client, "web", &[])?;
    let before = Machines::of(&lab)?;
    for (network, says) in [
        ("nope", "the engine has no such network"),
        ("host", "only networks of the driver bridge"),
        ("none", "only networks of the driver bridge"),
        ("mapped", "its addresses mean something else on this host"),
        ("mute", "may not speak to their neighbours (icc=false)"),
        ("elsewhere/web", "there is no connection 'elsewhere'"),
    ] {
        let said = client.run(&["tap", "attach", network]);
        refused(&said, &["attach to network", says])?;
    }
    let attach = client.command(&["tap", "attach", "web"]);
    let attach: Vec<_> = attach.iter().map(String::as_str).collect();
    let said = lab.mac(&[&NOBODY, attach.as_slice()].concat());
    refused(&said, &["needs root"])?;
    assert_eq!(Tap::of(&client, "web")?, tap);
    assert!(before.difference(&Machines::of(&lab)?).is_empty());
    // Leaving what one is not in is no mistake.
    client.run(&["tap", "detach", "nope"]).text()?;
    Ok(())
}

#[test]
fn of_several_engines_one_is_to_be_named() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (one, other) = (lab()?, Lab::start(Options::default())?);
    other.docker(&["network", "create", "--subnet", "172.29.0.0/24", "web"])?;
    let web = other.container("web", &["--network", "web"])?;
    let client = Client::new(&one, "host");
    let (first, second) = (one.docker_host(), other.docker_host());
    client.connect(&["--docker-host", &first, "--docker-host", &second])?;
    let said = client.run(&["tap", "attach", "web"]);
    let (first, second) = (format!("{first}/web"), format!("{second}/web"));
    refused(&said, &["several engines", &first, &second])?;
    client.run(&["tap", "attach", &second]).text()?;
    let ping = ["ping", "-c1", "-W2", &web.v4()?.to_string()];
    one.mac(&ping).text()?;
    client.run(&["tap", "detach", &second]).text()?;
    Ok(())
}

fn refused(said: &Output, words: &[&str]) -> Result<()> {
    ensure!(said.code == 1, "{said:?}");
    ensure!(said.stdout.is_empty(), "{said:?}");
    ensure!(said.stderr.starts_with("error: "), "{said:?}");
    ensure!(said.stderr.lines().count() == 1, "{said:?}");
    for word in words {
        ensure!(said.stderr.contains(word), "not {word:?}: {said:?}");
    }
    Ok(())
}

fn lab() -> Result<Lab> {
    let lab = Lab::start(Options {
        link: Link::None,
        ..Options::default()
    })?;
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/24", "web"])?;
    lab.container("web", &["--network", "web"])?;
    Ok(lab)
}

/// Runs what follows as a user without any right.
const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];
