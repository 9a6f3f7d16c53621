//! What sessions ask of the server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result};
use dtap_net::bridge;
use dtap_net::driver::Driver;
use dtap_tunnel::HardwareAddress;
use dtap_tunnel::session::{Attachment, NicOutcome, Paired, Problem, Tap};
use dtap_tunnel::{PathPolicy, PeerConfig, PeerId, PublicKey};
use ipnet::IpNet;
use tokio::sync::oneshot;

use super::Server;
use crate::addresses::Addresses;
use crate::candidates;
use crate::client::{Client, Presence, SessionId};
use crate::data_plane::{DataPlane, Lacks};

/// A question, and where its answer goes.
#[derive(Debug)]
pub(crate) enum Request {
    Pair {
        pairing: Pairing,
        reply: oneshot::Sender<Result<Welcome>>,
    },
    Plan {
        client: PublicKey,
        session: SessionId,
        plan: Plan,
        reply: oneshot::Sender<Result<Outcome>>,
    },
    /// More addresses the client may be found at.
    Candidates {
        client: PublicKey,
        candidates: Vec<SocketAddr>,
    },
    Bye {
        client: PublicKey,
        session: SessionId,
        reply: oneshot::Sender<Result<()>>,
    },
    Ended {
        client: PublicKey,
        session: SessionId,
    },
    Status {
        reply: oneshot::Sender<String>,
    },
    Reset {
        reply: oneshot::Sender<Result<()>>,
    },
}

/// What a client says of itself.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) client: PublicKey,
    pub(crate) boot: Option<String>,
    pub(crate) session: SessionId,
    pub(crate) used: BTreeSet<IpNet>,
    pub(crate) candidates: Vec<SocketAddr>,
    /// Its UDP port; none if it wants the session only.
    pub(crate) port: Option<u16>,
}

/// What a client wants.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) nic: Option<HardwareAddress>,
}

/// What became of a plan.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) problems: Vec<Problem>,
    pub(crate) tap_problems: Vec<Problem>,
    pub(crate) nic: Option<NicOutcome>,
}

/// What a session needs once its client is paired.
#[derive(Debug)]
pub(crate) struct Welcome {
    pub(crate) driver: Driver,
    pub(crate) peer: PeerId,
    pub(crate) paired: Paired,
}

impl Server {
    /// Does what is asked; an answer nobody waits for any more is dropped.
    pub(super) async fn handle(&mut self, request: Request) {
        match request {
            Request::Pair { pairing, reply } => drop(reply.send(self.pair(pairing).await)),
            Request::Plan {
                client,
                session,
                plan,
                reply,
            } => drop(reply.send(self.plan(client, session, plan).await)),
            Request::Candidates { client, candidates } => {
                self.add_candidates(client, candidates).await;
            }
            Request::Bye {
                client,
                session,
                reply,
            } => drop(reply.send(self.bye(client, session).await)),
            Request::Ended { client, session } => self.ended(client, session),
            Request::Status { reply } => drop(reply.send(self.status())),
            Request::Reset { reply } => drop(reply.send(self.reset().await)),
        }
    }

    /// Undoes what silent clients had.
    pub(super) async fn end_graces(&mut self) {
        let now = Instant::now();
        let over = |client: &Client| client.grace_end().is_some_and(|end| end <= now);
        let silent = self.clients.iter().filter(|(_, client)| over(client));
        let silent: Vec<_> = silent.map(|(key, _)| *key).collect();
        for key in silent {
            tracing::info!(client = %key, "client is gone, undoing what it had");
            if let Err(error) = self.remove(key).await {
                tracing::warn!("cannot undo what a client had: {error:#}");
            }
        }
    }

    async fn reset(&mut self) -> Result<()> {
        let mut result = Ok(());
        for key in self.clients.keys().copied().collect::<Vec<_>>() {
            result = result.and(self.remove(key).await);
        }
        result
    }

