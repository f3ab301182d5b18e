//! Who may have a password compared, when: a bound on what that takes.
//!
//! A comparison takes a processor for some hundredths of a second and 19 MiB. At most two are made at a time, on threads of their own, and
//! a place is kept for whoever comes from a network that they logged in from before: a flood from elsewhere does not keep them out.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};
use tokio::sync::{Semaphore, broadcast};

use super::password::Password;
use super::throttle::Throttle;

/// How many are compared at a time: of anybody, and of those who are known.
const AT_A_TIME: usize = 2;
const AT_A_TIME_KNOWN: usize = 1;
/// How many may wait for that, and for how long.
const WAITING: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// Nothing was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// Too many want to log in.
    #[error("too many log in at this moment; try again in some seconds")]
    Many,
    /// The comparison failed, which is a fault of ours.
    #[error("the password could not be looked at; the controller's log tells more")]
    Failed,
}

/// A queue with an end.
#[derive(Debug)]
struct Queue {
    places: Arc<Semaphore>,
    seats: Semaphore,
}

impl Queue {
    fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), seats: Semaphore::new(WAITING) }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _seat = self.seats.try_acquire().map_err(|_| Busy::Many)?;
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| Busy::Many)?.map_err(|_| Busy::Failed)?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until it is done, whether or not whoever asked still waits.
            let _place = place;
            work()
        });
        done.await.map_err(|_| Busy::Failed)
    }
}

/// How many failures whoever listens may lag behind.
const FAILURES: usize = 1_024;

/// Somebody was not let in.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Tells it apart from others of the same moment.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The account; absent where there is none of the name that was shown, which may be a password that slipped.
    pub account: Option<Name>,
    /// From where; absent on this machine's own transport.
    pub from: Option<IpAddr>,
    /// Whether nothing was looked at, since too many failed before.
    pub is_held_off: bool,
}

/// Stands before the passwords.
#[derive(Debug)]
pub struct Doorkeeper {
    throttle: Throttle,
    anybody: Queue,
    known: Queue,
    failed: broadcast::Sender<Failed>,
    failures: AtomicU64,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Self {
            throttle: Throttle::default(),
            anybody: Queue::new(AT_A_TIME),
            known: Queue::new(AT_A_TIME_KNOWN),
            failed: broadcast::Sender::new(FAILURES),
            failures: AtomicU64::new(0),
        }
    }
}

impl Doorkeeper {
    /// Counts an attempt; how long it is to wait instead, if it is. Who has no address is on this machine's own transport.
    ///
    /// # Errors
    /// How long.
    pub fn attempt(
        &self,
        name: &str,
        network: Option<IpNet>,
        is_known: bool,
        now: Timestamp,
    ) -> Result<(), Duration> {
        network.map_or(Ok(()), |network| self.throttle.attempt(name, network, is_known, now))
    }

    /// Tells whoever listens that somebody was not let in: of which account, if there is one of the name that was shown; from where; and whether nothing
    /// was looked at, since too many failed before.
    pub fn tell(&self, account: Option<Name>, from: Option<IpAddr>, is_held_off: bool, at: Timestamp) {
        let number = self.failures.fetch_add(1, Ordering::Relaxed);
        // Nobody may listen, which is no fault.
        let _ = self.failed.send(Failed { number, at, account, from, is_held_off });
    }

    /// Who is not let in, from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Failed> {
        self.failed.subscribe()
    }

    /// The attempt was right.
    pub fn right(&self, name: &str, network: Option<IpNet>) {
        if let Some(network) = network {
            self.throttle.right(name, network);
        }
    }

    /// A code was wrong beside the right password; how many there were of the account.
    pub fn wrong_code(&self, account: &Name, password: &Password, now: Timestamp) -> u32 {
        self.throttle.wrong_code(account, password, now)
    }

    /// Whether somebody who has the password guesses the codes: then they are taken from known networks alone.
    pub fn is_guessed(&self, account: &Name, password: &Password, now: Timestamp) -> bool {
        self.throttle.is_guessed(account, password, now)
    }

    /// Compares a password.
    ///
    /// # Errors
    /// Where too many do.
    pub async fn compare(&self, kept: Password, text: String, is_known: bool) -> Result<bool, Busy> {
        let queue = if is_known { &self.known } else { &self.anybody };
        // What is longer than any password is compared as well, cut: it takes the time that all take.
        let cut = text.floor_char_boundary(super::password::LONGEST + 1);
        let text = text[..cut].to_owned();
        queue.run(move || kept.is(&text)).await
    }

    /// Makes what is kept of a new password.
    ///
    /// # Errors
    /// Where too many do, or the system has no randomness.
    pub async fn make(&self, text: String) -> Result<Password, Busy> {
        self.anybody.run(move || Password::new(&text)).await?.map_err(|_| Busy::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn more_than_may_wait_are_sent_away_and_who_is_known_is_not() {
        let door = Arc::new(Doorkeeper::default());
        let flood = (0..200).map(|_| {
            let door = Arc::clone(&door);
            tokio::spawn(async move {
                door.compare(super::super::password::NOBODY.clone(), "x".into(), false).await
            })
        });
        let flood: Vec<_> = flood.collect();
        let kept = tokio::task::spawn_blocking(|| Password::new("a good password").unwrap()).await.unwrap();
        assert_eq!(door.compare(kept, "a good password".into(), true).await, Ok(true));
        let mut sent_away = 0;
        for one in flood {
            match one.await.unwrap() {
                Ok(is_right) => assert!(!is_right),
                Err(refused) => {
                    assert_eq!(refused, Busy::Many);
                    sent_away += 1;
                }
            }
        }
        assert!(sent_away > 0, "all at once found a place");
    }
}
