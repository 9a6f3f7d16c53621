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
    /// Where the checksum is, in bytes from [`Self::checksum_start`].
    pub(super) checksum_offset: u16,
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
}
