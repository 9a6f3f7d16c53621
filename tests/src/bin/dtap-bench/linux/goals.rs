//! What dtap aims at: ratios within one run, because absolute figures are of one machine.

use super::iperf::Direction;
use super::results::{Measure, Results};
use super::subject::Subject;

/// One aim, and the figure it is judged by.
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) bound: Bound,
    pub(super) figure: fn(&Results) -> Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(super) fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }
}

pub(super) const GOALS: [Goal; 18] = [
    Goal {
        what: "TCP: dtap / boringtun",
        bound: Bound::AtLeast(9.0),
        figure: |it| faster(it, Subject::Dtap, Subject::Boringtun),
    },
    Goal {
        what: "TCP: dtap / gotatun",
        bound: Bound::AtLeast(5.0),
        figure: |it| faster(it, Subject::Dtap, Subject::Gotatun),
    },
    Goal {
        what: "TCP: dtap / ceiling",
        bound: Bound::AtLeast(0.55),
        figure: |it| faster(it, Subject::Dtap, Subject::Ceiling),
    },
    Goal {
        what: "TCP: container / dtap",
        bound: Bound::AtLeast(0.8),
        figure: |it| faster(it, Subject::Container, Subject::Dtap),
    },
    Goal {
        what: "TCP: L2 / container",
        bound: Bound::AtLeast(0.7),
        figure: |it| faster(it, Subject::L2, Subject::Container),
    },
    Goal {
        what: "TCP by the session, Gbit/s",
        bound: Bound::AtLeast(1.5),
        figure: |it| {
            worst(
                |way| it.median(Measure::Throughput, Subject::Session, way),
                f64::min,
            )
        },
    },
    Goal {
        what: "round trip by the session, µs",
        bound: Bound::AtMost(400.0),
        figure: |it| it.median(Measure::RoundTrip, Subject::Session, "in a row"),
    },
    Goal {
        what: "round trip: dtap − veth, µs",
        bound: Bound::AtMost(60.0),
        figure: |it| {
            let of = |subject| it.median(Measure::RoundTrip, subject, "in a row");
            Some(of(Subject::Dtap)? - of(Subject::Veth)?)
        },
    },
    Goal {
        what: "round trip with pauses: dtap − veth, µs",
        bound: Bound::AtMost(60.0),
        figure: |it| {
            let of = |subject| it.median(Measure::RoundTrip, subject, "idle");
            Some(of(Subject::Dtap)? - of(Subject::Veth)?)
        },
    },
    Goal {
        what: "round trip beside a TCP stream, µs",
        bound: Bound::AtMost(1000.0),
        figure: |it| it.median(Measure::RoundTrip, Subject::Dtap, "loaded"),
    },
    Goal {
        what: "small packets per second",
        bound: Bound::AtLeast(400e3),
        figure: |it| it.median(Measure::Packets, Subject::Dtap, "up"),
    },
    Goal {
        what: "CPU per GiB: dtap / the best peer",
        bound: Bound::AtMost(1.0),
        figure: |it| {
            let cost =
                |subject| worst(|way| it.median(Measure::ProcessCpu, subject, way), f64::max);
            let peers = Subject::PEERS.into_iter().filter_map(cost);
            Some(cost(Subject::Dtap)? / peers.reduce(f64::min)?)
        },
    },
    Goal {
        what: "memory of either end under load, MiB",
        bound: Bound::AtMost(24.0),
        figure: |it| {
            worst(
                |way| it.median(Measure::PeakMemory, Subject::Dtap, way),
                f64::max,
            )
        },
    },
    Goal {
        what: "wake-ups of the client per second when idle",
        bound: Bound::AtMost(2.0),
        figure: |it| it.median(Measure::Wakeups, Subject::Dtap, "near"),
    },
    Goal {
        what: "wake-ups of the server per second when idle",
        bound: Bound::AtMost(2.0),
        figure: |it| it.median(Measure::Wakeups, Subject::Dtap, "far"),
    },
    Goal {
        what: "TCP: 4 streams / 1 stream",
        bound: Bound::AtLeast(1.0),
        figure: |it| {
            let of = |streams| it.median(Measure::ThroughputByStreams, Subject::Dtap, streams);
            Some(of("4")? / of("1")?)
        },
    },
    Goal {
        what: "TCP: 1,000 peers / 1 peer",
        bound: Bound::AtLeast(0.8),
        figure: |it| {
            let of = |peers| it.median(Measure::ThroughputByPeers, Subject::Dtap, peers);
            Some(of("1000")? / of("1")?)
        },
    },
    Goal {
        what: "TCP without offloads: dtap / gotatun",
        bound: Bound::AtLeast(2.0),
        figure: |it| faster(it, Subject::Plain, Subject::Gotatun),
    },
];

/// How many times as fast one is as the other, in the worse direction.
pub(super) fn faster(results: &Results, one: Subject, other: Subject) -> Option<f64> {
    let of = |subject, way: &str| results.median(Measure::Throughput, subject, way);
    worst(|way| Some(of(one, way)? / of(other, way)?), f64::min)
}

/// Of both directions.
fn worst(figure: impl Fn(&str) -> Option<f64>, worse: fn(f64, f64) -> f64) -> Option<f64> {
    let [up, down] = Direction::BOTH.map(|it| figure(it.name()));
    Some(worse(up?, down?))
}
