//! One engine: session after session until the user has enough.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use dtap_net::device::MTU;
use dtap_net::session::Session;
use dtap_tunnel::session::{Message, Paired};
use dtap_tunnel::{PathPolicy, PeerId, PrivateKey};
use tokio::sync::watch;
use tokio::time::timeout;

use super::leg::Leg;
use super::link::Link;
use super::view::View;
use super::{direct, server};
use crate::config::Settings;
use crate::docker::{Endpoint, Engine, Network, Target};
use crate::host;
use crate::plan::{self, Input, Reach};
use crate::status::State;

pub(crate) struct Connection {
    pub(super) target: Target,
    pub(super) settings: Arc<Settings>,
    key: PrivateKey,
    /// Names this run: another has other keys.
    boot: String,
    pub(super) view: watch::Sender<View>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) link: Option<Link>,
    pub(super) leg: Leg,
    /// The engine, once a session was opened: there may be a leg.
    engine: Option<Engine>,
    pub(super) debt: Debt,
}

/// Whether the server has done something for this client that a goodbye would
/// undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Debt {
    Nothing,
    Goodbye,
}

/// A session that is paired, and all that belongs to it.
pub(super) struct Attached {
    pub(super) engine: Engine,
    pub(super) session: Session,
    pub(super) container: String,
    pub(super) paired: Paired,
    pub(super) peer: PeerId,
}

/// Waits between attempts to get a session back.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const PAIRING: Duration = Duration::from_secs(10);
pub(super) const GOODBYE: Duration = Duration::from_secs(3);

