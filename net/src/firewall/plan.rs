//! What is to change so that the kernel's ruleset is what it should be. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::FirewallConfig;
use super::expression::{self, Expression};
use super::ruleset::{self, Direction, Hook, Ruleset, Set, Statement, TableFamily};

/// A ruleset as the kernel lists it, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Counts the changes of the ruleset by anybody.
    pub(super) generation: u32,
    pub(super) tables: Vec<Table>,
    pub(super) chains: Vec<Chain>,
    /// In their order within each chain.
    pub(super) rules: Vec<Rule>,
    /// Those of our table.
    pub(super) sets: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) family: u8,
    pub(super) name: String,
    /// Dormant, or owned by a process: nobody else may change it.
    pub(super) flags: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChainId {
    pub(super) family: u8,
    pub(super) table: String,
    pub(super) name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) id: ChainId,
    /// None unless the kernel itself calls the chain.
    pub(super) base: Option<Base>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) kind: String,
    pub(super) hook: u32,
    /// The interface it is for, if for one only.
    pub(super) device: Option<String>,
    pub(super) priority: i32,
    pub(super) drops: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: ChainId,
    pub(super) handle: u64,
    /// Whether it carries our mark.
    pub(super) marked: bool,
    /// None if it does what none of our rules does.
    pub(super) expressions: Option<Vec<Expression>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Our table of this family, with these elements instead of whatever stands there.
    ReplaceTable(Ruleset, BTreeMap<Set, BTreeSet<Vec<u8>>>),
    DeleteTable(TableFamily),
    AddElements(Set, BTreeSet<Vec<u8>>),
    DeleteElements(Set, BTreeSet<Vec<u8>>),
    /// At the head of a chain of somebody else's.
    InsertAccept(ChainId, Vec<Statement>),
    DeleteRule(ChainId, u64),
}

/// The changes that make the ruleset what `config` says; none if it is.
pub(super) fn set(snapshot: &Snapshot, config: &FirewallConfig) -> Vec<Change> {
    let mut changes = table(snapshot, config);
    changes.extend(handovers(snapshot, config));
    changes.extend(accepts(snapshot, &config.ways()));
    changes
}

/// The changes that leave nothing of ours, whatever interface it was for.
pub(super) fn clear(snapshot: &Snapshot) -> Vec<Change> {
    let accepts = snapshot
        .rules
        .iter()
        .filter(|rule| rule.marked && !rule.chain.is_ours());
    let mut changes: Vec<_> = accepts
        .map(|rule| Change::DeleteRule(rule.chain.clone(), rule.handle))
        .collect();
    let tables = [TableFamily::Inet, TableFamily::Netdev].into_iter();
    let present = tables.filter(|family| snapshot.own_table(*family).is_some());
    changes.extend(present.map(Change::DeleteTable));
    changes
}

impl Snapshot {
    /// Whether an engine filters by nf_tables, be it through iptables.
    pub(super) fn has_docker(&self) -> bool {
        self.chains
            .iter()
            .any(|chain| is_docker_user(&chain.id) || chain.id.table == DOCKER_BRIDGES)
    }

    fn own_table(&self, family: TableFamily) -> Option<&Table> {
        self.tables.iter().find(|table| {
            table.family == family.number()
                && table.name == ruleset::TABLE
                && table.flags & OWNED == 0
        })
    }

    fn table_flags(&self, chain: &ChainId) -> u32 {
        let same = |table: &&Table| table.family == chain.family && table.name == chain.table;
        self.tables.iter().find(same).map_or(0, |table| table.flags)
    }
}

impl ChainId {
    /// A chain of our table of this family.
    pub(super) fn own(family: TableFamily, name: &str) -> Self {
        Self {
            family: family.number(),
            table: ruleset::TABLE.to_owned(),
            name: name.to_owned(),
        }
    }

    fn is_ours(&self) -> bool {
        [INET, NETDEV].contains(&self.family) && self.table == ruleset::TABLE
    }
}

impl TableFamily {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Inet => INET,
            Self::Netdev => NETDEV,
        }
    }
}

impl Hook {
    /// `enum nf_inet_hooks`, `enum nf_dev_hooks`.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Ingress => libc::NF_NETDEV_INGRESS as u32,
            Self::Prerouting => libc::NF_INET_PRE_ROUTING as u32,
            Self::Input => libc::NF_INET_LOCAL_IN as u32,
            Self::Forward => libc::NF_INET_FORWARD as u32,
            Self::Output => libc::NF_INET_LOCAL_OUT as u32,
            Self::Postrouting => libc::NF_INET_POST_ROUTING as u32,
        }
    }
}

