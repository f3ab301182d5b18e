//! `portscan.slow`: scans so patient that no window of a minute sees them.
//!
//! **Measure.** Distinct targets on one port, or on one host, that did not answer within an hour or a day, and their share among the
//! distinct targets tried there. Bro's and psad's experience is that hours matter (`SCAN_TIMEOUT` 3600); the share keeps customers'
//! services out. Targets that did not answer are held one by one; those that did are so many that only a sample by their hash is
//! held, halved whenever it is full (Gibbons, "Distinct Sampling for Highly-Accurate Answers to Distinct Values Queries", 2001), which estimates
//! their number without bias; its standard error is added.
//!
//! **Numbers.** 60 targets in 1 h or 150 in 24 h, 80 % not answered; UDP twice that where most are silent rather than refused (on ports below
//! 10,000), since its silence is weak, but never more than the 450 that can be counted. A probe every 15 s
//! (nmap -T1) is found at the sixtieth, one every 5 min (-T0) within 13 hours. Probes that open nothing count too.
//!
//! **Look-alikes that stay silent.** A dead server or upstream retried: one target, and what is tried again a quarter of an hour later is
//! kept up with, not scanned. Pools and peers that answered before: no first contacts. Federation with many dead peers: most answer,
//! on the same port. Peer-to-peer: scattered ports never gather on one, `peer_ports` and what reciprocity excuses are left out.
//!
//! **Evasion.** Below 150 targets a day; a port for every few hosts. Noise helps little: failures that share neither host nor
//! port with another pass through a room of their own (for [`Slow::PASSING`]) and push out only each other; on ports below 1024
//! nothing pushes a scan out but its own kind.

