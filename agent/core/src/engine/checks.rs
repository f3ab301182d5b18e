//! Active checks: which tenant's mail server is to be asked whether it is an open relay, and what its answer means.
//!
//! Where mail is encrypted, traffic only lets suspect ([`crate::detect::mail`]). Where the policy says so (`[relay_check]`), the shell asks
//! the server, and hands the answer in as an input, so that a replay asks nobody. A tenant is asked once an hour at most, and once more after
//! [`AGAIN`] if it was put off, or was not asked because too many waited; a node asks [`NODE_PER_HOUR`] times an hour.
//!
//! **What an answer means.** Accepted from outside: the suspicion is confirmed. Accepted from where the server may well trust whoever asks (the
//! tenant's own network, or one next to it): nothing, and an operator asks from elsewhere. Refused: the suspicion is refuted, and the same
//! server is not suspected again for [`REFUTED`]. Everything else leaves it as it is.
//!
//! Left out: the question itself; nothing of this is kept over a restart.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::judge::accepted_by_check;
use reeve_policy::{Alert, CheckVerdict, TenantId, Timestamp};

/// A tenant is asked this often at most.
const EVERY: Duration = Duration::from_secs(3_600);
/// A node asks so many times within `EVERY` at most.
pub(super) const NODE_PER_HOUR: usize = 30;
/// A server that puts strangers off takes them after some minutes (greylisting, RFC 6647).
const AGAIN: Duration = Duration::from_secs(900);
/// For so long a suspicion that was refuted is not told again.
const REFUTED: Duration = Duration::from_secs(86_400);
/// So many tenants are remembered.
pub(super) const TENANTS_MAX: usize = 256;

/// A tenant that was suspected.
#[derive(Debug)]
struct Suspect {
    alert: Alert,
    server: IpAddr,
    asked: Timestamp,
    /// Whether its answer is waited for.
    is_waiting: bool,
    /// When it is asked once more, and whether it was.
    again_at: Option<Timestamp>,
    was_again: bool,
    refuted: Option<Timestamp>,
}

/// What an answer leads to.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// The suspicion is confirmed by this alert.
    Confirmed(Alert),
    /// It is refuted.
    Refuted,
    /// It stays one.
    Open,
}

/// The tenants that were suspected.
#[derive(Debug, Default)]
pub(super) struct Checks {
    suspects: BTreeMap<TenantId, Suspect>,
    asked: VecDeque<Timestamp>,
}

impl Checks {
    /// Whether what is suspected of a tenant's server was refuted not long ago.
    pub fn is_refuted(&self, tenant: &TenantId, server: IpAddr, now: Timestamp) -> bool {
        let suspect = self.suspects.get(tenant).filter(|suspect| suspect.server == server);
        suspect.and_then(|suspect| suspect.refuted).is_some_and(|refuted| !now.is_past(refuted, REFUTED))
    }

    /// Takes a suspicion about the tenant of `server`; whether it is to be asked now.
    pub fn suspect(&mut self, alert: &Alert, server: IpAddr, now: Timestamp) -> bool {
        if let Some(known) = self.suspects.get_mut(&alert.tenant) {
            known.alert = alert.clone();
            if !now.is_past(known.asked, EVERY) {
                return false;
            }
        } else if !self.make_room(now) {
            return false;
        }
        if !may_ask(&mut self.asked, now) {
            return false;
        }
        let alert = alert.clone();
        let (again_at, was_again) = (None, false);
        // It stays refuted until it says something else.
        let before = self.suspects.get(&alert.tenant).filter(|before| before.server == server);
        let refuted = before.and_then(|before| before.refuted);
        self.suspects.insert(
            alert.tenant.clone(),
            Suspect { alert, server, asked: now, is_waiting: true, again_at, was_again, refuted },
        );
        true
    }

    /// Takes the answer of a tenant's server at `now`. `is_outside` says whether whoever asked is a stranger to it.
    pub fn answered(
        &mut self,
        tenant: &TenantId,
        verdict: CheckVerdict,
        is_outside: bool,
        now: Timestamp,
    ) -> Conclusion {
        let Some(suspect) = self.suspects.get_mut(tenant) else { return Conclusion::Open };
        if !std::mem::take(&mut suspect.is_waiting) {
            // Somebody asked about something else: what was confirmed is not confirmed once more.
            if verdict == CheckVerdict::Refused {
                suspect.refuted = Some(now);
            }
            return Conclusion::Open;
        }
        match verdict {
            CheckVerdict::Accepted if is_outside => {
                suspect.refuted = None;
                Conclusion::Confirmed(accepted_by_check(&suspect.alert, now))
            }
            CheckVerdict::Refused => {
                suspect.refuted = Some(now);
                Conclusion::Refuted
            }
            CheckVerdict::Deferred if !suspect.was_again => {
                suspect.again_at = Some(now + AGAIN);
                Conclusion::Open
            }
            // Nobody said no: that it was not asked counts neither against its hour nor against the node's.
            CheckVerdict::NotAsked => {
                suspect.again_at = Some(now + AGAIN);
                self.asked.pop_back();
                Conclusion::Open
            }
            _ => Conclusion::Open,
        }
    }

