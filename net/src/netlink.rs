//! A netlink socket: requests, dumps, batches and multicast groups over messages that
//! `netlink-bindings` encodes and decodes.
//!
//! The kernel answers a request before `send` returns, and only a dump continues while it is read.
//! A batch is therefore answered completely once it is sent, whichever of its messages the kernel's
//! version acknowledges.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_bindings::builtin::Nlmsghdr;
use netlink_bindings::traits::{NetlinkChained, NetlinkRequest, Protocol};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::announcements::Announcements;

pub(crate) mod link;
pub(crate) mod route;

/// A socket for requests of one netlink family.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(protocol: SockProtocol) -> io::Result<Self> {
        let fd = open(protocol, SockFlag::SOCK_CLOEXEC)?;
        setsockopt(
            &fd,
            sockopt::ReceiveTimeout,
            &TimeVal::new(REPLY_TIMEOUT_S, 0),
        )?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER_SIZE],
        })
    }

    /// Carries out one request that is answered by an acknowledgement.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn execute<R: NetlinkRequest>(&mut self, request: &R) -> io::Result<()> {
        self.request(request, |_| Ok(())).map(|_| ())
    }

    /// Passes every object of a dump to `each`, again from the start if it changed meanwhile.
    ///
    /// # Errors
    /// The kernel's or the first of `each`.
    pub(crate) fn dump<R: NetlinkRequest, T>(
        &mut self,
        request: &R,
        mut each: impl FnMut(R::ReplyType<'_>) -> io::Result<Option<T>>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut objects = Vec::new();
            let outcome = self.request(request, |payload| {
                objects.extend(each(R::decode_reply(payload))?);
                Ok(())
            })?;
            match outcome {
                Outcome::Consistent => return Ok(objects),
                Outcome::Interrupted => {}
            }
        }
        Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "list kernel objects: they change faster than they are read",
        ))
    }

    /// A first sequence number for a batch of at most `messages`.
    pub(crate) fn reserve(&mut self, messages: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(messages);
        first
    }

    /// Carries out a batch: all of it or, with an error, nothing.
    ///
    /// # Errors
    /// That of the first message that failed, naming it; `Interrupted` if the batch names a
    /// generation that is past.
    pub(crate) fn transact(&mut self, batch: &impl NetlinkChained) -> io::Result<()> {
        send(self.fd.as_raw_fd(), batch.payload(), MsgFlags::empty())?;
        let mut answered = false;
        while let Some(length) = self.receive(MsgFlags::MSG_DONTWAIT)? {
            for message in messages(&self.buffer[..length]) {
                let (header, payload) = message?;
                let Some(index) = batch.get_index(header.seq) else {
                    continue;
                };
                answered = true;
                acknowledgement(payload)
                    .map_err(|error| failed(&format!("{} {index}", batch.name(index)), &error))?;
            }
        }
        answered
            .then_some(())
            .ok_or_else(|| malformed("no answer to a batch"))
    }

    fn request<R: NetlinkRequest>(
        &mut self,
        request: &R,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let sequence = self.reserve(1);
        send(
            self.fd.as_raw_fd(),
            &encode(request, sequence)?,
            MsgFlags::empty(),
        )?;
        let mut outcome = Outcome::Consistent;
        loop {
            let Some(length) = self.receive(MsgFlags::empty())? else {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "wait for the kernel's netlink answer",
                ));
            };
            for message in messages(&self.buffer[..length]) {
                let (header, payload) = message?;
                if header.seq != sequence {
                    continue;
                }
                if header.flags & NLM_F_DUMP_INTR != 0 {
                    outcome = Outcome::Interrupted;
                }
                match header.r#type {
                    NLMSG_ERROR | NLMSG_DONE => return acknowledgement(payload).map(|()| outcome),
                    _ => each(payload)?,
                }
            }
        }
    }

    fn receive(&mut self, flags: MsgFlags) -> io::Result<Option<usize>> {
        loop {
            match recv(
                self.fd.as_raw_fd(),
                &mut self.buffer,
                flags | MsgFlags::MSG_TRUNC,
            ) {
                Ok(length) if length > self.buffer.len() => {
                    return Err(malformed("a message larger than the buffer"));
                }
                Ok(length) => return Ok(Some(length)),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Subscribes to multicast groups, given as a mask of the first 32. Must be called within a Tokio
/// runtime.
pub(crate) fn subscribe(protocol: SockProtocol, groups: u32) -> io::Result<Announcements> {
    let fd = open(protocol, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Announcements::new(fd)
}

enum Outcome {
    Consistent,
    Interrupted,
}

fn open(protocol: SockProtocol, flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        protocol,
    )?)
}

fn encode<R: NetlinkRequest>(request: &R, sequence: u32) -> io::Result<Vec<u8>> {
    let Protocol::Raw { request_type, .. } = request.protocol() else {
        return Err(malformed("a generic netlink request"));
    };
    let header = Nlmsghdr {
        len: (Nlmsghdr::len() + request.payload().len()) as u32,
        r#type: request_type,
        flags: request.flags() | NLM_F_REQUEST | NLM_F_ACK,
        seq: sequence,
        pid: 0,
    };
    Ok([header.as_slice(), request.payload()].concat())
}

fn messages(mut buffer: &[u8]) -> impl Iterator<Item = io::Result<(Nlmsghdr, &[u8])>> {
    std::iter::from_fn(move || {
        if buffer.is_empty() {
            return None;
        }
        let header = buffer
            .get(..Nlmsghdr::len())
            .and_then(Nlmsghdr::new_from_slice);
        let Some((header, payload)) = header.and_then(|header| {
            Some((
                header.clone(),
                buffer.get(Nlmsghdr::len()..header.len as usize)?,
            ))
        }) else {
            buffer = &[];
            return Some(Err(malformed("a truncated message")));
        };
        buffer = buffer
            .get((header.len as usize).next_multiple_of(4)..)
            .unwrap_or_default();
        Some(Ok((header, payload)))
    })
}

fn acknowledgement(payload: &[u8]) -> io::Result<()> {
    let Some(code) = payload.first_chunk() else {
        // A dump may end without a status.
        return Ok(());
    };
    match i32::from_ne_bytes(*code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

fn failed(message: &str, error: &io::Error) -> io::Error {
    let kind = match error.raw_os_error() {
        Some(libc::ERESTART) => io::ErrorKind::Interrupted,
        _ => error.kind(),
    };
    io::Error::new(kind, format!("{message}: {error}"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("speak netlink: {what}"))
}

/// Holds the largest message of a dump (32 KiB) and the echo of a failed request of a batch.
const BUFFER_SIZE: usize = 128 * 1024;
/// The kernel answers within microseconds; this only keeps a defect from becoming a hang.
const REPLY_TIMEOUT_S: i64 = 5;
const DUMP_ATTEMPTS: usize = 10;

const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
const NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
const NLM_F_DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
