//! Mail that should not be sent: `spam`, `spam.mailbomb` and `smtp_relay`, each in a file of its own.
//!
//! [`Mail`] is what is known of one tenant's mail. It takes what the readers of connections tell ([`crate::stream::smtp`]), which holds no text:
//! addresses are hashes, and of content only its length is known. What is encrypted has lengths and order alone.

mod alike;
mod bomb;
mod relay;
mod sealed;
mod spam;

use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Outcome, Protocol, Target, TargetSeen, Timestamp};

use super::Finding;
use crate::meter::tally::SECOND;
use crate::stream::smtp::{Answer, MailEvent};
#[cfg(test)]
pub(super) use sealed::ARRIVALS_MAX;
#[cfg(test)]
pub(super) use spam::EXCHANGERS_MAX;

/// The port on which servers take mail from others (RFC 5321).
pub const PORT_SMTP: u16 = 25;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// What is known of one tenant's mail.
#[derive(Debug, Default)]
pub struct Mail {
    spam: spam::Spamming,
    bombs: bomb::Bombs,
    /// Made when a server of the tenant's first takes mail that may be for others.
    passing: Option<Box<Passing>>,
    last: Timestamp,
}

/// What a tenant's servers took in, and what went out again.
#[derive(Debug)]
struct Passing {
    relay: relay::Relaying,
    sealed: sealed::SealedRelaying,
    /// The server that last took mail.
    server: IpAddr,
    /// The domains that the tenant passes mail on for.
    relays: u32,
}

/// What is known of the other end of a connection that comes in.
#[derive(Clone, Copy, Debug)]
pub struct Whence {
    /// Whether it is not the tenant itself, or somebody who may send through it.
    pub is_outside: bool,
    /// The domains that the tenant passes mail on for.
    pub relays: u32,
}

impl Passing {
    /// The most bytes that it takes.
    const BYTES: usize = size_of::<Self>() + relay::Relaying::HELD_BYTES + sealed::SealedRelaying::HELD_BYTES;
}

// Beyond what every tenant with mail may take, for those who run a server that takes mail from others.
const _: () = assert!(Passing::BYTES <= 16 * 1024);

impl Mail {
    /// The most bytes that it takes; 16 KiB more for those who run a server that takes mail from others.
    pub const BYTES: usize = size_of::<Self>() + spam::Spamming::HELD_BYTES + bomb::Bombs::HELD_BYTES;

    /// Takes what was told of a connection in which the tenant is the client.
    pub fn handle_sent(
        &mut self,
        numbers: &Thresholds,
        exchanger: Target,
        event: &MailEvent,
        at: Timestamp,
        found: &mut Vec<Finding>,
    ) {
        self.last = at;
        self.spam.observe(exchanger, event, at);
        found.extend(self.spam.judge(&numbers.spam, at));
        found.extend(self.bombs.observe(&numbers.mailbomb, exchanger, event, at));
        let Some(passing) = &mut self.passing else { return };
        let relays = passing.relays;
        if let MailEvent::Message { recipients, answer: Answer::Accepted, .. } = event {
            found.extend(passing.relay.pass_on(&numbers.relay, recipients, exchanger, at));
        }
        if let Some(message) = sealed::Message::of(event).filter(|_| exchanger.port == Some(PORT_SMTP)) {
            found.extend(passing.sealed.pass_on(&numbers.relay, relays, message, exchanger, at));
        }
    }

    /// Takes what was told of a connection in which the tenant is the server, at `local` and `port`.
    pub fn handle_received(
        &mut self,
        (local, port): (IpAddr, u16),
        event: &MailEvent,
        whence: Whence,
        at: Timestamp,
    ) {
        self.last = at;
        if !whence.is_outside {
            return;
        }
        let Some(message) = sealed::Message::of(event) else { return };
        // Encrypted, on the other ports, users say who they are before anything is taken.
        if message.is_sealed() && port != PORT_SMTP {
            return;
        }
        let passing = self.passing.get_or_insert_with(|| {
            let (relay, sealed) = Default::default();
            Box::new(Passing { relay, sealed, server: local, relays: 0 })
        });
        passing.relays = whence.relays;
        if let MailEvent::Message { recipients, is_doubtful, .. } = event {
            passing.relay.take_in(recipients, *is_doubtful, at);
        }
        if port == PORT_SMTP {
            passing.server = local;
            passing.sealed.take_in(message, at);
        }
    }

    /// Takes note that a server's port 25 refused the tenant.
    pub fn handle_refused(&mut self, target: Target, at: Timestamp) {
        self.last = at;
        self.spam.meet_closed(target, at);
    }

