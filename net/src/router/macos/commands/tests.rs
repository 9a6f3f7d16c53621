use super::*;

#[test]
fn a_fresh_interface_is_brought_up() {
    assert_eq!(
        planned(&State::default(), &config()),
        [
            "/sbin/ifconfig utun5 mtu 1420 up",
            "/sbin/ifconfig utun5 inet 10.75.0.2/32 10.75.0.2 alias",
            "/sbin/ifconfig utun5 inet6 fd75::2/128 alias",
            "/sbin/route -q -n add -proto1 -inet 10.75.0.0/24 -interface utun5",
            "/sbin/route -q -n add -proto1 -inet 172.18.0.0/16 -interface utun5",
            "/sbin/route -q -n add -proto1 -inet6 fd00:18::/64 -interface utun5",
            "/sbin/route -q -n add -proto1 -inet6 fd75::/64 -interface utun5",
        ]
    );
}

#[test]
fn an_interface_of_ethernet_has_its_neighbours_by_its_addresses() {
    let wanted = RouterConfig {
        is_ethernet: true,
        addresses: [
            "172.18.255.254/16".parse().unwrap(),
            "fd00:18::ff7f/64".parse().unwrap(),
        ]
        .into(),
        mtu: 1364,
        ..RouterConfig::default()
    };
    assert_eq!(
        planned(&State::default(), &wanted),
        [
            "/sbin/ifconfig utun5 mtu 1364 up",
            "/sbin/ifconfig utun5 inet 172.18.255.254/16 alias",
            "/sbin/ifconfig utun5 inet6 fd00:18::ff7f/64 alias",
        ]
    );
}

#[test]
fn nothing_is_done_twice() {
    assert_eq!(planned(&reached(&config()), &config()), [""; 0]);
}

#[test]
fn what_is_new_comes_before_what_is_stale_goes() {
    let mut moved = config();
    moved.mtu = 1380;
    moved.addresses = [
        "10.75.9.2/24".parse().unwrap(),
        "fd75::2/64".parse().unwrap(),
    ]
    .into();
    moved.routes = ["172.19.0.0/16".parse().unwrap()].into();
    assert_eq!(
        planned(&reached(&config()), &moved),
        [
            "/sbin/ifconfig utun5 mtu 1380 up",
            "/sbin/ifconfig utun5 inet 10.75.9.2/32 10.75.9.2 alias",
            "/sbin/ifconfig utun5 inet 10.75.0.2 -alias",
            "/sbin/route -q -n add -proto1 -inet 10.75.9.0/24 -interface utun5",
            "/sbin/route -q -n add -proto1 -inet 172.19.0.0/16 -interface utun5",
            "/sbin/route -q -n delete -proto1 -inet 10.75.0.0/24 -interface utun5",
            "/sbin/route -q -n delete -proto1 -inet 172.18.0.0/16 -interface utun5",
            "/sbin/route -q -n delete -proto1 -inet6 fd00:18::/64 -interface utun5",
        ]
    );
}

#[test]
fn what_somebody_deleted_is_put_back() {
    let mut damaged = reached(&config());
    damaged.addresses.pop_first();
    damaged.routes.pop_first();
    assert_eq!(
        planned(&damaged, &config()),
        [
            "/sbin/ifconfig utun5 inet 10.75.0.2/32 10.75.0.2 alias",
            "/sbin/route -q -n add -proto1 -inet 10.75.0.0/24 -interface utun5",
        ]
    );
}

#[test]
fn the_route_of_somebody_else_is_named_and_kept() {
    let destination: IpNet = "172.18.0.0/16".parse().unwrap();
    let mut state = reached(&config());
    state.routes.remove(&destination);
    state.others.insert(destination, "by en7".to_owned());
    assert_eq!(planned(&state, &config()), [""; 0]);
    assert_eq!(
        conflicts(&state, &config()),
        [(destination, "by en7".to_owned())]
    );
    assert_eq!(conflicts(&reached(&config()), &config()), []);
}

#[test]
fn ethernet_has_neighbours_and_next_hops() {
    assert_eq!(
        planned(&State::default(), &ethernet()),
        [
            "/sbin/ifconfig utun5 mtu 1500 up",
            "/sbin/ifconfig utun5 inet 10.75.0.2/24 alias",
            "/sbin/ifconfig utun5 inet6 fd75::2/64 alias",
            "/sbin/route -q -n add -proto1 -inet 172.18.0.0/16 10.75.0.1",
            "/sbin/route -q -n add -proto1 -inet6 fd00:18::/64 fd75::1",
        ]
    );
    assert_eq!(planned(&reached(&ethernet()), &ethernet()), [""; 0]);
}

#[test]
fn a_next_hop_that_moves_takes_the_routes_along() {
    let mut moved = ethernet();
    moved.addresses = ["10.75.9.2/24".parse().unwrap()].into();
    moved.next_hops = ["10.75.9.1".parse().unwrap()].into();
    moved.routes.pop_last();
    assert_eq!(
        planned(&reached(&ethernet()), &moved),
        [
            "/sbin/ifconfig utun5 inet 10.75.9.2/24 alias",
            "/sbin/ifconfig utun5 inet 10.75.0.2 -alias",
            "/sbin/ifconfig utun5 inet6 fd75::2 -alias",
            "/sbin/route -q -n delete -proto1 -inet 172.18.0.0/16 10.75.0.1",
            "/sbin/route -q -n add -proto1 -inet 172.18.0.0/16 10.75.9.1",
            "/sbin/route -q -n delete -proto1 -inet6 fd00:18::/64 fd75::1",
        ]
    );
}

#[test]
fn an_interface_that_goes_on_without_us_is_taken_down() {
    let command = take_down("tap1").to_string();
    assert_eq!(command, "/sbin/ifconfig tap1 down");
}

#[test]
fn what_is_left_on_ethernet_is_removed() {
    let nothing = RouterConfig {
        mtu: 1500,
        ..RouterConfig::default()
    };
    assert_eq!(
        planned(&reached(&ethernet()), &nothing),
        [
            "/sbin/ifconfig utun5 inet 10.75.0.2 -alias",
            "/sbin/ifconfig utun5 inet6 fd75::2 -alias",
            "/sbin/route -q -n delete -proto1 -inet 172.18.0.0/16 10.75.0.1",
            "/sbin/route -q -n delete -proto1 -inet6 fd00:18::/64 fd75::1",
        ]
    );
}

fn planned(current: &State, wanted: &RouterConfig) -> Vec<String> {
    plan("utun5", current, wanted)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn reached(config: &RouterConfig) -> State {
    State {
        addresses: config.addresses.iter().map(IpNet::addr).collect(),
        mtu: Some(config.mtu),
        routes: routes(config),
        others: BTreeMap::new(),
    }
}

fn config() -> RouterConfig {
    RouterConfig {
        addresses: [
            "10.75.0.2/24".parse().unwrap(),
            "fd75::2/64".parse().unwrap(),
        ]
        .into(),
        mtu: 1420,
        routes: [
            "172.18.0.0/16".parse().unwrap(),
            "fd00:18::/64".parse().unwrap(),
        ]
        .into(),
        ..RouterConfig::default()
    }
}

fn ethernet() -> RouterConfig {
    RouterConfig {
        mtu: 1500,
        is_ethernet: true,
        next_hops: ["10.75.0.1".parse().unwrap(), "fd75::1".parse().unwrap()].into(),
        ..config()
    }
}
