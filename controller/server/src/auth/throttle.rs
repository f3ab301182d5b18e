//! How often somebody may fail to log in, so that nobody guesses, and nobody is locked out by others.
//!
//! Failures are counted by name and network together (/24 of IPv4, /56 of IPv6), not by name alone: who fails under another's name
//! from elsewhere does not keep that one out. After three each one more doubles the time to wait, up to a quarter of an hour. A network
//! is counted whole, too, whatever the name, so that one does not try a password on everybody. From a network from which the person has logged in before
//! the wait is half a minute at most, and counted apart from all others.
//!
//! Codes that were wrong beside the right password are counted by account as well, wherever they came from: who has the password
//! and many networks would have a code in a million a try. From [`GUESSED`] on, codes are taken from known networks alone. Only
//! who has the password comes to that, so nobody locks others out by it.
//!
//! What is kept has a bound: those who are counted have one of 65,536 places, by a keyed hash, that nobody outside can aim at. To fill them
//! takes as many networks, since each is held up by its own count; then a stranger's network may have to wait, a known one does
//! not. Each attempt counts before it is made and is taken back if it was right, so many at once are no way round.
//! Controllers count each for itself.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use reeve_policy::{Name, Timestamp};

use super::password::Password;

/// Failures that are not waited for: people mistype.
const FREE: u32 = 3;
/// The same of a network, over all names.
const FREE_OF_NETWORK: u32 = 30;
/// The longest wait, and the longest from a known network.
const LONGEST: Duration = Duration::from_secs(15 * 60);
const LONGEST_KNOWN: Duration = Duration::from_secs(30);
/// Who has not failed for so long has not failed.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);
/// So many wrong codes beside the right password are somebody who guesses.
const GUESSED: u32 = 20;
/// Whose codes have not been wrong for so long has nobody who guesses.
const GUESS_FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);
const PLACES: usize = 1 << 16;
/// The most known networks that are counted at a time: accounts times networks of each.
const MAX_KNOWN: usize = 16_384;

/// The network of an address, by which it is counted and known.
#[must_use]
pub fn network(from: IpAddr) -> IpNet {
    let from = from.to_canonical();
    let length = if from.is_ipv4() { 24 } else { 56 };
    IpNet::new(from, length).map_or_else(|_| from.into(), |net| net.trunc())
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    failures: u32,
    last: Timestamp,
}

impl Count {
    /// How long is to be waited from now on.
    fn wait(&self, free: u32, longest: Duration, now: Timestamp) -> Duration {
        if self.failures < free {
            return Duration::ZERO;
        }
        let span = Duration::from_secs(1_u64 << (self.failures - free).min(16)).min(longest);
        (self.last + span).since(now)
    }

    fn add(&mut self, now: Timestamp) {
        let is_over = now.since(self.last) > FORGOTTEN;
        self.failures = if is_over { 1 } else { self.failures.saturating_add(1) };
        self.last = now;
    }
}

#[derive(Debug)]
struct Counts {
    pairs: Box<[Count]>,
    networks: Box<[Count]>,
    known: HashMap<(String, IpNet), Count>,
    /// By account, with the password that it had: another one begins anew. As many as there are accounts.
    codes: HashMap<Name, (Password, Count)>,
}

/// Counts failures.
#[derive(Debug)]
pub struct Throttle {
    counts: Mutex<Counts>,
    hasher: RandomState,
}

impl Default for Throttle {
    fn default() -> Self {
        let places = || vec![Count::default(); PLACES].into_boxed_slice();
        let counts =
            Counts { pairs: places(), networks: places(), known: HashMap::new(), codes: HashMap::new() };
        Self { counts: Mutex::new(counts), hasher: RandomState::new() }
    }
}

impl Throttle {
    /// Counts an attempt under a name from a network.
    ///
    /// # Errors
    /// How long it is to wait instead; then it is not made.
    pub fn attempt(
        &self,
        name: &str,
        network: IpNet,
        is_known: bool,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let (pair, whole) = (self.place(&(name, network)), self.place(&network));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        if is_known {
            if counts.known.len() >= MAX_KNOWN {
                counts.known.retain(|_, count| now.since(count.last) <= LONGEST_KNOWN);
            }
            let count = counts.known.entry((name.to_owned(), network)).or_default();
            let wait = count.wait(FREE, LONGEST_KNOWN, now);
            if !wait.is_zero() {
                return Err(wait);
            }
            count.add(now);
            return Ok(());
        }
        let wait = counts.pairs[pair].wait(FREE, LONGEST, now);
        let wait = wait.max(counts.networks[whole].wait(FREE_OF_NETWORK, LONGEST, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        counts.pairs[pair].add(now);
        counts.networks[whole].add(now);
        Ok(())
    }

    /// The attempt was right.
    pub fn right(&self, name: &str, network: IpNet) {
        let (pair, whole) = (self.place(&(name, network)), self.place(&network));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.known.remove(&(name.to_owned(), network));
        counts.pairs[pair] = Count::default();
        // Whoever has one account does not try all others for free by it.
        let whole = &mut counts.networks[whole];
        whole.failures = whole.failures.saturating_sub(1);
    }

    /// A code was wrong beside the right password; how many there were.
    pub fn wrong_code(&self, account: &Name, password: &Password, now: Timestamp) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, count) =
            counts.codes.entry(account.clone()).or_insert_with(|| (password.clone(), Count::default()));
        if of != password || now.since(count.last) > GUESS_FORGOTTEN {
            (*of, *count) = (password.clone(), Count::default());
        }
        count.failures = count.failures.saturating_add(1);
        count.last = now;
        count.failures
    }

