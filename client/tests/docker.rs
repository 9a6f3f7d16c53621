//! What the client says to engines, said to real ones.

#![cfg(target_os = "linux")]

#[path = "docker/archive.rs"]
mod archive;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use archive::Archive;
use dtap_client::docker::{
    self, Container, Engine, Environment, EventKind, ImageId, Network, Selection, ServerState,
    Session,
};
use dtap_client::plan::{self, Input};
use dtap_tests::lab::{self, Lab, Options};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A lab with the newest engine, or `None` where none can run.
fn lab() -> Result<Option<Lab>> {
    if !lab::can_run() {
        return Ok(None);
    }

    Lab::start(Options::default()).map(Some)
}

async fn connect(lab: &Lab) -> Result<Engine> {
    let selection = Selection::Host(lab.docker_host());
    let target = docker::find(&selection, &Environment::current()?)?;

    Engine::connect(&target).await
}

async fn network(engine: &Engine, name: &str) -> Result<Network> {
    let mut networks = engine.networks().await?.into_iter();
    networks.find(|it| it.name == name).context("find it")
}

async fn container(engine: &Engine, name: &str) -> Result<Container> {
    let mut containers = engine.containers().await?.into_iter();
    containers.find(|it| it.name == name).context("find it")
}

/// The program's whole output, once its input has ended.
async fn exchange(mut session: Session, input: &[u8]) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    let writing = async {
        session.input.write_all(input).await?;
        session.input.shutdown().await
    };
    let reading = session.output.read_to_end(&mut output);

    let (written, read) = timeout(SOON, async { tokio::join!(writing, reading) }).await?;
    written?;
    read?;
    Ok(output)
}

#[tokio::test]
async fn the_server_container_lives_its_whole_life_on_every_engine() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    for version in lab::Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(version.clone()),
            ..Options::default()
        })?;
        let life = whole_life(&lab).await;
        life.with_context(|| format!("engine {version}"))?;
    }
    Ok(())
}

async fn whole_life(lab: &Lab) -> Result<()> {
    let engine = connect(lab).await?;
    let facts = engine.facts().await?;
    assert_eq!(facts.architecture, "amd64");
    assert!(facts.version.starts_with(&lab.engine().to_string()));
    assert_eq!(engine.server().await?, None);

    let image = engine.load_image(Archive::new().bytes()).await?;
    assert_eq!(engine.image(archive::TAG).await?, Some(image.clone()));
    let created = engine.create_server(&image).await?;
    assert_eq!(
        (created.state, created.name.as_str()),
        (ServerState::Created, "dtap")
    );
    assert!(created.host_network);
    assert_eq!(created.image, image);
    assert_privileges(lab)?;

    engine.start_server(&created).await?;
    engine.start_server(&created).await?;
    let running = engine.server().await?.context("find the server")?;
    assert_eq!(
        (running.id.as_str(), running.state),
        (created.id.as_str(), ServerState::Running)
    );

    let session = engine.session(&running.id, &Handle::current()).await?;
    let process = session.process.clone();
    let sent: Vec<_> = (0..1_000_000).map(|it: u32| it as u8).collect();
    assert!(exchange(session, &sent).await? == sent);
    assert_eq!(process.stderr(), "ready");
    assert_eq!(process.exit_code().await?, Some(0));

    engine.remove_server(&running).await?;
    engine.remove_server(&running).await?;
    engine.remove_volume().await?;
    engine.remove_volume().await?;
    engine.remove_images().await?;
    assert_eq!(engine.server().await?, None);
    assert_eq!(engine.image(image.as_str()).await?, None);
    assert!(!lab.docker(&["volume", "ls"])?.contains("dtap"));
    Ok(())
}

