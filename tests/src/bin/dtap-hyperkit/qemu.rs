//! A machine as qemu has it: a Q35, whose host bridge and LPC bridge are where HyperKit's are, so that every other place is
//! free.
//!
//! `virtio-sock` needs a kernel module that a machine in a container has not. In its stead the guest finds a NIC that leads
//! nowhere but to those ports, each forwarded from the same port of the host's 127.0.0.1. It is the last of all, so that the
//! others have the names they have on a Mac.

use std::fs::{self, OpenOptions};
use std::path::Path;

use crate::Failure;
use crate::device::{Bus, Device};
use crate::mac::Mac;
use crate::options::Machine;
use crate::slot::Place;

/// How the emulator is started.
#[derive(Debug)]
pub(crate) struct Emulator {
    pub(crate) arguments: Vec<String>,
    /// What it is to read as its standard input, if anything.
    pub(crate) commands: String,
}

/// # Errors
/// When the machine would have a device where this one cannot, or its PID file is there already.
pub(crate) fn emulator(machine: &Machine, root: &Path) -> Result<Emulator, Failure> {
    let mut arguments: Vec<String> = MACHINE.split_whitespace().map(str::to_owned).collect();
    let mut commands = String::new();
    let mut add = |option: &str, value: &str| {
        arguments.extend([option, value].map(str::to_owned));
    };
    add("-m", &format!("{}M", machine.memory_mib));
    add("-smp", &machine.processors.to_string());
    add("-kernel", &machine.kernel);
    for (option, value) in [
        ("-initrd", &machine.initrd),
        ("-append", &machine.kernel_arguments),
        ("-uuid", &machine.uuid),
    ] {
        if let Some(value) = value {
            add(option, value);
        }
    }
    if let Some(file) = &machine.pid_file {
        if fs::symlink_metadata(file).is_ok() {
            return Err(Failure::new("Failed to set up pidfile\npidfile error -1"));
        }
        add("-pidfile", file);
    }
    for log in &machine.logs {
        let serial = log.as_ref().map(|it| format!("file:{it}"));
        add("-serial", serial.as_deref().unwrap_or("null"));
    }
    for (place, device) in &machine.devices {
        let attachment = Attachment::of(*place, device, root)?;
        for (option, value) in attachment.options {
            add(option, &value);
        }
        if let Some(id) = attachment.unplugged {
            commands.push_str(&format!("set_link {id} off\n"));
        }
    }
    if !commands.is_empty() {
        add("-chardev", "stdio,id=commands,signal=off");
        add("-mon", "chardev=commands");
    }
    Ok(Emulator {
        arguments,
        commands,
    })
}

/// A device on the bus.
#[derive(Debug, Default)]
struct Attachment {
    options: Vec<(&'static str, String)>,
    /// A NIC whose link is down.
    unplugged: Option<String>,
}

impl Attachment {
    fn of(place: Place, device: &Device, root: &Path) -> Result<Self, Failure> {
        let Place {
            bus,
            slot,
            function,
        } = place;
        if bus != 0 {
            return Err(Failure::new(format!("the lab has no PCI bus {bus}")));
        }
        let id = format!("d{slot}f{function}");
        let at = format!("addr={slot:x}.{function},multifunction=on");
        match device {
            Device::HostBridge => Self::fixed(place, (0, 0)),
            Device::Lpc => Self::fixed(place, (31, 0)),
            Device::Tap { interface, mac } => {
                Ok(Self::tap(&id, &at, root, interface.as_deref(), *mac))
            }
            Device::Vpnkit { socket } => {
                let socket = escaped(socket);
                let netdev = format!("stream,server=off,addr.type=unix,addr.path={socket}");
                Ok(Self::nic(&id, &at, &netdev, Mac::VPNKIT))
            }
            Device::Sock { ports } => {
                let forward = |port: &u16| format!(",hostfwd=tcp:127.0.0.1:{port}-:{port}");
                let forwards: String = ports.iter().map(forward).collect();
                let netdev = format!("user,restrict=on{forwards}");
                Ok(Self::nic(&id, SOCK, &netdev, Mac::SOCK))
            }
            Device::Disk {
                file,
                bus,
                writable,
            } => Ok(Self::disk(&id, &at, file, *bus, *writable)),
            Device::Random => Ok(Self::from([("-device", format!("virtio-rng-pci,{at}"))])),
            Device::Idle => Ok(Self::default()),
        }
    }

    /// What this machine has anyway.
    fn fixed(place: Place, at: (u8, u8)) -> Result<Self, Failure> {
        if (place.slot, place.function) == at {
            return Ok(Self::default());
        }
        let (slot, function) = at;
        Err(Failure::new(format!("the lab's is at {slot}:{function}")))
    }

