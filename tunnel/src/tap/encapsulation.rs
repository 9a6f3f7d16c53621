use rand_core::{OsRng, RngCore as _};

use super::TapEnds;
use super::outer::{
    self, ETHERIP_HEADER, FRAGMENT_HEADER, Fragment, IPV6_HEADER, SHORTEST_FRAME, set_length,
};
use crate::drops::Drop;

/// Puts frames into packets.
#[derive(Debug)]
pub(super) struct Encapsulation {
    header: [u8; IPV6_HEADER],
    mtu: usize,
    /// Of the next frame that is fragmented.
    id: u32,
    packet: Vec<u8>,
    /// What is cut into fragments.
    payload: Vec<u8>,
}

/// What IPv6 asks of a link, in bytes.
const LEAST_MTU: u16 = 1280;

impl Encapsulation {
    pub(super) fn new(ends: TapEnds, mtu: u16) -> Self {
        Self {
            header: outer::header(ends),
            mtu: mtu.max(LEAST_MTU).into(),
            // The other end may still hold fragments of a predecessor.
            id: OsRng.next_u32(),
            packet: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Lends `each` the packets that carry the frame.
    ///
    /// # Errors
    /// [`Drop::MalformedFrame`] if it is too short, or longer than a packet.
    pub(super) fn packets(
        &mut self,
        frame: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Drop> {
        let length = ETHERIP_HEADER.len() + frame.len();
        if frame.len() < SHORTEST_FRAME || length > usize::from(u16::MAX) {
            return Err(Drop::MalformedFrame);
        }
        self.packet.clear();
        if IPV6_HEADER + length > self.mtu {
            self.fragments(frame, each);
            return Ok(());
        }
        set_length(&mut self.header, length);
        self.packet.extend_from_slice(&self.header);
        self.packet.extend_from_slice(&ETHERIP_HEADER);
        self.packet.extend_from_slice(frame);
        each(&self.packet);
        Ok(())
    }

    fn fragments(&mut self, frame: &[u8], mut each: impl FnMut(&[u8])) {
        // All but the last end at a multiple of eight bytes (RFC 8200, §4.5).
        let most = (self.mtu - IPV6_HEADER - FRAGMENT_HEADER) & !7;
        let Self {
            packet, payload, ..
        } = self;
        payload.clear();
        payload.extend_from_slice(&ETHERIP_HEADER);
        payload.extend_from_slice(frame);
        let pieces = payload.chunks(most);
        let last = pieces.len() - 1;
        for (index, data) in pieces.enumerate() {
            let fragment = Fragment {
                id: self.id,
                offset: index * most,
                is_last: index == last,
                data,
            };
            packet.clear();
            packet.extend_from_slice(&fragment.headers(self.header));
            packet.extend_from_slice(data);
            each(packet);
        }
        self.id = self.id.wrapping_add(1);
    }
}