use reeve_policy::language::thresholds::Slow as Numbers;
use reeve_policy::{Alert, Class, Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::known::mix;
use super::{Finding, count, share};
use crate::flow::protocol_code;
use crate::flow::table::{address, bits, seconds};

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;

/// From here on media goes to ports that somebody named (the usual ranges of telephones and exchanges), who may have hung up.
const NAMED: u16 = 10_000;

/// What is tried again after this many seconds is kept up with.
const KEPT_UP: u32 = 900;

/// A target that did not answer.
#[derive(Clone, Copy, Debug)]
struct Missed {
    // As bytes, so that an entry is aligned to four.
    host: [u8; 16],
    first: u32,
    last: u32,
    port: u16,
    protocol: u8,
    outcome: Outcome,
}

/// A target that answered, by digests.
#[derive(Clone, Copy, Debug)]
struct Answered {
    target: u32,
    host: u32,
    last: u32,
    port: u16,
    protocol: u8,
}

/// What one tenant missed over a day.
#[derive(Debug, Default)]
pub struct Slow {
    /// Those that share their port or host with another.
    gathered: Vec<Missed>,
    /// Those that do not yet, and whose turn it is to make room.
    passing: Vec<Missed>,
    next: usize,
    answered: Vec<Answered>,
    /// Of the answered, those whose digest ends in so many zero bits are held.
    level: u32,
    evictions: u64,
}

impl Slow {
    /// The most targets that share a port or host.
    pub const GATHERED: usize = 450;
    /// The most that do not.
    pub const PASSING: usize = 40;
    /// The most answered targets in the sample.
    pub const SAMPLED: usize = 128;

    /// Bytes that it takes when full.
    pub const BYTES: usize = size_of::<Self>()
        + (Self::GATHERED + Self::PASSING) * size_of::<Missed>()
        + Self::SAMPLED * size_of::<Answered>();

    /// Takes note of a target that answered.
    pub fn answered(&mut self, target: &Target, at: Timestamp) {
        self.recover(target);
        let (digest, now) = ((mix(target) >> 32) as u32, seconds(at));
        if digest.trailing_zeros() < self.level {
            return;
        }
        if let Some(known) = self.answered.iter_mut().find(|known| known.target == digest) {
            known.last = now;
            return;
        }
        if self.answered.len() == Self::SAMPLED {
            self.answered.retain(|known| known.last.saturating_add(DAY) > now);
        }
        while self.answered.len() >= Self::SAMPLED && self.level < 32 {
            self.level += 1;
            let level = self.level;
            self.answered.retain(|known| known.target.trailing_zeros() >= level);
        }
        if self.answered.is_empty() {
            self.level = 0;
        }
        if digest.trailing_zeros() >= self.level && self.answered.len() < Self::SAMPLED {
            let (host, port) = (host_digest(target), target.port.unwrap_or(0));
            let protocol = protocol_code(target.protocol);
            self.answered.push(Answered { target: digest, host, last: now, port, protocol });
        }
    }

    /// Takes note of a target that did not, and judges.
    pub fn missed(
        &mut self,
        numbers: &Numbers,
        target: &Target,
        outcome: Outcome,
        opened: Timestamp,
        at: Timestamp,
    ) -> Option<Finding> {
        self.note(target, outcome, seconds(opened))?;
        let now = seconds(at);
        let (host, port) = (bits(target.address).to_be_bytes(), target.port.unwrap_or(0));
        let protocol = protocol_code(target.protocol);
        let on_port = |missed: &Missed| missed.port == port && missed.protocol == protocol;
        let on_host = |missed: &Missed| missed.host == host;
        let digest = host_digest(target);
        let port_answered = |known: &Answered| known.port == port && known.protocol == protocol;
        let host_answered = |known: &Answered| known.host == digest;
        let is_udp = target.protocol == Protocol::Udp;
        self.judge(numbers, is_udp, (at, now), on_port, port_answered)
            .or_else(|| self.judge(numbers, is_udp, (at, now), on_host, host_answered))
    }

    /// Whether nothing here matters any more.
    #[must_use]
    pub fn is_idle(&self, now: Timestamp) -> bool {
        let now = seconds(now);
        self.gathered.iter().chain(&self.passing).all(|missed| missed.last.saturating_add(DAY) < now)
    }

    /// How many targets had to make room while they still counted.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn judge(
        &self,
        numbers: &Numbers,
        is_udp: bool,
        (at, now): (Timestamp, u32),
        is_in: impl Fn(&Missed) -> bool,
        answered_in: impl Fn(&Answered) -> bool,
    ) -> Option<Finding> {
        let counts = |missed: &&Missed| is_in(missed) && !missed.is_kept_up();
        let spans = [
            ("targets_per_hour", HOUR, numbers.targets_per_hour),
            ("targets_per_day", DAY, numbers.targets_per_day),
        ];
        for (name, span, targets) in spans {
            let within = |last: u32| last.saturating_add(span) >= now;
            let (mut missed, mut refused) = (0_u32, 0_u32);
            for one in self.gathered.iter().filter(counts).filter(|missed| within(missed.last)) {
                missed += 1;
                refused += u32::from(one.outcome == Outcome::Refused && one.port < NAMED);
            }
            let is_weak = is_udp && f64::from(refused) < numbers.unanswered * f64::from(missed);
            let factor = if is_weak { numbers.udp_factor } else { 1 };
            // More than is held is never reached, and the policy says so of its own number.
            let needed = targets.saturating_mul(factor).min(targets.max(Self::GATHERED as u32));
            if missed < needed {
                continue;
            }
            let sampled =
                self.answered.iter().filter(|known| answered_in(known) && within(known.last)).count();
            let estimate = sampled as f64 * f64::from(self.level.min(31)).exp2();
            // A sample may tell too few by as much as its root, which is not to make a scan of a service.
            let doubt = if self.level > 0 && sampled > 0 { (sampled as f64).sqrt().recip() } else { 0.0 };
            let answered = estimate * (1.0 + doubt);
            let unanswered = f64::from(missed) / (f64::from(missed) + answered);
            if unanswered < numbers.unanswered {
                continue;
            }
            let mut seen: Vec<TargetSeen> = self
                .gathered
                .iter()
                .filter(counts)
                .filter(|missed| within(missed.last))
                .map(Missed::seen)
                .collect();
            seen.sort_by_key(|seen| (seen.first, seen.target));
            let start = seen.first().map_or(at, |seen| seen.first);
            // The newest: of their packets the headers are still there.
            seen.drain(..seen.len().saturating_sub(Alert::MAX_TARGETS));
            return Some(Finding {
                class: Class::PortscanSlow,
                start,
                at,
                metrics: vec![
                    count(name, missed, needed),
                    share("unanswered", unanswered, Some(numbers.unanswered)),
                ],
                confidence_percent: 85,
                is_suspicion: false,
                targets: seen,
            });
        }
        None
    }

    /// Enters a target; `None` if it was there and counts no more than before.
    fn note(&mut self, target: &Target, outcome: Outcome, opened: u32) -> Option<()> {
        let new = Missed {
            host: bits(target.address).to_be_bytes(),
            first: opened,
            last: opened,
            port: target.port.unwrap_or(0),
            protocol: protocol_code(target.protocol),
            outcome,
        };
        let known = self.gathered.iter_mut().chain(&mut self.passing).find(|missed| missed.is_same(&new));
        if let Some(known) = known {
            if known.last.saturating_add(DAY) < opened {
                known.first = opened;
            }
            (known.last, known.outcome) = (known.last.max(opened), outcome);
            return None;
        }
        let has_mates = self.passing.iter().any(|missed| missed.is_mate(&new));
        // Peers have no well-known ports: what is there is not their noise.
        let is_noise = new.port >= 1024 || !target.protocol.has_ports();
        if is_noise && !has_mates && !self.gathered.iter().any(|missed| missed.is_mate(&new)) {
            self.pass(new);
            return None;
        }
        while let Some(place) = self.passing.iter().position(|missed| missed.is_mate(&new)) {
            let mate = self.passing.remove(place);
            self.next = 0;
            self.gather(mate);
        }
        self.gather(new);
        Some(())
    }

    fn pass(&mut self, new: Missed) {
        if self.passing.len() < Self::PASSING {
            self.passing.push(new);
            return;
        }
        let place = self.next % Self::PASSING;
        self.evictions += u64::from(self.passing[place].last.saturating_add(DAY) >= new.last);
        self.passing[place] = new;
        self.next = (place + 1) % Self::PASSING;
    }

    fn gather(&mut self, new: Missed) {
        if self.gathered.len() < Self::GATHERED {
            self.gathered.push(new);
            return;
        }
        let oldest = self.gathered.iter().enumerate().min_by_key(|(_, missed)| missed.last);
        let place = oldest.map_or(0, |(place, _)| place);
        self.evictions += u64::from(self.gathered[place].last.saturating_add(DAY) >= new.last);
        self.gathered[place] = new;
    }

    /// Takes out a target that answered after all.
    fn recover(&mut self, target: &Target) {
        let (host, port) = (bits(target.address).to_be_bytes(), target.port.unwrap_or(0));
        let protocol = protocol_code(target.protocol);
        let is_it =
            |missed: &Missed| missed.port == port && missed.protocol == protocol && missed.host == host;
        if let Some(place) = self.gathered.iter().position(is_it) {
            self.gathered.remove(place);
        } else if let Some(place) = self.passing.iter().position(is_it) {
            self.passing.remove(place);
            self.next = 0;
        }
    }
}

