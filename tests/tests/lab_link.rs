//! What lies between the VM and the host carries what it is said to carry, and nothing else.

#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use dtap_tests::lab::{Lab, Link, Options, can_run};
use dtap_tests::wait_until;

#[test]
fn the_gateway_carries_udp_to_the_hosts_loopback_and_back() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let (host, vm) = udp_sockets(&lab)?;
    vm.send(b"question")?;
    let (text, from) = receive(&host)?;
    assert_eq!(text, b"question");
    assert!(from.ip().is_loopback(), "{from}");
    host.send_to(b"answer", from)?;
    let mut buffer = [0; 16];
    let length = vm.recv(&mut buffer)?;
    assert_eq!(&buffer[..length], b"answer");
    assert!(
        lab.vm(&["grep", "-w", "host.docker.internal", "/etc/hosts"])
            .success()
    );
    Ok(())
}

#[test]
fn an_idle_udp_flow_is_forgotten_and_returns_from_another_port() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        udp_idle: Duration::from_millis(300),
        ..Options::default()
    })?;
    let (host, vm) = udp_sockets(&lab)?;
    vm.send(b"one")?;
    let (_, first) = receive(&host)?;
    vm.send(b"two")?;
    let (_, second) = receive(&host)?;
    assert_eq!(first, second, "a flow in use keeps its port");
    wait_until(SOON, "the gateway closes the socket of the flow", || {
        let bound = lab.mac_namespace().enter(|| UdpSocket::bind(first));
        bound.is_ok_and(|bound| bound.is_ok())
    });
    vm.send(b"three")?;
    let (text, third) = receive(&host)?;
    assert_eq!(text, b"three");
    assert_ne!(first, third);
    Ok(())
}

#[test]
fn the_gateway_carries_tcp_to_the_host_and_resets_what_nobody_answers() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let listener = lab
        .mac_namespace()
        .enter(|| TcpListener::bind("127.0.0.1:0"))??;
    let port = listener.local_addr()?.port();
    let mut vm = lab
        .vm_namespace()
        .enter(|| TcpStream::connect(("192.168.65.254", port)))??;
    let (mut host, _) = listener.accept()?;
    vm.write_all(b"question")?;
    let mut buffer = [0; 8];
    host.read_exact(&mut buffer)?;
    assert_eq!(&buffer, b"question");
    drop(host);
    assert_eq!(
        vm.read(&mut buffer)?,
        0,
        "the end of the stream is carried, too"
    );

    let stranger = lab
        .vm_namespace()
        .enter(|| TcpStream::connect("198.51.100.7:80"))?;
    let refused = stranger.expect_err("nobody is there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    Ok(())
}

#[test]
fn a_packet_that_strays_from_a_tunnel_is_counted_and_reset() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    assert_eq!(lab.strays()?, 0);
    for (stray, at_least) in [("10.75.0.2:80", 1), ("[fd11:22::1]:80", 2)] {
        let answer = lab.vm_namespace().enter(|| TcpStream::connect(stray))?;
        let refused = answer.expect_err("nobody is there");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{stray}");
        assert!(lab.strays()? >= at_least, "{stray}");
    }
    Ok(())
}

#[test]
fn a_cable_connects_both_ways_until_it_is_cut() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    for (from, to) in [
        ("mac", "192.168.106.2"),
        ("mac", "fd6a:106::2"),
        ("vm", "192.168.106.1"),
        ("vm", "fd6a:106::1"),
    ] {
        assert!(ping(&lab, from, to), "{from} to {to}");
        lab.link_down()?;
        assert!(!ping(&lab, from, to), "{from} to {to} over a cut cable");
        lab.link_up()?;
        assert!(ping(&lab, from, to), "{from} to {to} over a mended cable");
    }
    assert!(
        lab.neighbour(&["ping", "-c1", "-W1", "192.168.106.2"])
            .success()
    );
    assert_eq!(lab.strays()?, 0);
    Ok(())
}

#[test]
fn without_a_link_no_packet_goes_either_way() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options {
        link: Link::None,
        ..Options::default()
    })?;
    assert_eq!(lab.mac(&["ip", "-4", "route"]).text()?, "");
    assert!(
        !lab.vm(&["grep", "-w", "host.docker.internal", "/etc/hosts"])
            .success()
    );
    let listener = lab
        .mac_namespace()
        .enter(|| TcpListener::bind("127.0.0.1:0"))??;
    let port = listener.local_addr()?.port();
    let answer = lab
        .vm_namespace()
        .enter(|| TcpStream::connect(("192.168.65.254", port)))?;
    assert!(answer.is_err());
    Ok(())
}

#[test]
fn a_stalled_api_accepts_but_moves_nothing_until_it_resumes() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    let proxy = lab.api_proxy()?;
    let version = || {
        let mut command = lab.mac_command("docker");
        command.args(["version", "--format", "{{.Server.Version}}"]);
        command.env("DOCKER_HOST", proxy.docker_host());
        command
    };
    assert!(version().stdout(Stdio::null()).status()?.success());

    proxy.stall();
    let mut stream = lab
        .mac_namespace()
        .enter(|| TcpStream::connect(proxy.address()))??;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    let silence = stream
        .read(&mut [0; 16])
        .expect_err("a stalled proxy is silent");
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);

    proxy.resume();
    stream.set_read_timeout(Some(SOON))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.contains("200 OK"), "{answer}");
    Ok(())
}

fn udp_sockets(lab: &Lab) -> Result<(UdpSocket, UdpSocket)> {
    let host = lab
        .mac_namespace()
        .enter(|| UdpSocket::bind("127.0.0.1:0"))??;
    let vm = lab
        .vm_namespace()
        .enter(|| UdpSocket::bind("0.0.0.0:0"))??;
    vm.connect(("192.168.65.254", host.local_addr()?.port()))?;
    for socket in [&host, &vm] {
        socket.set_read_timeout(Some(SOON))?;
    }
    Ok((host, vm))
}

fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 2048];
    let (length, from) = socket.recv_from(&mut buffer)?;
    buffer.truncate(length);
    Ok((buffer, from))
}

fn ping(lab: &Lab, from: &str, to: &str) -> bool {
    let ping = ["ping", "-c1", "-W1", to];
    match from {
        "mac" => lab.mac(&ping).success(),
        _ => lab.vm(&ping).success(),
    }
}

const SOON: Duration = Duration::from_secs(10);