fn table(snapshot: &Snapshot, config: &FirewallConfig) -> Vec<Change> {
    let wanted = elements(config);
    let ruleset = Ruleset::new(config);
    if !has_sets(snapshot) || !is_intact(snapshot, &ruleset) {
        return vec![Change::ReplaceTable(ruleset, wanted)];
    }
    let mut changes = Vec::new();
    for (set, keys) in wanted {
        let present = &snapshot.sets[set.name()];
        let added: BTreeSet<_> = keys.difference(present).cloned().collect();
        let deleted: BTreeSet<_> = present.difference(&keys).cloned().collect();
        if !added.is_empty() {
            changes.push(Change::AddElements(set, added));
        }
        if !deleted.is_empty() {
            changes.push(Change::DeleteElements(set, deleted));
        }
    }
    changes
}

fn handovers(snapshot: &Snapshot, config: &FirewallConfig) -> Option<Change> {
    let ruleset = Ruleset::handovers(config);
    if ruleset.chains.is_empty() {
        let present = snapshot.own_table(ruleset.family);
        return present.map(|_| Change::DeleteTable(ruleset.family));
    }
    let is_intact = is_intact(snapshot, &ruleset);
    (!is_intact).then(|| Change::ReplaceTable(ruleset, BTreeMap::new()))
}

fn elements(config: &FirewallConfig) -> BTreeMap<Set, BTreeSet<Vec<u8>>> {
    let attached = by_interface(&config.attached, Set::Attached4, Set::Attached6);
    let outward = by_interface(&config.outward, Set::Outward4, Set::Outward6);
    let nics = config.nics.iter();
    let hosts = nics.flat_map(|(nic, hosts)| hosts.iter().map(|host| (*host, nic.clone())));
    let hosts = hosts.collect();
    let hosts = by_interface(&hosts, Set::Hosts4, Set::Hosts6);
    let callers = config.callers.iter().map(|(called, caller)| {
        let set = of_family(*called, Set::Callers4, Set::Callers6);
        let key = [called, caller].map(|it| expression::address_key(*it));
        (set, key.concat())
    });
    let footholds = config.footholds.iter();
    let footholds = footholds.map(|it| (Set::Footholds, expression::interface_key(it)));

    let mut elements: BTreeMap<_, BTreeSet<_>> = Set::ALL.map(|set| (set, BTreeSet::new())).into();
    let excluded = keys(&config.excluded, Set::Excluded4, Set::Excluded6);
    let masquerade = keys(&config.masquerade, Set::Masquerade4, Set::Masquerade6);
    let reached = attached.chain(outward).chain(callers).chain(hosts);
    for (set, key) in reached.chain(excluded).chain(masquerade).chain(footholds) {
        elements.entry(set).or_default().insert(key);
    }
    elements
}

fn by_interface(
    pairs: &BTreeSet<(IpAddr, String)>,
    v4: Set,
    v6: Set,
) -> impl Iterator<Item = (Set, Vec<u8>)> {
    pairs.iter().map(move |(address, interface)| {
        let interface = expression::interface_key(interface);
        let key = [expression::address_key(*address), interface].concat();
        (of_family(*address, v4, v6), key)
    })
}

fn keys(addresses: &BTreeSet<IpAddr>, v4: Set, v6: Set) -> impl Iterator<Item = (Set, Vec<u8>)> {
    addresses
        .iter()
        .map(move |it| (of_family(*it, v4, v6), expression::address_key(*it)))
}

fn of_family(address: IpAddr, v4: Set, v6: Set) -> Set {
    match address {
        IpAddr::V4(_) => v4,
        IpAddr::V6(_) => v6,
    }
}

/// Whether there are exactly our sets.
fn has_sets(snapshot: &Snapshot) -> bool {
    snapshot.sets.len() == Set::ALL.len()
        && Set::ALL
            .iter()
            .all(|set| snapshot.sets.contains_key(set.name()))
}

/// Whether our table of this family has exactly these chains and rules.
fn is_intact(snapshot: &Snapshot, ruleset: &Ruleset) -> bool {
    let family = ruleset.family.number();
    let chains: Vec<_> = snapshot
        .chains
        .iter()
        .filter(|chain| chain.id.is_ours() && chain.id.family == family)
        .collect();
    let table = snapshot.own_table(ruleset.family);
    table.is_some_and(|table| table.flags == 0)
        && chains.len() == ruleset.chains.len()
        && ruleset.chains.iter().all(|wanted| {
            chains
                .iter()
                .any(|chain| is_same_chain(chain, wanted) && has_rules(snapshot, &chain.id, wanted))
        })
}

fn is_same_chain(chain: &Chain, wanted: &ruleset::Chain) -> bool {
    let base = Base {
        kind: wanted.kind.to_owned(),
        hook: wanted.hook.number(),
        device: wanted.device.clone(),
        priority: wanted.priority,
        drops: false,
    };
    chain.id.name == wanted.name && chain.base.as_ref() == Some(&base)
}

fn has_rules(snapshot: &Snapshot, id: &ChainId, wanted: &ruleset::Chain) -> bool {
    let present = snapshot.rules.iter().filter(|rule| rule.chain == *id);
    present.map(|rule| rule.expressions.clone()).eq(wanted
        .rules
        .iter()
        .map(|rule| Some(expression::lower(rule))))
}

