//! `spam`: mail in bulk.
//!
//! **Measure.** Messages (each recipient that a server answered for, or a message-sized turn where TLS hides them) in a minute and in an
//! hour; distinct exchangers in ten minutes, among them those that turned the sender away before it could name anybody; messages of
//! like size to many domains in an hour ([`super::alike`]). Where many recipients are refused, half as many suffice, since lists that were
//! bought or guessed are full of addresses that do not exist. Messages from nobody, as bounces are (RFC 5321, section 4.5.5), if they are
//! most of what is sent, are told as a suspicion: a server that takes spam and returns it to forged senders. So are as many
//! exchangers as would be spam, met with nothing else. Who the senders were is evidence beside the rest and never a finding alone: how many
//! there were, and, of a tenant whose mail domains are known, how many messages were sent in the name of another domain.
//!
//! **Numbers.** 60 messages a minute, 500 an hour, 30 exchangers in 10 minutes, 100 alike to 40 domains in an hour, 20 % refused;
//! 100 bounces an hour. Ten times as much for tenants with the profile `mail`, by the baseline.
//!
//! **Look-alikes that stay silent.** A mail server that answers and is answered: its rates. Greylisting: what is deferred and comes again
//! counts when it is taken or refused, and its exchanger once. A server that retries while port 25 is blocked above it: nobody answers,
//! and exchangers whose port is closed count only as far as others are open. A server that asks whether senders exist names
//! a recipient for nobody and sends nothing. Who watches mail servers looks at their greeting and goes.
//!
//! **Evasion.** Below the numbers. Encrypted, a message counts once, whoever it is for. Through a smart host the messages count
//! and the exchangers do not.

use std::time::Duration;

use reeve_policy::language::thresholds::Spam;
use reeve_policy::{Alert, Class, Metric, Target, Timestamp};

use super::alike::Alike;
use super::{HOUR, MINUTE, PORT_SMTP, SECOND, exchanger, number, seen};
use crate::detect::{Finding, count, share};
use crate::flow::table::{address, bits};
use crate::meter::sliding::Sliding;
use crate::stream::smtp::{Answer, MailEvent};

/// The window for exchangers.
const EXCHANGERS_WINDOW: Duration = Duration::from_secs(600);
/// So many exchangers are remembered: the most that a policy can ask for, for a profile that may do more.
pub(in crate::detect) const EXCHANGERS_MAX: usize = 320;
/// Below this many answers a share of refusals says nothing.
const ANSWERS_LEAST: u32 = 10;
/// So many senders are told apart.
const SENDERS_MAX: usize = 16;
/// From so many senders in an hour on they are told of.
const SENDERS_TOLD: u32 = 10;
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// An exchanger that the tenant spoke with, or tried to.
#[derive(Clone, Copy, Debug)]
struct Exchanger {
    // As bytes, so that it needs no padding.
    address: [u8; 16],
    port: u16,
    /// Whether somebody answers there.
    is_open: bool,
    /// Whether nobody has written there but nobody: bounces, and servers that ask whether a sender exists.
    is_bounced_to: bool,
    first: Timestamp,
    last: Timestamp,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Spamming {
    minute: Sliding<60>,
    hour: Sliding<60>,
    bounces: Sliding<60>,
    /// Answers for recipients in ten minutes, and refusals among them.
    answers: Sliding<60>,
    refusals: Sliding<60>,
    pub(super) exchangers: Exchangers,
    alike: Alike,
    /// Messages in the name of another's domain.
    foreign: Sliding<60>,
    senders: Senders,
}

/// When each sender last sent something; see [`SENDERS_MAX`].
#[derive(Debug, Default)]
struct Senders(Vec<(u64, Timestamp)>);

/// See [`EXCHANGERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Exchangers(Vec<Exchanger>);

impl Spamming {
    /// The most bytes that it takes beside itself.
    pub const HELD_BYTES: usize = EXCHANGERS_MAX * size_of::<Exchanger>()
        + SENDERS_MAX * size_of::<(u64, Timestamp)>()
        + Alike::HELD_BYTES;

