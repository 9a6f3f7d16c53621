//! Debian packages that a lab needs on this machine.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// Installs what is missing with apt-get, by sudo unless root.
pub fn install() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("lab: installing {}", missing.join(" "));
    apt_get(&["-qq", "update"])?;
    let mut install = vec!["-qq", "install", "--yes", "--no-install-recommends"];
    install.extend(missing);
    apt_get(&install)
}

fn missing() -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    // The PATH of an ordinary user lacks these.
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    let directories: Vec<_> = env::split_paths(&path).chain(system).collect();
    let is_there = |program: &str| {
        directories
            .iter()
            .any(|directory| directory.join(program).is_file())
    };
    PACKAGES
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = match geteuid().is_root() {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
    };
    let status = command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("start apt-get")?;
    if !status.success() {
        bail!("apt-get {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// A program and the package that has it, beside what every Debian has. containerd, runc and the engines are not here: installed, they would be started
/// as services.
const PACKAGES: [(&str, &str); 18] = [
    ("xtables-nft-multi", "iptables"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("busybox", "busybox-static"),
    ("tcpdump", "tcpdump"),
    ("iperf3", "iperf3"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("ssh", "openssh-client"),
    ("dropbear", "dropbear-bin"),
    ("wireguard-go", "wireguard-go"),
    ("wg", "wireguard-tools"),
    ("openvpn", "openvpn"),
    ("rootlesskit", "rootlesskit"),
    ("slirp4netns", "slirp4netns"),
    ("newuidmap", "uidmap"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    // For the library beside it, which dockerd 20.10 is linked with.
    ("dmsetup", "dmsetup"),
];
