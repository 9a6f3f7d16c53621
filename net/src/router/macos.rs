//! `ifconfig` and `route`, and the routing table by `sysctl`. What macOS really did is read back
//! afterwards: `route` may report success for a route that it did not add.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process;
use std::ptr;

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_indextoname};
use socket2::{Domain, Socket, Type};

use super::commands::{self, Command, State};
use super::{Failures, Route, RouterConfig, missing, table};
use crate::announcements::Announcements;

/// The owner of one interface's addresses, MTU and routes.
#[derive(Debug)]
pub struct Router {
    interface: String,
    /// In bytes; remembered, since nobody else changes that of a utun, nor of a tap while it is up.
    mtu: Option<u32>,
}

impl Router {
    /// A router for `interface`, which must exist when [`set`](Self::set) is called.
    ///
    /// # Errors
    /// None on macOS.
    pub fn new(interface: &str) -> io::Result<Self> {
        Ok(Self {
            interface: interface.to_owned(),
            mtu: None,
        })
    }

    /// Brings the interface up and makes its addresses and routes those of `config`, whatever they
    /// were.
    ///
    /// A route is added only where the host has none to the same destination. Everything that can
    /// be done is done even if a part fails.
    ///
    /// # Errors
    /// `NotFound` if there is no such interface, `AlreadyExists` if somebody else's route has the
    /// same destination, `Unsupported` if there are blackholes (macOS has no metrics), and whatever
    /// a command did not achieve, each named.
    pub fn set(&mut self, config: &RouterConfig) -> io::Result<()> {
        if !config.blackholes.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "set blackholes: macOS has no route metrics",
            ));
        }
        if nix::net::if_::if_nametoindex(self.interface.as_str()).is_err() {
            return Err(missing(&self.interface));
        }
        let state = self.state()?;
        let mut failures = Failures::default();
        for (route, target) in commands::conflicts(&state, config) {
            let error = io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("there is one {target}"),
            );
            failures.note("add route", route, Err(error));
        }
        self.run(&state, config, &mut failures)?;
        failures.into_result()
    }

    /// Removes the addresses and routes of the interface, if it exists.
    ///
    /// # Errors
    /// Whatever a command did not achieve; the rest is removed nevertheless.
    pub fn clear(&mut self) -> io::Result<()> {
        let state = self.state()?;
        let nothing = RouterConfig {
            mtu: self.mtu.unwrap_or_default(),
            ..RouterConfig::default()
        };
        self.mtu = Some(nothing.mtu);
        let state = State {
            mtu: self.mtu,
            ..state
        };
        let mut failures = Failures::default();
        self.run(&state, &nothing, &mut failures)?;
        failures.into_result()
    }

    /// As [`clear`](Self::clear), and takes the interface down if it exists: for one that goes on without us.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn retire(&mut self) -> io::Result<()> {
        self.clear()?;
        if is_up(&self.interface) {
            execute(&commands::take_down(&self.interface))?;
        }
        Ok(())
    }

    /// Does nothing: addresses and routes vanish with the interface of the process that set them, or are
    /// [`retire`](Self::retire)d.
    ///
    /// # Errors
    /// None on macOS.
    pub fn sweep() -> io::Result<()> {
        Ok(())
    }

    /// None: there are no blackholes on macOS.
    ///
    /// # Errors
    /// None on macOS.
    pub fn left_blackholes() -> io::Result<BTreeSet<IpNet>> {
        Ok(BTreeSet::new())
    }

    fn run(
        &mut self,
        state: &State,
        wanted: &RouterConfig,
        failures: &mut Failures,
    ) -> io::Result<()> {
        let planned = commands::plan(&self.interface, state, wanted);
        if planned.is_empty() {
            return Ok(());
        }
        let outputs: Vec<_> = planned
            .iter()
            .map(|command| (command, execute(command)))
            .collect();
        self.mtu = Some(wanted.mtu);
        let left = commands::plan(&self.interface, &self.state()?, wanted);
        for (command, output) in outputs {
            let outcome = output.and_then(|said| match left.contains(command) {
                true => Err(io::Error::other(format!("no effect: {said}"))),
                false => Ok(()),
            });
            failures.note("run", command, outcome);
        }
        Ok(())
    }

    fn state(&self) -> io::Result<State> {
        let addresses = super::addresses()?
            .into_iter()
            .filter(|(interface, _)| *interface == self.interface);
        let is_link_local =
            |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut state = State {
            addresses: addresses
                .map(|(_, net)| net.addr())
                .filter(|address| !is_link_local(address))
                .collect(),
            mtu: self.mtu.filter(|_| is_up(&self.interface)),
            ..State::default()
        };
        for route in routes()? {
            if route.ours && route.interface.as_ref() == Some(&self.interface) {
                state.routes.insert(route.destination, route.gateway);
            } else {
                state.others.insert(route.destination, target(&route));
            }
        }
        Ok(state)
    }
}

