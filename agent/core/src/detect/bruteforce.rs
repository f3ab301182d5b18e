//! `bruteforce`: logins that are refused again and again.
//!
//! **Measure.** Refusals that a server told in its own words (see [`crate::stream::login`]) at one service within a window, or a few
//! at each of several hosts. Counted are refusals with *fresh* credentials: others than the last [`RECENT_MAX`] at that service. Where
//! credentials are hidden, by encryption or a challenge, a refusal is fresh if it follows the one before within [`HASTE`], and where
//! people type them (SSH, RDP and VNC) always; what is probably kept (a key, the login of a program that has its own database) never is.
//! Somebody who is let in was no guesser: all that was counted at that service is forgotten, of a web server what was counted in that part
//! of it (the first of the path), and what anybody may do lets nobody in. Zeek's `detect-bruteforcing` (30 failed SSH logins in 30 minutes, 20 of FTP in 15) and RFC 4949's
//! "brute force" are the model; fail2ban's 5 in 10 minutes is what the other end allows.
//!
//! **Numbers.** 30 in 5 minutes at one service; 3 each at 10 hosts; 300 whatever the credentials. 100 short sessions in TLS of one shape
//! are a suspicion only, and so are 30 posts to what may be a page for logging in that are refused and have not the form of a login.
//!
//! **Look-alikes that stay silent.** Who mistypes: few, and in the end let in. A mail client, telephone, exporter or website whose password was
//! changed: the same credential again and again, which takes ten times as many; where that is hidden, seconds lie between. Automation with keys: it is let
//! in, and where it is not, a connection counts once and as kept. Monitoring that reads a banner or a challenge shows nothing. Webmail, which
//! opens a mailbox for each page, has its sessions in TLS of one shape, and is suspected at most. A gateway that shows a web server its
//! users' tokens, some of them old: the others are accepted in the same part. Notices to an address that somebody gave (webhooks), who refuses them all:
//! they have not the fields of a login. Answers to what was never asked, which anybody can send.
//!
//! **Evasion.** Slower than the numbers. At a web server, a login of one's own in the same part of it as the guesses. One guess at each of very many hosts (a scan then, if few have the service). A password that works, used between
//! the guesses. Hidden credentials of programs with more than [`HASTE`] between them. In TLS, all that is not told by lengths. Live, a service on a
//! port that is sampled as bulk is: of SSH on a port of its own, or of a web server that is no protected endpoint, one
//! packet in 16 is seen, which tells nothing; captures are read whole, on any port.

use std::time::Duration;

use reeve_policy::language::thresholds::Bruteforce;
use reeve_policy::{Alert, Class, Metric, Outcome, Target, TargetSeen, Timestamp};

use super::{Finding, count};
use crate::meter::sliding::Sliding;
use crate::stream::login::{Credential, Login, Service};

/// So many services are watched.
pub(super) const DOORS_MAX: usize = 48;
/// So many credentials are remembered at each.
const RECENT_MAX: usize = 16;
/// Programs that guess do so at once, or as soon as the server lets them: most wait two or three seconds with a refusal. What
/// repeats itself by the clock waits longer.
const HASTE: Duration = Duration::from_secs(5);
/// Services whose passwords people type: programs have keys there, or nothing to do. What is refused there is a guess however slow, and
/// whether a session holds one or six.
const TYPED: [Service; 3] = [Service::Ssh, Service::Rdp, Service::Vnc];
/// The window's buckets.
const BUCKETS: usize = 15;
/// So many parts of a web server are told apart.
const REALMS_MAX: usize = 6;

/// A service that refused the tenant.
#[derive(Debug)]
struct Door {
    target: Target,
    service: Service,
    /// Whether it is not known if they were logins.
    is_vague: bool,
    first: Timestamp,
    last: Timestamp,
    fresh: Sliding<BUCKETS>,
    /// All refusals; of sessions in TLS, those of one shape.
    all: Sliding<BUCKETS>,
    /// The last credentials, the oldest first, or the last shape.
    recent: [Option<u16>; RECENT_MAX],
    next: u8,
    realms: [Realm; REALMS_MAX],
}

/// What a part of a web server refused.
#[derive(Clone, Copy, Debug, Default)]
struct Realm {
    name: u16,
    fresh: u16,
    all: u16,
}

/// What is known of one tenant's refused logins.
#[derive(Debug, Default)]
pub struct Guesses {
    doors: Vec<Door>,
    last: Timestamp,
}