    /// Takes what was told of a connection to `server`.
    pub fn observe(&mut self, server: Target, event: &MailEvent, at: Timestamp) {
        match event {
            MailEvent::Met { answer, is_bounce } => {
                self.exchangers.meet(server, true, *is_bounce, at);
                if *answer == Answer::Refused && !is_bounce {
                    self.answer(at, 1, 1);
                }
            }
            MailEvent::Recipient { answer, is_bounce, .. } => {
                self.exchangers.meet(server, true, *is_bounce, at);
                if *answer != Answer::Deferred && !is_bounce {
                    self.answer(at, 1, u32::from(*answer == Answer::Refused));
                    self.count_messages(at, 1);
                }
            }
            MailEvent::Message { recipients, answer, sender, is_foreign, size, is_unnamed, .. } => {
                if let Some(sender) = sender {
                    self.senders.meet(*sender, at);
                }
                let number = number(recipients.len()).max(u32::from(*is_unnamed));
                match answer {
                    // They were taken for accepted.
                    Answer::Refused if sender.is_some() => self.answer(at, 0, number),
                    Answer::Accepted => {
                        self.foreign.add(at, MINUTE, if *is_foreign { number } else { 0 });
                        if *is_unnamed && sender.is_some() {
                            self.exchangers.meet(server, true, false, at);
                            self.answer(at, 1, 0);
                            self.count_messages(at, 1);
                        }
                        if sender.is_none() {
                            self.count_messages(at, number);
                            self.bounces.add(at, MINUTE, number);
                        }
                        for recipient in recipients {
                            self.alike.record(*size, recipient.domain, at);
                        }
                    }
                    Answer::Refused | Answer::Deferred => {}
                }
            }
            MailEvent::Sealed => self.exchangers.meet(server, true, false, at),
            MailEvent::SealedMessage { size } => {
                self.exchangers.meet(server, true, false, at);
                self.count_messages(at, 1);
                if server.port == Some(PORT_SMTP) {
                    let site = bits(server.address);
                    self.alike.record(*size, (site ^ site >> 64) as u64, at);
                }
            }
        }
    }

    /// Takes note that `server` refused the connection.
    pub fn meet_closed(&mut self, server: Target, at: Timestamp) {
        self.exchangers.meet(server, false, false, at);
    }

    /// Judges what was sent up to `at`.
    pub fn judge(&mut self, numbers: &Spam, at: Timestamp) -> Option<Finding> {
        let (answers, refusals) = (self.answers.sum(at, TEN_SECONDS), self.refusals.sum(at, TEN_SECONDS));
        let refused = if answers >= ANSWERS_LEAST { f64::from(refusals) / f64::from(answers) } else { 0.0 };
        let is_dirty = refused >= numbers.rejected;
        let limit = |number: u32| if is_dirty { number.div_ceil(2) } else { number };
        let per_hour = self.hour.sum(at, MINUTE);
        let mut metrics = vec![
            count("messages_per_minute", self.minute.sum(at, SECOND), limit(numbers.messages_per_minute)),
            count("messages_per_hour", per_hour, limit(numbers.messages_per_hour)),
            count("exchangers", self.exchangers.recent(at), limit(numbers.exchangers)),
        ];
        let is_over = |metric: &Metric| metric.threshold.is_some_and(|limit| metric.value >= limit);
        let mut first = metrics.iter().position(is_over);
        if first.is_none()
            && let Some(alike) = self.alike.most(limit(numbers.alike_messages), numbers.alike_sites, at)
        {
            first = Some(metrics.len());
            metrics.push(count("alike_messages", alike.messages, limit(numbers.alike_messages)));
            metrics.push(count("alike_sites", alike.sites, numbers.alike_sites));
        }
        let Some(first) = first else { return self.judge_bounces(numbers, per_hour, at) };
        metrics.swap(0, first);
        metrics.push(share("rejected", refused, Some(numbers.rejected)));
        let is_forged = self.weigh_senders(per_hour, &mut metrics, at);
        let confidence = match (is_dirty, is_forged) {
            (true, _) => 95,
            (false, true) => 90,
            (false, false) => 85,
        };
        Some(self.finding(metrics, confidence, false, at))
    }

