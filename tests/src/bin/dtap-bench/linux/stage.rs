//! All subjects up at once, on one cable, so that they can be measured in turn.

use std::env;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use dtap_tests::client::Client;
use dtap_tests::inside::Inside;
use dtap_tests::lab::{Background, Container, Lab};
use dtap_tests::taps::Tap;
use dtap_tests::wait_until;
use nix::unistd::Pid;

use super::ready::{self, PATIENCE};
use super::side::Side;
use super::subject::Subject;
use super::{openvpn, own_program, process, wireguard};

/// Dropped, it takes everything down.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) subjects: Vec<Contestant>,
    web: Option<Container>,
    clients: Vec<(Subject, Client<'a>)>,
    programs: Vec<Background>,
}

/// A subject that is up.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) subject: Subject,
    /// What its other end is called: an address, for [`Subject::Exec`] a container.
    pub(super) target: String,
    /// Those that move the bytes: the near end and the far end, or none.
    pub(super) processes: Vec<Pid>,
}

impl<'a> Stage<'a> {
    pub(super) fn set(lab: &'a Lab, subjects: &[Subject]) -> Result<Self> {
        let mut stage = Self {
            lab,
            subjects: Vec::new(),
            web: None,
            clients: Vec::new(),
            programs: vec![lab.vm_background(&["iperf3", "--server"])?],
        };
        let mut subjects = subjects.to_vec();
        // Else dtap finds that it reaches the other end through their tunnels, too.
        subjects.sort_by_key(|subject| !subject.is_dtap());
        for subject in subjects {
            eprintln!("bench: bringing {subject} up");
            let contestant = stage.bring_up(subject);
            let contestant = contestant.with_context(|| format!("bring {subject} up"))?;
            stage.subjects.push(contestant);
        }
        for it in &stage.subjects {
            if it.subject != Subject::Exec {
                wait_until(PATIENCE, &format!("{} answers", it.subject), || {
                    lab.mac(&["ping", "-c1", "-W1", &it.target]).success()
                });
            }
        }
        Ok(stage)
    }

    /// Leaves the server one client, by which alone its idling is judged.
    pub(super) fn keep_one_client(&mut self) {
        let others = |subject| matches!(subject, Subject::Plain | Subject::Session);
        self.subjects.retain(|it| !others(it.subject));
        self.clients.retain(|(of, _)| !others(*of));
    }

    fn bring_up(&mut self, subject: Subject) -> Result<Contestant> {
        let lab = self.lab;
        let contestant = |target: String, processes| Contestant {
            subject,
            target,
            processes,
        };
        let tunnel = subject as u8;
        let peer = |name| -> Result<_> {
            let arguments = ["--foreground", "--disable-drop-privileges"];
            wireguard::start(lab, &installed(name)?, &arguments, tunnel)
        };
        let programs = match subject {
            Subject::Veth => return Ok(contestant(Side::Vm.cable().to_string(), Vec::new())),
            Subject::Exec => return Ok(contestant(self.web()?.id, Vec::new())),
            Subject::Dtap | Subject::Plain | Subject::Session => {
                let (target, processes) = self.connect(subject)?;
                return Ok(contestant(target, processes));
            }
            Subject::Container => {
                let (_, processes) = self.connect(Subject::Dtap)?;
                return Ok(contestant(self.web()?.v4()?.to_string(), processes));
            }
            Subject::L2 => {
                let (_, processes) = self.connect(Subject::Dtap)?;
                return Ok(contestant(self.neighbour()?.to_string(), processes));
            }
            Subject::Ceiling => ceiling(lab, tunnel)?,
            Subject::Gotatun => peer("gotatun")?,
            Subject::Boringtun => peer("boringtun-cli")?,
            Subject::WireguardGo => {
                wireguard::start(lab, "wireguard-go".as_ref(), &["--foreground"], tunnel)?
            }
            Subject::Openvpn => openvpn::start(lab, tunnel)?,
        };
        let processes = programs
            .iter()
            .map(Background::pid)
            .collect::<Result<_>>()?;
        self.programs.extend(programs);
        Ok(contestant(Side::Vm.inner(tunnel).to_string(), processes))
    }

