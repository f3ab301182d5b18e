//! Services that a tenant lately had much business with: where one of them stops answering, that is an outage and no flood.
//!
//! A proxy, a client of an API or of a database goes on asking at the rate at which it was served, and asks again what failed. What a
//! service was asked for, in connections in which the tenant said something, is counted in parts of ten seconds; the busiest part of the
//! last quarter of an hour says what it is good for. Requests that it refuses, or is silent to, are a flood only beyond five times that. Where it
//! answers, and the tenant does not go through with the handshake, nothing is excused: that is no outage.
//!
//! **Evasion.** Whoever wants to flood a service unseen has to keep it busy first, with a fifth of his rate and in connections that say
//! something, and it has to be silent then.

use std::time::Duration;

use reeve_policy::{Outcome, Target, Timestamp};

use crate::flow::table::bits;
use crate::meter::rates::{Ready, port_class};
use crate::meter::tally::SECOND;

/// Over so long business is averaged: a burst counts for a tenth.
const PART: Duration = Duration::from_secs(10);

/// For so long, and at most twice as long, business is remembered after it ended.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// So many times what was served may fail: what was refused is tried again, and a SYN that nobody answers is sent three times
/// in the first five seconds (RFC 6298).
const FACTOR: u64 = 5;

/// What is answered and not completed is no outage from this part of what was asked for on.
const HALF_OPEN_PART: u64 = 10;

/// One service.
#[derive(Clone, Copy, Debug)]
struct Upstream {
    key: u128,
    port: u16,
    /// When the part at hand began, and how many connections it holds.
    part_start: Timestamp,
    served: u32,
    /// The busiest part of this period of [`MEMORY`] and of the one before.
    period_start: Timestamp,
    busiest: [u32; 2],
    /// Handshakes that the service answered and that the tenant went through with, in this second and the one before.
    second_start: Timestamp,
    answered: [u32; 2],
    completed: [u32; 2],
}

impl Upstream {
    fn new(key: u128, port: u16, at: Timestamp) -> Self {
        Self {
            key,
            port,
            part_start: at,
            served: 0,
            period_start: at,
            busiest: [0; 2],
            second_start: at,
            answered: [0; 2],
            completed: [0; 2],
        }
    }

    fn serve(&mut self, number: u32, at: Timestamp) {
        match at.since(self.period_start) {
            age if age >= 2 * MEMORY => (self.period_start, self.busiest) = (at, [0; 2]),
            age if age >= MEMORY => (self.period_start, self.busiest) = (at, [0, self.busiest[0]]),
            _ => {}
        }
        if at.is_past(self.part_start, PART) {
            (self.part_start, self.served) = (at, 0);
        }
        self.served = self.served.saturating_add(number);
        self.busiest[0] = self.busiest[0].max(self.served);
    }

    fn enter_second(&mut self, at: Timestamp) {
        match at.since(self.second_start) {
            age if age >= 2 * SECOND => (self.answered, self.completed) = ([0; 2], [0; 2]),
            age if age >= SECOND => {
                (self.answered, self.completed) = ([0, self.answered[0]], [0, self.completed[0]]);
            }
            _ => return,
        }
        self.second_start = at;
    }

    /// How many connections a second it was good for, in the busiest part that is remembered.
    fn rate(&self, now: Timestamp) -> u64 {
        let busiest = match now.since(self.period_start) {
            age if age >= 2 * MEMORY => 0,
            age if age >= MEMORY => self.busiest[0],
            _ => self.busiest[0].max(self.busiest[1]),
        };
        u64::from(busiest) / PART.as_secs()
    }

    /// How many handshakes of late the service answered and the tenant left open.
    fn half_open(&self, now: Timestamp) -> u64 {
        let sum = |both: [u32; 2]| both.iter().map(|one| u64::from(*one)).sum::<u64>();
        if now.is_past(self.second_start, 3 * SECOND) {
            return 0;
        }
        sum(self.answered).saturating_sub(sum(self.completed))
    }
}

