//! Packets that mean no good.

use proptest::prelude::*;

use super::*;
use crate::tests::start;

const ENDS: TapEnds = TapEnds {
    local: Ipv6Addr::new(0xfd75, 0, 0, 0, 0, 0, 0, 1),
    remote: Ipv6Addr::new(0xfd75, 0, 0, 0, 0, 0, 0, 2),
};
const PEER: PeerId = PeerId::from_slot(0);

struct End {
    taps: Taps,
    tap: TapId,
    frames: Frames,
    drops: Drops,
}

impl End {
    fn new() -> Self {
        let mut taps = Taps::default();
        let tap = taps.add(TapConfig {
            peer: PEER,
            ends: ENDS,
            mtu: 1420,
            segment: None,
        });
        Self {
            taps,
            tap,
            frames: Frames::default(),
            drops: Drops::default(),
        }
    }

    fn take(&mut self, packet: &[u8]) -> Result<(), Drop> {
        let Self {
            taps,
            frames,
            drops,
            ..
        } = self;
        taps.decapsulate(PEER, packet, start(), frames, drops)
    }

    /// How many frames have come.
    fn count(&mut self) -> usize {
        self.frames.iter_mut().map(|(_, batch)| batch.len()).sum()
    }
}

/// What the other end makes of a frame.
fn packets(frame: &[u8]) -> Vec<Vec<u8>> {
    let ends = TapEnds {
        local: ENDS.remote,
        remote: ENDS.local,
    };
    let mut packets = Vec::new();
    Encapsulation::new(ends, 1420)
        .packets(frame, |packet| packets.push(packet.to_vec()))
        .unwrap();
    packets
}

#[test]
fn a_packet_is_what_the_rfcs_lay_out() {
    let packets = packets(&[0xaa; 1514]);
    let [first, last] = packets.as_slice() else {
        panic!("two fragments");
    };
    let head = [0x60, 0, 0, 0, 0x05, 0x60, 44, 64];
    assert_eq!(first[..8], head);
    assert_eq!(first[8..24], ENDS.remote.octets());
    assert_eq!(first[24..40], ENDS.local.octets());
    assert_eq!(first[40..44], [97, 0, 0, 1]);
    assert_eq!(first[48..50], [0x30, 0]);
    assert_eq!(last[40..44], [97, 0, 0x05, 0x58]);
    assert_eq!(first[44..48], last[44..48]);
    assert_eq!(first.len() + last.len(), 2 * 48 + 2 + 1514);
}

#[test]
fn what_is_cut_short_is_refused() {
    let mut end = End::new();
    for frame in [vec![2; 60], vec![2; 1514]] {
        let whole = &packets(&frame)[0];
        for length in 0..whole.len() {
            assert_eq!(end.take(&whole[..length]), Err(Drop::MalformedFrame));
        }
        for length in 0..14 {
            let mut short = packets(&[2; 14]).remove(0);
            outer::set_length(&mut short, 2 + length);
            assert_eq!(end.take(&short), Err(Drop::MalformedFrame));
        }
    }
    assert_eq!(end.count(), 0);
}

#[test]
fn another_version_or_a_reserved_bit_is_refused() {
    for header in [[0x20, 0], [0x40, 0], [0x31, 0], [0x30, 1]] {
        let mut packet = packets(&[2; 60]).remove(0);
        packet[40..42].copy_from_slice(&header);
        assert_eq!(End::new().take(&packet), Err(Drop::MalformedFrame));
    }
}

#[test]
fn packets_between_other_ends_or_of_others_are_refused() {
    let mut end = End::new();
    let packet = packets(&[2; 60]).remove(0);
    for at in [8, 23, 24, 39] {
        let mut other = packet.clone();
        other[at] ^= 1;
        assert_eq!(end.take(&other), Err(Drop::NoTap));
    }
    let stranger = PeerId::from_slot(1);
    let refused = end
        .taps
        .decapsulate(stranger, &packet, start(), &mut end.frames, &mut end.drops);
    assert_eq!(refused, Err(Drop::NoTap));
    assert_eq!(end.take(&packet), Ok(()));
    assert_eq!(end.count(), 1);
}

#[test]
fn what_replaces_a_tap_has_another_name() {
    let mut end = End::new();
    let config = end.taps.taps[&end.tap].config;
    let other = end.taps.add(config);
    assert_ne!(end.tap, other);
    assert_eq!(end.taps.peer(end.tap), None);
    assert_eq!(end.taps.peer(other), Some(PEER));
}

#[test]
fn other_packets_carry_no_frame() {
    let mut packet = packets(&[2; 1514]).remove(0);
    assert!(carries_frame(&packet));
    packet[40] = 17;
    assert!(!carries_frame(&packet), "a fragment of UDP");
    packet[6] = 17;
    assert!(!carries_frame(&packet));
    assert!(!carries_frame(&[]));
    assert!(!carries_frame(&[0x45; 60]));
}

proptest! {
    #[test]
    fn noise_is_no_frame_or_one_and_never_harms(
        length in 0..1600usize,
        flips in prop::collection::vec((0..60usize, any::<u8>()), 0..4),
        cut in 0..1600usize,
    ) {
        let mut end = End::new();
        for mut packet in packets(&vec![2; length.max(14)]) {
            for (at, by) in &flips {
                packet[*at % 56] ^= by;
            }
            packet.truncate(cut);
            let _ = end.take(&packet);
        }
        prop_assert!(end.count() <= 1);
    }
}
