#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! The accepts in the kernel's legacy tables, as `iptables-legacy` lists them, beside rules of
//! others.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dtap_net::firewall::{Firewall, FirewallConfig};
use namespace::{isolated, output, sh};
use nix::unistd::gettid;
use tables::{Engine, ROUNDS, config, names, saved, uncounted, wait_for_sleep, without_ours};

mod namespace;
mod tables;

#[test]
fn an_engine_on_legacy_iptables_is_told_apart() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    let gone = Path::new("/nowhere/xtables.lock");
    assert_eq!(Firewall::obstacle(gone), None);
    assert_eq!(names(), "", "nobody has asked for a table");
    engine.sh("iptables-legacy -A FORWARD -j ACCEPT");
    assert_eq!(Firewall::obstacle(gone), None, "not an engine's rules");
    engine.sh("iptables-legacy -N DOCKER-USER");
    let obstacle = Firewall::obstacle(gone).unwrap();
    assert!(obstacle.lacks_lock);
    assert_eq!(
        obstacle.reason,
        "open /nowhere/xtables.lock: No such file or directory (os error 2)"
    );
    assert_eq!(Firewall::obstacle(&engine.lock), None);
    engine.sh("iptables-nft -N DOCKER-USER");
    assert_eq!(Firewall::obstacle(gone), None, "nothing drops anything");
    engine.sh("iptables-legacy -A DOCKER-USER -i docker0 -o docker0 -j DROP");
    assert!(Firewall::obstacle(gone).unwrap().lacks_lock);
    engine.sh("iptables-legacy -F DOCKER-USER\niptables-legacy -P FORWARD DROP");
    assert!(Firewall::obstacle(gone).unwrap().lacks_lock);
}

#[test]
fn an_engine_on_nf_tables_gets_no_legacy_table_and_no_legacy_rule() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.sh("iptables-nft -N DOCKER-USER");
    let mut firewall = engine.firewall();
    firewall.set(&config("dtap0")).unwrap();
    assert!(!firewall.is_changed_silently());
    assert_eq!(names(), "");
    engine.sh("iptables-legacy -N MINE\niptables-legacy -A FORWARD -j MINE\niptables-legacy -P INPUT DROP");
    let before = saved();
    firewall.set(&config("dtap1")).unwrap();
    assert!(!firewall.is_changed_silently());
    assert_eq!(saved(), before);
}

/// An engine that was on the other one before leaves its chains, until the machine starts again.
#[test]
fn what_legacy_tables_drop_is_let_through_beside_an_engines_chains_in_nf_tables() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.sh("iptables-nft -N DOCKER-USER");
    let mut firewall = engine.firewall();
    for (closed, open, chain) in [
        (
            "iptables-legacy -N DOCKER-USER",
            "iptables-legacy -X DOCKER-USER",
            "iptables-legacy -S DOCKER-USER",
        ),
        (
            "iptables-legacy -P FORWARD DROP",
            "iptables-legacy -P FORWARD ACCEPT",
            "iptables-legacy -S FORWARD",
        ),
        (
            "ip6tables-legacy -P FORWARD DROP",
            "ip6tables-legacy -P FORWARD ACCEPT",
            "ip6tables-legacy -S FORWARD",
        ),
    ] {
        engine.sh(closed);
        let before = saved();
        firewall.set(&config("dtap0")).unwrap();
        assert!(firewall.is_changed_silently());
        let ours = "-A DOCKER-USER -i dtap0 -j ACCEPT\n-A DOCKER-USER -o dtap0 -j ACCEPT\n";
        let rules = output(chain).replace(" FORWARD ", " DOCKER-USER ");
        assert!(rules.ends_with(ours), "{closed}: {rules}");
        firewall.clear().unwrap();
        assert_eq!(saved(), before, "{closed}");
        engine.sh(open);
    }
    firewall.set(&config("dtap0")).unwrap();
    assert!(!firewall.is_changed_silently());
}

#[test]
fn beside_an_engine_on_nf_tables_only_what_drops_is_an_obstacle() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.sh("iptables-nft -N DOCKER-USER\niptables-legacy -N DOCKER-USER");
    let mut firewall = Firewall::new(Path::new("/nowhere/xtables.lock")).unwrap();
    firewall.set(&config("dtap0")).unwrap();
    assert_eq!(firewall.obstructed(), None);
    engine.sh("iptables-legacy -P FORWARD DROP");
    let before = saved();
    firewall.set(&config("dtap0")).unwrap();
    assert!(firewall.obstructed().unwrap().lacks_lock);
    assert_eq!(saved(), before);
}