/// What the server may do is what the design says, and no more.
fn assert_privileges(lab: &Lab) -> Result<()> {
    let format = "{{with .HostConfig}}{{.NetworkMode}} {{.ReadonlyRootfs}} {{.Privileged}} {{.CapDrop}} {{.CapAdd}} \
        {{.SecurityOpt}} {{.RestartPolicy.Name}} {{.Devices}} {{.Binds}} {{.ExtraHosts}}{{end}}";
    let granted = lab.docker(&["inspect", "--format", format, "dtap"])?;

    assert_eq!(
        granted.trim().replace("CAP_", ""),
        "host true false [ALL] [NET_ADMIN] [no-new-privileges] unless-stopped [{/dev/net/tun /dev/net/tun rwm}] \
         [dtap:/var/lib/dtap] []"
    );
    let label = "{{index .Config.Labels \"dtap.server\"}}";
    assert_eq!(
        lab.docker(&["inspect", "--format", label, "dtap"])?.trim(),
        "1"
    );
    Ok(())
}

#[tokio::test]
async fn an_image_is_loaded_once_and_again_when_it_differs() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;

    let first = engine.load_image(Archive::new().bytes()).await?;
    let again = engine.load_image(Archive::new().bytes()).await?;
    let other = engine
        .load_image(Archive::with_program("#!/bin/sh\n").bytes())
        .await?;

    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(loads(&lab, &first)?, 1);
    Ok(())
}

/// How often the engine has loaded this image, by its own events.
fn loads(lab: &Lab, image: &ImageId) -> Result<usize> {
    // Up to the end of this second: the engine counts in whole ones.
    let until = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 1;
    let until = format!("--until={until}");
    let events = [
        "events",
        "--since=1h",
        &until,
        "--filter=event=load",
        "--format={{.Actor.ID}}",
    ];
    let images = lab.docker(&events)?;

    Ok(images.lines().filter(|it| *it == image.as_str()).count())
}

#[tokio::test]
async fn a_stranger_s_container_keeps_its_name() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;
    let image = engine.load_image(Archive::new().bytes()).await?;
    lab.container("dtap", &[])?;

    let server = engine.create_server(&image).await?;

    assert_eq!(server.name, "dtap-server");
    assert!(container(&engine, "dtap").await?.running);
    Ok(())
}

#[tokio::test]
async fn two_clients_at_once_create_one_server() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let (one, other) = (connect(&lab).await?, connect(&lab).await?);
    let image = one.load_image(Archive::new().bytes()).await?;

    let (one, other) = tokio::join!(one.create_server(&image), other.create_server(&image));

    assert_eq!(one?.id, other?.id);
    Ok(())
}

#[tokio::test]
async fn a_session_that_fails_says_why() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;
    let program = Archive::with_program(
        "#!/bin/sh\n[ $1 = session ] && { echo 'no server runs here' >&2; exit 3; }\nexec sleep 60\n",
    );
    let image = engine.load_image(program.bytes()).await?;
    let server = engine.create_server(&image).await?;
    engine.start_server(&server).await?;

    let session = engine.session(&server.id, &Handle::current()).await?;
    let process = session.process.clone();

    assert_eq!(exchange(session, b"").await?, b"");
    assert_eq!(process.stderr(), "no server runs here");
    assert_eq!(process.exit_code().await?, Some(3));
    Ok(())
}