impl Missed {
    fn is_same(&self, other: &Self) -> bool {
        self.port == other.port && self.protocol == other.protocol && self.host == other.host
    }

    /// Whether two share a port or a host.
    fn is_mate(&self, other: &Self) -> bool {
        (self.port == other.port && self.protocol == other.protocol) || self.host == other.host
    }

    fn is_kept_up(&self) -> bool {
        self.last - self.first >= KEPT_UP
    }

    fn seen(&self) -> TargetSeen {
        let protocol = Protocol::from_number(self.protocol);
        TargetSeen {
            target: Target {
                address: address(u128::from_be_bytes(self.host)),
                protocol,
                port: protocol.has_ports().then_some(self.port),
            },
            first: Timestamp::from_secs(self.first.into()),
            last: Timestamp::from_secs(self.last.into()),
            outcome: self.outcome,
        }
    }
}

fn host_digest(target: &Target) -> u32 {
    (mix(&Target { port: None, protocol: Protocol::Tcp, ..*target }) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One step: (host, port, whether it answers).
    type Step = (u16, u16, bool);

    /// Plays steps over `protocol`, `step_secs` apart; the number of the step that is found.
    fn found(protocol: Protocol, steps: impl Iterator<Item = Step>, step_secs: u64) -> Option<usize> {
        found_by(&Numbers::default(), protocol, steps, step_secs)
    }

    fn found_by(
        numbers: &Numbers,
        protocol: Protocol,
        steps: impl Iterator<Item = Step>,
        step_secs: u64,
    ) -> Option<usize> {
        found_of(numbers, (protocol, |_| Outcome::Silent), steps, step_secs)
    }

    /// The same where what does not answer ends as `outcome` says of the step's number.
    fn found_of(
        numbers: &Numbers,
        (protocol, outcome): (Protocol, impl Fn(usize) -> Outcome),
        steps: impl Iterator<Item = Step>,
        step_secs: u64,
    ) -> Option<usize> {
        let mut slow = Slow::default();
        let mut at = Timestamp::from_secs(100_000);
        steps.enumerate().find_map(|(number, (host, port, answers))| {
            let [high, low] = host.to_be_bytes();
            let target = Target { address: [20, 0, high, low].into(), protocol, port: Some(port) };
            at += Duration::from_secs(step_secs);
            let is_found = if answers {
                slow.answered(&target, at);
                false
            } else {
                slow.missed(numbers, &target, outcome(number), at, at).is_some()
            };
            assert!(slow.gathered.len() <= Slow::GATHERED && slow.passing.len() <= Slow::PASSING);
            assert!(slow.answered.len() <= Slow::SAMPLED);
            is_found.then_some(number + 1)
        })
    }

    fn check(steps: impl Iterator<Item = Step>, step_secs: u64, expect: Option<usize>) {
        assert_eq!(found(Protocol::Tcp, steps, step_secs), expect);
    }

    #[test]
    fn fires_at_the_threshold_and_not_below() {
        check((0..60).map(|host| (host, 22, false)), 15, Some(60));
        check((0..59).map(|host| (host, 22, false)), 15, None);
        check((0..60).map(|port| (1, 2_000 + port, false)), 15, Some(60));
        // One in five answers.
        check((0..100).map(|host| (host, 22, host % 5 == 0)), 15, Some(75));
        check((0..1_000).map(|host| (host, 22, host % 4 == 0)), 15, None);
        assert_eq!(found(Protocol::Udp, (0..119).map(|host| (host, 161, false)), 15), None);
        assert_eq!(found(Protocol::Udp, (0..120).map(|host| (host, 161, false)), 15), Some(120));
    }

    #[test]
    fn refusals_are_no_weaker_over_udp() {
        let check = |outcome: fn(usize) -> Outcome, expect| {
            for by_host in [true, false] {
                let steps = (0..200)
                    .map(|number| if by_host { (1, number + 1, false) } else { (number, 161, false) });
                let found = found_of(&Numbers::default(), (Protocol::Udp, outcome), steps, 15);
                assert_eq!(found, Some(expect), "{by_host}");
            }
        };
        check(|_| Outcome::Refused, 60);
        check(|_| Outcome::Silent, 120);
        let media = (0..200).map(|number| (1, 40_000 + 2 * number, false));
        let refused = (Protocol::Udp, |_| Outcome::Refused);
        assert_eq!(found_of(&Numbers::default(), refused, media, 15), Some(120));
        check(|number| if number % 10 == 0 { Outcome::Silent } else { Outcome::Refused }, 60);
        check(|number| if number % 2 == 0 { Outcome::Silent } else { Outcome::Refused }, 120);
    }

    #[test]
    fn a_probe_in_five_minutes_is_found_within_a_day_and_slower_ones_are_not() {
        check((0..400).map(|host| (host, 22, false)), 300, Some(150));
        check((0..400).map(|host| (host, 22, false)), 600, None);
    }

    #[test]
    fn greater_numbers_are_counted_as_far_as_there_is_room_and_never_reached_beyond() {
        let check = |per_hour, protocol, expect| {
            let numbers =
                Numbers { targets_per_hour: per_hour, targets_per_day: 9_000, ..Numbers::default() };
            let steps = (0..1_000).map(|host| (host, 22, false));
            assert_eq!(found_by(&numbers, protocol, steps, 1), expect, "{per_hour} an hour");
        };
        check(300, Protocol::Tcp, Some(300));
        check(450, Protocol::Tcp, Some(450));
        check(451, Protocol::Tcp, None);
        check(100, Protocol::Udp, Some(200));
        check(450, Protocol::Udp, Some(450));
    }

    #[test]
    fn noise_does_not_push_a_scan_out() {
        // Between two probes of port 22 twenty peers on ports of their own are not there.
        let steps = (0..100_u16 * 21).map(|number| match number % 21 {
            0 => (number / 21, 22, false),
            _ => (1_000 + number, 10_000 + number * 5, false),
        });
        check(steps, 1, Some(59 * 21 + 1));
    }

    #[test]
    fn look_alikes_stay_silent() {
        // Two hundred dead peers among a thousand, on one port.
        check((0..20_000).map(|number| (number % 1_200, 8_448, number % 6 != 0)), 1, None);
        // Fifty dead upstreams, tried again and again; a swarm.
        check((0..5_000).map(|number| (number % 50, 443, false)), 10, None);
        check((0..9_000).map(|number| (number, 10_000 + number * 5, false)), 1, None);
        // A hundred dead webhooks that come one by one, each of them tried again.
        check((0..4_000).map(|number| (number / 40 + number % 4, 443, false)), 90, None);
    }

    #[test]
    fn what_answers_after_all_was_not_missed() {
        let steps =
            (0..59).map(|host| (host, 22, false)).chain([(3, 22, true), (70, 22, false), (71, 22, false)]);
        // With one of sixty answered, the sixtieth that did not decides.
        check(steps, 15, Some(62));
    }

    #[test]
    fn the_sample_of_the_answered_estimates_their_number() {
        let mut slow = Slow::default();
        for host in 0..20_000_u16 {
            let [high, low] = host.to_be_bytes();
            let target =
                Target { address: [20, 0, high, low].into(), protocol: Protocol::Tcp, port: Some(443) };
            slow.answered(&target, Timestamp::from_secs(100_000 + u64::from(host)));
        }
        let estimate = slow.answered.len() as f64 * f64::from(slow.level).exp2();
        assert!((14_000.0..26_000.0).contains(&estimate), "{estimate}");
        const { assert!(Slow::BYTES < 16 * 1_024) };
    }
}