    /// The server of a tenant's that was asked.
    pub fn server(&self, tenant: &TenantId) -> Option<IpAddr> {
        self.suspects.get(tenant).map(|suspect| suspect.server)
    }

    /// Forgets a tenant: an operator let it go.
    pub fn forget(&mut self, tenant: &TenantId) {
        self.suspects.remove(tenant);
    }

    /// When [`Checks::due`] next has something to tell.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.suspects.values().filter_map(|suspect| suspect.again_at).min()
    }

    /// The tenants and servers that are to be asked once more at `now`. Who may not be asked by then (`may_be`: somebody has paused, the
    /// policy is another) waits for the next suspicion.
    pub fn due(&mut self, now: Timestamp, may_be: impl Fn(&TenantId) -> bool) -> Vec<(TenantId, IpAddr)> {
        let mut due = Vec::new();
        for (tenant, suspect) in &mut self.suspects {
            if suspect.again_at.take_if(|at| *at <= now).is_none() || !may_be(tenant) {
                continue;
            }
            if may_ask(&mut self.asked, now) {
                (suspect.asked, suspect.was_again, suspect.is_waiting) = (now, true, true);
                due.push((tenant.clone(), suspect.server));
            } else {
                suspect.again_at = Some(now + AGAIN);
            }
        }
        due
    }

    /// Whoever was asked longest ago makes room, if that may be asked again anyway.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if self.suspects.len() < TENANTS_MAX {
            return true;
        }
        let oldest = self.suspects.iter().min_by_key(|(_, suspect)| suspect.asked);
        let Some(oldest) = oldest.filter(|(_, suspect)| now.is_past(suspect.asked, EVERY)) else {
            return false;
        };
        let tenant = oldest.0.clone();
        self.suspects.remove(&tenant).is_some()
    }
}

