use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Runs a shell in ssh's place.
fn dial(script: &str) -> Ssh {
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let dialler = Dialler {
        program: "/bin/sh".into(),
        user: User {
            name: nobody.name,
            uid: nobody.uid.as_raw(),
            gid: nobody.gid.as_raw(),
            home: "/home/me".into(),
        },
        agent: Some("/agent".into()),
        arguments: vec!["-c".into(), script.into()],
    };

    dialler.dial().unwrap()
}

async fn output(script: &str) -> io::Result<String> {
    let mut text = String::new();
    dial(script).read_to_string(&mut text).await?;

    Ok(text)
}

#[test]
fn ssh_runs_docker_s_relay_and_never_asks() {
    let socket = Path::new("/run/user/1/it's.sock");
    let arguments = arguments(Some("me"), "vm", Some(22), Some(socket)).join(" ");

    assert_eq!(
        arguments,
        "-T -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -l me -p 22 -- vm \
         docker --host 'unix:///run/user/1/it'\\''s.sock' system dial-stdio"
    );
}

#[tokio::test]
async fn bytes_go_both_ways() {
    let mut ssh = dial("exec cat");
    let mut echo = [0; 5];

    ssh.write_all(b"hello").await.unwrap();
    ssh.read_exact(&mut echo).await.unwrap();

    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn shutting_down_ends_the_input() {
    let mut ssh = dial("cat; echo end");
    let mut text = String::new();

    ssh.shutdown().await.unwrap();
    ssh.read_to_string(&mut text).await.unwrap();

    assert_eq!(text, "end\n");
    assert!(ssh.write_all(b"late").await.is_err());
}

#[tokio::test]
async fn ssh_has_the_user_s_identity_home_and_agent() {
    let output = output(r#"echo "$(id -un) $(id -G) $HOME $SSH_AUTH_SOCK""#).await;
    let output = output.unwrap();

    let is_root = nix::unistd::geteuid().is_root();
    let [identity @ .., home, agent] = &output.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{output}")
    };
    assert_eq!([*home, *agent], ["/home/me", "/agent"]);
    if is_root {
        // One group: root's supplementary groups are not passed on.
        assert_eq!(identity.len(), 2, "{output}");
        assert_eq!(identity[0], "nobody");
    }
}

#[tokio::test]
async fn what_ssh_complains_of_is_the_error() {
    let error = output("echo 'me@vm: Permission denied (publickey).' >&2; exit 255").await;
    let error = error.unwrap_err();

    assert_eq!(
        error.to_string(),
        "ssh ended: me@vm: Permission denied (publickey)."
    );
}

#[tokio::test]
async fn much_talk_on_stderr_does_not_stop_the_stream() {
    let output = output("head -c 300000 /dev/zero >&2; echo through").await;

    assert_eq!(output.unwrap(), "through\n");
}
