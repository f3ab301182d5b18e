//! What tenants sent and received, as text.

use reeve_proto::operator::v1::UsageEntry;

use super::{cells, table, when};

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
    }
}
