//! The cases that have names.

use super::reference::{Body, Fragment, Packet};
use super::*;
use crate::Drop;

const HOST: &str = "10.75.0.2";
const TRUE: &str = "172.18.0.2";
const MAPPED: &str = "10.254.0.2";
const HOST_V6: &str = "fd75::2";
const TRUE_V6: &str = "fd00:1::2";
const MAPPED_V6: &str = "fd7a:5::2";

fn udp() -> Body {
    Body::Udp(b"hello".to_vec())
}

fn tcp() -> Body {
    Body::Tcp(b"hello".to_vec())
}

fn goes_out(before: &Packet, after: &Packet) {
    let out = translated(&before.bytes(), Direction::Outbound);
    assert_eq!(out, after.bytes());
}

fn comes_in(before: &Packet, after: &Packet) {
    let inside = translated(&before.bytes(), Direction::Inbound);
    assert_eq!(inside, after.bytes());
}

fn error(from: &str, to: &str, kind: u8, quoted: Packet, length: usize) -> Packet {
    Packet::new(from, to, Body::Error(kind, Box::new(quoted), length))
}

#[test]
fn the_host_keeps_its_offset_in_the_prefix() {
    goes_out(
        &Packet::new(HOST, "10.253.11.255", tcp()),
        &Packet::new(HOST, "172.19.7.255", tcp()),
    );
    comes_in(
        &Packet::new(TRUE_V6, HOST_V6, tcp()),
        &Packet::new(MAPPED_V6, HOST_V6, tcp()),
    );
}

#[test]
fn only_the_peers_own_address_is_translated() {
    let packet = Packet::new("10.254.0.7", "192.0.2.1", udp());
    goes_out(&packet, &packet);
    comes_in(
        &Packet::new(TRUE, "172.18.0.9", udp()),
        &Packet::new(MAPPED, "172.18.0.9", udp()),
    );
    comes_in(
        &Packet::new(TRUE, "224.0.0.251", udp()),
        &Packet::new(MAPPED, "224.0.0.251", udp()),
    );
}

#[test]
fn a_quote_of_eight_bytes_has_no_tcp_checksum_to_correct() {
    comes_in(
        &error("172.18.0.1", HOST, 11, Packet::new(HOST, TRUE, tcp()), 28),
        &error("10.254.0.1", HOST, 11, Packet::new(HOST, MAPPED, tcp()), 28),
    );
    comes_in(
        &error(TRUE, HOST, 3, Packet::new(HOST, TRUE, udp()), 28),
        &error(MAPPED, HOST, 3, Packet::new(HOST, MAPPED, udp()), 28),
    );
}

#[test]
fn an_error_of_a_router_elsewhere_quotes_the_mapped_address() {
    comes_in(
        &error("192.0.2.1", HOST, 3, Packet::new(HOST, TRUE, tcp()), 60),
        &error("192.0.2.1", HOST, 3, Packet::new(HOST, MAPPED, tcp()), 60),
    );
    goes_out(
        &error(HOST, "10.75.0.1", 3, Packet::new(MAPPED, HOST, udp()), 60),
        &error(HOST, "10.75.0.1", 3, Packet::new(TRUE, HOST, udp()), 60),
    );
}

#[test]
fn packet_too_big_quotes_the_mapped_address() {
    comes_in(
        &error(
            TRUE_V6,
            HOST_V6,
            2,
            Packet::new(HOST_V6, TRUE_V6, tcp()),
            1232,
        ),
        &error(
            MAPPED_V6,
            HOST_V6,
            2,
            Packet::new(HOST_V6, MAPPED_V6, tcp()),
            1232,
        ),
    );
}

#[test]
fn an_echo_is_no_error_whatever_it_carries() {
    let carried = Packet::new(HOST, TRUE, udp()).bytes();
    comes_in(
        &Packet::new(TRUE, HOST, Body::Echo(carried.clone())),
        &Packet::new(MAPPED, HOST, Body::Echo(carried)),
    );
}

#[test]
fn options_and_extension_headers_are_stepped_over() {
    let v4 = |destination| Packet {
        options: 10,
        ..Packet::new(HOST, destination, tcp())
    };
    goes_out(&v4(MAPPED), &v4(TRUE));
    let v6 = |destination| Packet {
        extensions: vec![(0, 0), (43, 2), (60, 1)],
        ..Packet::new(HOST_V6, destination, tcp())
    };
    goes_out(&v6(MAPPED_V6), &v6(TRUE_V6));
}

