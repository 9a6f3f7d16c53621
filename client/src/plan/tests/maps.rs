//! Subnets that are reached under other prefixes.

use std::slice::from_ref;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn maps(values: &[&str]) -> Maps {
    let values: Vec<Map> = values.iter().map(|it| it.parse().unwrap()).collect();
    Maps::new(&values).unwrap()
}

/// A host with these routes, the only engine's networks, and `--map`.
fn input(routes: &[&str], networks: &[Network], values: &[&str]) -> Input {
    Input {
        networks: networks.to_vec(),
        host: Host {
            routes: routes.iter().map(|it| on_host(it)).collect(),
            ..Host::default()
        },
        maps: maps(values),
        memory: Memory {
            engine: "default".into(),
            ..Memory::default()
        },
        alone: true,
        ..Input::default()
    }
}

fn translations(plan: &Plan) -> Vec<String> {
    let pairs = plan.translations.iter();
    pairs
        .map(|(truth, mapped)| format!("{truth}={mapped}"))
        .collect()
}

#[test]
fn a_mapped_network_is_reachable_under_its_other_prefix() {
    let web = bridge("web", &["172.18.0.0/16", "fd00:1::/64"]);
    let mut input = input(
        &["172.18.0.0/16"],
        from_ref(&web),
        &["172.18.0.0/16=10.1.0.0/16"],
    );
    input.containers = vec![container(
        "up",
        &[(&web, "172.18.3.2"), (&web, "fd00:1::2")],
    )];
    let plan = plan(&input);

    assert_eq!(verdict(&plan), (Reachability::Reachable, ""));
    assert_eq!(routes(&plan), ["10.1.0.0/16", "fd00:1::/64"]);
    assert_eq!(translations(&plan), ["172.18.0.0/16=10.1.0.0/16"]);
    assert_eq!(plan.networks[0].mapped, [net("10.1.0.0/16")]);
    assert_eq!(
        plan.networks[0].subnets,
        [net("172.18.0.0/16"), net("fd00:1::/64")]
    );
    assert_eq!(plan.attachments[0].subnets, plan.subnets());
    assert_eq!(
        plan.subnets(),
        [net("172.18.0.0/16"), net("fd00:1::/64")].into()
    );
    let up = &plan.containers[0];
    assert!(up.reachable);
    let mapped: Vec<_> = up.networks.iter().map(|it| it.mapped).collect();
    assert_eq!(mapped, [Some([10, 1, 3, 2].into()), None]);
    assert_eq!(
        plan.notes,
        ["network 'web': 172.18.0.0/16 is reached as 10.1.0.0/16"]
    );
}

#[test]
fn a_broad_map_moves_each_subnet_inside_it() {
    let networks = [
        bridge("a", &["172.18.0.0/16"]),
        bridge("b", &["172.19.4.0/24"]),
        bridge("c", &["192.168.0.0/20"]),
    ];
    let plan = plan(&input(&[], &networks, &["172.16.0.0/12=10.16.0.0/12"]));

    assert_eq!(
        routes(&plan),
        ["10.18.0.0/16", "10.19.4.0/24", "192.168.0.0/20"]
    );
}

#[test]
fn one_of_several_engines_is_mapped_only_where_it_clashes() {
    let networks = [bridge("web", &["172.18.0.0/16"])];
    let values = ["172.18.0.0/16=10.1.0.0/16"];
    let several = |routes: &[&str]| {
        let mut input = input(routes, &networks, &values);
        input.alone = false;
        super::routes(&plan(&input))
    };

    assert_eq!(several(&[]), ["172.18.0.0/16"]);
    assert_eq!(several(&["172.18.0.0/16"]), ["10.1.0.0/16"]);
}

