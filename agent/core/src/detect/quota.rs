//! `quota`: more traffic in a calendar month than the tenant's plan includes.
//!
//! **Measure.** The sum of the bytes of the tenant's IP packets, from it and to it, as long as their frames were on the wire, since the
//! month began in UTC. That is what a bill of traffic counts, and no abuse: it is told once a month when the plan is used up, and once
//! as a suspicion when [`EARLY_PERCENT`] % of it are. Of bulk TCP the kernel passes on one packet in 16, which stands for as many
//! ([`crate::interest::weight`]); the sum of a month is right to a small part of a percent all the same, since the error shrinks with the
//! root of the number of packets.
//!
//! **Numbers.** `bytes_per_month` of the policy, or the tenant's own `quota_bytes`; 0 is no limit, as it is unless somebody says otherwise.
//!
//! **Look-alikes that stay silent.** All traffic without a plan. What a suspended tenant still sends, and what still comes for it: it reaches
//! nobody, and is not counted. A month that ends: the next one begins with nothing, and what was told of the one before is not told again.
//!
//! **Evasion.** None by what is sent: every packet counts, whatever it is. Two nodes count for themselves, and the controller adds up; a
//! limit is held against what each of them saw.

use reeve_policy::{Class, Metric, Month, TenantId, Timestamp, Usage};
use serde::{Deserialize, Serialize};

use super::Finding;

/// At so many percent of the plan an early notice is told.
pub const EARLY_PERCENT: u8 = 80;
const FULL_PERCENT: u8 = 100;

/// What a tenant used in a month, and what of it was told: what outlasts a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Who used how much, and when.
    #[serde(flatten)]
    pub usage: Usage,
    /// How many percent of the plan were told of last: 0, [`EARLY_PERCENT`] or 100.
    #[serde(default)]
    pub told: u8,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the tenant.
    In,
    /// From the tenant.
    Out,
}

/// A month's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    month: Month,
    received: u64,
    sent: u64,
    told: u8,
}

impl Count {
    fn of(month: Month) -> Self {
        Self { month, received: 0, sent: 0, told: 0 }
    }

    const fn total(&self) -> u64 {
        self.received.saturating_add(self.sent)
    }

    fn raise(&mut self, tally: &Tally) {
        self.received = self.received.max(tally.usage.received);
        self.sent = self.sent.max(tally.usage.sent);
        self.told = self.told.max(tally.told);
    }

    fn tally(&self, tenant: &TenantId) -> Tally {
        let Self { month, received, sent, told } = *self;
        Tally { usage: Usage { tenant: tenant.clone(), month, received, sent }, told }
    }
}

/// One tenant's traffic of this month and of the last one in which there was any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    now: Count,
    /// The first moment that does not count for the month any more.
    end: Timestamp,
    /// The sum at which there is something to tell, if there is one.
    mark: Option<u64>,
    /// The month before is kept until somebody has asked for it, and longer.
    before: Option<Count>,
    limit: u64,
}

impl Default for Quota {
    fn default() -> Self {
        let month = Month::of(Timestamp::EPOCH);
        Self { now: Count::of(month), end: month.end(), before: None, limit: 0, mark: None }
    }
}

