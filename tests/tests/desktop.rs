//! Docker Desktop with HyperKit: a VM of its own kernel, started by whatever stands in HyperKit's place.

#![cfg(target_os = "linux")]

use std::time::Instant;

use anyhow::Result;
use dtap_tests::lab::{DockerDesktop, Vm, can_run};

#[test]
fn containers_of_a_restarted_vm_are_reached_again() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let begin = Instant::now();
    let desktop = DockerDesktop::start()?;
    eprintln!("{:?}\n{}", begin.elapsed(), desktop.console());
    eprintln!(
        "{:?}",
        desktop.vm(&[
            "sh",
            "-c",
            "ip a; ip r; cat /proc/uptime; ls -l /sys/class/net; free; ps; cat /run/dockerd.log"
        ])
    );
    let begin = Instant::now();
    let web = desktop.container("web", &["--restart=always"])?;
    eprintln!("{:?} {web:?}", begin.elapsed());
    let begin = Instant::now();
    desktop.restart()?;
    eprintln!("restart {:?}", begin.elapsed());
    eprintln!("{:?}", desktop.inspect("web"));
    Ok(())
}