#[test]
fn a_chain_of_headers_without_end_is_not_followed() {
    let long = |destination| Packet {
        extensions: vec![(60, 0); 20],
        ..Packet::new(HOST_V6, destination, tcp())
    };
    let before = long(MAPPED_V6).bytes();
    let after = translated(&before, Direction::Outbound);
    assert_eq!(after[..40], long(TRUE_V6).bytes()[..40]);
    assert_eq!(after[40..], before[40..]);
}

#[test]
fn on_its_way_along_a_route_the_checksum_covers_another_destination() {
    let mut packet = Packet {
        extensions: vec![(43, 2)],
        ..Packet::new(HOST_V6, MAPPED_V6, tcp())
    }
    .bytes();
    packet[43] = 1;
    let after = translated(&packet, Direction::Outbound);
    assert_eq!(
        after[24..40],
        [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    );
    assert_eq!(after[40..], packet[40..]);
}

#[test]
fn of_fragments_only_the_first_has_a_checksum() {
    for first in [true, false] {
        let fragment = |source| Packet {
            fragment: Some(Fragment { first, length: 24 }),
            ..Packet::new(source, HOST, udp())
        };
        comes_in(&fragment(TRUE), &fragment(MAPPED));
        let fragment = |source| Packet {
            fragment: Some(Fragment { first, length: 24 }),
            ..Packet::new(source, HOST_V6, tcp())
        };
        comes_in(&fragment(TRUE_V6), &fragment(MAPPED_V6));
    }
}

#[test]
fn udp_without_a_checksum_gets_none() {
    let packet = |source| Packet::new(source, HOST, Body::UdpWithoutChecksum(vec![1, 2, 3]));
    comes_in(&packet(TRUE), &packet(MAPPED));
}

#[test]
fn a_computed_zero_is_sent_as_all_ones() {
    let with = |source, word: u16| Packet::new(source, HOST, Body::Udp(word.to_be_bytes().into()));
    let all_ones = |packet: &Packet| packet.bytes()[26..28] == [0xff, 0xff];
    let words = || 0..=u16::MAX;
    let word = words().find(|word| all_ones(&with(MAPPED, *word))).unwrap();
    comes_in(&with(TRUE, word), &with(MAPPED, word));
    let word = words().find(|word| all_ones(&with(TRUE, *word))).unwrap();
    comes_in(&with(TRUE, word), &with(MAPPED, word));
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut packet = Packet::new(TRUE, HOST, tcp()).bytes();
    packet[36] ^= 0x40;
    let after = translated(&packet, Direction::Inbound);
    let right = Packet::new(MAPPED, HOST, tcp()).bytes();
    assert_ne!(after[36..38], right[36..38]);
    assert_eq!(after[..36], right[..36]);
}

#[test]
fn what_lies_behind_the_packet_is_not_touched() {
    let mut padded = Packet::new(TRUE, HOST, Body::Tcp(Vec::new())).bytes();
    padded[3] -= 10;
    let after = translated(&padded, Direction::Inbound);
    assert_eq!(after[20..], padded[20..]);
    assert_eq!(after[12..16], [10, 254, 0, 2]);
}

#[test]
fn without_a_whole_header_nothing_is_translated() {
    let whole = Packet::new(TRUE, HOST, tcp()).bytes();
    let mut short_header = whole.clone();
    short_header[0] = 0x44;
    let mut lying = whole.clone();
    lying[3] = 100;
    for mut packet in [Vec::new(), whole[..19].to_vec(), short_header, lying] {
        let before = packet.clone();
        let refused = translate(&mut packet, Direction::Inbound, |_| Some([0; 4].into()));
        assert_eq!(refused, Err(Drop::Untranslatable));
        assert_eq!(packet, before);
    }
}

#[test]
fn pairs_of_unequal_size_or_family_mean_nothing() {
    let unequal = [
        ("172.18.0.0/16", "10.0.0.0/17"),
        ("fd00:1::/64", "fd00::/63"),
        ("10.0.0.0/16", "fd00::/16"),
    ];
    let unequal = unequal.map(|(truth, mapped)| (truth.parse().unwrap(), mapped.parse().unwrap()));
    assert!(Pairs::new(&unequal.into()).is_empty());
}
