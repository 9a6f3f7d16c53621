use super::*;
use crate::firewall::Handover;

#[test]
fn an_empty_kernel_gets_the_table_with_all_elements() {
    assert_eq!(
        shown(&set(&Snapshot::default(), &config())),
        ["replace table: 1 1 0 0 0 0 0 0 1 0 0 0 0"]
    );
}

#[test]
fn an_intact_kernel_is_left_alone() {
    assert_eq!(shown(&set(&kernel(), &config())), [""; 0]);
}

#[test]
fn one_network_more_is_one_element_more() {
    let mut config = config();
    config
        .attached
        .insert(("10.75.1.2".parse().unwrap(), "br-b".to_owned()));
    assert_eq!(shown(&set(&kernel(), &config)), ["add 1 to attached4"]);
    config.attached.pop_first();
    assert_eq!(
        shown(&set(&kernel(), &config)),
        ["add 1 to attached4", "delete 1 from attached4"]
    );
}

#[test]
fn any_other_structure_is_replaced() {
    let damages: [fn(&mut Snapshot); 8] = [
        |kernel| kernel.tables[0].flags = 1,
        |kernel| drop(kernel.rules.pop()),
        |kernel| kernel.rules.swap(9, 10),
        |kernel| kernel.rules[0].expressions = None,
        |kernel| drop(kernel.chains.pop()),
        |kernel| kernel.chains[2].base.as_mut().unwrap().drops = true,
        |kernel| drop(kernel.sets.pop_first()),
        |kernel| drop(kernel.sets.insert("more".to_owned(), BTreeSet::new())),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut kernel = kernel();
        damage(&mut kernel);
        assert_eq!(
            shown(&set(&kernel, &config())),
            ["replace table: 1 1 0 0 0 0 0 0 1 0 0 0 0"],
            "damage {number}"
        );
    }
}

#[test]
fn the_accepts_go_where_docker_or_a_policy_drops() {
    let mut kernel = kernel();
    kernel.chains.extend([
        chain(IPV4, "filter", "DOCKER-USER", None),
        chain(IPV4, "filter", "FORWARD", forward(true)),
        chain(IPV6, "filter", "FORWARD", forward(false)),
        chain(IPV4, "docker-bridges", "filter-FORWARD", forward(false)),
        chain(IPV4, "docker-bridges", "filter-forward-in__br-a", None),
        chain(INET, "wall", "forward", forward(true)),
        chain(INET, "open", "forward", forward(false)),
        chain(
            INET,
            "open",
            "input",
            Some(Base {
                hook: libc::NF_INET_LOCAL_IN as u32,
                ..forward(true).unwrap()
            }),
        ),
        chain(libc::NFPROTO_BRIDGE as u8, "wall", "forward", forward(true)),
        chain(INET, "owned", "forward", forward(true)),
    ]);
    kernel.tables.push(Table {
        family: INET,
        name: "owned".to_owned(),
        flags: 2,
    });
    assert_eq!(
        shown(&set(&kernel, &config())),
        [
            "oifname \"dtap0\" at 1 wall forward",
            "iifname \"dtap0\" at 1 wall forward",
            "oifname \"dtap0\" at 2 docker-bridges filter-FORWARD",
            "iifname \"dtap0\" at 2 docker-bridges filter-FORWARD",
            "oifname \"dtap0\" at 2 filter DOCKER-USER",
            "iifname \"dtap0\" at 2 filter DOCKER-USER",
            "oifname \"dtap0\" at 10 filter FORWARD",
            "iifname \"dtap0\" at 10 filter FORWARD",
        ]
    );
}

