//! Moves batches between device, UDP, sessions and the [`Tunnel`].
//!
//! One task owns the tunnel; nothing is locked. Everyone else holds a
//! [`Driver`], which sends that task events and calls.

mod taps;

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use dtap_tunnel::session::Message;
use dtap_tunnel::{Batch, Output, Path, PathMessage, PeerId, Source, TapConfig, TapId, Tunnel};
use tokio::sync::{mpsc, oneshot, watch};

use crate::device::{Device, Packets};
use crate::session::{Lent, Outgoing};
use crate::udp::{Datagrams, Udp, equally_long};
use taps::Taps;

/// A handle to the running driver; the driver ends with the last one.
#[derive(Debug, Clone)]
pub struct Driver {
    events: mpsc::Sender<Event>,
    detached: mpsc::UnboundedSender<(PeerId, u64)>,
    paths: watch::Receiver<()>,
}

enum Event {
    Call(Call),
    Attach(PeerId, Outgoing),
    Datagrams(PeerId, Lent),
    Message(PeerId, PathMessage),
    AddTap(TapConfig, Box<Device>, oneshot::Sender<Option<TapId>>),
    RemoveTap(TapId),
}

struct Call(Box<dyn FnOnce(&mut Tunnel, Instant) + Send>);

struct Task {
    tunnel: Tunnel,
    device: Device,
    taps: Taps,
    udp: Udp,
    sessions: HashMap<PeerId, Outgoing>,
    events: mpsc::Receiver<Event>,
    detached: mpsc::UnboundedReceiver<(PeerId, u64)>,
    paths: watch::Sender<()>,
    packets: Packets,
    datagrams: Datagrams,
    output: Output,
}

/// Events that wait for the driver before their senders do.
const EVENTS: usize = 256;

/// Events handled before packets are looked at again.
const EVENTS_AT_A_TIME: usize = 16;
/// Bytes of packets that wait, per round and direction: one super-packet, as
/// short packets that arrive meanwhile wait for the end of the round.
const QUANTUM: usize = 32 << 10;

/// Starts the driver. The future ends when all handles are dropped, or with
/// the error that broke the device or a socket.
pub fn start(
    tunnel: Tunnel,
    device: Device,
    mut udp: Udp,
) -> (Driver, impl Future<Output = io::Result<()>> + Send) {
    udp.ignore_interface(device.index());
    let (events, receiver) = mpsc::channel(EVENTS);
    let (detached, detachments) = mpsc::unbounded_channel();
    let (changed, paths) = watch::channel(());
    let task = Task {
        tunnel,
        packets: device.packets(),
        device,
        taps: Taps::default(),
        udp,
        sessions: HashMap::new(),
        events: receiver,
        detached: detachments,
        paths: changed,
        datagrams: Datagrams::default(),
        output: Output::default(),
    };
    let driver = Driver {
        events,
        detached,
        paths,
    };
    (driver, task.run())
}

impl Driver {
    /// Runs `call` between two batches and returns what it returns; `None` if
    /// the driver has ended.
    pub async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Tunnel, Instant) -> R + Send + 'static,
    ) -> Option<R> {
        let (reply, result) = oneshot::channel();
        let call = Call(Box::new(move |tunnel, now| {
            // The caller may have been cancelled; the call still counts.
            let _ = reply.send(call(tunnel, now));
        }));
        self.events.send(Event::Call(call)).await.ok()?;
        result.await.ok()
    }

    /// Changes whenever the path of a peer does.
    pub fn path_changes(&self) -> watch::Receiver<()> {
        self.paths.clone()
    }

    /// Moves the frames of a tap from now on; `None` if there is no such peer, or
    /// the driver has ended. The interface lasts as long as the tap: until
    /// [`Self::remove_tap`], as long as its peer, and until somebody removes it.
    pub async fn add_tap(&self, config: TapConfig, device: Device) -> Option<TapId> {
        let (reply, result) = oneshot::channel();
        self.send(Event::AddTap(config, Box::new(device), reply))
            .await;
        result.await.ok()?
    }

    /// Ends a tap, and with it its interface.
    pub async fn remove_tap(&self, id: TapId) {
        self.send(Event::RemoveTap(id)).await;
    }

    pub(crate) async fn attach(&self, peer: PeerId, outgoing: Outgoing) {
        self.send(Event::Attach(peer, outgoing)).await;
    }

    pub(crate) fn detach(&self, peer: PeerId, session: u64) {
        // An ended driver has no sessions.
        let _ = self.detached.send((peer, session));
    }

    /// Datagrams of the peer's session; an empty batch says it is alive.
    pub(crate) async fn datagrams(&self, peer: PeerId, datagrams: Lent) {
        self.send(Event::Datagrams(peer, datagrams)).await;
    }

    pub(crate) async fn message(&self, peer: PeerId, message: PathMessage) {
        self.send(Event::Message(peer, message)).await;
    }

    async fn send(&self, event: Event) {
        // An ended driver has reported why by its future.
        let _ = self.events.send(event).await;
    }
}

impl Task {
    async fn run(mut self) -> io::Result<()> {
        while !self.events.is_closed() || !self.events.is_empty() {
            if self.round().await? {
                // Without it the runtime would not look for what has arrived.
                tokio::task::yield_now().await;
            } else {
                self.wait().await?;
            }
        }
        Ok(())
    }