/// Announces changes of interfaces, addresses and routes, our own included.
#[derive(Debug)]
pub struct RouteWatch {
    announcements: Announcements,
}

impl RouteWatch {
    /// Subscribes; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The kernel refused a socket.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::PF_ROUTE), Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            announcements: Announcements::new(OwnedFd::from(socket))?,
        })
    }

    /// Waits until something has changed since the last call.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.announcements.changed().await
    }
}

pub(super) fn routes() -> io::Result<Vec<Route>> {
    let entries = table::parse(&dump()?);
    let name = |index: u16| {
        Some(
            if_indextoname(index.into())
                .ok()?
                .to_string_lossy()
                .into_owned(),
        )
    };
    Ok(entries
        .into_iter()
        .map(|entry| Route {
            destination: entry.destination,
            interface: name(entry.index).filter(|_| !entry.drops),
            gateway: entry.gateway,
            ours: entry.ours,
        })
        .collect())
}

/// A tap comes back down when HyperKit opens its device anew.
fn is_up(interface: &str) -> bool {
    let interfaces = getifaddrs().into_iter().flatten();
    let mut same = interfaces.filter(|it| it.interface_name == interface);
    same.any(|it| it.flags.contains(InterfaceFlags::IFF_UP))
}

fn target(route: &Route) -> String {
    match (&route.gateway, &route.interface) {
        (Some(gateway), _) => format!("via {gateway}"),
        (None, Some(interface)) => format!("by {interface}"),
        (None, None) => "that drops its packets".to_owned(),
    }
}

/// What the command printed, whatever its exit status.
fn execute(command: &Command) -> io::Result<String> {
    let output = process::Command::new(command.program)
        .args(&command.arguments)
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// The table may grow between asking for its size and reading it.
fn dump() -> io::Result<Vec<u8>> {
    for _ in 0..DUMP_ATTEMPTS {
        let size = sysctl(None)?;
        let mut buffer = vec![0; size + size / 8];
        match sysctl(Some(&mut buffer)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::Interrupted,
        "list routes: they change faster than they are read",
    ))
}

/// Reads the table of both families into a buffer; its length, or without a buffer its present
/// size.
fn sysctl(buffer: Option<&mut [u8]>) -> io::Result<usize> {
    let mut name = [
        libc::CTL_NET,
        libc::PF_ROUTE,
        0,
        libc::AF_UNSPEC,
        libc::NET_RT_DUMP,
        0,
    ];
    let (start, mut length) = match buffer {
        Some(buffer) => (buffer.as_mut_ptr(), buffer.len()),
        None => (ptr::null_mut(), 0),
    };
    // SAFETY: `name` has the given number of elements, and the kernel writes at most `length` bytes
    // to `start`, which is null or has that many.
    let status = unsafe {
        libc::sysctl(
            name.as_mut_ptr(),
            name.len() as u32,
            start.cast(),
            &mut length,
            ptr::null_mut(),
            0,
        )
    };
    match status {
        0 => Ok(length),
        _ => Err(io::Error::last_os_error()),
    }
}

const DUMP_ATTEMPTS: usize = 5;
