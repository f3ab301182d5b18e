//! `spam.mailbomb`: very many messages to one recipient or one site.
//!
//! **Measure.** Messages to one recipient in ten minutes. Messages to one domain in ten minutes, if they are for few recipients (five messages
//! each and more) or mostly refused, as when the names are guessed. Where everything is encrypted: messages to one exchanger, if
//! nearly all that the tenant sends goes there, which is told as a suspicion.
//!
//! **Numbers.** 100 to one recipient; 500 to one site; twice that and nine of ten to one exchanger, encrypted.
//!
//! **Look-alikes that stay silent.** A newsletter, half of whose readers are at one large provider: each gets it once. Bounces and lists, likewise.
//! A smart host takes everything, but not on port 25. A monitoring system in an outage tells a few people some dozen times.
//!
//! **Evasion.** Many tenants against one; other spellings of one recipient (the site's number is left); beyond 48 recipients and
//! 8 sites, those who got least are forgotten.

use reeve_policy::language::thresholds::Mailbomb;
use reeve_policy::{Class, Target, Timestamp};

use super::{PORT_SMTP, seen};
use crate::detect::{Finding, count};
use crate::flow::table::bits;
use crate::stream::smtp::{Answer, MailEvent, Recipient};

/// So many recipients are watched.
pub(super) const BOMBED_MAX: usize = 48;
/// So many sites.
pub(super) const SITES_MAX: usize = 8;
/// Messages for each recipient of a site that is bombed, at least.
const EACH_LEAST: u32 = 5;
/// Recipients of a site are told from each other by one of so many bits; beyond half of them nothing is known.
const BITS: u32 = 512;
const WORDS: usize = (BITS / 64) as usize;

/// A recipient or a site that gets many messages.
#[derive(Clone, Copy, Debug)]
struct Bombed {
    key: u64,
    since: Timestamp,
    messages: u32,
    last_exchanger: Target,
}

/// A site.
#[derive(Clone, Copy, Debug)]
struct Site {
    bombed: Bombed,
    refused: u32,
    /// Messages to others since.
    others: u32,
    is_sealed: bool,
    recipients: [u64; WORDS],
}

/// Who gets many messages.
#[derive(Debug, Default)]
pub(super) struct Bombs {
    bombed: Vec<Bombed>,
    sites: Vec<Site>,
}

impl Bombs {
    /// The most bytes that it takes beside itself.
    pub const HELD_BYTES: usize = BOMBED_MAX * size_of::<Bombed>() + SITES_MAX * size_of::<Site>();

    /// Takes what was told of a connection to `exchanger`, and judges it.
    pub fn observe(
        &mut self,
        numbers: &Mailbomb,
        exchanger: Target,
        event: &MailEvent,
        at: Timestamp,
    ) -> Option<Finding> {
        match event {
            MailEvent::Recipient { recipient, answer, .. } if *answer != Answer::Deferred => {
                let to_one = self.bomb_recipient(numbers, recipient, exchanger, at);
                let is_refused = *answer == Answer::Refused;
                let to_site = self.bomb_site(numbers, recipient, is_refused, exchanger, at);
                to_one.or(to_site)
            }
            MailEvent::SealedMessage { .. } if exchanger.port == Some(PORT_SMTP) => {
                self.bomb_sealed(numbers, exchanger, at)
            }
            _ => None,
        }
    }

    fn bomb_recipient(
        &mut self,
        numbers: &Mailbomb,
        recipient: &Recipient,
        exchanger: Target,
        at: Timestamp,
    ) -> Option<Finding> {
        let fresh = Bombed::new(recipient.address, exchanger, at);
        let known = self.bombed.iter().position(|bombed| bombed.key == recipient.address);
        let place = known
            .unwrap_or_else(|| place(&mut self.bombed, BOMBED_MAX, fresh, |bombed| bombed.rank(numbers, at)));
        let bombed = &mut self.bombed[place];
        if bombed.is_over(numbers, at) {
            *bombed = fresh;
        }
        bombed.add(exchanger);
        (bombed.messages >= numbers.messages).then(|| bombed.finding("messages", numbers.messages, false, at))
    }

