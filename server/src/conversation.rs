//! One session, from its hello to its end: reads what the client says, asks
//! the server, and answers.

use std::path::Path;

use anyhow::{Result, bail};
use dtap_net::firewall::Firewall;
use dtap_net::session::Session;
use dtap_tunnel::PublicKey;
use dtap_tunnel::session::{Hello, Message, XTABLES_LOCK};
use tokio::sync::{mpsc, oneshot};

use crate::client::SessionId;
use crate::run::{Outcome, Pairing, Plan, Request, Welcome};

pub(crate) struct Conversation {
    pub(crate) id: SessionId,
    pub(crate) hello: Hello,
    pub(crate) requests: mpsc::Sender<Request>,
}

impl Conversation {
    /// Talks until the client says bye, falls silent or the stream ends.
    pub(crate) async fn hold(self, mut session: Session) {
        let mut client = Caller::default();
        if let Err(error) = self.talk(&mut session, &mut client).await {
            tracing::info!(session = self.id.0, "session ended: {error:#}");
            session.send(&Message::Failed {
                error: format!("{error:#}"),
            });
        }
        if let Some(client) = client.key {
            let ended = Request::Ended {
                client,
                session: self.id,
            };
            // A server that is stopping needs no telling.
            let _ = self.requests.send(ended).await;
        }
    }

    /// The server's state as JSON.
    pub(crate) async fn status(&self) -> Result<String> {
        self.ask(|reply| Request::Status { reply }).await
    }

    /// Undoes what all clients have.
    pub(crate) async fn reset(&self) -> Result<()> {
        self.ask(|reply| Request::Reset { reply }).await?
    }

    async fn talk(&self, session: &mut Session, client: &mut Caller) -> Result<()> {
        while let Some(message) = session.recv().await? {
            if self.answer(message, session, client).await? == Talk::Over {
                break;
            }
        }
        Ok(())
    }

    async fn answer(
        &self,
        message: Message,
        session: &mut Session,
        client: &mut Caller,
    ) -> Result<Talk> {
        match message {
            Message::Hello(hello) => {
                client.boot = hello.boot;
                session.send(&Message::Hello(self.hello()));
            }
            Message::Pair {
                public_key,
                used,
                candidates,
                port,
                udp,
            } => {
                let pairing = Pairing {
                    client: public_key,
                    boot: client.boot.clone(),
                    session: self.id,
                    used,
                    candidates,
                    port: udp.then_some(port),
                };
                let Welcome {
                    driver,
                    peer,
                    paired,
                } = self.ask(|reply| Request::Pair { pairing, reply }).await??;
                client.key = Some(public_key);
                session.attach(&driver, peer).await;
                session.send(&Message::Paired(paired));
            }
            Message::Plan {
                generation,
                attachments,
                taps,
                nic,
            } => {
                let plan = Plan {
                    attachments,
                    taps,
                    nic,
                };
                let Some(client) = client.key else {
                    bail!("a plan came before the pairing");
                };
                let Outcome {
                    problems,
                    tap_problems,
                    nic,
                } = self
                    .ask(|reply| Request::Plan {
                        client,
                        session: self.id,
                        plan,
                        reply,
                    })
                    .await??;
                session.send(&Message::PlanDone {
                    generation,
                    problems,
                    tap_problems: Some(tap_problems),
                    nic,
                });
            }
            Message::Candidates { candidates } => {
                if let Some(client) = client.key {
                    let request = Request::Candidates { client, candidates };
                    self.requests.send(request).await?;
                }
            }
            Message::Bye => {
                if let Some(client) = client.key.take() {
                    self.ask(|reply| Request::Bye {
                        client,
                        session: self.id,
                        reply,
                    })
                    .await??;
                }
                session.send(&Message::Bye);
                // Until the client closes: the answer must not be cut off.
                while let Ok(Some(_)) = session.recv().await {}
                return Ok(Talk::Over);
            }
            Message::Paired(_)
            | Message::PlanDone { .. }
            | Message::Path(_)
            | Message::Heartbeat
            | Message::Failed { .. }
            | Message::Unknown => {}
        }
        Ok(Talk::GoesOn)
    }

    /// As things are now: an engine may come to filter in another way.
    fn hello(&self) -> Hello {
        let obstacle = Firewall::obstacle(Path::new(XTABLES_LOCK));
        Hello {
            lacks_xtables_lock: obstacle.is_some_and(|it| it.lacks_lock),
            ..self.hello.clone()
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await?;
        Ok(answer.await?)
    }
}

/// Who is at the other end, as far as it has said so.
#[derive(Debug, Default)]
struct Caller {
    key: Option<PublicKey>,
    boot: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Talk {
    GoesOn,
    Over,
}
