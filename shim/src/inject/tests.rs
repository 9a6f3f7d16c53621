use std::os::unix::ffi::OsStringExt as _;

use insta::assert_snapshot;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::nic::Mac;

/// Recorded: what a user of 1.12.0-beta18 started by hand (the thread of 2016 that asks for tap);
/// the forum has eaten parts of the paths.
const RECORDED: &[&str] = &[
    "-A",
    "-m",
    "4G",
    "-c",
    "4",
    "-u",
    "-s",
    "0:0,hostbridge",
    "-s",
    "31,lpc",
    "-s",
    "2:0,virtio-tap,tap1",
    "-s",
    "3,virtio-blk,file:///Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/Docker.qcow2,format=qcow",
    "-s",
    "4,virtio-9p,path=/Users/birdman/Library/Containers/com.docker.docker/Data/s40,tag=db",
    "-s",
    "5,virtio-rnd",
    "-s",
    "6,virtio-9p,path=/Users/birdman/Library/Containers/com.docker.docker/Data/s51,tag=port",
    "-s",
    "7,virtio-sock,guest_cid=3,path=/Users/birdman/Library/Containers/com.docker.docker/Data,guest_forwards=2376",
    "-l",
    "com1,autopty=/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/tty,log=/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/console-ring",
    "-f",
    "kexec,/Applications/,/Applications/,earlyprintk=serial console=ttyS0 com.docker.driverDir=\"/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux\", com.docker.database=“com.docker.driver.amd64-linux” ntp=gateway",
    "-F",
    "/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/",
];

/// Reconstructed: the order of 2016 to 2018 as issues of moby/hyperkit and mal's bridge show it.
const OF_2017: &str = "-A -u -F vms/0/hyperkit.pid -c 4 -m 2048M -s 0:0,hostbridge -s 31,lpc \
    -s 2:0,virtio-vpnkit,uuid=3aa1ea2a-1c2b-4e45-93a3-d6a2e9a1f9f5,path=s50,macfile=mac.0 \
    -s 3,virtio-blk,file://Docker.qcow2,format=qcow -s 4,virtio-9p,path=s40,tag=db -s 5,virtio-rnd \
    -s 6,virtio-9p,path=s51,tag=port -s 7,virtio-sock,guest_cid=3,path=.,guest_forwards=2376;1525 \
    -l com1,autopty=tty,log=console-ring -f kexec,vmlinuz64,initrd.img,console=ttyS0";

/// Reconstructed: the order since 2019, in which slot 2 is the disk.
const OF_2020: &str = "-A -u -F vms/0/hyperkit.pid -c 2 -m 2048M -s 0:0,hostbridge -s 31,lpc \
    -s 1:0,virtio-vpnkit,path=vpnkit.eth.sock,uuid=a4f4c8b6-0a1e-4b6e-8a43-0e6d6c9a9b70 \
    -U 98f4a6f4-3f1c-4a1b-9d2f-0a6d1f1a4b11 -s 2:0,virtio-blk,Docker.raw \
    -s 3,virtio-sock,guest_cid=3,path=vms/0,guest_forwards=2376;1525 -s 4,ahci-cd,docker-desktop.iso \
    -s 5,ahci-cd,docker.iso -s 6,virtio-rnd -s 7,virtio-9p,path=vpnkit.port.sock,tag=port \
    -l com1,null,asl,log=vms/0/console-ring -f bootrom,UEFI.fd,,";

fn words(line: &str) -> Vec<OsString> {
    line.split_ascii_whitespace().map(OsString::from).collect()
}

fn nics(count: u8) -> Vec<Nic> {
    let nic = |unit| Nic {
        unit,
        mac: Mac([2, 0, 0, 0, 0, unit]),
    };
    (1..=count).map(nic).collect()
}

/// One option per line.
fn shown(arguments: &[OsString]) -> String {
    let words: Vec<_> = arguments.iter().map(|it| it.to_string_lossy()).collect();
    words.join(" ").replace(" -", "\n-")
}

#[test]
fn the_recorded_list_has_a_tap_already() {
    let recorded: Vec<_> = RECORDED.iter().map(OsString::from).collect();
    assert_eq!(inject(&recorded, &nics(1)), Err(Doubt::TapAlready));
}