#[test]
fn a_target_that_is_not_free_is_a_conflict_that_names_both() {
    let web = bridge("web", &["172.18.0.0/16"]);
    let said = |input: &Input| {
        let plan = plan(input);
        let web = plan
            .networks
            .iter()
            .find(|it| it.name == "web")
            .unwrap()
            .clone();
        assert_eq!(web.state, Reachability::Conflict);
        web.reason.unwrap()
    };
    let values = ["172.18.0.0/16=10.1.0.0/16"];

    assert_eq!(
        said(&input(&["10.1.7.0/24"], from_ref(&web), &values)),
        "172.18.0.0/16 cannot be mapped to 10.1.0.0/16: \
         10.1.0.0/16 contains this host's route 10.1.7.0/24 on eth0"
    );
    let broad = bridge("broad", &["10.0.0.0/9"]);
    assert_eq!(
        said(&input(&[], &[web.clone(), broad], &values)),
        "172.18.0.0/16 cannot be mapped to 10.1.0.0/16: \
         10.1.0.0/16 overlaps 10.0.0.0/9, the subnet of network 'broad'"
    );
    let mut tunnelled = input(&[], &[web], &values);
    tunnelled.tunnel = [net("10.1.2.0/24")].into();
    assert_eq!(
        said(&tunnelled),
        "172.18.0.0/16 cannot be mapped to 10.1.0.0/16: \
         10.1.0.0/16 overlaps 10.1.2.0/24, the tunnel's own prefix"
    );
}

#[test]
fn auto_maps_what_clashes_and_nothing_else() {
    let networks = [
        bridge("calm", &["172.17.0.0/16"]),
        bridge("clash", &["172.18.0.0/16", "fd00:1::/64"]),
        bridge("more", &["172.19.5.0/24"]),
    ];
    let plan = plan(&input(
        &["172.18.0.0/16", "172.19.5.0/28", "fd00:1::/64"],
        &networks,
        &["auto"],
    ));

    assert!(
        plan.networks
            .iter()
            .all(|it| it.state == Reachability::Reachable)
    );
    let translations = translations(&plan);
    assert_eq!(
        translations[..2],
        ["172.18.0.0/16=10.254.0.0/16", "172.19.5.0/24=10.253.5.0/24"]
    );
    assert!(
        translations[2].starts_with("fd00:1::/64=fd"),
        "{translations:?}"
    );
}

#[test]
fn auto_solves_a_clash_with_an_address_the_host_needs() {
    let mut input = input(&[], &[bridge("web", &["172.18.0.0/16"])], &["auto"]);
    input.host.endpoint = Some([172, 18, 0, 53].into());

    assert_eq!(routes(&plan(&input)), ["10.254.0.0/16"]);
}

#[test]
fn auto_avoids_what_is_in_use_or_spoken_for() {
    let networks = [
        bridge("web", &["172.18.0.0/16"]),
        bridge("x", &["10.251.0.0/24"]),
    ];
    let mut input = input(
        &["172.18.0.0/16", "10.254.3.0/24"],
        &networks,
        &["192.168.0.0/16=10.253.0.0/16", "auto"],
    );
    input.memory.others = [net("10.252.0.0/16")].into();
    input.tunnel = [net("10.250.0.0/16")].into();

    assert_eq!(translations(&plan(&input)), ["172.18.0.0/16=10.249.0.0/16"]);
}

#[test]
fn auto_keeps_out_of_a_vpn_while_there_is_anything_else() {
    let web = [bridge("web", &["172.18.0.0/16"])];
    let outside = plan(&input(&["172.18.0.0/16", "10.0.0.0/8"], &web, &["auto"]));
    assert_eq!(routes(&outside), ["100.64.0.0/16"]);

    let all = ["172.18.0.0/16", "10.0.0.0/8", "100.64.0.0/10"];
    let inside = plan(&input(&all, &web, &["auto"]));
    assert_eq!(routes(&inside), ["10.254.0.0/16"]);
    assert!(inside.notes[1].contains("lies inside this host's route 10.0.0.0/8"));
}

