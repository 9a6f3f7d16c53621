//! Learning bridges, joined in rings.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Address, FLOOD, Guard, LEAST_SHUT, LONGEST_SHUT, MOST_STATIONS, SILENCE};
use crate::drops::Drop;
use crate::tap::TapId;
use crate::tests::start;

const EVERYBODY: Address = [0xff; 6];
/// The bridge with the guard.
const INNER: usize = 0;

const fn station(number: u8) -> Address {
    [2, 0, 0, 0, 0, number]
}

fn frame(to: Address, from: Address) -> Vec<u8> {
    [&to[..], &from[..], &[8, 6]].concat()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    to: Address,
    from: Address,
    number: usize,
}

#[derive(Debug, Clone, Copy)]
enum Wire {
    Station(Address),
    /// To a port of another bridge.
    Bridge {
        bridge: usize,
        port: usize,
        delay: Duration,
        tap: Option<TapId>,
    },
}

#[derive(Debug, Default)]
struct Bridge {
    wires: Vec<Wire>,
    learnt: HashMap<Address, usize>,
}

/// Bridges, what is under way between them, and what arrived.
#[derive(Debug)]
struct World {
    now: Instant,
    bridges: Vec<Bridge>,
    guard: Guard,
    under_way: BTreeMap<(Instant, usize), (usize, usize, Frame)>,
    frames: usize,
    events: usize,
    /// How often each frame has entered by a tap.
    entered: BTreeMap<usize, usize>,
    heard: Vec<(Address, usize)>,
}

impl World {
    fn new(bridges: usize) -> Self {
        Self {
            now: start(),
            bridges: (0..bridges).map(|_| Bridge::default()).collect(),
            guard: Guard::default(),
            under_way: BTreeMap::new(),
            frames: 0,
            events: 0,
            entered: BTreeMap::new(),
            heard: Vec::new(),
        }
    }

    fn settle(&mut self, bridge: usize, stations: &[u8]) {
        let wires = stations
            .iter()
            .map(|number| Wire::Station(station(*number)));
        self.bridges[bridge].wires.extend(wires);
    }

    /// Joins the guarded bridge with another, by a tap or without the guard.
    fn join(&mut self, outer: usize, delay: u64, tap: Option<u32>) {
        let tap = tap.map(TapId);
        if let Some(tap) = tap {
            self.guard.add(tap);
        }
        let delay = Duration::from_micros(delay);
        let ports = [INNER, outer].map(|bridge| self.bridges[bridge].wires.len());
        for (bridge, port, here) in [(outer, ports[1], INNER), (INNER, ports[0], outer)] {
            self.bridges[here].wires.push(Wire::Bridge {
                bridge,
                port,
                delay,
                tap,
            });
        }
    }

    /// Takes a tap's wire out at both ends.
    fn part(&mut self, tap: TapId) {
        for wire in self.bridges.iter_mut().flat_map(|it| &mut it.wires) {
            if matches!(wire, Wire::Bridge { tap: Some(it), .. } if *it == tap) {
                *wire = Wire::Station(station(99));
            }
        }
    }

    fn send(&mut self, from: u8, to: Address) -> usize {
        let from = station(from);
        let number = self.frames;
        self.frames += 1;
        let places = self.bridges.iter().enumerate().find_map(|(bridge, it)| {
            let lives = |wire: &Wire| matches!(wire, Wire::Station(address) if *address == from);
            Some((bridge, it.wires.iter().position(lives)?))
        });
        let (bridge, port) = places.unwrap();
        self.forward(bridge, port, Frame { to, from, number });
        number
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.under_way.first_entry()
            && next.key().0 <= end
        {
            self.now = next.key().0;
            let (bridge, port, frame) = next.remove();
            self.events += 1;
            assert!(self.events < 100_000, "it melts");
            self.arrive(bridge, port, frame);
        }
        self.now = end;
        self.guard.expire(end);
    }

    fn arrive(&mut self, bridge: usize, port: usize, frame: Frame) {
        if let Wire::Bridge { tap: Some(tap), .. } = self.bridges[bridge].wires[port]
            && bridge == INNER
        {
            let bytes = self::frame(frame.to, frame.from);
            if self.guard.enter(tap, &bytes, self.now).is_err() {
                return;
            }
            *self.entered.entry(frame.number).or_default() += 1;
        }
        self.forward(bridge, port, frame);
    }

