//! The devices of taps, beside the driver's own.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use dtap_tunnel::{Frames, TapId, Tunnel};

use super::QUANTUM;
use crate::device::{Device, Packets};

#[derive(Debug, Default)]
pub(super) struct Taps {
    taps: BTreeMap<TapId, Tap>,
}

#[derive(Debug)]
struct Tap {
    device: Device,
    packets: Packets,
}

impl Taps {
    pub(super) fn add(&mut self, id: TapId, device: Device) {
        let packets = device.packets();
        self.taps.insert(id, Tap { device, packets });
    }

    /// Those that went with their peers.
    pub(super) fn orphans(&self, tunnel: &Tunnel) -> Vec<TapId> {
        let ids = self.taps.keys().copied();
        ids.filter(|id| !tunnel.has_tap(*id)).collect()
    }

    pub(super) fn remove(&mut self, id: TapId) -> Option<Device> {
        self.taps.remove(&id).map(|tap| tap.device)
    }

    /// Gives the tunnel a little of what there is to read; says whether there
    /// was any, and which devices are gone.
    pub(super) fn recv(&mut self, tunnel: &mut Tunnel, now: Instant) -> (bool, Vec<TapId>) {
        let mut busy = false;
        let mut gone = Vec::new();
        for (id, Tap { device, packets }) in &mut self.taps {
            match device.recv(packets) {
                Ok(read) => busy |= read,
                Err(error) => {
                    tracing::warn!(%error, ?device, "the interface of a tap is gone");
                    gone.push(*id);
                }
            }
            packets.take(QUANTUM, |frame| tunnel.handle_frame(*id, frame, now));
        }
        (busy, gone)
    }

    /// Takes frames for the OS, and gives it a little of what waits.
    pub(super) fn send(&mut self, frames: &mut Frames) {
        for (id, batch) in frames.iter_mut() {
            if let Some(tap) = self.taps.get_mut(&id) {
                tap.device.send(batch);
            }
        }
        for tap in self.taps.values_mut() {
            tap.device.flush(QUANTUM);
        }
    }

    /// Whether so much waits at one of them that no more should be taken in.
    pub(super) fn is_full(&self) -> bool {
        self.taps.values().any(|tap| tap.device.is_full())
    }

    /// Whether anything waits to be handled or written.
    pub(super) fn is_waiting(&self) -> bool {
        let waits = |tap: &Tap| !tap.packets.is_empty() || tap.device.is_waiting();
        self.taps.values().any(waits)
    }

    /// Waits until there is something to read, if only an error.
    pub(super) async fn readable(&self) {
        let devices = self.taps.values().map(|tap| &tap.device);
        let mut readable: Vec<_> = devices.map(|device| Box::pin(device.readable())).collect();
        let any = poll_fn(|context| {
            if readable
                .iter_mut()
                .any(|it| it.as_mut().poll(context).is_ready())
            {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        any.await;
    }
}
