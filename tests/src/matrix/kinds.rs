//! The kinds of networks, as a user makes them.

/// A network, or several, with a container.
#[derive(Debug)]
pub struct Kind {
    /// Of the container, and the prefix of its networks' names.
    pub name: &'static str,
    pub title: &'static str,
    /// The first major version of Docker that has it.
    pub since: u32,
    /// Arguments of `docker network create`, without the name, for each network.
    pub networks: &'static [&'static [&'static str]],
    /// Arguments of `docker run`, besides the first of the networks.
    pub run: &'static [&'static str],
    pub promise: Promise,
}

/// What is asked of dtap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    Reachable,
    /// Reachable, unless the engine refuses because the kernel lacks its driver.
    IfTheKernelCan,
    /// Not reachable, and `ls` says why.
    Explained,
}

const fn kind(
    name: &'static str,
    title: &'static str,
    networks: &'static [&'static [&'static str]],
) -> Kind {
    Kind {
        name,
        title,
        since: 0,
        networks,
        run: &[],
        promise: Promise::Reachable,
    }
}

const fn since(major: u32, kind: Kind) -> Kind {
    Kind {
        since: major,
        ..kind
    }
}

const fn promising(promise: Promise, kind: Kind) -> Kind {
    Kind { promise, ..kind }
}

const fn run(arguments: &'static [&'static str], kind: Kind) -> Kind {
    Kind {
        run: arguments,
        ..kind
    }
}

