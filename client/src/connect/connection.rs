//! One engine: how a session with it begins, and what belongs to one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dtap_net::session::Session;
use dtap_tunnel::session::{Message, Paired};
use dtap_tunnel::{HardwareAddress, PathPolicy, PeerId, PrivateKey};
use tokio::sync::watch;
use tokio::time::timeout;

use super::claims::{Claims, Others};
use super::leg::Leg;
use super::link::Link;
use super::outlook::Patience;
use super::taps::Taps;
use super::view::View;
use super::{direct, server};
use crate::config::{Settings, Way};
use crate::docker::{Choice, Endpoint, Engine, Network, Presence, Target};
use crate::engines::Source;
use crate::plan::{self, Input, Memory, Reach};
use crate::state_dir::Keys;
use crate::tap::{self, Nic, Wish};
use crate::{borrowed, host};

pub(crate) struct Connection {
    pub(super) source: Source,
    pub(super) aim: Option<Aim>,
    pub(super) settings: Arc<Settings>,
    pub(super) claims: Claims,
    pub(super) keys: Keys,
    pub(super) patience: Patience,
    /// Names this run: another has other keys.
    boot: String,
    pub(super) view: watch::Sender<View>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) link: Option<Link>,
    pub(super) leg: Leg,
    pub(super) taps: Taps,
    pub(super) debt: Debt,
    pub(super) memory: Memory,
}

/// What all connections of one client share.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) keys: Keys,
    pub(super) patience: Patience,
    pub(super) stop: watch::Receiver<bool>,
    /// The networks whose Ethernet the user wants this host to be in.
    pub(super) taps: watch::Receiver<Vec<Wish>>,
    /// The NICs that are to be parents of networks.
    pub(super) parents: watch::Receiver<BTreeSet<HardwareAddress>>,
}

/// The engine a connection is for until the user chooses another.
pub(super) struct Aim {
    pub(super) choice: Choice,
    pub(super) target: Target,
    pub(super) key: PrivateKey,
    /// Whether its server has said that it is in this host's own network namespace.
    pub(super) is_direct: bool,
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
    /// Why the server has to do without something that it lacks.
    pub(super) unequipped: Option<String>,
    pub(super) paired: Paired,
    pub(super) peer: PeerId,
}

const PAIRING: Duration = Duration::from_secs(10);
/// Another connection can take the same tunnel addresses at the same moment; hardly ever twice.
const PAIRINGS: u32 = 4;
pub(super) const GOODBYE: Duration = Duration::from_secs(3);

impl Connection {
    pub(super) fn new(
        source: Source,
        claims: Claims,
        view: watch::Sender<View>,
        shared: &Shared,
    ) -> Self {
        Self {
            leg: Leg::default(),
            taps: Taps::new(
                &source.name(),
                shared.taps.clone(),
                shared.parents.clone(),
                shared.settings.clone(),
            ),
            source,
            aim: None,
            settings: shared.settings.clone(),
            claims,
            keys: shared.keys.clone(),
            patience: shared.patience,
            boot: PrivateKey::generate().public().to_string(),
            view,
            stop: shared.stop.clone(),
            link: None,
            debt: Debt::Nothing,
            memory: Memory::default(),
        }
    }

    pub(super) async fn begin(&mut self) -> Result<Begun> {
        let target = self.aim.as_ref().context("find the engine")?.target.clone();
        let engine = Engine::connect(&target).await?;
        let version = engine.facts().await?.version;
        self.view
            .send_modify(|view| view.status.engine = Some(version));
        let networks = engine.networks().await?;
        let is_known = self.aim.as_ref().is_some_and(|aim| aim.is_direct);
        if is_known || self.link.is_none() && direct::is_direct(&target, &networks) {
            return Ok(Begun::Direct(engine));
        }
        let before = if direct::is_possible(&networks) {
            Some(engine.presence().await?)
        } else {
            None
        };
        // Before anything is started: a host that cannot have an interface changes nothing.
        let packets = self.open_link()?.runtime().clone();
        let server::Opened {
            mut session,
            server,
            container,
            unequipped,
        } = server::open(&engine, &self.settings, &self.boot, &packets).await?;
        if direct::is_shared_with(&server) {
            self.do_without_server(session, &engine, before).await?;
            return Ok(Begun::Direct(engine));
        }
        self.claims.turn().await;
        self.debt = Debt::Goodbye;
        if let Some(aim) = &self.aim {
            self.leg.belong(&engine, &aim.key.public());
        }
        let paired = self.pair(&mut session).await?;
        self.keep_out(&paired, networks).await?;
        let peer = self.meet(&target, &paired, server.boot, &session).await?;
        self.show(&paired, server.version, peer);
        Ok(Begun::Tunnel(Box::new(Attached {
            engine,
            session,
            container,
            unequipped,
            paired,
            peer,
        })))
    }

    /// There is nothing to tunnel, as it turns out: whatever was begun is undone.
    async fn do_without_server(
        &mut self,
        mut session: Session,
        engine: &Engine,
        before: Option<Presence>,
    ) -> Result<()> {
        if let Some(aim) = &mut self.aim {
            aim.is_direct = true;
        }
        // It has nothing to undo: to wait for its answer is mere politeness.
        goodbye(&mut session).await;
        drop(session);
        if let Some(before) = before
            && let Err(error) = engine.return_to(before).await
        {
            tracing::warn!("the server that is of no use here may stay: {error:#}");
        }
        self.close_link().await
    }

