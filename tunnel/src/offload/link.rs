use super::protocol::{Family, get};

/// What lies before the IP packet in a read or write of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// Nothing: a tun device.
    #[default]
    Ip,
    /// An Ethernet header: a tap device.
    Ethernet,
}

impl Link {
    /// Bytes of an untagged header.
    pub const fn header_length(self) -> u16 {
        match self {
            Self::Ip => 0,
            Self::Ethernet => ETHERNET_HEADER,
        }
    }

    /// Where the IP packet begins, in bytes from the frame's start and behind
    /// what VLAN tags there are; `None` if there is none.
    pub(super) fn network(self, frame: &[u8]) -> Option<usize> {
        match self {
            Self::Ip => Some(0),
            Self::Ethernet => network_of_frame(frame),
        }
    }

    /// The IP packet; nothing if there is none.
    pub(crate) fn packet(self, frame: &[u8]) -> &[u8] {
        let start = self.network(frame).unwrap_or(frame.len());
        frame.get(start..).unwrap_or_default()
    }
}

fn network_of_frame(frame: &[u8]) -> Option<usize> {
    let mut start = usize::from(ETHERNET_HEADER);
    for _ in 0..=MOST_TAGS {
        let packet = frame.get(start..)?;
        let family = match get(frame, start - 2) {
            TAG | SERVICE_TAG => {
                start += TAG_LENGTH;
                continue;
            }
            V4 => Family::V4,
            V6 => Family::V6,
            _ => return None,
        };
        return (Family::of(packet) == Some(family)).then_some(start);
    }
    None
}

/// Two addresses and a type.
const ETHERNET_HEADER: u16 = 14;
const TAG_LENGTH: usize = 4;
/// A customer's within a provider's (IEEE 802.1ad).
const MOST_TAGS: usize = 2;

const V4: u16 = 0x0800;
const V6: u16 = 0x86dd;
const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

#[cfg(test)]
mod tests {
    use super::Link;

    fn frame(types: &[u16], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for (index, kind) in types.iter().enumerate() {
            if index > 0 {
                frame.extend([0, 7]);
            }
            frame.extend(kind.to_be_bytes());
        }
        frame.extend(packet);
        frame
    }

    #[test]
    fn packets_are_found_behind_tags() {
        let network = |types: &[u16], first| Link::Ethernet.network(&frame(types, &[first, 0]));
        assert_eq!(network(&[0x0800], 0x45), Some(14));
        assert_eq!(network(&[0x86dd], 0x60), Some(14));
        assert_eq!(network(&[0x8100, 0x0800], 0x45), Some(18));
        assert_eq!(network(&[0x88a8, 0x8100, 0x86dd], 0x60), Some(22));
    }

    #[test]
    fn what_is_no_packet_is_none() {
        let network = |types: &[u16], first| Link::Ethernet.network(&frame(types, &[first, 0]));
        assert_eq!(network(&[0x0806], 0x45), None, "ARP");
        assert_eq!(network(&[0x0800], 0x60), None, "the type lies");
        assert_eq!(network(&[0x8100; 4], 0x45), None, "too many tags");
        for length in 0..14 {
            assert_eq!(Link::Ethernet.network(&vec![8; length]), None);
        }
        assert_eq!(Link::Ethernet.packet(&frame(&[0x0806], b"who has")), b"");
        assert_eq!(Link::Ethernet.packet(&frame(&[0x0800], b"E")), b"E");
        assert_eq!(Link::Ip.packet(b"E"), b"E");
    }
}
