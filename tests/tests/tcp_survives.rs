//! An established TCP connection through the tunnel outlives what happens to the server and to the paths, and meanwhile
//! not one packet for the host leaves the VM by its uplink, where a gateway would answer it with a reset.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Engine, Lab, Options, can_run};
use dtap_tests::traffic::{Caller, Echo};
use dtap_tests::{keeps_promise, wait_until, within};

/// A connection each way, open while a story goes on.
struct Connections<'a> {
    lab: &'a Lab,
    to_container: Echo,
    from_container: Caller,
}

#[test]
fn tcp_survives_a_server_that_is_restarted_stopped_or_killed_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let client = Client::new(&lab, "tcp");
        let mut connections = Connections::open(&lab, &client)?;
        lab.docker(&["restart", "dtap"])?;
        connections.live("a restart")?;
        lab.docker(&["stop", "dtap"])?;
        connections.live("a stop")?;
        kill_server(&lab)?;
        connections.live("a kill")?;
        lab.docker(&["rm", "--force", "dtap"])?;
        connections.live("a removal")?;
    }
    Ok(())
}

#[test]
fn tcp_survives_a_change_of_path_there_and_back() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let client = Client::new(&lab, "tcp");
    let mut connections = Connections::open(&lab, &client)?;
    client.wait_for_path("udp");
    for _ in 0..2 {
        lab.link_down()?;
        client.wait_for_path("session");
        connections.live("the session's path")?;
        lab.link_up()?;
        client.wait_for_path("udp");
        connections.live("the UDP path")?;
    }
    Ok(())
}

/// Containers live on; every stream of the API ends.
#[test]
fn tcp_survives_a_dockerd_that_restores_its_containers_live() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        dockerd_arguments: vec!["--live-restore".into()],
        ..Options::default()
    })?;
    let client = Client::new(&lab, "tcp");
    let mut connections = Connections::open(&lab, &client)?;
    client.wait_for_path("udp");
    for end in [Lab::stop_dockerd, Lab::kill_dockerd] {
        end(&lab)?;
        connections.live("the end of dockerd")?;
        lab.start_dockerd()?;
        keeps_promise(BACK, "the session is back", || {
            client.field("state") == "connected"
        });
        connections.live("the start of dockerd")?;
    }
    Ok(())
}

impl<'a> Connections<'a> {
    fn open(lab: &'a Lab, client: &Client<'_>) -> Result<Self> {
        lab.docker(&["network", "create", "web"])?;
        let echo = Echo::start(lab, &["--network", "web"])?;
        client.connect(&[])?;
        let host: IpAddr = client.field("host_address").parse()?;
        let mut connections = Self {
            lab,
            to_container: Echo::connect(lab, echo)?,
            from_container: Caller::start(lab, host, &["--network", "web"])?,
        };
        let own: IpAddr = lab.inspect("caller")?.v4()?.into();
        assert_eq!(connections.from_container.address(), own);
        connections.live("nothing")?;
        Ok(connections)
    }

    /// Both connections move on, and nothing has strayed.
    fn live(&mut self, after: &str) -> Result<()> {
        let taken = self.to_container.exchange()?;
        let counted = self.from_container.counted();
        let what = format!("the container's connection survives {after}");
        wait_until(within(RETRIES), &what, || {
            self.from_container.counted() > counted + 10
        });
        eprintln!("{}: TCP survives {after}: {taken:.2?}", self.lab.engine());
        assert_eq!(self.lab.strays()?, 0, "strays after {after}");
        Ok(())
    }
}

fn kill_server(lab: &Lab) -> Result<()> {
    let pid = lab.docker(&["inspect", "--format", "{{.State.Pid}}", "dtap"])?;
    lab.vm(&["kill", "-KILL", &pid]).text()?;
    Ok(())
}

const BACK: Duration = Duration::from_secs(3);
/// TCP doubles its waits: after an outage of some seconds it may need as many again.
const RETRIES: Duration = Duration::from_secs(15);