    /// Undoes everything on this host.
    pub(super) async fn close_link(&mut self) -> Result<()> {
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        let nic = link.nic.clone();
        link.close().await?;
        match nic {
            Some(nic) => borrowed::give_back(&self.settings.state_dir, &nic.interface),
            None => Ok(()),
        }
    }

    fn open_link(&mut self) -> Result<&Link> {
        let aim = self.aim.as_ref().context("find the engine")?;
        let link = match self.link.take().filter(Link::is_open) {
            Some(link) => link,
            None => {
                let nic = nic(&self.settings)?;
                Link::open(&aim.key, nic)?
            }
        };
        Ok(self.link.insert(link))
    }

    /// Agrees on tunnel addresses that no other connection has.
    async fn pair(&self, session: &mut Session) -> Result<Paired> {
        for _ in 0..PAIRINGS {
            session.send(&self.pairing()?);
            let paired = paired(session).await?;
            if self.claims.pair(&paired.prefixes) {
                return Ok(paired);
            }
        }
        bail!("pair with the server: other connections have all addresses it offers")
    }

    fn pairing(&self) -> Result<Message> {
        let link = self.link.as_ref().context("open the tunnel")?;
        let interface = link.interface.as_str();
        let others = self.claims.others();
        let mut used = host::used(interface)?;
        used.extend(others.prefixes.keys());
        let mut candidates = host::candidates(interface, link.port)?;
        candidates.retain(|it| !others.prefixes.keys().any(|net| net.contains(&it.ip())));
        Ok(Message::Pair {
            public_key: link.public_key,
            used,
            candidates,
            port: link.port,
            udp: self.settings.policy != PathPolicy::Session,
        })
    }

    /// Before the first datagram: a bridge of the engine's that this host happens to reach must not become the endpoint,
    /// or its network would be a conflict.
    async fn keep_out(&self, paired: &Paired, networks: Vec<Network>) -> Result<()> {
        let link = self.link.as_ref().context("open the tunnel")?;
        if link.has_server() {
            return Ok(());
        }
        let others = self.claims.others();
        let input = Input {
            networks,
            host: host::describe(&[&link.interface], None)?,
            ..self.wishes(paired, &others)
        };
        link.keep_out(paired, &plan::plan(&input), &others).await
    }

    /// What a plan of a tunnel depends on, without what the engine and this host have.
    pub(super) fn wishes(&self, paired: &Paired, others: &Others) -> Input {
        Input {
            claims: others.claims(),
            filters: self.settings.filters.clone(),
            reach: match self.settings.way {
                Way::Tunnel => Reach::Tunnel,
                Way::Nic => Reach::Nic,
            },
            maps: self.settings.maps.clone(),
            memory: self.memory.clone(),
            alone: !self.claims.are_shared(),
            tunnel: paired.prefixes.iter().copied().collect(),
            ..Input::default()
        }
    }

    /// Makes the server a peer and begins to dial it.
    async fn meet(
        &mut self,
        target: &Target,
        paired: &Paired,
        boot: Option<String>,
        session: &Session,
    ) -> Result<PeerId> {
        let policy = self.settings.policy;
        let candidates = match policy {
            PathPolicy::Session => Vec::new(),
            PathPolicy::Auto | PathPolicy::Udp => candidates(target, paired).await,
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
            let is_tunnel = link.nic.is_none();
            view.tunnel = is_tunnel.then(|| (link.driver.clone(), peer));
            view.status.mode = Some(if is_tunnel { "tunnel" } else { "tap" }.to_owned());
            view.nics.clone_from(&paired.nics);
            view.status.interface = Some(link.interface.clone());
            view.status.server_version = Some(version);
            view.status.host_address = first_v4(&paired.host);
            view.status.server_address = first_v4(&paired.server);
            view.status.mtu = Some(link.mtu());
        });
    }
}

pub(super) enum Begun {
    Direct(Engine),
    Tunnel(Box<Attached>),
}

/// Says goodbye, and what is still owed then: the server undoes everything before it answers.
pub(super) async fn goodbye(session: &mut Session) -> Debt {
    session.send(&Message::Bye);
    let answered = async {
        while let Ok(Some(message)) = session.recv().await {
            if message == Message::Bye {
                return Debt::Nothing;
            }
        }
        Debt::Goodbye
    };
    timeout(GOODBYE, answered).await.unwrap_or(Debt::Goodbye)
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

/// That packets are to go by, if any.
fn nic(settings: &Settings) -> Result<Option<Nic>> {
    if settings.way == Way::Tunnel {
        return Ok(None);
    }
    let nic = tap::nics(&settings.root)?.into_iter().next();
    if let Some(nic) = &nic {
        // Before anything is begun at the server: HyperKit that runs without it may go on so for long.
        if !nic.is_there() {
            bail!(
                "use HyperKit's network interface {}: it is there once Docker was restarted",
                nic.interface
            );
        }
        borrowed::take(&settings.state_dir, &nic.interface)?;
    }
    Ok(nic)
}

fn first_v4(addresses: &[IpAddr]) -> Option<IpAddr> {
    let v4 = addresses.iter().find(|address| address.is_ipv4());
    v4.or_else(|| addresses.first()).copied()
}
