//! `connect`: one [`Connection`] per engine, and what is said about them.

mod claims;
mod connection;
mod contest;
mod detach;
mod direct;
mod follow;
mod leg;
mod link;
mod outlook;
mod pace;
mod report;
mod server;
mod stay;
mod taps;
mod view;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use dtap_tunnel::HardwareAddress;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::ConnectOptions;
use crate::config::{Settings, Way};
use crate::control::{Command, Control, Question};
use crate::docker::Environment;
use crate::engines::{self, Source};
use crate::state_dir::{self, StateDir};
use crate::status::Status;
use crate::stdout::say;
use crate::tap::{self, Nic, Root, Wish};
use crate::{borrowed, privilege};
use claims::Claims;
pub(crate) use connection::Connection;
use connection::Shared;
use view::View;

pub(crate) async fn command(options: ConnectOptions) -> Result<ExitCode> {
    let settings = Settings::new(&options)?;
    privilege::require_root("creating a network interface and routes")?;
    state_dir::refuse_second(&settings.state_dir)?;
    if settings.way == Way::Nic && !options.detached {
        tap::repair(&settings.root)?;
        tap::nics(&settings.root)?;
    }
    if options.detach && !options.detached {
        return detach::command(&settings).await;
    }
    foreground(settings, &options).await?;
    Ok(ExitCode::SUCCESS)
}

/// All connections of this client, and the socket others ask at.
struct Client {
    views: Vec<watch::Receiver<View>>,
    connections: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
    taps: watch::Sender<Vec<Wish>>,
    parents: watch::Sender<BTreeSet<HardwareAddress>>,
    root: Root,
    control: Control,
}

async fn foreground(settings: Settings, options: &ConnectOptions) -> Result<()> {
    if options.detached {
        detach::leave_terminal();
    }
    let sources = engines::sources(&settings.engines, Environment::current()?)?;
    // Before anything is written: engines that do not answer change nothing.
    let patience = outlook::look(&sources, &settings).await?;
    let state = StateDir::lock(&settings.state_dir)?;
    borrowed::sweep(&settings.state_dir)?;
    let control = Control::listen(&state.socket())?;
    let (stop, stopped) = watch::channel(false);
    let (taps, wishes) = watch::channel(Vec::new());
    let (parents, wanted_parents) = watch::channel(BTreeSet::new());
    let root = settings.root.clone();
    let shared = Shared {
        settings: Arc::new(settings),
        keys: state.keys(),
        patience,
        stop: stopped,
        taps: wishes,
        parents: wanted_parents,
    };
    let names: Vec<_> = sources.iter().map(Source::name).collect();
    let claims = Claims::of(&names);
    let mut connections = JoinSet::new();
    let mut views = Vec::new();
    for ((source, name), claims) in sources.into_iter().zip(&names).zip(claims) {
        let (view, seen) = watch::channel(View::new(name));
        views.push(seen);
        connections.spawn(Connection::new(source, claims, view, &shared).run());
    }
    let mut client = Client {
        views,
        connections,
        stop,
        taps,
        parents,
        root,
        control,
    };
    let asker = match client.until_enough().await {
        Ok(asker) => asker,
        Err(error) => {
            // It never was connected: nothing is to show that it was tried.
            state.remove_if_new();
            return Err(error);
        }
    };
    let ended = client.end().await;
    say("disconnected");
    // Whoever waits for the end may connect anew at once.
    drop((client, state));
    if let Some(asker) = asker {
        asker.answer_end(&ended).await;
    }
    ended
}

