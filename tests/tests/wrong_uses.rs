//! Whatever a user does wrong gets one sentence with the fix, the right exit code, and changes nothing.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::misuse::Misuse;
use dtap_tests::old_engine;

#[test]
fn what_the_user_says_is_checked_before_anything_is_done() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let client = Client::new(&lab, "host");
    let config = lab.directory().join("dtap.toml");
    fs::write(&config, "include = ['web']\npaht = 'udp'\n")?;
    let config = config.display().to_string();
    let in_the_way = format!("{config}/state");
    let wrong = [
        (
            ["--include", "172.18.0.0/33"],
            2,
            ["'172.18.0.0/33'", "such as 172.18.0.0/16"],
        ),
        (["--exclude", "a b"], 2, ["'a b'", "such as 172.18.0.0/16"]),
        (
            ["--path", "tcp"],
            2,
            ["'tcp'", "[possible values: auto, udp, session]"],
        ),
        (["--map", "garbage"], 2, ["'garbage'", "such as 172.18"]),
        (
            ["--map", "172.18.0.0/16"],
            2,
            ["'172.18.0.0/16'", "write CIDR=CIDR"],
        ),
        (
            ["--map", "172.18.0.1/16=10.1.0.0/16"],
            2,
            ["bits beyond its prefix", "write 172.18.0.0/16"],
        ),
        (
            ["--map", "172.18.0.0/16=10.1.0.0/24"],
            2,
            ["not of equal length", "write 172.18.0.0/16=10.1.0.0/16"],
        ),
        (
            ["--map", "172.18.0.0/16=fd00::/16"],
            2,
            ["not of one family", "map IPv4 to IPv4"],
        ),
        (
            ["--map", "172.18.0.0/16=10.75.0.0/16"],
            2,
            ["overlaps 10.75.0.0/16", "choose another prefix"],
        ),
        (
            ["--map", "172.18.0.0/16=224.1.0.0/16"],
            2,
            ["multicast", "choose another prefix"],
        ),
        (
            [
                "--map",
                "172.18.0.0/16=10.1.0.0/16,172.18.7.0/24=10.2.7.0/24",
            ],
            2,
            ["overlap", "one prefix of its own"],
        ),
        (
            ["--timeout", "soon"],
            2,
            ["'soon'", "give a number of seconds"],
        ),
        (
            ["--context", "nope"],
            1,
            ["'nope'", "choose one of default"],
        ),
        (
            ["--docker-host", "garbage"],
            1,
            ["'garbage'", "write it like unix:///"],
        ),
        (
            ["--docker-host", "ftp://vm"],
            1,
            ["'ftp://'", "use unix:///"],
        ),
        (["--config", &config], 1, ["`paht`", "line 2"]),
        (
            ["--config", "/nowhere.toml"],
            1,
            ["/nowhere.toml", "No such file"],
        ),
        (
            ["--state-dir", &in_the_way],
            1,
            [&in_the_way, "--state-dir"],
        ),
        (
            ["--server-image", "nope"],
            1,
            ["no image nope", "load or pull it first"],
        ),
    ];
    for (arguments, code, says) in wrong {
        for detach in [["--detach"].as_slice(), &[]] {
            let misuse = Misuse {
                arguments: &[&["connect"], detach, &arguments].concat(),
                code,
                says: &says,
                ..Misuse::default()
            };
            misuse.commit(&lab, &client)?;
        }
    }
    let misuse = Misuse {
        arguments: &["connect", "--no-start-server"],
        says: &["no server container runs", "leave out --no-start-server"],
        ..Misuse::default()
    };
    misuse.commit(&lab, &client)
}

#[test]
fn an_engine_that_cannot_be_used_is_named_with_the_reason() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let old = old_engine::start(&lab)?;
    for (docker_host, says) in [
        (
            "unix:///nowhere/docker.sock".to_owned(),
            ["no engine at /nowhere/docker.sock", "start Docker"],
        ),
        (
            "tcp://127.0.0.1:1".to_owned(),
            ["tcp://127.0.0.1:1 is not running", "start Docker"],
        ),
        (
            format!("tcp://{old}"),
            ["its API is 1.24", "upgrade Docker"],
        ),
    ] {
        for command in ["connect", "ls"] {
            let misuse = Misuse {
                arguments: &[command],
                says: &says,
                ..Misuse::default()
            };
            let client = Client::new(&lab, "host").by(docker_host.clone());
            misuse.commit(&lab, &client)?;
        }
    }
    let misuse = Misuse {
        arguments: &["ls"],
        wrapper: &NOBODY,
        says: &["no permission to use the engine's socket", "run as root"],
        ..Misuse::default()
    };
    misuse.commit(&lab, &Client::new(&lab, "host"))
}

