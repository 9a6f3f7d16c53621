//! Engines that filter by iptables-legacy: reached like any other, with not a rule of theirs touched.

#![cfg(target_os = "linux")]

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::host::{Host, fetches};
use dtap_tests::lab::{Container, Engine, Firewall, Lab, Link, Options, can_run};
use dtap_tests::machines::Machines;
use dtap_tests::traffic::{answers, serves};
use dtap_tests::{keeps_promise, wait_until};
use nix::sys::signal::Signal;

#[test]
fn every_container_answers_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = lab(engine)?;
        let containers = containers(&lab)?;
        let before = Machines::of(&lab)?;
        for container in &containers {
            assert!(!serves(lab.mac_namespace(), container.v4()?));
        }
        let client = Client::new(&lab, "legacy");
        client.connect(&[])?;
        for container in &containers {
            answers(&lab, container)
                .with_context(|| format!("{} on {}", container.name, lab.engine()))?;
        }
        assert_eq!(mounts(&lab)?, "/run/xtables.lock");
        assert_eq!(lab.docker(&SERVERS)?, "dtap", "none but the last server");
        let listed = lab.vm(&["iptables", "-S", "DOCKER-USER"]).text()?;
        let heads: Vec<_> = listed.lines().skip(1).take(2).collect();
        assert_eq!(
            heads,
            [
                "-A DOCKER-USER -i dtap0 -j ACCEPT",
                "-A DOCKER-USER -o dtap0 -j ACCEPT"
            ],
            "{listed}"
        );
        client.disconnect()?;
        before.restored(&lab, AT_ONCE, "disconnect")?;

        // The server that has the lock by now serves the next time.
        client.connect(&[])?;
        assert!(serves(lab.mac_namespace(), containers[0].v4()?));
        client.disconnect()?;
        before.restored(&lab, AT_ONCE, "the second disconnect")?;
        eprintln!("{}: {} containers answer", lab.engine(), containers.len());
    }
    Ok(())
}

#[test]
fn what_others_flush_is_there_again_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = lab(engine)?;
        let web = lab.container("web", &["--restart", "always"])?;
        let client = Client::new(&lab, "flushed");
        client.connect(&[])?;
        let flushes = [
            ["iptables", "-F", "DOCKER-USER"],
            ["ip6tables", "-F", v6_chain(&lab)],
        ];
        // At first other changes, still settling, may show the server what is gone.
        for flush in flushes.into_iter().cycle().take(6) {
            lab.vm(&flush).text()?;
            let what = format!("{} asserted again after {flush:?}", lab.engine());
            keeps_promise(AGAIN, &what, || accepts(&lab));
            assert!(serves(lab.mac_namespace(), web.v4()?), "{what}");
        }
        lab.restart_dockerd()?;
        let what = format!("{} asserted again after dockerd restarted", lab.engine());
        keeps_promise(AGAIN, &what, || accepts(&lab));
        wait_until(WEB_STARTS, "the container serves", || {
            serves(lab.mac_namespace(), web.addresses[0])
        });
        // A network more, and Docker may have put its own rules first.
        lab.docker(&["network", "create", "--subnet", "172.31.9.0/24", "more"])?;
        let more = lab.container("more", &["--network", "more"])?;
        wait_until(WEB_STARTS, "one more network is reached", || {
            serves(lab.mac_namespace(), more.addresses[0])
        });
    }
    Ok(())
}

#[test]
fn what_a_killed_server_left_is_cleaned_up_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = lab(engine)?;
        lab.container("web", &[])?;
        let before = Machines::of(&lab)?;
        let client = Client::new(&lab, "killed");
        client.connect(&[])?;
        let connected = Machines::of(&lab)?;
        let pid = ["inspect", "--format", "{{.State.Pid}}", "dtap"];
        let pid = lab.docker(&pid)?;
        lab.vm(&["kill", "-KILL", &pid]).text()?;
        connected.restored(&lab, RESTARTS, "kill -9 of the server")?;

        lab.docker(&["kill", "dtap"])?;
        client.run(&["uninstall", "--purge"]).text()?;
        before.restored(&lab, RESTARTS, "uninstall of a killed server")?;
        assert_eq!(lab.docker(&SERVERS)?, "");
    }
    Ok(())
}

