//! How a session shows that it is alive, and finds out that it is not: a
//! half-open TCP connection below it never says so.

use std::io;
use std::time::Duration;

use dtap_tunnel::session::Message;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};

use super::Outgoing;

/// Which part an end has in the heartbeat. Two clocks would wake both ends twice
/// as often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heart {
    /// The client's.
    Beats,
    /// The server's.
    Answers,
}

const HEARTBEAT: Duration = Duration::from_secs(1);
/// A session is alive while something arrives within this time.
const SILENCE: Duration = Duration::from_secs(5);

/// Returns when nothing has been heard for too long, and says so.
pub(super) async fn keep(
    heart: Heart,
    outgoing: Outgoing,
    messages: mpsc::WeakSender<io::Result<Message>>,
) {
    loop {
        let silent = *outgoing.shared.heard() + SILENCE;
        match heart {
            Heart::Beats => sleep(HEARTBEAT).await,
            Heart::Answers => sleep_until(silent).await,
        }
        if outgoing.shared.heard().elapsed() >= SILENCE {
            break;
        }
        if heart == Heart::Beats {
            outgoing.message(&Message::Heartbeat);
        }
    }
    // A session that has ended needs no telling.
    if let Some(messages) = messages.upgrade() {
        let silence = format!("nothing heard for {} s", SILENCE.as_secs());
        let silence = io::Error::new(io::ErrorKind::TimedOut, silence);
        let _ = messages.send(Err(silence)).await;
    }
}
