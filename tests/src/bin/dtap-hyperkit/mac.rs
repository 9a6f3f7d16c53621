//! Addresses of NICs.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mac([u8; 6]);

impl Mac {
    /// `mac=` and an address as ether_aton(3) takes it; neither a group's nor zero.
    pub(crate) fn parse(option: &str) -> Result<Self, Failure> {
        let text = option
            .strip_prefix("mac=")
            .ok_or_else(|| Failure::new(format!("Invalid MAC option {option}")))?;
        let invalid = || Failure::new(format!("Invalid MAC {text}"));
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(invalid)?;
            let is_hexadecimal = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !(1..=2).contains(&part.len()) || !is_hexadecimal {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(invalid());
        }
        Ok(Self(bytes))
    }

    /// What a NIC gets that is given none: NetApp's prefix and a digest. HyperKit's digest is another, by MD5.
    pub(crate) fn derived(from: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        from.hash(&mut hasher);
        let digest = hasher.finish().to_be_bytes();
        Self([0x00, 0xa0, 0x98, digest[0], digest[1], digest[2]])
    }

    /// What vpnkit tells the VM that its NIC has.
    pub(crate) const VPNKIT: Self = Self([0x02, 0x50, 0x00, 0x00, 0x00, 0x01]);
    pub(crate) const SOCK: Self = Self([0x02, 0x50, 0x00, 0x00, 0x00, 0x03]);
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        formatter.write_str(&bytes.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn an_address_is_a_stations_of_six_bytes() {
        let parsed = Mac::parse("mac=2:00:0a:FF:1:9").expect("as ether_aton has it");
        assert_eq!(parsed.to_string(), "02:00:0a:ff:01:09");
        for wrong in [
            "",
            "mac",
            "mac=",
            "MAC=02:00:00:00:00:01",
            "mac=02:00:00:00:00",
            "mac=02:00:00:00:00:01:02",
            "mac=02:00:00:00:00:1000",
            "mac=02:00:00:00:00:+1",
            "mac=02:00:00:00:00:01,mtu=9000",
            "mac=01:00:00:00:00:01",
            "mac=00:00:00:00:00:00",
        ] {
            assert!(Mac::parse(wrong).is_err(), "{wrong}");
        }
    }
}