/// Both find a server without the lock, and either may replace it.
#[test]
fn clients_that_come_at_once_share_one_server() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        firewall: Firewall::IptablesLegacy,
        link: Link::Veth,
        ..Options::default()
    })?;
    let web = lab.container("web", &[])?;
    let other = Host::start(&lab)?;
    let clients = [
        Client::new(&lab, "first"),
        Client::new(&lab, "second").on(&other),
    ];
    thread::scope(|scope| {
        let connecting = clients
            .each_ref()
            .map(|client| scope.spawn(|| client.connect(&[])));
        connecting
            .into_iter()
            .try_for_each(|it| it.join().expect("no panic"))
    })?;
    assert_eq!(lab.docker(&SERVERS)?, "dtap");
    assert_eq!(mounts(&lab)?, "/run/xtables.lock");
    assert!(serves(lab.mac_namespace(), web.v4()?));
    assert!(fetches(|program| other.run(program), web.v4()?));
    Ok(())
}

#[test]
fn a_server_that_the_user_starts_needs_the_lock() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Engine::newest()?)?;
    let web = lab.container("web", &[])?;
    let before = Machines::of(&lab)?;
    let client = Client::new(&lab, "own");
    // Only to have the image.
    client.connect(&[])?;
    client.disconnect()?;
    let image = lab.docker(&["inspect", "--format", "{{.Image}}", "dtap"])?;
    lab.docker(&["rm", "--force", "dtap"])?;
    let rules = legacy(&lab)?;

    start(&lab, &image, &[])?;
    client.connect(&["--no-start-server"])?;
    let network = network(&client)?;
    assert_eq!(network["state"], "unsupported", "{network}");
    let reason = network["reason"].as_str().unwrap_or_default();
    for part in [
        "the engine filters by iptables-legacy, and ",
        "/run/xtables.lock: No such file",
        "--mount type=bind,source=/run/xtables.lock,target=/run/xtables.lock",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(!serves(lab.mac_namespace(), web.v4()?));
    assert_eq!(legacy(&lab)?, rules, "nothing is written without the lock");
    client.disconnect()?;

    // Its variable and its name survive that the client may help.
    client.connect(&[])?;
    assert!(serves(lab.mac_namespace(), web.v4()?));
    let variables = ["inspect", "--format", "{{.Config.Env}} {{.Name}}", "dtap"];
    let variables = lab.docker(&variables)?;
    assert!(variables.contains("DTAP_PORT=4711") && variables.ends_with(" /dtap"));
    client.disconnect()?;
    lab.docker(&["rm", "--force", "dtap"])?;

    let mount = "type=bind,source=/run/xtables.lock,target=/run/xtables.lock";
    start(&lab, &image, &["--mount", mount])?;
    client.connect(&["--no-start-server"])?;
    assert!(serves(lab.mac_namespace(), web.v4()?));
    client.disconnect()?;
    before.restored(&lab, AT_ONCE, "disconnect")
}

#[test]
fn a_lock_that_is_not_there_is_named() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Engine::newest()?)?;
    let web = lab.container("web", &[])?;
    lab.vm(&["rm", "/run/xtables.lock"]).text()?;
    let rules = legacy(&lab)?;
    // To list them took no lock.
    assert!(!lab.vm(&["test", "-e", "/run/xtables.lock"]).success());
    let client = Client::new(&lab, "missing");
    client.connect(&[])?;
    let network = network(&client)?;
    assert_eq!(network["state"], "unsupported", "{network}");
    let reason = network["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("does not exist"), "{reason}");
    assert_eq!(legacy(&lab)?, rules);
    assert_eq!(lab.docker(&SERVERS)?, "dtap");
    client.disconnect()?;

    // The engine's next rule makes the file.
    lab.container("other", &["--publish", "8080:80"])?;
    client.connect(&[])?;
    assert!(serves(lab.mac_namespace(), web.v4()?));
    Ok(())
}

#[test]
fn a_lock_that_somebody_keeps_is_named_until_it_is_free() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab(Engine::newest()?)?;
    let web = lab.container("web", &[])?;
    let rules = legacy(&lab)?;
    let hold = "echo held; exec sleep 60";
    let hold = ["flock", "--no-fork", "/run/xtables.lock", "sh", "-c", hold];
    let mut holder = lab.vm_background(&hold)?;
    wait_until(SOON, "the lock is held", || {
        holder.output().contains("held")
    });
    let client = Client::new(&lab, "held");
    client.connect(&[])?;
    let network = network(&client)?;
    let reason = network["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("another program has held the lock"),
        "{reason}"
    );
    assert_eq!(legacy(&lab)?, rules);

    holder.signal(Signal::SIGTERM)?;
    holder.wait(SOON)?;
    wait_until(SOON, "the network is reached", || {
        serves(lab.mac_namespace(), web.addresses[0])
    });
    Ok(())
}

