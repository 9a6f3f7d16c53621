//! Throughput as bars, in SVG.

use std::fmt::Write as _;

use super::iperf::Direction;
use super::results::{Measure, Results};
use super::subject::Subject;

const WIDTH: f64 = 760.0;
/// Where the bars begin.
const LEFT: f64 = 120.0;
/// Behind the longest bar, for its figure.
const RIGHT: f64 = 60.0;
const TOP: f64 = 64.0;
const BAR: f64 = 13.0;
const ROW: f64 = 40.0;
const INK: &str = "#1f2328";
const COLOURS: [&str; 2] = ["#0b6e99", "#7cc4e4"];

/// A pair of bars for each of these that was measured.
pub(super) fn throughput(subjects: &[Subject], results: &Results) -> String {
    let both = |subject| {
        let [up, down] =
            Direction::BOTH.map(|way| results.median(Measure::Throughput, subject, way.name()));
        Some((subject, [up?, down?]))
    };
    let rows: Vec<_> = subjects.iter().copied().filter_map(both).collect();
    let longest = rows.iter().flat_map(|(_, both)| both).copied();
    let longest = longest.fold(f64::MIN_POSITIVE, f64::max);
    let height = TOP + ROW * rows.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"16\" font-weight=\"600\">One TCP stream through the tunnel, Gbit/s</text>\n"
    );
    for (number, colour) in COLOURS.iter().enumerate() {
        let x = LEFT + 190.0 * number as f64;
        let legend = ["from the host", "to the host"][number];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"40\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"51\">{legend}</text>",
            x + 18.0
        );
    }
    for (row, (subject, both)) in rows.iter().enumerate() {
        let y = TOP + ROW * row as f64 + 6.0;
        let weight = if *subject == Subject::Dtap { 700 } else { 400 };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-weight=\"{weight}\">{subject}</text>",
            LEFT - 10.0,
            y + BAR + 4.0
        );
        for (number, gbps) in both.iter().enumerate() {
            let y = y + (BAR + 1.0) * number as f64;
            let length = (gbps / longest * (WIDTH - LEFT - RIGHT)).max(1.0);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\">{gbps:.2}</text>",
                COLOURS[number],
                LEFT + length + 6.0,
                y + BAR - 2.5
            );
        }
    }
    svg + "</svg>\n"
}