impl Connection {
    pub(super) fn new(
        target: Target,
        settings: Arc<Settings>,
        key: PrivateKey,
        view: watch::Sender<View>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            leg: Leg::new(key.public()),
            engine: None,
            target,
            settings,
            key,
            boot: PrivateKey::generate().public().to_string(),
            view,
            stop,
            link: None,
            debt: Debt::Nothing,
        }
    }

    /// Connects and stays connected until told to stop; then, or if the first
    /// attempt fails, everything is undone.
    pub(super) async fn run(mut self) -> Result<()> {
        let result = self.stay_connected().await;
        if self.debt == Debt::Goodbye {
            self.take_leave().await;
        }
        if let Some(engine) = self.engine.take() {
            self.leg.remove(&engine).await;
        }
        let closed = match self.link.take() {
            Some(link) => link.close().await,
            None => Ok(()),
        };
        result.and(closed)
    }

    async fn stay_connected(&mut self) -> Result<()> {
        let mut wait = SHORTEST_WAIT;
        loop {
            let Err(error) = self.once().await else {
                return Ok(());
            };
            if self.view.borrow().status.state == State::Connecting {
                return Err(error);
            }
            if self.view.borrow().status.state == State::Connected {
                wait = SHORTEST_WAIT;
            }
            self.view.send_modify(|view| {
                view.status.state = State::Reconnecting;
                view.status.reason = Some(format!("{error:#}"));
            });
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(&mut self.stop) => return Ok(()),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One session from beginning to end; `Ok` when told to stop.
    async fn once(&mut self) -> Result<()> {
        let mut stop = self.stop.clone();
        let begun = tokio::select! {
            begun = self.begin() => begun?,
            () = stopped(&mut stop) => return Ok(()),
        };
        match begun {
            Begun::Direct(engine) => self.follow_direct(engine).await,
            Begun::Tunnel(attached) => self.follow(*attached).await,
        }
    }

    /// Says goodbye by a new session, because the last one broke before it
    /// could be said.
    async fn take_leave(&mut self) {
        let goodbye = async {
            match self.begin().await? {
                Begun::Direct(_) => {}
                Begun::Tunnel(attached) => self.say_bye(*attached).await,
            }
            Ok::<_, Error>(())
        };
        if let Ok(Err(error)) = timeout(GOODBYE, goodbye).await {
            tracing::debug!("no goodbye: {error:#}");
        }
        if self.debt == Debt::Goodbye {
            tracing::warn!(
                "the server did not hear the goodbye; it will undo what is left in 30 s"
            );
        }
    }

    async fn begin(&mut self) -> Result<Begun> {
        let engine = Engine::connect(&self.target).await?;
        let version = engine.facts().await?.version;
        self.view
            .send_modify(|view| view.status.engine = Some(version));
        let networks = engine.networks().await?;
        if self.link.is_none() && direct::is_direct(&self.target, &networks) {
            return Ok(Begun::Direct(engine));
        }
        // Before anything is started: a host that cannot have an interface changes nothing.
        self.open_link()?;
        let server::Opened {
            mut session,
            server,
            container,
        } = server::open(&engine, &self.settings, &self.boot).await?;
        self.debt = Debt::Goodbye;
        self.engine = Some(engine.clone());
        session.send(&self.pair()?);
        let paired = paired(&mut session).await?;
        self.keep_out(&paired, networks).await?;
        let peer = self.meet(&paired, server.boot, &session).await?;
        self.show(&paired, server.version, peer);
        Ok(Begun::Tunnel(Box::new(Attached {
            engine,
            session,
            container,
            paired,
            peer,
        })))
    }

    fn open_link(&mut self) -> Result<()> {
        if !self.link.as_ref().is_some_and(Link::is_open) {
            self.link = Some(Link::open(&self.key)?);
        }
        Ok(())
    }

    fn pair(&self) -> Result<Message> {
        let link = self.link.as_ref().context("open the tunnel")?;
        let interface = Some(link.interface.as_str());
        Ok(Message::Pair {
            public_key: self.key.public(),
            used: host::used(interface)?,
            candidates: host::candidates(interface, link.port)?,
            port: link.port,
            udp: self.settings.policy != PathPolicy::Session,
        })
    }

    /// Before the first datagram: a bridge of the engine's that this host happens to reach must not become the endpoint,
    /// or its network would be a conflict.
    async fn keep_out(&mut self, paired: &Paired, networks: Vec<Network>) -> Result<()> {
        let link = self.link.as_mut().context("open the tunnel")?;
        if link.has_server() {
            return Ok(());
        }
        let input = Input {
            networks,
            host: host::describe(Some(&link.interface), None)?,
            filters: self.settings.filters.clone(),
            reach: Reach::Tunnel,
            ..Input::default()
        };
        link.keep_out(paired, &plan::plan(&input).routes).await
    }

    /// Makes the server a peer and begins to dial it.
    async fn meet(
        &mut self,
        paired: &Paired,
        boot: Option<String>,
        session: &Session,
    ) -> Result<PeerId> {
        let policy = self.settings.policy;
        let candidates = match policy {
            PathPolicy::Session => Vec::new(),
            PathPolicy::Auto | PathPolicy::Udp => candidates(&self.target, paired).await,
        };
        let link = self.link.as_mut().context("open the tunnel")?;
        let peer = link.peer(paired, boot, policy).await?;
        link.dial(peer, candidates).await?;
        session.attach(&link.driver, peer).await;
        Ok(peer)
    }

    fn show(&self, paired: &Paired, version: String, peer: PeerId) {
        let Some(link) = &self.link else { return };
        self.view.send_modify(|view| {
            view.tunnel = Some((link.driver.clone(), peer));
            view.status.mode = Some("tunnel".to_owned());
            view.status.interface = Some(link.interface.clone());
            view.status.server_version = Some(version);
            view.status.host_address = first_v4(&paired.host);
            view.status.server_address = first_v4(&paired.server);
            view.status.mtu = Some(MTU);
        });
    }
}

enum Begun {
    Direct(Engine),
    Tunnel(Box<Attached>),
}

async fn paired(session: &mut Session) -> Result<Paired> {
    let answer = async {
        loop {
            match session.recv().await? {
                Some(Message::Paired(paired)) => return Ok(paired),
                Some(Message::Failed { error }) => bail!("the server refused: {error}"),
                Some(_) => {}
                None => bail!("the session ended before the pairing"),
            }
        }
    };
    timeout(PAIRING, answer)
        .await
        .context("pair with the server: no answer within 10 s")?
}

/// Where to dial the server: what it says, and the remote engine's own host.
async fn candidates(target: &Target, paired: &Paired) -> Vec<SocketAddr> {
    let mut candidates = paired.candidates.clone();
    let host = match &target.endpoint {
        Endpoint::Unix(_) => None,
        Endpoint::Tcp { host, .. } | Endpoint::Tls { host, .. } | Endpoint::Ssh { host, .. } => {
            Some(host.as_str())
        }
    };
    if let Some(host) = host
        && let Ok(addresses) = tokio::net::lookup_host((host, paired.port)).await
    {
        candidates.extend(addresses.filter(|address| !address.ip().is_loopback()));
    }
    candidates
}

fn first_v4(addresses: &[IpAddr]) -> Option<IpAddr> {
    let v4 = addresses.iter().find(|address| address.is_ipv4());
    v4.or_else(|| addresses.first()).copied()
}

/// Returns when the user has enough.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
