use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::firewall::legacy::blob::Blob;
use crate::firewall::legacy::fixtures::{FAMILIES, after, before, table};
use crate::firewall::legacy::layout::{Layout, TARGET};
use crate::firewall::legacy::table::{HOOKS, Target};
use crate::firewall::ruleset::Family;

#[test]
fn the_accepts_are_put_where_iptables_puts_them() {
    for family in FAMILIES {
        let mut table = table(family);
        assert!(has_docker(&table));
        assert!(set(&mut table, "dtap0"));
        assert_eq!(
            bare(&table.serialise(), family),
            bare(&after(family), family)
        );
    }
}

#[test]
fn what_iptables_has_put_there_is_recognised_and_removed() {
    for family in FAMILIES {
        let mut table = after(family).parse(family).unwrap();
        assert!(!set(&mut table, "dtap0"), "they are there already");
        assert!(clear(&mut table));
        assert_eq!(
            bare(&table.serialise(), family),
            bare(&before(family), family)
        );
        assert!(!clear(&mut table));
    }
}

#[test]
fn a_killed_predecessors_accepts_are_replaced() {
    for family in FAMILIES {
        let mut table = table(family);
        set(&mut table, "dtap7");
        assert!(set(&mut table, "dtap0"));
        assert_eq!(
            bare(&table.serialise(), family),
            bare(&after(family), family)
        );
    }
}

#[test]
fn a_missing_one_of_two_comes_back() {
    let mut table = table(Family::V4);
    set(&mut table, "dtap0");
    let whole = table.clone();
    let user = table.chain(DOCKER_USER).unwrap();
    table.remove(user.first);
    assert!(set(&mut table, "dtap0"));
    assert_eq!(table, whole);
}

#[test]
fn rules_above_them_are_left_there_but_where_docker_puts_drops() {
    let above = |family: Family| {
        let mut table = table(family);
        set(&mut table, "dtap0");
        let chain = table.chain(DOCKER_USER).or_else(|| table.forward());
        let head = Entry::accept(family, Direction::In, "eth0");
        table.insert(chain.unwrap().first, head);
        table
    };
    assert!(!set(&mut above(Family::V4), "dtap0"));
    let mut old = above(Family::V6);
    assert!(set(&mut old, "dtap0"));
    let head = old.forward().unwrap().first;
    let interfaces: Vec<_> = old.entries[head..head + 3]
        .iter()
        .filter_map(|entry| entry.accepted(Family::V6))
        .map(|(_, interface)| interface)
        .collect();
    assert_eq!(interfaces, ["dtap0", "dtap0", "eth0"]);
    assert!(!set(&mut old, "dtap0"));
}

#[test]
fn only_the_names_a_server_gives_are_ours() {
    assert!(["dtap0", "dtap17"].into_iter().all(is_ours));
    assert!(
        !["dtap", "dtapt0", "dtap0a", "dtap+", "eth0", ""]
            .into_iter()
            .any(is_ours)
    );
}

#[test]
fn the_accepts_of_a_nic_are_ours_by_its_name() {
    let nics = BTreeSet::from(["eth1".to_owned()]);
    for family in FAMILIES {
        let mut table = table(family);
        let foreign = Entry::accept(family, Direction::In, "eth0");
        let head = table.chain(DOCKER_USER).or_else(|| table.forward());
        table.insert(head.unwrap().first, foreign);
        let before = table.serialise();
        assert!(super::set(&mut table, &["dtap0", "eth1"].into(), &nics));
        assert!(!super::set(&mut table, &["dtap0", "eth1"].into(), &nics));
        let mut without = table.clone();
        assert!(super::set(&mut without, &["dtap0"].into(), &nics));
        assert!(clear(&mut without));
        assert_eq!(bare(&without.serialise(), family), bare(&before, family));
        assert!(super::clear(&mut table, &nics));
        assert_eq!(bare(&table.serialise(), family), bare(&before, family));
    }
}

