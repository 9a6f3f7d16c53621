//! Which prefix is reached under which other.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

/// The prefixes of one peer that have another name on this end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    to_mapped: JointPrefixMap<IpNet, IpNet>,
    to_true: JointPrefixMap<IpNet, IpNet>,
}

impl Pairs {
    /// From true to mapped prefixes. Pairs of unequal length or family mean
    /// nothing.
    pub(crate) fn new(pairs: &BTreeMap<IpNet, IpNet>) -> Self {
        let mut table = Self::default();
        for (truth, mapped) in pairs {
            let (truth, mapped) = (truth.trunc(), mapped.trunc());
            if truth.prefix_len() == mapped.prefix_len()
                && truth.addr().is_ipv4() == mapped.addr().is_ipv4()
            {
                table.to_mapped.insert(truth, mapped);
                table.to_true.insert(mapped, truth);
            }
        }
        table
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.to_mapped.is_empty()
    }

    /// What a true prefix is mapped to as a whole.
    pub(crate) fn mapped_prefix(&self, truth: IpNet) -> Option<IpNet> {
        let (_, mapped) = self.to_mapped.get_lpm(&truth)?;
        IpNet::new(moved(truth.addr(), *mapped), truth.prefix_len()).ok()
    }

    /// The pairs, true and mapped, of which the true one lies inside this.
    pub(crate) fn inside(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, IpNet)> {
        let pairs = self.to_mapped.children(&prefix);
        pairs.map(|(truth, mapped)| (truth, *mapped))
    }

    /// The mapped address of a true one.
    pub(crate) fn mapped(&self, address: IpAddr) -> Option<IpAddr> {
        let (_, mapped) = self.to_mapped.get_lpm(&address.into())?;
        Some(moved(address, *mapped))
    }

    /// The true address of a mapped one.
    pub(crate) fn truth(&self, address: IpAddr) -> Option<IpAddr> {
        let (_, truth) = self.to_true.get_lpm(&address.into())?;
        Some(moved(address, *truth))
    }
}

/// The same host in another prefix of its family.
fn moved(address: IpAddr, prefix: IpNet) -> IpAddr {
    match (address, prefix) {
        (IpAddr::V4(address), IpNet::V4(prefix)) => {
            let host = u32::from(address) & u32::from(prefix.hostmask());
            Ipv4Addr::from(u32::from(prefix.network()) | host).into()
        }
        (IpAddr::V6(address), IpNet::V6(prefix)) => {
            let host = u128::from(address) & u128::from(prefix.hostmask());
            Ipv6Addr::from(u128::from(prefix.network()) | host).into()
        }
        (IpAddr::V4(_), IpNet::V6(_)) | (IpAddr::V6(_), IpNet::V4(_)) => address,
    }
}
