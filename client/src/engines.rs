//! The engines the user means, and where each is from moment to moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::docker::{self, Choice, Endpoint, Environment, Selection, Target};

/// One engine of the user's choice. Its context may lead elsewhere later.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    selection: Selection,
    naming: Naming,
    environment: Arc<Environment>,
}

/// An engine of the running client, in its own words: a connection's name does not tell where its engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    /// Unknown where nobody has chosen one and none has been found yet.
    pub(crate) endpoint: Option<Endpoint>,
}

/// What an engine given by URL is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Default,
    ByUrl,
}

/// How long a change of context may go unnoticed; each look reads two small files.
const LOOK: Duration = Duration::from_secs(1);

/// The sources of these engines.
///
/// # Errors
/// One sentence with the fix: an unknown context, a malformed URL, or the same engine twice.
pub(crate) fn sources(selections: &[Selection], environment: Environment) -> Result<Vec<Source>> {
    let environment = Arc::new(environment);
    let naming = match selections {
        [_] => Naming::Default,
        _ => Naming::ByUrl,
    };
    let mut sources = Vec::new();
    let mut known = BTreeMap::new();
    for selection in selections {
        let source = Source {
            selection: selection.clone(),
            naming,
            environment: environment.clone(),
        };
        if let Choice::Named { endpoint, .. } = source.choose()? {
            let twin = known.insert(endpoint.identity(), selection);
            if twin == Some(selection) {
                bail!("{} is named twice: name it once", described(selection));
            }
            if let Some(twin) = twin {
                bail!(
                    "{} and {} are the same engine at {endpoint}: name it once",
                    described(twin),
                    described(selection)
                );
            }
        }
        sources.push(source);
    }
    Ok(sources)
}

impl Source {
    /// What to call it before it is known where it leads.
    pub(crate) fn name(&self) -> String {
        match self.choose() {
            Ok(Choice::Named { name, .. }) => name,
            Ok(Choice::WellKnown) | Err(_) => DEFAULT.to_owned(),
        }
    }

    pub(crate) fn choose(&self) -> Result<Choice> {
        let choice = docker::choose(&self.selection, &self.environment)?;
        Ok(match (choice, &self.selection, self.naming) {
            (Choice::Named { endpoint, .. }, Selection::Host(_), Naming::ByUrl) => Choice::Named {
                name: endpoint.to_string(),
                endpoint,
            },
            (choice, _, _) => choice,
        })
    }

    /// The engine to connect to.
    pub(crate) fn target(&self, choice: Choice) -> Result<Target> {
        choice.target(&self.environment)
    }

    /// Whether the user has chosen an engine elsewhere since.
    ///
    /// A context that cannot be read any more is no such choice, nor is a well-known engine that appears beside the
    /// one in use.
    pub(crate) fn is_elsewhere(&self, before: &Choice) -> bool {
        match self.choose() {
            Ok(now) => differ(before, &now),
            Err(error) => {
                tracing::debug!("cannot read the context now: {error:#}");
                false
            }
        }
    }

