//! Accounts of people and their sessions, as they are kept in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};

use super::caller::Role;
use super::password::Password;
use super::secret::Hash;

/// The most networks that somebody is known to have logged in from; the one of longest ago goes.
pub const MAX_NETWORKS: usize = 16;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Whose.
    pub name: Name,
    /// What they may do.
    pub role: Role,
    /// From where alone; from everywhere if there is none.
    pub addresses: Vec<IpNet>,
    /// When it was added.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The person behind whoever invited them last, and behind that one, and so on: all who might have made this one up, the nearest
    /// first. Those who were removed since stay in it.
    pub invited_by: Vec<Name>,
    /// The invitation that waits, and until when.
    pub invitation: Option<(Hash, Timestamp)>,
    /// Password and second factor, once it is set up.
    pub factors: Option<Factors>,
    /// The networks that they logged in from, the latest first.
    pub networks: Vec<IpNet>,
    /// How many recovery codes are left.
    pub recovery_codes: u32,
}

/// What somebody logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factors {
    /// The password.
    pub password: Password,
    /// The second factor's secret, encrypted.
    pub secret: Vec<u8>,
    /// The last code's step.
    pub last_step: u64,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// The hash of what is shown.
    pub hash: Hash,
    /// Its key, to be told.
    pub id: String,
    /// Whose.
    pub person: Name,
    /// In which role: another of the account's later is none of the session's.
    pub role: Role,
    /// When it began.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// From which address it began.
    pub address: String,
    seen: Arc<AtomicU64>,
}

impl Session {
    /// One that was used last at a time.
    #[expect(clippy::too_many_arguments, reason = "a row has as many columns")]
    #[must_use]
    pub fn new(
        hash: Hash,
        id: String,
        person: Name,
        role: Role,
        created: Timestamp,
        expires: Timestamp,
        address: String,
        seen: Timestamp,
    ) -> Self {
        let seen = Arc::new(AtomicU64::new(seen.as_nanos()));
        Self { hash, id, person, role, created, expires, address, seen }
    }

    /// When it was used last.
    #[must_use]
    pub fn seen(&self) -> Timestamp {
        Timestamp::from_nanos(self.seen.load(Ordering::Relaxed))
    }

    /// It is used now.
    pub fn see(&self, now: Timestamp) {
        self.seen.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }
}

/// Somebody logs in: what must still be so, and what is then.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// The session that begins.
    pub session: Session,
    /// The password that was compared with: nobody reset the account meanwhile.
    pub password: Password,
    /// What was shown beside it.
    pub second: Second,
    /// From which network.
    pub network: Option<IpNet>,
}

/// A second factor that was shown, and is not good again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// A code of this step.
    Code(u64),
    /// A recovery code.
    Recovery(Hash),
}

/// An account is set up.
#[derive(Clone, Debug)]
pub struct SetUp {
    /// Whose.
    pub name: Name,
    /// By which invitation.
    pub invitation: Hash,
    /// What they log in with from now on.
    pub factors: Factors,
    /// Their recovery codes.
    pub recovery: Vec<Hash>,
    /// When.
    pub at: Timestamp,
}

/// The most names in a line of invitations.
pub const MAX_LINE: usize = 256;

/// Somebody and all who might have made them up: whoever invited or reset them, whoever did so with those, and so on.
#[must_use]
pub fn line(people: &HashMap<Name, Arc<Person>>, whose: &Name) -> Vec<Name> {
    let (mut line, mut at) = (vec![whose.clone()], 0);
    // Who is in it is not looked at again, so two who invited each other come to an end.
    while let Some(person) = line.get(at).map(|name| people.get(name)) {
        for inviter in person.map(|person| person.invited_by.as_slice()).unwrap_or_default() {
            if !line.contains(inviter) {
                line.push(inviter.clone());
            }
        }
        at += 1;
    }
    line
}

/// Networks with the one that was used now at their head.
#[must_use]
pub fn with_network(networks: &[IpNet], network: Option<IpNet>) -> Vec<IpNet> {
    let others = networks.iter().copied().filter(|known| Some(*known) != network);
    network.into_iter().chain(others).take(MAX_NETWORKS).collect()
}

impl Person {
    /// Whether they may call from an address.
    #[must_use]
    pub fn is_taken_from(&self, from: Option<IpAddr>) -> bool {
        self.addresses.is_empty()
            || from.is_some_and(|from| self.addresses.iter().any(|prefix| prefix.contains(&from)))
    }
}