impl Client {
    /// Shows what happens until the user has had enough; returns who said so, if
    /// it was not by a signal.
    async fn until_enough(&mut self) -> Result<Option<Question>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut shown: Vec<_> = self
            .views
            .iter()
            .map(|view| view.borrow().clone())
            .collect();
        loop {
            tokio::select! {
                Some(ended) = self.connections.join_next() => {
                    return ended.context("run a connection")?.map(|()| None);
                }
                question = self.control.question() => match &question.command {
                    Command::Status | Command::Ls | Command::Engines => self.answer(question),
                    Command::Attach(wish) => {
                        let replaced = self.attach(wish.clone());
                        let answer = replaced.and_then(|it| Ok(serde_json::to_string(&it)?));
                        question.answer_or_error(&answer).await;
                    }
                    Command::Detach(network) => {
                        let network = network.clone();
                        self.taps.send_modify(|wishes| {
                            wishes.retain(|wish| wish.network != network);
                        });
                        question.answer_end(&Ok(())).await;
                    }
                    Command::Parent => match self.parent() {
                        Ok(name) => question.answer(&name).await,
                        refusal => question.answer_end(&refusal.map(drop)).await,
                    },
                    Command::Disconnect => return Ok(Some(question)),
                },
                index = changed(&mut self.views) => {
                    let now = self.views[index].borrow_and_update().clone();
                    let company = match self.views.len() {
                        1 => report::Company::Alone,
                        _ => report::Company::OneOfSeveral,
                    };
                    for line in report::lines(&shown[index], &now, company) {
                        say(&line);
                    }
                    shown[index] = report::told(&shown[index], &now);
                }
                _ = terminate.recv() => return Ok(None),
                _ = interrupt.recv() => return Ok(None),
                _ = hangup.recv() => return Ok(None),
            }
        }
    }

    /// Has this host be in a network, in another way if it is in it already; gives that which was wanted before.
    fn attach(&self, wish: Wish) -> Result<Option<Wish>> {
        let names = self
            .views
            .iter()
            .map(|view| view.borrow().status.name.clone());
        let names: Vec<_> = names.collect();
        match &wish.network.connection {
            Some(connection) if !names.contains(connection) => {
                bail!(
                    "attach to network {}: there is no connection '{connection}': {}",
                    wish.network,
                    names.join(", ")
                )
            }
            None if names.len() > 1 => bail!(
                "attach to network {}: several engines are connected: say {}",
                wish.network,
                names
                    .iter()
                    .map(|it| format!("{it}/{}", wish.network.network))
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
            Some(_) | None => {}
        }
        let mut replaced = None;
        self.taps.send_modify(|wishes| {
            let at = wishes.iter().position(|it| it.network == wish.network);
            replaced = at.map(|at| wishes.remove(at));
            wishes.push(wish);
        });
        Ok(replaced)
    }

    /// The name, in the VM, of a NIC that networks can have for their parent from now on; the same each time.
    fn parent(&self) -> Result<String> {
        let nics = tap::nics(&self.root)?;
        let views: Vec<_> = self.views.iter().map(|view| view.borrow()).collect();
        let is_used = |nic: &&Nic| {
            let states = views.iter().map(|view| &view.status);
            let interfaces = states.flat_map(|it| {
                let taps = it.taps.iter().filter(|tap| !tap.is_by_parent);
                taps.map(|tap| &tap.interface).chain([&it.interface])
            });
            interfaces.flatten().any(|it| *it == nic.interface)
        };
        let wanted = self.parents.borrow().clone();
        let is_wanted = |nic: &&Nic| wanted.contains(&nic.address);
        let free = || nics.iter().find(|nic| nic.is_there() && !is_used(nic));
        let nic = nics.iter().find(is_wanted).or_else(free);
        let nic = nic.context(
            "no NIC of HyperKit's is free: restart Docker after `tap install`, detach a network, or install more by `tap install --nics N`",
        )?;
        let name = views.iter().find_map(|view| view.nics.get(&nic.address));
        let name = name
            .context("no engine that is connected has this NIC: restart Docker")?
            .clone();
        self.parents.send_modify(|all| {
            all.insert(nic.address);
        });
        Ok(name)
    }

    /// Answers in the background: the tunnel is asked for its counters.
    fn answer(&self, question: Question) {
        let views: Vec<_> = self
            .views
            .iter()
            .map(|view| view.borrow().clone())
            .collect();
        let wishes = self.taps.borrow().clone();
        tokio::spawn(async move {
            let json = match question.command {
                Command::Ls => {
                    let engines: Vec<_> = views.iter().map(View::listing).collect();
                    serde_json::to_string(&engines)
                }
                Command::Engines => {
                    let engines: Vec<_> = views.iter().map(View::chosen).collect();
                    serde_json::to_string(&engines)
                }
                Command::Status
                | Command::Attach(_)
                | Command::Detach(_)
                | Command::Parent
                | Command::Disconnect => {
                    let mut connections = Vec::new();
                    for view in &views {
                        let mut connection = view.live().await;
                        view.hide_unplanned(&mut connection.taps, &wishes);
                        connections.push(connection);
                    }
                    serde_json::to_string(&Status::of(connections))
                }
            };
            match json {
                Ok(json) => question.answer(&json).await,
                Err(error) => tracing::warn!(%error, "cannot describe the connections"),
            }
        });
    }

    async fn end(&mut self) -> Result<()> {
        // Connections that have ended need not be told.
        let _ = self.stop.send(true);
        let mut result = Ok(());
        while let Some(ended) = self.connections.join_next().await {
            result = result.and(ended.context("run a connection")?);
        }
        result
    }
}

/// The index of a view that changed; pending for ever when all have ended.
async fn changed(views: &mut [watch::Receiver<View>]) -> usize {
    let waits = views.iter_mut().enumerate().map(|(index, view)| {
        Box::pin(async move {
            match view.changed().await {
                Ok(()) => index,
                Err(_) => std::future::pending().await,
            }
        })
    });
    futures_util::future::select_all(waits).await.0
}
