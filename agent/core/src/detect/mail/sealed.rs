//! `smtp_relay` where a side is encrypted: what looks like an open relay, told as a suspicion and never as more.
//!
//! **Measure.** Each message that comes in on port 25 from outside is followed, within minutes, by one that goes out to port 25 and is longer by
//! about the same number of bytes as with the others: a server puts a line or two before what it passes on (RFC 5321, section 4.4), and
//! those are as long each time. For each message that came in, the differences to what went out behind it are noted, in bins of 64 bytes;
//! unrelated mail spreads over all bins, relayed mail gathers in one or two neighbours. What is known to be for the tenant's own domains does not count,
//! on either side; where both sides are in clear the envelopes say it better ([`super::relay`]).
//!
//! **Numbers.** 8 messages in an hour, at least half of those that came in, to 3 next hops, and to one for each five messages.
//! Six times as many messages for tenants with the profile `mail`, since no more are remembered.
//!
//! **Look-alikes that stay silent.** Authenticated submission: it comes in on other ports. A mail server whose users get mail and
//! write some: no common difference. One that forwards a few of its users' mail: less than half. A gateway or secondary
//! exchanger that passes all on to a few servers behind it: few next hops for many messages, or the tenant's `relay_domains`, two servers each. A server of mailing lists alone looks the same, as does
//! one whose users log in on port 25: hence a suspicion, the profile `mail`, and the check that asks the server.
//!
//! **Evasion.** Content that is padded at random on the way; queues that wait for more than minutes.

use std::collections::VecDeque;
use std::time::Duration;

use reeve_policy::language::thresholds::Relay;
use reeve_policy::{Alert, Class, Target, Timestamp};

use super::{PORT_SMTP, exchanger, number, seen};
use crate::detect::{Finding, count};
use crate::flow::table::{address, bits};
use crate::stream::smtp::{Answer, MailEvent};

/// So many messages that came in are remembered.
pub(in crate::detect) const ARRIVALS_MAX: usize = 96;
/// So many that may be the same going out.
pub(super) const LINKS_MAX: usize = 128;
/// What is passed on goes within this time.
const PATIENCE: Duration = Duration::from_secs(300);
/// ... and among the next so many: of a busy server, one of very many has every length.
const NEXT: u8 = 12;
/// The two bins where relayed mail gathers hold so many times what two bins would hold on average.
const CONTRAST: u32 = 2;
/// A message that goes out may be shorter than what came in by so much, where encryption is estimated, ...
const SHORTER: u32 = 512;
/// ... and longer by up to `BINS` times `BIN` bytes less that.
const BIN: u32 = 64;
const BINS: usize = 48;
/// A next hop for every so many messages, at least.
const PER_HOP: u32 = 5;
/// A domain that mail is passed on for has so many servers, mostly.
const PER_RELAY: u32 = 2;

/// A message that passes by, as far as it is of interest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    size: u32,
    is_sealed: bool,
}

impl Message {
    /// Whether nothing but its length is known.
    pub fn is_sealed(self) -> bool {
        self.is_sealed
    }

    /// The message that an event tells of, unless it is known to be a user's or for the tenant's own domains.
    pub fn of(event: &MailEvent) -> Option<Self> {
        match event {
            MailEvent::SealedMessage { size } => Some(Self { size: *size, is_sealed: true }),
            MailEvent::Message {
                recipients,
                answer: Answer::Accepted,
                is_authenticated: false,
                size,
                ..
            } => {
                let is_foreign = recipients.iter().any(|recipient| !recipient.is_own);
                is_foreign.then_some(Self { size: *size, is_sealed: false })
            }
            _ => None,
        }
    }
}

/// A message that came in.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    at: Timestamp,
    message: Message,
    /// The bins of what went out behind it, a bit each, and how many that were.
    bins: u64,
    behind: u8,
}

/// A message that may be the one that came in.
#[derive(Clone, Copy, Debug)]
struct Link {
    // As bytes, so that it needs no padding.
    next_hop: [u8; 16],
    bin: u8,
    at: Timestamp,
}

/// What came in and what went out behind it.
#[derive(Debug, Default)]
pub(super) struct SealedRelaying {
    arrivals: VecDeque<Arrival>,
    links: VecDeque<Link>,
}

impl SealedRelaying {
    /// The most bytes that it takes beside itself.
    pub const HELD_BYTES: usize = ARRIVALS_MAX * size_of::<Arrival>() + LINKS_MAX * size_of::<Link>();

