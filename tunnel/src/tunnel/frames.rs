//! The tunnel's taps.

use std::net::IpAddr;
use std::time::Instant;

use super::Tunnel;
use crate::drops::Drop;
use crate::hardware::HardwareAddress;
use crate::tap::{TapConfig, TapId};

impl Tunnel {
    /// Adds a tap; one of the peer between the same ends is replaced. `None` if
    /// there is no such peer. It goes with its peer.
    pub fn add_tap(&mut self, config: TapConfig) -> Option<TapId> {
        let is_known = self.peers.contains_key(&config.peer);
        is_known.then(|| self.taps.add(config))
    }

    pub fn has_tap(&self, id: TapId) -> bool {
        self.taps.peer(id).is_some()
    }

    pub fn remove_tap(&mut self, id: TapId) {
        self.taps.remove(id);
    }

    /// Asks the network of a tap whether somebody has this address; a question can
    /// get lost, so it may be asked again.
    pub fn probe(&mut self, id: TapId, own: HardwareAddress, address: IpAddr, now: Instant) {
        let question = self.taps.probe(id, own, address);
        self.handle_frame(id, &question, now);
    }

    /// Whether somebody has said so; the address is not watched for any more.
    pub fn end_probe(&mut self, id: TapId, address: IpAddr) -> bool {
        self.taps.end_probe(id, address)
    }

    /// A frame from the device of a tap.
    pub fn handle_frame(&mut self, id: TapId, frame: &[u8], now: Instant) {
        let peer = self.taps.peer(id).and_then(|id| self.peers.get_mut(&id));
        let Some(peer) = peer else {
            return self.drops.count(Drop::NoTap);
        };
        let (output, drops) = (&mut self.output, &mut self.drops);
        let sealed = self.taps.encapsulate(id, frame, now, |packet| {
            peer.seal(packet, now, output, drops);
        });
        match sealed {
            Ok(()) => {
                let peer = peer.id();
                self.touch(peer);
            }
            Err(reason) => self.drops.count(reason),
        }
    }
}
