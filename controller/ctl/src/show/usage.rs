//! What tenants sent and received, and for how long they were suspended, as text.

use reeve_proto::operator::v1::{SuspensionEntry, UsageEntry};

use super::{cells, table, when};
use crate::json::at;

pub fn usage(month: &str, entries: &[UsageEntry]) -> String {
    if entries.is_empty() {
        return format!("no traffic was told of in {month}");
    }
    let mut rows = vec![cells(["TENANT", "MONTH", "IN", "OUT", "TOTAL", "PLAN", "NODES", "TOLD"])];
    rows.extend(entries.iter().map(|entry| {
        let total = entry.bytes_in.saturating_add(entry.bytes_out);
        vec![
            entry.tenant.clone(),
            month.to_owned(),
            bytes(entry.bytes_in),
            bytes(entry.bytes_out),
            bytes(total),
            plan(total, entry.quota_bytes),
            entry.nodes.to_string(),
            when(entry.updated_time),
        ]
    }));
    table(&rows)
}

/// The same for spreadsheets and billing. Keys of tenants hold nothing that would have to be quoted.
pub fn usage_csv(month: &str, entries: &[UsageEntry]) -> String {
    let mut text = "month,tenant,bytes_in,bytes_out,quota_bytes,nodes,updated\n".to_owned();
    for entry in entries {
        let quota = entry.quota_bytes.map(|quota| quota.to_string()).unwrap_or_default();
        let (tenant, updated) = (&entry.tenant, at(entry.updated_time).unwrap_or_default());
        let (received, sent, nodes) = (entry.bytes_in, entry.bytes_out, entry.nodes);
        text.push_str(&format!("{month},{tenant},{received},{sent},{quota},{nodes},{updated}\n"));
    }
    text
}

/// Whole seconds, the rest cut off.
pub fn seconds(span: Option<prost_types::Duration>) -> u64 {
    reeve_proto::duration("span", span.unwrap_or_default()).map_or(0, |span| span.as_secs())
}

pub fn suspensions(month: &str, entries: &[SuspensionEntry]) -> String {
    if entries.is_empty() {
        return format!("nobody was suspended in {month}");
    }
    let mut rows = vec![cells(["TENANT", "MONTH", "SUSPENDED", "UNPAID ALONE", "TIMES", "NOW"])];
    rows.extend(entries.iter().map(|entry| {
        vec![
            entry.tenant.clone(),
            month.to_owned(),
            days(seconds(entry.suspended)),
            days(seconds(entry.unpaid)),
            entry.times.to_string(),
            if entry.standing { "suspended" } else { "-" }.to_owned(),
        ]
    }));
    table(&rows)
}

/// The same for spreadsheets and billing.
pub fn suspensions_csv(month: &str, entries: &[SuspensionEntry]) -> String {
    let mut text = "month,tenant,suspended_seconds,unpaid_seconds,times,standing\n".to_owned();
    for entry in entries {
        let (tenant, times, standing) = (&entry.tenant, entry.times, entry.standing);
        let (all, unpaid) = (seconds(entry.suspended), seconds(entry.unpaid));
        text.push_str(&format!("{month},{tenant},{all},{unpaid},{times},{standing}\n"));
    }
    text
}

/// Days, hours, minutes and seconds, without those that are none.
fn days(seconds: u64) -> String {
    let parts = [
        ("d", seconds / 86_400),
        ("h", seconds / 3_600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(unit, number)| format!("{number} {unit}"))
        .collect();
    if told.is_empty() { "0 s".to_owned() } else { told.join(" ") }
}

/// How much of a plan is used; a dash where the tenant has none of its own.
fn plan(total: u64, quota: Option<u64>) -> String {
    match quota {
        None => "-".to_owned(),
        Some(0) => "no limit".to_owned(),
        Some(quota) => {
            format!("{} % of {}", u128::from(total) * 100 / u128::from(quota), bytes(quota))
        }
    }
}

/// In units of a thousand, as traffic is sold, with three digits or so.
fn bytes(number: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = number as f64;
    let mut unit = "B";
    for next in units {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1_000.0, next);
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_unit_that_fits() {
        for (number, expect) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (20_000_000_000_000, "20.0 TB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), expect);
        }
    }

    #[test]
    fn a_plan_is_told_with_what_is_used_of_it() {
        assert_eq!(plan(799_999, Some(1_000_000)), "79 % of 1.0 MB");
        assert_eq!(plan(u64::MAX, Some(1)), "1844674407370955161500 % of 1 B");
        assert_eq!((plan(5, Some(0)), plan(5, None)), ("no limit".to_owned(), "-".to_owned()));
    }

    #[test]
    fn each_tenant_has_a_line() {
        let entry = UsageEntry {
            tenant: "a".into(),
            bytes_in: 1_500_000,
            bytes_out: 500_000,
            nodes: 2,
            quota_bytes: Some(4_000_000),
            updated_time: None,
        };
        let text = usage("2026-11", &[entry]);
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "a 2026-11 1.5 MB 500.0 kB 2.0 MB 50 % of 4.0 MB 2 -");
        assert_eq!(usage("2026-10", &[]), "no traffic was told of in 2026-10");
        let none = UsageEntry { tenant: "b".into(), ..UsageEntry::default() };
        assert_eq!(
            usage_csv("2026-11", &[none]),
            "month,tenant,bytes_in,bytes_out,quota_bytes,nodes,updated\n2026-11,b,0,0,,0,\n"
        );
    }

    #[test]
    fn who_was_suspended_has_a_line() {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 999_999_999 });
        let entry = SuspensionEntry {
            tenant: "a".into(),
            suspended: span(90_061),
            unpaid: span(0),
            times: 2,
            standing: true,
        };
        let text = suspensions("2026-11", std::slice::from_ref(&entry));
        let line = text.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "a 2026-11 1 d 1 h 1 min 1 s 0 s 2 suspended");
        assert_eq!(suspensions("2026-10", &[]), "nobody was suspended in 2026-10");
        let csv = suspensions_csv("2026-11", &[entry]);
        assert_eq!(csv.lines().nth(1), Some("2026-11,a,90061,0,2,true"));
    }
}
