//! `spam`, `spam.mailbomb`, `smtp_relay`: mail that should not be sent.
//!
//! **Measure.** `spam`: messages (each recipient that a server answered for, or a message-sized turn where TLS hides
//! them) in a minute and in an hour, and distinct mail exchangers in ten minutes; where many recipients are refused, half as
//! many suffice, since lists that were bought or guessed are full of addresses that do not exist. `spam.mailbomb`: messages
//! to one recipient. `smtp_relay`: messages that came in from outside, from nobody that had said who it was, for a domain
//! that is not the tenant's, and went out again to the same recipient: that a server takes such mail is what makes it an open
//! relay (RFC 5321, section 7.9, and RFC 2505).
//!
//! **Numbers.** 60 messages a minute, 500 an hour, 30 exchangers in 10 minutes, 20 % refused; ten times as much for tenants with
//! the profile `mail`. 100 messages in 10 minutes to one recipient. 3 messages, to 3 domains by 3 next hops, within an hour.
//!
//! **Look-alikes that stay silent.** A mail server that answers and is answered: its rates. Submission by users: they have
//! said who they are. An office that sends through its server by its address alone: the tenant's `mail_clients`. Forwarding and mailing lists: recipients change. A secondary exchanger: its `relay_domains`, and one
//! domain. Greylisting: what is deferred and comes again counts when it is taken or refused.
//!
//! **Evasion.** Below the numbers. Encrypted, recipients cannot be seen: a message counts once, and a relay is not recognised
//! here. Through the provider's own smart host, the messages count and the exchangers do not.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::{Mailbomb, Relay, Spam, Thresholds};
use reeve_policy::{Alert, Class, Outcome, Profile, Protocol, Target, TargetSeen, Timestamp};

use super::{Finding, count, share};
use crate::flow::table::{address, bits};
use crate::meter::sliding::Sliding;
use crate::stream::smtp::{Answer, MailEvent, Recipient};

/// The window for exchangers.
const EXCHANGERS_WINDOW: Duration = Duration::from_secs(600);
/// So many exchangers are remembered: the most that a policy can ask for, for a profile that may do more.
const EXCHANGERS_MAX: usize = 320;
/// So many recipients are watched for bombs.
const BOMBED_MAX: usize = 48;
/// So many messages that came in are remembered, by recipient.
const TAKEN_IN_MAX: usize = 384;
/// So many messages that went out again.
const PASSED_ON_MAX: usize = 48;
/// Below this many answers a share of refusals says nothing.
const ANSWERS_LEAST: u32 = 10;

/// An exchanger that the tenant spoke with.
#[derive(Clone, Copy, Debug)]
struct Exchanger {
    // As bytes, so that it needs no padding.
    address: [u8; 16],
    port: u16,
    first: Timestamp,
    last: Timestamp,
}

/// A recipient who gets many messages.
#[derive(Clone, Copy, Debug)]
struct Bombed {
    recipient: u64,
    since: Timestamp,
    messages: u32,
    last_exchanger: Target,
}

/// A message that came in for somebody else.
#[derive(Clone, Copy, Debug)]
struct TakenIn {
    recipient: u64,
    at: Timestamp,
}

/// A message that came in and went out again.
#[derive(Clone, Copy, Debug)]
struct PassedOn {
    domain: u64,
    next_hop: Target,
    at: Timestamp,
}

/// What is known of one tenant's mail.
#[derive(Debug, Default)]
pub struct Mail {
    minute: Sliding<60>,
    hour: Sliding<60>,
    /// Answers for recipients in ten minutes, and refusals among them.
    answers: Sliding<60>,
    refusals: Sliding<60>,
    exchangers: Vec<Exchanger>,
    bombed: Vec<Bombed>,
    taken_in: VecDeque<TakenIn>,
    passed_on: VecDeque<PassedOn>,
    last: Timestamp,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TEN_SECONDS: Duration = Duration::from_secs(10);

impl Mail {
    /// The most bytes that it takes.
    pub const BYTES: usize = size_of::<Self>()
        + EXCHANGERS_MAX * size_of::<Exchanger>()
        + BOMBED_MAX * size_of::<Bombed>()
        + TAKEN_IN_MAX * size_of::<TakenIn>()
        + PASSED_ON_MAX * size_of::<PassedOn>();

