//! The results as tables in Markdown, for people.

use std::fmt::Write as _;

use super::goals::{Bound, GOALS, faster};
use super::results::{Measure, Results};
use super::subject::Subject;

struct Column {
    heading: &'static str,
    figure: fn(&Results, Subject) -> Option<f64>,
    decimals: usize,
}

const COLUMNS: [Column; 13] = [
    Column {
        heading: "up Gbit/s",
        figure: |it, of| it.median(Measure::Throughput, of, "up"),
        decimals: 2,
    },
    Column {
        heading: "down Gbit/s",
        figure: |it, of| it.median(Measure::Throughput, of, "down"),
        decimals: 2,
    },
    Column {
        heading: "dtap is × as fast",
        figure: |it, of| faster(it, Subject::Dtap, of),
        decimals: 2,
    },
    Column {
        heading: "round trip µs",
        figure: |it, of| it.median(Measure::RoundTrip, of, "in a row"),
        decimals: 0,
    },
    Column {
        heading: "with pauses µs",
        figure: |it, of| it.median(Measure::RoundTrip, of, "idle"),
        decimals: 0,
    },
    Column {
        heading: "under load µs",
        figure: |it, of| it.median(Measure::RoundTrip, of, "loaded"),
        decimals: 0,
    },
    Column {
        heading: "1,000 packets/s",
        figure: |it, of| Some(it.median(Measure::Packets, of, "up")? / 1e3),
        decimals: 0,
    },
    Column {
        heading: "CPU s/GiB up",
        figure: |it, of| it.median(Measure::ProcessCpu, of, "up"),
        decimals: 2,
    },
    Column {
        heading: "down",
        figure: |it, of| it.median(Measure::ProcessCpu, of, "down"),
        decimals: 2,
    },
    Column {
        heading: "machine s/GiB up",
        figure: |it, of| it.median(Measure::MachineCpu, of, "up"),
        decimals: 2,
    },
    Column {
        heading: "down",
        figure: |it, of| it.median(Measure::MachineCpu, of, "down"),
        decimals: 2,
    },
    Column {
        heading: "peak MiB",
        figure: |it, of| {
            let of = |way| it.median(Measure::PeakMemory, of, way);
            Some(f64::max(of("up")?, of("down")?))
        },
        decimals: 0,
    },
    Column {
        heading: "idle wake-ups/s",
        figure: |it, of| {
            let of = |end| it.median(Measure::Wakeups, of, end);
            Some(f64::max(of("near")?, of("far")?))
        },
        decimals: 1,
    },
];

/// A row for each subject; a column for whatever was measured.
pub(super) fn of(subjects: &[Subject], results: &Results) -> String {
    let figures = |column: &Column| -> Vec<_> {
        let of = |subject: &Subject| (column.figure)(results, *subject);
        subjects.iter().map(of).collect()
    };
    let measured = COLUMNS.iter().map(|it| (it, figures(it)));
    let measured = measured.filter(|(_, figures)| figures.iter().any(Option::is_some));
    let measured: Vec<_> = measured.collect();
    if measured.is_empty() {
        return String::new();
    }
    let headings = measured.iter().map(|(column, _)| column.heading.to_owned());
    let mut rows = vec![std::iter::once(String::new()).chain(headings).collect()];
    for (row, subject) in subjects.iter().enumerate() {
        let cells = measured.iter().map(|(column, figures)| match figures[row] {
            Some(figure) => format!("{figure:.0$}", column.decimals),
            None => "–".to_owned(),
        });
        rows.push(std::iter::once(subject.to_string()).chain(cells).collect());
    }
    markdown(&rows)
}

/// A row for each goal of which something was measured.
pub(super) fn of_goals(results: &Results) -> String {
    let mut rows = vec![
        ["goal", "wanted", "measured", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for goal in &GOALS {
        let Some(figure) = (goal.figure)(results) else {
            continue;
        };
        let wanted = match goal.bound {
            Bound::AtLeast(bound) => format!("≥ {}", significant(bound)),
            Bound::AtMost(bound) => format!("≤ {}", significant(bound)),
        };
        let reached = if goal.bound.holds(figure) {
            "✓"
        } else {
            "✗"
        };
        let cells = [goal.what, &wanted, &significant(figure), reached];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    match rows.len() {
        1 => String::new(),
        _ => markdown(&rows),
    }
}

/// The curve of throughput over the number of peers.
pub(super) fn of_peers(results: &Results) -> String {
    let mut peers = results.cases(Measure::ThroughputByPeers, Subject::Dtap);
    if peers.is_empty() {
        return String::new();
    }
    peers.sort_by_key(|it| it.len());
    let heading = ["peers", "Gbit/s", "server KiB per peer", "lookup ns"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for case in peers {
        let figure = |measure, decimals| match results.median(measure, Subject::Dtap, case) {
            Some(figure) => format!("{figure:.decimals$}"),
            None => "–".to_owned(),
        };
        rows.push(vec![
            case.to_owned(),
            figure(Measure::ThroughputByPeers, 2),
            figure(Measure::PeerMemory, 1),
            figure(Measure::Lookup, 0),
        ]);
    }
    format!(
        "\n## Many peers of one server\n\nData from 100 of them at once.\n\n{}",
        markdown(&rows)
    )
}

/// The first column to the left, the others to the right.
fn markdown(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(*width);
                let end = if column == 0 { " " } else { ":" };
                let _ = write!(text, "| {dashes}{end}");
            }
            text.push_str("|\n");
        }
    }
    text
}

fn significant(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
