//! A stream of numbered pings, and what became of them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::{Background, Lab};

/// Pings that the host sends to a container in the background, whether they are answered or not.
#[derive(Debug)]
pub struct Pings {
    ping: Background,
}

/// What became of the pings so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The numbers of the pings that were answered, in the order of their answers.
    numbers: Vec<u64>,
}

impl Pings {
    pub fn start(lab: &Lab, to: impl Into<IpAddr>) -> Result<Self> {
        let interval = INTERVAL.as_secs_f32().to_string();
        let to = to.into().to_string();
        let ping = lab.mac_background(&["ping", "-n", "-i", &interval, &to])?;
        Ok(Self { ping })
    }

    pub fn answers(&self) -> Answers {
        let said = self.ping.output();
        let numbers = said.lines().filter_map(|line| number(line).ok());
        Answers {
            numbers: numbers.collect(),
        }
    }
}

impl Answers {
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// The longest time without an answer.
    pub fn longest_silence(&self) -> Duration {
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        let gaps = numbers.windows(2).map(|pair| pair[1] - pair[0]);
        INTERVAL * u32::try_from(gaps.max().unwrap_or_default()).unwrap_or(u32::MAX)
    }

    /// How many answers came after that of a later ping, or twice.
    pub fn out_of_order(&self) -> usize {
        let pairs = self.numbers.windows(2);
        pairs.filter(|pair| pair[1] <= pair[0]).count()
    }
}

/// `64 bytes from 172.17.0.2: icmp_seq=7 ttl=63 time=0.5 ms`: the 7.
fn number(line: &str) -> Result<u64> {
    let mut words = line.split_whitespace();
    let number = words.find_map(|word| word.strip_prefix("icmp_seq="));
    let is_answer = line.contains(" bytes from ");
    let number = number.filter(|_| is_answer).context("find the number")?;
    number.parse().context("read the number")
}

const INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_does_not_count() {
        let answer = "64 bytes from 172.17.0.2: icmp_seq=7 ttl=63 time=0.5 ms";
        assert_eq!(number(answer).unwrap(), 7);
        assert!(number("From 10.75.0.2 icmp_seq=8 Destination Host Unreachable").is_err());
        assert!(number("PING 172.17.0.2 (172.17.0.2) 56(84) bytes of data.").is_err());
    }

    #[test]
    fn gaps_and_swaps_are_seen() {
        let answers = Answers {
            numbers: vec![1, 2, 4, 3, 5, 9],
        };
        assert_eq!(answers.longest_silence(), 4 * INTERVAL);
        assert_eq!(answers.out_of_order(), 1);
    }
}
