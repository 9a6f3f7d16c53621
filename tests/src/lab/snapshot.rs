//! The network state of a machine as text, to be compared before and after.

use anyhow::Result;

use super::Lab;
use super::command::Output;

impl Lab {
    /// Links, addresses, routes of all tables, rules, firewall and files of the host, without what changes by itself.
    ///
    /// The files are those in /run and what has changed in /etc and /var/lib since the machine was booted.
    pub fn snapshot_mac(&self) -> Result<String> {
        let files = self.mac(&["sh", "-c", FILES]).text()?;
        Ok(snapshot(|program| self.mac(program))? + "# files\n" + &sorted(&files))
    }

    /// The same of the VM, except for its files. Docker's own part of the firewall grows with the first container of an
    /// address family: compare only what was taken after it.
    pub fn snapshot_vm(&self) -> Result<String> {
        snapshot(|program| self.vm(program))
    }
}

fn snapshot(run: impl Fn(&[&str]) -> Output) -> Result<String> {
    let mut text = String::new();
    for section in &SECTIONS {
        let said = run(&["sh", "-c", section.command]).text()?;
        text.push_str(&format!("# {}\n", section.title));
        text.push_str(&(section.keep)(&said));
    }
    Ok(text)
}

struct Section {
    title: &'static str,
    command: &'static str,
    keep: fn(&str) -> String,
}

const SECTIONS: [Section; 9] = [
    Section {
        title: "links",
        command: "ip -o link",
        keep: links,
    },
    Section {
        title: "addresses",
        command: "ip -o address",
        keep: addresses,
    },
    Section {
        title: "routes",
        command: "ip -4 route show table all",
        keep: routes,
    },
    Section {
        title: "routes, IPv6",
        command: "ip -6 route show table all",
        keep: routes,
    },
    Section {
        title: "rules",
        command: "ip -4 rule",
        keep: as_it_is,
    },
    Section {
        title: "rules, IPv6",
        command: "ip -6 rule",
        keep: as_it_is,
    },
    Section {
        title: "nftables",
        command: "nft --stateless list ruleset",
        keep: as_it_is,
    },
    // Asking for a table of iptables-legacy would make it.
    Section {
        title: "iptables-legacy",
        command: "for table in $(cat /proc/net/ip_tables_names 2>&-); do iptables-legacy-save -t $table; done",
        keep: iptables,
    },
    Section {
        title: "iptables-legacy, IPv6",
        command: "for table in $(cat /proc/net/ip6_tables_names 2>&-); do ip6tables-legacy-save -t $table; done",
        keep: iptables,
    },
];

/// Where machine.sh keeps the changes, and /run itself.
const FILES: &str = "find /run/lab/etc/changed /run/lab/var/lib/changed -type f; find /run -path /run/lab -prune -o -type f -print -o -type s -print";

/// `3: br-1@if2: <UP,LOWER_UP> mtu 1500 qdisc … link/ether 02:… …`: the name, the flags somebody set, MTU and address.
fn links(text: &str) -> String {
    let keep = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next()?.split(['@', ':']).next()?;
        let flags: Vec<_> = words
            .next()?
            .trim_matches(['<', '>'])
            .split(',')
            .filter(|flag| !CARRIER.contains(flag))
            .collect();
        let mtu = words.nth(1)?;
        let mut address = words.skip_while(|word| !word.starts_with("link/"));
        let kind = address.next()?;
        let address = address.next().unwrap_or_default();
        let line = format!("{name} {} mtu {mtu} {kind} {address}", flags.join(","));
        (!is_docker_veth(name)).then_some(line)
    };
    sorted_lines(text.lines().filter_map(keep))
}

/// `2: eth0    inet 192.168.65.3/24 brd … scope global eth0\       valid_lft forever …`: up to the lifetimes.
fn addresses(text: &str) -> String {
    let keep = |line: &str| {
        let words: Vec<_> = line
            .split('\\')
            .next()?
            .split_whitespace()
            .skip(1)
            .collect();
        let name = words.first()?;
        // A link-local address comes by itself, some time after its link.
        let by_itself = words.contains(&"link") && words.contains(&"inet6");
        let settled: Vec<_> = words
            .iter()
            .copied()
            .filter(|word| *word != "tentative")
            .collect();
        (!is_docker_veth(name) && !by_itself).then(|| settled.join(" "))
    };
    sorted_lines(text.lines().filter_map(keep))
}

fn routes(text: &str) -> String {
    let keep = |line: &str| {
        let words: Vec<_> = line
            .split_whitespace()
            .filter(|word| *word != "linkdown")
            .collect();
        let device = words.iter().skip_while(|word| **word != "dev").nth(1);
        // Docker's veths come and go; the kernel makes these two for every link, some time after it.
        let by_itself = device.is_some_and(|device| is_docker_veth(device))
            || words.first() == Some(&"multicast")
            || words.iter().any(|word| word.starts_with("fe80:"));
        (!by_itself).then(|| words.join(" "))
    };
    sorted_lines(text.lines().filter_map(keep))
}

fn iptables(text: &str) -> String {
    let keep = |line: &str| {
        let counted = line.split(" [").next().unwrap_or(line);
        (!line.starts_with('#')).then(|| format!("{counted}\n"))
    };
    text.lines().filter_map(keep).collect()
}

fn sorted(text: &str) -> String {
    sorted_lines(text.lines().map(str::to_owned))
}

fn as_it_is(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn sorted_lines(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<_> = lines.map(|line| line + "\n").collect();
    lines.sort();
    lines.concat()
}

/// Docker names the ends of its containers' cables `veth` and seven random digits.
fn is_docker_veth(name: &str) -> bool {
    let random = name.strip_prefix("veth").unwrap_or_default();
    random.len() == 7 && random.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Flags that follow the cable rather than anybody's will.
const CARRIER: [&str; 2] = ["LOWER_UP", "NO-CARRIER"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_what_was_set_and_lose_what_happens() {
        let text = "\
            4: veth1a2b3c4@if3: <BROADCAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default \\    link/ether 0a:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff\n\
            3: docker0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state DOWN mode DEFAULT group default \\    link/ether 0a:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff\n\
            5: dtap0: <POINTOPOINT,UP,LOWER_UP> mtu 1420 qdisc fq state UNKNOWN mode DEFAULT group default qlen 500\\    link/none \n";
        assert_eq!(
            links(text),
            "docker0 BROADCAST,MULTICAST,UP mtu 1500 link/ether 0a:00:00:00:00:01\n\
             dtap0 POINTOPOINT,UP mtu 1420 link/none \n"
        );
    }

    #[test]
    fn routes_are_sorted_and_lose_the_kernels_own() {
        let text = "\
            default via 192.168.65.1 dev eth0 \n\
            172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1 linkdown \n\
            fe80::/64 dev eth0 proto kernel metric 256 pref medium\n\
            multicast ff00::/8 dev eth0 table local proto kernel metric 256 pref medium\n";
        assert_eq!(
            routes(text),
            "172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1\n\
             default via 192.168.65.1 dev eth0\n"
        );
    }

    #[test]
    fn legacy_rules_lose_counters_and_dates() {
        let text = "# Generated on a Monday\n*filter\n:FORWARD DROP [3:180]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n";
        assert_eq!(
            iptables(text),
            "*filter\n:FORWARD DROP\n-A FORWARD -j DOCKER-USER\nCOMMIT\n"
        );
    }
}
