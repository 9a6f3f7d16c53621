//! Networks that span the nodes of a swarm.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dtap_tunnel::session::Hop;

use super::*;
use crate::docker::{LEG_LABEL, Remote};

const LEG: &str = "dtap-leg-0123";

fn overlay(name: &str) -> Network {
    Network {
        driver: "overlay".into(),
        scope: "swarm".into(),
        attachable: true,
        ..bridge(name, &["10.0.1.0/24"])
    }
}

fn gateway_bridge() -> Network {
    let network = bridge("docker_gwbridge", &["172.19.0.0/16"]);
    with_option(network, "name", "docker_gwbridge")
}

fn default_bridge() -> Network {
    with_option(bridge("bridge", &["172.17.0.0/16"]), "name", "docker0")
}

/// On the overlay network only, and so on Docker's gateway bridge.
fn local(input: &mut Input, name: &str, network: &Network, address: &str, exit: Option<&str>) {
    let mut container = container(name, &[(network, address)]);
    container.endpoints[0].ipv4_gateway = None;
    if let Some(exit) = exit {
        let exits = [exit.parse().unwrap()].into();
        input.swarm.exits.insert(container.id.clone(), exits);
    }
    input.containers.push(container);
}

fn remote(input: &mut Input, network: &Network, remote: Remote) {
    let known = input.swarm.remote.entry(network.id.clone());
    known.or_default().insert(remote);
}

fn task(id: &str) -> Remote {
    Remote::Task { id: id.into() }
}

fn named(name: &str, address: &str) -> Remote {
    Remote::Endpoint {
        name: name.into(),
        address: address.parse().unwrap(),
    }
}

/// With our leg on these networks.
fn stand(input: &mut Input, networks: &[(&Network, &str)]) {
    let bridge = default_bridge();
    let mut leg = container(LEG, &[&[(&bridge, "172.17.0.9")], networks].concat());
    leg.labels.insert(LEG_LABEL.into(), "1".into());
    input.containers.push(leg);
}

fn input(overlay: &Network) -> Input {
    Input {
        networks: vec![overlay.clone(), gateway_bridge(), default_bridge()],
        leg: Leg {
            name: LEG.into(),
            ..Leg::default()
        },
        ..Input::default()
    }
}

fn access(plan: &Plan, network: &Network) -> (Vec<String>, BTreeMap<Ipv4Addr, Ipv4Addr>) {
    let attachment = plan.attachments.iter().find(|it| it.id == network.id);
    let Access::Hops { hops, sources } = &attachment.unwrap().access else {
        panic!("not by hops")
    };
    let hop = |(prefix, hop): (&IpNet, &Hop)| format!("{prefix} {} {}", hop.address, hop.interface);
    (hops.iter().map(hop).collect(), sources.clone())
}

fn state<'a>(plan: &'a Plan, network: &Network) -> &'a NetworkState {
    let mut networks = plan.networks.iter();
    networks.find(|it| it.name == network.name).unwrap()
}

#[test]
fn who_is_left_alone_has_no_way_in_nor_out_by_the_gateway_bridge() {
    let (ov, other) = (overlay("ov"), overlay("unwanted"));
    let mut input = input(&ov);
    input.networks.push(other.clone());
    input.filters.exclude = vec!["unwanted".parse().unwrap()];
    local(&mut input, "web", &ov, "10.0.1.2", Some("172.19.0.3"));
    local(&mut input, "hidden", &ov, "10.0.1.3", Some("172.19.0.4"));
    let label = ("dtap.enable".to_owned(), "false".to_owned());
    input.containers[1].labels.extend([label]);
    local(&mut input, "far", &other, "10.0.1.4", Some("172.19.0.5"));

    let plan = plan(&input);

    let (hops, _) = access(&plan, &ov);
    assert_eq!(hops, ["10.0.1.2/32 172.19.0.3 docker_gwbridge"]);
    let mut attachments = plan.attachments.iter();
    let gateway = attachments.find(|it| it.network == "docker_gwbridge");
    let excluded = gateway.unwrap().excluded.iter().map(ToString::to_string);
    assert_eq!(excluded.collect::<Vec<_>>(), ["172.19.0.4", "172.19.0.5"]);
}

#[test]
fn a_container_of_the_own_node_is_reached_by_its_exit_and_without_a_leg() {
    let ov = overlay("ov");
    let mut input = input(&ov);
    local(&mut input, "web", &ov, "10.0.1.2", Some("172.19.0.3"));

    let plan = plan(&input);

    let (hops, sources) = access(&plan, &ov);
    assert_eq!(hops, ["10.0.1.2/32 172.19.0.3 docker_gwbridge"]);
    let answers = ([172, 19, 0, 3].into(), [10, 0, 1, 2].into());
    assert_eq!(sources, BTreeMap::from([answers]));
    assert_eq!(plan.leg, BTreeSet::new());
    assert!(plan.containers[0].reachable);
    assert!(plan.attachments.iter().all(|it| it.masquerade.is_empty()));
}

#[test]
fn one_that_is_on_bridges_too_is_reached_by_one_of_them() {
    let (ov, front) = (overlay("ov"), bridge("front", &["172.18.0.0/16"]));
    let mut input = input(&ov);
    input.networks.push(front.clone());
    let mut web = container("web", &[(&ov, "10.0.1.2"), (&front, "172.18.0.5")]);
    web.endpoints[0].ipv4_gateway = None;
    input.containers.push(web);

    let plan = plan(&input);

    let (hops, sources) = access(&plan, &ov);
    assert_eq!(hops, ["10.0.1.2/32 172.18.0.5 br-front-012345"]);
    assert_eq!(sources, BTreeMap::new(), "its bridge's address is its own");
    assert_eq!(plan.leg, BTreeSet::new());
}

