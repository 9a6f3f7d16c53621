//! What may come in and go out by the tunnel interface, and by NICs whose other ends are hosts'.

use super::{Direction, FAMILIES, Statement, by_footholds};
use crate::firewall::FirewallConfig;

/// The rules for all ways that hosts come in by.
pub(super) struct Rules<'a>(Vec<Way<'a>>);

/// One of them.
struct Way<'a> {
    interface: &'a str,
    /// Whether it is a NIC, by which anything may come in.
    is_nic: bool,
}

impl<'a> From<&'a FirewallConfig> for Rules<'a> {
    fn from(config: &'a FirewallConfig) -> Self {
        let ways = config.ways().into_iter().map(|interface| Way {
            interface,
            is_nic: config.nics.contains_key(interface),
        });
        Self(ways.collect())
    }
}

impl Rules<'_> {
    pub(super) fn flip(&self) -> Vec<Vec<Statement>> {
        let flip = |way: &Way<'_>| {
            FAMILIES.map(|family| vec![way.coming(), Statement::FlipDestination(family)])
        };
        self.0.iter().flat_map(flip).collect()
    }

    /// A drop is final whatever other tables say, an accept here is only an opinion. What comes
    /// from the tunnel is decided first, so that one client never reaches another.
    pub(super) fn forward(&self) -> Vec<Vec<Statement>> {
        let from_tunnel = self.0.iter().flat_map(Way::from);
        let to_tunnel = self.0.iter().flat_map(Way::to);
        let by_footholds = [Direction::In, Direction::Out].map(by_footholds);
        let by_footholds = by_footholds.into_iter().flatten();
        from_tunnel
            .chain(to_tunnel)
            .chain(by_footholds.map(|it| vec![it, Statement::Drop]))
            .collect()
    }

    pub(super) fn postrouting(&self) -> Vec<Vec<Statement>> {
        let keep =
            |way: &Way<'_>| FAMILIES.map(|family| vec![way.going(), Statement::KeepSource(family)]);
        let masquerade = |way: &Way<'_>| {
            let [v4, v6] = FAMILIES.map(Statement::NeedsMasquerade);
            [v4, v6, Statement::ByFoothold(Direction::Out)]
                .map(|it| vec![way.coming(), it, Statement::Masquerade])
        };
        let keep = self.0.iter().flat_map(keep);
        keep.chain(self.0.iter().flat_map(masquerade)).collect()
    }
}

impl Way<'_> {
    fn coming(&self) -> Statement {
        Statement::Interface(Direction::In, self.interface.to_owned())
    }

    fn going(&self) -> Statement {
        Statement::Interface(Direction::Out, self.interface.to_owned())
    }

    fn from(&self) -> Vec<Vec<Statement>> {
        let mut rules = excluded(&self.coming(), Direction::Out).to_vec();
        let attached = FAMILIES.map(|family| (family, Statement::Attached(family, Direction::Out)));
        let outward = FAMILIES.map(|family| (family, Statement::Outward(family)));
        rules.extend(attached.into_iter().chain(outward).map(|(family, there)| {
            let home = self.is_nic.then_some(Statement::AtHome(family));
            let mut rule = vec![self.coming()];
            rule.extend(home);
            rule.extend([there, Statement::Accept]);
            rule
        }));
        rules.push(vec![self.coming(), Statement::Drop]);
        rules
    }

    fn to(&self) -> Vec<Vec<Statement>> {
        let mut rules = excluded(&self.going(), Direction::In).to_vec();
        let attached = FAMILIES.map(|family| Statement::Attached(family, Direction::In));
        let callers = FAMILIES.map(Statement::Caller);
        let accepted = attached.into_iter().chain(callers);
        let accepted = accepted.chain([Statement::Established]);
        rules.extend(accepted.map(|it| vec![self.going(), it, Statement::Accept]));
        rules.push(vec![self.going(), Statement::Drop]);
        rules
    }
}

fn excluded(tunnel: &Statement, container: Direction) -> [Vec<Statement>; 2] {
    FAMILIES
        .map(|family| Statement::Excluded(family, container))
        .map(|it| vec![tunnel.clone(), it, Statement::Drop])
}