impl Quota {
    /// Says how many bytes a month has from now on; 0 is no limit. What was told of is told again if it comes about anew.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.set_mark();
    }

    /// Goes on from what an earlier run counted. Of two counts of a month the greater holds.
    pub fn restore(&mut self, tally: &Tally) {
        let month = tally.usage.month;
        if month > self.now.month {
            self.begin(month);
        }
        if month == self.now.month {
            self.now.raise(tally);
            self.set_mark();
        } else {
            let before = self.before.get_or_insert_with(|| Count::of(month));
            if before.month < month {
                *before = Count::of(month);
            }
            if before.month == month {
                before.raise(tally);
            }
        }
    }

    /// What was counted in the two months, the older first; nothing of a month in which nothing was.
    pub fn tallies<'q>(&'q self, tenant: &'q TenantId) -> impl Iterator<Item = Tally> + 'q {
        let counts = self.before.iter().chain([&self.now]);
        counts.filter(|count| count.total() > 0).map(|count| count.tally(tenant))
    }

    /// Counts `bytes` of a packet, and tells when a part of the plan is used up.
    #[inline]
    pub fn count(&mut self, way: Way, bytes: u64, at: Timestamp) -> Option<Finding> {
        if at >= self.end {
            self.begin(Month::of(at));
        }
        let side = match way {
            Way::In => &mut self.now.received,
            Way::Out => &mut self.now.sent,
        };
        *side = side.saturating_add(bytes);
        self.mark.is_some_and(|mark| self.now.total() >= mark).then(|| self.tell(at))
    }

    #[inline(never)]
    fn begin(&mut self, month: Month) {
        if self.now.total() > 0 {
            self.before = Some(self.now);
        }
        self.now = Count::of(month);
        self.end = month.end();
        self.set_mark();
    }

    #[inline(never)]
    fn tell(&mut self, at: Timestamp) -> Finding {
        self.now.told = self.reached();
        self.set_mark();
        let Count { month, received, sent, told } = self.now;
        let (limit, total) = (self.limit, self.now.total());
        let metric = |name: &'static str, value: u64, threshold: Option<u64>| Metric {
            name: name.into(),
            value: value as f64,
            threshold: threshold.map(|number| number as f64),
        };
        Finding {
            class: Class::Quota,
            start: month.start(),
            at,
            metrics: vec![
                metric("bytes", total, Some(limit)),
                metric("bytes_in", received, None),
                metric("bytes_out", sent, None),
                metric("percent", percent(total, limit), Some(told.into())),
            ],
            confidence_percent: 95,
            targets: Vec::new(),
            is_suspicion: told < FULL_PERCENT,
        }
    }

    /// How much of what can be told has come about.
    fn reached(&self) -> u8 {
        let is_used = |percent: u8| self.limit > 0 && self.now.total() >= part(self.limit, percent);
        [FULL_PERCENT, EARLY_PERCENT].into_iter().find(|percent| is_used(*percent)).unwrap_or(0)
    }

    fn set_mark(&mut self) {
        self.now.told = self.now.told.min(self.reached());
        self.mark = match self.now.told {
            _ if self.limit == 0 => None,
            0 => Some(part(self.limit, EARLY_PERCENT)),
            told => (told < FULL_PERCENT).then_some(self.limit),
        };
    }
}

