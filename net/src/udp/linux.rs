//! Linux: what quinn-udp decides for QUIC and WireGuard needs otherwise.

use std::os::fd::AsRawFd as _;

use socket2::Socket;

/// Lets the kernel fragment datagrams that are longer than the path carries.
///
/// quinn-udp forbids it, because QUIC probes the path itself. A tunnel whose
/// outer packets vanish would be a black hole; WireGuard clears DF as well
/// (Linux, `drivers/net/wireguard/socket.c`, `udp_tunnel_xmit_skb(…, df 0)`).
pub(super) fn allow_fragments(socket: &Socket, v6: bool) {
    if v6 {
        set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        );
        // It counts besides (Linux, `net/ipv6/ip6_output.c`, `__ip6_append_data`).
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0);
    } else {
        set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        );
    }
}

fn set(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) {
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
        tracing::debug!(%error, option, "fragmentation stays off");
    }
}
