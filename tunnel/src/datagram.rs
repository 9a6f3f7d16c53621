//! The plain-text head of a WireGuard message (WireGuard paper, §5.4).

/// What a datagram says of itself before anything is decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datagram {
    Initiation,
    Response { receiver: u32 },
    CookieReply { receiver: u32 },
    Data { receiver: u32, counter: u64 },
}

impl Datagram {
    /// Reads the head; `None` for anything that is not a WireGuard message.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = u32_at(bytes, 0)?;
        match (kind, bytes.len()) {
            (1, INITIATION) => Some(Self::Initiation),
            (2, RESPONSE) => Some(Self::Response {
                receiver: u32_at(bytes, 8)?,
            }),
            (3, COOKIE_REPLY) => Some(Self::CookieReply {
                receiver: u32_at(bytes, 4)?,
            }),
            (4, DATA_OVERHEAD..=LONGEST) => Some(Self::Data {
                receiver: u32_at(bytes, 4)?,
                counter: u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?),
            }),
            _ => None,
        }
    }
}

/// Bytes a sealed packet is longer than the packet: type, receiver, counter
/// and the Poly1305 tag.
pub(crate) const DATA_OVERHEAD: usize = 32;
/// Bytes of a handshake initiation, the longest message without a packet.
pub(crate) const INITIATION: usize = 148;
const RESPONSE: usize = 92;
/// No UDP datagram is longer, and none that came by a session has to be.
const LONGEST: usize = 65_535;
const COOKIE_REPLY: usize = 64;

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}