    async fn pair(&mut self, pairing: Pairing) -> Result<Welcome> {
        let addresses = self.allot(&pairing)?;
        let peer = self.admit(pairing.client, addresses, pairing.boot).await?;
        let Some(client) = self.clients.get_mut(&pairing.client) else {
            anyhow::bail!("the client left while it was let in");
        };
        client.presence = Presence::Here {
            session: pairing.session,
        };
        self.remember(pairing.client)?;
        self.apply().await?;
        if let Some(port) = pairing.port {
            let known = candidates::gateways(port)
                .into_iter()
                .chain(pairing.candidates);
            self.add_candidates(pairing.client, known.collect()).await;
            self.resolve_host_names(pairing.client, port);
        }
        tracing::info!(client = %pairing.client, prefixes = ?addresses.prefixes(), "client paired");
        let data_plane = self.data_plane()?;
        Ok(Welcome {
            driver: data_plane.driver.clone(),
            peer,
            paired: Paired {
                candidates: candidates::of_server(&data_plane.interface, data_plane.port),
                port: data_plane.port,
                nics: bridge::nics().context("list the interfaces of the engine's machine")?,
                public_key: self.store.key.public(),
                host: addresses.host().to_vec(),
                server: addresses.server().to_vec(),
                prefixes: addresses.prefixes().to_vec(),
            },
        })
    }

    /// The addresses this key had before, as long as they are free.
    fn allot(&mut self, pairing: &Pairing) -> Result<Addresses> {
        let server = self.store.key.public();
        let mut used = pairing.used.clone();
        let routes = dtap_net::router::routes().context("list the routes of the engine's host")?;
        used.extend(
            routes
                .iter()
                .filter(|route| !route.ours && !self.is_inner(route.destination))
                .map(|route| route.destination),
        );
        if let Some(known) = self.store.state.clients.get(&pairing.client) {
            let addresses = Addresses::numbered(known.number, server);
            if !addresses.clashes_with(&used) {
                return Ok(addresses);
            }
        }
        let number = Addresses::free_number(server, &self.store.numbers(), &used)
            .context("find free tunnel addresses: all of 10.75.0.0/16 is in use")?;
        let known = self.store.state.clients.entry(pairing.client).or_default();
        known.number = number;
        Ok(Addresses::numbered(number, server))
    }

    /// Makes the client a peer of the tunnel. One that is it already stays as
    /// it is, unless its program was started anew: its keys are gone, and its
    /// clock, by which handshakes are dated, may have gone back.
    pub(super) async fn admit(
        &mut self,
        key: PublicKey,
        addresses: Addresses,
        boot: Option<String>,
    ) -> Result<PeerId> {
        if let Some(client) = self.clients.get(&key)
            && client.addresses == addresses
            && client.boot == boot
        {
            return Ok(client.peer);
        }
        let config = PeerConfig {
            public_key: key,
            allowed_ips: addresses.host().into_iter().map(IpNet::from).collect(),
            policy: PathPolicy::Auto,
            initiates: false,
        };
        let driver = &self.data_plane()?.driver;
        let added = driver.call(move |tunnel, now| tunnel.add_peer(config, now));
        let peer = added.await.context("reach the tunnel")?;
        let (attachments, taps, nic) = match self.clients.remove(&key) {
            Some(before) => (before.attachments, before.taps, before.nic),
            None => (Vec::new(), Vec::new(), None),
        };
        let client = Client {
            peer,
            boot,
            addresses,
            attachments,
            taps,
            nic,
            candidates: BTreeSet::new(),
            presence: Presence::Grace {
                until: Instant::now(),
            },
        };
        self.clients.insert(key, client);
        Ok(peer)
    }

    async fn plan(&mut self, key: PublicKey, session: SessionId, plan: Plan) -> Result<Outcome> {
        let Some(client) = self.clients.get_mut(&key).filter(|it| it.is_in(session)) else {
            anyhow::bail!("another session of this client has taken over");
        };
        let own: BTreeSet<_> = plan.attachments.iter().map(|it| it.id.clone()).collect();
        client.attachments = plan.attachments;
        client.taps = plan.taps;
        client.nic = plan.nic;
        self.remember(key)?;
        let mut lacks = self.apply().await?;
        let problems = lacks
            .networks
            .into_iter()
            .filter(|(id, _)| own.contains(id));
        let tap_problems = lacks.taps.into_iter().filter(|((it, _), _)| *it == key);
        let nic = plan.nic.map(|_| match lacks.nics.remove(&key) {
            None => NicOutcome::Used,
            Some(reason) => NicOutcome::Failed { reason },
        });
        Ok(Outcome {
            nic,
            problems: problems
                .map(|(id, reason)| Problem { id, reason })
                .collect(),
            tap_problems: tap_problems
                .map(|((_, id), reason)| Problem { id, reason })
                .collect(),
        })
    }