    fn bomb_site(
        &mut self,
        numbers: &Mailbomb,
        recipient: &Recipient,
        is_refused: bool,
        exchanger: Target,
        at: Timestamp,
    ) -> Option<Finding> {
        let site = self.site(numbers, recipient.domain, false, exchanger, at);
        site.refused += u32::from(is_refused);
        let bit = (recipient.address ^ recipient.address >> 32) % u64::from(BITS);
        site.recipients[(bit / 64) as usize] |= 1 << (bit % 64);
        let messages = site.bombed.messages;
        let recipients: u32 = site.recipients.iter().map(|word| word.count_ones()).sum();
        let is_for_few = recipients <= BITS / 2 && recipients.saturating_mul(EACH_LEAST) <= messages;
        let is_guessing = site.refused.saturating_mul(2) >= messages;
        (messages >= numbers.site_messages && (is_for_few || is_guessing))
            .then(|| site.bombed.finding("site_messages", numbers.site_messages, false, at))
    }

    fn bomb_sealed(&mut self, numbers: &Mailbomb, exchanger: Target, at: Timestamp) -> Option<Finding> {
        let bits = bits(exchanger.address);
        let site = self.site(numbers, (bits ^ bits >> 64) as u64, true, exchanger, at);
        let (messages, limit) = (site.bombed.messages, numbers.site_messages.saturating_mul(2));
        (messages >= limit && site.others.saturating_mul(9) <= messages)
            .then(|| site.bombed.finding("site_messages", limit, true, at))
    }

    /// The site of a key, with one message more.
    fn site(
        &mut self,
        numbers: &Mailbomb,
        key: u64,
        is_sealed: bool,
        exchanger: Target,
        at: Timestamp,
    ) -> &mut Site {
        let bombed = Bombed::new(key, exchanger, at);
        let fresh = Site { bombed, refused: 0, others: 0, is_sealed, recipients: [0; WORDS] };
        let is_this = |site: &Site| site.bombed.key == key && site.is_sealed == is_sealed;
        for site in self.sites.iter_mut().filter(|site| !is_this(site)) {
            site.others = site.others.saturating_add(1);
        }
        let place = self.sites.iter().position(is_this).unwrap_or_else(|| {
            place(&mut self.sites, SITES_MAX, fresh, |site| site.bombed.rank(numbers, at))
        });
        let site = &mut self.sites[place];
        if site.bombed.is_over(numbers, at) {
            *site = fresh;
        }
        site.bombed.add(exchanger);
        site
    }

    /// How many are watched.
    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.bombed.len(), self.sites.len())
    }
}

impl Bombed {
    fn new(key: u64, exchanger: Target, at: Timestamp) -> Self {
        Self { key, since: at, messages: 0, last_exchanger: exchanger }
    }

    fn is_over(&self, numbers: &Mailbomb, at: Timestamp) -> bool {
        at.is_past(self.since, numbers.window)
    }

    /// Whoever got least makes room, and of those the one who was first seen longest ago.
    fn rank(&self, numbers: &Mailbomb, at: Timestamp) -> (bool, u32, Timestamp) {
        (!self.is_over(numbers, at), self.messages, self.since)
    }

    fn add(&mut self, exchanger: Target) {
        self.messages = self.messages.saturating_add(1);
        self.last_exchanger = exchanger;
    }

    fn finding(&self, name: &'static str, limit: u32, is_suspicion: bool, at: Timestamp) -> Finding {
        Finding {
            class: Class::SpamMailbomb,
            start: self.since,
            at,
            metrics: vec![count(name, self.messages, limit)],
            confidence_percent: if is_suspicion { 60 } else { 90 },
            is_suspicion,
            targets: vec![seen(self.last_exchanger, self.since, at)],
        }
    }
}

