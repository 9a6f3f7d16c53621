//! `tap status`.

use std::process::ExitCode;

use anyhow::Result;
use dtap_shim::{Mac, Nic};
use serde::Serialize;

use super::Root;
use super::change::Becomes;
use super::facts::{Facts, locate};
use super::hyperkit::Content;
use super::plan::{self, Refusal, Wish};
use crate::docker::Environment;
use crate::stdout::{print, say};
use crate::table;

#[derive(Debug, Serialize)]
struct Status {
    /// Why this carrier cannot be had.
    unavailable: Option<String>,
    hyperkit: Option<String>,
    docker_version: Option<String>,
    shim: Shim,
    nics: Vec<NicStatus>,
    /// What `tap install` would put right.
    repairs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Shim {
    Installed,
    /// An update of Docker has put HyperKit back.
    Replaced,
    Absent,
}

#[derive(Debug, Serialize)]
struct NicStatus {
    interface: String,
    mac: String,
}

pub(super) fn command(root: &Root, json: bool) -> Result<ExitCode> {
    let user = Environment::current()?.user;
    let facts = Facts::gather(root, &user, locate(root, &user)?.as_ref())?;
    let status = Status::of(&facts);
    match json {
        true => say(&serde_json::to_string(&status)?),
        false => print(&status.rendered()),
    }
    Ok(match status.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The NICs that the VM has from its next start on.
fn nics(facts: &Facts) -> Vec<Nic> {
    facts.installed().map(|it| it.nics).unwrap_or_default()
}

impl Status {
    fn of(facts: &Facts) -> Self {
        let hyperkit = facts.hyperkit.as_ref();
        let is_known = facts.record.is_some() || facts.memory.is_some();
        let shim = match hyperkit.map(|it| it.file.content) {
            Some(Content::Shim) => Shim::Installed,
            Some(_) if is_known => Shim::Replaced,
            Some(_) | None => Shim::Absent,
        };
        // An empty shim stands for the one that would be put there: nothing is written.
        let wish = Wish {
            nics: None,
            shim: (shim != Shim::Installed).then_some(&[]),
            user: None,
        };
        let (unavailable, changes) = match plan::install(facts, &wish, || Mac([2, 0, 0, 0, 0, 0])) {
            Ok((_, changes)) => (None, changes),
            Err(refusal) => (Some(refusal), Vec::new()),
        };
        let is_owner = |it: &Becomes| matches!(it, Becomes::Owned(_));
        let changes = changes
            .into_iter()
            .filter(|it| shim == Shim::Installed || !is_owner(&it.becomes));
        let repairs = match shim {
            Shim::Absent => Vec::new(),
            Shim::Installed | Shim::Replaced => changes.map(|it| it.what).collect(),
        };
        let nic = |nic: Nic| NicStatus {
            interface: nic.interface(),
            mac: nic.mac.to_string(),
        };
        Self {
            unavailable: unavailable.as_ref().map(Refusal::to_string),
            hyperkit: hyperkit.map(|it| it.place.display().to_string()),
            docker_version: hyperkit.and_then(|it| it.version.clone()),
            shim,
            nics: nics(facts).into_iter().map(nic).collect(),
            repairs,
        }
    }

    fn is_sound(&self) -> bool {
        self.unavailable.is_none() && self.shim == Shim::Installed && self.repairs.is_empty()
    }

    fn rendered(&self) -> String {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: &str| rows.push(vec![name.to_owned(), value.to_owned()]);
        match &self.unavailable {
            None => row("carrier", "available"),
            Some(reason) => row("carrier", &format!("not available: {reason}")),
        }
        if let Some(place) = &self.hyperkit {
            let version = self
                .docker_version
                .as_deref()
                .unwrap_or("of unknown version");
            row("hyperkit", &format!("{place} (Docker {version})"));
        }
        row(
            "shim",
            match self.shim {
                Shim::Installed => "installed",
                Shim::Replaced => {
                    "gone: an update of Docker has put HyperKit back; `sudo dtap-client tap install` repairs it"
                }
                Shim::Absent => "not installed",
            },
        );
        for NicStatus { interface, mac } in &self.nics {
            row("nic", &format!("{interface} {mac}"));
        }
        for repair in &self.repairs {
            row(
                "needs",
                &format!("{repair}: `sudo dtap-client tap install`"),
            );
        }
        table::render(&rows)
    }
}
