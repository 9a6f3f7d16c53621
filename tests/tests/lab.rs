//! The lab keeps its promises.

use dtap_tests::lab::{Lab, Options, can_run};

#[test]
fn a_container_answers_the_vm_but_not_the_host() {
    if !can_run() {
        return;
    }
    let t = std::time::Instant::now();
    let lab = Lab::start(Options::default()).unwrap();
    eprintln!("up {:?}", t.elapsed());
    let web = lab.container("web", &[]).unwrap();
    eprintln!("container {web:?} {:?}", t.elapsed());
    let address = web.v4().unwrap().to_string();
    let o = lab.vm(&["ping", "-c1", "-W1", &address]);
    assert!(o.success(), "{o:?}");
    let o = lab.mac(&["ping", "-c1", "-W1", &address]);
    assert!(!o.success(), "{o:?}");
    eprintln!("{:?}", lab.vm(&["nc", "-vz", "-w2", "10.75.0.2", "80"]));
    eprintln!(
        "{:?}",
        lab.vm(&["nc", "-vz", "-w2", "192.168.65.254", "80"])
    );
    eprintln!("{:?}", lab.strays());
    eprintln!("{:?}", lab.docker(&["version"]));
    eprintln!(
        "{:?}",
        lab.mac(&["sh", "-c", "ls /sys/class/net /run /etc | head; docker ps"])
    );
    eprintln!(
        "{:?}",
        lab.vm(&["curl", "-s", &format!("http://{address}/cgi-bin/peer")])
    );
    drop(lab);
    eprintln!("all {:?}", t.elapsed());
}
