//! Ethernet frames are what their packets are, behind a header.

use super::packet::{Packet, V4, V6};
use super::{segments, segments_of, writes};
use crate::offload::{Coalescer, Header, Link, Malformed, Merge};

const TAG: [u8; 4] = [0x81, 0, 0, 7];

fn link_header(packet: &[u8], station: u8, tags: usize) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 4 {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    };
    let addresses = [2, 0, 0, 0, 0, station, 2, 0, 0, 0, 0, 9];
    [&addresses[..], &TAG.repeat(tags), &kind].concat()
}

fn framed(packets: &[Vec<u8>], station: u8, tags: usize) -> Vec<Vec<u8>> {
    let frame = |packet: &Vec<u8>| [link_header(packet, station, tags), packet.clone()].concat();
    packets.iter().map(frame).collect()
}

/// The header of the same packet behind so many bytes.
fn behind(link: u16, header: Header) -> Header {
    Header {
        header_length: header.header_length + link,
        checksum_start: header.checksum_start + link,
        ..header
    }
}

fn super_packets() -> Vec<Packet> {
    let payload: Vec<u8> = (0..=255).cycle().take(3333).collect();
    let kinds = [Packet::tcp, Packet::udp];
    let of_kind = |kind: fn(_, _) -> Packet| [V4, V6].map(|family| kind(family, payload.clone()));
    kinds.into_iter().flat_map(of_kind).collect()
}

fn coalescer() -> Coalescer {
    Coalescer::new(Link::Ethernet, Merge::TcpAndUdp)
}

#[test]
fn a_super_frame_becomes_frames_whatever_its_tags() {
    for packet in super_packets() {
        for tags in 0..3 {
            let (header, bytes) = packet.super_packet(1420);
            let frame = framed(std::slice::from_ref(&bytes), 1, tags).concat();
            let length = u16::try_from(14 + 4 * tags).unwrap();
            let split = segments_of(Link::Ethernet, behind(length, header), &frame).unwrap();
            assert_eq!(split, framed(&segments(header, &bytes).unwrap(), 1, tags));
        }
    }
}

#[test]
fn a_checksum_within_a_frame_is_completed() {
    let packet = Packet::udp(V6, vec![7; 300]);
    let (header, bytes) = packet.super_packet(0);
    let single = behind(
        14,
        Header {
            gso_type: 0,
            ..header
        },
    );
    let frame = framed(&[bytes], 1, 0).concat();
    assert_eq!(
        segments_of(Link::Ethernet, single, &frame),
        Ok(framed(&[packet.bytes()], 1, 0))
    );
}

#[test]
fn frames_become_the_super_frame_they_are_of() {
    for packet in super_packets() {
        let (header, bytes) = packet.super_packet(1420);
        let parts = framed(&segments(header, &bytes).unwrap(), 1, 0);
        assert_eq!(
            writes(&mut coalescer(), &parts),
            [(behind(14, header), framed(&[bytes], 1, 0).concat())]
        );
    }
}

#[test]
fn frames_to_different_stations_stay_apart() {
    let (header, bytes) = Packet::tcp(V4, vec![7; 300]).super_packet(100);
    let mut parts = framed(&segments(header, &bytes).unwrap(), 1, 0);
    parts[1][5] = 2;
    let alone: Vec<_> = parts
        .iter()
        .map(|it| (Header::default(), it.clone()))
        .collect();
    assert_eq!(writes(&mut coalescer(), &parts), alone);
}

#[test]
fn what_is_tagged_padded_or_no_ip_is_written_as_it_is() {
    let (header, bytes) = Packet::tcp(V4, vec![7; 300]).super_packet(100);
    let split = segments(header, &bytes).unwrap();
    let mut parts = framed(&split, 1, 1);
    for mut padded in framed(&split, 1, 0) {
        padded.extend([0; 3]);
        parts.push(padded);
    }
    parts.extend((0..20).map(|length| vec![8; length]));
    parts.push([&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 28]].concat());
    let alone: Vec<_> = parts
        .iter()
        .map(|it| (Header::default(), it.clone()))
        .collect();
    assert_eq!(writes(&mut coalescer(), &parts), alone);
}

#[test]
fn a_super_frame_without_a_packet_is_malformed() {
    let (header, bytes) = Packet::tcp(V4, vec![7; 300]).super_packet(100);
    let mut frame = framed(&[bytes], 1, 0).concat();
    frame[12..14].copy_from_slice(&[8, 6]);
    for length in 0..frame.len() {
        let split = segments_of(Link::Ethernet, behind(14, header), &frame[..length]);
        assert_eq!(split, Err(Malformed));
    }
}
