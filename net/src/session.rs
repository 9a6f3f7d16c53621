//! A session over any pair of byte streams: frames in, frames out.
//!
//! Two tasks per session: one reads and sorts frames, one writes what is
//! queued. The queue is bounded for datagrams, which are dropped at its tail:
//! TCP inside a TCP stream must learn of congestion by loss and not by a queue
//! that grows. Messages are never dropped.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dtap_tunnel::session::{Decoder, Frame, Message, encode_datagram, encode_message};
use dtap_tunnel::{Batch, PeerId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::driver::Driver;

/// One end of a session; both its tasks end when it is dropped.
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
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Mutex<Vec<u8>>,
    wake: Notify,
}

/// Bytes queued before datagrams are dropped: some 2 ms of what an exec stream
/// carries, deep enough for a burst and too shallow to add delay of note.
const MOST_QUEUED: usize = 512 << 10;
const READ_BUFFER: usize = 128 << 10;
const MESSAGES: usize = 64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Session {
    /// Starts both tasks on a stream.
    pub fn new<R, W>(read: R, write: W) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let outgoing = Outgoing {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            queue: Arc::default(),
        };
        let attached = Arc::new(OnceLock::new());
        let (messages, incoming) = mpsc::channel(MESSAGES);
        let mut tasks = JoinSet::new();
        tasks.spawn(write_frames(write, Arc::clone(&outgoing.queue)));
        tasks.spawn(read_frames(read, messages, Arc::clone(&attached)));
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
    /// When the stream breaks or does not carry a session; it ends then.
    pub async fn recv(&mut self) -> io::Result<Option<Message>> {
        self.incoming.recv().await.transpose()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((driver, peer)) = self.attached.get() {
            driver.detach(*peer, self.outgoing.id);
        }
    }
}

impl Outgoing {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn message(&self, message: &Message) {
        self.push(|pending| encode_message(message, pending));
    }

    /// Queues datagrams until the queue is full; returns how many were dropped.
    pub(crate) fn datagrams<'a>(&self, datagrams: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut dropped = 0;
        self.push(|pending| {
            for datagram in datagrams {
                if pending.len() < MOST_QUEUED {
                    encode_datagram(datagram, pending);
                } else {
                    dropped += 1;
                }
            }
        });
        dropped
    }

    fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut pending = self
            .queue
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        write(&mut pending);
        drop(pending);
        self.queue.wake.notify_one();
    }
}

async fn write_frames(mut stream: impl AsyncWrite + Unpin, queue: Arc<Queue>) {
    let mut writing = Vec::new();
    loop {
        queue.wake.notified().await;
        {
            let mut pending = queue.pending.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *pending, &mut writing);
        }
        let written = async {
            stream.write_all(&writing).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            // The reader sees the end of the same stream and says so.
            tracing::debug!(%error, "session stream cannot be written");
            return;
        }
        writing.clear();
    }
}

async fn read_frames(
    mut stream: impl AsyncRead + Unpin,
    messages: mpsc::Sender<io::Result<Message>>,
    attached: Arc<OnceLock<(Driver, PeerId)>>,
) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let read = match stream.read(&mut buffer).await {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => return drop(messages.send(Err(error)).await),
        };
        decoder.extend(&buffer[..read]);
        let mut datagrams = Batch::new();
        while let Some(frame) = decoder.next() {
            match frame {
                Ok(Frame::Datagram(datagram)) => datagrams.push((), datagram),
                Ok(Frame::Message(Message::Path(message))) => {
                    if let Some((driver, peer)) = attached.get() {
                        driver
                            .datagrams(*peer, std::mem::take(&mut datagrams))
                            .await;
                        driver.message(*peer, message).await;
                    }
                }
                Ok(Frame::Message(message)) => {
                    if messages.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, error);
                    return drop(messages.send(Err(error)).await);
                }
            }
        }
        if let Some((driver, peer)) = attached.get() {
            driver.datagrams(*peer, datagrams).await;
        }
    }
}