#[test]
fn a_machine_that_cannot_have_a_tunnel_is_told_what_is_missing() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let client = Client::new(&lab, "host");
    let missing = |wrapper: &[&str], says: &[&str]| {
        let misuse = Misuse {
            arguments: &["connect"],
            wrapper,
            says,
            ..Misuse::default()
        };
        misuse.commit(&lab, &client)
    };
    missing(&NOBODY, &["needs root", "run `sudo ", " connect`"])?;
    missing(
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o ro tmpfs /dev/net && exec \"$0\" \"$@\"",
        ],
        &["/dev/net/tun", "modprobe tun"],
    )?;
    let read_only = format!(
        "mount --bind --read-only {0} {0} && exec \"$0\" \"$@\"",
        lab.directory().display()
    );
    missing(
        &["unshare", "--mount", "sh", "-c", &read_only],
        &["Read-only file system", "--state-dir"],
    )?;
    lab.vm(&["mount", "-t", "tmpfs", "tmpfs", "/dev/net"])
        .text()?;
    missing(
        &[],
        &["the engine's machine has no /dev/net/tun", "modprobe tun"],
    )
}

#[test]
fn a_client_that_carries_no_image_says_how_to_get_one() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    // What a plain `cargo build` makes, next to the tests it makes.
    let built = env::current_exe()?
        .ancestors()
        .nth(2)
        .map(|it| it.join("dtap-client"));
    let Some(bare) = built.filter(|it| it.exists()) else {
        eprintln!("skipped: no dtap-client was built beside this test");
        return Ok(());
    };
    let lab = lab()?;
    let client = Client::new(&lab, "host").made_by(bare);
    if client.run(&["image"]).success() {
        eprintln!("skipped: the dtap-client beside this test was built with an image");
        return Ok(());
    }
    let misuse = Misuse {
        arguments: &["connect"],
        says: &[
            "built without a server image",
            "`make build`",
            "--server-image",
        ],
        ..Misuse::default()
    };
    misuse.commit(&lab, &client)
}

#[test]
fn one_client_at_a_time_has_a_state_directory() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let client = Client::new(&lab, "host");
    let status = client.run(&["status"]);
    assert_eq!((status.code, status.stdout.as_str()), (1, "disconnected\n"));
    let disconnect = client.run(&["disconnect"]);
    assert_eq!(disconnect.code, 0, "{disconnect:?}");
    assert!(!client.state_dir().exists());

    client.connect(&[])?;
    let before = client.connection()?;
    for arguments in [["connect", "--quiet"], ["connect", "--detach"]] {
        let second = client.run(&arguments);
        assert_eq!(second.code, 1, "{second:?}");
        let says = ["a client is running already", "sudo dtap-client disconnect"];
        assert!(
            says.iter().all(|words| second.stderr.contains(words)),
            "{second:?}"
        );
        assert!(
            second.stderr.contains(&client.pid()?.to_string()),
            "{second:?}"
        );
    }
    let disconnect = client.command(&["disconnect"]);
    let disconnect: Vec<_> = disconnect.iter().map(String::as_str).collect();
    let refused = lab.mac(&[&NOBODY, disconnect.as_slice()].concat());
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("needs root: run `sudo "),
        "{refused:?}"
    );

    let after = client.connection()?;
    assert_eq!(after["state"], "connected");
    assert_eq!(after["interface"], before["interface"]);
    Ok(())
}

fn lab() -> Result<Lab> {
    let lab = Lab::start(Options {
        link: Link::None,
        ..Options::default()
    })?;
    // The first container makes Docker add rules that stay.
    lab.container("web", &[])?;
    Ok(lab)
}

/// Runs what follows as a user without any right.
const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];
