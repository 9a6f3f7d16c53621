//! Decides which subnets keep their own prefix and which get another.

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use super::reserved::Reserved;
use super::{Input, pool};

/// What becomes of one subnet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Own,
    Mapped(IpNet),
    Conflict(String),
}

#[derive(Debug)]
pub(super) struct Mapping<'a> {
    input: &'a Input,
    /// What the engine and the tunnel have, with a description.
    own: JointPrefixMap<IpNet, String>,
    /// What a new choice had better leave to others.
    spoken_for: JointPrefixMap<IpNet, ()>,
    /// The user's own choices, whether their subnets are there or not.
    targets: JointPrefixMap<IpNet, ()>,
    /// From mapped to true prefixes.
    assigned: JointPrefixMap<IpNet, IpNet>,
}

impl<'a> Mapping<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        let mut networks: Vec<_> = input.networks.iter().collect();
        networks.sort_by_key(|it| (&it.name, &it.id));
        let mut own = JointPrefixMap::new();
        for network in networks {
            for subnet in &network.subnets {
                own.entry(subnet.prefix.trunc())
                    .or_insert_with(|| format!("the subnet of network '{}'", network.name));
            }
        }
        for prefix in &input.tunnel {
            own.insert(prefix.trunc(), "the tunnel's own prefix".to_owned());
        }
        let memory = &input.memory;
        let remembered = memory.own.values().chain(&memory.others);

        Self {
            input,
            own,
            spoken_for: remembered.map(|it| (it.trunc(), ())).collect(),
            targets: input.maps.targets().map(|it| (it, ())).collect(),
            assigned: JointPrefixMap::new(),
        }
    }

    /// `clash` is why the subnet's own prefix is not free.
    pub(super) fn fate(
        &mut self,
        subnet: IpNet,
        clash: Option<String>,
        reserved: &Reserved,
    ) -> Fate {
        let explicit = self.input.maps.explicit(subnet);
        let fate = match (explicit, clash) {
            (Some(mapped), clash) if self.input.alone || clash.is_some() => {
                match self.obstacle(mapped, reserved) {
                    None => Fate::Mapped(mapped),
                    Some(obstacle) => {
                        Fate::Conflict(format!("{subnet} cannot be mapped to {mapped}: {obstacle}"))
                    }
                }
            }
            (Some(_), None) => Fate::Own,
            (None, None) => match self.kept(subnet, reserved) {
                Some(mapped) => Fate::Mapped(mapped),
                None => Fate::Own,
            },
            (_, Some(clash)) if !self.input.maps.auto => Fate::Conflict(clash),
            (_, Some(clash)) => match self.choose(subnet, reserved) {
                Some(mapped) => Fate::Mapped(mapped),
                None => Fate::Conflict(format!(
                    "{clash}, and no free prefix of its size is left to map it to"
                )),
            },
        };
        if let Fate::Mapped(mapped) = fate {
            self.assigned.insert(mapped, subnet);
        }
        fate
    }

    /// What another engine made necessary before and may again: it may only be away, and an address stays as it is.
    fn kept(&self, subnet: IpNet, reserved: &Reserved) -> Option<IpNet> {
        let may_come_back = self.input.maps.auto && !self.input.alone;

        self.remembered(subnet, reserved).filter(|_| may_come_back)
    }

    fn remembered(&self, subnet: IpNet, reserved: &Reserved) -> Option<IpNet> {
        let remembered = self.input.memory.own.get(&subnet).copied()?;
        let fits = remembered.prefix_len() == subnet.prefix_len();

        (fits && self.is_free(remembered, reserved)).then_some(remembered)
    }

    /// What was chosen before, else the first that meets nothing at all, else
    /// the first that takes nothing away.
    fn choose(&self, subnet: IpNet, reserved: &Reserved) -> Option<IpNet> {
        let free = |it: &IpNet| self.is_free(*it, reserved);
        let candidates = || pool::candidates(subnet, &self.input.memory.engine);
        let is_quiet = |it: &IpNet| {
            reserved.surrounding(*it).is_none() && meeting(&self.spoken_for, *it).is_none()
        };

        self.remembered(subnet, reserved)
            .or_else(|| candidates().filter(is_quiet).find(free))
            .or_else(|| candidates().find(free))
    }

    fn is_free(&self, prefix: IpNet, reserved: &Reserved) -> bool {
        self.obstacle(prefix, reserved).is_none() && meeting(&self.targets, prefix).is_none()
    }

    /// Why nothing can be mapped to this prefix, in words.
    fn obstacle(&self, prefix: IpNet, reserved: &Reserved) -> Option<String> {
        if let Some(reason) = reserved.conflict(prefix) {
            return Some(reason);
        }
        if let Some((other, owner)) = meeting(&self.own, prefix) {
            return Some(format!("{prefix} overlaps {other}, {owner}"));
        }
        let (other, truth) = meeting(&self.assigned, prefix)?;

        Some(format!(
            "{prefix} overlaps {other}, to which {truth} is mapped"
        ))
    }
}

/// An entry that has an address in common with `prefix`.
fn meeting<T>(entries: &JointPrefixMap<IpNet, T>, prefix: IpNet) -> Option<(IpNet, &T)> {
    entries
        .get_lpm(&prefix)
        .or_else(|| entries.children(&prefix).next())
}
