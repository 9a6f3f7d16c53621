//! Short packets pass long ones that wait.
//!
//! A tunnel that is busy has megabytes of some download waiting at each end.
//! In one queue a ping, a keystroke or a DNS answer would wait behind them all
//! (bufferbloat). So what is long waits in line, and what is short goes at
//! once, unless it would overtake a packet of its own flow.

use std::hash::{Hash as _, Hasher as _};

use rustc_hash::FxHasher;

use crate::offload::{Link, flow_of};

/// Who waits, by flow.
#[derive(Debug)]
pub struct Lanes {
    link: Link,
    /// Packets that wait, by a hash of their flow: flows that share one merely
    /// wait for each other.
    waiting: [u32; SLOTS],
}

/// To be given back when the packet has left.
#[derive(Debug)]
#[must_use]
pub struct Ticket(usize);

const SLOTS: usize = 256;
/// Bytes of a packet that does not wait: an answer to a DNS query, but not a
/// segment of a download.
const SHORT: usize = 600;

impl Lanes {
    pub const fn new(link: Link) -> Self {
        Self {
            link,
            waiting: [0; SLOTS],
        }
    }

    /// Whether the packet may go before those that wait.
    pub fn may_pass(&self, packet: &[u8]) -> bool {
        packet.len() <= SHORT && self.waiting[self.slot(packet)] == 0
    }

    /// The packet waits.
    pub fn enter(&mut self, packet: &[u8]) -> Ticket {
        let slot = self.slot(packet);
        self.waiting[slot] += 1;
        Ticket(slot)
    }

    /// The packet of this ticket has left.
    pub fn leave(&mut self, Ticket(slot): Ticket) {
        self.waiting[slot] -= 1;
    }

    fn slot(&self, packet: &[u8]) -> usize {
        let mut hasher = FxHasher::default();
        flow_of(self.link.packet(packet)).hash(&mut hasher);
        hasher.finish() as usize % SLOTS
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new(Link::Ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u16, length: u16) -> Vec<u8> {
        let mut packet = vec![0; length.into()];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[9] = 6;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..22].copy_from_slice(&port.to_be_bytes());
        packet
    }

    #[test]
    fn the_short_pass_the_long_of_other_flows() {
        let mut lanes = Lanes::default();
        assert!(!lanes.may_pass(&packet(1, 1400)));
        let first = lanes.enter(&packet(1, 1400));
        let second = lanes.enter(&packet(1, 1400));
        assert!(lanes.may_pass(&packet(2, 60)));
        assert!(!lanes.may_pass(&packet(1, 60)));
        lanes.leave(first);
        assert!(!lanes.may_pass(&packet(1, 60)));
        lanes.leave(second);
        assert!(lanes.may_pass(&packet(1, 60)));
    }

    #[test]
    fn the_head_of_a_packet_is_enough() {
        let mut lanes = Lanes::default();
        let _ticket = lanes.enter(&packet(1, 1400)[..700]);
        assert!(!lanes.may_pass(&packet(1, 60)));
        assert!(lanes.may_pass(&packet(2, 60)));
    }

    #[test]
    fn frames_are_of_the_flow_of_their_packets() {
        let frame = |port, length| {
            let header = [&[2; 12][..], &[8, 0]].concat();
            [header, packet(port, length)].concat()
        };
        let mut lanes = Lanes::new(Link::Ethernet);
        let _ticket = lanes.enter(&frame(1, 1400));
        assert!(!lanes.may_pass(&frame(1, 60)));
        assert!(lanes.may_pass(&frame(2, 60)));
        let request = [&[2; 12][..], &[8, 6], &[0; 46]].concat();
        assert!(lanes.may_pass(&request), "ARP");
        let _ticket = lanes.enter(&request);
        assert!(!lanes.may_pass(&request));
    }

    #[test]
    fn flows_are_spread() {
        let mut lanes = Lanes::default();
        let _first = lanes.enter(&packet(0, 1400));
        let others = (1..256).filter(|port| lanes.may_pass(&packet(*port, 60)));
        assert!(others.count() > 245);
    }

    #[test]
    fn what_has_no_ports_is_of_the_flow_between_its_addresses() {
        let mut fragment = packet(1, 100);
        fragment[6] = 0x20;
        let mut other = packet(2, 100);
        other[6] = 0x20;
        let mut lanes = Lanes::default();
        let _ticket = lanes.enter(&fragment);
        assert!(!lanes.may_pass(&other));
        assert!(lanes.may_pass(&[]));
    }
}
