//! Engines on other machines, by a real sshd and by TLS with certificates on both sides, in one `connect`.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Background, Container, Lab, Link, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::{answers, serves};
use dtap_tests::wait_until;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

#[test]
fn engines_by_ssh_and_by_tls_are_reached_at_once() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let certificates = Certificates::issue()?;
    let a = Lab::start(Options {
        link: Link::Veth,
        dockerd_arguments: certificates.dockerd_arguments(),
        ..Options::default()
    })?;
    let b = Lab::start(Options::default())?;
    let by_tls = certificates.for_docker();
    a.docker(&["context", "create", "secure", "--docker", &by_tls])?;
    let _sshd = sshd(&a)?;
    let by_ssh = format!("ssh://root@127.0.0.1{}", b.socket().display());
    let at_a = container(&a, "172.30.1.0/24")?;
    let at_b = container(&b, "172.30.2.0/24")?;
    let before = (Machines::of(&a)?, Machines::of(&b)?);

    let client = Client::new(&a, "remote");
    client.connect(&["--context", "secure", "--docker-host", &by_ssh])?;
    assert_eq!(client.status()?["state"], "connected");
    for name in ["secure", &by_ssh] {
        let connection = client.connection_to(name)?;
        assert_eq!(connection["state"], "connected", "{connection}");
        assert_eq!(connection["engine"], a.docker(&VERSION)?, "{connection}");
    }
    answers(&a, &at_a).context("by TLS")?;
    assert!(serves(a.mac_namespace(), at_b.v4()?), "by ssh");

    // What an engine tells comes the same way.
    let late = b.container("late", &["--network", "own"])?.v4()?;
    b.docker(&["network", "create", "--subnet=172.30.3.0/24", "more"])?;
    let more = b.container("more", &["--network", "more"])?.v4()?;
    wait_until(PATIENCE, "what is new at b is reached", || {
        serves(a.mac_namespace(), late) && serves(a.mac_namespace(), more)
    });
    b.docker(&["rm", "--force", "late", "more"])?;
    b.docker(&["network", "rm", "more"])?;

    client.disconnect()?;
    before.0.restored(&a, AT_ONCE, "disconnect")?;
    before.1.restored(&b, AT_ONCE, "disconnect")
}

fn container(lab: &Lab, subnet: &str) -> Result<Container> {
    lab.docker(&["network", "create", "--subnet", subnet, "own"])?;
    lab.container("web", &["--network", "own"])
}

/// Lets the host's user log in to the host itself, which has the sockets of all labs.
fn sshd(lab: &Lab) -> Result<Background> {
    let path = lab.mac(&["printenv", "PATH"]).text()?;
    lab.mac(&["sh", "-c", LOGIN]).text()?;
    let command = format!("PATH={path}; eval \"$SSH_ORIGINAL_COMMAND\"");
    let listen = ["dropbear", "-F", "-E", "-s", "-p", "127.0.0.1:22"];
    let home = lab.mac(&["printenv", "HOME"]).text()?;
    let key = format!("{home}/.ssh/host");
    let own = ["-P", "/run/dropbear.pid", "-r", &key, "-c", &command];
    let sshd = lab.mac_background(&[&listen[..], &own].concat())?;
    wait_until(PATIENCE, "sshd answers", || {
        lab.mac(&["ssh", "-o", "BatchMode=yes", "root@127.0.0.1", "true"])
            .success()
    });
    Ok(sshd)
}

/// The one authority of an engine and its clients, with the files that Docker wants.
struct Certificates(TempDir);

impl Certificates {
    fn issue() -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let certificates = Self(TempDir::new()?);
        fs::write(certificates.path("ca"), authority.pem())?;
        for (name, subject) in [("server", ENGINE), ("client", "client")] {
            let key = KeyPair::generate()?;
            let parameters = CertificateParams::new([subject.to_owned()])?;
            let certificate = parameters.signed_by(&key, &authority)?;
            fs::write(certificates.path(name), certificate.pem())?;
            fs::write(
                certificates.path(&format!("{name}-key")),
                key.serialize_pem(),
            )?;
        }
        Ok(certificates)
    }

    fn dockerd_arguments(&self) -> Vec<String> {
        let file = |option: &str, name: &str| format!("--{option}={}", self.path(name).display());
        vec![
            format!("--host=tcp://{ENGINE}:2376"),
            "--tlsverify".to_owned(),
            file("tlscacert", "ca"),
            file("tlscert", "server"),
            file("tlskey", "server-key"),
        ]
    }

    fn for_docker(&self) -> String {
        let [ca, certificate, key] = ["ca", "client", "client-key"].map(|it| self.path(it));
        format!(
            "host=tcp://{ENGINE}:2376,ca={},cert={},key={}",
            ca.display(),
            certificate.display(),
            key.display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        let path: &Path = self.0.path();
        path.join(format!("{name}.pem"))
    }
}

/// ssh and sshd both look for a home in `passwd`, of which the host has a copy of its own.
const LOGIN: &str = r#"set -e
sed -i "s#^root:.*#root:x:0:0:root:$HOME:/bin/sh#" /etc/passwd
cd "$HOME"
mkdir -m 700 .ssh
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cp .ssh/id_ed25519.pub .ssh/authorized_keys
dropbearkey -t ed25519 -f .ssh/host | sed -n 's/^ssh-/127.0.0.1 ssh-/p' >.ssh/known_hosts"#;
const VERSION: [&str; 3] = ["version", "--format", "{{.Server.Version}}"];
/// The VM's address on a lab with [`Link::Veth`].
const ENGINE: &str = "192.168.106.2";
const AT_ONCE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);
