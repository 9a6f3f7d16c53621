//! UDP from the VM to `host.docker.internal`, carried to the host's 127.0.0.1.
//!
//! Like Docker Desktop's, this gateway has no kernel between the two sides: it takes IP packets from the VM, and sends and
//! receives their payload with an ordinary socket of the host for each flow. A flow that was idle is forgotten, and the
//! next datagram comes from another port.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
use tun_rs::{AsyncDevice, DeviceBuilder};

use super::super::namespace::{Entrance, Namespace};
use packet::Datagram;

mod packet;

pub(super) fn forward(
    gateway: &Namespace,
    mac: &Namespace,
    idle: Duration,
    runtime: &Handle,
) -> Result<()> {
    let device = gateway
        .enter(|| open(runtime))?
        .context("create a tun device in the gateway")?;
    gateway.ip("route add 192.168.65.254 dev host\n")?;
    runtime.spawn(Forwarder::new(device, mac.entrance(), idle).run());
    Ok(())
}

fn open(runtime: &Handle) -> io::Result<AsyncDevice> {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    let _entered = runtime.enter();
    DeviceBuilder::new().name("host").mtu(1500).build_async()
}

struct Forwarder {
    device: Arc<AsyncDevice>,
    mac: Entrance,
    idle: Duration,
    flows: HashMap<Flow, Sender<Vec<u8>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    from: SocketAddrV4,
    to: SocketAddrV4,
}

impl Forwarder {
    fn new(device: AsyncDevice, mac: Entrance, idle: Duration) -> Self {
        Self {
            device: Arc::new(device),
            mac,
            idle,
            flows: HashMap::new(),
        }
    }

    async fn run(mut self) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while let Ok(length) = self.device.recv(&mut buffer).await {
            if let Some(datagram) = Datagram::parse(&buffer[..length]) {
                let flow = Flow {
                    from: datagram.from,
                    to: datagram.to,
                };
                self.send(flow, datagram.payload.to_vec());
            }
        }
    }

    /// Never waits: what finds no room is lost, as UDP is.
    fn send(&mut self, flow: Flow, payload: Vec<u8>) {
        if self.flows.get(&flow).is_none_or(Sender::is_closed) {
            self.flows.retain(|_, flow| !flow.is_closed());
            let Ok(datagrams) = self.open(flow) else {
                return;
            };
            self.flows.insert(flow, datagrams);
        }
        if let Some(datagrams) = self.flows.get(&flow) {
            let _ = datagrams.try_send(payload);
        }
    }

    fn open(&self, flow: Flow) -> io::Result<Sender<Vec<u8>>> {
        let socket = self
            .mac
            .enter(|| StdSocket::bind((Ipv4Addr::LOCALHOST, 0)))??;
        socket.connect((Ipv4Addr::LOCALHOST, flow.to.port()))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(carry(
            flow,
            socket,
            receiver,
            Arc::clone(&self.device),
            self.idle,
        ));
        Ok(sender)
    }
}

/// Ends, and closes the socket, when nothing has gone either way for `idle`.
async fn carry(
    flow: Flow,
    socket: UdpSocket,
    mut from_vm: Receiver<Vec<u8>>,
    device: Arc<AsyncDevice>,
    idle: Duration,
) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let next = async {
            tokio::select! {
                payload = from_vm.recv() => Way::ToHost(payload.unwrap_or_default()),
                received = socket.recv(&mut buffer) => Way::ToVm(received),
            }
        };
        match timeout(idle, next).await {
            Err(_) => return,
            Ok(Way::ToHost(payload)) => {
                let _ = socket.send(&payload).await;
            }
            Ok(Way::ToVm(Ok(length))) => {
                let packet = packet::build(flow.to, flow.from, &buffer[..length]);
                let _ = device.send(&packet).await;
            }
            // Nobody listens on that port of the host, yet.
            Ok(Way::ToVm(Err(_))) => {}
        }
    }
}

enum Way {
    ToHost(Vec<u8>),
    ToVm(io::Result<usize>),
}

/// Datagrams of one flow that may wait for the host.
const QUEUE: usize = 1024;
