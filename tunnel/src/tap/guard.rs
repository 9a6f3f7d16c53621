//! Keeps a bridge with taps as ports free of loops.
//!
//! Whoever joins two taps of one network outside, or a tap and another port of
//! its bridge, closes a ring, in which a single broadcast would go round for
//! ever:
//!
//! ```text
//!  container ── bridge ── tap A ══ host ──┐
//!                 │                      LAN
//!                 └────── tap B ══ host ──┘
//! ```
//!
//! Each station has one home: the tap whose frames bear its address, or the
//! bridge. On a tree its frames come from nowhere else. So one that does, while
//! the station is heard at home, has gone round: it is dropped, and the tap it
//! came by is shut, for frames to it, too, as otherwise those of its own
//! stations still would come back to them. One tap at a time is shut, as what
//! shows at others may be what is left of the same ring; should there be another
//! ring, nothing goes round it until that is clear, as until then no frame goes
//! from tap to tap, nor later one to a single station, until a frame to a group
//! has shown whether it would come round. A station that moves is silent at home meanwhile.
//!
//! Spanning tree would ask the same of the bridge, which is Docker's: half a
//! minute of silence for each port, containers' included.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::TapId;
use crate::drops::Drop;

#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Hashed with a secret: strangers choose the keys.
    stations: HashMap<Address, Station>,
    ports: BTreeMap<TapId, Port>,
    /// Until then no other tap is shut, and no frame goes from tap to tap.
    settles: Option<Instant>,
    next_sweep: Option<Instant>,
}

type Address = [u8; 6];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Bridge,
    Tap(TapId),
}

#[derive(Debug)]
struct Station {
    home: Place,
    heard: Instant,
}

#[derive(Debug, Default)]
struct Port {
    stations: usize,
    /// Until then no frame passes.
    shut: Option<Instant>,
    /// For how long it is shut.
    penalty: Duration,
    trust: Trust,
    flood: Flood,
}

/// Whether a tap that may be part of a ring is known to be of none any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Proven,
    Suspect,
    /// A frame to a group was sent, which does not come round after this time.
    Tried(Instant),
}

/// How long a station is silent before it may live elsewhere. No frame takes
/// as long to go round.
const SILENCE: Duration = Duration::from_secs(2);
/// What is left of a ring that was cut has come round by then.
const SETTLING: Duration = Duration::from_secs(1);
/// How long a tap stays shut after a frame last came round by it: at first,
/// as a station may have moved all too quickly, and when that comes to be usual.
const LEAST_SHUT: Duration = Duration::from_secs(3);
const LONGEST_SHUT: Duration = Duration::from_secs(60);
/// As long as the kernel's bridge remembers addresses.
const AGE: Duration = Duration::from_secs(300);
const SWEEP: Duration = Duration::from_secs(10);
/// Behind one tap. Whoever claims to be more is not heard, as the memory of the
/// kernel's bridge has an end, too.
const MOST_STATIONS: usize = 1024;
/// On the bridge; more are not learnt.
const MOST_ON_BRIDGE: usize = 8192;

impl Guard {
    pub(super) fn add(&mut self, tap: TapId) {
        self.ports.insert(tap, Port::default());
    }

