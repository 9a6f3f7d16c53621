//! The cases that have names, and what holds for every input.

mod claims;
mod containers;
mod drivers;
mod maps;
mod overlay;
mod properties;

use std::net::IpAddr;

use dtap_tunnel::session::Access;

use super::*;
use crate::docker::{Container, ContainerEndpoint, Network, Subnet};

fn bridge(name: &str, subnets: &[&str]) -> Network {
    let subnets = subnets.iter().map(|text| Subnet {
        prefix: text.parse().unwrap(),
        gateway: None,
        range: None,
    });

    Network {
        id: format!("{name}-0123456789"),
        name: name.into(),
        driver: "bridge".into(),
        scope: "local".into(),
        subnets: subnets.collect(),
        ..Network::default()
    }
}

fn driven(name: &str, driver: &str) -> Network {
    Network {
        driver: driver.into(),
        ..bridge(name, &[])
    }
}

fn with_option(mut network: Network, name: &str, value: &str) -> Network {
    let name = format!("com.docker.network.bridge.{name}");
    network.options.insert(name, value.into());
    network
}

fn container(name: &str, endpoints: &[(&Network, &str)]) -> Container {
    let endpoints = endpoints
        .iter()
        .map(|(network, address)| endpoint(network, address));

    Container {
        id: format!("{name}-id"),
        name: name.into(),
        running: true,
        network_mode: "bridge".into(),
        endpoints: endpoints.collect(),
        ..Container::default()
    }
}

/// An endpoint with a gateway, unless its network is internal.
fn endpoint(network: &Network, address: &str) -> ContainerEndpoint {
    let endpoint = ContainerEndpoint {
        network_id: network.id.clone(),
        network: network.name.clone(),
        ..ContainerEndpoint::default()
    };

    match address.parse().unwrap() {
        IpAddr::V4(address) => ContainerEndpoint {
            ipv4: Some(address),
            ipv4_gateway: (!network.internal).then_some([172, 18, 0, 1].into()),
            ..endpoint
        },
        IpAddr::V6(address) => ContainerEndpoint {
            ipv6: Some(address),
            ipv6_gateway: (!network.internal).then_some([0xfd00, 0, 0, 0, 0, 0, 0, 1].into()),
            ..endpoint
        },
    }
}

fn on_host(destination: &str) -> HostRoute {
    HostRoute {
        destination: destination.parse().unwrap(),
        gateway: None,
        interface: Some("eth0".into()),
        ours: false,
    }
}

fn planned(networks: &[Network]) -> Plan {
    plan(&Input {
        networks: networks.to_vec(),
        ..Input::default()
    })
}

fn planned_on(host: Host, networks: &[Network]) -> Plan {
    plan(&Input {
        networks: networks.to_vec(),
        host,
        ..Input::default()
    })
}

fn routes(plan: &Plan) -> Vec<String> {
    plan.routes.iter().map(ToString::to_string).collect()
}

/// The state of the only network, with its reason.
fn verdict(plan: &Plan) -> (Reachability, &str) {
    let [network] = plan.networks.as_slice() else {
        panic!("one network: {:?}", plan.networks)
    };

    (network.state, network.reason.as_deref().unwrap_or_default())
}

/// The state of the only network where the host has this route too.
fn verdict_beside(destination: &str, subnet: &str) -> (Reachability, String) {
    let host = Host {
        routes: vec![on_host(destination)],
        ..Host::default()
    };
    let plan = planned_on(host, &[bridge("web", &[subnet])]);
    let (state, reason) = verdict(&plan);

    (state, reason.to_owned())
}

#[test]
fn a_bridge_is_attached_and_routed_in_both_families() {
    let plan = planned(&[bridge("web", &["172.18.0.0/16", "fd00:1::/64"])]);

    assert_eq!(routes(&plan), ["172.18.0.0/16", "fd00:1::/64"]);
    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
    assert_eq!(
        plan.attachments,
        [Attachment {
            id: "web-0123456789".into(),
            network: "web".into(),
            access: Access::Bridge {
                interface: "br-web-01234567".into(),
                bare: BTreeSet::new(),
            },
            subnets: plan.routes.clone(),
            masquerade: BTreeSet::new(),
            excluded: BTreeSet::new(),
        }]
    );
    assert!(plan.notes.is_empty());
}

#[test]
fn a_route_of_the_host_inside_the_subnet_is_a_conflict() {
    let conflict = |reason: &str| (Reachability::Conflict, reason.to_owned());

    assert_eq!(
        verdict_beside("172.18.0.0/16", "172.18.0.0/16"),
        conflict("172.18.0.0/16 equals this host's route 172.18.0.0/16 on eth0")
    );
    assert_eq!(
        verdict_beside("172.18.7.0/24", "172.18.0.0/16"),
        conflict("172.18.0.0/16 contains this host's route 172.18.7.0/24 on eth0")
    );
    assert_eq!(
        verdict_beside("fd00:1::5/128", "fd00:1::/64"),
        conflict("fd00:1::/64 contains this host's route fd00:1::5/128 on eth0")
    );
}

#[test]
fn a_subnet_inside_a_broader_route_is_reachable_and_noted() {
    let host = Host {
        routes: vec![on_host("172.16.0.0/12"), on_host("172.0.0.0/8")],
        ..Host::default()
    };
    let plan = planned_on(host, &[bridge("web", &["172.18.0.0/16"])]);

    assert_eq!(routes(&plan), ["172.18.0.0/16"]);
    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
    assert_eq!(
        plan.notes,
        [
            "network 'web': 172.18.0.0/16 lies inside this host's route 172.16.0.0/12 on eth0: \
          reached by our more specific route"
        ]
    );
}

