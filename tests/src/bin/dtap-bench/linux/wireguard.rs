//! WireGuard in user space as others have built it. All of them are configured by wg(8).

use std::path::Path;

use anyhow::Result;
use dtap_tests::lab::{Background, Lab};
use dtap_tunnel::PrivateKey;

use super::ready::{self, PATIENCE};
use super::side::Side;

/// Runs `program` on both sides as the tunnel of this number.
pub(super) fn start(
    lab: &Lab,
    program: &Path,
    arguments: &[&str],
    tunnel: u8,
) -> Result<Vec<Background>> {
    let keys = Side::BOTH.map(|_| PrivateKey::generate());
    let interface = format!("wg{tunnel}");
    let program = program.display().to_string();
    let port = (BASE_PORT + u16::from(tunnel)).to_string();
    let mut programs = Vec::new();
    for (side, (own, other)) in Side::BOTH.into_iter().zip([(0, 1), (1, 0)]) {
        let command = [&[program.as_str()], arguments, &[&interface]].concat();
        let mut running = side.background(lab, &command)?;
        ready::wait(&mut running, PATIENCE, |_| {
            side.run(lab, &["wg", "show", &interface]).success()
        })?;
        programs.push(running);
        let name = format!("{interface}-{}.key", side.name());
        let file = lab.directory().join(name).display().to_string();
        std::fs::write(&file, keys[own].to_base64())?;
        let peer = keys[other].public().to_string();
        let endpoint = format!("{}:{port}", side.other().cable());
        let allowed = format!("{}/32", side.other().inner(tunnel));
        let own = ["private-key", &file, "listen-port", &port];
        let peer = ["peer", &peer, "endpoint", &endpoint];
        let set = [&["wg", "set", &interface][..], &own, &peer].concat();
        let set = [&set[..], &["allowed-ips", &allowed]].concat();
        side.run(lab, &set).text()?;
        side.configure(lab, &interface, tunnel)?;
    }
    Ok(programs)
}

const BASE_PORT: u16 = 51800;