    /// A little of everything there is to do; false if there is nothing.
    async fn round(&mut self) -> io::Result<bool> {
        let mut busy = self.device.recv(&mut self.packets)?;
        let now = Instant::now();
        let Self {
            tunnel,
            packets,
            datagrams,
            ..
        } = self;
        packets.take(QUANTUM, |packet| tunnel.handle_packet(packet, now));
        let (read, gone) = self.taps.recv(tunnel, now);
        busy |= read;
        let is_full = self.device.is_full() || self.taps.is_full();
        if !is_full && self.udp.recv(datagrams)? {
            busy = true;
            for (from, datagram) in datagrams.iter() {
                tunnel.handle_datagram(Source::Udp(from), datagram, now);
            }
        }
        gone.into_iter().for_each(|id| self.remove_tap(id));
        while let Ok((peer, session)) = self.detached.try_recv() {
            self.detach(peer, session);
        }
        for _ in 0..EVENTS_AT_A_TIME {
            if self.device.is_full() || self.taps.is_full() {
                break;
            }
            let Ok(event) = self.events.try_recv() else {
                break;
            };
            self.handle(event, now);
            busy = true;
        }
        if self.tunnel.poll_timeout().is_some_and(|due| due <= now) {
            self.tunnel.handle_timeout(now);
        }
        self.flush(now).await;
        let is_waiting = self.device.is_waiting() || self.taps.is_waiting();
        Ok(busy || !self.packets.is_empty() || is_waiting)
    }

    /// Until there is something to do.
    async fn wait(&mut self) -> io::Result<()> {
        let event = tokio::select! {
            ready = self.device.readable() => return ready,
            ready = self.udp.readable() => return ready,
            () = self.taps.readable() => return Ok(()),
            event = self.events.recv() => event,
            Some((peer, session)) = self.detached.recv() => {
                self.detach(peer, session);
                None
            }
            () = sleep_until(self.tunnel.poll_timeout()) => None,
        };
        if let Some(event) = event {
            self.handle(event, Instant::now());
        }
        Ok(())
    }

    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Call(Call(call)) => {
                call(&mut self.tunnel, now);
                let orphans = self.taps.orphans(&self.tunnel);
                orphans.into_iter().for_each(|id| self.remove_tap(id));
            }
            Event::Attach(peer, outgoing) => {
                self.sessions.insert(peer, outgoing);
                self.tunnel.handle_session_up(peer, now);
            }
            Event::Datagrams(peer, datagrams) => {
                self.tunnel.handle_session_heard(peer, now);
                for datagram in datagrams.iter() {
                    self.tunnel
                        .handle_datagram(Source::Session(peer), datagram, now);
                }
            }
            Event::Message(peer, message) => {
                self.tunnel.handle_session_heard(peer, now);
                self.tunnel.handle_message(peer, &message, now);
            }
            Event::AddTap(config, device, reply) => {
                // The caller may have been cancelled, and cannot remove it then.
                if let Err(Some(id)) = reply.send(self.add_tap(config, *device)) {
                    self.remove_tap(id);
                }
            }
            Event::RemoveTap(id) => self.remove_tap(id),
        }
    }

    fn add_tap(&mut self, config: TapConfig, device: Device) -> Option<TapId> {
        let id = self.tunnel.add_tap(config)?;
        self.udp.ignore_interface(device.index());
        self.taps.add(id, device);
        Some(id)
    }

    fn remove_tap(&mut self, id: TapId) {
        self.tunnel.remove_tap(id);
        if let Some(device) = self.taps.remove(id) {
            self.udp.heed_interface(device.index());
        }
    }

    fn detach(&mut self, peer: PeerId, session: u64) {
        if self
            .sessions
            .get(&peer)
            .is_some_and(|known| known.id() == session)
        {
            self.sessions.remove(&peer);
            self.tunnel.handle_session_down(peer);
        }
    }

    async fn flush(&mut self, now: Instant) {
        let mut output = std::mem::take(&mut self.output);
        self.tunnel.poll_output(now, &mut output);
        self.device.send(&mut output.packets);
        self.device.flush(QUANTUM);
        self.taps.send(&mut output.frames);
        self.send_datagrams(&output.datagrams).await;
        for (peer, message) in output.messages.drain(..) {
            if let Some(session) = self.sessions.get(&peer) {
                session.message(&Message::Path(message));
            }
        }
        if output.is_path_changed {
            self.paths.send_replace(());
        }
        output.clear();
        self.output = output;
    }

    /// Sends runs of datagrams that go the same way; by UDP equally long ones
    /// in one system call.
    async fn send_datagrams(&mut self, datagrams: &Batch<(PeerId, Path)>) {
        let mut rest = datagrams.items();
        while let Some(((peer, path), first)) = rest.first() {
            let length = first.len();
            let same_way = |(tag, _): &&((PeerId, Path), _)| *tag == (*peer, *path);
            let run = rest.iter().take_while(same_way).count();
            let run = match path {
                Path::Session => run,
                Path::Udp(_) => equally_long(&rest[..run], length),
            };
            let end = rest[run - 1].1.end;
            match path {
                Path::Udp(to) => {
                    let contents = &datagrams.bytes()[first.start..end];
                    self.udp.send(*to, contents, length).await;
                }
                Path::Session => {
                    let bytes = datagrams.bytes();
                    let run = rest[..run].iter().map(|(_, range)| &bytes[range.clone()]);
                    if let Some(session) = self.sessions.get(peer)
                        && session.datagrams(run)
                    {
                        // tokio keeps the task that was woken last for this very thread, and
                        // as long as packets arrive this task would not end its turn.
                        tokio::task::yield_now().await;
                    }
                }
            }
            rest = &rest[run..];
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
