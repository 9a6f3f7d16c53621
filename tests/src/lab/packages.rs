//! Debian packages that a lab needs on this machine.

use std::env;
use std::path::PathBuf;
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

/// Where a program of this machine is.
///
/// # Errors
/// When it is not installed.
pub fn found(program: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // The PATH of an ordinary user lacks these.
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    let mut files = env::split_paths(&path)
        .chain(system)
        .map(|directory: PathBuf| directory.join(program));
    files
        .find(|it| it.is_file())
        .with_context(|| format!("find {program}; `dtap-lab setup` installs what a lab needs"))
}

fn missing() -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(program, _)| found(program).is_err())
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
const PACKAGES: [(&str, &str); 20] = [
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
    ("mkfs.ext4", "e2fsprogs"),
    ("socat", "socat"),
    // For the library beside it, which dockerd 20.10 is linked with.
    ("dmsetup", "dmsetup"),
];
