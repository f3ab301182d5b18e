//! What changed lately, in order, for those who follow it over interruptions.
//!
//! Every change of a tenant's standing has a number. The last [`KEPT`] are remembered: whoever has seen up to one of them
//! ([`Token`]) is told the tenants after it, each once; who has missed more reads everything anew. Numbers belong to one life of the
//! controller: what is asked with a token of another is answered like one that is too old.
//!
//! The lock here is taken by the writer and by those who follow, for as long as it takes to copy keys. Look-ups do not take it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reeve_policy::{TenantId, Timestamp};
use tokio::sync::watch;

use crate::clock;

/// How many changes are remembered.
pub const KEPT: usize = 65_536;

/// How far somebody has seen what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The life of the controller.
    life: u64,
    /// The number of the last change seen.
    number: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.life, self.number)
    }
}

/// A text that is no token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no resume token: give one back as it was told, or none")]
pub struct ParseTokenError(String);

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseTokenError(text.chars().take(40).collect());
        let number = |text: &str| {
            // Signs are what `from_str_radix` would take beside digits.
            let is_sound =
                (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_sound { u64::from_str_radix(text, 16).map_err(|_| bad()) } else { Err(bad()) }
        };
        let (life, change) = text.split_once('-').ok_or_else(bad)?;
        Ok(Self { life: number(life)?, number: number(change)? })
    }
}

/// It was too long ago, or in another life of the controller: all is to be read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed;

