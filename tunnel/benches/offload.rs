//! What a device's offloads cost per packet of 1,420 bytes.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dtap_tunnel::Batch;
use dtap_tunnel::offload::{Coalescer, Header, Link, Merge, segment};

const PACKET: usize = 1420;
/// No headers are longer; they are what has to be restored.
const HEADERS: usize = 72;
/// As many as fit into one read.
const PACKETS: usize = 46;

const FLOWS: [Flow; 3] = [
    Flow {
        name: "tcp4",
        gso_type: 1,
        is_v4: true,
        is_udp: false,
    },
    Flow {
        name: "tcp6",
        gso_type: 4,
        is_v4: false,
        is_udp: false,
    },
    Flow {
        name: "udp4",
        gso_type: 5,
        is_v4: true,
        is_udp: true,
    },
];

#[derive(Clone, Copy)]
struct Flow {
    name: &'static str,
    gso_type: u8,
    is_v4: bool,
    is_udp: bool,
}

criterion_group!(benches, offload);
criterion_main!(benches);

fn offload(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("offload");
    group.throughput(Throughput::Elements(1));
    complete(&mut group);
    group.throughput(Throughput::Elements(PACKETS as u64));
    for flow in FLOWS {
        segments(&mut group, flow);
        coalesce(&mut group, flow);
    }
    group.finish();
}

/// A checksum, and next to nothing else.
fn complete(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (header, mut packet) = super_packet(FLOWS[0], 1);
    let single = Header::parse(&{
        let mut bytes = header.to_bytes();
        bytes[1] = 0;
        bytes
    });
    let mut scratch = Vec::new();
    group.bench_function("checksum", |bencher| {
        bencher.iter(|| {
            segment(
                Link::Ip,
                single,
                black_box(&mut packet),
                &mut scratch,
                |packet| {
                    black_box(packet);
                },
            )
            .expect("header and packet fit");
        });
    });
}

fn segments(group: &mut BenchmarkGroup<'_, WallTime>, flow: Flow) {
    let (header, mut packet) = super_packet(flow, PACKETS);
    let first = packet[..HEADERS].to_vec();
    let mut scratch = Vec::new();
    group.bench_function(format!("segment/{}", flow.name), |bencher| {
        bencher.iter(|| {
            packet[..HEADERS].copy_from_slice(&first);
            segment(
                Link::Ip,
                header,
                black_box(&mut packet),
                &mut scratch,
                |packet| {
                    black_box(packet);
                },
            )
            .expect("header and packet fit");
        });
    });
}

fn coalesce(group: &mut BenchmarkGroup<'_, WallTime>, flow: Flow) {
    let (header, mut packet) = super_packet(flow, PACKETS);
    let mut batch = Batch::new();
    segment(Link::Ip, header, &mut packet, &mut Vec::new(), |packet| {
        batch.push((), packet);
    })
    .expect("header and packet fit");
    let mut coalescer = Coalescer::new(Link::Ip, Merge::TcpAndUdp);
    let first = batch.bytes()[..HEADERS].to_vec();
    group.bench_function(format!("coalesce/{}", flow.name), |bencher| {
        bencher.iter(|| {
            batch.bytes_mut()[..HEADERS].copy_from_slice(&first);
            let writes = coalescer.plan(&mut batch).map(black_box).count();
            assert_eq!(writes, 1);
        });
    });
}

/// Of the flow, with as much payload as so many packets of 1,420 bytes have.
fn super_packet(flow: Flow, packets: usize) -> (Header, Vec<u8>) {
    let (start, addresses) = if flow.is_v4 {
        (20, 12..20)
    } else {
        (40, 8..40)
    };
    let (protocol, transport_header, checksum) = if flow.is_udp { (17, 8, 6) } else { (6, 32, 16) };
    let headers = start + transport_header;
    let length = headers + (PACKET - headers) * packets;
    let mut packet: Vec<u8> = (0..=250).cycle().take(length).collect();
    if flow.is_v4 {
        packet[0] = 0x45;
        packet[6..10].copy_from_slice(&[0x40, 0, 64, protocol]);
    } else {
        packet[0] = 0x60;
        packet[6] = protocol;
    }
    if !flow.is_udp {
        packet[start + 12..start + 14].copy_from_slice(&[0x80, 0x10]);
    }
    let pseudo_header = packet[addresses]
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .chain([u32::from(protocol), u32::from(of(length - start))])
        .fold(0, |sum, word| (sum + word) % 0xffff);
    packet[start + checksum..][..2].copy_from_slice(&of(pseudo_header as usize).to_be_bytes());
    let mut header = [0; Header::LENGTH];
    header[..2].copy_from_slice(&[1, flow.gso_type]);
    let fields = [headers, PACKET - headers, start, checksum];
    for (field, value) in header[2..].as_chunks_mut().0.iter_mut().zip(fields) {
        *field = of(value).to_ne_bytes();
    }
    (Header::parse(&header), packet)
}

fn of(length: usize) -> u16 {
    u16::try_from(length).expect("no more than a packet has")
}
