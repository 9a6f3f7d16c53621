//! Which networks the leg leaves at once.

use super::*;
use crate::docker::{ContainerEndpoint, LEG_LABEL, Subnet};

fn network(name: &str, driver: &str) -> Network {
    Network {
        id: name.into(),
        name: name.into(),
        driver: driver.into(),
        internal: true,
        attachable: true,
        subnets: vec![Subnet {
            prefix: "10.0.1.0/24".parse().unwrap(),
            gateway: None,
            range: None,
        }],
        ..Network::default()
    }
}

fn container(id: &str, networks: &[&str]) -> Container {
    let endpoints = networks.iter().map(|network| ContainerEndpoint {
        network_id: (*network).to_owned(),
        ipv4: Some([10, 0, 1, 2].into()),
        ..ContainerEndpoint::default()
    });
    Container {
        id: id.into(),
        name: id.into(),
        running: true,
        endpoints: endpoints.collect(),
        ..Container::default()
    }
}

/// The leg beside two containers on an overlay network, and others elsewhere.
fn input() -> Input {
    let mut leg = container("dtap-leg-1", &["ov"]);
    leg.labels.insert(LEG_LABEL.into(), "1".into());
    Input {
        networks: vec![network("ov", "overlay"), network("web", "bridge")],
        containers: vec![
            leg,
            container("a", &["ov"]),
            container("b", &["ov", "web"]),
            container("c", &["web"]),
        ],
        leg: plan::Leg {
            name: "dtap-leg-1".into(),
            ..plan::Leg::default()
        },
        ..Input::default()
    }
}

#[test]
fn the_leg_leaves_with_the_last_of_the_others() {
    let mut input = input();
    assert!(abandoned(&mut input, "a").is_empty());
    assert_eq!(abandoned(&mut input, "b"), ["ov".to_owned()].into());
}

#[test]
fn a_container_that_is_elsewhere_or_known_to_end_is_no_reason_to_plan() {
    let mut input = input();
    input.leg.doomed = ["a".to_owned(), "b".to_owned()].into();
    let before = input.leg.doomed.clone();
    for id in ["a", "b", "c", "unknown"] {
        assert!(abandoned(&mut input, id).is_empty(), "{id}");
    }
    assert_eq!(input.leg.doomed, before);
    assert!(shared(&input, "c").is_empty());
}