#[test]
fn what_was_chosen_before_stays_while_it_is_free() {
    let networks = [
        bridge("a", &["172.18.0.0/16"]),
        bridge("b", &["172.19.0.0/16"]),
    ];
    let mut input = input(&["172.18.0.0/16", "172.19.0.0/16"], &networks, &["auto"]);
    input.memory.own = [(net("172.19.0.0/16"), net("10.254.0.0/16"))].into();
    assert_eq!(
        translations(&plan(&input)),
        ["172.18.0.0/16=10.253.0.0/16", "172.19.0.0/16=10.254.0.0/16"]
    );

    input.host.routes.push(on_host("10.254.0.0/16"));
    assert_eq!(
        translations(&plan(&input)),
        ["172.18.0.0/16=10.253.0.0/16", "172.19.0.0/16=10.252.0.0/16"]
    );
}

#[test]
fn among_several_engines_auto_keeps_a_prefix_when_its_cause_is_away() {
    let web = [bridge("web", &["172.18.0.0/16"])];
    let mut input = input(&[], &web, &["auto"]);
    input.memory.own = [(net("172.18.0.0/16"), net("10.254.0.0/16"))].into();
    assert_eq!(routes(&plan(&input)), ["172.18.0.0/16"]);

    input.alone = false;
    assert_eq!(translations(&plan(&input)), ["172.18.0.0/16=10.254.0.0/16"]);
    input.maps = maps(&["auto", "172.18.0.0/16=10.1.0.0/16"]);
    assert_eq!(routes(&plan(&input)), ["172.18.0.0/16"]);
    input.maps = maps(&["auto"]);
    input.host.routes.push(on_host("10.254.3.0/24"));
    assert_eq!(routes(&plan(&input)), ["172.18.0.0/16"]);
    input.host.routes.clear();
    input.maps = Maps::default();
    assert_eq!(routes(&plan(&input)), ["172.18.0.0/16"]);
}

#[test]
fn a_subnet_too_big_to_be_mapped_is_a_conflict() {
    let plan = plan(&input(
        &["172.18.0.0/16"],
        &[bridge("web", &["172.0.0.0/8"])],
        &["auto"],
    ));
    let (state, reason) = verdict(&plan);

    assert_eq!(state, Reachability::Conflict);
    assert!(
        reason.ends_with("and no free prefix of its size is left to map it to"),
        "{reason}"
    );
}

#[test]
fn equal_subnets_of_one_engine_cannot_be_told_apart_by_mapping() {
    let networks = [bridge("a", &["10.1.0.0/16"]), bridge("b", &["10.1.0.0/16"])];
    for values in [["auto"], ["10.1.0.0/16=10.2.0.0/16"]] {
        let plan = plan(&input(&[], &networks, &values));

        assert_eq!(plan.networks[0].state, Reachability::Reachable);
        assert_eq!(plan.networks[1].state, Reachability::Conflict);
    }
}

#[test]
fn pairs_come_first_and_auto_does_the_rest() {
    let networks = [
        bridge("a", &["172.18.0.0/16"]),
        bridge("b", &["172.19.0.0/16"]),
    ];
    let routes = ["172.18.0.0/16", "172.19.0.0/16"];
    let plan = plan(&input(
        &routes,
        &networks,
        &["auto", "172.19.0.0/16=10.254.0.0/16"],
    ));

    assert_eq!(
        translations(&plan),
        ["172.18.0.0/16=10.253.0.0/16", "172.19.0.0/16=10.254.0.0/16"]
    );
}

#[test]
fn a_map_of_a_part_of_a_subnet_is_noted() {
    let web = [bridge("web", &["172.18.0.0/16"])];
    let plan = plan(&input(&[], &web, &["172.18.1.0/24=10.1.1.0/24"]));

    assert_eq!(routes(&plan), ["172.18.0.0/16"]);
    assert!(
        plan.notes[0].contains("give --map the whole subnet"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn beside_a_native_engine_nothing_is_mapped() {
    let mut input = input(
        &["172.18.0.0/16"],
        &[bridge("web", &["172.18.0.0/16"])],
        &["172.18.0.0/16=10.1.0.0/16", "auto"],
    );
    input.reach = Reach::Direct;

    assert!(plan(&input).translations.is_empty());
}
