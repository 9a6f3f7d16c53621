//! A way that breaks is left for the other within 3 s, and taken again when it is back. Nobody has to do anything, and TCP
//! does not notice.

#![cfg(target_os = "linux")]

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::pings::Pings;
use dtap_tests::traffic::Echo;
use dtap_tests::{keeps_promise, wait_until, within};

#[test]
fn udp_that_is_blocked_while_in_use_yields_to_the_session_and_returns() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for link in [Link::Gateway, Link::Veth] {
        let lab = lab(link)?;
        let echo = Echo::start(&lab, &[])?;
        let client = Client::new(&lab, "host");
        client.connect(&[])?;
        client.wait_for_path("udp");
        let mut traffic = Traffic::start(&lab, echo)?;
        traffic.goes_on()?;

        lab.link_down()?;
        let what = format!("{link:?}: back on the session");
        keeps_promise(BACK, &what, || client.field("path") == "session");
        traffic.goes_on()?;
        lab.link_up()?;
        client.wait_for_path("udp");
        traffic.goes_on()?;
        assert_eq!(client.field("state"), "connected");
        traffic.was_silent_for_at_most(&format!("{link:?}: blocked"), BACK);
    }
    Ok(())
}

/// As when a laptop's Docker hangs for a while: its streams stay open, and nothing moves in them.
#[test]
fn a_session_that_stalls_does_not_disturb_udp() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Link::Gateway)?;
    let echo = Echo::start(&lab, &[])?;
    let proxy = lab.api_proxy()?;
    let client = Client::new(&lab, "host").by(proxy.docker_host());
    client.connect(&[])?;
    client.wait_for_path("udp");
    let mut traffic = Traffic::start(&lab, echo)?;
    traffic.goes_on()?;

    proxy.stall();
    wait_until(PATIENCE, "the client notices", || {
        client.field("state") == "reconnecting"
    });
    // Twice as long as either end waits for the other.
    traffic.goes_on_for(Duration::from_secs(10))?;
    assert_eq!(client.field("path"), "udp");
    proxy.resume();
    keeps_promise(BACK, "the session is back", || {
        client.field("state") == "connected"
    });
    traffic.goes_on()?;
    client.wait_for_path("udp");
    traffic.was_silent_for_at_most("stalled", Duration::from_millis(500));
    Ok(())
}

#[test]
fn a_session_that_is_the_only_path_carries_again_after_a_stall() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Link::None)?;
    let echo = Echo::start(&lab, &[])?;
    let proxy = lab.api_proxy()?;
    let client = Client::new(&lab, "host").by(proxy.docker_host());
    client.connect(&[])?;
    // Shorter and longer than the 5 s after which either end gives a session up.
    for stall in [3, 8].map(Duration::from_secs) {
        let mut connection = Echo::connect(&lab, echo)?;
        connection.exchange()?;
        let pings = Pings::start(&lab, echo)?;
        wait_until(PATIENCE, "pings are answered", || {
            pings.answers().count() > 0
        });
        proxy.stall();
        thread::sleep(stall);
        let before = pings.answers().count();
        proxy.resume();
        // What had waited in the stream comes at once; what is sent now must come, too.
        let what = format!("a stall of {stall:?} is over");
        keeps_promise(BACK, &what, || pings.answers().count() > before + 50);
        connection.exchange()?;
        assert_eq!(client.field("path"), "session");
    }
    Ok(())
}

/// The gateway's own idea of a flow is much shorter here than the client's keepalive.
#[test]
fn a_gateway_that_forgets_flows_stops_no_traffic() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        udp_idle: Duration::from_secs(1),
        ..Options::default()
    })?;
    let echo = Echo::start(&lab, &[])?;
    let client = Client::new(&lab, "host");
    client.connect(&[])?;
    client.wait_for_path("udp");
    let mut connection = Echo::connect(&lab, echo)?;
    for _ in 0..3 {
        connection.exchange()?;
        let endpoint = client.field("endpoint");
        // Nothing may be sent meanwhile, or the flow would be kept.
        thread::sleep(Duration::from_secs(3));
        let taken = connection.exchange()?;
        assert!(taken < within(BACK), "{taken:?}");
        client.wait_for_path("udp");
        let now = client.field("endpoint");
        eprintln!("a forgotten flow cost {taken:.2?}; {endpoint}, then {now}");
    }
    assert_eq!(client.field("state"), "connected");
    Ok(())
}

/// A connection and numbered pings from the host to one container.
struct Traffic<'a> {
    lab: &'a Lab,
    container: IpAddr,
    connection: Echo,
    pings: Pings,
}

impl<'a> Traffic<'a> {
    fn start(lab: &'a Lab, container: IpAddr) -> Result<Self> {
        Ok(Self {
            lab,
            container,
            connection: Echo::connect(lab, container)?,
            pings: Pings::start(lab, container)?,
        })
    }

    /// The connection lives, a new one can be made, and a second's pings are answered.
    fn goes_on(&mut self) -> Result<()> {
        self.connection.exchange()?;
        Echo::connect(self.lab, self.container)?.exchange()?;
        let before = self.pings.answers().count();
        wait_until(PATIENCE, "pings are answered", || {
            self.pings.answers().count() > before + 50
        });
        Ok(())
    }

    fn goes_on_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.goes_on()?;
        }
        Ok(())
    }

    fn was_silent_for_at_most(&self, what: &str, promise: Duration) {
        let answers = self.pings.answers();
        let silence = answers.longest_silence();
        eprintln!("{what}: no answer for {silence:.2?} at most (promised {promise:?})");
        assert!(silence <= within(promise), "{silence:?}");
        assert_eq!(answers.out_of_order(), 0, "{what}: answers out of order");
    }
}

fn lab(link: Link) -> Result<Lab> {
    Lab::start(Options {
        link,
        ..Options::default()
    })
}

/// After the cause of an outage came, or was over.
const BACK: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);
