//! A lab's machines and engines are what they are said to be, and go without a trace.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use dtap_tests::lab::{Background, Engine, Firewall, Lab, Options, PAGE, can_run};
use dtap_tests::wait_until;
use nix::sys::signal::Signal;

#[test]
fn every_engine_runs_containers_that_the_vm_reaches_and_the_host_does_not() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        let web = lab.container("web", &[])?;
        for address in web.addresses {
            let ping = ["ping", "-c1", "-W1", &address.to_string()];
            // IPv6 addresses take a second to settle.
            let what = format!("{} answers the VM on {}", address, lab.engine());
            wait_until(SOON, &what, || lab.vm(&ping).success());
            assert!(!lab.mac(&ping).success(), "{} {address}", lab.engine());
        }
    }
    Ok(())
}

#[test]
fn every_engine_runs_on_legacy_iptables_too() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            firewall: Firewall::IptablesLegacy,
            ..Options::default()
        })?;
        let web = lab.container("web", &["--publish", "8080:80"])?;
        let page = format!("http://{}/", web.v4()?);
        assert_eq!(lab.vm(&["curl", "-sf", &page]).text()?, PAGE.trim_end());
        let chain = lab.vm(&["iptables-legacy", "-S", "DOCKER-USER"]);
        assert!(chain.success(), "{} {chain:?}", lab.engine());
        let nft = lab.vm(&["nft", "list", "ruleset"]).text()?;
        assert!(!nft.contains("DOCKER"), "{} {nft}", lab.engine());
    }
    Ok(())
}

#[test]
fn dockerd_stops_with_its_containers_is_killed_without_and_comes_back() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &["--restart", "always"])?;
    let page = format!("http://{}/", web.v4()?);
    let serves = || lab.vm(&["curl", "-sf", "-m1", &page]).success();

    lab.kill_dockerd()?;
    assert!(serves(), "a container outlives a killed dockerd");
    lab.start_dockerd()?;
    wait_until(SOON, "dockerd starts the container again", serves);
    lab.stop_dockerd()?;
    assert!(!serves());
    lab.start_dockerd()?;
    wait_until(SOON, "dockerd starts the container again", serves);
    Ok(())
}

#[test]
fn snapshots_are_stable_and_show_what_was_set() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    lab.docker(&["network", "create", "--subnet", "172.30.0.0/16", "web"])?;
    // The first container makes Docker add a table that stays.
    lab.container("first", &["--network", "web"])?;
    lab.docker(&["rm", "-f", "first"])?;
    let mac = lab.snapshot_mac()?;
    let vm = lab.snapshot_vm()?;
    assert!(vm.contains("172.30.0.0/16"), "{vm}");
    lab.container("web", &["--network", "web"])?;
    lab.docker(&["rm", "-f", "web"])?;
    assert_eq!(lab.snapshot_vm()?, vm);

    lab.mac(&[
        "sh",
        "-c",
        "ip route add 172.30.0.0/16 dev lo; echo >/etc/dtap",
    ])
    .text()?;
    let changed = lab.snapshot_mac()?;
    let added: Vec<_> = changed.lines().filter(|line| !mac.contains(line)).collect();
    assert_eq!(
        added,
        [
            "172.30.0.0/16 dev lo scope link",
            "/run/lab/etc/changed/dtap"
        ]
    );
    assert!(
        !fs::exists("/etc/dtap")?,
        "the machine's own files do not change"
    );
    Ok(())
}

#[test]
fn background_programs_can_be_signalled_and_end_with_their_owner() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let trap = [
        "sh",
        "-c",
        "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done",
    ];
    for mut program in [lab.mac_background(&trap)?, lab.vm_background(&trap)?] {
        await_line(&program, "ready");
        program.signal(Signal::SIGTERM)?;
        assert_eq!(program.wait(SOON)?, 3);
        await_line(&program, "bye");
    }
    Ok(())
}

#[test]
fn several_labs_run_side_by_side_and_leave_nothing() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let labs = [
        Lab::start(Options::default())?,
        Lab::start(Options::default())?,
    ];
    let mut names = Vec::new();
    for lab in &labs {
        lab.container("web", &["--publish", "8080:80"])?;
        let daemon = lab
            .mac_command("sh")
            .args(["-c", "setsid sleep 1000 &"])
            .status()?;
        assert!(daemon.success());
        names.push(
            lab.directory()
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned(),
        );
    }
    assert_ne!(names[0], names[1]);
    drop(labs);
    for name in names {
        assert_eq!(traces(&name), Vec::<String>::new());
    }
    Ok(())
}

#[test]
fn what_a_killed_lab_leaves_is_removed_by_the_next() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mut killed = Command::new(env!("CARGO_BIN_EXE_dtap-lab"))
        .args([
            "run",
            "--",
            "sh",
            "-c",
            "docker run -d busybox; setsid sleep 1000 & echo $!; read _",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let name = format!("dtap-lab-{}-0", killed.id());
    let mut said = [0; 66];
    killed.stdout.take().unwrap().read_exact(&mut said)?;
    assert!(!traces(&name).is_empty());
    killed.kill()?;
    killed.wait()?;
    drop(Lab::start(Options::default())?);
    assert_eq!(traces(&name), Vec::<String>::new());
    Ok(())
}

fn await_line(program: &Background, line: &str) {
    wait_until(SOON, line, || {
        program.output().lines().any(|said| said == line)
    });
}

/// Namespaces, mounts, directories, cgroups and processes that bear the name of a lab.
fn traces(lab: &str) -> Vec<String> {
    let mut found = Vec::new();
    let temporary = env::temp_dir();
    for directory in [
        Path::new("/run/netns"),
        &temporary,
        Path::new("/sys/fs/cgroup"),
        Path::new("/sys/fs/cgroup/memory"),
    ] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(
            entries
                .map(|entry| entry.path().display().to_string())
                .filter(|path| path.contains(lab)),
        );
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    found.extend(
        mounts
            .lines()
            .filter(|mount| mount.contains(lab))
            .map(str::to_owned),
    );
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let about = |file: &str| fs::read(process.path().join(file)).unwrap_or_default();
        let said = [about("cmdline"), about("environ")].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains(lab) {
            found.push(said);
        }
    }
    found
}

const SOON: Duration = Duration::from_secs(10);
