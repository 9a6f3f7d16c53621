//! When to list and plan: soon after something happened, and not so often that it costs more than it gives.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A listing that has been asked for, and the last one.
#[derive(Debug)]
pub(super) struct Pace {
    wake: Option<Instant>,
    began: Instant,
    /// None begins before.
    rested: Instant,
}

/// Between two plans lies this many times what the last one cost, so that an engine with many events and containers
/// keeps no core busy.
const IDLE_SHARE: u32 = 4;
const LONGEST_REST: Duration = Duration::from_millis(500);

impl Pace {
    /// A listing begins now.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self {
            wake: None,
            began: now,
            rested: now,
        }
    }

    /// Asks for a listing within this time, or as soon as the last one's cost allows.
    pub(super) fn wake_within(&mut self, time: Duration) {
        let latest = (Instant::now() + time).max(self.rested);
        self.wake = Some(self.wake.map_or(latest, |wake| wake.min(latest)));
    }

    /// Returns when the listing that was asked for is due; pending where none was.
    pub(super) async fn due(&self) {
        match self.wake {
            Some(wake) => sleep_until(wake).await,
            None => std::future::pending().await,
        }
    }

    /// It begins; what happens from now on asks for another.
    pub(super) fn listing(&mut self) {
        self.wake = None;
        self.began = Instant::now();
    }

    /// It has become a plan, and the plan is set.
    pub(super) fn planned(&mut self) {
        let now = Instant::now();
        let rest = (now - self.began) * IDLE_SHARE;
        self.rested = now + rest.min(LONGEST_REST);
        self.wake = self.wake.map(|wake| wake.max(self.rested));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const BURST: Duration = Duration::from_millis(30);
    const EVENT: Duration = Duration::from_millis(1);

    /// How many listings of this cost a second of one event per millisecond draws.
    async fn listings_in_a_storm(cost: Duration) -> u32 {
        let mut pace = Pace::begin();
        let end = Instant::now() + Duration::from_secs(1);
        let mut listings = 0;
        let mut next_event = Instant::now();
        while Instant::now() < end {
            tokio::select! {
                () = pace.due() => {
                    pace.listing();
                    let done = Instant::now() + cost;
                    while Instant::now() < done {
                        sleep(EVENT).await;
                        pace.wake_within(BURST);
                    }
                    pace.planned();
                    listings += 1;
                }
                () = sleep_until(next_event) => {
                    next_event = Instant::now() + EVENT;
                    pace.wake_within(BURST);
                }
            }
        }
        listings
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_event_is_served_at_once_whatever_the_last_plan_cost() {
        let mut pace = Pace::begin();
        advance(Duration::from_millis(300)).await;
        pace.planned();
        advance(LONGEST_REST).await;
        let event = Instant::now();
        pace.wake_within(BURST);
        pace.due().await;
        assert_eq!(event.elapsed(), BURST);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_storm_of_events_most_of_the_time_is_left_for_packets() {
        let cheap = listings_in_a_storm(Duration::from_millis(2)).await;
        assert!((20..=35).contains(&cheap), "{cheap}");
        let cost = Duration::from_millis(50);
        let dear = listings_in_a_storm(cost).await;
        assert!((3..=5).contains(&dear), "{dear}");
        assert!(cost * dear <= Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn even_the_dearest_plan_is_renewed_after_half_a_second() {
        let mut pace = Pace::begin();
        advance(Duration::from_secs(5)).await;
        pace.wake_within(Duration::ZERO);
        pace.planned();
        let planned = Instant::now();
        pace.due().await;
        assert_eq!(planned.elapsed(), LONGEST_REST);
    }
}