    /// The tenant's server that last took mail that may be for others: the one to be asked whether it is an open relay.
    #[must_use]
    pub fn server(&self) -> Option<IpAddr> {
        Some(self.passing.as_ref()?.server)
    }

    /// Forgets what was taken in and passed on: the server was closed since. Which it is stays known.
    pub fn forget_passing(&mut self) {
        if let Some(passing) = &mut self.passing {
            (passing.relay, passing.sealed) = Default::default();
        }
    }

    /// Begins to count messages and exchangers anew: what was sent before a measure does not tell that it goes on after it.
    pub fn restart(&mut self) {
        self.spam = spam::Spamming::default();
        self.bombs = bomb::Bombs::default();
    }

    /// Whether nothing here matters any more at `now`.
    #[must_use]
    pub fn is_idle(&self, numbers: &Thresholds, now: Timestamp) -> bool {
        now.since(self.last) > numbers.relay.window.max(HOUR)
    }
}

/// Whether a target is a server's that takes mail from others.
#[must_use]
pub fn is_exchanger(target: &Target) -> bool {
    target.protocol == Protocol::Tcp && target.port == Some(PORT_SMTP)
}

/// The target of a mail server's port.
#[must_use]
pub fn exchanger(address: IpAddr, port: u16) -> Target {
    Target { address, protocol: Protocol::Tcp, port: Some(port) }
}

/// A server that was spoken with.
fn seen(target: Target, first: Timestamp, last: Timestamp) -> TargetSeen {
    TargetSeen { target, first, last, outcome: Outcome::Productive }
}

/// A count that fits a metric.
fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// What the tests of all have in common.
#[cfg(test)]
mod fixtures {
    use super::*;
    use crate::stream::smtp::Recipient;
    use reeve_policy::language::Policy;
    use reeve_policy::{Class, Profile};

    pub fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000)
    }

    pub fn recipient(number: u32, domain: u32) -> Recipient {
        Recipient {
            address: (u64::from(number) << 32 | u64::from(domain)).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            domain: u64::from(domain).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            is_own: false,
        }
    }

    pub fn server(number: u32, port: u16) -> Target {
        let [_, _, c, d] = number.to_be_bytes();
        exchanger([34, 0, c, d].into(), port)
    }

    pub fn named(number: u32, domain: u32, answer: Answer) -> MailEvent {
        MailEvent::Recipient { recipient: recipient(number, domain), answer, is_bounce: false }
    }

    pub fn message(recipients: Vec<Recipient>, size: u32) -> MailEvent {
        let (answer, sender) = (Answer::Accepted, Some(7));
        MailEvent::Message {
            recipients,
            answer,
            is_authenticated: false,
            sender,
            is_foreign: false,
            size,
            is_unnamed: false,
            is_doubtful: false,
        }
    }

    /// What a tenant does, and which classes are found in it; a suspicion in brackets.
    #[derive(Default)]
    pub struct Tenant {
        pub mail: Mail,
        pub found: Vec<String>,
        pub numbers: Thresholds,
        pub relays: u32,
    }

    impl Tenant {
        pub fn of(profile: Profile) -> Self {
            let baseline = Policy::preset("baseline").unwrap();
            Self { numbers: baseline.thresholds_for(profile, None), ..Self::default() }
        }

        pub fn sends(&mut self, to: Target, event: &MailEvent, millis: u64) {
            let mut found = Vec::new();
            self.mail.handle_sent(&self.numbers, to, event, at(millis), &mut found);
            for finding in found {
                assert!(finding.targets.len() <= reeve_policy::Alert::MAX_TARGETS);
                assert!(finding.start <= finding.at);
                let metric = &finding.metrics[0];
                assert!(metric.threshold.is_none_or(|limit| metric.value >= limit), "{finding:?}");
                let name = match (finding.class, finding.is_suspicion) {
                    (class, true) => format!("({class})"),
                    (class, false) => class.to_string(),
                };
                if !self.found.contains(&name) {
                    self.found.push(name);
                }
            }
        }

        pub fn gets(&mut self, port: u16, event: &MailEvent, is_outside: bool, millis: u64) {
            let local = IpAddr::from([203, 0, 113, 10]);
            let whence = Whence { is_outside, relays: self.relays };
            self.mail.handle_received((local, port), event, whence, at(millis));
        }

        pub fn is(&self, class: Class) -> bool {
            self.found.iter().any(|name| *name == class.to_string())
        }
    }
}
