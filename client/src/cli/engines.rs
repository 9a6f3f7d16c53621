//! `--context` and `--docker-host`: which engines, in the order they are given.
//!
//! By hand, because derived arguments lose the order between two flags.

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::docker::Selection;

/// The engines the user names; none means the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EngineChoice {
    named: Vec<Selection>,
}

impl EngineChoice {
    pub(crate) fn new(contexts: Vec<String>, hosts: Vec<String>) -> Self {
        let contexts = contexts.into_iter().map(Selection::Context);
        Self {
            named: contexts
                .chain(hosts.into_iter().map(Selection::Host))
                .collect(),
        }
    }

    /// What is named here, else what is named there.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        if self.named.is_empty() { other } else { self }
    }

    pub(crate) const fn is_default(&self) -> bool {
        self.named.is_empty()
    }

    /// At least one.
    pub(crate) fn selections(self) -> Vec<Selection> {
        if self.named.is_empty() {
            return vec![Selection::Default];
        }
        self.named
    }
}

impl FromArgMatches for EngineChoice {
    /// Flags win over all variables: who names one engine does not mean another, too.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let flags = given(matches, ValueSource::CommandLine);
        if !flags.named.is_empty() {
            return Ok(flags);
        }
        Ok(given(matches, ValueSource::EnvVariable))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for EngineChoice {
    fn augment_args(command: Command) -> Command {
        let repeatable = |arg: Arg| {
            arg.action(ArgAction::Append)
                .value_delimiter(',')
                .value_parser(ValueParser::string())
        };
        let context = Arg::new(CONTEXT)
            .long("context")
            .value_name("NAME")
            .env("DTAP_CONTEXT")
            .help("Docker context; the current one of the user who called sudo by default; repeatable");
        let host = Arg::new(DOCKER_HOST)
            .long("docker-host")
            .value_name("URL")
            .env("DTAP_DOCKER_HOST")
            .help("URL of a Docker engine: unix://, tcp:// or ssh://; repeatable");
        command.arg(repeatable(context)).arg(repeatable(host))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn given(matches: &ArgMatches, source: ValueSource) -> EngineChoice {
    let mut found = Vec::new();
    for (id, selection) in KINDS {
        if matches.value_source(id) != Some(source) {
            continue;
        }
        let places = matches.indices_of(id).into_iter().flatten();
        let values = matches.get_many::<String>(id).into_iter().flatten();
        // A variable that is empty counts as absent.
        let meant = places
            .zip(values)
            .filter(|(_, value)| source == ValueSource::CommandLine || !value.is_empty());
        found.extend(meant.map(|(place, value)| (place, selection(value.clone()))));
    }
    found.sort_by_key(|(place, _)| *place);
    EngineChoice {
        named: found.into_iter().map(|(_, selection)| selection).collect(),
    }
}

const CONTEXT: &str = "context";
const DOCKER_HOST: &str = "docker_host";
const KINDS: [(&str, fn(String) -> Selection); 2] = [
    (CONTEXT, Selection::Context),
    (DOCKER_HOST, Selection::Host),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> EngineChoice {
        let command = EngineChoice::augment_args(Command::new("test").no_binary_name(true));
        let matches = command.get_matches_from(arguments);
        EngineChoice::from_arg_matches(&matches).unwrap()
    }

    fn context(name: &str) -> Selection {
        Selection::Context(name.into())
    }

    fn host(url: &str) -> Selection {
        Selection::Host(url.into())
    }

    #[test]
    fn engines_keep_the_order_of_the_command_line() {
        let mixed = parsed(&[
            "--context",
            "a",
            "--docker-host=ssh://vm",
            "--context",
            "b,c",
            "--docker-host",
            "unix:///d.sock",
        ]);
        let expected = [
            context("a"),
            host("ssh://vm"),
            context("b"),
            context("c"),
            host("unix:///d.sock"),
        ];
        assert_eq!(mixed.selections(), expected);
    }

    #[test]
    fn without_a_name_it_is_the_default_engine() {
        assert!(parsed(&[]).is_default());
        assert_eq!(parsed(&[]).selections(), [Selection::Default]);
    }
}
