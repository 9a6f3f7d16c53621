//! `uninstall` removes the server, and with `--purge` there is no trace of dtap on either machine nor in the engine.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use dtap_tests::client::Client;
use dtap_tests::lab::{Engine, Lab, Options, can_run};
use dtap_tests::machines::Machines;

#[test]
fn uninstall_leaves_the_key_and_purge_leaves_nothing_on_every_engine() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for engine in Engine::required()? {
        let lab = Lab::start(Options {
            engine: Some(engine),
            ..Options::default()
        })?;
        lab.container("web", &[])?;
        let before = Machines::of(&lab)?;
        let objects = objects(&lab)?;
        let client = Client::new(&lab, "uninstall");
        client.connect(&[])?;
        let address = client.field("host_address");

        client.run(&["uninstall"]).text()?;
        before.restored(&lab, AT_ONCE, "uninstall")?;
        assert!(!lab.docker(&CONTAINERS)?.contains("dtap"));
        assert!(lab.docker(&VOLUMES)?.contains("dtap"));
        assert!(client.state_dir().join("keys").exists());
        client.connect(&[])?;
        assert_eq!(client.field("host_address"), address);

        client.run(&["uninstall", "--purge"]).text()?;
        before.restored(&lab, AT_ONCE, "uninstall --purge")?;
        assert_eq!(self::objects(&lab)?, objects);
        assert!(!client.state_dir().exists());
        client.run(&["uninstall", "--purge"]).text()?;

        let by_url = Client::new(&lab, "by-url").by("unix:///nowhere/docker.sock".into());
        by_url.connect(&["--docker-host", &lab.docker_host()])?;
        by_url.run(&["uninstall", "--purge"]).text()?;
        assert_eq!(self::objects(&lab)?, objects);
        assert!(!by_url.state_dir().exists());
    }
    Ok(())
}

/// Whatever the engine has.
fn objects(lab: &Lab) -> Result<Vec<String>> {
    [&CONTAINERS[..], &VOLUMES, &IMAGES, &NETWORKS]
        .into_iter()
        .map(|list| lab.docker(list))
        .collect()
}

const CONTAINERS: [&str; 4] = ["ps", "--all", "--format", "{{.Names}} {{.Image}}"];
const VOLUMES: [&str; 4] = ["volume", "ls", "--format", "{{.Name}}"];
const IMAGES: [&str; 5] = [
    "images",
    "--all",
    "--no-trunc",
    "--format",
    "{{.ID}} {{.Tag}}",
];
const NETWORKS: [&str; 4] = ["network", "ls", "--format", "{{.Name}}"];
const AT_ONCE: Duration = Duration::from_secs(1);
