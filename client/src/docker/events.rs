//! The engine's events, which wake the loop that lists, plans and sets.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow};
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt, stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Engine;

/// Something happened to a network or a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    /// As Docker names it: `create`, `destroy`, `connect`, `disconnect`, `start`, `die`, …
    pub action: String,
    /// The ID of the network or container it happened to.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Of `kill`: which one a container was sent.
    pub signal: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Network,
    Container,
}

impl Engine {
    /// Everything that changes networks and containers from now on.
    ///
    /// What is listed after this returns lacks no event: the engine is asked for its own time first, and then
    /// for all events since, which it keeps. A few events of the second before may come too.
    ///
    /// The last item is always an error: a daemon that stops ends the stream without a word.
    pub async fn events(
        &self,
    ) -> Result<impl Stream<Item = Result<Event>> + Send + Unpin + 'static> {
        let since = self.clock().await?.unix_timestamp().to_string();
        let options = EventsOptionsBuilder::new()
            .since(&since)
            .filters(&filters())
            .build();
        let engine = self.clone();
        let events = self.docker.events(Some(options)).filter_map(move |item| {
            let item = match item {
                Ok(message) => event(message).map(Ok),
                Err(error) => Some(Err(engine.explained(error).context("follow events"))),
            };
            std::future::ready(item)
        });

        let end = stream::once(async { Err(anyhow!("the engine ended its stream of events")) });
        Ok(Box::pin(events.chain(end)))
    }

    async fn clock(&self) -> Result<OffsetDateTime> {
        let info = self
            .ask("ask the engine's time", self.docker.info())
            .await?;
        let time = info.system_time.unwrap_or_default();

        OffsetDateTime::parse(&time, &Rfc3339)
            .with_context(|| format!("read the engine's time '{time}'"))
    }
}

fn event(message: EventMessage) -> Option<Event> {
    let kind = match message.typ {
        Some(EventMessageTypeEnum::NETWORK) => EventKind::Network,
        Some(EventMessageTypeEnum::CONTAINER) => EventKind::Container,
        Some(_) | None => return None,
    };
    let actor = message.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();

    Some(Event {
        kind,
        action: message.action?,
        id: actor.id?,
        name: attributes.remove("name").unwrap_or_default(),
        signal: attributes.remove("signal").and_then(|it| it.parse().ok()),
    })
}

/// Not among them: what changes nothing here, such as the `exec_*` of every health check on the machine.
fn filters() -> HashMap<String, Vec<String>> {
    let owned = |values: &[&str]| values.iter().map(|&it| it.to_owned()).collect();

    HashMap::from([
        ("type".to_owned(), owned(&["network", "container"])),
        ("event".to_owned(), owned(&ACTIONS)),
    ])
}

const ACTIONS: [&str; 14] = [
    "create",
    "destroy",
    "remove",
    "update",
    "connect",
    "disconnect",
    "prune",
    "start",
    "restart",
    "kill",
    "die",
    "rename",
    "pause",
    "unpause",
];
