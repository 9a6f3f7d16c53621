//! Hardware addresses of Ethernet interfaces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A hardware address (EUI-48), written as six pairs of hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HardwareAddress(pub [u8; 6]);

/// Text that is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no hardware address: give six pairs of hexadecimal digits, as in 02:00:5e:10:00:01"
)]
pub struct MalformedHardwareAddress(String);

impl FromStr for HardwareAddress {
    type Err = MalformedHardwareAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedHardwareAddress(text.to_owned());
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs
                .next()
                .filter(|it| it.len() == 2 && !it.starts_with('+'));
            *byte = pair
                .and_then(|it| u8::from_str_radix(it, 16).ok())
                .ok_or_else(malformed)?;
        }
        match pairs.next() {
            Some(_) => Err(malformed()),
            None => Ok(Self(bytes)),
        }
    }
}

impl TryFrom<String> for HardwareAddress {
    type Error = MalformedHardwareAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HardwareAddress> for String {
    fn from(address: HardwareAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_address_are_the_same() {
        let address = HardwareAddress([2, 0, 0x5e, 0x10, 0xff, 1]);
        assert_eq!(address.to_string(), "02:00:5e:10:ff:01");
        assert_eq!("02:00:5E:10:ff:01".parse(), Ok(address));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "02:00:5e:10:ff",
            "02:00:5e:10:ff:01:02",
            "2:0:5e:10:ff:1",
            "02-00-5e-10-ff-01",
            "+2:00:5e:10:ff:01",
            "02:00:5e:10:ff:0g",
        ] {
            assert!(text.parse::<HardwareAddress>().is_err(), "{text}");
        }
    }
}