#[test]
fn the_accepts_stand_at_the_head_and_go_without_a_trace() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let before = saved();
    let mut firewall = engine.firewall();
    firewall.set(&config("dtap0")).unwrap();
    assert!(firewall.is_changed_silently());
    assert_eq!(
        output("iptables-legacy -S DOCKER-USER | head -3"),
        "-N DOCKER-USER\n-A DOCKER-USER -i dtap0 -j ACCEPT\n-A DOCKER-USER -o dtap0 -j ACCEPT\n"
    );
    assert_eq!(
        output("ip6tables-legacy -S FORWARD | head -3"),
        "-P FORWARD DROP\n-A FORWARD -i dtap0 -j ACCEPT\n-A FORWARD -o dtap0 -j ACCEPT\n"
    );
    // All the rest, counters included, is what it was.
    assert_eq!(without_ours(&saved()), before);
    assert!(saved().contains("-A INPUT -i dtap0 -j ACCEPT"));
    firewall.clear().unwrap();
    assert_eq!(saved(), before);
    firewall.clear().unwrap();
    assert_eq!(saved(), before);
}

#[test]
fn iptables_goes_on_working_with_what_was_written() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let mut firewall = engine.firewall();
    firewall.set(&config("dtap0")).unwrap();
    engine.sh("iptables-legacy -C DOCKER-USER -i dtap0 -j ACCEPT
        iptables-legacy -D DOCKER-USER -i dtap0 -j ACCEPT
        iptables-legacy -N MORE
        iptables-legacy -A FORWARD -j MORE
        iptables-legacy -X EMPTY 2>/dev/null || true");
    let changed = saved();
    firewall.set(&config("dtap0")).unwrap();
    assert_eq!(without_ours(&saved()), without_ours(&changed));
    assert_eq!(saved().matches("-i dtap0 -j ACCEPT").count(), 3);
}

#[test]
fn a_rule_goes_on_counting_from_where_it_was() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    engine.sh("iptables-legacy -I OUTPUT -d 127.0.0.1 -c 4711 815");
    let mut firewall = engine.firewall();
    // One ping and its answer.
    sh("ping -c1 127.0.0.1");
    firewall.set(&config("dtap0")).unwrap();
    sh("ping -c1 127.0.0.1");
    firewall.clear().unwrap();
    sh("ping -c1 127.0.0.1");
    let counted = output("iptables-legacy-save -c -t filter | grep '127.0.0.1'");
    assert_eq!(counted, "[4717:1319] -A OUTPUT -d 127.0.0.1/32\n");
}

#[test]
fn what_somebody_flushed_is_repaired() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let mut firewall = engine.firewall();
    firewall.set(&config("dtap0")).unwrap();
    for damage in [
        "iptables-legacy -F DOCKER-USER",
        "iptables-legacy -F",
        "iptables-legacy -D DOCKER-USER -o dtap0 -j ACCEPT",
        "ip6tables-legacy -F FORWARD",
    ] {
        engine.sh(damage);
        let damaged = saved();
        firewall.set(&config("dtap0")).unwrap();
        assert_eq!(without_ours(&saved()), without_ours(&damaged), "{damage}");
        let heads = output("iptables-legacy -S DOCKER-USER; ip6tables-legacy -S FORWARD");
        assert_eq!(heads.matches("dtap0 -j ACCEPT").count(), 4, "{damage}");
    }
    engine.sh("iptables-legacy -F\niptables-legacy -X\niptables-legacy -P FORWARD ACCEPT");
    firewall.set(&config("dtap0")).unwrap();
    assert!(
        !output("iptables-legacy -S").contains("dtap0"),
        "the engine is gone"
    );
}

#[test]
fn a_killed_predecessors_accepts_are_swept_whatever_their_interface() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let before = saved();
    engine.firewall().set(&config("dtap7")).unwrap();
    engine.firewall().set(&config("dtap0")).unwrap();
    assert!(!saved().contains("dtap7"));
    Firewall::sweep(&engine.lock, &BTreeSet::new()).unwrap();
    assert_eq!(saved(), before);
    Firewall::sweep(&engine.lock, &BTreeSet::new()).unwrap();
    assert_eq!(saved(), before);
}

