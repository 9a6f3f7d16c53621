//! What was installed, as lines of words: the shim reads the same file, without a library.

use std::collections::BTreeMap;
use std::fmt;

use dtap_shim::Nic;

use super::hyperkit::Owner;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Of the original, in hexadecimal.
    pub(super) sha256: String,
    /// Of the Docker it came with.
    pub(super) version: Option<String>,
    /// Who runs Docker, and so opens `/dev/tapN`.
    pub(super) user: u32,
    pub(super) nics: Vec<Nic>,
    /// Of `/dev/tapN` before us, by N.
    pub(super) owners: BTreeMap<u8, Owner>,
}

impl Record {
    /// `None` for what no version of dtap has written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut record = Self {
            sha256: String::new(),
            version: None,
            user: 0,
            nics: dtap_shim::nics(text)?,
            owners: BTreeMap::new(),
        };
        for line in text.lines() {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["sha256", sum] => record.sha256 = sum.to_owned(),
                ["version", version] => record.version = Some(version.to_owned()),
                ["user", uid] => record.user = uid.parse().ok()?,
                ["owner", tap, uid, gid, mode] => {
                    let unit = tap.strip_prefix("tap")?.parse().ok()?;
                    let owner = Owner {
                        uid: uid.parse().ok()?,
                        gid: gid.parse().ok()?,
                        mode: u32::from_str_radix(mode, 8).ok()?,
                    };
                    record.owners.insert(unit, owner);
                }
                _ => {}
            }
        }
        (record.sha256.len() == 64).then_some(record)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# dtap: a shim is in HyperKit's place; `sudo dtap-client tap uninstall` undoes it"
        )?;
        writeln!(f, "sha256 {}", self.sha256)?;
        if let Some(version) = &self.version {
            writeln!(f, "version {version}")?;
        }
        writeln!(f, "user {}", self.user)?;
        for nic in &self.nics {
            writeln!(f, "{nic}")?;
        }
        for (unit, Owner { uid, gid, mode }) in &self.owners {
            writeln!(f, "owner tap{unit} {uid} {gid} {mode:o}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dtap_shim::Mac;

    use super::*;

    #[test]
    fn a_record_is_read_as_it_is_written_and_garbage_is_none() {
        let owner = Owner {
            uid: 0,
            gid: 5,
            mode: 0o660,
        };
        let record = Record {
            sha256: "ab".repeat(32),
            version: Some("4.5.0".to_owned()),
            user: 501,
            nics: vec![Nic {
                unit: 1,
                mac: Mac([2, 0, 0, 0, 0, 1]),
            }],
            owners: BTreeMap::from([(1, owner)]),
        };
        let text = record.to_string();
        assert_eq!(Record::parse(&text), Some(record));
        for (from, to) in [
            ("ab", ""),
            ("501", "me"),
            ("660", "9"),
            ("tap1 02", "tap1 03"),
        ] {
            assert_eq!(Record::parse(&text.replace(from, to)), None, "{from}");
        }
        assert_eq!(Record::parse("garbage"), None);
    }
}
