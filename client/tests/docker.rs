//! The Docker API against a real engine: everything the client does with it but forwarding packets.

#[path = "docker/archive.rs"]
mod archive;

use std::time::Duration;

use anyhow::Result;
use archive::Archive;
use dtap_client::docker::{self, Engine, EventKind, Selection, ServerState};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn engine() -> Option<Engine> {
    let Ok(url) = std::env::var("DTAP_TEST_ENGINE") else {
        return None;
    };
    let environment = docker::Environment::current().unwrap();
    let target = docker::find(&Selection::Host(url), &environment).unwrap();

    Some(Engine::connect(&target).await.unwrap())
}

#[tokio::test]
async fn the_server_container_lives_its_whole_life() -> Result<()> {
    let Some(engine) = engine().await else {
        return Ok(());
    };
    println!("{:?}", engine.facts().await?);
    for network in engine.networks().await? {
        println!("{network:?} {}", network.bridge_interface());
    }

    assert_eq!(engine.server().await?, None);
    let archive = Archive::new("dtap/server:test").bytes();
    let image = engine.load_image(archive.clone()).await?;
    assert_eq!(engine.load_image(archive).await?, image);
    let server = engine.create_server(&image).await?;
    assert_eq!(server.state, ServerState::Created);
    assert_eq!(server.name, "dtap");
    engine.start_server(&server).await?;
    let server = engine.server().await?.unwrap();
    println!("{server:?}");
    assert_eq!(server.state, ServerState::Running);
    println!("{:?}", engine.containers().await?);

    let mut session = engine.session(&server.id).await?;
    let sent = vec![7; 1_000_000];
    let copy = sent.clone();
    let (mut input, mut output) = (session.input, session.output);
    let writer = tokio::spawn(async move {
        input.write_all(&copy).await.unwrap();
        input.shutdown().await.unwrap();
        input
    });
    let mut received = Vec::new();
    output.read_to_end(&mut received).await?;
    writer.await?;
    assert_eq!(received, sent);
    println!(
        "stderr {:?} code {:?}",
        session.process.stderr(),
        session.process.exit_code().await?
    );

    engine.remove_server(&server).await?;
    engine.remove_volume().await?;
    engine.remove_images().await?;
    assert_eq!(engine.server().await?, None);
    assert_eq!(engine.image(image.as_str()).await?, None);
    Ok(())
}