#[test]
fn the_accepts_of_a_nic_come_and_go_with_it() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let before = saved();
    let by_nic = FirewallConfig {
        nics: [("eth1".to_owned(), BTreeSet::new())].into(),
        ..config("dtap0")
    };
    let count = || saved().matches("eth1 -j ACCEPT").count();
    let mut firewall = engine.firewall();
    firewall.set(&by_nic).unwrap();
    assert_eq!(count(), 4, "both directions of both families");
    firewall.set(&config("dtap0")).unwrap();
    assert_eq!(count(), 0);
    firewall.set(&by_nic).unwrap();
    drop(firewall);
    // Only whoever knows that the NIC was its predecessor's may take them away.
    Firewall::sweep(&engine.lock, &BTreeSet::new()).unwrap();
    assert_eq!(count(), 4);
    Firewall::sweep(&engine.lock, &["eth1".to_owned()].into()).unwrap();
    assert_eq!(saved(), before);
}

#[test]
fn without_the_lock_nothing_is_written() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let before = saved();
    let directory = engine.directory.path();
    let gone = directory.join("gone.lock");
    for unusable in [&gone, directory] {
        let mut firewall = Firewall::new(unusable).unwrap();
        firewall.set(&config("dtap0")).unwrap();
        assert_eq!(firewall.obstructed(), Firewall::obstacle(unusable).as_ref());
        assert!(firewall.obstructed().unwrap().lacks_lock);
        assert_eq!(saved(), before);
        firewall.clear().unwrap();
    }
    assert!(!gone.exists());
    engine.firewall().set(&config("dtap0")).unwrap();
    let with = saved();
    let error = Firewall::new(&gone).unwrap().clear().unwrap_err();
    assert!(error.to_string().contains("gone.lock"), "{error}");
    Firewall::sweep(&gone, &BTreeSet::new()).unwrap();
    assert_eq!(saved(), with);
}

#[test]
fn a_lock_that_somebody_holds_is_waited_for_but_not_for_ever() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let before = saved();
    let file = fs::File::open(&engine.lock).unwrap();
    file.lock().unwrap();
    let began = Instant::now();
    let mut firewall = engine.firewall();
    firewall.set(&config("dtap0")).unwrap();
    let obstacle = firewall.obstructed().unwrap();
    assert!(!obstacle.lacks_lock, "it is there");
    assert!(
        obstacle.reason.contains("has held the lock"),
        "{obstacle:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(saved(), before);
    let waiting = gettid();
    let freed = std::thread::spawn(move || {
        wait_for_sleep(waiting);
        drop(file);
    });
    firewall.set(&config("dtap0")).unwrap();
    assert_eq!(firewall.obstructed(), None);
    freed.join().unwrap();
    assert_eq!(without_ours(&saved()), before);
}

#[test]
fn a_lock_that_is_another_file_by_now_is_none() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let file = fs::File::open(&engine.lock).unwrap();
    fs::remove_file(&engine.lock).unwrap();
    // Like a bind mount, this goes on showing the file that is gone.
    let shown = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let obstacle = Firewall::obstacle(&shown).unwrap();
    assert!(obstacle.lacks_lock);
    assert!(
        obstacle.reason.contains("has another one by now"),
        "{obstacle:?}"
    );
}

/// Whoever rewrites a table without the lock loses what another has added meanwhile.
#[test]
fn two_busy_neighbours_lose_no_rule() {
    if !isolated() {
        return;
    }
    let engine = Engine::new();
    engine.restore();
    let before = uncounted();
    let mut neighbours = ["DOCKER-USER", "FORWARD"].map(|chain| engine.busy(chain));
    let mut firewall = engine.firewall();
    let mut cycles = 0;
    while cycles < 200
        || neighbours
            .iter_mut()
            .any(|it| it.try_wait().unwrap().is_none())
    {
        firewall.set(&config("dtap0")).unwrap();
        firewall.clear().unwrap();
        cycles += 1;
    }
    for mut neighbour in neighbours {
        assert!(
            neighbour.wait().unwrap().success(),
            "a rule to delete was gone"
        );
    }
    for chain in ["DOCKER-USER", "FORWARD"] {
        let rules = output(&format!("iptables-legacy -S {chain}"));
        for number in 1..=ROUNDS {
            let kept = rules.contains(&format!("-s 192.0.2.{number}/32"));
            assert_eq!(
                kept,
                number % 2 == 0,
                "{chain} {number} after {cycles} cycles\n{rules}"
            );
        }
    }
    for chain in ["DOCKER-USER", "FORWARD"] {
        for number in (2..=ROUNDS).step_by(2) {
            engine.sh(&format!(
                "iptables-legacy -D {chain} -s 192.0.2.{number} -j DROP"
            ));
        }
    }
    assert_eq!(uncounted(), before);
    eprintln!("{cycles} cycles");
}