    /// Takes what was told of a connection in which the tenant is the client.
    pub fn handle_sent(
        &mut self,
        numbers: &Thresholds,
        profile: Profile,
        exchanger: Target,
        event: &MailEvent,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last = at;
        match event {
            MailEvent::Recipient { recipient, answer } => {
                self.meet(exchanger, at);
                if *answer != Answer::Deferred {
                    self.answers.add(at, TEN_SECONDS, 1);
                    self.refusals.add(at, TEN_SECONDS, u32::from(*answer == Answer::Refused));
                    self.count_messages(at, 1);
                    found.extend(self.bomb(&numbers.mailbomb, *recipient, exchanger, at));
                }
            }
            MailEvent::Message { recipients, answer, .. } => {
                if *answer == Answer::Accepted {
                    recipients
                        .iter()
                        .for_each(|recipient| self.pass_on(&numbers.relay, *recipient, exchanger, at));
                    found.extend(self.judge_relay(&numbers.relay, at));
                }
            }
            MailEvent::Sealed => self.meet(exchanger, at),
            MailEvent::SealedMessage => self.count_messages(at, 1),
        }
        found.extend(self.judge_spam(&numbers.spam, profile, at));
    }

    /// Takes what was told of a connection in which the tenant is the server; `is_outside` says whether the client is not
    /// the tenant itself.
    pub fn handle_received(&mut self, event: &MailEvent, is_outside: bool, at: Timestamp) {
        self.last = at;
        if let MailEvent::Message { recipients, answer: Answer::Accepted, is_authenticated: false } = event
            && is_outside
        {
            for recipient in recipients.iter().filter(|recipient| !recipient.is_own) {
                if self.taken_in.len() == TAKEN_IN_MAX {
                    self.taken_in.pop_front();
                }
                self.taken_in.push_back(TakenIn { recipient: recipient.address, at });
            }
        }
    }

    /// Begins to count messages and exchangers anew: what was sent before a measure does not tell that it goes on after it.
    pub fn restart(&mut self) {
        (self.minute, self.hour) = Default::default();
        (self.answers, self.refusals) = Default::default();
        self.exchangers.clear();
        self.bombed.clear();
    }

    /// Whether nothing here matters any more at `now`.
    #[must_use]
    pub fn is_idle(&self, numbers: &Thresholds, now: Timestamp) -> bool {
        now.since(self.last) > numbers.relay.window.max(60 * MINUTE)
    }

    fn count_messages(&mut self, at: Timestamp, messages: u32) {
        self.minute.add(at, SECOND, messages);
        self.hour.add(at, MINUTE, messages);
    }

    fn meet(&mut self, exchanger: Target, at: Timestamp) {
        let (address, port) = (bits(exchanger.address).to_be_bytes(), exchanger.port.unwrap_or_default());
        if let Some(known) = self.exchangers.iter_mut().find(|known| known.address == address) {
            known.last = at;
            return;
        }
        if self.exchangers.len() == EXCHANGERS_MAX {
            let oldest = (0..EXCHANGERS_MAX).min_by_key(|place| self.exchangers[*place].last);
            self.exchangers.swap_remove(oldest.unwrap_or(0));
        }
        self.exchangers.push(Exchanger { address, port, first: at, last: at });
    }

    fn judge_spam(&mut self, numbers: &Spam, profile: Profile, at: Timestamp) -> Option<Finding> {
        let (answers, refusals) = (self.answers.sum(at, TEN_SECONDS), self.refusals.sum(at, TEN_SECONDS));
        let refused = if answers >= ANSWERS_LEAST { f64::from(refusals) / f64::from(answers) } else { 0.0 };
        let factor = if profile == Profile::Mail { numbers.mail_factor } else { 1 };
        let is_dirty = refused >= numbers.rejected;
        let limit = |number: u32| {
            let number = number.saturating_mul(factor);
            if is_dirty { number.div_ceil(2) } else { number }
        };
        let per_minute =
            count("messages_per_minute", self.minute.sum(at, SECOND), limit(numbers.messages_per_minute));
        let per_hour =
            count("messages_per_hour", self.hour.sum(at, MINUTE), limit(numbers.messages_per_hour));
        let is_recent = |exchanger: &&Exchanger| at.since(exchanger.last) < EXCHANGERS_WINDOW;
        let recent = self.exchangers.iter().filter(is_recent).count();
        let met = count(
            "exchangers",
            u32::try_from(recent).unwrap_or(u32::MAX),
            limit(numbers.exchangers).min(EXCHANGERS_MAX as u32),
        );
        let mut metrics = vec![per_minute, per_hour, met];
        let is_over =
            |metric: &reeve_policy::Metric| metric.threshold.is_some_and(|limit| metric.value >= limit);
        let first = metrics.iter().position(is_over)?;
        metrics.swap(0, first);
        metrics.push(share("rejected", refused, Some(numbers.rejected)));
        let mut recent: Vec<&Exchanger> = self.exchangers.iter().filter(is_recent).collect();
        recent.sort_by_key(|exchanger| (std::cmp::Reverse(exchanger.last), exchanger.address));
        let start = recent.iter().map(|exchanger| exchanger.first).min().unwrap_or(at);
        let targets = recent.into_iter().take(Alert::MAX_TARGETS).map(seen).collect();
        Some(Finding {
            class: Class::Spam,
            // No window is longer than an hour.
            start: start.max(at.minus(60 * MINUTE)),
            at,
            metrics,
            confidence_percent: if is_dirty { 95 } else { 85 },
            is_suspicion: false,
            targets,
        })
    }

