//! Answers under the address that was asked.
//!
//! A program that listens by UDP on all of a machine's addresses answers from the address of the interface that leads to
//! the asker, which may not be the one it was asked at. Where it is known which one that was, it is put right here. What
//! such a program sends unasked is left alone: answers will go to where it came from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::translation::{Direction, translate};

/// Which sources are to be others, and in which conversations.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// What was asked, by the address that answers.
    asked: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// The same the other way round.
    answering: BTreeSet<Ipv4Addr>,
    questions: Questions,
}

impl Sources {
    pub(crate) fn set(&mut self, asked: BTreeMap<Ipv4Addr, Ipv4Addr>) {
        self.answering = asked.values().copied().collect();
        self.asked = asked;
        let answering = &self.answering;
        self.questions.retain(|it| answering.contains(&it.asked));
    }

    /// Learns from a packet for the device what answers may be to.
    pub(crate) fn note(&mut self, packet: &[u8], now: Instant) {
        if self.asked.is_empty() {
            return;
        }
        let Some(head) = Head::of(packet) else {
            return;
        };
        if self.answering.contains(&head.destination)
            && let Some(ports) = head.ports
        {
            let question = Question {
                asker: head.source,
                asked: head.destination,
                ports,
            };
            self.questions.add(question, now);
        }
    }

    /// Gives a packet from the device the source that belongs in place of its own, if it is an answer.
    pub(crate) fn correct(&mut self, packet: &mut [u8], now: Instant) {
        if self.asked.is_empty() {
            return;
        }
        let Some(head) = Head::of(packet) else {
            return;
        };
        let Some(asked) = self.asked.get(&head.source).copied() else {
            return;
        };
        let asker = head.destination;
        let is_answer = match head.ports {
            Some([from, to]) => {
                let ports = [to, from];
                let question = Question {
                    asker,
                    asked,
                    ports,
                };
                self.questions.is_answered(question, now)
            }
            None => self.questions.has_any(asker, asked, now),
        };
        if is_answer {
            // One that is malformed goes on as it is: whoever reads it drops it.
            let _ = translate(packet, Direction::Inbound, |_| Some(IpAddr::V4(asked)));
        }
    }
}

/// Who has asked whom; `ports` are the asker's and the one that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    asker: Ipv4Addr,
    asked: Ipv4Addr,
    ports: [u16; 2],
}

/// The conversations of the last [`LIFE`], as many as [`MOST`].
#[derive(Debug, Default)]
struct Questions {
    heard: BTreeMap<Question, Instant>,
    /// The same, the quietest first.
    order: BTreeSet<(Instant, Question)>,
}

impl Questions {
    fn add(&mut self, question: Question, now: Instant) {
        self.expire(now);
        if self.refresh(question, now) {
            return;
        }
        if self.heard.len() >= MOST
            && let Some((_, quietest)) = self.order.pop_first()
        {
            self.heard.remove(&quietest);
        }
        self.heard.insert(question, now);
        self.order.insert((now, question));
    }

    /// An answer keeps a conversation going, as in the kernel's connection tracking.
    fn is_answered(&mut self, question: Question, now: Instant) -> bool {
        self.expire(now);
        self.refresh(question, now)
    }

    fn has_any(&mut self, asker: Ipv4Addr, asked: Ipv4Addr, now: Instant) -> bool {
        self.expire(now);
        let [first, last] = [u16::MIN, u16::MAX].map(|port| Question {
            asker,
            asked,
            ports: [port; 2],
        });
        self.heard.range(first..=last).next().is_some()
    }

    fn retain(&mut self, wanted: impl Fn(&Question) -> bool) {
        self.heard.retain(|question, _| wanted(question));
        self.order.retain(|(_, question)| wanted(question));
    }

    /// Whether it is known.
    fn refresh(&mut self, question: Question, now: Instant) -> bool {
        let Some(heard) = self.heard.get_mut(&question) else {
            return false;
        };
        if now.saturating_duration_since(*heard) >= GRAIN {
            self.order.remove(&(*heard, question));
            self.order.insert((now, question));
            *heard = now;
        }
        true
    }

    fn expire(&mut self, now: Instant) {
        while let Some((heard, question)) = self.order.first()
            && now.saturating_duration_since(*heard) >= LIFE
        {
            self.heard.remove(question);
            self.order.pop_first();
        }
    }
}

/// Of an IPv4 packet of UDP.
struct Head {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    /// Of source and destination; none in a later fragment.
    ports: Option<[u16; 2]>,
}

impl Head {
    fn of(packet: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = packet.first_chunk()?;
        if header[0] >> 4 != 4 || header[PROTOCOL] != UDP {
            return None;
        }
        let is_first = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_OFFSET == 0;
        let ports = match is_first {
            true => {
                let udp = packet.get(usize::from(header[0] & 0x0f) * 4..)?;
                let [a, b, c, d] = *udp.first_chunk()?;
                Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
            }
            false => None,
        };
        let [.., a, b, c, d, e, f, g, h] = *header;
        Some(Self {
            source: [a, b, c, d].into(),
            destination: [e, f, g, h].into(),
            ports,
        })
    }
}

const PROTOCOL: usize = 9;
const UDP: u8 = 17;
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Longer than the kernel on the way remembers a conversation by UDP that goes both ways: 120 s,
/// `nf_conntrack_udp_timeout_stream`.
const LIFE: Duration = Duration::from_secs(180);
/// Finer times would only cost a change of the order for each packet.
const GRAIN: Duration = Duration::from_secs(1);
/// Some 300 KiB.
const MOST: usize = 4096;

#[cfg(test)]
mod tests;