/// Puts a fresh one among those that are known, in place of the lowest in rank if there is no room.
fn place<T, R: Ord>(known: &mut Vec<T>, most: usize, fresh: T, rank: impl Fn(&T) -> R) -> usize {
    if known.len() < most {
        known.push(fresh);
        return known.len() - 1;
    }
    let lowest = (0..known.len()).min_by_key(|place| rank(&known[*place])).unwrap_or(0);
    known[lowest] = fresh;
    lowest
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Tenant, named, server};
    use super::*;
    use reeve_policy::Profile;

    /// So many messages, one every `step_ms`, to so many recipients of one domain; one in `refused` is refused. Whether it is a bomb.
    fn check(messages: u32, step_ms: u64, recipients: u32, refused: u32, expect: bool) {
        let mut tenant = Tenant::of(Profile::Mail);
        for place in 0..messages {
            let is_refused = refused > 0 && place % refused == 0;
            let answer = if is_refused { Answer::Refused } else { Answer::Accepted };
            tenant.sends(server(1, 25), &named(place % recipients, 1, answer), u64::from(place) * step_ms);
        }
        assert_eq!(
            tenant.is(Class::SpamMailbomb),
            expect,
            "{messages} every {step_ms} ms to {recipients}: {:?}",
            tenant.found
        );
    }

    #[test]
    fn it_fires_at_its_numbers() {
        check(100, 5_900, 1, 0, true);
        check(500, 1_100, 20, 0, true);
        check(500, 1_100, 100, 0, true);
        check(500, 1_100, 500, 2, true);
    }

    #[test]
    fn it_is_silent_just_below() {
        check(99, 5_900, 1, 0, false);
        check(100, 6_200, 1, 0, false);
        check(499, 1_100, 20, 0, false);
        check(500, 1_100, 200, 0, false);
        check(500, 1_100, 500, 3, false);
    }

    #[test]
    fn it_is_found_among_other_mail_and_behind_tls() {
        let mut tenant = Tenant::of(Profile::Mail);
        for place in 0..500_u32 {
            let to = if place % 3 == 0 { (1, 1) } else { (place, place) };
            tenant.sends(server(1, 25), &named(to.0, to.1, Answer::Accepted), u64::from(place) * 1_000);
        }
        assert!(tenant.is(Class::SpamMailbomb), "{:?}", tenant.found);
        let sealed = |messages: u32, elsewhere: u32, port| {
            let mut tenant = Tenant::of(Profile::Mail);
            for place in 0..messages {
                let to = server(u32::from(place % 100 < elsewhere), port);
                tenant.sends(
                    to,
                    &MailEvent::SealedMessage { size: 700 + place % 4_000 },
                    u64::from(place) * 550,
                );
            }
            tenant.found
        };
        assert_eq!(sealed(1_000, 0, 25), ["(spam.mailbomb)"]);
        assert!(sealed(990, 0, 25).is_empty());
        assert!(sealed(1_090, 20, 25).is_empty(), "a fifth goes elsewhere");
        assert!(sealed(1_000, 0, 587).is_empty(), "a smart host");
    }

    #[test]
    fn a_newsletter_to_one_large_provider_stays_silent() {
        check(4_000, 140, 4_000, 20, false);
        // Alerts of an outage to a dozen people.
        check(480, 1_200, 12, 0, false);
    }

    #[test]
    fn memory_is_bounded() {
        let mut bombs = Bombs::default();
        for place in 0..5_000_u32 {
            let at = super::super::fixtures::at(place.into());
            let event = named(place, place, Answer::Accepted);
            bombs.observe(&Mailbomb::default(), server(1, 25), &event, at);
        }
        assert_eq!(bombs.len(), (BOMBED_MAX, SITES_MAX));
    }
}
