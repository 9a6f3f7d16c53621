//! Handing a process's stdin and stdout to another over a unix socket
//! (`SCM_RIGHTS`, unix(7)), and using such descriptors with tokio.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use tokio::net::unix::pipe;

/// What [`receive`] found: one byte, and the descriptors that came with it.
#[derive(Debug)]
pub struct Received {
    pub byte: u8,
    pub stdio: Option<(OwnedFd, OwnedFd)>,
}

/// Sends `byte` together with both descriptors.
///
/// # Errors
/// When the other side is gone.
pub fn send(
    socket: &UnixStream,
    byte: u8,
    stdin: BorrowedFd<'_>,
    stdout: BorrowedFd<'_>,
) -> io::Result<()> {
    let descriptors = [stdin.as_raw_fd(), stdout.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let payload = [byte];
    let payload = [IoSlice::new(&payload)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &payload,
        &rights,
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Receives one byte, with or without descriptors.
///
/// # Errors
/// When the sender closed without a byte.
pub fn receive(socket: &UnixStream) -> io::Result<Received> {
    let mut byte = [0];
    let mut payload = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 2]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut payload,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for descriptor in received {
                // SAFETY: the kernel made these descriptors for this process in
                // the call above, and nobody else knows them.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    let mut descriptors = descriptors.into_iter();
    let stdio = descriptors.next().zip(descriptors.next());
    Ok(Received {
        byte: byte[0],
        stdio,
    })
}

/// Makes pipes of a `docker exec` usable with tokio.
///
/// # Errors
/// When they are not pipes (`docker exec` without a terminal gives pipes).
pub fn pipes(stdin: OwnedFd, stdout: OwnedFd) -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let read = pipe::Receiver::from_owned_fd(stdin)?;
    let write = pipe::Sender::from_owned_fd(stdout)?;
    Ok((read, write))
}
