//! Where on the PCI bus a device is: `pci_parse_slot` of `src/lib/pci_emul.c`.

use crate::Failure;
use crate::device::EMULATIONS;

/// In the order in which a guest finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) bus: u8,
    pub(crate) slot: u8,
    pub(crate) function: u8,
}

/// The value of an `-s`, whose emulation is known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) place: Place,
    pub(crate) emulation: String,
    pub(crate) configuration: Option<String>,
}

impl Slot {
    /// One that fits beside `others`.
    pub(crate) fn parse(value: &str, others: &[Self]) -> Result<Self, Failure> {
        let invalid = || Failure::new(format!("Invalid PCI slot info field \"{value}\""));
        let (place, device) = value.split_once(',').ok_or_else(invalid)?;
        let place = Place::parse(place).ok_or_else(invalid)?;
        let Place { slot, function, .. } = place;
        if others.iter().any(|other| other.place == place) {
            return Err(Failure::new(format!(
                "pci slot {slot}:{function} already occupied!"
            )));
        }
        let (emulation, configuration) = match device.split_once(',') {
            Some((emulation, configuration)) => (emulation, Some(configuration.to_owned())),
            None => (device, None),
        };
        if !EMULATIONS.contains(&emulation) {
            return Err(Failure::new(format!(
                "pci slot {slot}:{function}: unknown device \"{emulation}\""
            )));
        }
        Ok(Self {
            place,
            emulation: emulation.to_owned(),
            configuration,
        })
    }
}

impl Place {
    /// `bus:slot:function`, else `slot:function`, else `slot`, each read by sscanf(3): what follows does not count.
    fn parse(text: &str) -> Option<Self> {
        let numbers = numbers(text);
        let (bus, slot, function) = match numbers[..] {
            [bus, slot, function, ..] => (bus, slot, function),
            [slot, function] => (0, slot, function),
            [slot] => (0, slot, 0),
            [] => return None,
        };
        let place = Self {
            bus: u8::try_from(bus).ok()?,
            slot: u8::try_from(slot).ok()?,
            function: u8::try_from(function).ok()?,
        };
        (place.slot < SLOTS && place.function < FUNCTIONS).then_some(place)
    }
}

/// What `%d:%d:%d` would find.
fn numbers(text: &str) -> Vec<i64> {
    let mut found = Vec::new();
    let mut rest = text;
    while found.len() < 3 {
        let start = rest.trim_start();
        let digits = start.strip_prefix(['-', '+']).unwrap_or(start);
        let length = digits.len()
            - digits
                .trim_start_matches(|it: char| it.is_ascii_digit())
                .len();
        let end = start.len() - digits.len() + length;
        if length == 0 {
            break;
        }
        let Ok(number) = start[..end].parse() else {
            break;
        };
        found.push(number);
        match start[end..].strip_prefix(':') {
            Some(next) => rest = next,
            None => break,
        }
    }
    found
}

const SLOTS: u8 = 32;
const FUNCTIONS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::{Place, Slot};

    fn place(text: &str) -> Option<(u8, u8, u8)> {
        Place::parse(text).map(|it| (it.bus, it.slot, it.function))
    }

    #[test]
    fn a_place_has_one_two_or_three_numbers() {
        assert_eq!(place("31"), Some((0, 31, 0)));
        assert_eq!(place("1:7"), Some((0, 1, 7)));
        assert_eq!(place("255:1:0"), Some((255, 1, 0)));
        assert_eq!(place("4x"), Some((0, 4, 0)));
        assert_eq!(place("4:x"), Some((0, 4, 0)));
        for wrong in [
            "",
            "x",
            ":1",
            "32",
            "1:8",
            "-1",
            "256:1:0",
            "99999999999999999999",
        ] {
            assert_eq!(place(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_place_is_taken_twice_and_every_emulation_is_known() {
        let first = Slot::parse("1:0,virtio-vpnkit,path=a,uuid=b", &[]).expect("a slot");
        assert_eq!(first.emulation, "virtio-vpnkit");
        assert_eq!(first.configuration.as_deref(), Some("path=a,uuid=b"));
        let taken = [first];
        let reason = |value: &str| Slot::parse(value, &taken).map_err(|it| it.reason);
        for same in ["1,virtio-tap,tap1", "1:0,dummy", "0:1:0,dummy"] {
            assert_eq!(reason(same), Err("pci slot 1:0 already occupied!".into()));
        }
        assert!(reason("1:1,virtio-tap,tap1").is_ok());
        assert_eq!(
            reason("2,virtio-nap"),
            Err("pci slot 2:0: unknown device \"virtio-nap\"".into())
        );
        assert_eq!(reason("2"), Err("Invalid PCI slot info field \"2\"".into()));
    }
}
