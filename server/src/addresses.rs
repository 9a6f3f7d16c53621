//! Which tunnel addresses a client gets.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dtap_tunnel::PublicKey;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One client's /24 of [`POOL`] and /64 of the server's own ULA prefix
/// (RFC 4193), both by the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    v4: Ipv4Net,
    v6: Ipv6Net,
}

/// The first two bytes of all IPv4 tunnel addresses.
const POOL: [u8; 2] = [10, 75];

impl Addresses {
    pub(crate) fn numbered(number: u8, server: PublicKey) -> Self {
        let [a, b] = POOL;
        let v4 = Ipv4Addr::new(a, b, number, 0);
        let [c, d, e, f, g, ..] = *server.as_bytes();
        let word = |high, low| u16::from_be_bytes([high, low]);
        let v6 = Ipv6Addr::new(
            word(0xfd, c),
            word(d, e),
            word(f, g),
            number.into(),
            0,
            0,
            0,
            0,
        );
        Self {
            v4: Ipv4Net::new_assert(v4, 24),
            v6: Ipv6Net::new_assert(v6, 64),
        }
    }

    /// The number to give next: one that nobody has and whose prefixes neither
    /// side uses; else one that merely lies inside something broader, such as
    /// a VPN's 10.0.0.0/8, which a more specific route still wins over.
    pub(crate) fn free_number(
        server: PublicKey,
        taken: &BTreeSet<u8>,
        used: &BTreeSet<IpNet>,
    ) -> Option<u8> {
        let candidates = || (0..=u8::MAX).filter(|number| !taken.contains(number));
        let clashes = |number: &u8| Self::numbered(*number, server).clashes_with(used);
        let lies_inside = |number: &u8| Self::numbered(*number, server).lies_inside(used);
        candidates()
            .find(|number| !clashes(number) && !lies_inside(number))
            .or_else(|| candidates().find(|number| !clashes(number)))
    }

    /// Whether a used prefix equals one of these or lies in it.
    pub(crate) fn clashes_with(&self, used: &BTreeSet<IpNet>) -> bool {
        used.iter()
            .any(|used| self.prefixes().iter().any(|own| own.contains(used)))
    }

    pub(crate) fn prefixes(&self) -> [IpNet; 2] {
        [self.v4.into(), self.v6.into()]
    }

    pub(crate) const fn v6(&self) -> Ipv6Net {
        self.v6
    }

    pub(crate) fn server(&self) -> [IpAddr; 2] {
        self.addresses(1)
    }

    pub(crate) fn host(&self) -> [IpAddr; 2] {
        self.addresses(2)
    }

    /// The server's addresses with the prefixes they are on.
    pub(crate) fn interface(&self) -> [IpNet; 2] {
        let [v4, v6] = self.server();
        let [net4, net6] = self.prefixes();
        [
            IpNet::new_assert(v4, net4.prefix_len()),
            IpNet::new_assert(v6, net6.prefix_len()),
        ]
    }

    fn lies_inside(&self, used: &BTreeSet<IpNet>) -> bool {
        let specific = used.iter().filter(|used| used.prefix_len() > 1);
        specific
            .into_iter()
            .any(|used| self.prefixes().iter().any(|own| used.contains(own)))
    }

    fn addresses(&self, host: u8) -> [IpAddr; 2] {
        let v4 = u32::from(self.v4.network()) + u32::from(host);
        let v6 = u128::from(self.v6.network()) + u128::from(host);
        [Ipv4Addr::from(v4).into(), Ipv6Addr::from(v6).into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(prefixes: &[&str]) -> BTreeSet<IpNet> {
        prefixes.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn number(taken: &[u8], prefixes: &[&str]) -> Option<u8> {
        let server = PublicKey::from_bytes([7; 32]);
        Addresses::free_number(server, &taken.iter().copied().collect(), &used(prefixes))
    }

    #[test]
    fn the_first_client_gets_the_first_prefix() {
        assert_eq!(number(&[], &["0.0.0.0/0", "192.168.1.0/24"]), Some(0));
        let addresses = Addresses::numbered(0, PublicKey::from_bytes([7; 32]));
        assert_eq!(addresses.server()[0].to_string(), "10.75.0.1");
        assert_eq!(addresses.host()[0].to_string(), "10.75.0.2");
        assert_eq!(addresses.host()[1].to_string(), "fd07:707:707::2");
    }

    #[test]
    fn what_either_side_uses_is_avoided() {
        assert_eq!(number(&[1], &["10.75.0.128/25"]), Some(2));
        assert_eq!(number(&[], &["10.75.0.0/17"]), Some(128));
    }

    #[test]
    fn a_broader_route_is_lived_with() {
        assert_eq!(number(&[], &["10.0.0.0/8", "10.75.0.0/24"]), Some(1));
    }

    #[test]
    fn a_full_pool_is_said_to_be_full() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(number(&all, &[]), None);
    }
}
