//! What was measured: samples, of which medians are told.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::subject::Subject;

/// What a figure is of, and in which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measure {
    Throughput,
    ThroughputByStreams,
    ThroughputByPeers,
    RoundTrip,
    Packets,
    ProcessCpu,
    MachineCpu,
    PeakMemory,
    IdleMemory,
    IdleCpu,
    Wakeups,
    PeerMemory,
    Lookup,
}

impl Measure {
    /// Its name in the report.
    const fn key(self) -> &'static str {
        match self {
            Self::Throughput => "throughput_gbps",
            Self::ThroughputByStreams => "throughput_by_streams_gbps",
            Self::ThroughputByPeers => "throughput_by_peers_gbps",
            Self::RoundTrip => "round_trip_us",
            Self::Packets => "packets_per_second",
            Self::ProcessCpu => "process_cpu_seconds_per_gib",
            Self::MachineCpu => "machine_cpu_seconds_per_gib",
            Self::PeakMemory => "peak_memory_mib",
            Self::IdleMemory => "idle_memory_mib",
            Self::IdleCpu => "idle_cpu_percent",
            Self::Wakeups => "idle_wakeups_per_second",
            Self::PeerMemory => "memory_per_peer_kib",
            Self::Lookup => "lookup_ns",
        }
    }
}

/// All samples of one run.
#[derive(Debug, Default)]
pub(super) struct Results {
    samples: BTreeMap<(Measure, Subject, String), Vec<f64>>,
}

impl Results {
    pub(super) fn add(&mut self, measure: Measure, subject: Subject, case: &str, sample: f64) {
        let samples = self.samples.entry((measure, subject, case.to_owned()));
        samples.or_default().push(sample);
    }

    pub(super) fn median(&self, measure: Measure, subject: Subject, case: &str) -> Option<f64> {
        median(self.samples.get(&(measure, subject, case.to_owned()))?)
    }

    /// The cases of a measure that there are samples of, such as numbers of peers.
    pub(super) fn cases(&self, measure: Measure, subject: Subject) -> Vec<&str> {
        let keys = self.samples.keys();
        let cases = keys.filter(|(of, by, _)| (*of, *by) == (measure, subject));
        cases.map(|(_, _, case)| case.as_str()).collect()
    }

    /// Medians by measure, subject and case.
    pub(super) fn to_json(&self) -> Value {
        let mut all = json!({});
        for ((measure, subject, case), samples) in &self.samples {
            all[measure.key()][subject.name()][case] = median(samples).map(rounded).into();
        }
        all
    }
}

pub(super) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let above = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        0 => Some(f64::midpoint(sorted[sorted.len() / 2 - 1], above)),
        _ => Some(above),
    }
}

/// To what is meaningful of a measurement: four digits.
fn rounded(figure: f64) -> f64 {
    format!("{figure:.3e}").parse().unwrap_or(figure)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_odd_sample_does_not_move_the_median() {
        assert_eq!(median(&[3.0, 1.0, 100.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }
}
