//! A session over any pair of byte streams: frames in, frames out.
//!
//! Three tasks per session: one reads and sorts frames, one writes what is
//! queued, one keeps it alive. They belong on the driver's own thread, where a
//! datagram gets from the stream to the tunnel without waking anybody, and so
//! do the streams. The reader is never far ahead of the driver: what the driver
//! cannot take yet stays in the stream, so that it shows in the sender's queue,
//! which decides what to drop.

mod pulse;
mod reader;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use dtap_tunnel::PeerId;
use dtap_tunnel::session::{Datagrams, Message, Queue};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub use pulse::Heart;
use reader::Reader;

use crate::driver::Driver;

/// One end of a session; its tasks end when it is dropped.
#[derive(Debug)]
pub struct Session {
    outgoing: Outgoing,
    incoming: mpsc::Receiver<io::Result<Message>>,
    attached: Arc<OnceLock<(Driver, PeerId)>>,
    _tasks: JoinSet<()>,
}

/// The sending half; clones write to the same stream.
#[derive(Debug, Clone)]
pub struct Outgoing {
    id: u64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
    /// When something arrived last.
    heard: Mutex<tokio::time::Instant>,
}

/// Datagrams on their way to the driver; their memory goes back to the reader.
#[derive(Debug)]
pub(crate) struct Lent {
    datagrams: Datagrams,
    home: mpsc::Sender<Datagrams>,
}

const MESSAGES: usize = 64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Session {
    /// Starts its tasks on the runtime of the driver it will be attached to,
    /// where the streams should have been opened, too.
    pub fn start<R, W>(runtime: &Handle, heart: Heart, read: R, write: W) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let outgoing = Outgoing {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                wake: Notify::new(),
                heard: Mutex::new(tokio::time::Instant::now()),
            }),
        };
        let attached = Arc::new(OnceLock::new());
        let (messages, incoming) = mpsc::channel(MESSAGES);
        // The reader's alone: the stream's end is the channel's.
        let silence = messages.downgrade();
        let reader = Reader::new(messages, Arc::clone(&attached), outgoing.clone(), heart);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(write_frames(write, Arc::clone(&outgoing.shared)), runtime);
        tasks.spawn_on(reader.run(read), runtime);
        tasks.spawn_on(pulse::keep(heart, outgoing.clone(), silence), runtime);
        Self {
            outgoing,
            incoming,
            attached,
            _tasks: tasks,
        }
    }

    /// From now on datagrams and path messages go to and from this peer.
    pub async fn attach(&self, driver: &Driver, peer: PeerId) {
        if self.attached.set((driver.clone(), peer)).is_ok() {
            driver.attach(peer, self.outgoing.clone()).await;
        }
    }

    /// Queues a message.
    pub fn send(&self, message: &Message) {
        self.outgoing.message(message);
    }

    /// The next message that is not the tunnel's; `None` at the stream's end.
    ///
    /// # Errors
    /// When the stream breaks, does not carry a session, or has been silent for
    /// too long; it ends then.
    pub async fn recv(&mut self) -> io::Result<Option<Message>> {
        self.incoming.recv().await.transpose()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((driver, peer)) = self.attached.get() {
            driver.detach(*peer, self.outgoing.id);
        }
        let dropped = self.outgoing.shared.queue().dropped();
        tracing::debug!(dropped, "session ended");
    }
}

impl Outgoing {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn message(&self, message: &Message) {
        self.shared.queue().message(message, Instant::now());
        self.shared.wake.notify_one();
    }

    /// Queues datagrams; what there is no room for is dropped. Says whether the
    /// writer needs its turn now.
    pub(crate) fn datagrams<'a>(&self, datagrams: impl Iterator<Item = &'a [u8]>) -> bool {
        let now = Instant::now();
        let mut queue = self.shared.queue();
        for datagram in datagrams {
            if !queue.datagram(datagram, now) {
                tracing::trace!(length = datagram.len(), "drop: session queue is full");
            }
        }
        let is_long = queue.is_long();
        drop(queue);
        self.shared.wake.notify_one();
        is_long
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, tokio::time::Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.datagrams.iter()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A reader that has ended needs none.
        let _ = self.home.try_send(std::mem::take(&mut self.datagrams));
    }
}

async fn write_frames(mut stream: impl AsyncWrite + Unpin, shared: Arc<Shared>) {
    let mut writing = Vec::new();
    loop {
        let next = shared
            .queue()
            .take(std::mem::take(&mut writing), Instant::now());
        let written = match next {
            Some(frames) => {
                writing = frames;
                stream.write_all(&writing).await
            }
            None => {
                let flushed = stream.flush().await;
                if flushed.is_ok() {
                    shared.wake.notified().await;
                }
                flushed
            }
        };
        if let Err(error) = written {
            // The reader sees the end of the same stream and says so.
            tracing::debug!(%error, "session stream cannot be written");
            return;
        }
    }
}

#[cfg(test)]
mod tests;
