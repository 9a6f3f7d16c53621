//! The devices there are, with their options: what each `pe_init` of `src/lib/pci_*.c` makes of its configuration.

use crate::Failure;
use crate::mac::Mac;
use crate::slot::Slot;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    HostBridge,
    Lpc,
    /// `virtio-tap`: a NIC whose other end is an interface of the host.
    Tap {
        interface: Option<String>,
        mac: Mac,
    },
    /// `virtio-vpnkit`: a NIC whose other end listens at a socket.
    Vpnkit {
        socket: String,
    },
    /// `virtio-sock`: the ports of the guest that the host may connect to.
    Sock {
        ports: Vec<u16>,
    },
    Disk {
        file: String,
        bus: Bus,
        writable: bool,
    },
    Random,
    /// One that takes its place, but that no guest of the lab has use for.
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    Virtio,
    AhciDisk,
    AhciCd,
}

/// Every emulation of HyperKit.
pub(crate) const EMULATIONS: [&str; 14] = [
    "ahci-cd",
    "ahci-hd",
    "amd_hostbridge",
    "dummy",
    "hostbridge",
    "lpc",
    "uart",
    "virtio-9p",
    "virtio-blk",
    "virtio-net",
    "virtio-rnd",
    "virtio-sock",
    "virtio-tap",
    "virtio-vpnkit",
];

impl Device {
    pub(crate) fn parse(slot: &Slot) -> Result<Self, Failure> {
        let configuration = slot.configuration.as_deref();
        match slot.emulation.as_str() {
            "hostbridge" | "amd_hostbridge" => Ok(Self::HostBridge),
            "lpc" if slot.place.bus != 0 => {
                Err(Failure::new("LPC bridge can be present only on bus 0."))
            }
            "lpc" => Ok(Self::Lpc),
            "virtio-tap" => tap(slot),
            "virtio-vpnkit" => vpnkit(configuration.unwrap_or_default()),
            "virtio-sock" => sock(configuration),
            "virtio-blk" => disk(configuration, Bus::Virtio),
            "ahci-hd" => disk(configuration, Bus::AhciDisk),
            "ahci-cd" => disk(configuration, Bus::AhciCd),
            "virtio-rnd" => Ok(Self::Random),
            "virtio-net" => Err(Failure::new(
                "virtio-net: vmnet.framework is not in the lab",
            )),
            _ => Ok(Self::Idle),
        }
    }
}

/// `interface[,mac=…]`: the second option, whatever it is called, must be an address, and is the last that counts.
fn tap(slot: &Slot) -> Result<Device, Failure> {
    let mut options = slot.configuration.iter().flat_map(|it| it.splitn(2, ','));
    let interface = options.next().map(str::to_owned);
    let mac = match options.next() {
        Some(option) => Mac::parse(option)?,
        None => Mac::derived(&format!("{}-{}", slot.place.slot, slot.place.function)),
    };
    Ok(Device::Tap { interface, mac })
}

fn vpnkit(configuration: &str) -> Result<Device, Failure> {
    let mut socket = "/var/tmp/com.docker.slirp.socket".to_owned();
    for option in configuration.split(',').filter(|it| !it.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "path" => value.clone_into(&mut socket),
            "uuid" if value.len() != 36 => {
                return Err(Failure::new(format!(
                    "virtio-net-vpnkit: invalid uuid: {value}"
                )));
            }
            "uuid" | "macfile" | "preferred_ipv4" => {}
            _ => {
                return Err(Failure::new(format!(
                    "virtio-net-vpnkit: unknown option: {option}"
                )));
            }
        }
    }
    Ok(Device::Vpnkit { socket })
}

