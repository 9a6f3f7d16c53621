//! A pair of fake Ethernet interfaces (xnu, `bsd/net/if_fake.c`): the host has
//! its addresses at one; tun-rs reads the other's frames by BPF and writes by
//! `AF_NDRV`, as BPF writes no more than 2,048 bytes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::process::Command;

use nix::net::if_::if_nametoindex;
use tun_rs::{AsyncDevice, Layer};

/// ZeroTier destroys all of lower numbers when it starts.
const FIRST: u16 = 10_000;
/// Pairs that are tried.
const MOST: u16 = 64;
/// `net.link.fake.max_mtu` unless somebody has changed it. A frame that was in
/// fragments may be longer than the tunnel's MTU lets the host send.
const LONGEST: &str = "2048";

/// A pair, and what keeps its name ours.
pub(in crate::device) fn tap(
    address: [u8; 6],
    mtu: u16,
) -> io::Result<(AsyncDevice, Option<File>)> {
    for unit in (FIRST..).step_by(2).take(MOST.into()) {
        let (outer, inner) = (format!("feth{unit}"), format!("feth{}", unit + 1));
        let Some(lock) = claim(&outer, &inner)? else {
            continue;
        };
        let pair = super::builder().name(&outer).peer_feth(&inner);
        let pair = pair.reuse_dev(false).layer(Layer::L2);
        let device = match pair.mac_addr(address).mtu(mtu).build_async() {
            Ok(device) => device,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        ifconfig(&[&inner, "mtu", LONGEST, "up"])?;
        return Ok((device, Some(lock)));
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "find a free number for a feth interface",
    ))
}

/// `None` if somebody else has one of the names. What a process of ours left
/// when it was killed is destroyed: its lock's file is there, and not locked.
fn claim(outer: &str, inner: &str) -> io::Result<Option<File>> {
    let path = PathBuf::from(format!("/var/run/dtap-{outer}.lock"));
    let was_ours = path.exists();
    let exist = [outer, inner].map(|name| if_nametoindex(name).is_ok());
    if !was_ours && exist.contains(&true) {
        return Ok(None);
    }
    let lock = File::create(path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    for (name, exists) in [outer, inner].into_iter().zip(exist) {
        if exists {
            ifconfig(&[name, "destroy"])?;
        }
    }
    Ok(Some(lock))
}

fn ifconfig(arguments: &[&str]) -> io::Result<()> {
    let run = Command::new("/sbin/ifconfig").args(arguments).output()?;
    if run.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&run.stderr);
    let command = arguments.join(" ");
    Err(io::Error::other(format!(
        "ifconfig {command}: {}",
        said.trim()
    )))
}
