//! A socket by which the kernel announces changes, of which only the fact is used.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::unix::AsyncFd;

/// A subscription to the kernel's announcements.
#[derive(Debug)]
pub(crate) struct Announcements {
    fd: AsyncFd<OwnedFd>,
}

impl Announcements {
    /// Takes over a non-blocking datagram socket. Must be called within a Tokio runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` stays the same open descriptor for as long as the `AsyncFd` owns it.
        let fd = unsafe { AsyncFd::register(fd)? };
        Ok(Self { fd })
    }

    /// Waits for an announcement, and takes all that are there.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            if let Ok(drained) = ready.try_io(|fd| drain(fd.get_ref())) {
                return drained;
            }
        }
    }
}

/// Lost announcements (`ENOBUFS`) are announcements too.
fn drain(fd: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut announced = false;
    loop {
        match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS) => announced = true,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if announced => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
