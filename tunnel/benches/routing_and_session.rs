//! What finding the peer of a packet costs with few and many peers, and what a session's frames cost.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dtap_tunnel::session::{Decoder, Message, encode_datagram, encode_message};
use dtap_tunnel::{PathPolicy, PeerConfig, PrivateKey, Tunnel};

const PEERS: [u16; 4] = [1, 10, 100, 1000];
/// A packet of 1,420 bytes, sealed.
const DATAGRAM: usize = 1452;
/// As many as a session's read brings at most.
const DATAGRAMS: usize = 89;

criterion_group!(benches, routing, session);
criterion_main!(benches);

/// From the device to the peer, which has no path, so that nothing is sealed.
fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    group.throughput(Throughput::Elements(1));
    for peers in PEERS {
        let now = now();
        let mut tunnel = Tunnel::new(PrivateKey::generate());
        for number in 0..peers {
            tunnel.add_peer(peer(number), now);
        }
        let mut packet = packet();
        let mut number = 0;
        group.bench_with_input(BenchmarkId::from_parameter(peers), &peers, |bencher, _| {
            bencher.iter(|| {
                number = (number + 1) % peers;
                packet[16..20].copy_from_slice(&address(number).octets());
                tunnel.handle_packet(black_box(&mut packet), now);
            });
        });
    }
    group.finish();
}

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    let datagram = [7; DATAGRAM];
    let mut stream = Vec::new();
    group.throughput(Throughput::Bytes((DATAGRAMS * DATAGRAM) as u64));
    group.bench_function("encode datagrams", |bencher| {
        bencher.iter(|| {
            stream.clear();
            for _ in 0..DATAGRAMS {
                encode_datagram(black_box(&datagram), &mut stream);
            }
        });
    });
    let mut decoder = Decoder::default();
    group.bench_function("decode datagrams", |bencher| {
        bencher.iter(|| {
            decoder.extend(black_box(&stream));
            while let Some(frame) = decoder.next() {
                let _ = black_box(frame);
            }
        });
    });
    let mut message = Vec::new();
    encode_message(&Message::Heartbeat, &mut message);
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode a heartbeat", |bencher| {
        bencher.iter(|| {
            decoder.extend(black_box(&message));
            black_box(decoder.next()).map(|it| it.is_ok())
        });
    });
    group.finish();
}

fn peer(number: u16) -> PeerConfig {
    PeerConfig {
        public_key: PrivateKey::generate().public(),
        allowed_ips: BTreeSet::from([IpAddr::from(address(number)).into()]),
        policy: PathPolicy::Udp,
        initiates: false,
    }
}

fn address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, 120, high, low)
}

/// The least that is an IPv4 packet.
fn packet() -> [u8; 20] {
    let mut packet = [0; 20];
    (packet[0], packet[3]) = (0x45, 20);
    packet
}

#[expect(clippy::disallowed_methods, reason = "the one look at the clock")]
fn now() -> Instant {
    Instant::now()
}
