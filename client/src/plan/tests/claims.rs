//! What other engines and the protocols themselves have taken.

use std::collections::BTreeMap;

use super::*;

fn verdict_beside_claim(claim: &str, subnet: &str) -> (Reachability, String) {
    let plan = plan(&Input {
        networks: vec![bridge("web", &[subnet])],
        claims: BTreeMap::from([(claim.parse().unwrap(), "a".to_owned())]),
        ..Input::default()
    });
    let (state, reason) = verdict(&plan);

    assert_eq!(plan.routes.is_empty(), state != Reachability::Reachable);
    (state, reason.to_owned())
}

fn conflict(reason: &str) -> (Reachability, String) {
    (Reachability::Conflict, reason.to_owned())
}

#[test]
fn a_subnet_of_another_engine_is_a_conflict_in_either_direction() {
    assert_eq!(
        verdict_beside_claim("172.17.0.0/16", "172.17.0.0/16"),
        conflict("172.17.0.0/16 is the subnet of engine 'a' too")
    );
    assert_eq!(
        verdict_beside_claim("172.17.0.0/16", "172.17.5.0/24"),
        conflict("172.17.5.0/24 overlaps 172.17.0.0/16 of engine 'a'")
    );
    assert_eq!(
        verdict_beside_claim("10.75.0.0/24", "10.0.0.0/8"),
        conflict("10.0.0.0/8 overlaps 10.75.0.0/24 of engine 'a'")
    );
    assert_eq!(
        verdict_beside_claim("172.17.0.0/16", "172.18.0.0/16").0,
        Reachability::Reachable
    );
}

#[test]
fn a_subnet_that_means_something_else_on_every_host_is_a_conflict() {
    for (subnet, special) in [
        ("127.3.0.0/16", "127.0.0.0/8"),
        ("169.254.9.0/24", "169.254.0.0/16"),
        ("224.0.0.0/3", "224.0.0.0/4"),
        ("::/64", "::1/128"),
        ("fe80::/64", "fe80::/10"),
    ] {
        let plan = planned(&[bridge("web", &[subnet])]);
        let (state, reason) = verdict(&plan);

        assert_eq!(state, Reachability::Conflict, "{subnet}");
        let expected = format!("{subnet} overlaps {special}, ");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(plan.attachments.is_empty());
    }
}

#[test]
fn beside_the_engine_every_subnet_is_reachable_whatever_it_means_elsewhere() {
    let plan = plan(&Input {
        networks: vec![bridge("web", &["169.254.9.0/24"])],
        reach: Reach::Direct,
        ..Input::default()
    });

    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
}