    /// Tells who the senders were, where that says something; whether most of what is sent bears another's name.
    fn weigh_senders(&mut self, per_hour: u32, metrics: &mut Vec<Metric>, at: Timestamp) -> bool {
        let mut tell = |name: &'static str, value: u32| {
            metrics.push(Metric { name: name.into(), value: value.into(), threshold: None });
        };
        let senders = self.senders.recent(at);
        if senders >= SENDERS_TOLD {
            tell("senders", senders);
        }
        let foreign = self.foreign.sum(at, MINUTE);
        if foreign > 0 {
            tell("foreign_sender_messages", foreign);
        }
        foreign > 0 && foreign.saturating_mul(2) >= per_hour
    }

    /// What a server sends back to senders who never wrote to it.
    fn judge_bounces(&mut self, numbers: &Spam, per_hour: u32, at: Timestamp) -> Option<Finding> {
        let (bounces, limit) = (self.bounces.sum(at, MINUTE), numbers.bounces_per_hour);
        if bounces >= limit && bounces.saturating_mul(2) >= per_hour {
            return Some(self.finding(vec![count("bounces_per_hour", bounces, limit)], 60, true, at));
        }
        let (met, limit) = (self.exchangers.bounced_to(at), numbers.exchangers.min(number(EXCHANGERS_MAX)));
        (met >= limit).then(|| self.finding(vec![count("bounce_exchangers", met, limit)], 50, true, at))
    }

    fn finding(
        &self,
        metrics: Vec<Metric>,
        confidence_percent: u8,
        is_suspicion: bool,
        at: Timestamp,
    ) -> Finding {
        let mut recent: Vec<&Exchanger> = self.exchangers.open(at).collect();
        recent.sort_by_key(|exchanger| (std::cmp::Reverse(exchanger.last), exchanger.address));
        let start = recent.iter().map(|exchanger| exchanger.first).min().unwrap_or(at);
        Finding {
            class: Class::Spam,
            // No window is longer than an hour.
            start: start.max(at.minus(HOUR)),
            at,
            metrics,
            confidence_percent,
            is_suspicion,
            targets: recent
                .into_iter()
                .take(Alert::MAX_TARGETS)
                .map(|known| {
                    let address = address(u128::from_be_bytes(known.address));
                    seen(exchanger(address, known.port), known.first, known.last)
                })
                .collect(),
        }
    }

    fn answer(&mut self, at: Timestamp, answers: u32, refusals: u32) {
        self.answers.add(at, TEN_SECONDS, answers);
        self.refusals.add(at, TEN_SECONDS, refusals);
    }

    fn count_messages(&mut self, at: Timestamp, messages: u32) {
        self.minute.add(at, SECOND, messages);
        self.hour.add(at, MINUTE, messages);
    }
}

impl Senders {
    fn meet(&mut self, sender: u64, at: Timestamp) {
        if let Some(known) = self.0.iter_mut().find(|known| known.0 == sender) {
            known.1 = at;
            return;
        }
        if self.0.len() == SENDERS_MAX {
            let oldest = (0..SENDERS_MAX).min_by_key(|place| self.0[*place].1);
            self.0.swap_remove(oldest.unwrap_or(0));
        }
        self.0.push((sender, at));
    }

    /// How many sent something within an hour.
    fn recent(&self, at: Timestamp) -> u32 {
        number(self.0.iter().filter(|known| !at.is_past(known.1, HOUR)).count())
    }
}

