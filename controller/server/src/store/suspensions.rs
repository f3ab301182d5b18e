//! For how long tenants were suspended.

use std::collections::BTreeMap;

use reeve_policy::{Action, Measure, Mode, Month, TenantId, Timestamp, Until};

use super::query::Select;
use super::row::{Body as _, name, nanos, time};
use super::{Store, StoreError};

/// For how long a tenant was suspended in a month. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspended {
    /// All of the time.
    pub total: u64,
    /// The part in which nothing held it but an unpaid invoice.
    pub unpaid: u64,
    /// How many times, with a gap between.
    pub times: u32,
    /// Whether it was at the end.
    pub standing: bool,
}

/// One suspension on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    is_unpaid: bool,
}

impl Store {
    /// Who was suspended for how long in a month, as it is known at `now`; of one tenant, or of all.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn suspensions(
        &self,
        month: Month,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<BTreeMap<TenantId, Suspended>, StoreError> {
        let (start, end) = (month.start(), month.end().min(now));
        let mut query = Select::new(
            "SELECT tenant, since, expires, lifted, body FROM measures WHERE suspends <> 0 AND since < ",
        );
        query.push_bind(nanos(end)).push(" AND (lifted IS NULL OR lifted > ").push_bind(nanos(start));
        query.push(")");
        if let Some(tenant) = tenant {
            query.push(" AND tenant = ").push_bind(tenant.as_str());
        }
        type Row = (String, i64, Option<i64>, Option<i64>, Vec<u8>);
        let rows: Vec<Row> = query.fetch_all(&self.readers).await?;
        let mut spans: BTreeMap<TenantId, Vec<Span>> = BTreeMap::new();
        for (tenant, since, expires, lifted, body) in rows {
            let Measure { decision, .. } = Measure::decode(&body)?;
            if decision.action != Action::Suspend || decision.mode != Mode::Enforce {
                continue;
            }
            // Of one whose node is away nobody says that it ended; the kernel ends it all the same.
            let over = [lifted, expires].into_iter().flatten().min().map_or(end, time);
            let span = Span {
                from: time(since).max(start),
                to: over.min(end),
                is_unpaid: decision.until == Until::Paid,
            };
            if span.from < span.to {
                spans.entry(name("tenant", &tenant)?).or_default().push(span);
            }
        }
        Ok(spans.into_iter().map(|(tenant, spans)| (tenant, reckon(spans, end))).collect())
    }
}

/// What spans come to, those that overlap counted once.
fn reckon(spans: Vec<Span>, end: Timestamp) -> Suspended {
    let union = |wanted: &dyn Fn(&Span) -> bool| {
        let mut chosen: Vec<&Span> = spans.iter().filter(|span| wanted(span)).collect();
        chosen.sort();
        let (mut total, mut times, mut until) = (0, 0, None::<Timestamp>);
        for span in chosen {
            let from = until.map_or(span.from, |until| until.max(span.from));
            times += u32::from(until.is_none_or(|until| span.from > until));
            total += span.to.as_nanos().saturating_sub(from.as_nanos());
            until = until.max(Some(span.to));
        }
        (total, times, until)
    };
    let (total, times, until) = union(&|_| true);
    let (otherwise, _, _) = union(&|span| !span.is_unpaid);
    Suspended { total, unpaid: total - otherwise, times, standing: until == Some(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, to: u64, is_unpaid: bool) -> Span {
        Span { from: Timestamp::from_nanos(from), to: Timestamp::from_nanos(to), is_unpaid }
    }

    fn told(spans: &[Span]) -> (u64, u64, u32, bool) {
        let Suspended { total, unpaid, times, standing } = reckon(spans.to_vec(), Timestamp::from_nanos(100));
        (total, unpaid, times, standing)
    }

    #[test]
    fn time_counts_once_on_however_many_nodes() {
        assert_eq!(told(&[span(10, 30, false)]), (20, 0, 1, false));
        assert_eq!(told(&[span(10, 30, false), span(20, 40, false), span(15, 25, false)]), (30, 0, 1, false));
        assert_eq!(told(&[span(50, 100, false), span(10, 30, false)]), (70, 0, 2, true));
        // What follows on is the same one.
        assert_eq!(told(&[span(10, 30, false), span(30, 40, false)]), (30, 0, 1, false));
    }

    #[test]
    fn what_is_for_an_invoice_alone_is_told_apart() {
        assert_eq!(told(&[span(10, 30, true)]), (20, 20, 1, false));
        assert_eq!(told(&[span(10, 30, true), span(20, 40, false)]), (30, 10, 1, false));
        assert_eq!(told(&[span(10, 40, false), span(20, 30, true)]), (30, 0, 1, false));
        assert_eq!(told(&[span(0, 50, true), span(10, 20, false), span(40, 60, false)]), (60, 30, 1, false));
    }
}