fn sock(configuration: Option<&str>) -> Result<Device, Failure> {
    let configuration =
        configuration.ok_or_else(|| Failure::new("virtio-sock: configuration required"))?;
    let (mut cid, mut path, mut ports) = (None, None, Vec::new());
    for option in configuration.split(',') {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "guest_cid" => {
                let number = value.parse().ok().filter(|it: &u32| *it > HOST_CID);
                let bad = || Failure::new(format!("bad guest cid: {option}"));
                cid = Some(number.ok_or_else(bad)?);
            }
            "path" => path = Some(value),
            "guest_forwards" => {
                for port in value.split(';').filter(|it| !it.is_empty()) {
                    let bad = |_| Failure::new(format!("invalid guest port forward {port}"));
                    ports.push(port.parse().map_err(bad)?);
                }
            }
            _ => return Err(Failure::new(format!("invalid option: {option}"))),
        }
    }
    if cid.is_none() || path.is_none() {
        return Err(Failure::new(
            "guest_cid and path options are both required.",
        ));
    }
    Ok(Device::Sock { ports })
}

/// `file[,option]…`. HyperKit knows formats that are not in the lab.
fn disk(configuration: Option<&str>, bus: Bus) -> Result<Device, Failure> {
    let mut options = configuration.unwrap_or_default().split(',');
    let file = options.next().filter(|it| !it.is_empty());
    let file = file.ok_or_else(|| Failure::new("virtio-block: backing device required"))?;
    let mut writable = bus != Bus::AhciCd;
    for option in options {
        match option {
            "ro" => writable = false,
            "nocache" | "sync" | "direct" | "format=raw" => {}
            _ => return Err(Failure::new(format!("Invalid device option \"{option}\""))),
        }
    }
    Ok(Device::Disk {
        file: file.strip_prefix("file://").unwrap_or(file).to_owned(),
        bus,
        writable,
    })
}

/// `VMADDR_CID_HOST`.
const HOST_CID: u32 = 2;

#[cfg(test)]
mod tests {
    use super::{Bus, Device};
    use crate::Failure;
    use crate::slot::Slot;

    fn parsed(value: &str) -> Result<Device, Failure> {
        Device::parse(&Slot::parse(value, &[])?)
    }

    #[test]
    fn a_tap_has_an_address_or_one_made_from_its_place() {
        let Ok(Device::Tap { interface, mac }) = parsed("4,virtio-tap,tap1,mac=02:00:00:00:00:07")
        else {
            panic!("it is a tap");
        };
        assert_eq!(interface.as_deref(), Some("tap1"));
        assert_eq!(mac.to_string(), "02:00:00:00:00:07");
        assert_ne!(parsed("4,virtio-tap,tap1"), parsed("4:1,virtio-tap,tap1"));
        assert!(parsed("4,virtio-tap").is_ok());
        for wrong in ["4,virtio-tap,tap1,mtu=9000", "4,virtio-tap,tap1,"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn vpnkit_has_four_options_and_no_other() {
        let uuid = "12345678-1234-1234-1234-123456789012";
        let all = format!("1:0,virtio-vpnkit,path=a,uuid={uuid},macfile=m,preferred_ipv4=1.2.3.4");
        assert_eq!(parsed(&all), Ok(Device::Vpnkit { socket: "a".into() }));
        for wrong in ["path=a,mac=1", "uuid=1"] {
            assert!(
                parsed(&format!("1:0,virtio-vpnkit,{wrong}")).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_sock_needs_its_path_and_its_number() {
        let device = parsed("3,virtio-sock,guest_cid=3,path=vms/0,guest_forwards=2376;1525");
        assert_eq!(
            device,
            Ok(Device::Sock {
                ports: vec![2376, 1525]
            })
        );
        for wrong in [
            "",
            ",path=a",
            ",guest_cid=3",
            ",guest_cid=2,path=a",
            ",guest_cid=3,path=a,x",
        ] {
            assert!(parsed(&format!("3,virtio-sock{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_disk_needs_a_file() {
        let device = Device::Disk {
            file: "/a".into(),
            bus: Bus::Virtio,
            writable: false,
        };
        assert_eq!(parsed("2:0,virtio-blk,/a,nocache,ro"), Ok(device));
        for wrong in [
            "2,virtio-blk",
            "2,ahci-hd,,ro",
            "2,virtio-blk,/a,format=qcow",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