    /// The address of the VM in the tunnel of this subject's client, and both ends.
    fn connect(&mut self, subject: Subject) -> Result<(String, Vec<Pid>)> {
        let path = if subject == Subject::Session {
            "session"
        } else {
            "udp"
        };
        let environment: &[&str] = if subject == Subject::Plain {
            &["env", NO_OFFLOADS]
        } else {
            &[]
        };
        if !self.clients.iter().any(|(of, _)| *of == subject) {
            let client = Client::new(self.lab, subject.name());
            let connect = client.command(&["connect", "--detach", "--path", path]);
            let connect: Vec<_> = connect.iter().map(String::as_str).collect();
            self.lab.mac(&[environment, &connect].concat()).text()?;
            client.wait_for_path(path);
            self.clients.push((subject, client));
        }
        let client = self.clients.iter().find(|(of, _)| *of == subject);
        let (_, client) = client.context("find the client")?;
        let id = self
            .lab
            .docker(&["inspect", "--format", "{{.Id}}", "dtap"])?;
        let server = process::of_container(&id, "/dtap-server run")?;
        let processes = vec![Pid::from_raw(client.pid()?), server];
        Ok((client.field("server_address"), processes))
    }

    /// The container, with an iperf3 of this machine listening in its network.
    fn web(&mut self) -> Result<Container> {
        if let Some(web) = &self.web {
            return Ok(web.clone());
        }
        let web = self.lab.container("web", &[])?;
        self.listen(&web)?;
        self.web = Some(web.clone());
        Ok(web)
    }

    /// A container like it on a network of its own, which the host is attached to.
    fn neighbour(&mut self) -> Result<Ipv4Addr> {
        self.lab.docker(&["network", "create", "ethernet"])?;
        let neighbour = self
            .lab
            .container("neighbour", &["--network", "ethernet"])?;
        self.listen(&neighbour)?;
        let clients = self.clients.iter();
        let mut clients = clients.filter(|(of, _)| *of == Subject::Dtap);
        let (_, client) = clients.next().context("find the client")?;
        Tap::attach(client, "ethernet", &["--carrier", "tunnel"])?;
        neighbour.v4()
    }

    fn listen(&mut self, container: &Container) -> Result<()> {
        let listener = Inside::of(self.lab, container)?.background(&["iperf3", "--server"])?;
        self.programs.push(listener);
        Ok(())
    }
}

/// This program's own [`super::forward`] on both sides.
fn ceiling(lab: &Lab, tunnel: u8) -> Result<Vec<Background>> {
    let own = own_program()?;
    let mut programs = Vec::new();
    for side in Side::BOTH {
        let port = CEILING_PORT.to_string();
        let to = format!("{}:{port}", side.other().cable());
        let forward = [&own, "tool", "forward", "--port", &port, "--to", &to];
        let mut program = side.background(lab, &forward)?;
        ready::wait(&mut program, PATIENCE, |it| it.output().contains('\n'))?;
        let said = program.output();
        ensure!(said.starts_with("dtap"), "the ceiling said: {said}");
        side.configure(lab, said.trim(), tunnel)?;
        programs.push(program);
    }
    Ok(programs)
}

/// A peer of `make bench`, which lies in `DTAP_TOOLS` or in the PATH.
fn installed(program: &str) -> Result<PathBuf> {
    let tools = env::var_os("DTAP_TOOLS").map(|tools| PathBuf::from(tools).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = tools.into_iter().chain(env::split_paths(&path));
    match directories.find(|it| it.join(program).is_file()) {
        Some(directory) => Ok(directory.join(program)),
        None => bail!("{program} is neither in DTAP_TOOLS nor in PATH; `make bench` installs it"),
    }
}

const CEILING_PORT: u16 = 51700;
/// What the client's device looks at.
const NO_OFFLOADS: &str = "DTAP_NO_OFFLOADS=1";