    /// The link is down if the tap's device cannot be opened, of which HyperKit only warns.
    fn tap(id: &str, at: &str, root: &Path, interface: Option<&str>, mac: Mac) -> Self {
        let device = root.join("dev").join(interface.unwrap_or_default());
        let opened = OpenOptions::new().read(true).write(true).open(&device);
        match (interface, opened) {
            (Some(interface), Ok(_)) => {
                let netdev = format!("tap,ifname={interface},script=no,downscript=no,vnet_hdr=off");
                Self::nic(id, at, &netdev, mac)
            }
            (_, Err(_)) | (None, Ok(_)) => {
                eprintln!("open of tap device {} failed", device.display());
                Self {
                    unplugged: Some(id.to_owned()),
                    ..Self::nic(id, at, "hubport,hubid=0", mac)
                }
            }
        }
    }

    fn nic(id: &str, at: &str, netdev: &str, mac: Mac) -> Self {
        let (kind, options) = netdev.split_once(',').unwrap_or((netdev, ""));
        let device = format!("virtio-net-pci,id={id},netdev=n{id},mac={mac},romfile=,{at}");
        Self::from([
            ("-netdev", format!("{kind},id=n{id},{options}")),
            ("-device", device),
        ])
    }

    fn disk(id: &str, at: &str, file: &str, bus: Bus, writable: bool) -> Self {
        let access = if writable { "off" } else { "on" };
        let file = escaped(file);
        let drive =
            format!("if=none,id=n{id},format=raw,readonly={access},cache=unsafe,file={file}");
        let controller = ("-device", format!("ahci,id={id},{at}"));
        let ahci = |kind: &str| ("-device", format!("{kind},drive=n{id},bus={id}.0"));
        let mut options = vec![("-drive", drive)];
        options.extend(match bus {
            Bus::Virtio => vec![("-device", format!("virtio-blk-pci,drive=n{id},{at}"))],
            Bus::AhciDisk => vec![controller, ahci("ide-hd")],
            Bus::AhciCd => vec![controller, ahci("ide-cd")],
        });
        Self {
            options,
            unplugged: None,
        }
    }
}

impl<const N: usize> From<[(&'static str, String); N]> for Attachment {
    fn from(options: [(&'static str, String); N]) -> Self {
        Self {
            options: options.into(),
            unplugged: None,
        }
    }
}

/// A value of one of qemu's lists.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

const MACHINE: &str = "-machine q35,sata=off,smbus=off -accel tcg -cpu max,la57=off -nodefaults -no-user-config \
    -display none -no-reboot";
/// The last place of the bus.
const SOCK: &str = "addr=1f.7";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::emulator;
    use crate::options::{self, Request};

    fn started(line: &str, root: &Path) -> Result<String, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let Request::Boot(machine) = options::parse(&words).map_err(|it| it.reason)? else {
            panic!("{line} boots nothing");
        };
        let emulator = emulator(&machine, root).map_err(|it| it.reason)?;
        Ok(emulator.arguments.join(" ") + "\n" + &emulator.commands)
    }

    #[test]
    fn a_device_is_where_it_was_put() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("dev")).expect("a directory");
        fs::write(root.path().join("dev/tap1"), "").expect("a file");
        let line = "-f kexec,k -s 0:0,hostbridge -s 31,lpc -s 1:0,virtio-vpnkit,path=eth.sock \
            -s 1:1,virtio-tap,tap1,mac=02:00:00:00:00:07 -s 10,virtio-tap,tap2,mac=02:00:00:00:00:08";
        let started = started(line, root.path()).expect("an emulator");
        for part in [
            "stream,id=nd1f0,server=off,addr.type=unix,addr.path=eth.sock",
            "netdev=nd1f0,mac=02:50:00:00:00:01,romfile=,addr=1.0,multifunction=on",
            "tap,id=nd1f1,ifname=tap1,script=no,downscript=no,vnet_hdr=off",
            "netdev=nd1f1,mac=02:00:00:00:00:07,romfile=,addr=1.1,multifunction=on",
            "netdev=nd10f0,mac=02:00:00:00:00:08,romfile=,addr=a.0,multifunction=on",
            "-mon chardev=commands\nset_link d10f0 off\n",
        ] {
            assert!(started.contains(part), "no {part} in {started}");
        }
    }

    #[test]
    fn what_this_machine_cannot_have_is_refused() {
        for (slot, reason) in [
            ("1,hostbridge", "the lab's is at 0:0"),
            ("30,lpc", "the lab's is at 31:0"),
            ("1:1:0,virtio-rnd", "the lab has no PCI bus 1"),
        ] {
            let started = started(&format!("-f kexec,k -s {slot}"), Path::new("/"));
            assert_eq!(started, Err(reason.to_owned()));
        }
    }
}