impl Guesses {
    /// The most bytes that it takes.
    pub const BYTES: usize = size_of::<Self>() + DOORS_MAX * size_of::<Door>();

    /// Takes what became of a login.
    pub fn handle(
        &mut self,
        numbers: &Bruteforce,
        target: Target,
        service: Service,
        login: Login,
        at: Timestamp,
    ) -> Option<Finding> {
        self.last = at;
        match login {
            Login::Accepted => {
                self.doors.retain(|door| door.target != target || door.service != service || door.is_vague);
                None
            }
            Login::AcceptedIn(realm) => {
                let is_known =
                    |door: &&mut Door| door.target == target && door.service == service && !door.is_vague;
                self.doors.iter_mut().find(is_known).into_iter().for_each(|door| door.let_in(realm));
                None
            }
            Login::Refused(credential) => self.refused(numbers, (target, service), credential, None, at),
            Login::RefusedIn(credential, realm) => {
                self.refused(numbers, (target, service), credential, Some(realm), at)
            }
            Login::TurnedAway(credential) => {
                let place = self.door(numbers, (target, service, true), at);
                let door = &mut self.doors[place];
                door.count(numbers, credential, None, at);
                let (fresh, seen) = (door.fresh.sum(at, numbers.window / BUCKETS as u32), door.seen());
                (fresh >= numbers.refusals).then(|| {
                    let metrics = vec![count("posts_refused", fresh, numbers.refusals)];
                    let targets = vec![seen];
                    Finding { is_suspicion: true, ..self.finding(numbers, service, metrics, targets, 30, at) }
                })
            }
            Login::Sealed(shape) => {
                let place = self.door(numbers, (target, service, false), at);
                let door = &mut self.doors[place];
                let bucket = numbers.window / BUCKETS as u32;
                if door.recent[0].replace(shape).is_some_and(|before| before == shape) {
                    door.all.add(at, bucket, 1);
                }
                door.last = at;
                let alike = door.all.sum(at, bucket);
                (alike >= numbers.sessions_alike).then(|| {
                    let metrics = vec![count("sessions_alike", alike, numbers.sessions_alike)];
                    let start = door.first.max(at.minus(numbers.window));
                    let targets = vec![door.seen()];
                    let is_suspicion = true;
                    let class = Class::Bruteforce;
                    Finding { class, start, at, metrics, confidence_percent: 40, targets, is_suspicion }
                })
            }
        }
    }

    fn refused(
        &mut self,
        numbers: &Bruteforce,
        (target, service): (Target, Service),
        credential: Credential,
        realm: Option<u16>,
        at: Timestamp,
    ) -> Option<Finding> {
        let place = self.door(numbers, (target, service, false), at);
        self.doors[place].count(numbers, credential, realm, at);
        self.judge(numbers, place, at)
    }

    /// Whether nothing here matters any more at `now`.
    #[must_use]
    pub fn is_idle(&self, numbers: &Bruteforce, now: Timestamp) -> bool {
        now.since(self.last) > numbers.window
    }

    /// The place of a service, made if there is none.
    fn door(
        &mut self,
        numbers: &Bruteforce,
        (target, service, is_vague): (Target, Service, bool),
        at: Timestamp,
    ) -> usize {
        let is_over = |door: &Door| at.since(door.last) > numbers.window;
        let known = self
            .doors
            .iter()
            .position(|door| door.target == target && door.service == service && door.is_vague == is_vague);
        if let Some(place) = known {
            if !is_over(&self.doors[place]) {
                return place;
            }
            self.doors[place] = Door::new(target, service, is_vague, at);
            return place;
        }
        if self.doors.len() < DOORS_MAX {
            self.doors.push(Door::new(target, service, is_vague, at));
            return self.doors.len() - 1;
        }
        // Who refused least makes room, and of those the one that did longest ago.
        let bucket = numbers.window / BUCKETS as u32;
        let weight = |door: &mut Door| (!door.is_vague, door.fresh.sum(at, bucket), door.last, door.target);
        let mut least = 0;
        let mut lightest = None;
        for (place, door) in self.doors.iter_mut().enumerate() {
            let weight = Some(weight(door));
            if lightest.is_none() || weight < lightest {
                (least, lightest) = (place, weight);
            }
        }
        self.doors[least] = Door::new(target, service, is_vague, at);
        least
    }