/// So many percent of a number, rounded up.
fn part(number: u64, percent: u8) -> u64 {
    let part = (u128::from(number) * u128::from(percent)).div_ceil(100);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// How many whole percent of `limit` a number is.
fn percent(number: u64, limit: u64) -> u64 {
    let percent = u128::from(number) * 100 / u128::from(limit.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

// It exists for every tenant, whatever it does.
const _: () = assert!(size_of::<Quota>() <= 128);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn tally(month: &str, received: u64, sent: u64, told: u8) -> Tally {
        let usage = Usage { tenant: "a".parse().unwrap(), month: month.parse().unwrap(), received, sent };
        Tally { usage, told }
    }

    fn quota(limit: u64) -> Quota {
        let mut quota = Quota::default();
        quota.set_limit(limit);
        quota
    }

    fn tallies(quota: &Quota) -> Vec<Tally> {
        quota.tallies(&"a".parse().unwrap()).collect()
    }

    /// Packets, each with its time, way and bytes; what is told of them, as percent and whether it is a suspicion.
    fn check(quota: &mut Quota, packets: &[(&str, Way, u64)], expect: &[(u64, bool)]) {
        let told = packets.iter().filter_map(|(time, way, bytes)| quota.count(*way, *bytes, at(time)));
        let word = |finding: Finding| {
            let number = |name: &str| {
                finding.metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
            };
            assert_eq!(number("bytes").unwrap(), number("bytes_in").unwrap() + number("bytes_out").unwrap());
            assert_eq!((finding.class, finding.start), (Class::Quota, Month::of(finding.at).start()));
            (number("percent").unwrap() as u64, finding.is_suspicion)
        };
        assert_eq!(told.map(word).collect::<Vec<_>>(), expect, "{packets:?}");
    }

    #[test]
    fn it_is_told_early_and_when_the_plan_is_used_up_and_no_more() {
        let day = "2026-11-21T12:00:00Z";
        let packets = [
            (day, Way::In, 799_999),
            (day, Way::Out, 1),
            (day, Way::Out, 199_999),
            (day, Way::In, 1),
            (day, Way::In, LIMIT * 5),
        ];
        check(&mut quota(LIMIT), &packets, &[(80, true), (100, false)]);
        // One leap over both.
        check(&mut quota(LIMIT), &[(day, Way::In, LIMIT * 2), (day, Way::In, 1)], &[(200, false)]);
    }

    #[test]
    fn just_below_and_without_a_plan_it_is_silent() {
        let day = "2026-11-21T12:00:00Z";
        check(&mut quota(LIMIT), &[(day, Way::In, 400_000), (day, Way::Out, 399_999)], &[]);
        check(&mut quota(LIMIT), &[(day, Way::In, 800_000), (day, Way::Out, 199_999)], &[(80, true)]);
        let mut unlimited = quota(0);
        check(&mut unlimited, &[(day, Way::In, u64::MAX), (day, Way::Out, u64::MAX)], &[]);
    }

    #[test]
    fn small_packets_add_up_however_slow() {
        let mut quota = quota(LIMIT);
        let start = at("2026-11-01T00:00:00Z");
        let told: Vec<u64> = (0..25_000_u64)
            .filter_map(|n| {
                quota.count(Way::Out, 40, start + std::time::Duration::from_secs(n * 100)).map(|_| n)
            })
            .collect();
        assert_eq!(told, [19_999, 24_999]);
    }

    #[test]
    fn a_month_begins_with_nothing_at_its_first_moment() {
        let (last, first) = ("2026-11-30T23:59:59.999999999Z", "2026-12-01T00:00:00Z");
        let mut quota = quota(LIMIT);
        check(&mut quota, &[(last, Way::In, 700_000), (first, Way::In, 700_000)], &[]);
        assert_eq!(tallies(&quota), [tally("2026-11", 700_000, 0, 0), tally("2026-12", 700_000, 0, 0)]);
        check(&mut quota, &[(first, Way::Out, LIMIT)], &[(170, false)]);
        check(&mut quota, &[("2027-02-01T00:00:00Z", Way::Out, LIMIT)], &[(100, false)]);
        let before = tally("2026-12", 700_000, LIMIT, 100);
        assert_eq!(tallies(&quota), [before, tally("2027-02", 0, LIMIT, 100)]);
    }

    #[test]
    fn a_run_goes_on_where_the_last_one_ended() {
        let day = "2026-11-21T12:00:00Z";
        let mut first = quota(LIMIT);
        check(&mut first, &[("2026-10-31T12:00:00Z", Way::Out, 5), (day, Way::In, 900_000)], &[(90, true)]);
        let mut second = quota(LIMIT);
        tallies(&first).iter().for_each(|tally| second.restore(tally));
        assert_eq!(second, first);
        // What comes again, or late, or of an older month, changes nothing.
        tallies(&first).iter().rev().for_each(|tally| second.restore(tally));
        second.restore(&tally("2026-11", 3, 0, 0));
        second.restore(&tally("2026-09", 3, 3, 0));
        assert_eq!(second, first);
        check(&mut second, &[(day, Way::In, 1), (day, Way::In, 100_000)], &[(100, false)]);
        // Into a month that has begun already.
        let mut third = quota(LIMIT);
        check(&mut third, &[("2026-12-01T00:00:00Z", Way::In, 7)], &[]);
        third.restore(&tally("2026-11", 9, 9, 100));
        assert_eq!(tallies(&third), [tally("2026-11", 9, 9, 100), tally("2026-12", 7, 0, 0)]);
    }

    #[test]
    fn another_plan_is_told_of_anew() {
        let day = "2026-11-21T12:00:00Z";
        let mut quota = quota(LIMIT);
        check(&mut quota, &[(day, Way::In, LIMIT)], &[(100, false)]);
        quota.set_limit(LIMIT);
        check(&mut quota, &[(day, Way::In, 0)], &[]);
        quota.set_limit(2 * LIMIT);
        check(&mut quota, &[(day, Way::In, 600_000), (day, Way::In, 400_000)], &[(80, true), (100, false)]);
        quota.set_limit(0);
        check(&mut quota, &[(day, Way::In, LIMIT)], &[]);
        quota.set_limit(LIMIT);
        check(&mut quota, &[(day, Way::In, 0)], &[(300, false)]);
    }

    #[test]
    fn sums_end_at_the_most_there_is() {
        let day = "2026-11-21T12:00:00Z";
        let mut quota = quota(u64::MAX);
        assert!(quota.count(Way::In, u64::MAX, at(day)).is_some_and(|told| !told.is_suspicion));
        assert_eq!(quota.count(Way::Out, u64::MAX, at(day)), None);
        assert_eq!(tallies(&quota), [tally("2026-11", u64::MAX, u64::MAX, 100)]);
        assert_eq!((part(u64::MAX, 100), part(1, 80), part(0, 80)), (u64::MAX, 1, 0));
    }
}
