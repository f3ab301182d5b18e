//! `smtp_relay` where envelopes can be read: an open relay.
//!
//! **Measure.** Messages that came in from outside, from nobody that had said who it was, for a domain that is not the tenant's, and went out
//! again to the same recipient: that a server takes such mail is what makes it an open relay (RFC 5321, section 7.9, and RFC 2505).
//! Where either side is encrypted it can only be suspected ([`super::sealed`]).
//!
//! **Numbers.** 3 messages, to 3 domains by 3 next hops, within an hour.
//!
//! **Look-alikes that stay silent.** Submission by users: they have said who they are. An office that sends through its server by its
//! address alone: the tenant's `mail_clients`. Forwarding and mailing lists: recipients change. A secondary exchanger: its
//! `relay_domains`, and one domain.
//!
//! Somebody who calls in, and says what only the sensor hears, as in a segment with a wrong checksum before the right one: where words
//! came in two versions the message counts for a suspicion only.
//!
//! **Evasion.** A relay that keeps what it took for more than an hour, or that is used for one domain.

use std::collections::VecDeque;

use reeve_policy::language::thresholds::Relay;
use reeve_policy::{Alert, Class, Target, Timestamp};

use super::{number, seen};
use crate::detect::{Finding, count};
use crate::stream::smtp::Recipient;

/// So many messages that came in are remembered, by recipient.
pub(super) const TAKEN_IN_MAX: usize = 384;
/// So many messages that went out again.
pub(super) const PASSED_ON_MAX: usize = 48;

/// A message that came in for somebody else.
#[derive(Clone, Copy, Debug)]
struct TakenIn {
    /// All bits of the address but the lowest, which tells whether it is in doubt: hundreds are remembered.
    recipient: u64,
    at: Timestamp,
}

/// A message that came in and went out again.
#[derive(Clone, Copy, Debug)]
struct PassedOn {
    domain: u64,
    next_hop: Target,
    at: Timestamp,
    is_doubtful: bool,
}

/// What came in and went out again.
#[derive(Debug, Default)]
pub(super) struct Relaying {
    taken_in: VecDeque<TakenIn>,
    passed_on: VecDeque<PassedOn>,
}

impl Relaying {
    /// The most bytes that it takes beside itself.
    pub const HELD_BYTES: usize = TAKEN_IN_MAX * size_of::<TakenIn>() + PASSED_ON_MAX * size_of::<PassedOn>();

    /// Takes a message that came in from outside. `is_doubtful` says whether the recipients may be others than the server heard.
    pub fn take_in(&mut self, recipients: &[Recipient], is_doubtful: bool, at: Timestamp) {
        for recipient in recipients.iter().filter(|recipient| !recipient.is_own) {
            if self.taken_in.len() == TAKEN_IN_MAX {
                self.taken_in.pop_front();
            }
            self.taken_in
                .push_back(TakenIn { recipient: recipient.address & !1 | u64::from(is_doubtful), at });
        }
    }

    /// Takes a message that went out, and judges it.
    pub fn pass_on(
        &mut self,
        numbers: &Relay,
        recipients: &[Recipient],
        next_hop: Target,
        at: Timestamp,
    ) -> Option<Finding> {
        while self.taken_in.front().is_some_and(|taken| at.is_past(taken.at, numbers.window)) {
            self.taken_in.pop_front();
        }
        while self.passed_on.front().is_some_and(|passed| at.is_past(passed.at, numbers.window)) {
            self.passed_on.pop_front();
        }
        let mut is_more = false;
        for recipient in recipients {
            let place = self.taken_in.iter().position(|taken| taken.recipient | 1 == recipient.address | 1);
            if let Some(place) = place {
                let is_doubtful = self.taken_in.remove(place).is_some_and(|taken| taken.recipient & 1 == 1);
                if self.passed_on.len() == PASSED_ON_MAX {
                    self.passed_on.pop_front();
                }
                self.passed_on.push_back(PassedOn { domain: recipient.domain, next_hop, at, is_doubtful });
                is_more = true;
            }
        }
        // Told once for each message that makes it worse.
        let judged = || self.judge(numbers, false, at).or_else(|| self.judge(numbers, true, at));
        if is_more { judged() } else { None }
    }

    /// Judges what is beyond doubt, or all, which is a suspicion.
    fn judge(&self, numbers: &Relay, is_suspicion: bool, at: Timestamp) -> Option<Finding> {
        let passed_on: Vec<&PassedOn> =
            self.passed_on.iter().filter(|passed| is_suspicion || !passed.is_doubtful).collect();
        let mut domains: Vec<u64> = passed_on.iter().map(|passed| passed.domain).collect();
        domains.sort_unstable();
        domains.dedup();
        let mut hops: Vec<Target> = passed_on.iter().map(|passed| passed.next_hop).collect();
        hops.sort_unstable();
        hops.dedup();
        let (messages, domains, next_hops) =
            (number(passed_on.len()), number(domains.len()), number(hops.len()));
        let is_relay =
            messages >= numbers.messages && domains >= numbers.domains && next_hops >= numbers.next_hops;
        let times = |hop: &Target| {
            let mut times = passed_on.iter().filter(|passed| passed.next_hop == *hop).map(|passed| passed.at);
            let first = times.next().unwrap_or(at);
            (first, times.next_back().unwrap_or(first))
        };
        is_relay.then(|| Finding {
            class: Class::SmtpRelay,
            start: passed_on.first().map_or(at, |passed| passed.at),
            at,
            metrics: vec![
                count("messages", messages, numbers.messages),
                count("domains", domains, numbers.domains),
                count("next_hops", next_hops, numbers.next_hops),
            ],
            confidence_percent: if is_suspicion { 50 } else { 95 },
            is_suspicion,
            targets: hops
                .iter()
                .take(Alert::MAX_TARGETS)
                .map(|hop| {
                    let (first, last) = times(hop);
                    seen(*hop, first, last)
                })
                .collect(),
        })
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.taken_in.len(), self.passed_on.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Tenant, at, message, recipient, server};
    use super::*;
    use crate::stream::smtp::{Answer, MailEvent};
    use reeve_policy::Profile;

