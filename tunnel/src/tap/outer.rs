//! The packets that carry frames: EtherIP (RFC 3378) in IPv6 (RFC 8200), whole
//! or in fragments.

use std::net::Ipv6Addr;

use super::TapEnds;

/// A packet that came through the tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outer<'a> {
    /// As its receiver sees them.
    pub(super) ends: TapEnds,
    pub(super) part: Part<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// An EtherIP header, and a frame.
    Whole(&'a [u8]),
    Fragment(Fragment<'a>),
}

/// Some of an EtherIP header and a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) is_last: bool,
    pub(super) data: &'a [u8],
}

/// Whether a packet is one of a tap's.
pub(crate) fn carries_frame(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
        && match packet.get(NEXT_HEADER) {
            Some(&ETHERIP) => true,
            Some(&FRAGMENT) => packet.get(IPV6_HEADER) == Some(&ETHERIP),
            Some(_) | None => false,
        }
}

impl<'a> Outer<'a> {
    /// `None` if it is cut short, or does not [`carries_frame`].
    pub(super) fn of(packet: &'a [u8]) -> Option<Self> {
        if !carries_frame(packet) {
            return None;
        }
        let header: &[u8; IPV6_HEADER] = packet.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let payload = packet.get(IPV6_HEADER..)?.get(..length)?;
        let part = if header[NEXT_HEADER] == ETHERIP {
            Part::Whole(payload)
        } else {
            let (header, data) = payload.split_first_chunk::<FRAGMENT_HEADER>()?;
            let [_, _, a, b, id @ ..] = *header;
            let field = u16::from_be_bytes([a, b]);
            Part::Fragment(Fragment {
                id: u32::from_be_bytes(id),
                offset: usize::from(field & OFFSET),
                is_last: field & MORE == 0,
                data,
            })
        };
        let source: &[u8; 16] = header[8..].first_chunk()?;
        let destination: &[u8; 16] = header[24..].first_chunk()?;
        Some(Self {
            ends: TapEnds {
                local: Ipv6Addr::from(*destination),
                remote: Ipv6Addr::from(*source),
            },
            part,
        })
    }
}

/// The frame behind an EtherIP header; `None` if either is cut short, or the
/// header's version is another.
pub(super) fn frame_of(payload: &[u8]) -> Option<&[u8]> {
    let frame = payload.strip_prefix(&ETHERIP_HEADER)?;
    (frame.len() >= SHORTEST_FRAME).then_some(frame)
}

/// The IPv6 header of packets between these ends but for the payload's length.
pub(super) fn header(ends: TapEnds) -> [u8; IPV6_HEADER] {
    let mut header = [0; IPV6_HEADER];
    header[0] = 0x60;
    header[NEXT_HEADER] = ETHERIP;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&ends.local.octets());
    header[24..].copy_from_slice(&ends.remote.octets());
    header
}

impl Fragment<'_> {
    /// Turns the header of a whole packet into those of this fragment.
    pub(super) fn headers(self, whole: [u8; IPV6_HEADER]) -> [u8; IPV6_HEADER + FRAGMENT_HEADER] {
        let mut headers = [0; IPV6_HEADER + FRAGMENT_HEADER];
        let (ipv6, fragment) = headers.split_at_mut(IPV6_HEADER);
        ipv6.copy_from_slice(&whole);
        ipv6[NEXT_HEADER] = FRAGMENT;
        set_length(ipv6, FRAGMENT_HEADER + self.data.len());
        // A payload has no more than 16 bits of length.
        let offset = u16::try_from(self.offset).unwrap_or(u16::MAX) & OFFSET;
        let more = if self.is_last { 0 } else { MORE };
        fragment[0] = ETHERIP;
        fragment[2..4].copy_from_slice(&(offset | more).to_be_bytes());
        fragment[4..].copy_from_slice(&self.id.to_be_bytes());
        headers
    }
}

/// Makes an IPv6 header tell the length of what follows it, in bytes.
pub(super) fn set_length(header: &mut [u8], length: usize) {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    header[4..6].copy_from_slice(&length.to_be_bytes());
}

pub(super) const IPV6_HEADER: usize = 40;
pub(super) const FRAGMENT_HEADER: usize = 8;
/// Version 3 and twelve reserved bits.
pub(super) const ETHERIP_HEADER: [u8; 2] = [0x30, 0];
/// Two addresses and a type.
pub(super) const SHORTEST_FRAME: usize = 14;

const NEXT_HEADER: usize = 6;
const ETHERIP: u8 = 97;
const FRAGMENT: u8 = 44;
const HOP_LIMIT: u8 = 64;
/// In units of eight bytes, so that it is one in bytes where it stands.
const OFFSET: u16 = 0xfff8;
const MORE: u16 = 1;
