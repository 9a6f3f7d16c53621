//! How long `connect` takes until containers answer.

#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Container, Engine, Lab, Options, can_run};
use dtap_tests::traffic::serves;
use dtap_tests::within;

#[test]
fn connect_takes_no_longer_than_promised_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let web = lab.container("web", &[])?;
        let client = Client::new(&lab, "speed");
        client.connect(&[])?;
        client.disconnect()?;
        connects_within(SERVER_RUNS, &lab, &client, &web)?;
        client.disconnect()?;

        lab.docker(&["rm", "--force", "dtap"])?;
        connects_within(IMAGE_LOADED, &lab, &client, &web)?;
        client.disconnect()?;

        lab.docker(&["rm", "--force", "--volumes", "dtap"])?;
        lab.docker(&["volume", "rm", "dtap"])?;
        connects_within(IMAGE_LOADED, &lab, &client, &web)?;
    }
    Ok(())
}

/// `connected` is no promise of what will be soon: the very next packet is answered.
fn connects_within(
    promise: Duration,
    lab: &Lab,
    client: &Client<'_>,
    web: &Container,
) -> Result<()> {
    let begin = Instant::now();
    client.connect(&[])?;
    let taken = begin.elapsed();
    assert!(serves(lab.mac_namespace(), web.v4()?));
    eprintln!(
        "{}: connected after {taken:.2?} (promised {promise:?})",
        lab.engine()
    );
    assert!(taken < within(promise), "{taken:?}");
    Ok(())
}

const SERVER_RUNS: Duration = Duration::from_secs(2);
/// But no container is there.
const IMAGE_LOADED: Duration = Duration::from_secs(4);