const fn mode(
    name: &'static str,
    title: &'static str,
    major: u32,
    networks: &'static [&'static [&'static str]],
) -> Kind {
    since(major, kind(name, title, networks))
}

/// In the order of the table. Subnets are the fourth octet short of the kind's place in it.
pub static KINDS: &[Kind] = &[
    kind("plain", "`bridge`, the default network", &[]),
    run(
        &["--publish", "8001:80"],
        kind("published", "`bridge`, port published", &[]),
    ),
    kind(
        "dual",
        "user-defined, dual stack",
        &[&[
            "--ipv6",
            "--subnet=172.31.1.0/24",
            "--subnet=fd00:d0c:1::/64",
        ]],
    ),
    since(
        28,
        kind(
            "sixonly",
            "IPv6 only",
            &[&["--ipv4=false", "--ipv6", "--subnet=fd00:d0c:2::/64"]],
        ),
    ),
    kind(
        "internal",
        "`--internal`",
        &[&[
            "--internal",
            "--ipv6",
            "--subnet=172.31.3.0/24",
            "--subnet=fd00:d0c:3::/64",
        ]],
    ),
    kind(
        "icc",
        "`enable_icc=false`",
        &[&[
            "-o",
            "com.docker.network.bridge.enable_icc=false",
            "--ipv6",
            "--subnet=172.31.4.0/24",
            "--subnet=fd00:d0c:4::/64",
        ]],
    ),
    kind(
        "named",
        "own `bridge.name`",
        &[&[
            "-o",
            "com.docker.network.bridge.name=br-own",
            "--ipv6",
            "--subnet=172.31.5.0/24",
            "--subnet=fd00:d0c:5::/64",
        ]],
    ),
    kind(
        "nomasq",
        "`enable_ip_masquerade=false`",
        &[&[
            "-o",
            "com.docker.network.bridge.enable_ip_masquerade=false",
            "--ipv6",
            "--subnet=172.31.6.0/24",
            "--subnet=fd00:d0c:6::/64",
        ]],
    ),
    kind(
        "jumbo",
        "MTU 9000",
        &[&[
            "-o",
            "com.docker.network.driver.mtu=9000",
            "--ipv6",
            "--subnet=172.31.7.0/24",
            "--subnet=fd00:d0c:7::/64",
        ]],
    ),
    kind(
        "small",
        "MTU 1280",
        &[&[
            "-o",
            "com.docker.network.driver.mtu=1280",
            "--ipv6",
            "--subnet=172.31.8.0/24",
            "--subnet=fd00:d0c:8::/64",
        ]],
    ),
    kind(
        "inhibit",
        "`inhibit_ipv4`",
        &[&[
            "-o",
            "com.docker.network.bridge.inhibit_ipv4=true",
            "--subnet=172.31.9.0/24",
        ]],
    ),
    mode(
        "nat",
        "`gateway_mode=nat`",
        27,
        &[&[
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv4=nat",
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv6=nat",
            "--ipv6",
            "--subnet=172.31.10.0/24",
            "--subnet=fd00:d0c:10::/64",
        ]],
    ),
    mode(
        "unprotected",
        "`gateway_mode=nat-unprotected`",
        28,
        &[&[
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected",
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv6=nat-unprotected",
            "--ipv6",
            "--subnet=172.31.11.0/24",
            "--subnet=fd00:d0c:11::/64",
        ]],
    ),
    mode(
        "routed",
        "`gateway_mode=routed`",
        27,
        &[&[
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv4=routed",
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv6=routed",
            "--ipv6",
            "--subnet=172.31.12.0/24",
            "--subnet=fd00:d0c:12::/64",
        ]],
    ),
    mode(
        "isolated",
        "`gateway_mode=isolated`",
        28,
        &[&[
            "--internal",
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv4=isolated",
            "-o",
            "com.docker.network.bridge.gateway_mode_ipv6=isolated",
            "--ipv6",
            "--subnet=172.31.13.0/24",
            "--subnet=fd00:d0c:13::/64",
        ]],
    ),
    kind(
        "homes",
        "on two networks",
        &[
            &[
                "--ipv6",
                "--subnet=172.31.14.0/24",
                "--subnet=fd00:d0c:14::/64",
            ],
            &[
                "--ipv6",
                "--subnet=172.31.15.0/24",
                "--subnet=fd00:d0c:15::/64",
            ],
        ],
    ),
    kind(
        "mixed",
        "on two networks, one internal",
        &[
            &["--internal", "--subnet=172.31.16.0/24"],
            &["--subnet=172.31.17.0/24"],
        ],
    ),
    kind(
        "macvlan",
        "macvlan",
        &[&[
            "--driver=macvlan",
            "-o",
            "parent=eth0",
            "--ipv6",
            "--subnet=172.31.18.0/24",
            "--subnet=fd00:d0c:18::/64",
        ]],
    ),
    kind(
        "macinside",
        "macvlan, `--internal`",
        &[&[
            "--driver=macvlan",
            "-o",
            "parent=lan0",
            "--internal",
            "--subnet=172.31.19.0/24",
        ]],
    ),
    kind(
        "vlan",
        "macvlan, two subnets",
        &[&[
            "--driver=macvlan",
            "-o",
            "parent=lan1",
            "--subnet=172.31.20.0/24",
            "--subnet=172.31.21.0/24",
        ]],
    ),
    promising(
        Promise::IfTheKernelCan,
        kind(
            "ipvlan2",
            "ipvlan L2",
            &[&[
                "--driver=ipvlan",
                "-o",
                "parent=lan1",
                "--subnet=172.31.22.0/24",
            ]],
        ),
    ),
    promising(
        Promise::IfTheKernelCan,
        kind(
            "ipvlan3",
            "ipvlan L3",
            &[&[
                "--driver=ipvlan",
                "-o",
                "parent=lan2",
                "-o",
                "ipvlan_mode=l3",
                "--subnet=172.31.23.0/24",
            ]],
        ),
    ),
    kind(
        "overlay",
        "overlay, attachable",
        &[&[
            "--driver=overlay",
            "--attachable",
            "--subnet=172.31.24.0/24",
        ]],
    ),
    kind(
        "overinside",
        "overlay, `--internal`",
        &[&[
            "--driver=overlay",
            "--attachable",
            "--internal",
            "--subnet=172.31.25.0/24",
        ]],
    ),
    run(
        &["--network=host"],
        kind("host", "`host`, at the server's address", &[]),
    ),
    promising(
        Promise::Explained,
        run(&["--network=none"], kind("none", "`none`", &[])),
    ),
];