impl Exchangers {
    fn meet(&mut self, server: Target, is_open: bool, is_bounce: bool, at: Timestamp) {
        let (address, port) = (bits(server.address).to_be_bytes(), server.port.unwrap_or_default());
        if let Some(known) = self.0.iter_mut().find(|known| known.address == address) {
            // What was met long ago with a letter is no evidence of letters now.
            let is_stale = at.is_past(known.last, EXCHANGERS_WINDOW);
            known.is_bounced_to = is_bounce && (known.is_bounced_to || is_stale);
            known.is_open |= is_open;
            known.last = at;
            return;
        }
        if self.0.len() == EXCHANGERS_MAX {
            let oldest = (0..EXCHANGERS_MAX).min_by_key(|place| self.0[*place].last);
            self.0.swap_remove(oldest.unwrap_or(0));
        }
        self.0.push(Exchanger { address, port, is_open, is_bounced_to: is_bounce, first: at, last: at });
    }

    /// Those that answered.
    fn open(&self, at: Timestamp) -> impl Iterator<Item = &Exchanger> {
        self.0.iter().filter(move |known| known.is_open && !at.is_past(known.last, EXCHANGERS_WINDOW))
    }

    /// How many there were that nothing but bounces went to.
    fn bounced_to(&self, at: Timestamp) -> u32 {
        number(self.open(at).filter(|known| known.is_bounced_to).count())
    }

    /// How many others there were: those that are closed as far as as many are open, since a block above the tenant closes all.
    fn recent(&self, at: Timestamp) -> u32 {
        let recent = |known: &&Exchanger| !at.is_past(known.last, EXCHANGERS_WINDOW) && !known.is_bounced_to;
        let all = self.0.iter().filter(recent).count();
        let open = self.0.iter().filter(recent).filter(|known| known.is_open).count();
        number(open + (all - open).min(open))
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Tenant, at, message, named, recipient, server};
    use super::*;
    use reeve_policy::Profile;

    /// One recipient every `step_ms`, at so many servers in turn; one in `refused` is refused. Whether it is spam.
    fn check(messages: u32, step_ms: u64, servers: u32, refused: u32, profile: Profile, expect: bool) {
        let mut tenant = Tenant::of(profile);
        for place in 0..messages {
            let is_refused = refused > 0 && place % refused == 0;
            let answer = if is_refused { Answer::Refused } else { Answer::Accepted };
            tenant.sends(
                server(place % servers, 25),
                &named(place, place, answer),
                u64::from(place) * step_ms,
            );
        }
        assert_eq!(
            tenant.is(Class::Spam),
            expect,
            "{messages} every {step_ms} ms to {servers}, 1 in {refused} refused: {:?}",
            tenant.found
        );
    }

    /// The same event once a time at each of so many servers; what is found.
    fn each(event: &MailEvent, times: u32, step_ms: u64, servers: u32, port: u16) -> Vec<String> {
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..times {
            tenant.sends(server(place % servers, port), event, u64::from(place) * step_ms);
        }
        tenant.found
    }

    #[test]
    fn it_fires_at_its_numbers() {
        check(60, 900, 3, 0, Profile::Web, true);
        check(500, 6_500, 3, 0, Profile::Web, true);
        check(30, 15_000, 30, 0, Profile::Web, true);
        check(15, 15_000, 15, 3, Profile::Web, true);
        check(30, 1_900, 3, 3, Profile::Web, true);
        check(700, 90, 100, 0, Profile::Mail, true);
        // Where nothing can be read, and where nobody lets it speak.
        let sealed = MailEvent::SealedMessage { size: 900 };
        assert_eq!(each(&sealed, 60, 900, 3, 25), ["spam"]);
        assert_eq!(each(&sealed, 60, 900, 1, 587), ["spam"], "through one smart host");
        assert_eq!(each(&MailEvent::Sealed, 30, 15_000, 30, 25), ["spam"]);
        let put_off = MailEvent::Met { answer: Answer::Deferred, is_bounce: false };
        assert_eq!(each(&put_off, 30, 15_000, 30, 25), ["spam"]);
        // Turned away for good by each, half as many suffice.
        assert_eq!(
            each(&MailEvent::Met { answer: Answer::Refused, is_bounce: false }, 15, 15_000, 15, 25),
            ["spam"]
        );
    }

