//! What becomes of networks by their driver and its options, and of what the server or another program refuses.

use dtap_tunnel::session::SiblingKind;

use super::*;

#[test]
fn what_cannot_be_attached_says_why() {
    let template = Network {
        config_only: true,
        ..bridge("template", &["10.1.0.0/16"])
    };
    let private = Network {
        options: [("macvlan_mode".to_owned(), "private".to_owned())].into(),
        ..driven("private", "macvlan")
    };
    let cases = [
        (
            driven("host", "host"),
            "host network: containers on it answer at the server's address",
        ),
        (
            driven("none", "null"),
            "no network: containers on it have no address",
        ),
        (
            driven("far", "weave"),
            "driver 'weave': dtap knows no way to its containers",
        ),
        (
            private,
            "macvlan mode 'private': containers on it talk to nobody on their own parent interface",
        ),
        (
            bridge("bare", &[]),
            "the network has no subnet: its containers have no known address",
        ),
        (
            template,
            "a configuration for other networks: no container can be on it",
        ),
    ];

    for (network, reason) in cases {
        let plan = planned(&[network]);
        assert_eq!(verdict(&plan), (Reachability::Unsupported, reason));
        assert!(plan.routes.is_empty() && plan.attachments.is_empty());
    }
}

#[test]
fn a_bridge_without_an_address_is_attached_as_bare_in_that_family() {
    let web = bridge("web", &["10.1.0.0/16", "fd00:1::/64"]);
    for (option, value, expected) in [
        ("gateway_mode_ipv6", "isolated", "fd00:1::/64"),
        ("gateway_mode_ipv4", "isolated", "10.1.0.0/16"),
        ("inhibit_ipv4", "true", "10.1.0.0/16"),
    ] {
        let plan = planned(&[with_option(web.clone(), option, value)]);
        let Access::Bridge { bare, .. } = &plan.attachments[0].access else {
            panic!("by its bridge");
        };
        assert_eq!(*bare, [expected.parse().unwrap()].into(), "{option}");
        assert_eq!(routes(&plan), ["10.1.0.0/16", "fd00:1::/64"]);
    }
}

#[test]
fn macvlan_and_ipvlan_are_attached_beside_their_containers() {
    let lan = |driver: &str, options: &[(&str, &str)]| Network {
        driver: driver.into(),
        options: options
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        ..bridge("lan", &["10.50.0.0/24"])
    };
    for (network, parent, kind) in [
        (
            lan("macvlan", &[("parent", "eth1")]),
            "eth1",
            SiblingKind::Macvlan,
        ),
        (lan("macvlan", &[]), "dm-lan-01234567", SiblingKind::Macvlan),
        (
            lan("ipvlan", &[("parent", "eth1.10")]),
            "eth1.10",
            SiblingKind::IpvlanL2,
        ),
        (
            lan("ipvlan", &[("ipvlan_mode", "l3")]),
            "di-lan-01234567",
            SiblingKind::IpvlanL3,
        ),
    ] {
        let web = container("web", &[(&network, "10.50.0.2")]);
        let plan = plan(&Input {
            networks: vec![network],
            containers: vec![web],
            ..Input::default()
        });
        assert_eq!(
            plan.attachments[0].access,
            Access::Sibling {
                parent: parent.into(),
                kind,
                containers: ["10.50.0.2".parse().unwrap()].into(),
            }
        );
        assert!(plan.containers[0].reachable);
    }
}

#[test]
fn a_native_host_has_no_way_to_what_it_shares_no_interface_with() {
    let planned = |network: Network| {
        let web = container("web", &[(&network, "10.1.0.2")]);
        plan(&Input {
            networks: vec![network],
            containers: vec![web],
            reach: Reach::Direct,
            ..Input::default()
        })
    };
    let lan = |driver: &str| Network {
        driver: driver.into(),
        ..bridge("lan", &["10.1.0.0/16"])
    };
    let bare =
        "10.1.0.0/16 has no address on its bridge: this host itself has no way to its containers";
    for (network, reason) in [
        (
            lan("macvlan"),
            "macvlan: this host itself has no way to its containers",
        ),
        (
            lan("ipvlan"),
            "ipvlan: this host itself has no way to its containers",
        ),
        (
            with_option(lan("bridge"), "gateway_mode_ipv4", "isolated"),
            bare,
        ),
        (with_option(lan("bridge"), "inhibit_ipv4", "true"), bare),
    ] {
        let plan = planned(network);
        assert_eq!(verdict(&plan), (Reachability::Unsupported, reason));
        assert!(!plan.containers[0].reachable);
    }
    let nat = with_option(lan("bridge"), "gateway_mode_ipv4", "nat");
    assert!(planned(nat).containers[0].reachable);
}

#[test]
fn what_the_server_refused_is_attached_again_but_not_routed() {
    let web = bridge("web", &["10.1.0.0/16"]);
    let plan = plan(&Input {
        refused: [(web.id.clone(), "no such bridge".to_owned())].into(),
        networks: vec![web],
        ..Input::default()
    });
    assert_eq!(
        verdict(&plan),
        (Reachability::Unsupported, "no such bridge")
    );
    assert!(plan.routes.is_empty());
    assert_eq!(plan.attachments.len(), 1);
}

#[test]
fn a_route_that_another_program_keeps_deleting_is_a_conflict_for_a_while() {
    let plan = plan(&Input {
        networks: vec![bridge("web", &["10.1.0.0/16", "fd00:1::/64"])],
        contested: [("10.1.0.0/16".parse().unwrap(), "deleted".to_owned())].into(),
        ..Input::default()
    });
    assert_eq!(verdict(&plan), (Reachability::Conflict, "deleted"));
    assert_eq!(routes(&plan), ["fd00:1::/64"]);
}
