//! Where headers have what segments differ in.

use std::ops::Range;

use crate::checksum::{fold, sum};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Family {
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// Bytes of the header without options or extension headers.
    pub(super) const fn header_length(self) -> u16 {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    pub(super) const fn addresses(self) -> Range<usize> {
        match self {
            Self::V4 => 12..20,
            Self::V6 => 8..40,
        }
    }

    /// Whether two packets of this family have both addresses in common.
    pub(super) fn has_same_addresses(self, one: &[u8], other: &[u8]) -> bool {
        // Of known lengths, as comparing others costs a call.
        match self {
            Self::V4 => one[12..20] == other[12..20],
            Self::V6 => one[8..40] == other[8..40],
        }
    }

    /// Makes an IP header tell its packet's length, in bytes and header
    /// included.
    pub(super) fn set_length(self, header: &mut [u8], length: u16) {
        match self {
            Self::V4 => {
                put(header, V4_LENGTH, length);
                put(header, V4_CHECKSUM, 0);
                put(header, V4_CHECKSUM, !sum(header));
            }
            Self::V6 => put(
                header,
                V6_LENGTH,
                length.saturating_sub(self.header_length()),
            ),
        }
    }

    /// The sum of the pseudo header (RFC 9293, §3.1; RFC 8200, §8.1) of a
    /// packet without routing header; `length` is that of the transport's
    /// header and payload in bytes.
    pub(super) fn pseudo_header(self, packet: &[u8], protocol: Protocol, length: u16) -> u16 {
        let addresses = sum(&packet[self.addresses()]);
        fold(u64::from(addresses) + u64::from(protocol.number()) + u64::from(length))
    }
}

impl Protocol {
    pub(super) const fn of(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// From the start of the transport's header.
    pub(super) const fn checksum_offset(self) -> u16 {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// The 16-bit field at this offset, which is in the bytes.
pub(super) fn get(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Of header and payload.
pub(super) const V4_LENGTH: usize = 2;
pub(super) const V4_ID: usize = 4;
/// Of reserved bit, DF, MF and the fragment's offset.
pub(super) const V4_FRAGMENT: usize = 6;
pub(super) const V4_DONT_FRAGMENT: u16 = 0x4000;
pub(super) const V4_PROTOCOL: usize = 9;
const V4_CHECKSUM: usize = 10;
/// Of extension headers and payload.
pub(super) const V6_LENGTH: usize = 4;
pub(super) const V6_NEXT_HEADER: usize = 6;

pub(super) const TCP_SEQUENCE: usize = 4;
pub(super) const TCP_ACKNOWLEDGEMENT: usize = 8;
/// Of the header's length in words and four reserved bits.
pub(super) const TCP_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_WINDOW: usize = 14;
pub(super) const TCP_URGENT: usize = 18;
pub(super) const TCP_HEADER: usize = 20;

pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const CWR: u8 = 0x80;

pub(super) const UDP_LENGTH: usize = 4;
pub(super) const UDP_CHECKSUM: usize = 6;
pub(super) const UDP_HEADER: usize = 8;
