//! macOS: what quinn-udp decides for QUIC and WireGuard needs otherwise.

use std::os::fd::AsRawFd as _;

use socket2::Socket;

/// Lets the kernel fragment datagrams that are longer than the path carries:
/// a tunnel whose outer packets vanish would be a black hole.
pub(super) fn allow_fragments(socket: &Socket, v6: bool) {
    let (level, option) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG)
    } else {
        (libc::IPPROTO_IP, libc::IP_DONTFRAG)
    };
    let value: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the value is a C int of the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "fragmentation stays off");
    }
}
