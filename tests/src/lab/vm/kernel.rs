//! Debian's kernel for virtual machines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::apt::{self, Packages, Selection};

/// Where its image and its modules are.
#[derive(Debug)]
pub(in super::super) struct Kernel {
    image: PathBuf,
    /// By the names the kernel gives them.
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// Fetches it, if need be.
    pub(in super::super) fn find() -> Result<Self> {
        let root = apt::unpacked(&apt::cache()?, &PACKAGES)?;
        let boot = fs::read_dir(root.join("boot")).context("look for the kernel's image")?;
        let image = boot
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz"))
            .context("the package has no kernel image")?
            .path();
        let mut modules = BTreeMap::new();
        collect(&root.join("lib/modules"), &mut modules).context("look for kernel modules")?;
        Ok(Self { image, modules })
    }

    pub(in super::super) fn image(&self) -> &Path {
        &self.image
    }

    /// The files of these modules and of all they depend on, in an order in which they can be loaded.
    pub(super) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for name in names {
            self.load(name, &mut files)?;
        }
        Ok(files)
    }

    fn load(&self, name: &str, files: &mut Vec<PathBuf>) -> Result<()> {
        let file = self.modules.get(&canonical(name));
        let file = file.with_context(|| format!("the kernel has no module {name}"))?;
        if files.contains(file) {
            return Ok(());
        }
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        for dependency in dependencies(&bytes) {
            self.load(&dependency, files)?;
        }
        files.push(file.clone());
        Ok(())
    }
}

fn collect(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, modules)?;
        } else if let Some(stem) = path.file_stem()
            && path.extension().is_some_and(|end| end == "ko")
        {
            modules.insert(canonical(&stem.to_string_lossy()), path);
        }
    }
    Ok(())
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// From the module's section `.modinfo`, which is what depmod(8) reads: strings, each ended by a zero.
fn dependencies(module: &[u8]) -> Vec<String> {
    let list = module
        .split(|byte| *byte == 0)
        .find_map(|string| string.strip_prefix(b"depends="))
        .unwrap_or_default();
    String::from_utf8_lossy(list)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

const PACKAGES: Packages = Packages {
    suite: "bookworm",
    directory: "kernel",
    selection: Selection::DependenciesOf("linux-image-cloud-amd64"),
};

/// Kernel modules that dockerd, the firewalls of the lab and dtap would have loaded by themselves.
pub const ENGINE_MODULES: [&str; 35] = [
    "br_netfilter",
    "bridge",
    "dummy",
    "ip_set",
    "ip_set_hash_net",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_objref",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "overlay",
    "tun",
    "veth",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_mark",
    "xt_multiport",
    "xt_nat",
    "xt_set",
    "xt_tcpudp",
];

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn a_module_says_what_it_depends_on() {
        let module = b"\x7fELF\0\0alias=rtnl-link-bridge\0depends=stp,llc\0retpoline=Y\0";
        assert_eq!(dependencies(module), ["stp", "llc"]);
        assert_eq!(dependencies(b"license=GPL\0depends=\0"), [""; 0]);
    }
}