#[test]
fn an_engine_that_filters_otherwise_gets_no_mount_and_no_legacy_table() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let web = lab.container("web", &[])?;
    let client = Client::new(&lab, "otherwise");
    client.connect(&[])?;
    assert!(serves(lab.mac_namespace(), web.v4()?));
    assert_eq!(mounts(&lab)?, "");
    let tables = "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names";
    assert_eq!(lab.vm(&["sh", "-c", tables]).stdout, "");
    Ok(())
}

fn lab(engine: Engine) -> Result<Lab> {
    Lab::start(Options {
        engine: Some(engine),
        firewall: Firewall::IptablesLegacy,
        ..Options::default()
    })
}

/// On every kind of network that Docker's filter treats in its own way.
fn containers(lab: &Lab) -> Result<Vec<Container>> {
    let dual = ["--subnet", "172.31.7.0/24", "--subnet", "fd00:d0c:7::/64"];
    lab.docker(&[&["network", "create", "--ipv6"], &dual[..], &["dual"]].concat())?;
    let subnets = ["--subnet", "172.31.8.0/24", "--subnet", "fd00:d0c:8::/64"];
    let internal = ["network", "create", "--internal", "--ipv6"];
    lab.docker(&[&internal, &subnets[..], &["inner"]].concat())?;
    let apart = ["network", "create", "--subnet", "172.31.6.0/24"];
    let option = ["--opt", "com.docker.network.bridge.enable_icc=false"];
    lab.docker(&[&apart[..], &option, &["apart"]].concat())?;
    [
        lab.container("plain", &[]),
        lab.container("published", &["--publish", "8001:80"]),
        lab.container("dual", &["--network", "dual", "--publish", "8002:80"]),
        lab.container("internal", &["--network", "inner"]),
        lab.container("apart", &["--network", "apart"]),
    ]
    .into_iter()
    .collect()
}

/// As the README shows it.
fn start(lab: &Lab, image: &str, more: &[&str]) -> Result<()> {
    let run = [
        "run",
        "--detach",
        "--name",
        "dtap",
        "--network",
        "host",
        "--cap-add",
        "NET_ADMIN",
        "--device",
        "/dev/net/tun",
        "--label",
        "dtap.server=1",
        "-v",
        "dtap:/var/lib/dtap",
        "--env",
        "DTAP_PORT=4711",
    ];
    lab.docker(&[&run, more, &[image]].concat()).map(drop)
}

fn network(client: &Client<'_>) -> Result<serde_json::Value> {
    let mut found = serde_json::Value::Null;
    wait_until(SOON, "the server has judged the plan", || {
        let connection = client.connection().unwrap_or_default();
        let networks = connection["networks"].as_array().cloned();
        let bridge = networks
            .into_iter()
            .flatten()
            .find(|it| it["name"] == "bridge");
        found = bridge.unwrap_or_default();
        found["state"] == "unsupported"
    });
    Ok(found)
}

fn mounts(lab: &Lab) -> Result<String> {
    let format = "{{range .HostConfig.Mounts}}{{.Source}}{{end}}";
    lab.docker(&["inspect", "--format", format, "dtap"])
}

fn legacy(lab: &Lab) -> Result<String> {
    let save = "for it in iptables ip6tables; do $it-save | grep -v '^#' | sed 's/\\[.*//'; done";
    lab.vm(&["sh", "-c", save]).text()
}

/// Whether both filters let the tunnel through.
fn accepts(lab: &Lab) -> bool {
    [("iptables", "DOCKER-USER"), ("ip6tables", v6_chain(lab))]
        .into_iter()
        .all(|(iptables, chain)| {
            let rules = lab.vm(&[iptables, "-S", chain]).stdout;
            ["-i dtap0", "-o dtap0"]
                .iter()
                .all(|way| rules.contains(way))
        })
}

/// Engine 20.10 has no chain for others there.
fn v6_chain(lab: &Lab) -> &'static str {
    if lab.engine().major() < 23 {
        "FORWARD"
    } else {
        "DOCKER-USER"
    }
}

const SERVERS: [&str; 6] = [
    "ps",
    "--all",
    "--filter",
    "label=dtap.server",
    "--format",
    "{{.Names}}",
];
const AT_ONCE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(2);
const RESTARTS: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(10);
/// Docker may still be busy starting it.
const WEB_STARTS: Duration = Duration::from_secs(20);