    fn forward(&mut self, bridge: usize, port: usize, frame: Frame) {
        self.bridges[bridge].learnt.insert(frame.from, port);
        let known = self.bridges[bridge].learnt.get(&frame.to).copied();
        for other in 0..self.bridges[bridge].wires.len() {
            if other != port && known.is_none_or(|known| known == other) {
                self.emit(bridge, other, frame);
            }
        }
    }

    fn emit(&mut self, bridge: usize, port: usize, frame: Frame) {
        match self.bridges[bridge].wires[port] {
            Wire::Station(address) => {
                if frame.to == EVERYBODY || frame.to == address {
                    self.heard.push((address, frame.number));
                }
            }
            Wire::Bridge {
                bridge: to,
                port,
                delay,
                tap,
            } => {
                if let Some(tap) = tap.filter(|_| bridge == INNER) {
                    let bytes = self::frame(frame.to, frame.from);
                    if self.guard.leave(tap, &bytes, self.now).is_err() {
                        return;
                    }
                }
                let order = self.events + self.under_way.len();
                let mut key = (self.now + delay, order);
                while self.under_way.contains_key(&key) {
                    key.1 += 1;
                }
                self.under_way.insert(key, (to, port, frame));
            }
        }
    }

    fn has_heard(&self, address: u8, number: usize) -> bool {
        self.heard.contains(&(station(address), number))
    }

    /// As ARP and what follows it: asked, answered, sent.
    fn can_talk(&mut self, one: u8, other: u8) -> bool {
        let mut is_heard = |from, to: Address, by| {
            let number = self.send(from, to);
            self.run(Duration::from_millis(200));
            self.has_heard(by, number)
        };
        // What bridges have learnt from frames that went round is soon corrected.
        (0..3).any(|_| {
            is_heard(one, EVERYBODY, other)
                && is_heard(other, station(one), one)
                && is_heard(one, station(other), other)
        })
    }
}

/// Containers 1 and 2; stations 11 and 12 behind taps that are joined; station
/// 21 behind a tap of its own.
fn ring(delays: &[u64], has_other: bool) -> World {
    let mut world = World::new(3);
    world.settle(INNER, &[1, 2]);
    world.settle(1, &[11, 12]);
    for (tap, delay) in (0..).zip(delays) {
        world.join(1, *delay, Some(tap));
    }
    world.settle(2, &[21]);
    if has_other {
        world.join(2, 700, Some(100));
    }
    world
}

fn stations(has_other: bool) -> Vec<u8> {
    let mut all = vec![1, 2, 11, 12];
    all.extend(has_other.then_some(21));
    all
}

#[test]
fn a_tree_is_left_alone() {
    let mut world = ring(&[500], true);
    let stations = stations(true);
    for one in &stations {
        for other in stations.iter().filter(|other| *other != one) {
            assert!(world.can_talk(*one, *other), "{one} to {other}");
        }
    }
    let heard = world.heard.len();
    world.heard.dedup();
    assert_eq!(world.heard.len(), heard, "each once");
}

#[test]
fn a_ring_past_the_guard_is_cut_at_the_tap() {
    let mut world = ring(&[500], false);
    world.join(1, 300, None);
    world.send(1, EVERYBODY);
    world.send(11, EVERYBODY);
    world.run(Duration::from_secs(5));
    assert!(world.can_talk(1, 11) && world.can_talk(12, 2));
}

#[test]
fn a_ring_that_is_opened_again_is_forgotten() {
    let mut world = ring(&[500, 800], false);
    let broadcast = world.send(1, EVERYBODY);
    world.run(Duration::from_secs(5));
    assert!(world.has_heard(11, broadcast));
    let mut ports = world.guard.ports.iter();
    let (open, _) = ports.find(|(_, port)| port.shut.is_none()).unwrap();
    let open = *open;
    world.part(open);
    world.run(LONGEST_SHUT);
    assert!(world.can_talk(1, 11) && world.can_talk(12, 2));
}

#[test]
fn what_goes_to_one_station_does_not_go_round_a_tap_that_is_opened_again() {
    let mut world = ring(&[100, 100], false);
    for from in [12, 2, 1] {
        world.send(from, EVERYBODY);
    }
    world.run(LEAST_SHUT + Duration::from_millis(1));
    let number = world.send(11, station(12));
    world.run(Duration::from_millis(100));
    let entered = world.entered.get(&number);
    assert!(entered.is_none_or(|times| *times <= 2), "{entered:?}");
}