#[test]
fn default_routes_and_their_halves_do_not_count() {
    for (default, subnet) in [
        ("0.0.0.0/0", "172.18.0.0/16"),
        ("0.0.0.0/1", "10.0.0.0/8"),
        ("128.0.0.0/1", "172.18.0.0/16"),
        ("::/0", "fd00:1::/64"),
        ("::/1", "2001:db8::/64"),
        ("8000::/1", "fd00:1::/64"),
    ] {
        let host = Host {
            routes: vec![on_host(default)],
            ..Host::default()
        };
        let plan = planned_on(host, &[bridge("web", &[subnet])]);

        assert_eq!(routes(&plan), [subnet], "{default}");
        assert!(plan.notes.is_empty(), "{default}");
    }
}

#[test]
fn our_own_routes_do_not_count() {
    let own = HostRoute {
        ours: true,
        gateway: Some([172, 18, 0, 9].into()),
        ..on_host("172.18.0.0/16")
    };
    let host = Host {
        routes: vec![own],
        ..Host::default()
    };

    let plan = planned_on(host, &[bridge("web", &["172.18.0.0/16"])]);
    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
}

#[test]
fn an_address_the_host_needs_is_a_conflict() {
    let address = IpAddr::from([172, 18, 0, 53]);
    let cases = [
        (
            Host {
                addresses: vec![address],
                ..Host::default()
            },
            "this host's address",
        ),
        (
            Host {
                resolvers: vec![address],
                ..Host::default()
            },
            "the DNS resolver",
        ),
        (
            Host {
                endpoint: Some(address),
                ..Host::default()
            },
            "the tunnel's endpoint",
        ),
        (
            Host {
                routes: vec![HostRoute {
                    gateway: Some(address),
                    ..on_host("0.0.0.0/0")
                }],
                ..Host::default()
            },
            "the next hop",
        ),
    ];

    for (host, role) in cases {
        let plan = planned_on(host, &[bridge("web", &["172.18.0.0/16"])]);
        let reason = format!("172.18.0.0/16 contains {role} 172.18.0.53");

        assert_eq!(verdict(&plan), (Reachability::Conflict, reason.as_str()));
        assert!(plan.routes.is_empty() && plan.attachments.is_empty());
    }
}

#[test]
fn a_conflict_in_one_family_leaves_the_other() {
    let host = Host {
        routes: vec![on_host("172.18.0.0/16")],
        ..Host::default()
    };
    let plan = planned_on(host, &[bridge("web", &["172.18.0.0/16", "fd00:1::/64"])]);

    assert_eq!(routes(&plan), ["fd00:1::/64"]);
    assert_eq!(verdict(&plan).0, Reachability::Conflict);
}

#[test]
fn of_two_networks_with_one_subnet_the_first_by_name_wins() {
    let plan = planned(&[bridge("b", &["10.1.0.0/16"]), bridge("a", &["10.1.0.0/16"])]);

    assert_eq!(plan.attachments.len(), 1);
    assert_eq!(plan.attachments[0].network, "a");
    assert_eq!(plan.networks[0].state, Reachability::Reachable);
    assert_eq!(plan.networks[1].state, Reachability::Conflict);
    assert_eq!(
        plan.networks[1].reason.as_deref(),
        Some("10.1.0.0/16 is the subnet of network 'a' too")
    );
}

#[test]
fn filters_and_labels_exclude() {
    let web = bridge("web", &["172.18.0.0/16"]);
    let excluded = plan(&Input {
        networks: vec![web.clone()],
        filters: Filters {
            exclude: vec!["w*".parse().unwrap()],
            ..Filters::default()
        },
        ..Input::default()
    });
    assert_eq!(
        verdict(&excluded),
        (Reachability::Excluded, "excluded by 'w*'")
    );

    let labelled = Network {
        labels: [("dtap.enable".to_owned(), "false".to_owned())].into(),
        ..web
    };
    assert_eq!(
        verdict(&planned(&[labelled])),
        (
            Reachability::Excluded,
            "excluded by its label dtap.enable=false"
        )
    );
}

#[test]
fn a_network_with_one_subnet_excluded_is_reachable_by_the_other() {
    let plan = plan(&Input {
        networks: vec![bridge("web", &["172.18.0.0/16", "fd00:1::/64"])],
        filters: Filters {
            exclude: vec!["fd00::/8".parse().unwrap()],
            ..Filters::default()
        },
        ..Input::default()
    });

    assert_eq!(routes(&plan), ["172.18.0.0/16"]);
    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
}

#[test]
fn beside_a_native_engine_a_bridge_is_reachable_and_nothing_installed() {
    let web = bridge("web", &["172.18.0.0/16"]);
    let plan = plan(&Input {
        containers: vec![container("up", &[(&web, "172.18.0.2")])],
        networks: vec![web],
        host: Host {
            routes: vec![on_host("172.18.0.0/16")],
            ..Host::default()
        },
        reach: Reach::Direct,
        ..Input::default()
    });

    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
    assert!(plan.containers[0].reachable);
    assert!(plan.routes.is_empty() && plan.attachments.is_empty());
}
