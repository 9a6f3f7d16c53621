use std::ops::Range;

use super::flow::{Flow, Segment, addresses};
use super::protocol::{
    Family, PSH, Protocol, TCP_ACKNOWLEDGEMENT, TCP_FLAGS, TCP_SEQUENCE, TCP_URGENT, TCP_WINDOW,
    UDP_LENGTH, V4_DONT_FRAGMENT, V4_FRAGMENT, V4_ID, get, get_u32, put,
};
use super::{Header, Link};

/// A super-packet in the making; until the second packet just a packet.
#[derive(Debug)]
pub(super) struct Group {
    /// Which write it will be.
    pub(super) write: usize,
    flow: Flow,
    /// Its first IP packet, with the headers of all; what the link has of them
    /// lies before it.
    first: Range<usize>,
    headers: u16,
    segment_length: u16,
    /// In bytes, headers included.
    length: u16,
    count: u16,
    /// Whether the checksums of all its packets are known to be right.
    is_intact: bool,
    /// Whether the last packet has PSH.
    is_pushed: bool,
}

/// What became of a packet of a group's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Joined {
        write: usize,
        is_complete: bool,
    },
    /// It can be the first of another group.
    Apart {
        is_intact: bool,
    },
    /// A checksum is wrong; so it is written alone.
    Corrupt,
}

impl Group {
    /// `None` if nothing can come after its first packet.
    pub(super) fn new(
        write: usize,
        flow: Flow,
        first: Range<usize>,
        segment: Segment,
        is_intact: bool,
    ) -> Option<Self> {
        let length = segment.headers.checked_add(segment.payload)?;
        (!segment.is_last).then_some(Self {
            write,
            flow,
            headers: segment.headers,
            segment_length: segment.payload,
            length,
            count: 1,
            is_intact,
            is_pushed: false,
            first,
        })
    }

    pub(super) fn is_of(
        &self,
        flow: Flow,
        link_header: &[u8],
        packet: &[u8],
        bytes: &[u8],
    ) -> bool {
        self.flow == flow
            && flow.family.has_same_addresses(packet, self.first(bytes))
            && bytes[..self.first.start].ends_with(link_header)
    }

    /// Whether a packet that has these addresses may belong to it.
    pub(super) fn is_between(&self, others: &[u8], bytes: &[u8]) -> bool {
        addresses(self.first(bytes)) == Some(others)
    }

    /// Appends the next packet of the flow, if the kernel would, too
    /// (`inet_gro_flush`, `tcp_gro_receive`, `udp_gro_receive_segment`).
    pub(super) fn join(&mut self, packet: &[u8], segment: Segment, bytes: &[u8]) -> Fit {
        let first = self.first(bytes);
        let length = match self.length.checked_add(segment.payload) {
            Some(length) if self.suits(first, packet, segment) => length,
            Some(_) | None => return Fit::Apart { is_intact: false },
        };
        if !self.flow.is_intact(packet) {
            return Fit::Corrupt;
        }
        if !self.is_intact && !self.flow.is_intact(first) {
            return Fit::Apart { is_intact: true };
        }
        self.is_intact = true;
        self.length = length;
        self.count += 1;
        self.is_pushed = segment.is_last;
        Fit::Joined {
            write: self.write,
            is_complete: segment.is_last
                || segment.payload < self.segment_length
                || self.count == MOST_SEGMENTS,
        }
    }

    fn suits(&self, first: &[u8], packet: &[u8], segment: Segment) -> bool {
        segment.headers == self.headers
            && segment.payload <= self.segment_length
            && self.suits_network(first, packet)
            && match self.flow.protocol {
                Protocol::Tcp => self.suits_tcp(first, packet),
                Protocol::Udp => true,
            }
    }

    fn suits_network(&self, first: &[u8], packet: &[u8]) -> bool {
        match self.flow.family {
            // Type of service, fragmentation, TTL.
            Family::V4 => {
                first[1] == packet[1]
                    && first[V4_FRAGMENT..9] == packet[V4_FRAGMENT..9]
                    // Nobody reads the ID where DF is set (RFC 6864, §4.1).
                    && (get(packet, V4_FRAGMENT) & V4_DONT_FRAGMENT != 0
                        || get(packet, V4_ID) == get(first, V4_ID).wrapping_add(self.count))
            }
            // Traffic class, flow label, hop limit.
            Family::V6 => first[..4] == packet[..4] && first[7] == packet[7],
        }
    }

    fn suits_tcp(&self, first: &[u8], packet: &[u8]) -> bool {
        let transport = usize::from(self.flow.family.header_length());
        let headers = usize::from(self.headers);
        let (first, packet) = (&first[transport..headers], &packet[transport..headers]);
        let behind = u32::from(self.length - self.headers);
        let expected = get_u32(first, TCP_SEQUENCE).wrapping_add(behind);
        let acknowledgement = TCP_ACKNOWLEDGEMENT..TCP_ACKNOWLEDGEMENT + 4;
        let window = TCP_WINDOW..TCP_WINDOW + 2;
        get_u32(packet, TCP_SEQUENCE) == expected
            && first[acknowledgement.clone()] == packet[acknowledgement]
            && first[window.clone()] == packet[window]
            && first[TCP_URGENT..] == packet[TCP_URGENT..]
    }

    /// Makes the first packet's headers those of the super-packet, if it is
    /// one.
    pub(super) fn finish(&self, link: Link, bytes: &mut [u8]) -> Header {
        if self.count == 1 {
            return Header::default();
        }
        let Flow {
            family, protocol, ..
        } = self.flow;
        let headers = &mut bytes[self.first.start..][..self.headers.into()];
        family.set_length(&mut headers[..family.header_length().into()], self.length);
        let transport_length = self.length - family.header_length();
        let pseudo_header = family.pseudo_header(headers, protocol, transport_length);
        let transport = &mut headers[family.header_length().into()..];
        match protocol {
            Protocol::Tcp if self.is_pushed => transport[TCP_FLAGS] |= PSH,
            Protocol::Tcp => {}
            Protocol::Udp => put(transport, UDP_LENGTH, transport_length),
        }
        put(transport, protocol.checksum_offset().into(), pseudo_header);
        Header::of_super_packet(link, family, protocol, self.headers, self.segment_length)
    }

    fn first<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.first.clone()]
    }
}

/// `UDP_GRO_CNT_MAX` of the kernel's `net/ipv4/udp_offload.c`; of TCP at a
/// usual MTU fewer fill a packet.
pub(super) const MOST_SEGMENTS: u16 = 64;
