//! What `ls` says, and who is masqueraded.

use super::*;
use crate::docker::{Port, Protocol};

#[test]
fn containers_that_could_not_answer_are_masqueraded() {
    let web = bridge("web", &["172.18.0.0/16", "fd00:1::/64"]);
    let back = bridge("back", &["172.19.0.0/16"]);
    let inner = Network {
        internal: true,
        ..bridge("inner", &["172.20.0.0/16"])
    };
    let dual_stack = container("dual-stack", &[(&web, "172.18.0.2"), (&web, "fd00:1::2")]);
    let several = container("several", &[(&web, "172.18.0.3"), (&back, "172.19.0.3")]);
    let internal = container("internal", &[(&inner, "172.20.0.2")]);
    let mut stranded = container("stranded", &[(&web, "172.18.0.4")]);
    stranded.endpoints[0].ipv4_gateway = None;

    let plan = plan(&Input {
        networks: vec![web, back, inner],
        containers: vec![dual_stack, several, internal, stranded],
        ..Input::default()
    });

    let masquerade: Vec<_> = plan
        .attachments
        .iter()
        .map(|it| {
            let addresses = it.masquerade.iter().map(ToString::to_string);
            (it.network.as_str(), addresses.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        masquerade,
        [
            ("back", "172.19.0.3".to_owned()),
            ("inner", "172.20.0.2".to_owned()),
            ("web", "172.18.0.3 172.18.0.4".to_owned()),
        ]
    );
}

#[test]
fn a_container_is_reachable_while_it_runs_on_a_reachable_network() {
    let web = bridge("web", &["172.18.0.0/16"]);
    let lan = driven("lan", "weave");
    let mut stopped = container("stopped", &[]);
    stopped.running = false;
    stopped.endpoints = vec![ContainerEndpoint {
        network: "web".into(),
        network_id: web.id.clone(),
        ..ContainerEndpoint::default()
    }];
    let mut host = container("host", &[]);
    host.network_mode = "host".into();
    let mut shared = container("shared", &[]);
    shared.network_mode = "container:up-id".into();
    let mut hidden = container("hidden", &[(&web, "172.18.0.9")]);
    hidden.labels.insert("dtap.enable".into(), "false".into());
    let up = container("up", &[(&web, "172.18.0.2")]);
    let far = container("far", &[(&lan, "192.168.1.2")]);
    let server = container("dtap", &[]);

    let plan = plan(&Input {
        networks: vec![web, lan],
        containers: vec![up, stopped, host, shared, hidden, far, server],
        server: Some("dtap-id".into()),
        ..Input::default()
    });
    let reasons: Vec<_> = plan
        .containers
        .iter()
        .filter_map(|it| Some((it.name.as_str(), it.reason.as_deref()?)))
        .collect();
    assert_eq!(
        reasons,
        [
            ("far", "driver 'weave': dtap knows no way to its containers"),
            ("hidden", "excluded by its label dtap.enable=false"),
            ("stopped", "does not run"),
        ]
    );

    let seen: Vec<_> = plan
        .containers
        .iter()
        .map(|it| {
            let address = it.networks.first().and_then(|it| it.address);
            let address = address.map(|it| it.to_string()).unwrap_or_default();
            (it.name.as_str(), address, it.reachable)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("far", "192.168.1.2".to_owned(), false),
            ("hidden", "172.18.0.9".to_owned(), false),
            ("host", String::new(), true),
            ("shared", "172.18.0.2".to_owned(), true),
            ("stopped", String::new(), false),
            ("up", "172.18.0.2".to_owned(), true),
        ]
    );
}

#[test]
fn the_json_is_that_of_status_and_ls() {
    let web = bridge("web", &["172.18.0.0/16"]);
    let mut up = container("up", &[(&web, "172.18.0.2")]);
    up.ports.insert(Port {
        number: 80,
        protocol: Protocol::Tcp,
    });
    let plan = plan(&Input {
        networks: vec![web],
        containers: vec![up],
        ..Input::default()
    });

    assert_eq!(
        serde_json::to_string(&plan.networks).unwrap(),
        r#"[{"name":"web","driver":"bridge","subnets":["172.18.0.0/16"],"mapped":[],"state":"reachable","reason":null}]"#
    );
    assert_eq!(
        serde_json::to_string(&plan.containers).unwrap(),
        r#"[{"name":"up","id":"up-id","names":[],"networks":[{"network":"web","address":"172.18.0.2","mapped":null}],"ports":["80/tcp"],"reachable":true}]"#
    );
}