    fn bomb(
        &mut self,
        numbers: &Mailbomb,
        recipient: Recipient,
        exchanger: Target,
        at: Timestamp,
    ) -> Option<Finding> {
        let is_over = |bombed: &Bombed| at.since(bombed.since) >= numbers.window;
        let place = self.bombed.iter().position(|bombed| bombed.recipient == recipient.address);
        let fresh =
            Bombed { recipient: recipient.address, since: at, messages: 0, last_exchanger: exchanger };
        let place = match place {
            Some(place) => place,
            None if self.bombed.len() < BOMBED_MAX => {
                self.bombed.push(fresh);
                self.bombed.len() - 1
            }
            None => {
                // Whoever got least makes room, and of those the one who was first seen longest ago.
                let least = (0..BOMBED_MAX).min_by_key(|place| {
                    (!is_over(&self.bombed[*place]), self.bombed[*place].messages, self.bombed[*place].since)
                });
                let least = least.unwrap_or(0);
                self.bombed[least] = fresh;
                least
            }
        };
        if is_over(&self.bombed[place]) {
            self.bombed[place] = fresh;
        }
        let bombed = &mut self.bombed[place];
        bombed.messages += 1;
        bombed.last_exchanger = exchanger;
        (bombed.messages >= numbers.messages).then(|| Finding {
            class: Class::SpamMailbomb,
            start: bombed.since,
            at,
            metrics: vec![count("messages", bombed.messages, numbers.messages)],
            confidence_percent: 90,
            is_suspicion: false,
            targets: vec![TargetSeen {
                target: exchanger,
                first: bombed.since,
                last: at,
                outcome: Outcome::Productive,
            }],
        })
    }

    fn pass_on(&mut self, numbers: &Relay, recipient: Recipient, next_hop: Target, at: Timestamp) {
        while self.taken_in.front().is_some_and(|taken| at.since(taken.at) >= numbers.window) {
            self.taken_in.pop_front();
        }
        let place = self.taken_in.iter().position(|taken| taken.recipient == recipient.address);
        if let Some(place) = place {
            self.taken_in.remove(place);
            if self.passed_on.len() == PASSED_ON_MAX {
                self.passed_on.pop_front();
            }
            self.passed_on.push_back(PassedOn { domain: recipient.domain, next_hop, at });
        }
    }

