//! Cryptokey routing: which peer an inner address belongs to (WireGuard
//! paper, §2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::peer::PeerId;
use crate::translation::Pairs;

/// Longest-prefix match from inner address to peer.
///
/// The same table serves both directions: a packet leaves to the peer that
/// owns its destination, and is accepted only from the peer that owns its
/// source. Addresses in it are those of this end. Allowed IPs and pairs are
/// told in the peer's own, which several peers may have in common once they
/// are mapped.
#[derive(Debug, Default)]
pub(crate) struct AllowedIps {
    /// By peer, the one told of last at the end.
    allowed: Vec<(PeerId, BTreeSet<IpNet>)>,
    /// Of the peers that have any.
    pairs: BTreeMap<PeerId, Pairs>,
    routes: JointPrefixMap<IpNet, Route>,
    /// The last answer: packets come in runs.
    last: Option<(IpAddr, Option<Route>)>,
}

/// What a prefix of this end leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Own(PeerId),
    Mapped(PeerId),
    /// Part of an allowed prefix that is reached under another one.
    Nowhere,
}

impl AllowedIps {
    /// Gives `peer` exactly these prefixes. One that another peer has, too,
    /// leads to this one, as with `wg set`.
    pub(crate) fn set(&mut self, peer: PeerId, prefixes: &BTreeSet<IpNet>) {
        self.allowed.retain(|(owner, _)| *owner != peer);
        let prefixes = prefixes.iter().map(IpNet::trunc).collect();
        self.allowed.push((peer, prefixes));
        self.rebuild();
    }

    /// Of `peer`'s prefixes, exactly these are reached under others.
    pub(crate) fn translate(&mut self, peer: PeerId, pairs: &BTreeMap<IpNet, IpNet>) {
        self.pairs.insert(peer, Pairs::new(pairs));
        self.pairs.retain(|_, pairs| !pairs.is_empty());
        self.rebuild();
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.allowed.retain(|(owner, _)| *owner != peer);
        self.pairs.remove(&peer);
        self.rebuild();
    }

    /// The peer that an address of this end leads to.
    pub(crate) fn owner(&mut self, address: IpAddr) -> Option<PeerId> {
        match self.route(address)? {
            Route::Own(peer) | Route::Mapped(peer) => Some(peer),
            Route::Nowhere => None,
        }
    }

    /// Whether a source, in the peer's own words, is the peer's own.
    pub(crate) fn allows(&mut self, peer: PeerId, source: IpAddr) -> bool {
        let mapped = self.pairs(peer).and_then(|pairs| pairs.mapped(source));
        match mapped {
            Some(mapped) => self.route(mapped) == Some(Route::Mapped(peer)),
            None => self.route(source) == Some(Route::Own(peer)),
        }
    }

    pub(crate) fn pairs(&self, peer: PeerId) -> Option<&Pairs> {
        self.pairs.get(&peer)
    }

    fn route(&mut self, address: IpAddr) -> Option<Route> {
        if let Some((asked, route)) = self.last
            && asked == address
        {
            return route;
        }
        let found = self.routes.get_lpm(&address.into());
        let route = found.map(|(_, route)| *route);
        self.last = Some((address, route));
        route
    }

    fn rebuild(&mut self) {
        let Self {
            allowed,
            pairs,
            routes,
            last,
        } = self;
        *last = None;
        routes.clear();
        let none = Pairs::default();
        for (peer, prefixes) in &*allowed {
            let pairs = pairs.get(peer).unwrap_or(&none);
            for prefix in prefixes {
                if let Some(mapped) = pairs.mapped_prefix(*prefix) {
                    routes.insert(mapped, Route::Mapped(*peer));
                    continue;
                }
                routes.insert(*prefix, Route::Own(*peer));
                for (truth, mapped) in pairs.inside(*prefix) {
                    routes.entry(truth).or_insert(Route::Nowhere);
                    routes.insert(mapped, Route::Mapped(*peer));
                }
            }
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
