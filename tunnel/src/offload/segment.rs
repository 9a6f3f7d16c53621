use super::header::Kind;
use super::protocol::{
    CWR, FIN, Family, PSH, Protocol, TCP_FLAGS, TCP_HEADER, TCP_OFFSET, TCP_SEQUENCE, UDP_CHECKSUM,
    UDP_HEADER, UDP_LENGTH, V4_DONT_FRAGMENT, V4_FRAGMENT, V4_ID, V4_PROTOCOL, get, get_u32, put,
    put_u32,
};
use super::{Header, Link};
use crate::checksum::{fold, sum};

/// A header and a packet that cannot belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the offload header does not fit its packet")]
pub struct Malformed;

/// Splits one read of the device into packets as a device without offloads
/// would have given them, with complete checksums.
///
/// Each packet is lent to `each`, who may write to it: segments are built in
/// place, a packet's headers over payload of the one before. `scratch` is
/// memory to be used again.
///
/// # Errors
/// [`Malformed`], before `each` is called for the first time.
pub fn segment(
    link: Link,
    header: Header,
    packet: &mut [u8],
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&mut [u8]),
) -> Result<(), Malformed> {
    if header.kind() == Some(Kind::Single) {
        if header.needs_checksum() {
            let start = usize::from(header.checksum_start);
            complete(packet, start, header.checksum_offset.into()).ok_or(Malformed)?;
        }
        each(packet);
        return Ok(());
    }
    let super_packet = SuperPacket::of(link, header, packet).ok_or(Malformed)?;
    let headers = super_packet.headers;
    scratch.clear();
    scratch.extend_from_slice(&packet[..headers]);
    let mut at = headers;
    for index in 0.. {
        let end = packet
            .len()
            .min(at + usize::from(super_packet.segment_length));
        let is_last = end == packet.len();
        let segment = &mut packet[at - headers..end];
        segment[..headers].copy_from_slice(scratch);
        super_packet.finish(segment, index, is_last);
        each(segment);
        if is_last {
            break;
        }
        at = end;
    }
    Ok(())
}

/// Where a super-packet has what.
#[derive(Debug, Clone, Copy)]
struct SuperPacket {
    family: Family,
    protocol: Protocol,
    /// Offset of the IP header.
    network: usize,
    /// Offset of the transport's header.
    transport: usize,
    /// Bytes of all headers together.
    headers: usize,
    segment_length: u16,
    /// The sum of the pseudo header but for the length.
    pseudo_header: u64,
}

impl SuperPacket {
    fn of(link: Link, header: Header, frame: &[u8]) -> Option<Self> {
        let network = link.network(frame)?;
        let packet = &frame[network..];
        let family = Family::of(packet)?;
        let protocol = match header.kind()? {
            Kind::Tcp(claimed) if claimed == family => Protocol::Tcp,
            Kind::Udp => Protocol::Udp,
            Kind::Single | Kind::Tcp(_) => return None,
        };
        let transport = usize::from(header.checksum_start);
        let network_length = transport.checked_sub(network)?;
        let transport_header = frame.get(transport..)?;
        let headers = transport + transport_header_length(protocol, transport_header)?;
        let length = u16::try_from(packet.len()).ok()?;
        let transport_length = length.checked_sub(u16::try_from(network_length).ok()?)?;
        let is_sound = header.needs_checksum()
            && header.segment_length != 0
            && header.checksum_offset == protocol.checksum_offset()
            && is_whole(family, protocol, packet, network_length);
        if !is_sound {
            return None;
        }
        let pseudo_header = get(transport_header, protocol.checksum_offset().into());
        Some(Self {
            family,
            protocol,
            network,
            transport,
            headers,
            segment_length: header.segment_length,
            // Taken from the packet and not computed, as behind a routing
            // header it is that of another destination.
            pseudo_header: u64::from(pseudo_header) + u64::from(!transport_length),
        })
    }

    /// Turns a copy of the super-packet's headers into those of a segment.
    fn finish(&self, segment: &mut [u8], index: u16, is_last: bool) {
        let packet = &mut segment[self.network..];
        // No longer than the super-packet.
        let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
        let (network, transport) = packet.split_at_mut(self.transport - self.network);
        if self.family == Family::V4 {
            // As the kernel's inet_gso_segment.
            let id = get(network, V4_ID).wrapping_add(index);
            put(network, V4_ID, id);
        }
        self.family.set_length(network, length);
        let transport_length = u16::try_from(transport.len()).unwrap_or(u16::MAX);
        match self.protocol {
            Protocol::Tcp => self.finish_tcp(transport, index, is_last),
            Protocol::Udp => put(transport, UDP_LENGTH, transport_length),
        }
        let checksum = usize::from(self.protocol.checksum_offset());
        let pseudo_header = fold(self.pseudo_header + u64::from(transport_length));
        put(transport, checksum, pseudo_header);
        complete(transport, 0, checksum);
    }

    /// As the kernel's `tcp_gso_segment`.
    fn finish_tcp(&self, tcp: &mut [u8], index: u16, is_last: bool) {
        let behind = u32::from(index) * u32::from(self.segment_length);
        let sequence = get_u32(tcp, TCP_SEQUENCE).wrapping_add(behind);
        put_u32(tcp, TCP_SEQUENCE, sequence);
        if !is_last {
            tcp[TCP_FLAGS] &= !(FIN | PSH);
        }
        if index != 0 {
            tcp[TCP_FLAGS] &= !CWR;
        }
    }
}

/// `None` if it is cut short.
fn transport_header_length(protocol: Protocol, header: &[u8]) -> Option<usize> {
    match protocol {
        Protocol::Tcp => {
            let length = usize::from(header.get(TCP_OFFSET)? >> 4) * 4;
            (length >= TCP_HEADER && header.len() >= length).then_some(length)
        }
        Protocol::Udp => (header.len() >= UDP_HEADER).then_some(UDP_HEADER),
    }
}

/// Whether the transport begins where told, and all of it is here.
fn is_whole(family: Family, protocol: Protocol, packet: &[u8], transport: usize) -> bool {
    if packet.len() < family.header_length().into() {
        return false;
    }
    match family {
        Family::V4 => {
            usize::from(packet[0] & 0x0f) * 4 == transport
                && transport >= family.header_length().into()
                && packet[V4_PROTOCOL] == protocol.number()
                && get(packet, V4_FRAGMENT) & !V4_DONT_FRAGMENT == 0
        }
        // Behind whatever extension headers there are.
        Family::V6 => transport >= family.header_length().into(),
    }
}

/// Replaces the sum of the pseudo header by the checksum of all from `start`.
/// `None` if it would lie outside.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let part = packet.get_mut(start..)?;
    part.get(offset..offset + 2)?;
    let checksum = match !sum(part) {
        // RFC 768.
        0 if offset == UDP_CHECKSUM => 0xffff,
        checksum => checksum,
    };
    put(part, offset, checksum);
    Some(())
}
