//! The command line: getopt(3) as `main` of `src/hyperkit.c` uses it.

use crate::Failure;
use crate::device::Device;
use crate::mac::Mac;
use crate::slot::{Place, Slot};

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Version,
    Mac(Mac),
    Boot(Box<Machine>),
}

/// A machine to boot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) initrd: Option<String>,
    pub(crate) kernel_arguments: Option<String>,
    pub(crate) memory_mib: u64,
    pub(crate) processors: u32,
    pub(crate) uuid: Option<String>,
    pub(crate) pid_file: Option<String>,
    /// Where COM1 and COM2 write to.
    pub(crate) logs: [Option<String>; 2],
    pub(crate) devices: Vec<(Place, Device)>,
}

pub(crate) fn parse(arguments: &[String]) -> Result<Request, Failure> {
    let mut slots = Vec::new();
    let mut firmware = None;
    let mut machine = Machine {
        kernel: String::new(),
        initrd: None,
        kernel_arguments: None,
        memory_mib: 256,
        processors: 1,
        uuid: None,
        pid_file: None,
        logs: [None, None],
        devices: Vec::new(),
    };
    let mut prints_mac = false;
    for option in options(arguments) {
        let (letter, value) = option?;
        match letter {
            'h' => return Ok(Request::Help),
            'v' => return Ok(Request::Version),
            'M' => prints_mac = true,
            'c' => {
                let invalid = || Failure::new(format!("Invalid guest vCPUs ({value})"));
                machine.processors = value.parse().map_err(|_| invalid())?;
                if !(1..=PROCESSORS).contains(&machine.processors) {
                    return Err(invalid());
                }
            }
            'f' => firmware = Some(value),
            'F' => machine.pid_file = Some(value),
            'l' => {
                let (unit, backend) = serial(&value)?;
                machine.logs[unit] = backend;
            }
            'm' => {
                let invalid = || Failure::usage(format!("invalid memsize '{value}'"));
                machine.memory_mib = memory(&value).ok_or_else(invalid)?;
            }
            's' => slots.push(Slot::parse(&value, &slots)?),
            'U' => machine.uuid = Some(value),
            // What does not change the devices that a guest finds.
            _ => {}
        }
    }
    if prints_mac {
        let uuid = machine.uuid.ok_or_else(usage)?;
        return Ok(Request::Mac(Mac::derived(&uuid)));
    }
    let firmware = firmware.ok_or_else(usage)?;
    kexec(&firmware, &mut machine)?;
    for slot in slots {
        machine.devices.push((slot.place, Device::parse(&slot)?));
    }
    Ok(Request::Boot(Box::new(machine)))
}

/// Letters and their values, which may be joined with the letter or the next argument. What is after `--` or the first that
/// is no option does not count, nor does what is after an error.
fn options(arguments: &[String]) -> Vec<Result<(char, String), Failure>> {
    let mut found = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let letters = argument.strip_prefix('-').unwrap_or_default();
        if letters.is_empty() || letters == "-" {
            break;
        }
        for (index, letter) in letters.char_indices() {
            if FLAGS.contains(letter) {
                found.push(Ok((letter, String::new())));
                continue;
            }
            let value = match &letters[index + letter.len_utf8()..] {
                "" => arguments.next().cloned(),
                joined => Some(joined.to_owned()),
            };
            match value.filter(|_| VALUED.contains(letter)) {
                Some(value) => found.push(Ok((letter, value))),
                None => found.push(Err(usage())),
            }
            break;
        }
    }
    found
}

fn usage() -> Failure {
    Failure::new("Try 'hyperkit --help' for more information.")
}

/// `kexec,kernel[,initrd][,arguments]`: the last may have commas.
fn kexec(firmware: &str, machine: &mut Machine) -> Result<(), Failure> {
    let invalid = || Failure::new("Invalid firmware argument");
    let mut parts = firmware.splitn(4, ',');
    if !parts.next().is_some_and(|it| it.starts_with("kexec")) {
        return Err(invalid());
    }
    let mut next = || parts.next().filter(|it| !it.is_empty()).map(str::to_owned);
    machine.kernel = next().ok_or_else(invalid)?;
    machine.initrd = next();
    machine.kernel_arguments = next();
    Ok(())
}

/// The unit of a `com1,…` or `com2,…`, and the file that it is written to.
fn serial(value: &str) -> Result<(usize, Option<String>), Failure> {
    let invalid = || Failure::usage(format!("invalid lpc device configuration '{value}'"));
    let (device, backends) = value.split_once(',').unwrap_or((value, ""));
    let unit = match device.to_ascii_lowercase().as_str() {
        "com1" => 0,
        "com2" => 1,
        _ => return Err(invalid()),
    };
    let mut logs = backends.split(',').filter_map(|it| it.strip_prefix("log="));
    Ok((unit, logs.next().map(str::to_owned)))
}

