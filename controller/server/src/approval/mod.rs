//! Acts that take a second person.
//!
//! A layer before the services ([`ApprovalLayer`]), behind the gate and the audit log, holds such acts up: the request is kept
//! whole, and whoever called is told its key. When somebody else approves it, it is carried out as if who asked had called
//! then, by the same services. What it writes and that it was approved are one transaction ([`Claim`]), so it is done once, however many
//! approve it, at however many controllers, and whatever is killed in between.
//!
//! Which acts these are is one table of methods ([`rules::RULES`]) and `[approval]` in the settings. What ends a measure or pauses enforcement
//! never waits.
//!
//! Persons are told apart by whom a credential belongs to ([`Caller::owner`]): all certificates and sessions of one name are one
//! person's, and so are the tokens that were made by them, also by way of another token.

mod layer;
pub mod rules;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reeve_policy::{Name, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::auth::{Caller, Role, Shown, Vault};

pub(crate) use layer::{ApprovalLayer, PREFIX, framed};

/// The metadata that names an approval.
pub const KEY: &str = "reeve-approval";
/// The metadata that says until when it may be approved.
pub const EXPIRES: &str = "reeve-approval-expires";
/// The largest request that is kept, in bytes.
pub const MAX_BODY: usize = 16 << 20;
/// The most that may wait of one person, and of all.
pub const MAX_PENDING_OF_PERSON: i64 = 20;
/// The same of all.
pub const MAX_PENDING: i64 = 400;
/// What seals are for.
const PURPOSE: &str = "approval";

/// Where an act stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Pending,
    /// It was approved and carried out.
    Approved,
    /// It was rejected.
    Rejected,
}

impl State {
    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    /// Reads its name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Rejected].into_iter().find(|state| state.as_str() == text)
    }
}

/// An act as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its key.
    pub id: String,
    /// The method's path.
    pub method: String,
    /// The request's message; empty once it waits no more.
    pub body: Vec<u8>,
    /// Whom or what it is about.
    pub subject: String,
    /// The request as JSON.
    pub asked: String,
    /// Why, in the words of whoever asked.
    pub reason: String,
    /// Why it waits.
    pub rule: String,
    /// Who asked.
    pub who: Name,
    /// The person behind that.
    pub owner: Name,
    /// In which role.
    pub role: Role,
    /// By what.
    pub shown: Shown,
    /// When the line of certificates began of which one was shown.
    pub began: Option<Timestamp>,
    /// From which address; empty if that is not known.
    pub address: String,
    /// When.
    pub at: Timestamp,
    /// Until when it may be approved.
    pub expires: Timestamp,
}

impl Asked {
    /// All of it under a seal, so that who can write to the database alone cannot have something else approved.
    fn sealed<T>(&self, over: impl FnOnce(&str, &[&[u8]]) -> T) -> T {
        let began = self.began.map_or([0; 8], |began| began.as_nanos().to_be_bytes());
        let (at, expires) = (self.at.as_nanos().to_be_bytes(), self.expires.as_nanos().to_be_bytes());
        over(
            PURPOSE,
            &[
                self.id.as_bytes(),
                self.method.as_bytes(),
                &self.body,
                self.subject.as_bytes(),
                self.asked.as_bytes(),
                self.reason.as_bytes(),
                self.rule.as_bytes(),
                self.who.as_str().as_bytes(),
                self.owner.as_str().as_bytes(),
                self.role.as_str().as_bytes(),
                self.shown.as_str().as_bytes(),
                &began,
                self.address.as_bytes(),
                &at,
                &expires,
            ],
        )
    }

    /// The seal over it.
    #[must_use]
    pub fn seal(&self, vault: &Vault) -> Vec<u8> {
        self.sealed(|purpose, parts| vault.seal(purpose, parts))
    }

    /// Whether a seal is over it.
    #[must_use]
    pub fn is_sealed(&self, vault: &Vault, seal: &[u8]) -> bool {
        self.sealed(|purpose, parts| vault.is_sealed(purpose, parts, seal))
    }

    /// Whoever asked, as they called.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            shown: self.shown,
            role: self.role,
            name: self.who.clone(),
            owner: Some(self.owner.clone()),
            from: self.address.parse().ok(),
            began: self.began,
        }
    }
}

/// An act with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// As it was asked for.
    pub asked: Asked,
    /// The seal over that.
    pub seal: Vec<u8>,
    /// Where it stands.
    pub state: State,
    /// Who decided.
    pub decided_by: String,
    /// When.
    pub decided: Option<Timestamp>,
    /// Why, in their words.
    pub note: String,
    /// What came of it.
    pub outcome: String,
}

/// Who decides about an act, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Which.
    pub id: String,
    /// The seal that was looked at: what is decided about is that and nothing else.
    pub seal: Vec<u8>,
    /// Who, as the log names them.
    pub by: String,
    /// The person behind that.
    pub owner: Name,
    /// Why.
    pub note: String,
}

/// What an approved act is carried out with: it is taken in the transaction of what the act writes, by one alone.
#[derive(Clone, Debug)]
pub struct Claim {
    /// By whom.
    pub decided: Decided,
    is_taken: Arc<AtomicBool>,
}

impl Claim {
    /// Whether it was taken, and with it is on disk what the act wrote.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }

    /// It is on disk.
    pub(crate) fn taken(&self) {
        self.is_taken.store(true, Ordering::Release);
    }
}

/// A claim that goes with the first thing that is written, and with nothing else.
#[derive(Clone, Debug)]
pub struct Once(Arc<Mutex<Option<Claim>>>);

impl Once {
    /// For who decided so.
    #[must_use]
    pub fn new(decided: Decided) -> (Self, Claim) {
        let claim = Claim { decided, is_taken: Arc::default() };
        (Self(Arc::new(Mutex::new(Some(claim.clone())))), claim)
    }

    /// The claim, the first time.
    pub(crate) fn take(&self) -> Option<Claim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What somebody does, one by one, that is counted: who has done more than is for one person takes a second one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Whose.
    pub owner: Name,
    /// What is done.
    pub kind: &'static str,
    /// To whom.
    pub subjects: Vec<String>,
    /// To how many it may be done alone.
    pub limit: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A key that sorts by time, and is short enough to be said.
///
/// # Errors
/// When the system has no randomness to give.
pub(crate) fn new_id(now: Timestamp) -> Result<String, ring::error::Unspecified> {
    let mut random = [0; 4];
    SystemRandom::new().fill(&mut random)?;
    Ok(format!("A{:011X}{:08X}", now.as_nanos() / 1_000_000, u32::from_be_bytes(random)))
}
