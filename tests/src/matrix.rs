//! Which kind of network is reachable on which engine: the table of `tests/MATRIX.md`.

use std::fmt::{self, Write as _};

pub mod kinds;
mod probe;

pub use kinds::{KINDS, Kind};
pub use probe::{prepare, probe};

/// What was seen of one kind of network on one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Whether each way of reaching a container works; `None` where it has no address for it.
    Tried {
        ping: Option<bool>,
        tcp: Option<bool>,
        udp: Option<bool>,
        /// All three over IPv6.
        v6: Option<bool>,
    },
    /// In words of `status` or `ls`.
    Unsupported(String),
    /// The engine knows no such network.
    Absent,
}

impl Cell {
    /// Whether a user would be let down.
    pub fn is_hole(&self) -> bool {
        match self {
            Self::Tried { ping, tcp, udp, v6 } => {
                let all = [ping, tcp, udp, v6];
                all.contains(&&Some(false)) || all.iter().all(|it| it.is_none())
            }
            Self::Unsupported(_) | Self::Absent => false,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = |seen: &Option<bool>| match seen {
            Some(true) => "✔",
            Some(false) => "✘",
            None => "–",
        };
        match self {
            Self::Tried { ping, tcp, udp, v6 } => {
                let marks = [ping, tcp, udp, v6].map(mark);
                f.write_str(&marks.join(" "))
            }
            Self::Unsupported(_) => f.write_str("unsupported"),
            Self::Absent => f.write_str("(none)"),
        }
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
        let reasons = columns.iter().filter_map(|(_, cells)| match &cells[row] {
            Cell::Unsupported(reason) => Some(reason),
            Cell::Tried { .. } | Cell::Absent => None,
        });
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
the host to a container by its own IP. ✔ works, ✘ does not, – the container has no such address, (none) the engine
knows no such network.

";