/// In MiB. Less than 1048576 without a unit are MiB.
fn memory(value: &str) -> Option<u64> {
    let digits = value.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let bytes = match value[digits.len()..].to_ascii_lowercase().as_str() {
        "" if number < MIB => number.checked_mul(MIB)?,
        "" | "b" => number,
        "k" => number.checked_mul(1 << 10)?,
        "m" => number.checked_mul(MIB)?,
        "g" => number.checked_mul(1 << 30)?,
        "t" => number.checked_mul(1 << 40)?,
        _ => return None,
    };
    Some(bytes / MIB)
}

/// The two halves of `behvuwxMACHPWY:f:F:g:c:s:m:l:U:`: of these only Y has a value there, which `main` ignores.
const FLAGS: &str = "behvuwxMACHPW";
const VALUED: &str = "YfFgcsmlU";
const PROCESSORS: u32 = 64;
const MIB: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{Machine, Request, memory, options, parse};
    use crate::Failure;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn booted(line: &str) -> Result<Box<Machine>, Failure> {
        let Request::Boot(machine) = parse(&words(line))? else {
            panic!("{line} boots nothing");
        };
        Ok(machine)
    }

    #[test]
    fn values_are_joined_or_separate_and_flags_are_bundled() {
        let found = options(&words("-Au -s2:0,dummy -c 4 -wm2G -- -s 9"));
        let expected = [
            ('A', ""),
            ('u', ""),
            ('s', "2:0,dummy"),
            ('c', "4"),
            ('w', ""),
            ('m', "2G"),
        ];
        let expected = expected.map(|(letter, value)| Ok((letter, value.to_owned())));
        assert_eq!(found, expected);
        for wrong in ["-Z", "-s", "-c 2 -z", "--help"] {
            assert!(options(&words(wrong)).iter().any(Result::is_err), "{wrong}");
        }
    }

    #[test]
    fn a_machine_has_what_it_was_given() {
        let line = "-A -u -F vms/0/hyperkit.pid -c 2 -m 2048M -s 0:0,hostbridge -s 31,lpc -l com1,null,asl,log=ring \
            -f kexec,/kernel,/initrd,console=ttyS0,115200";
        let machine = booted(line).expect("a machine");
        assert_eq!(machine.kernel, "/kernel");
        assert_eq!(machine.initrd.as_deref(), Some("/initrd"));
        assert_eq!(
            machine.kernel_arguments.as_deref(),
            Some("console=ttyS0,115200")
        );
        assert_eq!((machine.memory_mib, machine.processors), (2048, 2));
        assert_eq!(machine.pid_file.as_deref(), Some("vms/0/hyperkit.pid"));
        assert_eq!(machine.logs, [Some("ring".to_owned()), None]);
        assert_eq!(machine.devices.len(), 2);
    }

    #[test]
    fn what_hyperkit_refuses_is_refused() {
        for (line, reason, code) in [
            ("-A", "Try 'hyperkit --help' for more information.", 1),
            ("-f bootrom,/UEFI.fd", "Invalid firmware argument", 1),
            ("-f kexec", "Invalid firmware argument", 1),
            ("-f kexec,k -c 0", "Invalid guest vCPUs (0)", 1),
            ("-f kexec,k -m 2X", "invalid memsize '2X'", 64),
            (
                "-f kexec,k -l com9",
                "invalid lpc device configuration 'com9'",
                64,
            ),
            (
                "-f kexec,k -s 1,dummy -s 1:0,dummy",
                "pci slot 1:0 already occupied!",
                1,
            ),
        ] {
            let failure = booted(line).expect_err(line);
            assert_eq!((failure.reason.as_str(), failure.code), (reason, code));
        }
    }

    #[test]
    fn a_question_is_answered_without_a_machine() {
        // getopt(3) reads only as far as it is asked to.
        for (line, expected) in [("-A -h -Z", Request::Help), ("-v -s", Request::Version)] {
            assert_eq!(parse(&words(line)), Ok(expected), "{line}");
        }
        assert!(matches!(parse(&words("-M -U 1-2")), Ok(Request::Mac(_))));
        assert!(parse(&words("-M")).is_err());
    }

    #[test]
    fn memory_has_a_unit_or_is_in_mebibytes() {
        assert_eq!(memory("1024"), Some(1024));
        assert_eq!(memory("2G"), Some(2048));
        assert_eq!(memory("3145728k"), Some(3072));
        assert_eq!(memory("2147483648"), Some(2048));
        assert_eq!(memory("G"), None);
    }
}
