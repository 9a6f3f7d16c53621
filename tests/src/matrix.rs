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
    /// Not reachable, and why in the words of `ls`.
    Explained(String),
    /// The engine could not make it, in its own words.
    Refused(String),
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
            Self::Explained(_) | Self::Refused(_) | Self::Absent => false,
        }
    }

    /// In dtap's words.
    fn reason(&self) -> Option<&String> {
        match self {
            Self::Tried { reason, .. } => reason.as_ref(),
            Self::Explained(reason) => Some(reason),
            Self::Refused(_) | Self::Absent => None,
        }
    }

    fn refusal(&self) -> Option<&String> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Tried { .. } | Self::Explained(_) | Self::Absent => None,
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
            Self::Explained(_) => f.write_str("explained"),
            Self::Refused(_) => f.write_str("(refused)"),
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
    text += &reasons(
        columns,
        "Unsupported, in the words of `status` and `ls`",
        Cell::reason,
    );
    text += &reasons(columns, "Refused by the engine itself", Cell::refusal);
    text
}

fn reasons(columns: &[Column], title: &str, reason: fn(&Cell) -> Option<&String>) -> String {
    let mut lines = Vec::new();
    for (row, kind) in KINDS.iter().enumerate() {
        let reasons = columns.iter().filter_map(|(_, cells)| reason(&cells[row]));
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
    format!("\n{title}:\n\n{}", lines.concat())
}

const HEAD: &str = "# Which networks are reachable on which engine

Made by the story `matrix` from real engines (`make matrix`). In each cell: ping, TCP, UDP, and all of them over IPv6, from
the host to a container by its own IP. ✔ works, ✘ does not, u is unsupported, – the container has no such address. Or in one word:
explained (it cannot be reached, and dtap says why), (refused) (the engine could not make it here), (none) (the engine knows no
such network).

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_refused_is_not_put_into_the_mouth_of_dtap() {
        let mut cells = vec![Cell::Absent; KINDS.len()];
        cells[0] = Cell::Refused("no such driver".into());
        cells[1] = Cell::Explained("no address".into());
        assert!(!cells.iter().any(Cell::is_hole));
        let table = render(&[("28".into(), cells)]);
        let row = |row: usize, cell: &str| format!("| {} | {cell} |\n", KINDS[row].title);
        assert!(table.contains(&row(0, "(refused)")), "{table}");
        assert!(table.contains(&row(1, "explained")), "{table}");
        let (said, refused) = table.split_once("Refused by the engine itself:").unwrap();
        let (_, said) = said
            .split_once("in the words of `status` and `ls`:")
            .unwrap();
        assert!(said.contains("no address") && !said.contains("no such driver"));
        assert!(refused.contains("no such driver") && !refused.contains("no address"));
    }
}
