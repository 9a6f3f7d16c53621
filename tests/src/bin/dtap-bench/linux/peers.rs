//! One server with more and more peers, up to a hundred of which send at once.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtap_tests::lab::{Background, Lab, Namespace};
use dtap_tunnel::{PathPolicy, PeerConfig, PrivateKey, Tunnel};

use super::ready;
use super::results::{Measure, Results};
use super::side::Side;
use super::subject::Subject;
use super::{crowd, own_program, process};

const COUNTS: [u16; 4] = [1, 10, 100, 1000];
/// Peers that send at once, at most.
const SENDERS: u16 = 100;
/// Second byte of the addresses of the first crowd.
const FIRST_RANGE: u8 = 120;
const PORT: u16 = 5203;
const PATIENCE: Duration = Duration::from_secs(120);
/// What TCP has to fill all pipes.
const SETTLED: Duration = Duration::from_millis(500);
const CHUNK: usize = 128 << 10;
const LOOKUPS: u32 = 200_000;

/// A server with its peers.
struct Crowd {
    count: u16,
    range: u8,
    _server: Background,
    _peers: Background,
}

pub(super) fn measure(lab: &Lab, rounds: u32, seconds: u64, results: &mut Results) -> Result<()> {
    let drained = drain(lab.vm_namespace())?;
    let mut crowds = Vec::new();
    for (count, range) in COUNTS.into_iter().zip((FIRST_RANGE..).step_by(2)) {
        eprintln!("bench: bringing {count} peers up");
        crowds.push(Crowd::gather(lab, count, range, results)?);
        let nanoseconds = lookup(count)?;
        results.add(
            Measure::Lookup,
            Subject::Dtap,
            &count.to_string(),
            nanoseconds,
        );
    }
    for round in 1..=rounds {
        eprintln!("bench: round {round} of {rounds} with many peers");
        for crowd in &crowds {
            let gbps = crowd.pour(lab.mac_namespace(), &drained, seconds)?;
            let case = crowd.count.to_string();
            results.add(Measure::ThroughputByPeers, Subject::Dtap, &case, gbps);
        }
    }
    Ok(())
}

impl Crowd {
    fn gather(lab: &Lab, count: u16, range: u8, results: &mut Results) -> Result<Self> {
        let own = own_program()?;
        let socket = lab.directory().join(format!("crowd-{range}"));
        let socket = socket.display().to_string();
        let mut server = lab.vm_background(&[&own, "tool", "serve", "--socket", &socket])?;
        ready::wait(&mut server, PATIENCE, |it| it.output().contains('\n'))?;
        let interface = server.output().trim().to_owned();
        let ip = |arguments: &[&str]| lab.vm(&[&["ip"], arguments].concat()).text();
        ip(&["link", "set", &interface, "up"])?;
        let [peers, servers] = crowd::addresses(range, 0).map(|it| format!("{it}/16"));
        ip(&["route", "add", &peers, "dev", &interface])?;
        ip(&["route", "add", "local", &servers, "dev", "lo"])?;
        let pid = [server.pid()?];
        let alone = process::resident_mib(&pid)?;

        let (number, first) = (count.to_string(), range.to_string());
        let cable = Side::Vm.cable().to_string();
        let join = [&own, "tool", "crowd", "--count", &number, "--range", &first];
        let join = [&join[..], &["--socket", &socket, "--server", &cable]].concat();
        let mut peers = lab.mac_background(&join)?;
        ready::wait(&mut peers, PATIENCE, |it| it.output().trim() == number)?;
        let each = (process::resident_mib(&pid)? - alone) * 1024.0 / f64::from(count);
        results.add(Measure::PeerMemory, Subject::Dtap, &number, each);
        Ok(Self {
            count,
            range,
            _server: server,
            _peers: peers,
        })
    }

    /// Gbit/s of what arrives from all that send at once.
    fn pour(&self, from: &Namespace, drained: &AtomicU64, seconds: u64) -> Result<f64> {
        let connect = |number| -> Result<TcpStream> {
            let [_, server] = crowd::addresses(self.range, number);
            let stream = from.enter(|| TcpStream::connect((server, PORT)))?;
            let stream = stream.with_context(|| format!("peer {number} connects"))?;
            stream.set_write_timeout(Some(SETTLED))?;
            Ok(stream)
        };
        let streams = (0..self.count.min(SENDERS)).map(connect);
        let streams = streams.collect::<Result<Vec<_>>>()?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for mut stream in streams {
                let over = &over;
                scope.spawn(move || {
                    let chunk = vec![0; CHUNK];
                    // One whose turn does not come in time tries again.
                    while !over.load(Ordering::Relaxed) {
                        let _ = stream.write(&chunk);
                    }
                });
            }
            thread::sleep(SETTLED);
            let begin = Instant::now();
            drained.store(0, Ordering::Relaxed);
            thread::sleep(Duration::from_secs(seconds));
            let bytes = drained.load(Ordering::Relaxed) as f64;
            let gbps = bytes * 8.0 / 1e9 / begin.elapsed().as_secs_f64();
            over.store(true, Ordering::Relaxed);
            Ok(gbps)
        })
    }
}

/// Takes every connection to a namespace and counts the bytes that come, for as long as this process lives.
fn drain(at: &Namespace) -> Result<Arc<AtomicU64>> {
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = at.enter(listen)?.context("listen")?;
    let counted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&counted);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                let mut chunk = vec![0; CHUNK];
                while let Ok(length @ 1..) = stream.read(&mut chunk) {
                    counter.fetch_add(length as u64, Ordering::Relaxed);
                }
            });
        }
    });
    Ok(counted)
}

/// Nanoseconds until a packet from the device has found its peer, which has no path and loses it.
fn lookup(count: u16) -> Result<f64> {
    let mut tunnel = Tunnel::new(PrivateKey::generate());
    let now = Instant::now();
    for number in 0..count {
        let [own, _] = crowd::addresses(FIRST_RANGE, number);
        let config = PeerConfig {
            public_key: PrivateKey::generate().public(),
            allowed_ips: BTreeSet::from([IpAddr::from(own).into()]),
            policy: PathPolicy::Udp,
            initiates: false,
        };
        tunnel.add_peer(config, now);
    }
    let mut packet = [0; 40];
    (packet[0], packet[3]) = (0x45, 40);
    let begin = Instant::now();
    for number in 0..LOOKUPS {
        let to = u16::try_from(number % u32::from(count))?;
        packet[16..20].copy_from_slice(&crowd::addresses(FIRST_RANGE, to)[0].octets());
        tunnel.handle_packet(&mut packet, now);
    }
    Ok(begin.elapsed().as_nanos() as f64 / f64::from(LOOKUPS))
}
