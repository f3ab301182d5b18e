//! Who may call, in memory: what the database holds of it.
//!
//! The writer enters a change here after it is on disk and before whoever ordered it is told.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};

use super::caller::Role;
use super::secret::Hash;

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The hash of what is shown.
    pub hash: Hash,
    /// Its name, without [`super::Caller::TOKEN`].
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// The first characters of what is shown.
    pub beginning: String,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// From where alone it is taken; from everywhere if there is none.
    pub addresses: Vec<IpNet>,
}

impl Token {
    /// Whether it is good at a time, wherever it is shown.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

/// All that is kept of who may call.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Tokens by the hash of what is shown.
    pub tokens: HashMap<Hash, Arc<Token>>,
}

/// A change of who may call.
#[derive(Clone, Debug)]
pub enum Change {
    /// A token was made.
    TokenMade(Token),
    /// A token was revoked.
    TokenRevoked {
        /// Its hash.
        hash: Hash,
        /// When.
        at: Timestamp,
    },
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in force.
    Done,
    /// What it is about is not there, or not any more.
    Gone,
    /// There is one of that name already.
    Exists,
    /// There are too many.
    Full,
}

impl Records {
    /// Enters a change.
    fn enter(&mut self, change: &Change) {
        match change {
            Change::TokenMade(token) => {
                self.tokens.insert(token.hash, Arc::new(token.clone()));
            }
            Change::TokenRevoked { hash, at } => {
                if let Some(token) = self.tokens.get_mut(hash) {
                    Arc::make_mut(token).revoked.get_or_insert(*at);
                }
            }
        }
    }
}

/// Who may call. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Book(Arc<RwLock<Records>>);

impl Book {
    /// Begins with what the database holds.
    #[must_use]
    pub fn new(records: Records) -> Self {
        Self(Arc::new(RwLock::new(records)))
    }

    /// Begins anew with what the database holds.
    pub(crate) fn replace(&self, records: Records) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = records;
    }

    /// Enters a change that is on disk.
    pub(crate) fn enter(&self, change: &Change) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).enter(change);
    }

    /// The token of which a hash is.
    #[must_use]
    pub fn token(&self, hash: &Hash) -> Option<Arc<Token>> {
        self.read().tokens.get(hash).cloned()
    }

    /// All tokens, the newest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        let mut all: Vec<Arc<Token>> = self.read().tokens.values().cloned().collect();
        all.sort_by(|one, other| (other.created, &other.name).cmp(&(one.created, &one.name)));
        all
    }

    fn read(&self) -> RwLockReadGuard<'_, Records> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
