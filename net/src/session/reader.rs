//! What arrives by a session.

use std::io;
use std::sync::{Arc, OnceLock};

use dtap_tunnel::PeerId;
use dtap_tunnel::session::{Datagrams, Decoder, Frame, Message};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Heart, Lent, Outgoing};
use crate::driver::Driver;

/// Bytes; twice as many as a pipe holds (pipe(7)).
const READ: usize = 128 << 10;
/// Reads between reader and driver: one is filled while the other is emptied.
const LENT: usize = 2;

/// Sorts what a stream brings.
pub(super) struct Reader {
    decoder: Decoder,
    messages: mpsc::Sender<io::Result<Message>>,
    attached: Arc<OnceLock<(Driver, PeerId)>>,
    outgoing: Outgoing,
    heart: Heart,
    home: mpsc::Sender<Datagrams>,
    returned: mpsc::Receiver<Datagrams>,
}

impl Reader {
    pub(super) fn new(
        messages: mpsc::Sender<io::Result<Message>>,
        attached: Arc<OnceLock<(Driver, PeerId)>>,
        outgoing: Outgoing,
        heart: Heart,
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
            outgoing,
            heart,
            home,
            returned,
        }
    }

    pub(super) async fn run(mut self, mut stream: impl AsyncRead + Unpin) {
        let mut goes_on = Some(());
        while goes_on.is_some() {
            match stream.read(self.decoder.room(READ)).await {
                Ok(0) => return,
                Ok(read) => self.decoder.arrived(read),
                Err(error) => return drop(self.messages.send(Err(error)).await),
            }
            *self.outgoing.shared.heard() = Instant::now();
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
                Ok(Frame::Message(Message::Heartbeat)) => {
                    if self.heart == Heart::Answers {
                        self.outgoing.message(&Message::Heartbeat);
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