    /// Takes a message that came in from outside.
    pub fn take_in(&mut self, message: Message, at: Timestamp) {
        if self.arrivals.len() == ARRIVALS_MAX {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back(Arrival { at, message, bins: 0, behind: 0 });
    }

    /// Takes a message that went out, and judges it; it passes mail on for so many domains.
    pub fn pass_on(
        &mut self,
        numbers: &Relay,
        relays: u32,
        message: Message,
        next_hop: Target,
        at: Timestamp,
    ) -> Option<Finding> {
        while self.arrivals.front().is_some_and(|arrival| at.is_past(arrival.at, numbers.window)) {
            self.arrivals.pop_front();
        }
        while self.links.front().is_some_and(|link| at.is_past(link.at, numbers.window)) {
            self.links.pop_front();
        }
        let mut linked = 0_u64;
        for arrival in &mut self.arrivals {
            let is_readable = !arrival.message.is_sealed && !message.is_sealed;
            if is_readable || at.since(arrival.at) > PATIENCE || arrival.behind == NEXT {
                continue;
            }
            arrival.behind += 1;
            let longer = (message.size.saturating_add(SHORTER)).checked_sub(arrival.message.size);
            let bin = longer.map(|longer| (longer / BIN) as usize).filter(|bin| *bin < BINS);
            if let Some(bin) = bin {
                arrival.bins |= 1 << bin;
                linked |= 1 << bin;
            }
        }
        for bin in (0..BINS as u8).filter(|bin| linked >> bin & 1 == 1) {
            if self.links.len() == LINKS_MAX {
                self.links.pop_front();
            }
            let next_hop = bits(next_hop.address).to_be_bytes();
            self.links.push_back(Link { next_hop, bin, at });
        }
        if linked == 0 { None } else { self.judge(numbers, relays, at) }
    }

    fn judge(&self, numbers: &Relay, relays: u32, at: Timestamp) -> Option<Finding> {
        let matched = |bin: usize| {
            let both = 0b11_u64 << bin;
            number(self.arrivals.iter().filter(|arrival| arrival.bins & both != 0).count())
        };
        let (bin, messages) =
            (0..BINS - 1).map(|bin| (bin, matched(bin))).max_by_key(|(_, messages)| *messages)?;
        let limit = numbers.sealed_messages;
        let all: u32 = self.arrivals.iter().map(|arrival| arrival.bins.count_ones()).sum();
        let is_gathered = messages.saturating_mul(number(BINS)) >= all.saturating_mul(2 * CONTRAST);
        if messages < limit || messages.saturating_mul(2) < number(self.arrivals.len()) || !is_gathered {
            return None;
        }
        let links = || self.links.iter().filter(|link| usize::from(link.bin).wrapping_sub(bin) <= 1);
        let mut hops: Vec<[u8; 16]> = links().map(|link| link.next_hop).collect();
        hops.sort_unstable();
        hops.dedup();
        let (next_hops, hops_limit) = (
            number(hops.len()),
            numbers.next_hops.max(messages / PER_HOP).saturating_add(relays.saturating_mul(PER_RELAY)),
        );
        let target = |hop: &[u8; 16]| {
            let mut times = links().filter(|link| link.next_hop == *hop).map(|link| link.at);
            let first = times.next().unwrap_or(at);
            let server = exchanger(address(u128::from_be_bytes(*hop)), PORT_SMTP);
            seen(server, first, times.next_back().unwrap_or(first))
        };
        (next_hops >= hops_limit).then(|| Finding {
            class: Class::SmtpRelay,
            start: self.arrivals.front().map_or(at, |arrival| arrival.at),
            at,
            metrics: vec![
                count("sealed_messages", messages, limit),
                count("next_hops", next_hops, hops_limit),
            ],
            confidence_percent: 60,
            is_suspicion: true,
            targets: hops.iter().take(Alert::MAX_TARGETS).map(target).collect(),
        })
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.arrivals.len(), self.links.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Tenant, at, message, recipient, server};
    use super::*;
    use crate::stream::smtp::Recipient;
    use reeve_policy::Profile;

    /// What goes through a server.
    #[derive(Clone)]
    struct Case {
        /// So many messages come in, one every so many ms, on this port.
        messages: u32,
        step_ms: u64,
        port: u16,
        /// One in so many goes out again, after so many ms, to so many servers in turn.
        passed_on: u32,
        later_ms: u64,
        hops: u32,
        /// What the server puts before each, changing by so many bytes.
        longer: u32,
        jitter: u32,
        profile: Profile,
        /// The domains that it passes mail on for.
        relays: u32,
    }

    const OPEN: Case = Case {
        messages: 8,
        step_ms: 10_000,
        port: 25,
        passed_on: 1,
        later_ms: 700,
        hops: 3,
        longer: 260,
        jitter: 30,
        profile: Profile::Web,
        relays: 0,
    };

    fn size(place: u32) -> u32 {
        700 + place.wrapping_mul(2_654_435_761) % 9_000
    }

    /// Plays it: encrypted on both sides, on the way out, and on the way in. All of them are to be suspected, or none.
    fn check(case: &Case, expect: bool, why: &str) {
        for (sealed_in, sealed_out) in [(true, true), (false, true), (true, false)] {
            let event = |is_sealed, place, size| match is_sealed {
                true => MailEvent::SealedMessage { size },
                false => message(vec![recipient(place, place)], size),
            };
            let mut tenant = Tenant { relays: case.relays, ..Tenant::of(case.profile) };
            let mut all: Vec<(u64, u32, bool)> = Vec::new();
            for place in 0..case.messages {
                let millis = u64::from(place) * case.step_ms;
                all.push((millis, place, true));
                if place % case.passed_on == 0 {
                    all.push((millis + case.later_ms, place, false));
                }
            }
            all.sort_unstable();
            for (millis, place, comes_in) in all {
                if comes_in {
                    tenant.gets(case.port, &event(sealed_in, place, size(place)), true, millis);
                } else {
                    let size = size(place) + case.longer + place * 997 % case.jitter.max(1);
                    tenant.sends(server(place % case.hops, 25), &event(sealed_out, place, size), millis);
                }
            }
            let expected: &[&str] = if expect { &["(smtp_relay)"] } else { &[] };
            tenant.found.retain(|name| name != "spam");
            assert_eq!(tenant.found, expected, "{why}, sealed {sealed_in} and {sealed_out}");
        }
    }

    #[test]
    fn what_comes_in_and_goes_out_a_little_longer_is_suspected() {
        check(&OPEN, true, "eight");
        check(&Case { messages: 60, hops: 20, later_ms: 25_000, step_ms: 2_000, ..OPEN }, true, "a busy one");
        let busy = Case { messages: 60, hops: 20, later_ms: 2_000, step_ms: 250, ..OPEN };
        check(&busy, true, "a very busy one");
        check(&Case { longer: 20, ..OPEN }, true, "hardly longer");
    }

    #[test]
    fn it_is_silent_just_below() {
        check(&Case { messages: 7, ..OPEN }, false, "seven");
        check(&Case { hops: 2, messages: 40, ..OPEN }, false, "two next hops");
        check(&Case { later_ms: 301_000, step_ms: 1_000, ..OPEN }, false, "much later");
    }

    #[test]
    fn it_is_found_when_it_is_slow_or_mixed_with_other_mail() {
        check(&Case { step_ms: 400_000, ..OPEN }, true, "one in seven minutes");
        check(&Case { messages: 20, passed_on: 2, ..OPEN }, true, "half is its own");
        check(
            &Case { messages: 60, hops: 20, profile: Profile::Mail, ..OPEN },
            true,
            "with the profile `mail`",
        );
    }

    #[test]
    fn look_alikes_stay_silent() {
        check(&Case { port: 587, messages: 60, ..OPEN }, false, "submission");
        check(&Case { messages: 90, passed_on: 3, step_ms: 5_000, ..OPEN }, false, "a third is forwarded");
        check(&Case { messages: 90, hops: 2, step_ms: 5_000, ..OPEN }, false, "a gateway to two servers");
        let gateway = Case { messages: 90, hops: 10, step_ms: 5_000, relays: 5, ..OPEN };
        check(&gateway, false, "a gateway to ten servers of five domains");
        check(&Case { messages: 30, hops: 15, profile: Profile::Mail, ..OPEN }, false, "a list server");
        // Users get and write as much, of any length.
        let users = Case { messages: 90, hops: 40, jitter: 3_000, step_ms: 20_000, ..OPEN };
        check(&users, false, "users");
        check(
            &Case { messages: 400, step_ms: 300, profile: Profile::Mail, ..users },
            false,
            "very many users",
        );
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..40_u32 {
            let own = Recipient { is_own: true, ..recipient(place, 1) };
            tenant.gets(25, &message(vec![own], size(place)), true, u64::from(place) * 1_000);
            let sealed = MailEvent::SealedMessage { size: size(place) + 260 };
            tenant.sends(server(place, 465), &sealed, u64::from(place) * 1_000 + 10);
        }
        assert!(!tenant.found.contains(&"(smtp_relay)".to_owned()));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut relay, numbers) = (SealedRelaying::default(), Relay::default());
        for place in 0..5_000_u32 {
            let message = Message { size: size(place), is_sealed: true };
            relay.take_in(message, at(place.into()));
            relay.pass_on(&numbers, 0, message, server(place, 25), at(place.into()));
        }
        assert_eq!(relay.len(), (ARRIVALS_MAX, LINKS_MAX));
    }
}
