//! Cryptokey routing: which peer an inner address belongs to (WireGuard
//! paper, §2).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use crate::peer::PeerId;

/// Longest-prefix match from inner address to peer.
///
/// The same table serves both directions: a packet leaves to the peer that
/// owns its destination, and is accepted only from the peer that owns its
/// source.
#[derive(Debug, Default)]
pub(crate) struct AllowedIps {
    v4: PrefixMap<Ipv4Net, PeerId>,
    v6: PrefixMap<Ipv6Net, PeerId>,
}

impl AllowedIps {
    /// Gives `peer` exactly these prefixes. A prefix another peer had moves to
    /// this one, as with `wg set`.
    pub(crate) fn set(&mut self, peer: PeerId, prefixes: &BTreeSet<IpNet>) {
        self.remove(peer);
        for prefix in prefixes {
            match prefix.trunc() {
                IpNet::V4(prefix) => drop(self.v4.insert(prefix, peer)),
                IpNet::V6(prefix) => drop(self.v6.insert(prefix, peer)),
            }
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.v4.retain(|_, owner| *owner != peer);
        self.v6.retain(|_, owner| *owner != peer);
    }

    pub(crate) fn owner(&self, address: IpAddr) -> Option<PeerId> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(_, peer)| *peer),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(_, peer)| *peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0..=32u8).prop_map(|(bits, length)| {
            IpNet::new(IpAddr::V4((bits & 0xff00_ffff).into()), length).unwrap()
        });
        let v6 = (any::<u8>(), any::<u16>(), 0..=128u8).prop_map(|(head, tail, length)| {
            let bits = (u128::from(head) << 120) | u128::from(tail);
            IpNet::new(IpAddr::V6(bits.into()), length).unwrap()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins(
            prefixes in proptest::collection::btree_map(prefix(), 0..4u32, 0..40),
            probe in prefix(),
        ) {
            let prefixes: BTreeMap<IpNet, u32> =
                prefixes.into_iter().map(|(net, peer)| (net.trunc(), peer)).collect();
            let mut table = AllowedIps::default();
            for peer in 0..4 {
                let own = prefixes.iter().filter(|(_, p)| **p == peer).map(|(n, _)| *n).collect();
                table.set(PeerId::from_slot(peer), &own);
            }
            let expected = prefixes
                .iter()
                .filter(|(net, _)| net.contains(&probe.addr()))
                .max_by_key(|(net, _)| net.prefix_len())
                .map(|(_, peer)| PeerId::from_slot(*peer));
            prop_assert_eq!(table.owner(probe.addr()), expected);
        }
    }

    #[test]
    fn a_removed_peer_owns_nothing() {
        let mut table = AllowedIps::default();
        let net = "172.17.0.0/16".parse().unwrap();
        table.set(PeerId::from_slot(1), &BTreeSet::from([net]));
        table.remove(PeerId::from_slot(1));
        assert_eq!(table.owner("172.17.0.2".parse().unwrap()), None);
    }
}
