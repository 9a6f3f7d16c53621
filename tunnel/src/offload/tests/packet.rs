//! Packets, built field by field.

use std::ops::Range;

use crate::offload::Header;

#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) addresses: Addresses,
    pub(super) ports: (u16, u16),
    pub(super) traffic_class: u8,
    pub(super) hop_limit: u8,
    /// IPv4 identification.
    pub(super) id: u16,
    /// IPv4 "don't fragment".
    pub(super) is_atomic: bool,
    /// IPv4 options or IPv6 extension headers, the latter destination options.
    pub(super) extra: Vec<u8>,
    pub(super) transport: Transport,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    V4([u8; 8]),
    V6([u8; 32]),
}

#[derive(Debug, Clone)]
pub(super) enum Transport {
    Tcp(Tcp),
    Udp,
}

#[derive(Debug, Clone)]
pub(super) struct Tcp {
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    /// With the reserved bits.
    pub(super) flags: u16,
    pub(super) window: u16,
    pub(super) options: Vec<u8>,
}

impl Packet {
    pub(super) fn tcp(addresses: Addresses, payload: Vec<u8>) -> Self {
        Self {
            addresses,
            ports: (40_000, 443),
            traffic_class: 0,
            hop_limit: 64,
            id: 0xfffe,
            is_atomic: true,
            extra: Vec::new(),
            transport: Transport::Tcp(Tcp {
                sequence: u32::MAX - 2000,
                acknowledgement: 7,
                flags: ACK,
                window: 501,
                options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            }),
            payload,
        }
    }

    pub(super) fn udp(addresses: Addresses, payload: Vec<u8>) -> Self {
        Self {
            transport: Transport::Udp,
            ..Self::tcp(addresses, payload)
        }
    }

    pub(super) fn on_tcp(&mut self, change: impl FnOnce(&mut Tcp)) {
        match &mut self.transport {
            Transport::Tcp(tcp) => change(tcp),
            Transport::Udp => {}
        }
    }

    /// Moves it on in its stream.
    pub(super) fn advance(&mut self, by: usize) {
        let by = u32::try_from(by).unwrap();
        self.on_tcp(|tcp| tcp.sequence = tcp.sequence.wrapping_add(by));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut transport = self.transport_bytes();
        let at = self.checksum_offset();
        let partial = u64::from(self.pseudo_header(transport.len()));
        transport[at..at + 2].copy_from_slice(&[0, 0]);
        let checksum = match (!fold(partial + words(&transport)), &self.transport) {
            (0, Transport::Udp) => 0xffff,
            (checksum, _) => checksum,
        };
        transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        [self.network_bytes(transport.len()), transport].concat()
    }

