//! OpenVPN: TLS between two ends that know each other's certificates.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use dtap_tests::lab::{Background, Lab};
use sha2::{Digest as _, Sha256};

use super::ready::{self, PATIENCE};
use super::side::{MTU, Side};

/// A certificate's files and its SHA-256 as `--peer-fingerprint` wants it.
struct Identity {
    certificate: String,
    key: String,
    fingerprint: String,
}

/// Runs it on both sides as the tunnel of this number.
pub(super) fn start(lab: &Lab, tunnel: u8) -> Result<Vec<Background>> {
    let host = Identity::new(lab, Side::Host)?;
    let vm = Identity::new(lab, Side::Vm)?;
    let interface = format!("ovpn{tunnel}");
    let port = (BASE_PORT + u16::from(tunnel)).to_string();
    let mut programs = Vec::new();
    for (side, own, other) in [(Side::Vm, &vm, &host), (Side::Host, &host, &vm)] {
        let local = side.inner(tunnel).to_string();
        let remote = side.other().inner(tunnel).to_string();
        let far = side.other().cable().to_string();
        let role: &[&str] = match side {
            Side::Host => &["--tls-client", "--remote", &far, &port, "--nobind"],
            Side::Vm => &["--tls-server", "--dh", "none", "--lport", &port],
        };
        let device = ["--dev", &interface, "--dev-type", "tun", "--tun-mtu", MTU];
        let addresses = ["--ifconfig", &local, &remote, "--proto", "udp"];
        let cipher = [
            "--cipher",
            CIPHER,
            "--data-ciphers",
            CIPHER,
            "--disable-dco",
        ];
        let identity = ["--cert", &own.certificate, "--key", &own.key];
        let peer = ["--peer-fingerprint", &other.fingerprint];
        let rest = ["--mssfix", "0", "--txqueuelen", "1000"];
        let command = [
            &["openvpn"][..],
            role,
            &device,
            &addresses,
            &cipher,
            &identity,
            &peer,
            &rest,
        ];
        programs.push(side.background(lab, &command.concat())?);
    }
    for program in &mut programs {
        ready::wait(program, PATIENCE, |it| {
            it.output().contains("Sequence Completed")
        })?;
    }
    // The near end first, as with all others.
    programs.reverse();
    Ok(programs)
}

impl Identity {
    fn new(lab: &Lab, side: Side) -> Result<Self> {
        let name = side.name().to_owned();
        let made = rcgen::generate_simple_self_signed([name.clone()]);
        let made = made.context("make a certificate")?;
        let file = |end| lab.directory().join(format!("openvpn-{name}.{end}"));
        fs::write(file("crt"), made.cert.pem())?;
        fs::write(file("key"), made.signing_key.serialize_pem())?;
        let mut fingerprint = String::new();
        for byte in Sha256::digest(made.cert.der()) {
            let colon = if fingerprint.is_empty() { "" } else { ":" };
            let _ = write!(fingerprint, "{colon}{byte:02X}");
        }
        Ok(Self {
            certificate: file("crt").display().to_string(),
            key: file("key").display().to_string(),
            fingerprint,
        })
    }
}

const CIPHER: &str = "AES-256-GCM";
const BASE_PORT: u16 = 51900;
