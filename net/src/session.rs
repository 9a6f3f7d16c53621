//! A session over any pair of byte streams: frames in, frames out.
//!
//! Two tasks per session: one reads and sorts frames, one writes what is
//! queued. The reader is never far ahead of the driver: what the driver cannot
//! take yet stays in the stream, so that it shows in the sender's queue, which
//! decides what to drop.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use dtap_tunnel::PeerId;
use dtap_tunnel::session::{Datagrams, Decoder, Frame, Message, Queue};
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
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Notify,
}

/// Datagrams on their way to the driver; their memory goes back to the reader.
#[derive(Debug)]
pub(crate) struct Lent {
    datagrams: Datagrams,
    home: mpsc::Sender<Datagrams>,
}

/// Bytes; twice as many as a pipe holds (pipe(7)).
const READ: usize = 128 << 10;
/// Reads between reader and driver: one is filled while the other is emptied.
const LENT: usize = 2;
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
            shared: Arc::default(),
        };
        let attached = Arc::new(OnceLock::new());
        let (messages, incoming) = mpsc::channel(MESSAGES);
        let mut tasks = JoinSet::new();
        tasks.spawn(write_frames(write, Arc::clone(&outgoing.shared)));
        tasks.spawn(Reader::new(messages, Arc::clone(&attached)).run(read));
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

struct Reader {
    decoder: Decoder,
    messages: mpsc::Sender<io::Result<Message>>,
    attached: Arc<OnceLock<(Driver, PeerId)>>,
    home: mpsc::Sender<Datagrams>,
    returned: mpsc::Receiver<Datagrams>,
}

impl Reader {
    fn new(
        messages: mpsc::Sender<io::Result<Message>>,
        attached: Arc<OnceLock<(Driver, PeerId)>>,
    ) -> Self {
        let (home, returned) = mpsc::channel(LENT);
        for _ in 0..LENT {
            // There is room for all that are lent.
            let _ = home.try_send(Datagrams::default());
        }
        Self {
            decoder: Decoder::default(),
            messages,
            attached,
            home,
            returned,
        }
    }

    async fn run(mut self, mut stream: impl AsyncRead + Unpin) {
        let mut goes_on = Some(());
        while goes_on.is_some() {
            match stream.read(self.decoder.room(READ)).await {
                Ok(0) => return,
                Ok(read) => self.decoder.arrived(read),
                Err(error) => return drop(self.messages.send(Err(error)).await),
            }
            goes_on = self.sort().await;
        }
    }

    /// Gives what has arrived to those it is for; `None` if there is nobody, or
    /// the stream is not a session.
    async fn sort(&mut self) -> Option<()> {
        while let Some(frame) = self.decoder.next() {
            match frame {
                Ok(Frame::Datagram(_)) => {}
                Ok(Frame::Message(Message::Path(message))) => {
                    self.hand_over().await?;
                    if let Some((driver, peer)) = self.attached.get() {
                        driver.message(*peer, message).await;
                    }
                }
                Ok(Frame::Message(message)) => self.messages.send(Ok(message)).await.ok()?,
                Err(error) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, error);
                    self.messages.send(Err(error)).await.ok()?;
                    return None;
                }
            }
        }
        self.hand_over().await
    }

    /// Gives the driver all datagrams so far, if only to say that the peer is alive.
    async fn hand_over(&mut self) -> Option<()> {
        if let Some((driver, peer)) = self.attached.get() {
            let mut datagrams = self.returned.recv().await?;
            self.decoder.hand_over(&mut datagrams);
            let home = self.home.clone();
            driver.datagrams(*peer, Lent { datagrams, home }).await;
        }
        Some(())
    }
}