    #[test]
    fn it_is_silent_just_below() {
        check(59, 900, 3, 0, Profile::Web, false);
        check(499, 6_500, 3, 0, Profile::Web, false);
        check(29, 15_000, 29, 0, Profile::Web, false);
        check(500, 900, 100, 20, Profile::Mail, false);
        assert!(each(&MailEvent::SealedMessage { size: 900 }, 59, 900, 3, 25).is_empty());
        assert!(
            each(&MailEvent::Met { answer: Answer::Deferred, is_bounce: false }, 29, 15_000, 29, 25)
                .is_empty()
        );
        assert!(
            each(&MailEvent::Met { answer: Answer::Refused, is_bounce: false }, 14, 15_000, 14, 25)
                .is_empty()
        );
    }

    #[test]
    fn it_is_found_however_it_is_split() {
        // A recipient each, ten in a message, refused only when the content was seen.
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..30_u32 {
            let (to, millis) = (server(place % 3, 25), u64::from(place) * 1_900);
            tenant.sends(to, &named(place, place, Answer::Accepted), millis);
            let refused = MailEvent::Message {
                recipients: vec![recipient(place, place)],
                answer: Answer::Refused,
                is_authenticated: false,
                sender: Some(1),
                is_foreign: false,
                size: 2_000,
                is_unnamed: false,
                is_doubtful: false,
            };
            tenant.sends(to, &refused, millis);
        }
        assert_eq!(tenant.found, ["spam"]);
        // One text at a slow pace, three new servers in a minute at most.
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..100_u32 {
            let (to, millis) = (server(place % 20, 25), u64::from(place) * 30_000);
            tenant.sends(to, &named(place, place, Answer::Accepted), millis);
            tenant.sends(to, &message(vec![recipient(place, place)], 3_000 + place % 20), millis);
        }
        assert_eq!(tenant.found, ["spam"]);
        // From nobody, as if they were bounces: suspected first.
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..500_u32 {
            let bounce = MailEvent::Message {
                recipients: vec![recipient(place, place % 9)],
                answer: Answer::Accepted,
                is_authenticated: false,
                sender: None,
                is_foreign: false,
                size: 1_000 + place * 70,
                is_unnamed: false,
                is_doubtful: false,
            };
            tenant.sends(server(place % 3, 25), &bounce, u64::from(place) * 6_500);
        }
        assert_eq!(tenant.found, ["(spam)", "spam"]);
    }

    #[test]
    fn bounces_at_many_servers_are_suspected_and_letters_among_them_count() {
        let bounce = MailEvent::Met { answer: Answer::Accepted, is_bounce: true };
        assert_eq!(each(&bounce, 120, 1_500, 120, 25), ["(spam)"]);
        assert_eq!(
            each(&MailEvent::Met { answer: Answer::Refused, is_bounce: true }, 30, 1_500, 30, 25),
            ["(spam)"]
        );
        assert!(each(&bounce, 29, 1_500, 29, 25).is_empty());
        // Whoever writes there, too, is counted as always, whichever comes first.
        for letter_first in [true, false] {
            let mut tenant = Tenant::of(Profile::Web);
            for place in 0..60_u32 {
                let to = server(place / 2, 25);
                let is_letter = (place % 2 == 0) == letter_first;
                let event = MailEvent::Met { answer: Answer::Accepted, is_bounce: !is_letter };
                tenant.sends(to, &event, u64::from(place) * 5_000);
            }
            assert!(tenant.found.contains(&"spam".to_owned()), "{:?}", tenant.found);
        }
    }