/// The services that one tenant had most business with.
#[derive(Debug, Default)]
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// The most services that are remembered; the one that was least busy makes room.
    pub const CAPACITY: usize = 8;

    /// Bytes that they take at most, beside the value itself.
    pub const BYTES: usize = Self::CAPACITY * size_of::<Upstream>();

    /// Takes what became of `number` attempts.
    pub fn outcome(&mut self, target: &Target, outcome: Outcome, number: u32, at: Timestamp) {
        let (key, port) = (bits(target.address), target.port.unwrap_or(0));
        match outcome {
            Outcome::Productive => self.find_or_make(key, port, at).serve(number, at),
            Outcome::Answered => {
                if let Some(upstream) = self.find(key, port) {
                    upstream.enter_second(at);
                    upstream.answered[0] = upstream.answered[0].saturating_add(number);
                }
            }
            _ => {}
        }
    }

    /// The tenant went through with `number` handshakes.
    pub fn completed(&mut self, target: &Target, number: u32, at: Timestamp) {
        if let Some(upstream) = self.find(bits(target.address), target.port.unwrap_or(0)) {
            upstream.enter_second(at);
            upstream.completed[0] = upstream.completed[0].saturating_add(number);
        }
    }

    /// How much in a second is no flood, where `number` is what anybody may do: of requests to a host, if they go to services that
    /// were busy lately and answer nothing now.
    #[must_use]
    pub fn requests(&self, ready: &Ready, host: std::net::IpAddr, number: u64, now: Timestamp) -> u64 {
        let key = bits(host);
        let known = || self.0.iter().filter(move |upstream| upstream.key == key);
        let classes = known().fold(0, |all, upstream| all | port_class(upstream.port));
        let rate: u64 = known()
            .filter(|upstream| ready.traits.went_to(port_class(upstream.port)))
            .map(|one| one.rate(now))
            .sum();
        let half_open: u64 = known().map(|upstream| upstream.half_open(now)).sum();
        if !ready.traits.went_only_to(classes) || half_open * HALF_OPEN_PART >= ready.second.sent {
            return number;
        }
        number.max(rate.saturating_mul(FACTOR))
    }

    /// The same of connections to one service that it takes and ends before anything is said, as a balancer without servers does.
    #[must_use]
    pub fn connections(&self, service: (std::net::IpAddr, u16), number: u64, now: Timestamp) -> u64 {
        let (key, port) = (bits(service.0), service.1);
        let known = self.0.iter().find(|upstream| (upstream.key, upstream.port) == (key, port));
        known.map_or(number, |upstream| number.max(upstream.rate(now).saturating_mul(FACTOR)))
    }

    fn find(&mut self, key: u128, port: u16) -> Option<&mut Upstream> {
        self.0.iter_mut().find(|upstream| (upstream.key, upstream.port) == (key, port))
    }

    fn find_or_make(&mut self, key: u128, port: u16, at: Timestamp) -> &mut Upstream {
        let known = self.0.iter().position(|upstream| (upstream.key, upstream.port) == (key, port));
        let place = known.unwrap_or_else(|| {
            let new = Upstream::new(key, port, at);
            if self.0.len() < Self::CAPACITY {
                self.0.push(new);
                return self.0.len() - 1;
            }
            let weight = |one: &Upstream| (one.rate(at), one.part_start);
            let least = self.0.iter().enumerate().min_by_key(|(_, one)| weight(one));
            let place = least.map_or(0, |(place, _)| place);
            self.0[place] = new;
            place
        });
        &mut self.0[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000 + secs)
    }

    fn target(last: u8, port: u16) -> Target {
        Target { address: [20, 0, 0, last].into(), protocol: reeve_policy::Protocol::Tcp, port: Some(port) }
    }

    /// Serves `rate` connections a second for `seconds`; what is excused at `asked`.
    fn check(rate: u32, seconds: u64, asked: u64, expect: u64) {
        let mut upstreams = Upstreams::default();
        for second in 0..seconds {
            upstreams.outcome(&target(1, 80), Outcome::Productive, rate, at(second));
        }
        let excused = |port| upstreams.connections(([20, 0, 0, 1].into(), port), 200, at(asked));
        assert_eq!(excused(80), expect, "{rate}/s for {seconds} s, asked for at {asked}");
        assert_eq!(excused(81), 200);
    }

    #[test]
    fn business_is_averaged_multiplied_and_forgotten() {
        check(240, 60, 60, 1_200);
        // A burst of one second counts for a tenth of it.
        check(400, 1, 1, 200);
        check(4_000, 1, 1, 2_000);
        check(10, 600, 600, 200);
        // It is remembered for a quarter of an hour at least, and for half an hour at most.
        check(240, 60, 60 + 899, 1_200);
        check(240, 60, 1_799, 1_200);
        check(240, 60, 1_800, 200);
        check(240, 1_000, 1_899, 1_200);
    }

    #[test]
    fn who_was_least_busy_makes_room() {
        let mut upstreams = Upstreams::default();
        for second in 0..20 {
            upstreams.outcome(&target(1, 80), Outcome::Productive, 200, at(second));
            for last in 2..200 {
                upstreams.outcome(&target(last, 80), Outcome::Productive, 1, at(second));
            }
        }
        assert_eq!(upstreams.0.len(), Upstreams::CAPACITY);
        assert_eq!(upstreams.connections(([20, 0, 0, 1].into(), 80), 200, at(20)), 1_000);
    }
}