#[test]
fn each_accept_stands_once_and_only_where_it_is_needed() {
    let mut kernel = kernel();
    let user = chain(IPV4, "filter", "DOCKER-USER", None);
    let forward = chain(IPV4, "filter", "FORWARD", forward(true));
    kernel.rules.extend([
        rule(&user.id, 71, Some(accept(Direction::In, "dtap0"))),
        rule(&user.id, 72, None),
        rule(&user.id, 73, Some(accept(Direction::In, "dtap0"))),
        rule(&user.id, 74, Some(accept(Direction::In, "eth0"))),
        Rule {
            marked: true,
            ..rule(&user.id, 75, Some(accept(Direction::In, "dtap7")))
        },
        rule(&forward.id, 76, Some(accept(Direction::Out, "dtap0"))),
    ]);
    kernel.chains.extend([user, forward]);
    assert_eq!(
        shown(&set(&kernel, &config())),
        [
            "delete 73 from 2 filter DOCKER-USER",
            "delete 75 from 2 filter DOCKER-USER",
            "delete 76 from 2 filter FORWARD",
            "oifname \"dtap0\" at 2 filter DOCKER-USER",
        ]
    );
}

#[test]
fn a_place_below_the_head_is_given_up_only_where_docker_takes_the_head() {
    let mut kernel = kernel();
    let forward = chain(IPV6, "filter", "FORWARD", forward(true));
    kernel.rules.extend([
        rule(&forward.id, 71, None),
        rule(&forward.id, 72, Some(accept(Direction::In, "dtap0"))),
        rule(&forward.id, 73, Some(accept(Direction::Out, "dtap0"))),
    ]);
    kernel.chains.push(forward);
    assert_eq!(shown(&set(&kernel, &config())), [""; 0]);

    let isolation = |family| chain(family, "filter", "DOCKER-ISOLATION-STAGE-1", None);
    kernel.chains.push(isolation(IPV4));
    assert_eq!(shown(&set(&kernel, &config())), [""; 0]);
    kernel.chains.push(isolation(IPV6));
    assert_eq!(
        shown(&set(&kernel, &config())),
        [
            "delete 72 from 10 filter FORWARD",
            "delete 73 from 10 filter FORWARD",
            "oifname \"dtap0\" at 10 filter FORWARD",
            "iifname \"dtap0\" at 10 filter FORWARD",
        ]
    );
    kernel.rules.retain(|rule| rule.handle != 71);
    assert_eq!(shown(&set(&kernel, &config())), [""; 0]);
}

#[test]
fn clearing_takes_the_table_and_what_is_marked() {
    let mut kernel = kernel();
    let user = chain(IPV4, "filter", "DOCKER-USER", None);
    kernel.rules.extend([
        Rule {
            marked: true,
            ..rule(&user.id, 71, Some(accept(Direction::In, "dtap7")))
        },
        rule(&user.id, 72, Some(accept(Direction::In, "eth0"))),
    ]);
    kernel.chains.push(user);
    assert_eq!(
        shown(&clear(&kernel)),
        [
            "delete 71 from 2 filter DOCKER-USER",
            "delete table of Inet"
        ]
    );
    assert_eq!(shown(&clear(&Snapshot::default())), [""; 0]);
}

#[test]
fn a_bridge_that_is_closed_to_ipv6_costs_a_table_beside_ours() {
    let mut kernel = kernel();
    let mut config = config();
    config
        .attached
        .insert(("fd75::2".parse().unwrap(), "dtaps0".to_owned()));
    config.attached.extend([
        ("10.75.0.2".parse().unwrap(), "dtaps0".to_owned()),
        ("fd75:1::2".parse().unwrap(), "br-x".to_owned()),
    ]);
    kernel.sets = sets(&config);
    let handover = Handover {
        bridge: "br-x".to_owned(),
        foothold: "dtaps0".to_owned(),
        hardware: [2, 0, 0, 0, 0, 10],
    };
    config.handovers.insert(handover);
    let table = include_str!("../handovers.nft");
    let replaced = [format!("replace {table}")];
    assert_eq!(shown(&set(&kernel, &config)), replaced);

    list(&mut kernel, &Ruleset::handovers(&config));
    assert_eq!(shown(&set(&kernel, &config)), [""; 0]);
    let damages: [fn(&mut Snapshot); 4] = [
        |kernel| kernel.tables[1].flags = 1,
        |kernel| drop(kernel.rules.pop()),
        |kernel| drop(kernel.chains.pop()),
        |kernel| {
            kernel
                .chains
                .last_mut()
                .unwrap()
                .base
                .as_mut()
                .unwrap()
                .device = None
        },
    ];
    for damage in damages {
        let mut kernel = kernel.clone();
        damage(&mut kernel);
        assert_eq!(shown(&set(&kernel, &config)), replaced);
    }

    config.handovers.clear();
    assert_eq!(shown(&set(&kernel, &config)), ["delete table of Netdev"]);
    assert_eq!(
        shown(&clear(&kernel)),
        ["delete table of Inet", "delete table of Netdev"]
    );
}