#[test]
fn containers_elsewhere_or_without_an_exit_need_the_leg() {
    let ov = overlay("ov");
    for is_remote in [true, false] {
        let mut input = input(&ov);
        if is_remote {
            remote(&mut input, &ov, task("t1"));
        } else {
            local(&mut input, "web", &ov, "10.0.1.2", None);
        }
        let before = plan(&input);
        assert_eq!(before.leg, BTreeSet::from([ov.id.clone()]));
        assert_eq!(access(&before, &ov).0, [""; 0]);

        stand(&mut input, &[(&ov, "10.0.1.9")]);
        let after = plan(&input);
        assert_eq!(access(&after, &ov).0, ["10.0.1.0/24 172.17.0.9 docker0"]);
        assert_eq!(after.leg, before.leg);
        assert!(after.containers.iter().all(|it| it.name != LEG));
    }
}

#[test]
fn the_leg_does_not_stay_for_itself_nor_for_who_is_about_to_end() {
    let ov = overlay("ov");
    let mut input = input(&ov);
    stand(&mut input, &[(&ov, "10.0.1.9")]);
    assert_eq!(plan(&input).leg, BTreeSet::new());

    local(&mut input, "web", &ov, "10.0.1.2", None);
    assert_eq!(plan(&input).leg.len(), 1);
    input.leg.doomed.insert("web-id".into());
    assert_eq!(plan(&input).leg, BTreeSet::new());
}

#[test]
fn legs_of_others_are_recognised_and_remembered_as_long_as_they_stand() {
    let ov = overlay("ov");
    let mut input = input(&ov);
    remote(&mut input, &ov, task("t1"));
    remote(&mut input, &ov, named("dtap-leg-4567", "10.0.1.7"));
    let mut foreign = BTreeSet::new();
    recognise_legs(&input.swarm, &mut foreign);
    assert_eq!(foreign, BTreeSet::from(["t1".to_owned()]));
    input.leg.foreign = foreign.clone();
    assert_eq!(plan(&input).leg, BTreeSet::new());

    // Off the network, names are not known any more.
    let known = input.swarm.remote.get_mut(&ov.id).unwrap();
    known.retain(|it| *it == task("t1"));
    recognise_legs(&input.swarm, &mut foreign);
    assert_eq!(plan(&input).leg, BTreeSet::new());

    remote(&mut input, &ov, task("t2"));
    recognise_legs(&input.swarm, &mut foreign);
    assert_eq!(plan(&input).leg.len(), 1);

    input.swarm.remote.clear();
    recognise_legs(&input.swarm, &mut foreign);
    assert_eq!(foreign, BTreeSet::new());
}

#[test]
fn a_network_for_services_only_says_what_would_help() {
    let services = Network {
        attachable: false,
        ..overlay("services")
    };
    let mut input = input(&services);
    remote(&mut input, &services, task("t1"));
    let none = plan(&input);
    let told = state(&none, &services);
    assert_eq!(told.state, Reachability::Unsupported);
    assert!(told.reason.as_ref().unwrap().contains("--attachable"));

    local(
        &mut input,
        "task",
        &services,
        "10.0.1.2",
        Some("172.19.0.3"),
    );
    let some = plan(&input);
    assert_eq!(state(&some, &services).state, Reachability::Reachable);
    assert!(some.notes[0].contains("--attachable"));
    assert_eq!(some.leg, BTreeSet::new());
}

#[test]
fn a_nic_leads_to_bridges_but_not_there() {
    let ov = overlay("ov");
    let bridge = bridge("web", &["172.18.0.0/16"]);
    let mut input = input(&ov);
    input.networks.push(bridge.clone());
    remote(&mut input, &ov, task("t1"));
    input.reach = Reach::Nic;

    let plan = plan(&input);

    let told = state(&plan, &ov);
    assert_eq!(told.state, Reachability::Unsupported);
    assert!(told.reason.as_ref().unwrap().contains("--mode tunnel"));
    assert_eq!(state(&plan, &bridge).state, Reachability::Reachable);
    assert_eq!(plan.leg, BTreeSet::new());
}

#[test]
fn a_leg_that_cannot_join_is_tried_again_and_its_network_not_routed() {
    let ov = overlay("ov");
    let mut input = input(&ov);
    remote(&mut input, &ov, task("t1"));
    input.leg.refused.insert(ov.id.clone(), "no address".into());

    let plan = plan(&input);

    let told = state(&plan, &ov);
    assert_eq!(told.state, Reachability::Unsupported);
    assert_eq!(told.reason.as_deref(), Some("no address"));
    assert!(!routes(&plan).contains(&"10.0.1.0/24".to_owned()));
    assert_eq!(plan.leg.len(), 1);
}

#[test]
fn networks_that_are_not_wanted_or_not_for_containers_need_no_leg() {
    let ov = overlay("ov");
    let mut excluded = input(&ov);
    remote(&mut excluded, &ov, task("t1"));
    excluded.filters.exclude = vec!["ov".parse().unwrap()];
    assert_eq!(plan(&excluded).leg, BTreeSet::new());

    let ingress = Network {
        ingress: true,
        ..overlay("ingress")
    };
    let mut input = input(&ingress);
    remote(&mut input, &ingress, task("t1"));
    let plan = plan(&input);
    assert_eq!(plan.leg, BTreeSet::new());
    assert_eq!(state(&plan, &ingress).state, Reachability::Unsupported);
}
