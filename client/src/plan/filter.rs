//! Which networks the user wants: `--include` and `--exclude`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::docker::Network;

/// The user's choice of networks. Without any filter everything is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// If not empty, only what one of these matches is wanted.
    pub include: Vec<Filter>,
    /// What is not wanted, even if it is included.
    pub exclude: Vec<Filter>,
}

/// A network by its name, with `*` and `?` as wildcards, or by its subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Name(glob::Pattern),
    Subnet(IpNet),
}

/// An included network is on no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no network matches --include '{filter}': there are {present}; name one of them, or a CIDR that covers its subnet"
)]
pub struct Unmatched {
    filter: String,
    present: String,
}

/// The text is neither a CIDR nor a name that a Docker network can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "malformed filter '{text}': give a CIDR such as 172.18.0.0/16 or a network's name such as web or web*"
)]
pub struct MalformedFilter {
    text: String,
}

impl Filters {
    /// Whether everything to include is among these networks: what is not, is a slip of the pen.
    ///
    /// # Errors
    /// With the names there are.
    pub fn check(&self, networks: &[&Network]) -> Result<(), Unmatched> {
        let is_matched = |filter: &&Filter| networks.iter().any(|it| filter.matches(it));
        let Some(filter) = self.include.iter().find(|it| !is_matched(it)) else {
            return Ok(());
        };
        let own = networks.iter().filter(|it| !is_built_in(it));
        let names: BTreeSet<_> = own.map(|it| it.name.as_str()).collect();
        let names: Vec<_> = names.into_iter().collect();

        Err(Unmatched {
            filter: filter.to_string(),
            present: names.join(", "),
        })
    }

    /// Why a subnet of this network is not wanted, or `None` if it is.
    pub(super) fn rejection(&self, network: &Network, subnet: IpNet) -> Option<String> {
        if let Some(filter) = self.exclude.iter().find(|it| it.touches(network, subnet)) {
            return Some(format!("excluded by '{filter}'"));
        }
        let included = self.include.iter().any(|it| it.covers(network, subnet));

        (!self.include.is_empty() && !included)
            .then(|| "not among the included networks".to_owned())
    }
}

impl Filter {
    fn matches(&self, network: &Network) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(&network.name),
            Self::Subnet(prefix) => {
                let mut subnets = network.subnets.iter();
                !is_built_in(network) && subnets.any(|it| prefix.contains(&it.prefix))
            }
        }
    }

    fn touches(&self, network: &Network, subnet: IpNet) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(&network.name),
            Self::Subnet(prefix) => prefix.contains(&subnet) || subnet.contains(prefix),
        }
    }

    fn covers(&self, network: &Network, subnet: IpNet) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(&network.name),
            Self::Subnet(prefix) => prefix.contains(&subnet),
        }
    }
}

impl FromStr for Filter {
    type Err = MalformedFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedFilter {
            text: text.to_owned(),
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Subnet(address.into()));
        }
        if text.contains(['/', ':']) {
            let prefix: IpNet = text.parse().map_err(|_| malformed())?;
            return Ok(Self::Subnet(prefix.trunc()));
        }
        if text.is_empty() || !text.chars().all(is_of_a_name_pattern) {
            return Err(malformed());
        }

        glob::Pattern::new(text)
            .map(Self::Name)
            .map_err(|_| malformed())
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(pattern) => pattern.fmt(f),
            Self::Subnet(prefix) => prefix.fmt(f),
        }
    }
}

/// Every engine has `host` and `none`, which lead to no container.
fn is_built_in(network: &Network) -> bool {
    ["host", "null"].contains(&network.driver.as_str())
}

/// Docker's names match `[a-zA-Z0-9][a-zA-Z0-9_.-]*`; `*`, `?` and `[…]` are the pattern's own.
fn is_of_a_name_pattern(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-*?[]!".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::Subnet;

    fn network(name: &str) -> Network {
        Network {
            name: name.into(),
            ..Network::default()
        }
    }

    fn filters(include: &[&str], exclude: &[&str]) -> Filters {
        let parse = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect();
        Filters {
            include: parse(include),
            exclude: parse(exclude),
        }
    }

    fn is_wanted(filters: &Filters, name: &str, subnet: &str) -> bool {
        filters
            .rejection(&network(name), subnet.parse().unwrap())
            .is_none()
    }

    #[test]
    fn without_filters_everything_is_wanted() {
        assert!(is_wanted(&filters(&[], &[]), "web", "172.18.0.0/16"));
    }

    #[test]
    fn names_match_as_globs() {
        let filters = filters(&["shop_*"], &["*_test"]);

        assert!(is_wanted(&filters, "shop_front", "172.18.0.0/16"));
        assert!(!is_wanted(&filters, "shop_test", "172.18.0.0/16"));
        assert!(!is_wanted(&filters, "web", "172.18.0.0/16"));
    }

    #[test]
    fn an_included_cidr_covers_the_subnets_inside_it() {
        let filters = filters(&["172.16.0.0/12"], &[]);

        assert!(is_wanted(&filters, "web", "172.18.0.0/16"));
        assert!(!is_wanted(&filters, "web", "10.1.0.0/16"));
        assert!(!is_wanted(&filters, "web", "172.0.0.0/8"));
        assert!(!is_wanted(&filters, "web", "fd00::/64"));
    }

    #[test]
    fn an_excluded_cidr_rejects_every_subnet_it_shares_an_address_with() {
        let filters = filters(&[], &["172.18.5.0/24", "10.0.0.7"]);

        assert!(!is_wanted(&filters, "web", "172.18.0.0/16"));
        assert!(!is_wanted(&filters, "web", "172.18.5.128/25"));
        assert!(!is_wanted(&filters, "web", "10.0.0.0/24"));
        assert!(is_wanted(&filters, "web", "172.19.0.0/16"));
    }

    #[test]
    fn what_is_included_and_nowhere_is_told_what_there_is() {
        let with_subnet = |name: &str, driver: &str, subnet: &str| Network {
            driver: driver.into(),
            subnets: vec![Subnet {
                prefix: subnet.parse().unwrap(),
                gateway: None,
                range: None,
            }],
            ..network(name)
        };
        let web = with_subnet("web", "bridge", "172.18.0.0/16");
        let bridge = with_subnet("bridge", "bridge", "172.17.0.0/16");
        let host = with_subnet("host", "host", "10.0.0.0/8");
        let networks = [&web, &bridge, &host];

        for include in ["w*", "172.16.0.0/12", "web", "host"] {
            filters(&[include], &[]).check(&networks).unwrap();
        }
        for include in ["foo", "172.18.1.0/24", "10.0.0.0/8", "fd00::/8"] {
            let refused = filters(&["web", include], &[]).check(&networks);
            let error = refused.unwrap_err().to_string();
            let expected =
                format!("no network matches --include '{include}': there are bridge, web;");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn a_malformed_filter_is_refused_with_an_example() {
        for text in [
            "",
            "172.18.0.0/33",
            "172.18.0/16",
            "fd00::g/64",
            "a b",
            "[a",
            "web/",
        ] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains("172.18.0.0/16"), "{text}: {error}");
        }
    }
}