    fn judge(&mut self, numbers: &Bruteforce, place: usize, at: Timestamp) -> Option<Finding> {
        let bucket = numbers.window / BUCKETS as u32;
        let door = &mut self.doors[place];
        let service = door.service;
        let (fresh, all) = (door.fresh.sum(at, bucket), door.all.sum(at, bucket));
        let refusals = count("refusals", fresh, numbers.refusals);
        let same = count("refusals_same", all, numbers.refusals_same);
        let (is_guessing, is_hammering) = (fresh >= numbers.refusals, all >= numbers.refusals_same);
        if is_guessing || is_hammering {
            let metrics = if is_guessing { vec![refusals, same] } else { vec![same, refusals] };
            let targets = vec![self.doors[place].seen()];
            let confidence = if is_guessing { 95 } else { 75 };
            return Some(self.finding(numbers, service, metrics, targets, confidence, at));
        }
        let mut hosts = Vec::new();
        for door in &mut self.doors {
            if !door.is_vague && door.fresh.sum(at, bucket) >= numbers.refusals_each {
                hosts.push(door.target.address);
            }
        }
        hosts.sort_unstable();
        hosts.dedup();
        let number = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        (number >= numbers.hosts).then(|| {
            let each =
                Metric { name: "refusals_each".into(), value: numbers.refusals_each.into(), threshold: None };
            let metrics = vec![count("hosts", number, numbers.hosts), each];
            let mut seen: Vec<TargetSeen> = self
                .doors
                .iter()
                .filter(|door| hosts.binary_search(&door.target.address).is_ok())
                .map(Door::seen)
                .collect();
            seen.sort_by_key(|seen| (std::cmp::Reverse(seen.last), seen.target));
            seen.truncate(Alert::MAX_TARGETS);
            self.finding(numbers, service, metrics, seen, 90, at)
        })
    }

    fn finding(
        &self,
        numbers: &Bruteforce,
        service: Service,
        mut metrics: Vec<Metric>,
        targets: Vec<TargetSeen>,
        confidence_percent: u8,
        at: Timestamp,
    ) -> Finding {
        metrics.push(Metric { name: service.name().into(), value: 1.0, threshold: None });
        let start = targets.iter().map(|seen| seen.first).min().unwrap_or(at);
        Finding {
            class: Class::Bruteforce,
            start: start.max(at.minus(numbers.window)),
            at,
            metrics,
            confidence_percent,
            targets,
            is_suspicion: false,
        }
    }
}

impl Door {
    fn new(target: Target, service: Service, is_vague: bool, at: Timestamp) -> Self {
        Self {
            target,
            service,
            is_vague,
            first: at,
            last: Timestamp::EPOCH,
            fresh: Sliding::default(),
            all: Sliding::default(),
            recent: [None; RECENT_MAX],
            next: 0,
            realms: [Realm::default(); REALMS_MAX],
        }
    }

    /// Counts a refusal.
    fn count(&mut self, numbers: &Bruteforce, credential: Credential, realm: Option<u16>, at: Timestamp) {
        let is_fresh = self.is_fresh(credential, at);
        let bucket = numbers.window / BUCKETS as u32;
        self.fresh.add(at, bucket, u32::from(is_fresh));
        self.all.add(at, bucket, 1);
        self.last = at;
        let Some(name) = realm else { return };
        let known = self.realms.iter().position(|realm| realm.all > 0 && realm.name == name);
        let place =
            known.or_else(|| (0..REALMS_MAX).min_by_key(|place| self.realms[*place].all)).unwrap_or(0);
        let realm = &mut self.realms[place];
        if known.is_none() {
            *realm = Realm { name, ..Realm::default() };
        }
        realm.fresh = realm.fresh.saturating_add(u16::from(is_fresh));
        realm.all = realm.all.saturating_add(1);
    }

    /// Forgets what a part of it refused: somebody was let in there.
    fn let_in(&mut self, name: u16) {
        if let Some(realm) = self.realms.iter_mut().find(|realm| realm.all > 0 && realm.name == name) {
            self.fresh.take_back(realm.fresh.into());
            self.all.take_back(realm.all.into());
            *realm = Realm::default();
        }
    }

    /// Whether a refusal is with other credentials than those before it; remembers them.
    fn is_fresh(&mut self, credential: Credential, at: Timestamp) -> bool {
        match credential {
            Credential::Known(bits) => {
                let is_known = self.recent.contains(&Some(bits));
                if !is_known {
                    self.recent[usize::from(self.next) % RECENT_MAX] = Some(bits);
                    self.next = (self.next + 1) % RECENT_MAX as u8;
                }
                !is_known
            }
            Credential::Hidden => {
                TYPED.contains(&self.service) || self.last == Timestamp::EPOCH || at.since(self.last) <= HASTE
            }
            Credential::Kept => false,
        }
    }