/// What changed lately.
#[derive(Debug)]
pub struct Changes {
    life: u64,
    log: Mutex<Log>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Log {
    /// The number of the last change; 0 before the first.
    last: u64,
    /// Whom the last changes were about, the one of number `last` at the end.
    whom: VecDeque<TenantId>,
    /// When the next measure of a tenant ends by itself, in both directions: one entry for a tenant at most.
    ends: BTreeSet<(Timestamp, TenantId)>,
    end_of: HashMap<TenantId, Timestamp>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { life: clock::now().as_nanos(), log: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Log {
    fn push(&mut self, tenant: TenantId) {
        self.last += 1;
        if self.whom.len() == KEPT {
            self.whom.pop_front();
        }
        self.whom.push_back(tenant);
    }

    fn set_end(&mut self, tenant: &TenantId, end: Option<Timestamp>) {
        let before = match end {
            Some(end) => self.end_of.insert(tenant.clone(), end),
            None => self.end_of.remove(tenant),
        };
        if let Some(before) = before {
            self.ends.remove(&(before, tenant.clone()));
        }
        if let Some(end) = end {
            self.ends.insert((end, tenant.clone()));
        }
    }
}

impl Changes {
    /// Numbers changes of these tenants, each with when the next measure of it ends by itself.
    pub(super) fn note(&self, touched: Vec<(TenantId, Option<Timestamp>)>) {
        let mut log = self.lock();
        for (tenant, end) in touched {
            log.set_end(&tenant, end);
            log.push(tenant);
        }
        self.tell(log);
    }

    /// Everything may be other than before, in a way that has no number: every token of before is too old.
    pub(super) fn begin_anew(&self, held: Vec<(TenantId, Option<Timestamp>)>) {
        let mut log = self.lock();
        let last = log.last + 1;
        *log = Log { last, ..Log::default() };
        held.iter().for_each(|(tenant, end)| log.set_end(tenant, *end));
        self.tell(log);
    }

    /// Numbers changes of the tenants of whom a measure has ended by `now`; `next` tells when the next one does.
    pub(super) fn expire(&self, now: Timestamp, next: impl Fn(&TenantId) -> Option<Timestamp>) {
        let mut log = self.lock();
        while log.ends.first().is_some_and(|(end, _)| *end <= now) {
            let Some((_, tenant)) = log.ends.first().cloned() else { break };
            log.set_end(&tenant, next(&tenant).filter(|next| *next > now));
            log.push(tenant);
        }
        self.tell(log);
    }

    fn tell(&self, log: MutexGuard<'_, Log>) {
        let last = log.last;
        drop(log);
        self.last.send_if_modified(|told| std::mem::replace(told, last.max(*told)) < last);
    }

    /// How far it is now.
    #[must_use]
    pub fn now(&self) -> Token {
        Token { life: self.life, number: self.lock().last }
    }

    /// Wakes whenever something changed.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Who changed after `token`, each once, and how far that is.
    ///
    /// # Errors
    /// [`Missed`] where that cannot be known any more.
    pub fn since(&self, token: Token) -> Result<(BTreeSet<TenantId>, Token), Missed> {
        let log = self.lock();
        let behind = log.last.checked_sub(token.number).ok_or(Missed)?;
        let behind = usize::try_from(behind).map_err(|_| Missed)?;
        let first = log.whom.len().checked_sub(behind).filter(|_| token.life == self.life).ok_or(Missed)?;
        let changed = log.whom.range(first..).cloned().collect();
        Ok((changed, Token { life: self.life, number: log.last }))
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // Whoever panicked holding it had at worst not noted a change.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<(TenantId, Option<Timestamp>)> {
        names.iter().map(|name| (name.parse().unwrap(), None)).collect()
    }

    fn since(changes: &Changes, token: Token) -> Result<Vec<String>, Missed> {
        changes.since(token).map(|(all, _)| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn who_comes_back_is_told_what_was_missed_and_each_once() {
        let changes = Changes::default();
        let start = changes.now();
        changes.note(ids(&["a", "b"]));
        let middle = changes.now();
        changes.note(ids(&["b", "c", "b"]));
        assert_eq!(since(&changes, start), Ok(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(since(&changes, middle), Ok(vec!["b".into(), "c".into()]));
        assert_eq!(since(&changes, changes.now()), Ok(vec![]));
        assert_eq!(changes.since(start).unwrap().1, changes.now());
        let foreign = Token { life: start.life + 1, ..start };
        let ahead = Token { number: 99, ..start };
        assert_eq!((since(&changes, foreign), since(&changes, ahead)), (Err(Missed), Err(Missed)));
    }

    #[test]
    fn what_is_too_long_ago_is_missed() {
        let changes = Changes::default();
        changes.note(ids(&["a"]));
        let start = changes.now();
        changes.note(ids(&vec!["b"; KEPT]));
        assert_eq!(since(&changes, start), Ok(vec!["b".into()]));
        changes.note(ids(&["c"]));
        assert_eq!(since(&changes, start), Err(Missed));
        assert_eq!(changes.lock().whom.len(), KEPT);
    }

    #[test]
    fn who_followed_before_everything_was_replaced_has_missed_it() {
        let changes = Changes::default();
        changes.note(ids(&["a"]));
        let (start, follower) = (changes.now(), changes.follow());
        changes.begin_anew(ids(&["b"]));
        assert!(follower.has_changed().unwrap());
        assert_eq!((since(&changes, start), since(&changes, changes.now())), (Err(Missed), Ok(vec![])));
    }

    #[test]
    fn a_measure_that_ends_by_its_time_is_a_change() {
        let changes = Changes::default();
        let at = Timestamp::from_secs;
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        changes.note(vec![(a.clone(), Some(at(5))), (b.clone(), Some(at(20)))]);
        // It was renewed meanwhile.
        changes.note(vec![(a.clone(), Some(at(10)))]);
        let (start, follower) = (changes.now(), changes.follow());
        let next = |id: &TenantId| (*id == a).then(|| at(15));
        changes.expire(at(9), next);
        assert_eq!((since(&changes, start), follower.has_changed().unwrap()), (Ok(vec![]), false));
        changes.expire(at(10), next);
        assert_eq!((since(&changes, start), follower.has_changed().unwrap()), (Ok(vec!["a".into()]), true));
        let later = changes.now();
        changes.expire(at(16), next);
        assert_eq!(since(&changes, later), Ok(vec!["a".into()]), "another one of the same tenant");
        changes.expire(at(30), next);
        assert_eq!(since(&changes, start), Ok(vec!["a".into(), "b".into()]));
        let log = changes.lock();
        assert!(log.ends.is_empty() && log.end_of.is_empty());
    }

    #[test]
    fn a_token_is_read_as_it_was_told_and_nothing_else_is() {
        let token = Changes::default().now();
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in ["", "-", "1", "1-", "-1", "+1-1", "1-x", "1-00000000000000001", "1-1-1", "1 -1"] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
