//! How many small UDP packets get through before any are lost.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::flood::{self, Sink};
use super::results::{Measure, Results};
use super::stage::{Contestant, Stage};
use super::subject::Subject;

const PORT: u16 = 5202;
const TIME: Duration = Duration::from_millis(400);
/// What is still on its way when the last has been sent.
const REST: Duration = Duration::from_millis(100);
const FIRST_RATE: f64 = 40e3;
const STEP: f64 = 1.4;
/// The search is over when what was lost and what was not are so near.
const NEAR: f64 = 1.06;
const LOWEST_RATE: f64 = 1e3;
/// One packet of so many may go astray on a machine that also does other things.
const LOST_OF: f64 = 1000.0;

pub(super) fn measure(
    stage: &Stage<'_>,
    contestant: &Contestant,
    results: &mut Results,
) -> Result<()> {
    let subject = contestant.subject;
    if matches!(subject, Subject::Exec | Subject::Container | Subject::L2) {
        return Ok(());
    }
    let sink = Sink::start(stage.lab.vm_namespace(), PORT)?;
    let to = SocketAddr::new(contestant.target.parse()?, PORT);
    let trial = |rate: f64| -> Result<Option<f64>> {
        sink.counted();
        let sent = flood::run(stage.lab.mac_namespace(), to, rate, TIME)? as f64;
        std::thread::sleep(REST);
        let received = sink.counted() as f64;
        let whole = (sent - received) * LOST_OF <= sent;
        Ok(whole.then_some(received / TIME.as_secs_f64()))
    };
    let known = results.median(Measure::Packets, subject, "up");
    let most = search(known.map_or(FIRST_RATE, |it| it / STEP), trial)?;
    results.add(Measure::Packets, subject, "up", most);
    Ok(())
}

/// What came through at the highest rate that `trial` confirmed; 0 if it confirmed none.
fn search(first: f64, trial: impl Fn(f64) -> Result<Option<f64>>) -> Result<f64> {
    let (mut whole, mut lossy) = (None, None);
    let (mut best, mut rate) = (0.0_f64, first);
    loop {
        match trial(rate)? {
            // The generator can do no more.
            Some(received) if received < rate * 0.9 => return Ok(best.max(received)),
            Some(received) => {
                best = best.max(received);
                whole = Some(rate);
            }
            None => lossy = Some(rate),
        }
        rate = match (whole, lossy) {
            (Some(whole), Some(lossy)) if lossy / whole < NEAR => return Ok(best),
            (Some(whole), Some(lossy)) => f64::sqrt(whole * lossy),
            (Some(whole), None) => whole * STEP,
            (None, _) if rate < LOWEST_RATE => return Ok(0.0),
            (None, _) => rate / STEP,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::search;

    #[test]
    fn the_search_ends_just_below_the_first_loss() {
        for capacity in [3e3, 90e3, 2e6] {
            let trial = |rate: f64| Ok((rate <= capacity).then_some(rate));
            let found = search(40e3, trial).unwrap();
            assert!(found <= capacity && found > capacity * 0.9, "{found}");
        }
    }

    #[test]
    fn a_generator_at_its_limit_ends_the_search() {
        assert_eq!(search(40e3, |rate| Ok(Some(rate.min(70e3)))).unwrap(), 70e3);
        assert_eq!(search(40e3, |_| Ok(None)).unwrap(), 0.0);
    }
}