    /// Returns once that is so.
    pub(crate) async fn leads_elsewhere(self, before: Choice) {
        if self.selection.is_final(&self.environment) {
            return std::future::pending().await;
        }
        while !self.is_elsewhere(&before) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Chosen {
    /// The engine to connect to.
    pub(crate) fn target(self, environment: &Environment) -> Result<Target> {
        let Self { name, endpoint } = self;
        let endpoint = endpoint.with_context(|| {
            format!(
                "find the engine of connection '{name}': name it with --context or --docker-host"
            )
        })?;
        Choice::Named { name, endpoint }.target(environment)
    }
}

fn differ(before: &Choice, now: &Choice) -> bool {
    match (before, now) {
        (Choice::Named { endpoint: old, .. }, Choice::Named { endpoint: new, .. }) => old != new,
        (Choice::WellKnown, Choice::WellKnown) => false,
        (Choice::Named { .. }, Choice::WellKnown) | (Choice::WellKnown, Choice::Named { .. }) => {
            true
        }
    }
}

fn described(selection: &Selection) -> String {
    match selection {
        Selection::Default => "the default engine".to_owned(),
        Selection::Context(name) => format!("context '{name}'"),
        Selection::Host(url) => format!("'{url}'"),
    }
}

const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn environment(home: &Path) -> Environment {
        let mut environment = Environment::current().unwrap();
        environment.variables.clear();
        environment.user.home = home.to_owned();
        environment
    }

    fn context(home: &Path, name: &str, host: &str) -> Selection {
        let digest = format!("{:x}", Sha256::digest(name));
        let directory = home.join(".docker/contexts/meta").join(digest);
        std::fs::create_dir_all(&directory).unwrap();
        let meta = format!(r#"{{"Name":"{name}","Endpoints":{{"docker":{{"Host":"{host}"}}}}}}"#);
        std::fs::write(directory.join("meta.json"), meta).unwrap();
        Selection::Context(name.into())
    }

    fn host(url: &str) -> Selection {
        Selection::Host(url.into())
    }

    fn names(home: &Path, selections: &[Selection]) -> Vec<String> {
        let sources = sources(selections, environment(home)).unwrap();
        sources.iter().map(Source::name).collect()
    }

    #[test]
    fn several_engines_are_called_by_context_or_url_and_a_lone_url_is_the_default() {
        let home = tempfile::tempdir().unwrap();
        let a = context(home.path(), "a", "unix:///a.sock");
        assert_eq!(names(home.path(), &[host("ssh://vm")]), ["default"]);
        assert_eq!(
            names(home.path(), &[host("ssh://vm/x.sock"), a, host("ssh://vm")]),
            ["ssh://vm/x.sock", "a", "ssh://vm"]
        );
    }

    #[test]
    fn the_same_engine_twice_is_refused_with_both_its_names() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("a.sock");
        let link = home.path().join("link.sock");
        std::fs::write(&socket, "").unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let a = context(home.path(), "a", &format!("unix://{}", socket.display()));
        let link = host(&format!("unix://{}", link.display()));
        let error = sources(&[a, link], environment(home.path())).unwrap_err();
        let error = error.to_string();
        for words in ["context 'a'", "link.sock'", "the same engine", "once"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_same_name_twice_is_refused_too() {
        let home = tempfile::tempdir().unwrap();
        let twice = [host("ssh://vm"), host("ssh://vm")];
        let error = sources(&twice, environment(home.path())).unwrap_err();
        assert_eq!(error.to_string(), "'ssh://vm' is named twice: name it once");
    }

    #[test]
    fn an_unknown_context_among_several_is_named() {
        let home = tempfile::tempdir().unwrap();
        let a = context(home.path(), "a", "unix:///a.sock");
        let unknown = Selection::Context("b".into());
        let error = sources(&[a, unknown], environment(home.path())).unwrap_err();
        assert!(
            error.to_string().contains("'b': choose one of a"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_context_that_is_rewritten_leads_elsewhere_and_one_that_is_gone_does_not() {
        let home = tempfile::tempdir().unwrap();
        let a = context(home.path(), "a", "unix:///a.sock");
        let source = sources(&[a], environment(home.path())).unwrap().remove(0);
        let now = source.choose().unwrap();
        let patience = Duration::from_secs(10);
        let elsewhere =
            || tokio::time::timeout(patience, source.clone().leads_elsewhere(now.clone()));
        assert!(elsewhere().await.is_err());
        std::fs::remove_dir_all(home.path().join(".docker/contexts")).unwrap();
        assert!(elsewhere().await.is_err());
        context(home.path(), "a", "unix:///b.sock");
        elsewhere().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_current_context_is_followed_where_no_engine_is_named() {
        let home = tempfile::tempdir().unwrap();
        context(home.path(), "a", "unix:///a.sock");
        let source = sources(&[Selection::Default], environment(home.path()))
            .unwrap()
            .remove(0);
        let before = source.choose().unwrap();
        assert_eq!(before, Choice::WellKnown);
        let current = r#"{"currentContext":"a"}"#;
        std::fs::write(home.path().join(".docker/config.json"), current).unwrap();
        source.clone().leads_elsewhere(before).await;
        assert_eq!(source.name(), "a");
    }
}
