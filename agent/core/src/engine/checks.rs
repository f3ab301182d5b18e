//! Active checks: which tenant's mail server is to be asked whether it is an open relay, and what its answer means.
//!
//! Where mail is encrypted, traffic only lets suspect ([`crate::detect::mail`]). Where the policy says so (`[relay_check]`), the shell asks
//! the server, and hands the answer in as an input, so that a replay asks nobody. A tenant is asked once an hour at most, and once more after
//! [`AGAIN`] if it was put off; a node asks [`NODE_PER_HOUR`] times an hour.
//!
//! **What an answer means.** Accepted from outside: the suspicion is confirmed. Accepted from where the server may well trust whoever asks (the
//! tenant's own network, or one next to it): nothing, and an operator asks from elsewhere. Refused: the suspicion is refuted, and the same
//! is not told again for [`REFUTED`]. Everything else leaves it as it is.
//!
//! Left out: the question itself; nothing of this is kept over a restart.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use reeve_policy::{Alert, CheckVerdict, Metric, TenantId, Timestamp, Window};

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
    /// Whether what is suspected of a tenant was refuted not long ago.
    pub fn is_refuted(&self, tenant: &TenantId, now: Timestamp) -> bool {
        let refuted = self.suspects.get(tenant).and_then(|suspect| suspect.refuted);
        refuted.is_some_and(|refuted| now.since(refuted) < REFUTED)
    }

    /// Takes a suspicion about the tenant of `server`; whether it is to be asked now.
    pub fn suspect(&mut self, alert: &Alert, server: IpAddr, now: Timestamp) -> bool {
        if let Some(known) = self.suspects.get_mut(&alert.tenant) {
            known.alert = alert.clone();
            if now.since(known.asked) < EVERY {
                return false;
            }
        } else if !self.make_room(now) {
            return false;
        }
        if !self.may_ask(now) {
            return false;
        }
        let alert = alert.clone();
        let (again_at, was_again, refuted) = (None, false, None);
        self.suspects.insert(
            alert.tenant.clone(),
            Suspect { alert, server, asked: now, again_at, was_again, refuted },
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
        match verdict {
            CheckVerdict::Accepted if is_outside => {
                let mut alert = suspect.alert.clone();
                let metric =
                    |name: &'static str| Metric { name: name.into(), value: 1.0, threshold: Some(1.0) };
                alert.metrics.insert(0, metric("accepted_by_check"));
                alert.window = Window { start: alert.window.start, end: now };
                (alert.at, alert.is_suspicion, alert.confidence_percent) = (now, false, 99);
                Conclusion::Confirmed(alert)
            }
            CheckVerdict::Refused => {
                suspect.refuted = Some(now);
                Conclusion::Refuted
            }
            CheckVerdict::Deferred if !suspect.was_again => {
                suspect.again_at = Some(now + AGAIN);
                Conclusion::Open
            }
            _ => Conclusion::Open,
        }
    }

    /// Forgets a tenant: an operator let it go.
    pub fn forget(&mut self, tenant: &TenantId) {
        self.suspects.remove(tenant);
    }

    /// When [`Checks::due`] next has something to tell.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.suspects.values().filter_map(|suspect| suspect.again_at).min()
    }

    /// The tenants and servers that are to be asked once more at `now`.
    pub fn due(&mut self, now: Timestamp) -> Vec<(TenantId, IpAddr)> {
        let mut due = Vec::new();
        for (tenant, suspect) in &mut self.suspects {
            if suspect.again_at.take_if(|at| *at <= now).is_some() {
                suspect.was_again = true;
                due.push((tenant.clone(), suspect.server));
            }
        }
        due
    }

    fn may_ask(&mut self, now: Timestamp) -> bool {
        while self.asked.front().is_some_and(|asked| now.since(*asked) >= EVERY) {
            self.asked.pop_front();
        }
        let may = self.asked.len() < NODE_PER_HOUR;
        if may {
            self.asked.push_back(now);
        }
        may
    }

    /// Whoever was asked longest ago makes room, if that may be asked again anyway.
    fn make_room(&mut self, now: Timestamp) -> bool {
        if self.suspects.len() < TENANTS_MAX {
            return true;
        }
        let oldest = self.suspects.iter().min_by_key(|(_, suspect)| suspect.asked);
        let Some(oldest) = oldest.filter(|(_, suspect)| now.since(suspect.asked) >= EVERY) else {
            return false;
        };
        let tenant = oldest.0.clone();
        self.suspects.remove(&tenant).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_policy::{Class, Loss};

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
        assert!(checks.is_refuted(&tenant, at(80_000)) && !checks.is_refuted(&tenant, at(90_000)));
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
        assert!(checks.due(at(900)).is_empty());
        assert_eq!(checks.due(at(901)), [(tenant.clone(), SERVER)]);
        checks.answered(&tenant, CheckVerdict::Deferred, true, at(902));
        assert_eq!(checks.next_deadline(), None);
    }
}