    /// Whether somebody who has the password guesses the codes.
    pub fn is_guessed(&self, account: &Name, password: &Password, now: Timestamp) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.codes.get(account).is_some_and(|(of, count)| {
            of == password && count.failures >= GUESSED && now.since(count.last) <= GUESS_FORGOTTEN
        })
    }

    fn place(&self, key: &impl std::hash::Hash) -> usize {
        let hash = self.hasher.hash_one(key) & (PLACES as u64 - 1);
        usize::try_from(hash).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        network(text.parse().unwrap())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn waits_grow_and_are_of_one_name_from_one_network() {
        let throttle = Throttle::default();
        let (bad, good) = (net("192.0.2.1"), net("2001:db8:0:100::1"));
        for _ in 0..FREE {
            throttle.attempt("ann", bad, false, at(0)).unwrap();
        }
        assert_eq!(throttle.attempt("ann", bad, false, at(0)), Err(Duration::from_secs(1)));
        throttle.attempt("ann", bad, false, at(1)).unwrap();
        assert_eq!(throttle.attempt("ann", bad, false, at(1)), Err(Duration::from_secs(2)));
        // From the same network another address, and not another network, nor another name.
        assert!(throttle.attempt("ann", net("192.0.2.200"), false, at(1)).is_err());
        assert!(throttle.attempt("ann", good, false, at(1)).is_ok());
        assert!(throttle.attempt("ann", net("198.51.100.1"), true, at(1)).is_ok());
        assert!(throttle.attempt("ben", bad, false, at(1)).is_ok());
        // As many as there may be in a day, whoever is patient: a hundred and some.
        let (mut now, mut made) = (1, 0);
        while now < 86_400 {
            match throttle.attempt("ann", bad, false, at(now)) {
                Ok(()) => made += 1,
                Err(wait) => now += wait.as_secs().max(1),
            }
        }
        assert!((90..120).contains(&made), "{made}");
    }

    #[test]
    fn what_was_right_is_forgotten_and_what_is_long_ago_too() {
        let throttle = Throttle::default();
        let here = net("192.0.2.1");
        (0..FREE).for_each(|_| throttle.attempt("ann", here, false, at(0)).unwrap());
        throttle.right("ann", here);
        assert!(throttle.attempt("ann", here, false, at(0)).is_ok());
        (1..FREE).for_each(|_| throttle.attempt("ann", here, false, at(0)).unwrap());
        assert!(throttle.attempt("ann", here, false, at(0)).is_err());
        (0..FREE).for_each(|_| throttle.attempt("ann", here, false, at(3_602)).unwrap());
    }

    #[test]
    fn a_known_network_waits_little_and_is_not_held_up_by_all_others_together() {
        let throttle = Throttle::default();
        let home = net("198.51.100.1");
        for number in 0..200_000_u32 {
            let from = network(IpAddr::from(std::net::Ipv4Addr::from_bits(number << 8)));
            for _ in 0..4 {
                let _ = throttle.attempt("ann", from, false, at(0));
            }
        }
        assert!(throttle.attempt("ann", home, true, at(0)).is_ok());
        (0..40).for_each(|_| _ = throttle.attempt("ann", home, true, at(0)));
        let wait = throttle.attempt("ann", home, true, at(0)).unwrap_err();
        assert!(wait <= LONGEST_KNOWN, "{wait:?}");
        for number in 0..2 * u32::try_from(MAX_KNOWN).unwrap() {
            let from = network(IpAddr::from(std::net::Ipv4Addr::from_bits(number << 8)));
            let _ = throttle.attempt("ann", from, true, at(u64::from(number) / 100));
        }
        assert!(throttle.counts.lock().unwrap().known.len() <= MAX_KNOWN + 1);
    }

    #[test]
    fn wrong_codes_beside_the_right_password_are_counted_by_account() {
        let throttle = Throttle::default();
        let (ann, ben): (Name, Name) = ("ann".parse().unwrap(), "ben".parse().unwrap());
        let [first, second] =
            ["a good password", "another good one"].map(|text| Password::new(text).unwrap());
        for _ in 1..GUESSED {
            throttle.wrong_code(&ann, &first, at(0));
        }
        assert!(!throttle.is_guessed(&ann, &first, at(0)));
        assert_eq!(throttle.wrong_code(&ann, &first, at(1)), GUESSED);
        assert!(throttle.is_guessed(&ann, &first, at(86_000)) && !throttle.is_guessed(&ben, &first, at(1)));
        assert!(!throttle.is_guessed(&ann, &first, at(86_402)), "a day without any");
        assert!(!throttle.is_guessed(&ann, &second, at(1)), "set up anew");
        assert_eq!(throttle.wrong_code(&ann, &second, at(2)), 1);
    }

    #[test]
    fn one_password_is_not_tried_on_everybody() {
        let throttle = Throttle::default();
        let here = net("192.0.2.1");
        let made =
            (0..1_000).filter(|n| throttle.attempt(&format!("p{n}"), here, false, at(0)).is_ok()).count();
        assert_eq!(made, FREE_OF_NETWORK as usize);
    }
}