    pub(super) fn remove(&mut self, tap: TapId) {
        self.ports.remove(&tap);
        self.stations
            .retain(|_, station| station.home != Place::Tap(tap));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Whether a frame that came through the tunnel may enter the bridge.
    pub(super) fn enter(&mut self, tap: TapId, frame: &[u8], now: Instant) -> Result<(), Drop> {
        let (destination, source) = addresses(frame).ok_or(Drop::MalformedFrame)?;
        if is_group(source) {
            return Err(Drop::MalformedFrame);
        }
        let home = self.home(source, now);
        if home.is_some_and(|home| home != Place::Tap(tap) && !self.is_shut(home, now)) {
            self.shut(tap, now);
            return Err(Drop::Looped);
        }
        let port = self.ports.get_mut(&tap).ok_or(Drop::NoTap)?;
        if port.is_shut(now) {
            return Err(Drop::Looped);
        }
        if is_group(destination) && !port.flood.allows(now) {
            return Err(Drop::Flood);
        }
        self.hear(source, Place::Tap(tap), MOST_STATIONS, now)
    }

    /// Whether a frame that the bridge has for the tap may enter the tunnel.
    pub(super) fn leave(&mut self, tap: TapId, frame: &[u8], now: Instant) -> Result<(), Drop> {
        let (destination, source) = addresses(frame).ok_or(Drop::MalformedFrame)?;
        match self.home(source, now) {
            Some(Place::Tap(home)) if home == tap => {
                self.shut(tap, now);
                return Err(Drop::Looped);
            }
            // It came by another tap, which has heard it, and may be shut since.
            Some(Place::Tap(_)) if self.settles(now) => return Err(Drop::Looped),
            // Two bridges that have learnt each other's errors may hand a frame to
            // one station to and fro for ever, and it never looks strange.
            Some(Place::Tap(home))
                if !is_group(destination)
                    && [home, tap].iter().any(|it| self.is_suspect(*it, now)) =>
            {
                return Err(Drop::Looped);
            }
            Some(Place::Tap(_)) => {}
            // The bridge's containers are let through in any number.
            Some(Place::Bridge) | None => {
                let _ = self.hear(source, Place::Bridge, MOST_ON_BRIDGE, now);
            }
        }
        let port = self.ports.get_mut(&tap).ok_or(Drop::NoTap)?;
        if port.is_shut(now) {
            return Err(Drop::Looped);
        }
        if is_group(destination) && port.trust == Trust::Suspect {
            port.trust = Trust::Tried(now + SETTLING);
        }
        Ok(())
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.next_sweep.is_some_and(|due| now < due) {
            return;
        }
        self.next_sweep = Some(now + SWEEP);
        let ports = &mut self.ports;
        self.stations.retain(|_, station| {
            let is_young = now < station.heard + AGE;
            if let Place::Tap(tap) = station.home
                && !is_young
                && let Some(port) = ports.get_mut(&tap)
            {
                port.stations -= 1;
            }
            is_young
        });
    }

    /// Where a station lives, unless it may have moved.
    fn home(&self, address: Address, now: Instant) -> Option<Place> {
        let station = self.stations.get(&address)?;
        (now < station.heard + SILENCE).then_some(station.home)
    }

    fn is_shut(&self, place: Place, now: Instant) -> bool {
        match place {
            Place::Bridge => false,
            Place::Tap(tap) => self.ports.get(&tap).is_none_or(|port| port.is_shut(now)),
        }
    }

    /// Has heard a station at its home, or at its new one.
    fn hear(
        &mut self,
        address: Address,
        home: Place,
        most: usize,
        now: Instant,
    ) -> Result<(), Drop> {
        if let Some(station) = self.stations.get_mut(&address)
            && station.home == home
        {
            station.heard = now;
            return Ok(());
        }
        if self.count(home) >= most {
            return Err(Drop::TooManyStations);
        }
        let station = Station { home, heard: now };
        if let Some(Station {
            home: Place::Tap(old),
            ..
        }) = self.stations.insert(address, station)
            && let Some(port) = self.ports.get_mut(&old)
        {
            port.stations -= 1;
        }
        if let Place::Tap(tap) = home
            && let Some(port) = self.ports.get_mut(&tap)
        {
            port.stations += 1;
        }
        Ok(())
    }

    fn count(&self, home: Place) -> usize {
        let of_taps = |port: &Port| port.stations;
        match home {
            Place::Tap(tap) => self.ports.get(&tap).map_or(0, of_taps),
            Place::Bridge => self.stations.len() - self.ports.values().map(of_taps).sum::<usize>(),
        }
    }

    fn is_suspect(&self, tap: TapId, now: Instant) -> bool {
        let trust = self
            .ports
            .get(&tap)
            .map_or(Trust::Suspect, |port| port.trust);
        match trust {
            Trust::Proven => false,
            Trust::Suspect => true,
            Trust::Tried(until) => now < until,
        }
    }

    fn settles(&self, now: Instant) -> bool {
        self.settles.is_some_and(|until| now < until)
    }

    fn shut(&mut self, tap: TapId, now: Instant) {
        let settles = self.settles(now);
        let Some(port) = self.ports.get_mut(&tap) else {
            return;
        };
        if !port.is_shut(now) {
            port.trust = Trust::Suspect;
            if settles {
                return;
            }
            tracing::warn!(?tap, "frames come round: the tap is shut");
            self.settles = Some(now + SETTLING);
            port.penalty = match port.shut {
                Some(last) if now < last + LONGEST_SHUT => (port.penalty * 2).min(LONGEST_SHUT),
                Some(_) | None => LEAST_SHUT,
            };
        }
        port.shut = Some(now + port.penalty);
    }
}

impl Port {
    fn is_shut(&self, now: Instant) -> bool {
        self.shut.is_some_and(|until| now < until)
    }
}

/// Frames to groups, so many at once and per second. A ring that leads one way
/// only brings stations' own frames back to their home, which looks like
/// nothing; this is what it comes to.
#[derive(Debug)]
struct Flood {
    allowed: u32,
    counted: Option<Instant>,
}

/// More than any multicast stream has; a hundredth of what the tunnel carries.
const FLOOD: u32 = 4000;

impl Flood {
    fn allows(&mut self, now: Instant) -> bool {
        if self
            .counted
            .is_none_or(|from| now >= from + Duration::from_secs(1))
        {
            self.counted = Some(now);
            self.allowed = FLOOD;
        }
        let is_allowed = self.allowed > 0;
        self.allowed = self.allowed.saturating_sub(1);
        is_allowed
    }
}

impl Default for Flood {
    fn default() -> Self {
        Self {
            allowed: FLOOD,
            counted: None,
        }
    }
}

/// Destination and source.
fn addresses(frame: &[u8]) -> Option<(Address, Address)> {
    let (destination, rest) = frame.split_first_chunk()?;
    Some((*destination, *rest.first_chunk()?))
}

/// Whether it is of more than one station, as no source is.
const fn is_group(address: Address) -> bool {
    address[0] & 1 != 0
}

#[cfg(test)]
mod tests;