/// Whether the node may ask once more, and takes note of it.
fn may_ask(asked: &mut VecDeque<Timestamp>, now: Timestamp) -> bool {
    while asked.front().is_some_and(|asked| now.is_past(*asked, EVERY)) {
        asked.pop_front();
    }
    let may = asked.len() < NODE_PER_HOUR;
    if may {
        asked.push_back(now);
    }
    may
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::{Class, Loss, Window};

    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(10_000 + seconds)
    }

    fn alert(tenant: &str, seconds: u64) -> Alert {
        Alert {
            class: Class::SmtpRelay,
            tenant: tenant.parse().unwrap(),
            at: at(seconds),
            window: Window { start: at(0), end: at(seconds) },
            metrics: Vec::new(),
            confidence_percent: 60,
            targets: Vec::new(),
            samples: Vec::new(),
            loss: Loss::default(),
            is_suspicion: true,
        }
    }

    /// Asks about alice at these seconds; whether each is let through.
    fn check(seconds: &[u64], expect: &[bool]) {
        let mut checks = Checks::default();
        let asked: Vec<bool> = seconds
            .iter()
            .map(|seconds| checks.suspect(&alert("alice", *seconds), SERVER, at(*seconds)))
            .collect();
        assert_eq!(asked, expect, "{seconds:?}");
    }

    #[test]
    fn a_tenant_is_asked_once_an_hour_and_a_node_asks_so_many() {
        check(&[0, 10, 3_599, 3_600, 3_700], &[true, false, false, true, false]);
        let mut checks = Checks::default();
        let asked =
            (0..1_000).filter(|number| checks.suspect(&alert(&format!("t{number}"), 0), SERVER, at(0)));
        assert_eq!(asked.count(), NODE_PER_HOUR);
        for hour in 1..40 {
            for number in 0..100 {
                let tenant = format!("t{hour}-{number}");
                checks.suspect(&alert(&tenant, hour * 3_600), SERVER, at(hour * 3_600));
            }
            assert!(checks.suspects.len() <= TENANTS_MAX && checks.asked.len() <= NODE_PER_HOUR);
        }
    }

    #[test]
    fn answers_confirm_refute_or_leave_it() {
        let tenant: TenantId = "alice".parse().unwrap();
        let answered = |verdict, is_outside| {
            let mut checks = Checks::default();
            assert!(checks.suspect(&alert("alice", 5), SERVER, at(5)));
            let conclusion = checks.answered(&tenant, verdict, is_outside, at(9));
            (conclusion, checks)
        };
        let (conclusion, _) = answered(CheckVerdict::Accepted, true);
        assert!(
            matches!(conclusion, Conclusion::Confirmed(alert) if !alert.is_suspicion && alert.at == at(9))
        );
        assert!(
            matches!(answered(CheckVerdict::Accepted, false).0, Conclusion::Open),
            "it may trust who asks"
        );
        let (conclusion, checks) = answered(CheckVerdict::Refused, false);
        assert!(matches!(conclusion, Conclusion::Refuted));
        let other = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 11));
        assert!(checks.is_refuted(&tenant, SERVER, at(80_000)));
        assert!(!checks.is_refuted(&tenant, SERVER, at(90_000)), "a day later it may be another");
        assert!(!checks.is_refuted(&tenant, other, at(80_000)), "another server was not asked");
        for verdict in [CheckVerdict::Unclear, CheckVerdict::Unreachable] {
            let (conclusion, checks) = answered(verdict, true);
            assert!(matches!(conclusion, Conclusion::Open) && checks.next_deadline().is_none());
        }
    }

    #[test]
    fn who_is_put_off_asks_once_more() {
        let tenant: TenantId = "alice".parse().unwrap();
        let mut checks = Checks::default();
        checks.suspect(&alert("alice", 0), SERVER, at(0));
        checks.answered(&tenant, CheckVerdict::Deferred, true, at(1));
        assert_eq!(checks.next_deadline(), Some(at(901)));
        assert!(checks.due(at(900), |_| true).is_empty());
        assert_eq!(checks.due(at(901), |_| true), [(tenant.clone(), SERVER)]);
        checks.answered(&tenant, CheckVerdict::Deferred, true, at(902));
        assert_eq!(checks.next_deadline(), None);
        assert!(
            !checks.suspect(&alert("alice", 4_500), SERVER, at(4_500)),
            "an hour after the last question"
        );
        assert!(checks.suspect(&alert("alice", 4_501), SERVER, at(4_501)));
    }

    #[test]
    fn who_was_not_asked_is_asked_soon_and_as_often_as_it_takes() {
        let tenant: TenantId = "alice".parse().unwrap();
        let mut checks = Checks::default();
        assert!(checks.suspect(&alert("alice", 0), SERVER, at(0)));
        for round in 1..=3 {
            let asked = checks.asked.len();
            checks.answered(&tenant, CheckVerdict::NotAsked, false, at(round * 900 - 900));
            assert_eq!(checks.asked.len(), asked - 1, "a question that was not put is none of the node's");
            assert_eq!(checks.due(at(round * 900), |_| true), [(tenant.clone(), SERVER)], "{round}");
        }
    }

    #[test]
    fn nobody_is_asked_again_who_may_not_be_by_then_or_beyond_the_nodes_hour() {
        let tenant: TenantId = "alice".parse().unwrap();
        let put_off = || {
            let mut checks = Checks::default();
            checks.suspect(&alert("alice", 0), SERVER, at(0));
            checks.answered(&tenant, CheckVerdict::Deferred, true, at(0));
            checks
        };
        let mut checks = put_off();
        assert!(checks.due(at(900), |_| false).is_empty());
        assert_eq!(checks.next_deadline(), None);
        let mut checks = put_off();
        for number in 1..NODE_PER_HOUR {
            assert!(checks.suspect(&alert(&format!("t{number}"), 10), SERVER, at(10)));
        }
        assert!(checks.due(at(900), |_| true).is_empty(), "the node has asked enough");
        assert!(checks.due(at(1_800), |_| true).is_empty());
        assert_eq!(checks.next_deadline(), Some(at(2_700)));
        assert_eq!(checks.due(at(3_600), |_| true), [(tenant.clone(), SERVER)]);
    }

    #[test]
    fn what_was_refuted_stays_so_until_it_says_something_else() {
        let tenant: TenantId = "alice".parse().unwrap();
        let mut checks = Checks::default();
        checks.suspect(&alert("alice", 0), SERVER, at(0));
        checks.answered(&tenant, CheckVerdict::Refused, true, at(1));
        assert!(checks.suspect(&alert("alice", 4_000), SERVER, at(4_000)), "it may be another by now");
        checks.answered(&tenant, CheckVerdict::Unreachable, true, at(4_010));
        assert!(checks.is_refuted(&tenant, SERVER, at(4_020)));
        assert!(checks.suspect(&alert("alice", 8_000), SERVER, at(8_000)));
        let conclusion = checks.answered(&tenant, CheckVerdict::Accepted, true, at(8_001));
        assert!(matches!(conclusion, Conclusion::Confirmed(_)));
        assert!(!checks.is_refuted(&tenant, SERVER, at(8_002)));
        checks.forget(&tenant);
        assert!(matches!(
            checks.answered(&tenant, CheckVerdict::Accepted, true, at(8_003)),
            Conclusion::Open
        ));
    }
}