#[tokio::test]
async fn without_a_tun_device_the_fix_is_named() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;
    let image = engine.load_image(Archive::new().bytes()).await?;
    lab.vm(&["mount", "-t", "tmpfs", "tmpfs", "/dev/net"])
        .text()?;

    let server = engine.create_server(&image).await?;
    let error = engine.start_server(&server).await.unwrap_err();

    assert!(error.to_string().contains("modprobe tun"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn networks_and_containers_are_what_docker_made_them() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;
    let subnets = ["--ipv6", "--subnet=10.9.0.0/24", "--subnet=fd00:9::/64"];
    lab.docker(&[&["network", "create"], &subnets[..], &["web"]].concat())?;
    lab.docker(&[
        "network",
        "create",
        "--internal",
        "--subnet=10.8.0.0/24",
        "inner",
    ])?;
    lab.container(
        "front",
        &["--network=web", "--expose=80", "--expose=53/udp"],
    )?;
    lab.container("back", &["--network=inner"])?;
    let guest = [
        "run",
        "--detach",
        "--name=guest",
        "--network=container:front",
        "busybox",
    ];
    lab.docker(&[&guest[..], &["sleep", "600"]].concat())?;
    lab.docker(&["network", "connect", "inner", "front"])?;
    lab.container("stopped", &["--network=web"])?;
    lab.docker(&["stop", "--time=0", "stopped"])?;

    let web = network(&engine, "web").await?;
    let bridge = web.bridge_interface();
    assert!(
        lab.vm(&["ip", "link", "show", &bridge]).success(),
        "{bridge}"
    );
    assert_eq!(
        network(&engine, "bridge").await?.bridge_interface(),
        "docker0"
    );
    assert!(network(&engine, "inner").await?.internal);

    let front = container(&engine, "front").await?;
    let ports: Vec<_> = front.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["53/udp", "80/tcp"]);
    assert!(!container(&engine, "stopped").await?.running);

    let input = Input {
        networks: engine.networks().await?,
        containers: engine.containers().await?,
        ..Input::default()
    };
    assert_plan(&plan::plan(&input), &front)
}

fn assert_plan(plan: &plan::Plan, front: &Container) -> Result<()> {
    let reachable = plan.containers.iter().filter(|it| it.reachable);
    let reachable: Vec<_> = reachable.map(|it| it.name.as_str()).collect();
    assert_eq!(reachable, ["back", "front", "guest"]);

    let masquerade = |network: &str| {
        let attachment = plan.attachments.iter().find(|it| it.network == network);
        attachment
            .map(|it| it.masquerade.clone())
            .context("find it")
    };
    let ipv4 = |network: &str| {
        let endpoint = front.endpoints.iter().find(|it| it.network == network);
        endpoint.and_then(|it| it.ipv4).context("find it")
    };
    // Its one IPv6 address is not among them: only by IPv4 could it answer the wrong way.
    let expected = BTreeSet::from([ipv4("web")?.into()]);
    assert_eq!(masquerade("web")?, expected);
    assert!(masquerade("inner")?.contains(&ipv4("inner")?.into()));
    assert_eq!(masquerade("inner")?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn what_happens_after_subscribing_is_told_and_so_is_the_end() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;
    let mut events = engine.events().await?;

    lab.docker(&["network", "create", "--subnet=10.9.0.0/24", "web"])?;
    lab.container("up", &["--network=web"])?;
    lab.docker(&["rm", "--force", "up"])?;
    lab.docker(&["network", "rm", "web"])?;
    let expected = [
        (EventKind::Network, "create", "web"),
        (EventKind::Network, "connect", "web"),
        (EventKind::Container, "start", "up"),
        (EventKind::Container, "die", "up"),
        (EventKind::Network, "disconnect", "web"),
        (EventKind::Network, "destroy", "web"),
    ];
    await_events(&mut events, &expected).await?;

    lab.stop_dockerd()?;
    let end = timeout(
        SOON,
        events.filter(|it| std::future::ready(it.is_err())).next(),
    )
    .await?;
    assert!(end.is_some());
    Ok(())
}

async fn await_events(
    events: &mut (impl Stream<Item = Result<docker::Event>> + Unpin),
    expected: &[(EventKind, &str, &str)],
) -> Result<()> {
    let mut missing = expected.to_vec();
    while !missing.is_empty() {
        let attempt = || format!("await {missing:?}");
        let event = timeout(SOON, events.next()).await.with_context(attempt)?;
        let event = event.with_context(attempt)??;

        missing.retain(|it| *it != (event.kind, event.action.as_str(), event.name.as_str()));
    }
    Ok(())
}

#[tokio::test]
async fn an_engine_that_restarts_is_talked_to_again() -> Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let engine = connect(&lab).await?;

    lab.stop_dockerd()?;
    let error = engine.networks().await.unwrap_err();
    assert!(format!("{error:#}").contains("start Docker"), "{error:#}");

    lab.start_dockerd()?;
    network(&engine, "bridge").await?;
    Ok(())
}

const SOON: Duration = Duration::from_secs(10);