/// What a kernel lists in which [`config`] is set and nothing else.
fn kernel() -> Snapshot {
    let mut snapshot = Snapshot {
        sets: sets(&config()),
        ..Snapshot::default()
    };
    list(&mut snapshot, &Ruleset::new(&config()));
    snapshot
}

fn list(snapshot: &mut Snapshot, ruleset: &Ruleset) {
    let family = ruleset.family.number();
    snapshot.tables.push(Table {
        family,
        name: ruleset::TABLE.to_owned(),
        flags: 0,
    });
    for own in &ruleset.chains {
        let base = Base {
            kind: own.kind.to_owned(),
            hook: own.hook.number(),
            device: own.device.clone(),
            priority: own.priority,
            drops: false,
        };
        let chain = chain(family, ruleset::TABLE, &own.name, Some(base));
        snapshot.rules.extend(
            own.rules
                .iter()
                .map(|own| rule(&chain.id, 1, Some(expression::lower(own)))),
        );
        snapshot.chains.push(chain);
    }
}

fn sets(config: &FirewallConfig) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let elements = elements(config).into_iter();
    elements
        .map(|(set, keys)| (set.name().to_owned(), keys))
        .collect()
}

fn config() -> FirewallConfig {
    FirewallConfig {
        interface: "dtap0".to_owned(),
        attached: [
            ("10.75.0.2".parse().unwrap(), "br-a".to_owned()),
            ("fd75::2".parse().unwrap(), "br-a".to_owned()),
        ]
        .into(),
        masquerade: ["172.30.2.2".parse().unwrap()].into(),
        ..FirewallConfig::default()
    }
}

fn chain(family: u8, table: &str, name: &str, base: Option<Base>) -> Chain {
    let id = ChainId {
        family,
        table: table.to_owned(),
        name: name.to_owned(),
    };
    Chain { id, base }
}

fn forward(drops: bool) -> Option<Base> {
    Some(Base {
        kind: "filter".to_owned(),
        hook: Hook::Forward.number(),
        device: None,
        priority: 0,
        drops,
    })
}

fn rule(chain: &ChainId, handle: u64, expressions: Option<Vec<Expression>>) -> Rule {
    Rule {
        chain: chain.clone(),
        handle,
        marked: false,
        expressions,
    }
}

fn accept(direction: Direction, interface: &str) -> Vec<Expression> {
    expression::lower(&ruleset::accept(direction, interface))
}

fn shown(changes: &[Change]) -> Vec<String> {
    let place = |id: &ChainId| format!("{} {} {}", id.family, id.table, id.name);
    let show = |change: &Change| match change {
        Change::ReplaceTable(table, _) if table.family == TableFamily::Netdev => {
            format!("replace {table}")
        }
        Change::ReplaceTable(_, sets) => {
            let counts: Vec<_> = sets.values().map(|keys| keys.len().to_string()).collect();
            format!("replace table: {}", counts.join(" "))
        }
        Change::DeleteTable(family) => format!("delete table of {family:?}"),
        Change::AddElements(set, keys) => format!("add {} to {}", keys.len(), set.name()),
        Change::DeleteElements(set, keys) => format!("delete {} from {}", keys.len(), set.name()),
        Change::InsertAccept(chain, rule) => {
            format!("{} at {}", rule[0], place(chain))
        }
        Change::DeleteRule(chain, handle) => format!("delete {handle} from {}", place(chain)),
    };
    changes.iter().map(show).collect()
}