#[test]
fn an_accept_that_selects_more_narrowly_is_not_ours() {
    for family in FAMILIES {
        let layout = Layout::of(family);
        for byte in 0..layout.selector {
            let mut accept = Entry::accept(family, Direction::In, "dtap0");
            accept.bytes[byte] ^= 2;
            let is_same = accept.accepted(family) == Some((Direction::In, "dtap0".to_owned()));
            assert!(!is_same, "byte {byte}");
        }
        let mut matching = Entry::accept(family, Direction::In, "dtap0");
        matching.bytes.splice(layout.entry..layout.entry, [0; 32]);
        assert_eq!(matching.accepted(family), None);
    }
}

fn set(table: &mut Table, interface: &str) -> bool {
    super::set(table, &[interface].into(), &BTreeSet::new())
}

fn clear(table: &mut Table) -> bool {
    super::clear(table, &BTreeSet::new())
}

proptest! {
    #[test]
    fn insert_then_remove_is_nothing(
        generated in tables(),
        chosen in any::<prop::sample::Index>(),
    ) {
        let mut changed = generated.clone();
        let places: Vec<_> = starts(&generated).into_iter().map(|(_, index)| index).collect();
        let at = *chosen.get(&places);
        changed.insert(at, Entry::accept(generated.family, Direction::Out, "dtap0"));
        prop_assert_ne!(&changed.serialise(), &generated.serialise());
        changed.remove(at);
        prop_assert_eq!(changed, generated);
    }

    #[test]
    fn every_rule_of_others_stays_as_it_is(generated in tables()) {
        let family = generated.family;
        let read = generated.serialise().parse(family).unwrap();
        prop_assert_eq!(&read.serialise(), &generated.serialise());
        for plan in [|table: &mut Table| set(table, "dtap3"), clear] {
            let mut planned = read.clone();
            let changed = plan(&mut planned);
            prop_assert_eq!(changed, planned != read);
            prop_assert!(!plan(&mut planned), "a second time changes nothing");
            let written = planned.serialise().parse(family).unwrap();
            prop_assert_eq!(others(&written), others(&read));
        }
    }

    #[test]
    fn clear_undoes_set(generated in tables()) {
        let mut without = generated;
        clear(&mut without);
        let mut again = without.clone();
        if set(&mut again, "dtap3") {
            prop_assert!(clear(&mut again));
        }
        prop_assert_eq!(again, without);
    }
}

/// What a table does apart from our accepts: per chain, each rule's bytes and the chain it jumps to.
fn others(table: &Table) -> Vec<(String, Vec<(Vec<u8>, Option<String>)>)> {
    let starts = starts(table);
    let chain_at = |index: usize| starts.iter().find(|(_, start)| *start == index);
    let mut chains = vec![("".to_owned(), Vec::new())];
    for (index, entry) in table.entries.iter().enumerate() {
        if let Some((name, _)) = chain_at(index) {
            chains.push((name.clone(), Vec::new()));
        }
        let inside = [table.forward(), table.chain(DOCKER_USER)]
            .into_iter()
            .flatten()
            .any(|chain| (chain.first..chain.last).contains(&index));
        let accepted = entry.accepted(table.family);
        if inside && accepted.is_some_and(|(_, interface)| is_ours(&interface)) {
            continue;
        }
        let mut bytes = entry.bytes.clone();
        let to = match entry.target {
            Target::Jump(to) => Some(chain_at(to).unwrap().0.clone()),
            Target::Next => Some("next".to_owned()),
            Target::Header(_) | Target::Final | Target::Extension => None,
        };
        if to.is_some() {
            let end = bytes.len();
            bytes[end - 8..].fill(0);
        }
        chains.last_mut().unwrap().1.push((bytes, to));
    }
    chains
}

/// The first rule of each chain, by its name.
fn starts(table: &Table) -> Vec<(String, usize)> {
    let made = table
        .entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let Target::Header(name) = &entry.target else {
                return None;
            };
            let is_last = index + 1 == table.entries.len();
            (!is_last).then(|| (String::from_utf8(name.clone()).unwrap(), index + 1))
        });
    let base = table
        .base
        .iter()
        .enumerate()
        .filter_map(|(hook, chain)| Some((format!("hook {hook}"), chain.as_ref()?.first)));
    made.chain(base).collect()
}