/// Each accept exactly once in each chain that needs it, and nowhere else. A place below the head
/// is left alone: whoever inserts above it may have a reason, and two programs that both insist on
/// the head would never rest. But see [`loses_head`].
fn accepts(snapshot: &Snapshot, ways: &BTreeSet<&str>) -> Vec<Change> {
    let rules = ways.iter().flat_map(|interface| {
        [Direction::Out, Direction::In].map(|direction| ruleset::accept(direction, interface))
    });
    let wanted: Vec<_> = rules.map(|rule| (expression::lower(&rule), rule)).collect();
    let targets = targets(snapshot);
    let mut found = BTreeSet::new();
    let mut headed_by_others = BTreeSet::new();
    let mut changes = Vec::new();
    for rule in snapshot.rules.iter().filter(|rule| !rule.chain.is_ours()) {
        let position = wanted
            .iter()
            .position(|(accept, _)| rule.expressions.as_ref() == Some(accept));
        let is_ours = rule.marked || position.is_some();
        let in_place =
            !headed_by_others.contains(&rule.chain) || !loses_head(snapshot, &rule.chain);
        let needed = in_place
            && position
                .is_some_and(|at| targets.contains(&rule.chain) && found.insert((&rule.chain, at)));
        if !is_ours {
            headed_by_others.insert(&rule.chain);
        } else if !needed {
            changes.push(Change::DeleteRule(rule.chain.clone(), rule.handle));
        }
    }
    for target in &targets {
        for (at, (_, rule)) in wanted.iter().enumerate() {
            if !found.contains(&(target, at)) {
                changes.push(Change::InsertAccept(target.clone(), rule.clone()));
            }
        }
    }
    changes
}

/// The chains of others that would drop what the tunnel forwards:
/// - `DOCKER-USER`, which Docker calls first (iptables backend); where it is missing (IPv6 before
///   Engine 23), `FORWARD`
/// - `filter-FORWARD` of `docker-bridges` (nftables backend)
/// - whatever else drops forwarded packets by policy.
fn targets(snapshot: &Snapshot) -> BTreeSet<ChainId> {
    let is_target = |chain: &&Chain| {
        let id = &chain.id;
        let forwards = chain.base.as_ref().filter(|base| {
            base.hook == Hook::Forward.number() && base.kind == "filter" && L3.contains(&id.family)
        });
        if id.is_ours() || snapshot.table_flags(id) != 0 {
            return false;
        }
        match forwards {
            None => is_docker_user(id),
            Some(_) if is_iptables_filter(id) => !has_docker_user(snapshot, id),
            Some(base) => base.drops || id.table == DOCKER_BRIDGES,
        }
    };
    snapshot
        .chains
        .iter()
        .filter(is_target)
        .map(|chain| chain.id.clone())
        .collect()
}

/// Whether Docker puts a rule of its own above ours with every new network, one that drops what
/// enters internal networks, and leaves it at that: IPv6 before Engine 23.
fn loses_head(snapshot: &Snapshot, id: &ChainId) -> bool {
    let isolates = |chain: &Chain| {
        chain.id.name == DOCKER_ISOLATION
            && (chain.id.family, &chain.id.table) == (id.family, &id.table)
    };
    is_iptables_filter(id) && !has_docker_user(snapshot, id) && snapshot.chains.iter().any(isolates)
}

fn has_docker_user(snapshot: &Snapshot, id: &ChainId) -> bool {
    let mut chains = snapshot.chains.iter();
    chains.any(|chain| is_docker_user(&chain.id) && chain.id.family == id.family)
}

fn is_docker_user(id: &ChainId) -> bool {
    is_iptables_filter(id) && id.name == DOCKER_USER
}

fn is_iptables_filter(id: &ChainId) -> bool {
    [IPV4, IPV6].contains(&id.family) && id.table == "filter"
}

pub(super) const INET: u8 = libc::NFPROTO_INET as u8;
const NETDEV: u8 = libc::NFPROTO_NETDEV as u8;
const IPV4: u8 = libc::NFPROTO_IPV4 as u8;
const IPV6: u8 = libc::NFPROTO_IPV6 as u8;
/// The families that see routed packets.
const L3: [u8; 3] = [INET, IPV4, IPV6];

/// `NFT_TABLE_F_OWNER` of the kernel's `nf_tables.h`: only the program that made the table may change it.
const OWNED: u32 = 2;
/// The table of an engine with the nftables backend.
const DOCKER_BRIDGES: &str = "docker-bridges";
/// What an engine with the iptables backend jumps to first, for rules of others.
pub(super) const DOCKER_USER: &str = "DOCKER-USER";
/// What an engine with the iptables backend jumps to, to keep its networks apart.
pub(super) const DOCKER_ISOLATION: &str = "DOCKER-ISOLATION-STAGE-1";

#[cfg(test)]
mod tests;
