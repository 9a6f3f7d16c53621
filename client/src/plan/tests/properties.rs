//! What holds for every input.

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Prefixes from so small a space that they meet.
fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (0u8..4, 0u8..4, 8u8..=32).prop_map(|(a, b, length)| {
            let address = [10, a, b, a].into();
            IpNet::from(Ipv4Net::new_assert(address, length)).trunc()
        }),
        (0u16..4, 0u16..4, 8u8..=128).prop_map(|(a, b, length)| {
            let address = [0xfd00, a, b, 0, 0, 0, 0, a].into();
            IpNet::from(Ipv6Net::new_assert(address, length)).trunc()
        }),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prefix().prop_map(|it| it.addr())
}

fn route() -> impl Strategy<Value = HostRoute> {
    let default = prop_oneof![
        Just("0.0.0.0/0"),
        Just("0.0.0.0/1"),
        Just("128.0.0.0/1"),
        Just("::/0")
    ];
    let destination = prop_oneof![
        4 => prefix(),
        1 => default.prop_map(|it| it.parse().unwrap()),
    ];

    (destination, proptest::option::of(address()), any::<bool>()).prop_map(
        |(destination, gateway, ours)| HostRoute {
            destination,
            gateway,
            interface: None,
            ours,
        },
    )
}

fn host() -> impl Strategy<Value = Host> {
    (
        vec(route(), 0..4),
        vec(address(), 0..2),
        vec(address(), 0..2),
        proptest::option::of(address()),
    )
        .prop_map(|(routes, addresses, resolvers, endpoint)| Host {
            routes,
            addresses,
            resolvers,
            endpoint,
        })
}

fn network() -> impl Strategy<Value = Network> {
    let driver = prop_oneof![4 => Just("bridge"), 1 => Just("macvlan")];

    (
        "[a-c]",
        "[0-9a-f]{64}",
        driver,
        vec(prefix(), 0..3),
        any::<bool>(),
    )
        .prop_map(|(name, id, driver, subnets, internal)| {
            let subnets = subnets.into_iter().map(|prefix| Subnet {
                prefix,
                gateway: None,
                range: None,
            });
            Network {
                id,
                name,
                driver: driver.into(),
                internal,
                subnets: subnets.collect(),
                ..Network::default()
            }
        })
}

/// Pairs into so small a space that they meet, too, and whatever was chosen before.
fn maps() -> impl Strategy<Value = (Maps, Memory)> {
    let pairs = (prefix(), prefix()).prop_filter_map("of one family", |(truth, mapped)| {
        let mapped = IpNet::new(mapped.addr(), truth.prefix_len()).ok()?.trunc();
        (truth.addr().is_ipv4() == mapped.addr().is_ipv4()).then_some((truth, mapped))
    });
    let pair = pairs.boxed();
    let memory = (vec(pair.clone(), 0..3), vec(prefix(), 0..2));

    (vec(pair, 0..3), any::<bool>(), memory).prop_map(|(pairs, auto, (own, others))| {
        let pairs = pairs
            .into_iter()
            .map(|(truth, mapped)| Map::Pair(truth, mapped));
        let mut maps = Maps::new(&pairs.collect::<Vec<_>>()).unwrap_or_default();
        maps.auto = auto;
        let memory = Memory {
            engine: "default".into(),
            own: own.into_iter().collect(),
            others: others.into_iter().collect(),
        };
        (maps, memory)
    })
}

fn input() -> impl Strategy<Value = Input> {
    let tunnel = proptest::collection::btree_set(prefix(), 0..2);

    (plain_input(), maps(), any::<bool>(), tunnel).prop_map(
        |(input, (maps, memory), alone, tunnel)| Input {
            maps,
            memory,
            alone,
            tunnel,
            ..input
        },
    )
}

fn plain_input() -> impl Strategy<Value = Input> {
    let containers = vec((any::<Index>(), address(), any::<bool>()), 0..6);

    (vec(network(), 1..6), containers, host()).prop_map(|(networks, containers, host)| Input {
        containers: containers
            .into_iter()
            .enumerate()
            .map(|(number, (index, address, running))| Container {
                running,
                ..container(
                    &number.to_string(),
                    &[(index.get(&networks), &address.to_string())],
                )
            })
            .collect(),
        networks,
        host,
        ..Input::default()
    })
}

