//! Key by key, in what two entries of one tenant differ: for whoever is to see what an import would change before it does.

use crate::exemption::Exemption;
use crate::tenant::Tenant;

/// One key that differs. Of a list there is only what came and went; of anything else, what it was and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantDifference {
    /// The key as files have it.
    pub key: &'static str,
    /// What is no longer there.
    pub removed: Vec<String>,
    /// What is there now. Where neither holds anything, the same stands in another order.
    pub added: Vec<String>,
}

/// All in which an entry differs from what it was before, in the order of its keys. Its id is that of both.
#[must_use]
pub fn tenant_differences(before: &Tenant, after: &Tenant) -> Vec<TenantDifference> {
    // Taken apart by name: a field that comes later cannot be forgotten here.
    let Tenant {
        id: _,
        name,
        parent,
        addresses,
        interfaces,
        macs,
        uids,
        cgroups,
        system_users,
        mode,
        lifeline,
        profile,
        mail_domains,
        relay_domains,
        mail_clients,
        known_offender,
        quota_bytes,
        language,
        contacts,
        exemptions,
    } = before;
    let one = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let known: (Vec<_>, Vec<_>) = (known_offender.iter().collect(), after.known_offender.iter().collect());
    let all = [
        only("name", one(name), one(&after.name)),
        only("parent", told(parent), told(&after.parent)),
        list("addresses", addresses, &after.addresses),
        list("interfaces", interfaces, &after.interfaces),
        list("macs", macs, &after.macs),
        list("uids", uids, &after.uids),
        list("cgroups", cgroups, &after.cgroups),
        only("system_users", Some(system_users.to_string()), Some(after.system_users.to_string())),
        only("mode", told(mode), told(&after.mode)),
        list("lifeline", lifeline, &after.lifeline),
        only("profile", Some(profile.name().to_owned()), Some(after.profile.name().to_owned())),
        list("mail_domains", mail_domains, &after.mail_domains),
        list("relay_domains", relay_domains, &after.relay_domains),
        list("mail_clients", mail_clients, &after.mail_clients),
        list("known_offender", &known.0, &known.1),
        only("quota_bytes", told(quota_bytes), told(&after.quota_bytes)),
        only("language", told(language), told(&after.language)),
        list("contacts", contacts, &after.contacts),
        list_of("exemption", exemptions, &after.exemptions, whole),
    ];
    all.into_iter().flatten().collect()
}

fn told<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

fn only(key: &'static str, before: Option<String>, after: Option<String>) -> Option<TenantDifference> {
    let (removed, added) = (Vec::from_iter(before), Vec::from_iter(after));
    (removed != added).then_some(TenantDifference { key, removed, added })
}

fn list<T: PartialEq + ToString>(key: &'static str, before: &[T], after: &[T]) -> Option<TenantDifference> {
    list_of(key, before, after, T::to_string)
}

fn list_of<T: PartialEq>(
    key: &'static str,
    before: &[T],
    after: &[T],
    tell: impl Fn(&T) -> String,
) -> Option<TenantDifference> {
    if before == after {
        return None;
    }
    let (old, new): (Vec<String>, Vec<String>) =
        (before.iter().map(&tell).collect(), after.iter().map(&tell).collect());
    let without = |all: &[String], other: &[String]| {
        let other: std::collections::BTreeSet<&String> = other.iter().collect();
        all.iter().filter(|one| !other.contains(one)).cloned().collect::<Vec<_>>()
    };
    Some(TenantDifference { key, removed: without(&old, &new), added: without(&new, &old) })
}

/// An exemption with all that it is for: its one line leaves out all targets and ports but one.
fn whole(exemption: &Exemption) -> String {
    let targets: Vec<String> = exemption.targets.iter().map(ToString::to_string).collect();
    let ports: Vec<String> = exemption.ports.iter().map(ToString::to_string).collect();
    let mut text = exemption.to_string();
    for (what, all) in [("targets", targets), ("ports", ports)] {
        if all.len() > 1 {
            text.push_str(&format!("; {what} {}", all.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::parse_tenants;
    use super::*;

    fn tenant(lines: &str) -> Tenant {
        let text = format!("[[tenant]]\nid = \"a\"\n{lines}\n");
        parse_tenants("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).remove(0)
    }

    fn check(before: &str, after: &str, expect: &[(&str, &[&str], &[&str])]) {
        let told = tenant_differences(&tenant(before), &tenant(after));
        let told: Vec<(&str, Vec<&str>, Vec<&str>)> = told
            .iter()
            .map(|one| {
                let texts = |all: &'_ [String]| all.iter().map(|text| &*text.clone().leak()).collect();
                (one.key, texts(&one.removed), texts(&one.added))
            })
            .collect();
        let expect: Vec<(&str, Vec<&str>, Vec<&str>)> =
            expect.iter().map(|(key, old, new)| (*key, old.to_vec(), new.to_vec())).collect();
        assert_eq!(told, expect, "{before} / {after}");
    }

    #[test]
    fn what_differs_is_told_key_by_key() {
        let base = "addresses = [\"203.0.113.0/28\", \"2001:db8::/48\"]";
        check(base, base, &[]);
        check(
            base,
            "addresses = [\"2001:db8::/48\", \"198.51.100.7/32\"]\nname = \"A\"\nprofile = \"mail\"",
            &[
                ("name", &[], &["A"]),
                ("addresses", &["203.0.113.0/28"], &["198.51.100.7/32"]),
                ("profile", &["none"], &["mail"]),
            ],
        );
        check(
            &format!("{base}\nquota_bytes = 5\nmode = \"observe\"\nknown_offender = [\"portscan.vertical\"]"),
            &format!("{base}\nquota_bytes = 0"),
            &[
                ("mode", &["observe"], &[]),
                ("known_offender", &["portscan.vertical"], &[]),
                ("quota_bytes", &["5"], &["0"]),
            ],
        );
        // In another order is another entry, and says so.
        check(base, "addresses = [\"2001:db8::/48\", \"203.0.113.0/28\"]", &[("addresses", &[], &[])]);
    }

    #[test]
    fn an_exemption_is_told_with_all_its_targets() {
        let with = |targets: &str| {
            format!(
                "addresses = []\n[[tenant.exemption]]\nclause = \"x/scan\"\ntargets = [{targets}]\nreference = \"l\"\nuntil = \"revoked\""
            )
        };
        let told = tenant_differences(
            &tenant(&with("\"192.0.2.1/32\", \"192.0.2.2/32\"")),
            &tenant(&with("\"192.0.2.1/32\", \"192.0.2.3/32\"")),
        );
        assert_eq!(told[0].key, "exemption");
        assert!(
            told[0].removed[0].contains("192.0.2.2/32") && told[0].added[0].contains("192.0.2.3/32"),
            "{told:?}"
        );
    }
}
