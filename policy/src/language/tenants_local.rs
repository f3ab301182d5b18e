//! Users and control groups in the tenants' file: read and checked.

use std::collections::{BTreeMap, BTreeSet};

use super::tenants::Clash;
use crate::local::{GroupSelector, USERS_MAX, UserSelector};
use crate::reader::Section;
use crate::tenant::{NodeId, Tenant};

/// What a tenant's entry says of them.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub uids: Vec<UserSelector>,
    pub cgroups: Vec<GroupSelector>,
    pub system_users: bool,
}

/// Reads them. Users below `first_user` must be asked for: a measure on root or a daemon's user would hold the node itself.
pub(super) fn read(section: &Section<'_, '_>, first_user: u32) -> Read {
    let system_users = section.boolean("system_users").unwrap_or_default();
    let uids: Vec<UserSelector> = section
        .parsed_list("uids", "user ids like 1001 or \"2000-2009\", or \"NODE:1001\"")
        .unwrap_or_default();
    for (index, _) in uids.iter().enumerate().filter(|(_, users)| users.first < first_user && !system_users) {
        let allowed = format!(
            "users from {first_user} on: those below are the system's own, and root's processes are the node itself; \
             `system_users = true` takes them all the same"
        );
        section.reject_item("uids", index, &allowed);
    }
    if uids.iter().map(UserSelector::count).sum::<usize>() > USERS_MAX {
        section.reject("uids", "at most 1024 users of one tenant");
    }
    let allowed = "control groups as paths below /sys/fs/cgroup, at most four deep: \"hosting.slice/u1001\", or \"NODE:PATH\"";
    let cgroups = section.parsed_list("cgroups", allowed).unwrap_or_default();
    Read { uids, cgroups, system_users }
}

/// Users and groups that two tenants claim on one node. A group within another's is a clash too: a measure on the one would
/// hold the other.
pub(super) fn clashes(tenants: &[Tenant]) -> Vec<Clash> {
    let all = |tenant: &Tenant| {
        let (uids, groups) = (tenant.uids.iter(), tenant.cgroups.iter());
        uids.map(|one| one.node.clone()).chain(groups.map(|one| one.node.clone())).collect::<Vec<_>>()
    };
    let mut nodes: BTreeSet<Option<NodeId>> = tenants.iter().flat_map(all).collect();
    if nodes.len() > 1 {
        // What holds on every node is compared with what holds on each.
        nodes.remove(&None);
    }
    let mut found = BTreeMap::new();
    for node in &nodes {
        for clash in users_of(tenants, node.as_ref()).into_iter().chain(groups_of(tenants, node.as_ref())) {
            found.entry((clash.second, clash.key, clash.item)).or_insert(clash);
        }
    }
    found.into_values().collect()
}

fn holds_on(own: Option<&NodeId>, node: Option<&NodeId>) -> bool {
    own.is_none() || own == node
}

fn clash(tenants: &[Tenant], one: (usize, usize), other: (usize, usize), key: &'static str) -> Clash {
    // Of the two, the one that stands later is told of.
    let (first, (second, item)) = if one.0 < other.0 { (one.0, other) } else { (other.0, one) };
    let what = match key {
        "uids" => format!("{} shares users with {}", tenants[second].id, tenants[first].id),
        _ => format!("{} shares control groups with {}", tenants[second].id, tenants[first].id),
    };
    Clash { first, second, key, item, what }
}

fn users_of(tenants: &[Tenant], node: Option<&NodeId>) -> Vec<Clash> {
    let mut all: Vec<(u32, u32, usize, usize)> = Vec::new();
    for (place, tenant) in tenants.iter().enumerate() {
        let here = tenant.uids.iter().enumerate().filter(|(_, one)| holds_on(one.node.as_ref(), node));
        all.extend(here.map(|(item, one)| (one.first, one.last, place, item)));
    }
    all.sort_unstable();
    let (mut clashes, mut before): (Vec<Clash>, Option<(u32, usize, usize)>) = (Vec::new(), None);
    for (first, last, place, item) in all {
        if let Some((end, other, other_item)) = before
            && first <= end
            && other != place
        {
            clashes.push(clash(tenants, (place, item), (other, other_item), "uids"));
        }
        if before.is_none_or(|(end, ..)| last > end) {
            before = Some((last, place, item));
        }
    }
    clashes
}

