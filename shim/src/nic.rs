//! The NICs to add, as the record names them.

use std::fmt;
use std::str::FromStr;

/// A network interface of the VM whose other end is an interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The N of the host's `tapN` and `/dev/tapN`.
    pub unit: u8,
    /// By which the VM's side is found: its name there depends on the order of the slots.
    pub mac: Mac,
}

/// A unicast Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Nic {
    /// Name of the host's interface, and of the node in `/dev`.
    pub fn interface(&self) -> String {
        format!("tap{}", self.unit)
    }
}

/// The lines `nic tapN MAC` of a record; every other line is the installer's.
///
/// `None` if one of them is not understood, or two are alike.
pub fn nics(record: &str) -> Option<Vec<Nic>> {
    let mut nics: Vec<Nic> = Vec::new();
    for line in record.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nic") {
            continue;
        }
        let unit = words.next()?.strip_prefix("tap")?;
        let is_plain = unit.bytes().all(|it| it.is_ascii_digit());
        let nic = Nic {
            unit: unit.parse().ok().filter(|_| is_plain)?,
            mac: words.next()?.parse().ok()?,
        };
        let is_twin = |it: &Nic| it.unit == nic.unit || it.mac == nic.mac;
        if words.next().is_some() || nics.iter().any(is_twin) {
            return None;
        }
        nics.push(nic);
    }
    Some(nics)
}

impl fmt::Display for Nic {
    /// A line of the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nic {} {}", self.interface(), self.mac)
    }
}

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not a unicast MAC address: six pairs of hexadecimal digits";
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(WRONG)?;
            let is_plain = pair.len() == 2 && pair.bytes().all(|it| it.is_ascii_hexdigit());
            *byte = u8::from_str_radix(pair, 16)
                .ok()
                .filter(|_| is_plain)
                .ok_or(WRONG)?;
        }
        let [first, ..] = bytes;
        let is_unicast = first & 1 == 0 && bytes != [0; 6];
        (pairs.next().is_none() && is_unicast)
            .then_some(Self(bytes))
            .ok_or(WRONG)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let nic = |unit, last| Nic {
            unit,
            mac: Mac([2, 0, 0, 0, 0xab, last]),
        };
        let (one, two) = (nic(1, 1), nic(12, 2));
        let record = format!("# a comment\nsha256 00\n{one}\nowner tap1 0 0 660\n{two}\n");
        assert_eq!(one.to_string(), "nic tap1 02:00:00:00:ab:01");
        assert_eq!(nics(&record), Some(vec![one, two]));
        assert_eq!(nics("sha256 00\n"), Some(Vec::new()));
    }

    #[test]
    fn one_line_that_is_not_understood_spoils_the_record() {
        for line in [
            "nic",
            "nic tap1",
            "nic tap 02:00:00:00:00:02",
            "nic tap+1 02:00:00:00:00:02",
            "nic tap256 02:00:00:00:00:02",
            "nic eth1 02:00:00:00:00:02",
            "nic tap2 02:00:00:00:00:02 more",
            "nic tap2 02:00:00:00:00",
            "nic tap2 02:00:00:00:00:02:03",
            "nic tap2 2:0:0:0:0:2",
            "nic tap2 +2:00:00:00:00:02",
            "nic tap2 ff:ff:ff:ff:ff:ff",
            "nic tap2 00:00:00:00:00:00",
            "nic tap1 02:00:00:00:00:02",
            "nic tap2 02:00:00:00:00:01",
        ] {
            let record = format!("nic tap1 02:00:00:00:00:01\n{line}\n");
            assert_eq!(nics(&record), None, "{line}");
        }
    }
}