/// The same thread: "currently hardcoded to -s 2:0,virtio-vpnkit".
#[test]
fn the_recorded_list_with_docker_s_own_nic_gets_one() {
    let replaced = RECORDED.iter().map(|it| match *it {
        "2:0,virtio-tap,tap1" => "2:0,virtio-vpnkit".into(),
        other => other.into(),
    });
    let recorded: Vec<OsString> = replaced.collect();
    assert_snapshot!(shown(&inject(&recorded, &nics(1)).unwrap()), @r##"
    -A
    -m 4G
    -c 4
    -u
    -s 0:0,hostbridge
    -s 31,lpc
    -s 2:0,virtio-vpnkit
    -s 30:0,virtio-tap,tap1,mac=02:00:00:00:00:01
    -s 3,virtio-blk,file:///Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/Docker.qcow2,format=qcow
    -s 4,virtio-9p,path=/Users/birdman/Library/Containers/com.docker.docker/Data/s40,tag=db
    -s 5,virtio-rnd
    -s 6,virtio-9p,path=/Users/birdman/Library/Containers/com.docker.docker/Data/s51,tag=port
    -s 7,virtio-sock,guest_cid=3,path=/Users/birdman/Library/Containers/com.docker.docker/Data,guest_forwards=2376
    -l com1,autopty=/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/tty,log=/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/console-ring
    -f kexec,/Applications/,/Applications/,earlyprintk=serial console=ttyS0 com.docker.driverDir="/Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux", com.docker.database=“com.docker.driver.amd64-linux” ntp=gateway
    -F /Users/birdman/Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/
    "##);
}

#[test]
fn the_reconstructed_list_of_2017_gets_one() {
    assert_snapshot!(shown(&inject(&words(OF_2017), &nics(1)).unwrap()), @r##"
    -A
    -u
    -F vms/0/hyperkit.pid
    -c 4
    -m 2048M
    -s 0:0,hostbridge
    -s 31,lpc
    -s 2:0,virtio-vpnkit,uuid=3aa1ea2a-1c2b-4e45-93a3-d6a2e9a1f9f5,path=s50,macfile=mac.0
    -s 30:0,virtio-tap,tap1,mac=02:00:00:00:00:01
    -s 3,virtio-blk,file://Docker.qcow2,format=qcow
    -s 4,virtio-9p,path=s40,tag=db
    -s 5,virtio-rnd
    -s 6,virtio-9p,path=s51,tag=port
    -s 7,virtio-sock,guest_cid=3,path=.,guest_forwards=2376;1525
    -l com1,autopty=tty,log=console-ring
    -f kexec,vmlinuz64,initrd.img,console=ttyS0
    "##);
}

#[test]
fn the_reconstructed_list_of_2020_gets_three_in_the_order_of_their_taps() {
    assert_snapshot!(shown(&inject(&words(OF_2020), &nics(3)).unwrap()), @r##"
    -A
    -u
    -F vms/0/hyperkit.pid
    -c 2
    -m 2048M
    -s 0:0,hostbridge
    -s 31,lpc
    -s 1:0,virtio-vpnkit,path=vpnkit.eth.sock,uuid=a4f4c8b6-0a1e-4b6e-8a43-0e6d6c9a9b70
    -s 28:0,virtio-tap,tap1,mac=02:00:00:00:00:01
    -s 29:0,virtio-tap,tap2,mac=02:00:00:00:00:02
    -s 30:0,virtio-tap,tap3,mac=02:00:00:00:00:03
    -U 98f4a6f4-3f1c-4a1b-9d2f-0a6d1f1a4b11
    -s 2:0,virtio-blk,Docker.raw
    -s 3,virtio-sock,guest_cid=3,path=vms/0,guest_forwards=2376;1525
    -s 4,ahci-cd,docker-desktop.iso
    -s 5,ahci-cd,docker.iso
    -s 6,virtio-rnd
    -s 7,virtio-9p,path=vpnkit.port.sock,tag=port
    -l com1,null,asl,log=vms/0/console-ring
    -f bootrom,UEFI.fd,,
    "##);
}

#[test]
fn joined_and_grouped_options_are_followed_by_separate_ones() {
    let result = inject(&words("-Aus1:0,virtio-net -fkexec,x -- y"), &nics(1)).unwrap();
    assert_snapshot!(shown(&result), @r##"
    -Aus1:0,virtio-net
    -s 30:0,virtio-tap,tap1,mac=02:00:00:00:00:01
    -fkexec,x
    -- y
    "##);
}

/// Functions first in the guest's order, and never one before the VM's own NIC.
#[test]
fn a_full_bus_gives_functions_of_the_nic_s_own_slot() {
    let full: Vec<_> = (0..31)
        .filter(|&slot| slot != 29)
        .map(|slot| match slot {
            2 => "-s 2:0,virtio-vpnkit".to_owned(),
            _ => format!("-s {slot},virtio-rnd"),
        })
        .collect();
    let full = words(&full.join(" "));
    let added = |count| {
        let result = inject(&full, &nics(count))?;
        let added: Vec<_> = result
            .iter()
            .filter(|it| it.to_string_lossy().contains("virtio-tap"))
            .map(|it| it.to_string_lossy().split(',').next().unwrap().to_owned())
            .collect();
        Ok(added.join(" "))
    };
    assert_eq!(added(1), Ok("29:0".to_owned()));
    assert_eq!(added(3), Ok("2:6 2:7 29:0".to_owned()));
    assert_eq!(added(9), Err(Doubt::NoFreeSlot));
}

#[test]
fn a_bus_of_its_own_is_kept() {
    let result = inject(&words("-s 3:4:5,virtio-net -s 30,virtio-rnd"), &nics(1)).unwrap();
    assert_eq!(result[3], "3:30:0,virtio-tap,tap1,mac=02:00:00:00:00:01");
}

#[test]
fn each_doubt_has_its_name() {
    let vpnkit = "-s 2:0,virtio-vpnkit";
    for (line, doubt) in [
        ("", Doubt::NoNic),
        ("-z", Doubt::Unreadable),
        ("-s 2:0,virtio-vpnkit -s", Doubt::Unreadable),
        ("-s 2:0,virtio-vpnkit -s help", Doubt::Unreadable),
        ("-s 2:0,virtio-vpnkit -M", Doubt::NoVm),
        ("-s 2:0,virtio-vpnkit -v", Doubt::NoVm),
        ("-Ah -s 2:0,virtio-vpnkit", Doubt::NoVm),
        (
            "-s 2:0,virtio-vpnkit -s 2,virtio-rnd",
            Doubt::SlotTakenTwice,
        ),
        ("-s 2:0,virtio-blk,virtio-vpnkit", Doubt::NoNic),
        ("-A -- -s 2:0,virtio-vpnkit", Doubt::NoNic),
        ("-s 31:0,virtio-vpnkit -s 31:7,lpc", Doubt::NoFreeSlot),
    ] {
        let count = if doubt == Doubt::NoFreeSlot { 7 } else { 1 };
        assert_eq!(inject(&words(line), &nics(count)), Err(doubt), "{line}");
    }
    assert_eq!(inject(&words(vpnkit), &[]), Err(Doubt::NothingToAdd));
}

fn slot_option() -> impl Strategy<Value = Vec<u8>> {
    let position = prop_oneof![
        (0..34u8).prop_map(|slot| slot.to_string()),
        (0..33u8, 0..9u8).prop_map(|(slot, function)| format!("{slot}:{function}")),
        (0..2u8, 0..32u8, 0..8u8)
            .prop_map(|(bus, slot, function)| format!("{bus}:{slot}:{function}")),
    ];
    let emulation = prop_oneof![
        6 => Just("virtio-rnd"),
        3 => Just("virtio-vpnkit,path=x"),
        1 => Just("virtio-tap,tap1"),
    ];
    (position, emulation).prop_map(|(position, emulation)| format!("{position},{emulation}").into())
}

fn argument() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        12 => slot_option().prop_map(|it| vec![b"-s".to_vec(), it]),
        4 => slot_option().prop_map(|it| vec![[b"-As".to_vec(), it].concat()]),
        2 => prop_oneof![Just("-A"), Just("-u"), Just("-H")].prop_map(|it| vec![it.into()]),
        1 => prop_oneof![Just("--"), Just("-M"), Just("-"), Just("-s")].prop_map(|it| vec![it.into()]),
        1 => vec(1..=255u8, 0..6).prop_map(|it| vec![it]),
        1 => vec(1..=255u8, 0..6).prop_map(|it| vec![b"-f".to_vec(), it]),
    ]
}

fn lists() -> impl Strategy<Value = Vec<OsString>> {
    vec(argument(), 0..12).prop_map(|it| it.concat().into_iter().map(OsString::from_vec).collect())
}

fn is_subsequence(of: &[OsString], result: &[OsString]) -> bool {
    let mut result = result.iter();
    of.iter().all(|wanted| result.any(|it| it == wanted))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_was_there_stays_and_no_slot_is_taken_twice(list in lists(), count in 1..4u8) {
        if let Ok(result) = inject(&list, &nics(count)) {
            prop_assert!(is_subsequence(&list, &result));
            prop_assert_eq!(result.len(), list.len() + 2 * usize::from(count));

            let devices: Vec<_> = getopt::options(&result)
                .unwrap()
                .into_iter()
                .filter(|it| it.letter == b's')
                .map(|it| Device::parse(it.value).unwrap())
                .collect();
            let slots: BTreeSet<_> = devices.iter().map(|it| it.slot).collect();
            prop_assert_eq!(slots.len(), devices.len());

            let of = |emulation: &[u8]| {
                devices.iter().filter(|it| it.emulation == emulation).map(|it| it.slot).collect::<Vec<_>>()
            };
            let (taps, nics) = (of(TAP), of(NICS[0]));
            prop_assert_eq!(taps.len(), usize::from(count));
            prop_assert!(taps.is_sorted());
            prop_assert!(nics.iter().max() < taps.first());
        }
    }

    #[test]
    fn flags_that_start_no_vm_and_unknown_ones_are_passed_through(
        mut list in lists(),
        flag in prop_oneof![Just("-M"), Just("-v"), Just("-h"), Just("-Avu"), Just("-Z"), Just("--version")],
    ) {
        list.insert(0, flag.into());
        prop_assert!(inject(&list, &nics(1)).is_err());
    }
}
