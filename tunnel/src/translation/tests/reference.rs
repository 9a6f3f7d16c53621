//! Packets built byte by byte, with checksums computed over all they cover.

use std::net::IpAddr;

use super::super::Direction;
use super::worked_out;

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Words of IPv4 options.
    pub(super) options: u8,
    /// Protocols of IPv6 extension headers, each with its length in words of 8
    /// bytes beyond the first.
    pub(super) extensions: Vec<(u8, u8)>,
    pub(super) fragment: Option<Fragment>,
    pub(super) body: Body,
}

/// Which bytes behind the headers this fragment has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment {
    pub(super) first: bool,
    pub(super) length: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Tcp(Vec<u8>),
    Udp(Vec<u8>),
    UdpWithoutChecksum(Vec<u8>),
    UdpLite(Vec<u8>),
    Dccp(Vec<u8>),
    Sctp(Vec<u8>),
    Esp(Vec<u8>),
    Echo(Vec<u8>),
    /// An error of this type with so many bytes of the packet.
    Error(u8, Box<Packet>, usize),
}

impl Packet {
    pub(super) fn new(source: &str, destination: &str, body: Body) -> Self {
        Self {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            options: 0,
            extensions: Vec::new(),
            fragment: None,
            body,
        }
    }

    /// The same packet with the other addresses.
    pub(super) fn translated(&self, direction: Direction) -> Self {
        let mut packet = self.clone();
        match direction {
            Direction::Outbound => packet.destination = worked_out(self.destination, direction),
            Direction::Inbound => packet.source = worked_out(self.source, direction),
        }
        if let Body::Error(_, quoted, _) = &mut packet.body {
            match direction {
                Direction::Outbound => quoted.source = worked_out(quoted.source, direction),
                Direction::Inbound => {
                    quoted.destination = worked_out(quoted.destination, direction)
                }
            }
        }
        packet
    }

    /// The same packet on its way back.
    pub(super) fn swapped(&self) -> Self {
        let mut packet = self.clone();
        std::mem::swap(&mut packet.source, &mut packet.destination);
        if let Body::Error(_, quoted, _) = &mut packet.body {
            **quoted = quoted.swapped();
        }
        packet
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut body = self.transport();
        if let Some(fragment) = self.fragment {
            body = if fragment.first {
                body.into_iter().take(fragment.length).collect()
            } else {
                // Of another part of the datagram: nothing here is a header.
                vec![0xa5; fragment.length]
            };
        }
        match self.source {
            IpAddr::V4(_) => self.v4(&body),
            IpAddr::V6(_) => self.v6(&body),
        }
    }

    fn v4(&self, body: &[u8]) -> Vec<u8> {
        let header = 20 + usize::from(self.options) * 4;
        let total = u16::try_from(header + body.len()).unwrap();
        let flags: u16 = match self.fragment {
            None => 0x4000,
            Some(Fragment { first: true, .. }) => 0x2000,
            Some(Fragment { first: false, .. }) => 0x2000 + 185,
        };
        let mut packet = vec![0x45 + self.options, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(flags.to_be_bytes());
        packet.extend([64, self.protocol(), 0, 0]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.resize(header, 1);
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(body);
        packet
    }

    fn v6(&self, body: &[u8]) -> Vec<u8> {
        let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
        for (kind, words) in &self.extensions {
            let mut header = vec![0; 8 + usize::from(*words) * 8];
            header[1] = *words;
            chain.push((*kind, header));
        }
        if let Some(fragment) = self.fragment {
            let offset: u16 = if fragment.first { 1 } else { (185 << 3) | 1 };
            let [high, low] = offset.to_be_bytes();
            chain.push((44, vec![0, 0, high, low, 0, 0, 0, 7]));
        }
        let mut next = self.protocol();
        let mut behind = Vec::new();
        for (kind, mut header) in chain.into_iter().rev() {
            header[0] = next;
            next = kind;
            behind.splice(0..0, header);
        }
        behind.extend(body);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(u16::try_from(behind.len()).unwrap().to_be_bytes());
        packet.extend([next, 64]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(behind);
        packet
    }

    const fn protocol(&self) -> u8 {
        match (&self.body, self.source) {
            (Body::Tcp(_), _) => 6,
            (Body::Udp(_) | Body::UdpWithoutChecksum(_), _) => 17,
            (Body::UdpLite(_), _) => 136,
            (Body::Dccp(_), _) => 33,
            (Body::Sctp(_), _) => 132,
            (Body::Esp(_), _) => 50,
            (Body::Echo(_) | Body::Error(..), IpAddr::V4(_)) => 1,
            (Body::Echo(_) | Body::Error(..), IpAddr::V6(_)) => 58,
        }
    }

    fn transport(&self) -> Vec<u8> {
        let (at, covers_addresses, mut bytes) = match &self.body {
            Body::Tcp(data) => (16, true, [&[0x50; 20], data.as_slice()].concat()),
            Body::Udp(data) | Body::UdpLite(data) => {
                (6, true, [&[0x11; 8], data.as_slice()].concat())
            }
            Body::UdpWithoutChecksum(data) => {
                return [&[0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0, 0], data.as_slice()].concat();
            }
            Body::Dccp(data) => (6, true, [&[0x21; 16], data.as_slice()].concat()),
            Body::Sctp(data) | Body::Esp(data) => return [&[0x33; 12], data.as_slice()].concat(),
            Body::Echo(data) => {
                let kind = if self.source.is_ipv4() { 8 } else { 128 };
                let head = [kind, 0, 0, 0, 1, 2, 3, 4];
                (2, self.source.is_ipv6(), [&head, data.as_slice()].concat())
            }
            Body::Error(kind, quoted, length) => {
                let quote = quoted.bytes().into_iter().take(*length);
                let head = [*kind, 0, 0, 0, 0, 0, 5, 100];
                let bytes = head.into_iter().chain(quote).collect();
                (2, self.source.is_ipv6(), bytes)
            }
        };
        bytes[at..at + 2].fill(0);
        let mut pseudo = Vec::new();
        if covers_addresses {
            pseudo.extend(octets(self.source));
            pseudo.extend(octets(self.destination));
            pseudo.extend([0, self.protocol()]);
            pseudo.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        }
        let mut sum = checksum(&[&pseudo, &bytes]);
        if sum == 0 && matches!(self.body, Body::Udp(_) | Body::UdpLite(_)) {
            sum = 0xffff;
        }
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// RFC 1071, the slow way.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for word in part.chunks(2) {
            let low = word.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([word[0], low]));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
    }
    !u16::try_from(sum).unwrap()
}
