use super::Link;
use super::protocol::{Family, Protocol};

/// `struct virtio_net_hdr` of Linux's `include/uapi/linux/virtio_net.h`, in the
/// machine's byte order, as a tun device has it unless told otherwise.
///
/// The default one says that a packet is complete as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    /// Bytes of all headers together; no more than a hint.
    pub(super) header_length: u16,
    /// Bytes of payload of each segment but the last.
    pub(super) segment_length: u16,
    /// Where the checksummed part begins, in bytes from the packet's start.
    pub(super) checksum_start: u16,
    /// Where the checksum is, in bytes from `checksum_start`.
    pub(super) checksum_offset: u16,
}

/// What a header says of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One packet.
    Single,
    /// A super-packet.
    Tcp(Family),
    Udp,
}

impl Header {
    /// Bytes of a header.
    pub const LENGTH: usize = 10;

    pub fn parse(bytes: &[u8; Self::LENGTH]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            header_length: u16::from_ne_bytes([a, b]),
            segment_length: u16::from_ne_bytes([c, d]),
            checksum_start: u16::from_ne_bytes([e, f]),
            checksum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let [a, b] = self.header_length.to_ne_bytes();
        let [c, d] = self.segment_length.to_ne_bytes();
        let [e, f] = self.checksum_start.to_ne_bytes();
        let [g, h] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// That of a super-packet without IP options or extension headers.
    pub(super) fn of_super_packet(
        link: Link,
        family: Family,
        protocol: Protocol,
        header_length: u16,
        segment_length: u16,
    ) -> Self {
        Self {
            flags: NEEDS_CHECKSUM,
            gso_type: match (protocol, family) {
                (Protocol::Tcp, Family::V4) => TCP_V4,
                (Protocol::Tcp, Family::V6) => TCP_V6,
                (Protocol::Udp, _) => UDP_L4,
            },
            header_length: link.header_length() + header_length,
            segment_length,
            checksum_start: link.header_length() + family.header_length(),
            checksum_offset: protocol.checksum_offset(),
        }
    }

    /// `None` for what the device was not asked to give.
    pub(super) fn kind(self) -> Option<Kind> {
        match self.gso_type {
            NONE => Some(Kind::Single),
            // That CWR is the first segment's alone (`ECN`) is always so.
            TCP_V4 | TCP_V4_ECN => Some(Kind::Tcp(Family::V4)),
            TCP_V6 | TCP_V6_ECN => Some(Kind::Tcp(Family::V6)),
            UDP_L4 => Some(Kind::Udp),
            _ => None,
        }
    }

    pub(super) const fn needs_checksum(self) -> bool {
        self.flags & NEEDS_CHECKSUM != 0
    }
}

/// The checksum field holds the sum of the pseudo header.
const NEEDS_CHECKSUM: u8 = 1;

const NONE: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP_L4: u8 = 5;
const ECN: u8 = 0x80;
const TCP_V4_ECN: u8 = TCP_V4 | ECN;
const TCP_V6_ECN: u8 = TCP_V6 | ECN;

#[cfg(test)]
mod tests {
    use super::Header;

    #[test]
    fn a_header_is_what_the_kernel_lays_out() {
        let mut bytes = [0; Header::LENGTH];
        bytes[0] = 1;
        bytes[1] = 4;
        for (field, value) in bytes[2..]
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip([72, 1420, 40, 16])
        {
            *field = u16::to_ne_bytes(value);
        }
        let header = Header {
            flags: 1,
            gso_type: 4,
            header_length: 72,
            segment_length: 1420,
            checksum_start: 40,
            checksum_offset: 16,
        };
        assert_eq!(Header::parse(&bytes), header);
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(Header::default().to_bytes(), [0; Header::LENGTH]);
    }
}