    fn seen(&self) -> TargetSeen {
        TargetSeen { target: self.target, first: self.first, last: self.last, outcome: Outcome::Productive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::Protocol;
    use std::net::{IpAddr, Ipv4Addr};

    const NUMBERS: Bruteforce = Bruteforce {
        refusals: 30,
        hosts: 10,
        refusals_each: 3,
        refusals_same: 300,
        sessions_alike: 100,
        window: Duration::from_secs(300),
    };
    const SSH: Service = Service::Ssh;
    const HIDDEN: Login = Login::Refused(Credential::Hidden);
    const KEPT: Login = Login::Refused(Credential::Kept);

    const fn known(number: u16) -> Login {
        Login::Refused(Credential::Known(number))
    }

    fn host(number: u16, port: u16) -> Target {
        let [high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(34, 1, high, low));
        Target { address, protocol: Protocol::Tcp, port: Some(port) }
    }

    /// Plays what became of logins, `(milliseconds, host, what)`; the first finding's first metric, and whether it is a suspicion.
    fn check(
        service: Service,
        said: impl IntoIterator<Item = (u64, u16, Login)>,
        expect: Option<(&str, bool)>,
    ) {
        let mut guesses = Guesses::default();
        let mut found = None;
        let base = Timestamp::from_secs(1_000);
        for (at, number, login) in said {
            let at = base + Duration::from_millis(at);
            let finding = guesses.handle(&NUMBERS, host(number, 22), service, login, at);
            found = found.or(finding);
            assert!(guesses.doors.len() <= DOORS_MAX);
        }
        let told = found.as_ref().map(|found| (&*found.metrics[0].name, found.is_suspicion));
        assert_eq!(told, expect, "{found:?}");
    }

    #[test]
    fn fires_at_the_number() {
        check(SSH, (0..30).map(|n| (u64::from(n) * 9_000, 1, known(n))), Some(("refusals", false)));
        check(Service::Sip, (0..30).map(|n| (n * 5_000, 1, HIDDEN)), Some(("refusals", false)));
        check(SSH, (0..30).map(|n| (n * 9_000, 1, HIDDEN)), Some(("refusals", false)));
        check(SSH, (0..30).map(|n| (n * 1_000, n as u16 / 3, known(n as u16))), Some(("hosts", false)));
        check(SSH, (0..300).map(|n| (n * 900, 1, KEPT)), Some(("refusals_same", false)));
        check(SSH, (0..101).map(|n| (n * 2_000, 1, Login::Sealed(7))), Some(("sessions_alike", true)));
    }

    #[test]
    fn is_silent_just_below() {
        check(SSH, (0..29).map(|n| (u64::from(n) * 9_000, 1, known(n))), None);
        check(Service::Sip, (0..29).map(|n| (n * 5_000, 1, HIDDEN)), None);
        check(SSH, (0..29).map(|n| (n * 9_000, 1, HIDDEN)), None);
        check(SSH, (0..200).map(|n| (n * 11_000, 1, HIDDEN)), None);
        check(SSH, (0..29).map(|n| (n * 1_000, n as u16 / 3, known(n as u16))), None);
        check(SSH, (0..299).map(|n| (n * 900, 1, KEPT)), None);
        check(SSH, (0..100).map(|n| (n * 2_000, 1, Login::Sealed(7))), None);
    }

    #[test]
    fn one_who_takes_time_or_goes_round_is_found_as_far_as_the_numbers_go() {
        // Slower than the window allows.
        check(SSH, (0..200).map(|n| (u64::from(n) * 11_000, 1, known(n))), None);
        // By turns at several services of one host or at few hosts, each has its own count.
        check(SSH, (0..60).map(|n| (u64::from(n) * 1_000, n % 2, known(n))), Some(("refusals", false)));
        // With a known password between, so that what is fresh is half.
        let mixed = (0..62).map(|n| (u64::from(n) * 1_000, 1, known(if n % 2 == 0 { 9_999 } else { n })));
        check(SSH, mixed, Some(("refusals", false)));
        // Two tries at each of very many hosts.
        check(SSH, (0..500).map(|n| (n * 100, n as u16 / 2, HIDDEN)), None);
    }

    #[test]
    fn to_be_let_in_elsewhere_changes_nothing() {
        let refused = |n: u64, realm| Login::RefusedIn(Credential::Known(n as u16), realm);
        let among = |other: Login| {
            (0..60).map(move |n| (n * 1_000, 1, if n % 10 == 9 { other } else { refused(n, 7) }))
        };
        check(Service::Http, among(Login::AcceptedIn(8)), Some(("refusals", false)));
        check(Service::Http, among(Login::AcceptedIn(7)), None);
        // What is refused all over a server counts together.
        check(
            Service::Http,
            (0..30).map(|n| (n * 1_000, 1, refused(n, n as u16))),
            Some(("refusals", false)),
        );
        // A part that lets in takes back what it refused, and no more.
        let two = (0..80).map(|n| {
            let login = if n % 8 == 7 { Login::AcceptedIn(2) } else { refused(n, 1 + (n % 2) as u16) };
            (n * 1_000, 1, login)
        });
        check(Service::Http, two, Some(("refusals", false)));
        // Another service of the same host, on the same port.
        let mut guesses = Guesses::default();
        let mut found = None;
        for n in 0..30_u16 {
            let at = Timestamp::from_secs(1_000 + u64::from(n));
            guesses.handle(&NUMBERS, host(1, 22), Service::Mssql, Login::Accepted, at);
            found = guesses.handle(&NUMBERS, host(1, 22), SSH, known(n), at);
        }
        assert!(found.is_some());
    }

    #[test]
    fn posts_that_may_be_logins_are_suspected() {
        let posts = |number: u16| {
            (0..number).map(|n| (u64::from(n) * 1_000, n % 2, Login::TurnedAway(Credential::Known(n))))
        };
        check(Service::Http, posts(60), Some(("posts_refused", true)));
        check(Service::Http, posts(58), None);
        // A few each at many hosts are not even that, and refused logins are counted for themselves.
        let many = (0..90).map(|n| (u64::from(n) * 1_000, n / 3, Login::TurnedAway(Credential::Known(n))));
        check(Service::Http, many, None);
        let mixed = (0..58_u16).map(|n| {
            let credential = Credential::Known(n);
            let login =
                if n % 2 == 0 { Login::TurnedAway(credential) } else { Login::RefusedIn(credential, 1) };
            (u64::from(n) * 1_000, 1, login)
        });
        check(Service::Http, mixed, None);
    }

    #[test]
    fn who_repeats_himself_or_is_let_in_in_the_end_is_silent() {
        // A mail client with an old password, every second for four minutes.
        check(SSH, (0..240).map(|n| (n * 1_000, 1, known(1))), None);
        // A telephone, whose credentials are hidden, every six seconds.
        check(Service::Sip, (0..1_000).map(|n| (n * 6_000, 1, HIDDEN)), None);
        // Twenty people who mistype, and are let in at last.
        let people =
            (0..200).map(|n| (n * 500, 1, if n % 4 == 3 { Login::Accepted } else { known(n as u16) }));
        check(SSH, people, None);
        // A tunnel whose key is gone, once a second and more; somebody who mistypes each time he comes, every two minutes.
        check(SSH, (0..280).map(|n| (n * 1_070, 1, KEPT)), None);
        check(SSH, (0..40).map(|n| (n / 3 * 120_000 + n % 3 * 4_000, 1, HIDDEN)), None);
        // A fleet whose key is gone, host by host and again.
        check(SSH, (0..250).map(|n| (n * 100, n as u16 % 50, KEPT)), None);
        // Webmail with pages of different lengths.
        check(SSH, (0..1_000).map(|n| (n * 100, 1, Login::Sealed(n as u16 % 3))), None);
    }

    #[test]
    fn a_full_table_keeps_whom_most_was_tried_at() {
        let mut guesses = Guesses::default();
        let at = Timestamp::from_secs(1_000);
        for n in 0..20 {
            guesses.handle(&NUMBERS, host(1, 22), Service::Ssh, known(n), at);
        }
        for n in 100..1_000 {
            guesses.handle(&NUMBERS, host(n, 22), Service::Ssh, known(1), at);
        }
        assert_eq!(guesses.doors.len(), DOORS_MAX);
        let mut found = None;
        for n in 20..30 {
            found = found.or(guesses.handle(&NUMBERS, host(1, 22), Service::Ssh, known(n), at));
        }
        assert!(found.is_some(), "{guesses:?}");
        assert!(!guesses.is_idle(&NUMBERS, at + NUMBERS.window));
        assert!(guesses.is_idle(&NUMBERS, at + NUMBERS.window + Duration::from_secs(1)));
    }
}