fn groups_of(tenants: &[Tenant], node: Option<&NodeId>) -> Vec<Clash> {
    let mut all: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (place, tenant) in tenants.iter().enumerate() {
        let here = tenant.cgroups.iter().enumerate().filter(|(_, one)| holds_on(one.node.as_ref(), node));
        for (item, one) in here {
            all.entry(&one.path).or_default().push((place, item));
        }
    }
    let mut clashes = Vec::new();
    for (path, owners) in &all {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]).chain([*path]);
        for other in above.filter_map(|path| all.get(path)).flatten() {
            for owner in owners.iter().filter(|owner| owner.0 != other.0) {
                clashes.push(clash(tenants, *owner, *other, "cgroups"));
            }
        }
    }
    clashes
}

#[cfg(test)]
mod tests {
    use crate::language::{parse_tenants, parse_tenants_from};

    fn check(text: &str, expect: &[&str]) {
        let told: Vec<String> = match parse_tenants("t.toml", text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(|error| error.to_string().replace("t.toml:", "")).collect(),
        };
        assert_eq!(told.len(), expect.len(), "{text}\n{told:#?}");
        for (told, expect) in told.iter().zip(expect) {
            assert!(told.starts_with(expect), "{told}\nis not\n{expect}");
        }
    }

    const A: &str = "[[tenant]]\nid = \"a\"\n";
    const B: &str = "[[tenant]]\nid = \"b\"\n";

    #[test]
    fn users_and_groups_are_enough_to_be_a_tenant() {
        check(&format!("{A}uids = [1001, \"2000-2009\"]\ncgroups = [\"hosting.slice/u1001\"]"), &[]);
        check(&format!("{A}uids = [1001]\n{B}uids = [1002]"), &[]);
        check(&format!("{A}uids = [\"n1:1001\"]\n{B}uids = [\"n2:1001\"]"), &[]);
        check(
            &format!("{A}uids = [\"www-data\"]"),
            &["3:9: `tenant[1].uids[1]`: found \"www-data\"; allowed: user ids"],
        );
        check(
            &format!("{A}cgroups = [\"/hosting\"]"),
            &["3:12: `tenant[1].cgroups[1]`: found \"/hosting\"; allowed: control groups"],
        );
        check(&format!("{A}uids = [\"1000-2024\"]"), &["3:8: `tenant[1].uids`"]);
    }

    #[test]
    fn the_systems_own_users_must_be_asked_for() {
        for uid in ["0", "33", "\"999-1001\"", "\"n1:104\""] {
            check(
                &format!("{A}uids = [{uid}]"),
                &[&format!(
                    "3:9: `tenant[1].uids[1]`: found {uid}; allowed: users from 1000 on: those below are the system's own"
                )],
            );
            check(&format!("{A}uids = [{uid}]\nsystem_users = true"), &[]);
        }
        let text = format!("{A}uids = [600]");
        assert!(parse_tenants_from("t.toml", &text, 500).is_ok());
        assert!(parse_tenants_from("t.toml", &format!("{A}uids = [1001]"), 5_000).is_err());
    }

    #[test]
    fn what_two_tenants_claim_is_refused() {
        check(&format!("{A}uids = [1001]\n{B}uids = [1001]"), &["6:9: `tenant[2].uids[1]`"]);
        check(&format!("{A}uids = [\"1000-1009\"]\n{B}uids = [1003]"), &["6:9: `tenant[2].uids[1]`"]);
        check(&format!("{A}uids = [\"n1:1001\"]\n{B}uids = [\"1001\"]"), &["6:9: `tenant[2].uids[1]`"]);
        check(&format!("{A}cgroups = [\"h\"]\n{B}cgroups = [\"h/u1\"]"), &["6:12: `tenant[2].cgroups[1]`"]);
        check(&format!("{A}cgroups = [\"h/u1\"]\n{B}cgroups = [\"h/u2\", \"h/u1\"]"), &["6:20: `tenant[2]"]);
    }
}