    async fn bye(&mut self, key: PublicKey, session: SessionId) -> Result<()> {
        if self
            .clients
            .get(&key)
            .is_some_and(|client| client.is_in(session))
        {
            tracing::info!(client = %key, "client said bye");
            self.remove(key).await?;
        }
        Ok(())
    }

    fn ended(&mut self, key: PublicKey, session: SessionId) {
        if let Some(client) = self.clients.get_mut(&key)
            && client.is_in(session)
        {
            tracing::info!(client = %key, "session lost, waiting for the client");
            client.begin_grace(Instant::now());
        }
    }

    async fn remove(&mut self, key: PublicKey) -> Result<()> {
        if let Some(client) = self.clients.remove(&key)
            && let Some(data_plane) = &self.data_plane
        {
            let peer = client.peer;
            let removed = data_plane
                .driver
                .call(move |tunnel, _| tunnel.remove_peer(peer));
            removed.await;
        }
        if let Some(known) = self.store.state.clients.get_mut(&key) {
            known.paired = false;
            known.attachments.clear();
            known.taps.clear();
            known.nic = None;
        }
        self.store.save()?;
        self.apply().await.map(|_| ())
    }

    fn remember(&mut self, key: PublicKey) -> Result<()> {
        let Some(client) = self.clients.get(&key) else {
            return Ok(());
        };
        let known = self.store.state.clients.entry(key).or_default();
        known.paired = true;
        known.attachments.clone_from(&client.attachments);
        known.taps.clone_from(&client.taps);
        known.nic = client.nic;
        self.store.save()
    }

    /// Brings kernel and tunnel to what the clients want now; without any,
    /// nothing is left. Returns what could not be attached.
    pub(super) async fn apply(&mut self) -> Result<Lacks> {
        let Some(mut data_plane) = self.data_plane.take() else {
            return Ok(Lacks::default());
        };
        if self.clients.is_empty() {
            data_plane.close().await?;
            return Ok(Lacks::default());
        }
        let set = data_plane.set(&self.clients).await;
        self.data_plane = Some(data_plane);
        set
    }

    /// The data plane, opened if it is not open.
    fn data_plane(&mut self) -> Result<&mut DataPlane> {
        if self.data_plane.is_none() {
            let (key, last) = (&self.store.key, self.store.state.port);
            let data_plane = DataPlane::open(self.thread.runtime(), key, self.port, last)?;
            self.store.state.port = data_plane.port;
            self.data_plane = Some(data_plane);
        }
        self.data_plane.as_mut().context("open the tunnel")
    }

    async fn add_candidates(&mut self, key: PublicKey, candidates: Vec<SocketAddr>) {
        let (Some(client), Some(data_plane)) = (self.clients.get_mut(&key), &self.data_plane)
        else {
            return;
        };
        client.candidates.extend(candidates);
        let peer = client.peer;
        let addresses: Vec<_> = client.candidates.iter().copied().collect();
        data_plane
            .driver
            .call(move |tunnel, now| tunnel.set_candidates(peer, &addresses, now))
            .await;
    }

    fn resolve_host_names(&self, client: PublicKey, port: u16) {
        for name in candidates::host_names() {
            let requests = self.sender.clone();
            tokio::spawn(async move {
                let candidates = candidates::resolve(name, port).await;
                let candidates = candidates.into_iter().collect();
                // A server that is stopping dials nobody.
                let _ = requests
                    .send(Request::Candidates { client, candidates })
                    .await;
            });
        }
    }

    fn is_inner(&self, destination: IpNet) -> bool {
        let mut prefixes = self.clients.values().flat_map(|it| it.addresses.prefixes());
        prefixes.any(|prefix| prefix.contains(&destination))
    }
}
