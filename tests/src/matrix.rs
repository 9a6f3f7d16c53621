//! Which kind of network is reachable on which engine: the table of `tests/MATRIX.md`.

use std::fmt::{self, Write as _};

pub mod kinds;
mod probe;

pub use kinds::{KINDS, Kind};
pub use probe::{prepare, probe};

/// What was seen of one kind of network on one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Ping, TCP, UDP, and all three over IPv6; and what dtap says of those that are unsupported.
    Tried {
        marks: [Mark; 4],
        reason: Option<String>,
    },
    /// In words of `status` or `ls`.
    Unsupported(String),
    /// The engine knows no such network.
    Absent,
}

/// Whether one way of reaching a container works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Works,
    Fails,
    /// It does not, and dtap says so.
    Unsupported,
    /// The container has no address for it.
    Absent,
}

impl Cell {
    /// Whether a user would be let down.
    pub fn is_hole(&self) -> bool {
        match self {
            Self::Tried { marks, .. } => {
                marks.contains(&Mark::Fails) || !marks.contains(&Mark::Works)
            }
            Self::Unsupported(_) | Self::Absent => false,
        }
    }

    fn reason(&self) -> Option<&String> {
        match self {
            Self::Tried { reason, .. } => reason.as_ref(),
            Self::Unsupported(reason) => Some(reason),
            Self::Absent => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tried { marks, .. } => {
                let marks = marks.map(|it| it.to_string());
                f.write_str(&marks.join(" "))
            }
            Self::Unsupported(_) => f.write_str("unsupported"),
            Self::Absent => f.write_str("(none)"),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Works => "✔",
            Self::Fails => "✘",
            Self::Unsupported => "u",
            Self::Absent => "–",
        })
    }
}

/// One engine's column: its heading, and a cell for each of [`KINDS`].
pub type Column = (String, Vec<Cell>);

/// The table as Markdown, with the reasons below it.
pub fn render(columns: &[Column]) -> String {
    let mut text = String::from(HEAD);
    let headings: Vec<_> = columns
        .iter()
        .map(|(heading, _)| heading.as_str())
        .collect();
    let _ = writeln!(text, "| network | {} |", headings.join(" | "));
    let _ = writeln!(text, "| --- |{}", " --- |".repeat(columns.len()));
    for (row, kind) in KINDS.iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|(_, it)| it[row].to_string()).collect();
        let _ = writeln!(text, "| {} | {} |", kind.title, cells.join(" | "));
    }
    text + &reasons(columns)
}

fn reasons(columns: &[Column]) -> String {
    let mut lines = Vec::new();
    for (row, kind) in KINDS.iter().enumerate() {
        let reasons = columns.iter().filter_map(|(_, cells)| cells[row].reason());
        for reason in reasons {
            let line = format!("- {}: {reason}\n", kind.title);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "\nUnsupported, in the words of `status` and `ls`:\n\n{}",
        lines.concat()
    )
}

const HEAD: &str = "# Which networks are reachable on which engine

Made by the story `matrix` from real engines (`make matrix`). In each cell: ping, TCP, UDP, and all of them over IPv6, from
the host to a container by its own IP. ✔ works, ✘ does not, u is unsupported, – the container has no such address, (none) the engine
knows no such network.

";