    fn judge_relay(&mut self, numbers: &Relay, at: Timestamp) -> Option<Finding> {
        while self.passed_on.front().is_some_and(|passed| at.since(passed.at) >= numbers.window) {
            self.passed_on.pop_front();
        }
        let latest = self.passed_on.back()?;
        let mut domains: Vec<u64> = self.passed_on.iter().map(|passed| passed.domain).collect();
        domains.sort_unstable();
        domains.dedup();
        let mut hops: Vec<Target> = self.passed_on.iter().map(|passed| passed.next_hop).collect();
        hops.sort_unstable();
        hops.dedup();
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let (messages, domains, next_hops) =
            (number(self.passed_on.len()), number(domains.len()), number(hops.len()));
        let is_relay = messages >= numbers.messages
            && domains >= numbers.domains
            && next_hops >= numbers.next_hops
            // Told once for each message that makes it worse.
            && latest.at == at;
        is_relay.then(|| {
            let times = |hop: &Target| {
                let mut times =
                    self.passed_on.iter().filter(|passed| passed.next_hop == *hop).map(|passed| passed.at);
                let first = times.next().unwrap_or(at);
                (first, times.next_back().unwrap_or(first))
            };
            let target = |hop: &Target| {
                let (first, last) = times(hop);
                TargetSeen { target: *hop, first, last, outcome: Outcome::Productive }
            };
            Finding {
                class: Class::SmtpRelay,
                start: self.passed_on.front().map_or(at, |passed| passed.at),
                at,
                metrics: vec![
                    count("messages", messages, numbers.messages),
                    count("domains", domains, numbers.domains),
                    count("next_hops", next_hops, numbers.next_hops),
                ],
                confidence_percent: 95,
                is_suspicion: false,
                targets: hops.iter().take(Alert::MAX_TARGETS).map(target).collect(),
            }
        })
    }
}

fn seen(exchanger: &Exchanger) -> TargetSeen {
    let target = Target {
        address: address(u128::from_be_bytes(exchanger.address)),
        protocol: Protocol::Tcp,
        port: Some(exchanger.port),
    };
    TargetSeen { target, first: exchanger.first, last: exchanger.last, outcome: Outcome::Productive }
}

/// The target of a mail server's port.
#[must_use]
pub fn exchanger(address: IpAddr, port: u16) -> Target {
    Target { address, protocol: Protocol::Tcp, port: Some(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    fn recipient(number: u32, domain: u32) -> Recipient {
        Recipient {
            address: u64::from(number) << 32 | u64::from(domain),
            domain: domain.into(),
            is_own: false,
        }
    }

    /// One recipient every `step_ms`, at `exchangers` servers in turn; one in `refused` is refused. The classes found.
    fn send(messages: u32, step_ms: u64, exchangers: u32, refused: u32, profile: Profile) -> Vec<Class> {
        let (mut mail, mut found) = (Mail::default(), Vec::new());
        for number in 0..messages {
            let server = exchanger([34, 0, 0, (number % exchangers) as u8].into(), 25);
            let is_refused = refused > 0 && number % refused == 0;
            let answer = if is_refused { Answer::Refused } else { Answer::Accepted };
            let event = MailEvent::Recipient { recipient: recipient(number, number), answer };
            let time = at(u64::from(number) * step_ms);
            mail.handle_sent(&Thresholds::default(), profile, server, &event, time, &mut found);
        }
        let mut classes: Vec<Class> = found.iter().map(|finding| finding.class).collect();
        classes.dedup();
        classes
    }

    fn check(messages: u32, step_ms: u64, exchangers: u32, refused: u32, profile: Profile, expect: bool) {
        let found = send(messages, step_ms, exchangers, refused, profile);
        assert_eq!(
            !found.is_empty(),
            expect,
            "{messages} every {step_ms} ms to {exchangers}, 1 in {refused} refused: {found:?}"
        );
    }

    #[test]
    fn spam_fires_at_its_numbers_and_not_below() {
        check(60, 900, 3, 0, Profile::Web, true);
        check(59, 900, 3, 0, Profile::Web, false);
        check(500, 6_500, 3, 0, Profile::Web, true);
        check(499, 6_500, 3, 0, Profile::Web, false);
        check(30, 15_000, 30, 0, Profile::Web, true);
        check(29, 15_000, 29, 0, Profile::Web, false);
        check(15, 15_000, 15, 3, Profile::Web, true);
        check(30, 1_900, 3, 3, Profile::Web, true);
    }

    #[test]
    fn patience_and_a_profile_keep_it_silent() {
        check(2_000, 7_300, 3, 0, Profile::Web, false);
        check(200, 25_000, 200, 0, Profile::Web, false);
        check(500, 900, 100, 20, Profile::Mail, false);
        check(700, 90, 100, 0, Profile::Mail, true);
    }

    #[test]
    fn deferred_recipients_count_when_they_are_taken() {
        let (mut mail, mut found) = (Mail::default(), Vec::new());
        for number in 0..200 {
            let event = MailEvent::Recipient { recipient: recipient(number, 1), answer: Answer::Deferred };
            let server = exchanger([34, 0, 0, 1].into(), 25);
            mail.handle_sent(
                &Thresholds::default(),
                Profile::Web,
                server,
                &event,
                at(u64::from(number) * 10),
                &mut found,
            );
        }
        assert_eq!(found, []);
    }

    #[test]
    fn after_a_measure_it_is_counted_anew() {
        let (mut mail, mut found) = (Mail::default(), Vec::new());
        let mut send = |mail: &mut Mail, numbers: std::ops::Range<u32>| {
            found.clear();
            for number in numbers {
                let event =
                    MailEvent::Recipient { recipient: recipient(number, 1), answer: Answer::Accepted };
                let server = exchanger([34, 0, 0, number as u8].into(), 25);
                let time = at(u64::from(number) * 1_000);
                mail.handle_sent(&Thresholds::default(), Profile::Web, server, &event, time, &mut found);
            }
            found.len()
        };
        assert!(send(&mut mail, 0..40) > 0);
        mail.restart();
        assert_eq!(send(&mut mail, 40..60), 0);
        assert!(send(&mut mail, 60..80) > 0);
    }

    #[test]
    fn many_messages_to_one_recipient_are_a_bomb() {
        for (messages, step_ms, expect) in [(100, 5_000, true), (99, 5_000, false), (300, 6_100, false)] {
            let mut mail = Mail::default();
            let one = recipient(1, 1);
            let server = exchanger([34, 0, 0, 1].into(), 25);
            let found = (0..messages)
                .any(|number| mail.bomb(&Mailbomb::default(), one, server, at(number * step_ms)).is_some());
            assert_eq!(found, expect, "{messages} every {step_ms} ms");
        }
    }

    /// Messages come in for `domains` domains and go out by `hops` servers `later_ms` later; whether it is a relay.
    fn relay(
        messages: u32,
        domains: u32,
        hops: u32,
        later_ms: u64,
        authenticated: bool,
        is_outside: bool,
        own: bool,
    ) -> bool {
        let (mut mail, mut found) = (Mail::default(), Vec::new());
        for number in 0..messages {
            let one = Recipient { is_own: own, ..recipient(number, number % domains) };
            let event = MailEvent::Message {
                recipients: vec![one],
                answer: Answer::Accepted,
                is_authenticated: authenticated,
            };
            mail.handle_received(&event, is_outside, at(u64::from(number) * 1_000));
        }
        for number in 0..messages {
            let event = MailEvent::Message {
                recipients: vec![recipient(number, number % domains)],
                answer: Answer::Accepted,
                is_authenticated: false,
            };
            let hop = exchanger([34, 0, 0, (number % hops) as u8].into(), 25);
            let time = at(u64::from(number) * 1_000 + later_ms);
            mail.handle_sent(&Thresholds::default(), Profile::Web, hop, &event, time, &mut found);
        }
        found.iter().any(|finding| finding.class == Class::SmtpRelay)
    }

    #[test]
    fn mail_for_others_that_goes_out_again_is_a_relay() {
        assert!(relay(3, 3, 3, 500, false, true, false));
        assert!(!relay(2, 2, 2, 500, false, true, false), "below");
        assert!(!relay(9, 2, 9, 500, false, true, false), "a secondary exchanger of two domains");
        assert!(!relay(9, 9, 2, 500, false, true, false), "two next hops");
        assert!(!relay(9, 9, 9, 3_600_000, false, true, false), "an hour later");
        assert!(!relay(9, 9, 9, 500, true, true, false), "a user's");
        assert!(!relay(9, 9, 9, 500, false, false, false), "its own");
        assert!(!relay(9, 9, 9, 500, false, true, true), "its domains'");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut mail, mut found) = (Mail::default(), Vec::new());
        for number in 0..5_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let one = recipient(number, number);
            let message = MailEvent::Message {
                recipients: vec![one],
                answer: Answer::Accepted,
                is_authenticated: false,
            };
            mail.handle_received(&message, true, at(number.into()));
            let server = exchanger([34 + a, b, c, d].into(), 25);
            for event in [MailEvent::Recipient { recipient: one, answer: Answer::Accepted }, message] {
                mail.handle_sent(
                    &Thresholds::default(),
                    Profile::Web,
                    server,
                    &event,
                    at(number.into()),
                    &mut found,
                );
            }
        }
        assert_eq!(
            (mail.exchangers.len(), mail.bombed.len(), mail.passed_on.len()),
            (EXCHANGERS_MAX, BOMBED_MAX, PASSED_ON_MAX)
        );
        assert!(mail.taken_in.len() <= TAKEN_IN_MAX);
    }
}
