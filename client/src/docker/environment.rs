//! Who the user is, and what surrounds them.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{self, Uid};

/// All that decides which engine is meant, apart from the user's flags.
#[derive(Clone, Debug)]
pub struct Environment {
    /// This process's environment variables.
    pub variables: BTreeMap<String, String>,
    pub user: User,
    /// Where the user's session keeps its sockets, `$XDG_RUNTIME_DIR`.
    pub runtime_directory: PathBuf,
    /// Where an engine of the whole machine listens.
    pub system_socket: PathBuf,
}

/// The user whose Docker is meant: who called sudo, else who runs this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl Environment {
    /// The environment of this process.
    pub fn current() -> Result<Self> {
        let variables = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let user = user(&variables)?;

        Ok(Self {
            runtime_directory: runtime_directory(&variables, &user),
            variables,
            user,
            system_socket: "/var/run/docker.sock".into(),
        })
    }

    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name)?;

        Some(value.as_str()).filter(|it| !it.is_empty())
    }

    /// Where the user's Docker configuration is: `$DOCKER_CONFIG`, else `~/.docker`.
    pub(super) fn configuration(&self) -> PathBuf {
        match self.variable("DOCKER_CONFIG") {
            Some(directory) => directory.into(),
            None => self.user.home.join(".docker"),
        }
    }
}

fn user(variables: &BTreeMap<String, String>) -> Result<User> {
    if let Some(caller) = sudo_caller(variables) {
        return account(caller);
    }
    let user = account(unistd::geteuid())?;

    Ok(match variables.get("HOME") {
        Some(home) => User {
            home: home.into(),
            ..user
        },
        None => user,
    })
}

fn runtime_directory(variables: &BTreeMap<String, String>, user: &User) -> PathBuf {
    // With sudo the variable is missing or root's.
    let is_own = sudo_caller(variables).is_none();

    match variables.get("XDG_RUNTIME_DIR").filter(|_| is_own) {
        Some(directory) => directory.into(),
        None => Path::new("/run/user").join(user.uid.to_string()),
    }
}

/// Who called sudo, if this process is root by it.
fn sudo_caller(variables: &BTreeMap<String, String>) -> Option<Uid> {
    let uid = variables.get("SUDO_UID")?.parse().ok()?;

    unistd::geteuid().is_root().then_some(Uid::from_raw(uid))
}

fn account(uid: Uid) -> Result<User> {
    let account = unistd::User::from_uid(uid).with_context(|| format!("look up user {uid}"))?;
    let account = account.with_context(|| format!("look up user {uid}: there is no such user"))?;

    Ok(User {
        name: account.name,
        uid: uid.as_raw(),
        gid: account.gid.as_raw(),
        home: account.dir,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());

        pairs.iter().map(owned).collect()
    }

    #[test]
    fn with_sudo_the_user_is_who_called_it() {
        if !unistd::geteuid().is_root() {
            eprintln!("skipped: only root can have been called by sudo");
            return;
        }
        let nobody = unistd::User::from_name("nobody").unwrap().unwrap();
        let uid = nobody.uid.to_string();
        let user = user(&variables(&[("SUDO_UID", &uid), ("HOME", "/root")])).unwrap();

        assert_eq!(user.name, "nobody");
        assert_eq!(user.gid, nobody.gid.as_raw());
        assert_eq!(user.home, nobody.dir);
    }

    #[test]
    fn without_sudo_the_user_s_home_is_that_of_the_variable() {
        let user = user(&variables(&[("HOME", "/elsewhere")])).unwrap();

        assert_eq!(user.uid, unistd::geteuid().as_raw());
        assert_eq!(user.home, Path::new("/elsewhere"));
    }

    #[test]
    fn a_sudo_caller_without_an_account_is_named() {
        if !unistd::geteuid().is_root() {
            eprintln!("skipped: only root can have been called by sudo");
            return;
        }
        let error = user(&variables(&[("SUDO_UID", "4000000000")])).unwrap_err();

        assert!(error.to_string().contains("look up user 4000000000"));
    }
}
