use std::os::unix::net::UnixListener;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;

/// A user's home and machine in a temporary directory.
struct Machine {
    root: TempDir,
    environment: Environment,
    /// Engines that answer.
    engines: Vec<UnixListener>,
}

impl Machine {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let environment = Environment {
            variables: [("HOME".to_owned(), "/nobody".to_owned())].into(),
            user: User {
                name: "me".into(),
                uid: 501,
                gid: 20,
                home: root.path().join("home"),
            },
            runtime_directory: root.path().join("runtime"),
            system_socket: root.path().join("docker.sock"),
        };

        Self {
            root,
            environment,
            engines: Vec::new(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.into(), value.into());
        self
    }

    fn write(self, path: &str, text: &str) -> Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn current_context(self, name: &str) -> Self {
        let text = format!(r#"{{"auths":{{}},"currentContext":"{name}"}}"#);
        self.write("home/.docker/config.json", &text)
    }

    fn context(self, name: &str, host: &str) -> Self {
        let meta = format!(
            r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
        );
        let path = format!("home/.docker/contexts/meta/{}/meta.json", digest(name));
        self.write(&path, &meta)
    }

    fn engine_at(mut self, path: &str) -> Self {
        let socket = self.root.path().join(path);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        self.engines.push(UnixListener::bind(socket).unwrap());
        self
    }

    /// A socket whose engine is gone.
    fn dead_engine_at(self, path: &str) -> Self {
        let mut machine = self.engine_at(path);
        machine.engines.pop();
        machine
    }

    fn found(&self, selection: &Selection) -> (String, String) {
        let target = find(selection, &self.environment).unwrap();
        let endpoint = target.endpoint.to_string();
        let root = self.root.path().display().to_string();

        (target.name, endpoint.replace(&root, ""))
    }

    fn refused(&self, selection: &Selection) -> String {
        let error = find(selection, &self.environment).unwrap_err();
        format!("{error:#}").replace(&self.root.path().display().to_string(), "")
    }
}

fn digest(name: &str) -> String {
    format!("{:x}", Sha256::digest(name))
}

fn named(name: &str) -> Selection {
    Selection::Context(name.into())
}

fn is(name: &str, endpoint: &str) -> (String, String) {
    (name.into(), endpoint.into())
}

#[test]
fn the_user_s_flag_wins_over_everything() {
    let machine = Machine::new()
        .set("DOCKER_HOST", "tcp://10.0.0.1")
        .set("DOCKER_CONTEXT", "colima")
        .context("colima", "unix:///colima.sock");

    let host = Selection::Host("unix:///mine.sock".into());
    assert_eq!(machine.found(&host), is("default", "unix:///mine.sock"));
    assert_eq!(
        machine.found(&named("colima")),
        is("colima", "unix:///colima.sock")
    );
}

#[test]
fn docker_host_wins_over_contexts() {
    let machine = Machine::new()
        .set("DOCKER_HOST", "tcp://10.0.0.1")
        .set("DOCKER_CONTEXT", "colima")
        .current_context("colima")
        .context("colima", "unix:///colima.sock");

    let expected = is("default", "tcp://10.0.0.1:2375");
    assert_eq!(machine.found(&Selection::Default), expected);
    assert_eq!(machine.found(&named("default")), expected);
}

#[test]
fn docker_context_wins_over_the_current_context() {
    let machine = Machine::new()
        .set("DOCKER_CONTEXT", "a")
        .current_context("b")
        .context("a", "unix:///a.sock")
        .context("b", "unix:///b.sock");

    assert_eq!(
        machine.found(&Selection::Default),
        is("a", "unix:///a.sock")
    );
}

#[test]
fn the_current_context_is_that_of_the_user_s_own_home() {
    let machine = Machine::new()
        .current_context("desktop-linux")
        .context("desktop-linux", "unix:///desktop.sock")
        .engine_at("docker.sock");

    let expected = is("desktop-linux", "unix:///desktop.sock");
    assert_eq!(machine.found(&Selection::Default), expected);
}

#[test]
fn docker_config_moves_the_contexts() {
    let machine = Machine::new();
    let elsewhere = machine.root.path().join("elsewhere").display().to_string();
    let machine = machine
        .set("DOCKER_CONFIG", &elsewhere)
        .write("elsewhere/config.json", r#"{"currentContext":"x"}"#)
        .write(
            &format!("elsewhere/contexts/meta/{}/meta.json", digest("x")),
            r#"{"Name":"x","Endpoints":{"docker":{"Host":"ssh://me@vm"}}}"#,
        );

    assert_eq!(machine.found(&Selection::Default), is("x", "ssh://me@vm"));
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let machine = Machine::new()
        .set("DOCKER_HOST", "")
        .set("DOCKER_CONTEXT", "")
        .engine_at("docker.sock");

    assert_eq!(
        machine.found(&Selection::Default),
        is("default", "unix:///docker.sock")
    );
}

#[test]
fn the_first_well_known_socket_that_answers_is_taken() {
    let order = [
        "docker.sock",
        "home/.docker/run/docker.sock",
        "home/.orbstack/run/docker.sock",
        "home/.colima/default/docker.sock",
        "home/.colima/work/docker.sock",
        "home/.config/colima/x/docker.sock",
        "home/.rd/docker.sock",
        "home/.lima/docker/sock/docker.sock",
        "runtime/docker.sock",
    ];
    for (first, expected) in order.iter().enumerate() {
        let machine = order[first..]
            .iter()
            .fold(Machine::new(), |machine, path| machine.engine_at(path));

        let expected = is("default", &format!("unix:///{expected}"));
        assert_eq!(machine.found(&Selection::Default), expected);
    }
}

#[test]
fn a_socket_without_an_engine_is_passed_over() {
    let machine = Machine::new()
        .dead_engine_at("docker.sock")
        .engine_at("home/.rd/docker.sock");

    assert_eq!(
        machine.found(&Selection::Default),
        is("default", "unix:///home/.rd/docker.sock")
    );
}

#[test]
fn an_engine_that_is_not_running_is_named() {
    let machine = Machine::new().dead_engine_at("home/.rd/docker.sock");

    let error = machine.refused(&Selection::Default);
    assert!(
        error.contains("unix:///home/.rd/docker.sock is not running"),
        "{error}"
    );
    assert!(error.contains("start Docker"), "{error}");
}

#[test]
fn without_any_engine_it_says_where_it_looked() {
    let error = Machine::new().refused(&Selection::Default);

    assert!(error.starts_with("no container engine found"), "{error}");
    for place in [
        "/docker.sock",
        "/home/.orbstack/run/docker.sock",
        "/runtime/docker.sock",
    ] {
        assert!(error.contains(place), "{place}: {error}");
    }
}

#[test]
fn an_unknown_context_lists_those_that_exist() {
    let machine = Machine::new()
        .context("colima", "unix:///colima.sock")
        .context("work", "ssh://me@work");

    assert_eq!(
        machine.refused(&named("colma")),
        "there is no Docker context 'colma': choose one of colima, default, work"
    );
}

#[test]
fn a_broken_configuration_names_its_file() {
    let machine = Machine::new().write("home/.docker/config.json", "{");
    let error = machine.refused(&Selection::Default);
    assert!(error.contains("/home/.docker/config.json"), "{error}");

    let machine = Machine::new().context("odd", "gopher://x");
    let error = machine.refused(&named("odd"));
    assert!(
        error.contains("context 'odd'") && error.contains("gopher"),
        "{error}"
    );
}

#[test]
fn a_context_that_trusts_anyone_is_refused() {
    let path = format!("home/.docker/contexts/meta/{}/meta.json", digest("lax"));
    let machine = Machine::new().write(
        &path,
        r#"{"Name":"lax","Endpoints":{"docker":{"Host":"tcp://vm:2376","SkipTLSVerify":true}}}"#,
    );

    let error = machine.refused(&named("lax"));
    assert!(
        error.contains("does not verify") && error.contains("docker context update lax"),
        "{error}"
    );
}

#[test]
fn a_context_s_certificates_make_it_tls() {
    let directory = format!("home/.docker/contexts/tls/{}/docker", digest("vm"));
    let machine = Machine::new()
        .context("vm", "tcp://vm:2376")
        .write(&format!("{directory}/ca.pem"), "")
        .write(&format!("{directory}/cert.pem"), "")
        .write(&format!("{directory}/key.pem"), "");

    let target = find(&named("vm"), &machine.environment).unwrap();
    let directory = machine.root.path().join(directory);
    assert_eq!(
        target.endpoint,
        Endpoint::Tls {
            host: "vm".into(),
            port: 2376,
            certificates: Certificates {
                authority: directory.join("ca.pem"),
                client: Some((directory.join("cert.pem"), directory.join("key.pem"))),
            },
        }
    );
}

#[test]
fn docker_tls_verify_makes_every_given_url_tls() {
    let machine = Machine::new()
        .set("DOCKER_TLS_VERIFY", "1")
        .set("DOCKER_CERT_PATH", "/certificates");

    let target = find(&Selection::Host("tcp://vm".into()), &machine.environment).unwrap();
    assert_eq!(
        target.endpoint,
        Endpoint::Tls {
            host: "vm".into(),
            port: 2376,
            certificates: Certificates {
                authority: "/certificates/ca.pem".into(),
                client: None,
            },
        }
    );
}

#[test]
fn ssh_is_the_user_s_with_their_agent() {
    let machine = Machine::new().set("SSH_AUTH_SOCK", "/agent");

    let target = find(&Selection::Host("ssh://vm".into()), &machine.environment).unwrap();
    assert_eq!(target.user.name, "me");
    assert_eq!(target.ssh_agent, Some("/agent".into()));
}