/// Rules of any kind in any order.
#[derive(Debug, Clone)]
enum Kind {
    Ours(Direction, u8),
    Accept(&'static str),
    Extension(usize),
    Next,
    Jump(prop::sample::Index),
}

fn tables() -> impl Strategy<Value = Table> {
    let direction = prop_oneof![Just(Direction::In), Just(Direction::Out)];
    let kind = prop_oneof![
        (direction, 0..5_u8).prop_map(|(direction, number)| Kind::Ours(direction, number)),
        Just(Kind::Accept("eth0")),
        (1..6_usize).prop_map(Kind::Extension),
        Just(Kind::Next),
        any::<prop::sample::Index>().prop_map(Kind::Jump),
    ];
    let made = prop::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len());
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    (family, made, vec(vec(kind, 0..6), 3 + NAMES.len()))
        .prop_map(|(family, made, rules)| build(family, &made, &rules))
}

/// Three chains of the kernel's, then those that somebody made, then the end.
fn build(family: Family, made: &[&str], rules: &[Vec<Kind>]) -> Table {
    let mut table = Table {
        family,
        valid_hooks: 0b1110,
        entries: Vec::new(),
        base: [None; HOOKS],
    };
    let mut jumps = Vec::new();
    let mut heads = Vec::new();
    let plain = |bytes: Vec<u8>, target| Entry {
        bytes,
        target,
        origin: None,
    };
    for (number, kinds) in rules.iter().take(3 + made.len()).enumerate() {
        if let Some(name) = number.checked_sub(3).map(|number| made[number]) {
            table.entries.push(header(family, name));
            heads.push(table.entries.len());
        }
        let first = table.entries.len();
        for kind in kinds {
            let standard = Entry::accept(family, Direction::In, "eth1");
            table.entries.push(match kind {
                Kind::Ours(direction, number) => {
                    Entry::accept(family, *direction, &format!("dtap{number}"))
                }
                Kind::Accept(interface) => Entry::accept(family, Direction::In, interface),
                Kind::Extension(words) => extension(family, b"LOG", words * 8),
                Kind::Next => plain(standard.bytes, Target::Next),
                Kind::Jump(to) => {
                    jumps.push((table.entries.len(), *to));
                    standard
                }
            });
        }
        let last = table.entries.len();
        table
            .entries
            .push(Entry::accept(family, Direction::Out, "policy"));
        if number < 3 {
            table.base[number + 1] = Some(Chain { first, last });
        }
    }
    table.entries.push(header(family, "ERROR"));
    for (at, to) in jumps.into_iter().filter(|_| !heads.is_empty()) {
        table.entries[at].target = Target::Jump(*to.get(&heads));
    }
    // Verdicts and places as they will be read.
    table.serialise().parse(family).unwrap()
}

fn header(family: Family, name: &str) -> Entry {
    let mut header = extension(family, b"ERROR", 32);
    let target = Layout::of(family).entry;
    header.bytes[target + TARGET..][..name.len()].copy_from_slice(name.as_bytes());
    header.target = Target::Header(name.as_bytes().to_owned());
    header
}

fn extension(family: Family, name: &[u8], data: usize) -> Entry {
    let layout = Layout::of(family);
    let length = TARGET + data;
    let mut bytes = Entry::accept(family, Direction::Out, "eth2").bytes;
    bytes.resize(layout.entry + length, 0);
    let whole = (bytes.len() as u16).to_ne_bytes();
    bytes[layout.next_offset..][..2].copy_from_slice(&whole);
    bytes[layout.entry..].fill(0);
    bytes[layout.entry..][..2].copy_from_slice(&(length as u16).to_ne_bytes());
    bytes[layout.entry + 2..][..name.len()].copy_from_slice(name);
    Entry {
        bytes,
        target: Target::Extension,
        origin: None,
    }
}

/// Without counters and what only the kernel keeps books of.
fn bare(blob: &Blob, family: Family) -> Blob {
    let layout = Layout::of(family);
    let mut table = blob.parse(family).unwrap();
    for entry in &mut table.entries {
        entry.bytes[layout.selector..layout.target_offset].fill(0);
        entry.bytes[layout.next_offset + 2..layout.entry].fill(0);
    }
    table.serialise()
}

const NAMES: [&str; 4] = ["DOCKER", "DOCKER-ISOLATION-STAGE-1", DOCKER_USER, "MINE"];