    #[test]
    fn a_message_to_somebody_unknown_counts_once() {
        let MailEvent::Message { recipients, answer, is_authenticated, sender, size, is_doubtful, .. } =
            message(Vec::new(), 900)
        else {
            panic!("it is a message")
        };
        let unnamed = |sender| MailEvent::Message {
            recipients: recipients.clone(),
            answer,
            is_authenticated,
            sender,
            is_foreign: false,
            size,
            is_unnamed: true,
            is_doubtful,
        };
        assert_eq!(each(&unnamed(sender), 60, 900, 3, 25), ["spam"]);
        assert!(each(&unnamed(sender), 59, 900, 3, 25).is_empty());
        assert!(
            each(&message(Vec::new(), 900), 500, 900, 3, 25).is_empty(),
            "its recipients were counted before"
        );
    }

    #[test]
    fn look_alikes_stay_silent() {
        check(2_000, 7_300, 3, 0, Profile::Web, false);
        check(200, 25_000, 200, 0, Profile::Web, false);
        // Greylisting: put off, and taken a while later, at the same servers.
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..200_u32 {
            let answer = if place < 150 { Answer::Deferred } else { Answer::Accepted };
            tenant.sends(server(place % 25, 25), &named(place, place, answer), u64::from(place) * 1_000);
        }
        assert!(tenant.found.is_empty(), "{:?}", tenant.found);
        // Port 25 is blocked above a server that has mail for a hundred domains.
        let mut tenant = Tenant::of(Profile::Web);
        for place in 0..400_u32 {
            tenant
                .mail
                .handle_refused(server(place % 100, 25), super::super::fixtures::at(u64::from(place) * 500));
        }
        tenant.sends(server(200, 25), &named(1, 1, Answer::Accepted), 200_000);
        assert!(tenant.found.is_empty(), "{:?}", tenant.found);
        // A server that asks whether senders exist, most of whom do not.
        let mut tenant = Tenant::of(Profile::Mail);
        for place in 0..400_u32 {
            let asked = MailEvent::Recipient {
                recipient: recipient(place, place),
                answer: if place % 3 == 0 { Answer::Accepted } else { Answer::Refused },
                is_bounce: true,
            };
            tenant.sends(server(place % 120, 25), &asked, u64::from(place) * 1_000);
        }
        assert!(tenant.found.is_empty(), "{:?}", tenant.found);
    }

    #[test]
    fn memory_is_bounded() {
        let mut spam = Spamming::default();
        for place in 0..5_000_u32 {
            let at = super::super::fixtures::at(place.into());
            spam.observe(server(place, 25), &named(place, place, Answer::Accepted), at);
            spam.observe(server(place, 25), &message(vec![recipient(place, place)], place * 90), at);
        }
        assert_eq!(spam.exchangers.len(), EXCHANGERS_MAX);
    }

    #[test]
    fn who_the_senders_were_is_evidence_and_finds_nothing_alone() {
        let numbers = Tenant::of(Profile::Web).numbers.spam;
        let judged = |messages: u32, foreign: u32| {
            let mut spamming = Spamming::default();
            let mut last = None;
            for place in 0..messages {
                let (to, at) = (server(place % 3, 25), at(u64::from(place) * 900));
                let message = MailEvent::Message {
                    recipients: vec![recipient(place, place)],
                    answer: Answer::Accepted,
                    is_authenticated: false,
                    sender: Some(u64::from(place) + 1),
                    is_foreign: place < foreign,
                    size: 900 + place * 70,
                    is_unnamed: false,
                    is_doubtful: false,
                };
                spamming.observe(to, &named(place, place, Answer::Accepted), at);
                spamming.observe(to, &message, at);
                last = spamming.judge(&numbers, at).or(last);
            }
            last
        };
        assert!(judged(59, 59).is_none(), "names alone are no spam");
        let told = |finding: &Finding, name: &str| {
            finding.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
        };
        let finding = judged(70, 40).unwrap();
        assert_eq!(told(&finding, "foreign_sender_messages"), Some(40.0));
        assert_eq!(told(&finding, "senders"), Some(f64::from(SENDERS_MAX as u32)), "no more are told apart");
        assert_eq!(finding.confidence_percent, 90);
        let finding = judged(70, 0).unwrap();
        assert_eq!(told(&finding, "foreign_sender_messages"), None);
        assert_eq!(finding.confidence_percent, 85);
    }
}
