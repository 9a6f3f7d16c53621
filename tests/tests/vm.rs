//! The virtual machine that other stories run in.

#![cfg(target_os = "linux")]

use std::fs;
use std::process;
use std::time::Duration;

use anyhow::{Result, ensure};
use dtap_tests::lab::{Vm, VmOptions, can_run};
use dtap_tests::wait_until;

#[test]
fn a_virtual_machine_tells_how_its_command_ended_or_is_killed() -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let output = Vm::run(
        &running(
            "ls /sys/class/net /sys/module | grep -x -e lo -e llc -e bridge; ls /nowhere; exit 3",
        ),
        Duration::from_secs(60),
    )?;
    assert_eq!(output.code, 3, "{output:?}");
    for said in ["lo\n", "llc\n", "bridge\n", "/nowhere: No such file"] {
        ensure!(output.stdout.contains(said), "{output:?}");
    }
    ensure!(output.stderr.contains("Power down"), "{output:?}");

    let vm = Vm::start(&running("sleep 1000"))?;
    // A program that has just begun has no arguments yet. Not seen, it would make the last line prove nothing.
    wait_until(
        Duration::from_secs(10),
        "it runs with files of ours",
        is_there,
    );
    let Err(error) = vm.finish(Duration::from_millis(100)) else {
        panic!("it slept for a thousand seconds");
    };
    ensure!(format!("{error:#}").contains("still running"), "{error:#}");
    ensure!(!is_there(), "it is still running");
    Ok(())
}

fn running(command: &str) -> VmOptions<'_> {
    VmOptions {
        programs: &[],
        files: &[],
        modules: &["bridge"],
        command,
        memory_mib: 256,
    }
}

/// Whether a program runs with files of ours.
fn is_there() -> bool {
    let ours = format!("/dtap-lab-{}-", process::id());
    let mut processes = fs::read_dir("/proc").expect("/proc is mounted");
    processes.any(|entry| {
        // A process may end while we look.
        let command = entry.and_then(|entry| fs::read(entry.path().join("cmdline")));
        String::from_utf8_lossy(&command.unwrap_or_default()).contains(&ours)
    })
}