/// Everything the host must go on reaching without the tunnel.
fn needed(host: &Host) -> Vec<IpNet> {
    let foreign = || host.routes.iter().filter(|it| !it.ours);
    let routes = foreign().map(|it| it.destination);
    let addresses = (host.addresses.iter().chain(&host.resolvers).copied())
        .chain(foreign().filter_map(|it| it.gateway))
        .chain(host.endpoint);

    routes
        .filter(|it| it.prefix_len() > 1)
        .chain(addresses.map(IpNet::from))
        .collect()
}

proptest! {
    #[test]
    fn every_route_leads_to_a_subnet_of_an_attached_network(input in input()) {
        let plan = plan(&input);
        let attached: BTreeSet<IpNet> = plan.attachments.iter().flat_map(|it| it.subnets.clone()).collect();
        let subnets = |id: &str| {
            let network = input.networks.iter().find(|it| it.id == id);
            network.unwrap().subnets.iter().map(|it| it.prefix).collect::<BTreeSet<_>>()
        };

        prop_assert_eq!(&plan.subnets(), &attached);
        let leads_to = |subnet| *plan.translations.get(subnet).unwrap_or(subnet);
        prop_assert_eq!(&plan.routes, &attached.iter().map(leads_to).collect());
        prop_assert!(plan.translations.keys().all(|it| attached.contains(it)));
        for attachment in &plan.attachments {
            prop_assert!(attachment.subnets.is_subset(&subnets(&attachment.id)));
        }
    }

    #[test]
    fn no_route_takes_what_the_host_needs(input in input()) {
        let needed = needed(&input.host);

        for route in plan(&input).routes {
            for prefix in &needed {
                prop_assert!(!route.contains(prefix), "{route} takes {prefix}");
            }
        }
    }

    #[test]
    fn what_is_mapped_to_meets_nothing_else(input in input()) {
        let plan = plan(&input);
        let subnets = input.networks.iter().flat_map(|it| &it.subnets).map(|it| it.prefix);
        let taken: Vec<_> = subnets.chain(input.tunnel.clone()).collect();

        for (truth, mapped) in &plan.translations {
            prop_assert_eq!(truth.prefix_len(), mapped.prefix_len());
            prop_assert!(!taken.iter().any(|it| it.contains(mapped) || mapped.contains(it)));
            let others = plan.routes.iter().filter(|it| *it != mapped);
            prop_assert!(others.clone().all(|it| !it.contains(mapped) && !mapped.contains(it)));
        }
        let distinct: BTreeSet<_> = plan.translations.values().collect();
        prop_assert_eq!(distinct.len(), plan.translations.len());
    }

    #[test]
    fn what_was_chosen_is_chosen_again(input in input()) {
        let plan = plan(&input);
        let mut again = input;
        again.memory.own = plan.translations.clone();

        prop_assert_eq!(super::plan(&again), plan);
    }

    #[test]
    fn two_engines_never_route_the_same(first in input(), second in input()) {
        let first = plan(&first).routes;
        let claims = first.iter().map(|route| (*route, "first".to_owned())).collect();
        let second = plan(&Input { claims, ..second }).routes;

        for one in &first {
            for other in &second {
                prop_assert!(!one.contains(other) && !other.contains(one), "{one} and {other}");
            }
        }
    }

    #[test]
    fn neither_a_second_time_nor_another_order_changes_a_plan(input in input()) {
        let mut reversed = input.clone();
        reversed.networks.reverse();
        reversed.networks.iter_mut().for_each(|it| it.subnets.reverse());
        reversed.containers.reverse();
        reversed.host.routes.reverse();
        reversed.host.addresses.reverse();
        reversed.host.resolvers.reverse();

        prop_assert_eq!(plan(&input), plan(&input));
        prop_assert_eq!(plan(&input), plan(&reversed));
    }

    #[test]
    fn whatever_is_not_reachable_has_a_reason(input in input()) {
        for network in plan(&input).networks {
            prop_assert_eq!(network.state == Reachability::Reachable, network.reason.is_none());
        }
    }

    #[test]
    fn only_addresses_of_the_attached_subnets_are_masqueraded(input in input()) {
        for attachment in plan(&input).attachments {
            for address in attachment.masquerade {
                prop_assert!(attachment.subnets.iter().any(|it| it.contains(&address)));
            }
        }
    }
}
