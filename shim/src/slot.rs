//! The value of `-s`: where on the PCI bus, and what.

use std::str::FromStr;

/// A place on the PCI bus; the guest numbers its interfaces in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub(crate) bus: u8,
    pub(crate) slot: u8,
    pub(crate) function: u8,
}

impl Slot {
    pub(crate) const SLOTS: u8 = 32;
    pub(crate) const FUNCTIONS: u8 = 8;

    /// `bus:slot:func`, `slot:func` or `slot`; `None` for anything else, even where sscanf(3)
    /// would make something of it.
    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<u8> = text.split(':').map(number).collect::<Option<_>>()?;
        let (bus, slot, function) = match numbers[..] {
            [bus, slot, function] => (bus, slot, function),
            [slot, function] => (0, slot, function),
            [slot] => (0, slot, 0),
            _ => return None,
        };
        let fits = slot < Self::SLOTS && function < Self::FUNCTIONS;
        fits.then_some(Self {
            bus,
            slot,
            function,
        })
    }
}

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device<'a> {
    pub(crate) slot: Slot,
    pub(crate) emulation: &'a [u8],
}

impl<'a> Device<'a> {
    /// `slot,emulation[,configuration]`
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut fields = value.splitn(3, |&it| it == b',');
        let slot = Slot::parse(str::from_utf8(fields.next()?).ok()?)?;
        let emulation = fields.next().filter(|it| !it.is_empty())?;
        Some(Self { slot, emulation })
    }
}

fn number(text: &str) -> Option<u8> {
    let is_plain = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    u8::from_str(text).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let slot = |bus, slot, function| {
            Some(Slot {
                bus,
                slot,
                function,
            })
        };
        assert_eq!(Slot::parse("255:31:7"), slot(255, 31, 7));
        assert_eq!(Slot::parse("2:0"), slot(0, 2, 0));
        assert_eq!(Slot::parse("31"), slot(0, 31, 0));
    }

    #[test]
    fn what_sscanf_would_let_pass_is_a_doubt() {
        for text in [
            "", " 2", "+2", "2x", "2:", "32", "2:8", "256:0:0", "0:0:0:0", "-1", "0x2",
        ] {
            assert_eq!(Slot::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_device_needs_an_emulation_but_no_configuration() {
        let device = Device::parse(b"31,lpc").unwrap();
        assert_eq!(device.emulation, b"lpc");
        let device = Device::parse(b"1:0,virtio-vpnkit,path=a,b").unwrap();
        assert_eq!(device.emulation, b"virtio-vpnkit");
        assert_eq!(Device::parse(b"31"), None);
        assert_eq!(Device::parse(b"31,"), None);
    }
}