    /// Mail that comes in.
    struct Case {
        messages: u32,
        domains: u32,
        hops: u32,
        later_ms: u64,
        is_authenticated: bool,
        is_outside: bool,
        is_own: bool,
        is_doubtful: bool,
    }

    const OPEN: Case = Case {
        messages: 3,
        domains: 3,
        hops: 3,
        later_ms: 500,
        is_authenticated: false,
        is_outside: true,
        is_own: false,
        is_doubtful: false,
    };

    fn check(case: &Case, expect: bool, why: &str) {
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..case.messages {
            let one = Recipient { is_own: case.is_own, ..recipient(place, place % case.domains) };
            let event = MailEvent::Message {
                recipients: vec![one],
                answer: Answer::Accepted,
                is_authenticated: case.is_authenticated,
                sender: Some(3),
                is_foreign: false,
                size: 700,
                is_unnamed: false,
                is_doubtful: case.is_doubtful,
            };
            tenant.gets(25, &event, case.is_outside, u64::from(place) * 1_000);
        }
        for place in 0..case.messages {
            let event = message(vec![recipient(place, place % case.domains)], 900);
            tenant.sends(server(place % case.hops, 25), &event, u64::from(place) * 1_000 + case.later_ms);
        }
        assert_eq!(tenant.is(Class::SmtpRelay), expect, "{why}: {:?}", tenant.found);
    }

    #[test]
    fn mail_for_others_that_goes_out_again_fires() {
        check(&OPEN, true, "three, three, three");
    }

    #[test]
    fn what_was_said_in_two_versions_is_suspected() {
        let case = Case { is_doubtful: true, ..OPEN };
        check(&case, false, "two versions");
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..3 {
            let MailEvent::Message { recipients, answer, is_authenticated, sender, size, .. } =
                message(vec![recipient(place, place)], 700)
            else {
                panic!("it is a message")
            };
            let (is_unnamed, is_doubtful) = (false, place == 2);
            let event = MailEvent::Message {
                recipients,
                answer,
                is_authenticated,
                sender,
                is_foreign: false,
                size,
                is_unnamed,
                is_doubtful,
            };
            tenant.gets(25, &event, true, u64::from(place) * 1_000);
            let event = message(vec![recipient(place, place)], 900);
            tenant.sends(server(place, 25), &event, u64::from(place) * 1_000 + 500);
        }
        assert_eq!(tenant.found, ["(smtp_relay)"], "one of three in doubt");
    }

    #[test]
    fn it_is_silent_just_below() {
        check(&Case { messages: 2, ..OPEN }, false, "two messages");
        check(
            &Case { messages: 9, domains: 2, hops: 9, ..OPEN },
            false,
            "a secondary exchanger of two domains",
        );
        check(&Case { messages: 9, domains: 9, hops: 2, ..OPEN }, false, "two next hops");
        check(
            &Case { messages: 9, domains: 9, hops: 9, later_ms: 3_600_000, ..OPEN },
            false,
            "an hour later",
        );
    }

    #[test]
    fn it_is_found_when_many_recipients_share_a_message_and_late() {
        let mut tenant = Tenant::of(Profile::Web);
        let all: Vec<Recipient> = (0..60).map(|place| recipient(place, place)).collect();
        tenant.gets(25, &message(all.clone(), 700), true, 0);
        for (place, one) in all.iter().enumerate() {
            let place = u32::try_from(place).unwrap();
            tenant.sends(server(place, 25), &message(vec![*one], 900), 1_000_000 + u64::from(place) * 30_000);
        }
        assert!(tenant.is(Class::SmtpRelay), "{:?}", tenant.found);
    }

    #[test]
    fn look_alikes_stay_silent() {
        let many = || Case { messages: 9, domains: 9, hops: 9, ..OPEN };
        check(&Case { is_authenticated: true, ..many() }, false, "a user's");
        check(&Case { is_outside: false, ..many() }, false, "its own");
        check(&Case { is_own: true, ..many() }, false, "its domains'");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut relay, numbers) = (Relaying::default(), Relay::default());
        for place in 0..5_000_u32 {
            relay.take_in(&[recipient(place, place), recipient(place, 1)], false, at(place.into()));
            relay.pass_on(&numbers, &[recipient(place, place)], server(place, 25), at(place.into()));
        }
        let (taken_in, passed_on) = relay.len();
        assert!((TAKEN_IN_MAX - 2..=TAKEN_IN_MAX).contains(&taken_in), "{taken_in}");
        assert_eq!(passed_on, PASSED_ON_MAX);
    }
}
