//! The thread that moves packets.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread with a runtime of its own, which ends with whatever runs on it when
/// this is dropped.
///
/// A driver is always busy when it matters. Among the workers of a runtime it
/// would be handed from one to another at every turn, which costs it a third of
/// its speed, and whatever else is planned there would make packets wait.
#[derive(Debug)]
pub struct PacketThread {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl PacketThread {
    /// # Errors
    /// When the system has no thread to give.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("packets".to_owned())
            .spawn(move || {
                // An error says that the sender is gone, which is the signal.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            handle,
            _stop: stop,
        })
    }

    /// The runtime: a device and sockets are made in its context, and their
    /// driver is spawned on it.
    pub const fn runtime(&self) -> &Handle {
        &self.handle
    }
}