    /// As the kernel gives it to a device with offloads.
    pub(super) fn super_packet(&self, segment_length: u16) -> (Header, Vec<u8>) {
        let mut transport = self.transport_bytes();
        let at = self.checksum_offset();
        let partial = self.pseudo_header(transport.len());
        transport[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        let network = self.network_bytes(transport.len());
        let header = Header {
            flags: 1,
            gso_type: match (&self.transport, self.addresses) {
                (Transport::Tcp(_), Addresses::V4(_)) => 1,
                (Transport::Tcp(_), Addresses::V6(_)) => 4,
                (Transport::Udp, _) => 5,
            },
            header_length: length(network.len() + transport.len() - self.payload.len()),
            segment_length,
            checksum_start: length(network.len()),
            checksum_offset: length(at),
        };
        (header, [network, transport].concat())
    }

    /// The segment with this part of the payload.
    pub(super) fn segment(&self, index: usize, payload: Range<usize>) -> Self {
        let is_last = payload.end == self.payload.len();
        let mut segment = Self {
            id: self.id.wrapping_add(u16::try_from(index).unwrap()),
            payload: self.payload[payload.clone()].to_vec(),
            ..self.clone()
        };
        segment.advance(payload.start);
        segment.on_tcp(|tcp| {
            if !is_last {
                tcp.flags &= !(FIN | PSH);
            }
            if index > 0 {
                tcp.flags &= !CWR;
            }
        });
        segment
    }

    fn network_bytes(&self, transport: usize) -> Vec<u8> {
        let rest = length(self.extra.len() + transport);
        match self.addresses {
            Addresses::V4(addresses) => {
                let words = u8::try_from(self.extra.len() / 4).unwrap();
                let mut header = vec![0x45 + words, self.traffic_class];
                header.extend((rest + 20).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend([u8::from(self.is_atomic) << 6, 0]);
                header.extend([self.hop_limit, self.protocol(), 0, 0]);
                header.extend(addresses);
                header.extend(&self.extra);
                let checksum = !fold(self::words(&header));
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                header
            }
            Addresses::V6(addresses) => {
                let next = if self.extra.is_empty() {
                    self.protocol()
                } else {
                    60
                };
                let mut header = vec![0x60 | self.traffic_class >> 4, self.traffic_class << 4];
                header.extend([0x12, 0x34]);
                header.extend(rest.to_be_bytes());
                header.extend([next, self.hop_limit]);
                header.extend(addresses);
                header.extend(&self.extra);
                if !self.extra.is_empty() {
                    header[40] = self.protocol();
                    header[41] = u8::try_from(self.extra.len() / 8 - 1).unwrap();
                }
                header
            }
        }
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let mut header = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        match &self.transport {
            Transport::Tcp(tcp) => {
                header.extend(tcp.sequence.to_be_bytes());
                header.extend(tcp.acknowledgement.to_be_bytes());
                let words = u8::try_from(tcp.options.len() / 4).unwrap();
                let length = u16::from(5 + words) << 12;
                header.extend((length | tcp.flags & 0x0fff).to_be_bytes());
                header.extend(tcp.window.to_be_bytes());
                header.extend([0, 0, 0, 0]);
                header.extend(&tcp.options);
            }
            Transport::Udp => {
                header.extend(length(8 + self.payload.len()).to_be_bytes());
                header.extend([0, 0]);
            }
        }
        header.extend(&self.payload);
        header
    }

    fn pseudo_header(&self, length: usize) -> u16 {
        let addresses = match &self.addresses {
            Addresses::V4(addresses) => words(addresses),
            Addresses::V6(addresses) => words(addresses),
        };
        fold(addresses + u64::from(self.protocol()) + u64::try_from(length).unwrap())
    }

    const fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(_) => 6,
            Transport::Udp => 17,
        }
    }

    const fn checksum_offset(&self) -> usize {
        match self.transport {
            Transport::Tcp(_) => 16,
            Transport::Udp => 6,
        }
    }
}

/// Whether lengths and checksums of a packet without options or extension
/// headers are right.
pub(super) fn is_sound(packet: &[u8]) -> bool {
    let field = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let (start, length, addresses, protocol) = match packet[0] >> 4 {
        4 => (20, field(2), &packet[12..20], packet[9]),
        _ => (40, field(4) + 40, &packet[8..40], packet[6]),
    };
    let transport = &packet[start..];
    let partial = words(addresses) + u64::from(protocol) + u64::try_from(transport.len()).unwrap();
    length == packet.len()
        && (start == 40 || fold(words(&packet[..start])) == 0xffff)
        && (protocol == 6 || field(start + 4) == transport.len())
        && fold(partial + words(transport)) == 0xffff
}

pub(super) const V4: Addresses = Addresses::V4([10, 75, 0, 2, 172, 18, 0, 2]);
pub(super) const V6: Addresses = Addresses::V6([0xfd; 32]);

pub(super) const FIN: u16 = 0x01;
pub(super) const SYN: u16 = 0x02;
pub(super) const PSH: u16 = 0x08;
pub(super) const ACK: u16 = 0x10;
pub(super) const CWR: u16 = 0x80;

fn length(length: usize) -> u16 {
    u16::try_from(length).unwrap()
}

fn words(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}