#[test]
fn a_station_that_moves_is_heard_again() {
    let mut guard = Guard::default();
    let (one, other) = (TapId(1), TapId(2));
    guard.add(one);
    guard.add(other);
    let hello = frame(EVERYBODY, station(7));
    let now = start();
    assert_eq!(guard.enter(one, &hello, now), Ok(()));
    assert_eq!(guard.enter(other, &hello, now + SILENCE), Ok(()));
    let later = now + SILENCE + SILENCE;
    assert_eq!(guard.leave(other, &hello, later), Ok(()), "to the bridge");
    assert_eq!(guard.enter(one, &hello, later), Err(Drop::Looped));
}

#[test]
fn stations_behind_a_tap_are_counted_until_they_are_forgotten() {
    let mut guard = Guard::default();
    let (one, other) = (TapId(1), TapId(2));
    guard.add(one);
    guard.add(other);
    let mut now = start();
    let hello = |number: usize| {
        let [.., a, b, c] = number.to_be_bytes();
        frame(station(1), [2, 1, 1, a, b, c])
    };
    for number in 0..MOST_STATIONS {
        assert_eq!(guard.enter(one, &hello(number), now), Ok(()));
    }
    let more = hello(MOST_STATIONS);
    assert_eq!(guard.enter(one, &more, now), Err(Drop::TooManyStations));
    assert_eq!(guard.enter(one, &hello(0), now), Ok(()));
    assert_eq!(guard.enter(other, &more, now), Ok(()), "not its fault");
    now += super::AGE;
    guard.expire(now);
    assert_eq!(guard.stations.len(), 0);
    assert_eq!(guard.enter(one, &more, now), Ok(()));
    guard.remove(one);
    assert_eq!(guard.stations.len(), 0);
}

#[test]
fn a_flood_to_groups_is_limited_and_nothing_else() {
    let mut guard = Guard::default();
    let tap = TapId(1);
    guard.add(tap);
    let now = start();
    let group = frame([0x33, 0x33, 0, 0, 0, 1], station(1));
    let passed = (0..10_000).filter(|_| guard.enter(tap, &group, now).is_ok());
    assert_eq!(passed.count(), FLOOD as usize);
    let direct = frame(station(2), station(1));
    assert_eq!(guard.enter(tap, &direct, now), Ok(()));
    let later = now + Duration::from_secs(1);
    assert_eq!(guard.enter(tap, &group, later), Ok(()));
}

#[test]
fn a_group_is_no_source() {
    let mut guard = Guard::default();
    guard.add(TapId(1));
    let lie = frame(station(1), EVERYBODY);
    assert_eq!(
        guard.enter(TapId(1), &lie, start()),
        Err(Drop::MalformedFrame)
    );
    assert_eq!(
        guard.enter(TapId(1), &[2; 11], start()),
        Err(Drop::MalformedFrame)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn nothing_keeps_going_round_and_all_stay_connected(
        delays in prop::collection::vec(100..50_000u64, 2..4),
        has_other in any::<bool>(),
        talk in prop::collection::vec((0..5usize, prop::option::of(0..5usize), 0..2000u64), 1..60),
    ) {
        let mut world = ring(&delays, has_other);
        let stations = stations(has_other);
        for (from, to, pause) in talk {
            let from = stations[from % stations.len()];
            let to = to.map_or(EVERYBODY, |to| station(stations[to % stations.len()]));
            world.send(from, to);
            world.run(Duration::from_millis(pause));
        }
        // Mostly once, or twice if it is what tells of the ring; a slow tap tells late.
        let most = 4 * delays.len();
        for (number, times) in &world.entered {
            prop_assert!(*times <= most, "frame {} came by {} times", number, times);
        }
        // Whoever hears it has all rings cut.
        for _ in 0..delays.len() {
            world.send(1, EVERYBODY);
            world.send(11, EVERYBODY);
            world.run(Duration::from_secs(2));
        }
        for one in &stations {
            for other in stations.iter().filter(|other| *other != one) {
                prop_assert!(world.can_talk(*one, *other), "{} to {}", one, other);
            }
        }
    }
}
