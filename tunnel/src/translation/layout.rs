//! Where a packet has its addresses, and the checksums that cover them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Field;
use super::checksum::Difference;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// How much of a packet there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// As much as its header says.
    Whole,
    /// What an ICMP error quotes of it. Its length fields are not trusted:
    /// stacks have been known to quote them in their own byte order.
    Quote,
}

/// What a checksum of zero means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Just that.
    Always,
    /// The sender computed none (RFC 768); a computed zero is sent as 0xffff.
    ZeroIsNone,
}

/// An ICMP or `ICMPv6` error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IcmpError {
    /// Offset of its checksum.
    pub(super) checksum: usize,
    /// Offset of the packet it quotes.
    pub(super) quote: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) family: Family,
    /// Where the packet ends in its buffer.
    pub(super) end: usize,
    /// Whether the destination is the last one. On the way along a routing
    /// header the pseudo header has another (RFC 8200, §8.1).
    pub(super) is_final: bool,
    /// Protocol and offset; none in a later fragment, nor behind what is
    /// encrypted, unknown or cut off.
    transport: Option<(u8, usize)>,
}

/// Offset of the IPv4 header's own checksum.
pub(super) const V4_CHECKSUM: usize = 10;

impl Layout {
    /// `None` if the IP header is not whole.
    pub(super) fn of(packet: &[u8], extent: Extent) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_v4(packet, extent),
            6 => Self::of_v6(packet, extent),
            _ => None,
        }
    }

    fn of_v4(packet: &[u8], extent: Extent) -> Option<Self> {
        let fixed: &[u8; V4_HEADER] = packet.first_chunk()?;
        let header = usize::from(fixed[0] & 0x0f) * 4;
        let end = match extent {
            Extent::Whole => usize::from(u16::from_be_bytes([fixed[2], fixed[3]])),
            Extent::Quote => packet.len(),
        };
        if header < V4_HEADER || end < header || packet.len() < end {
            return None;
        }
        let offset = u16::from_be_bytes([fixed[6], fixed[7]]) & V4_FRAGMENT_OFFSET;
        Some(Self {
            family: Family::V4,
            end,
            is_final: true,
            transport: (offset == 0).then_some((fixed[9], header)),
        })
    }

    fn of_v6(packet: &[u8], extent: Extent) -> Option<Self> {
        let fixed: &[u8; V6_HEADER] = packet.first_chunk()?;
        let end = match extent {
            Extent::Whole => V6_HEADER + usize::from(u16::from_be_bytes([fixed[4], fixed[5]])),
            Extent::Quote => packet.len(),
        };
        let mut layout = Self {
            family: Family::V6,
            end,
            is_final: true,
            transport: None,
        };
        layout.transport = layout.walk(packet.get(..end)?, fixed[6]);
        Some(layout)
    }

    /// Follows the extension headers (RFC 8200, §4) to the transport.
    fn walk(&mut self, packet: &[u8], first: u8) -> Option<(u8, usize)> {
        let (mut next, mut at) = (first, V6_HEADER);
        for _ in 0..MOST_EXTENSIONS {
            let length = match next {
                HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => {
                    8 + usize::from(*packet.get(at + 1)?) * 8
                }
                FRAGMENT => 8,
                _ => return Some((next, at)),
            };
            let header = packet.get(at..at + length)?;
            if next == FRAGMENT
                && u16::from_be_bytes([header[2], header[3]]) & V6_FRAGMENT_OFFSET != 0
            {
                return None;
            }
            if next == ROUTING && header[SEGMENTS_LEFT] != 0 {
                self.is_final = false;
            }
            next = header[0];
            at += length;
        }
        None
    }

    pub(super) fn address(&self, packet: &[u8], field: Field) -> IpAddr {
        let at = self.offset(field);
        match self.family {
            Family::V4 => Ipv4Addr::from(octets(packet, at)).into(),
            Family::V6 => Ipv6Addr::from(octets(packet, at)).into(),
        }
    }

    /// Writes an address of the packet's own family.
    pub(super) fn replace(&self, packet: &mut [u8], field: Field, address: IpAddr) -> Difference {
        let at = self.offset(field);
        match address {
            IpAddr::V4(address) if self.family == Family::V4 => {
                write(packet, at, &address.octets())
            }
            IpAddr::V6(address) if self.family == Family::V6 => {
                write(packet, at, &address.octets())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Difference::default(),
        }
    }

    /// Offset and kind of a checksum that covers the pseudo header, if it is
    /// in the packet.
    pub(super) fn transport_checksum(&self, packet: &[u8]) -> Option<(usize, Checksum)> {
        let (protocol, at) = self.transport?;
        let (offset, kind) = match (protocol, self.family) {
            (TCP, _) => (16, Checksum::Always),
            (UDP | UDP_LITE, _) => (6, Checksum::ZeroIsNone),
            (DCCP, _) => (6, Checksum::Always),
            (ICMPV6, Family::V6) => (2, Checksum::Always),
            // SCTP and ICMP have checksums of their own bytes only.
            _ => return None,
        };
        (at + offset + 2 <= packet.len()).then_some((at + offset, kind))
    }

    pub(super) fn icmp_error(&self, packet: &[u8]) -> Option<IcmpError> {
        let (protocol, at) = self.transport?;
        let kind = *packet.get(at)?;
        let is_error = match (protocol, self.family) {
            (ICMP, Family::V4) => V4_ERRORS.contains(&kind),
            (ICMPV6, Family::V6) => V6_ERRORS.contains(&kind),
            _ => false,
        };
        (is_error && packet.len() > at + ICMP_HEADER).then_some(IcmpError {
            checksum: at + 2,
            quote: at + ICMP_HEADER,
        })
    }

    const fn offset(&self, field: Field) -> usize {
        match (self.family, field) {
            (Family::V4, Field::Source) => 12,
            (Family::V4, Field::Destination) => 16,
            (Family::V6, Field::Source) => 8,
            (Family::V6, Field::Destination) => 24,
        }
    }
}

fn octets<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(&packet[at..at + N]);
    octets
}

fn write(packet: &mut [u8], at: usize, new: &[u8]) -> Difference {
    let old = &mut packet[at..at + new.len()];
    let change = Difference::between(old, new);
    old.copy_from_slice(new);
    change
}

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const ICMP_HEADER: usize = 8;
const V4_FRAGMENT_OFFSET: u16 = 0x1fff;
const V6_FRAGMENT_OFFSET: u16 = 0xfff8;
/// Offset in a routing header.
const SEGMENTS_LEFT: usize = 3;
/// More than any sensible sender writes: RFC 8200, §4.1 recommends each once,
/// and destination options twice.
const MOST_EXTENSIONS: usize = 8;
/// Destination unreachable, source quench, redirect, time exceeded, parameter
/// problem (RFC 792).
const V4_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
/// Destination unreachable, packet too big, time exceeded, parameter problem
/// (RFC 4443).
const V6_ERRORS: [u8; 4] = [1, 2, 3, 4];

const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const UDP_LITE: u8 = 136;
