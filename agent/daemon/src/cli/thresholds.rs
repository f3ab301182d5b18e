//! `thresholds`: the numbers that a tenant is held to, after its profile and what the policy says of it alone.

use std::fmt::Write as _;
use std::io;

use reeve_policy::language::Policy;
use reeve_policy::language::numbers::{Number, Value};
use reeve_policy::language::thresholds::Thresholds;
use reeve_policy::{Class, Profile, Tenant, TenantId};
use serde::Serialize;
use serde_json::Value as Json;

use super::ThresholdsArgs;
use crate::config;
use crate::state::peek;

/// A class that was asked for and is none.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither a class of abuse nor a family of them, such as portscan.*")]
pub struct NoSuchClass(String);

/// A profile on the command line.
#[derive(Clone, Copy, Debug)]
pub struct ProfileArg(Profile);

impl clap::ValueEnum for ProfileArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [ProfileArg; Profile::ALL.len()] = {
            let mut all = [ProfileArg(Profile::None); Profile::ALL.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = ProfileArg(Profile::ALL[place].1);
                place += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

impl From<ProfileArg> for Profile {
    fn from(arg: ProfileArg) -> Self {
        arg.0
    }
}

/// Where a number is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Whence {
    /// The policy, or what it extends.
    Policy,
    /// Multiplied for the tenant's profile.
    Profile,
    /// Said of the tenant alone, or multiplied for it (and for its profile).
    Tenant,
}

#[derive(Debug, Serialize)]
struct Row {
    class: Class,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    key: &'static str,
    value: Json,
    policy_value: Json,
    from: Whence,
    allowed: String,
    /// The detector cannot count so far: this number is never reached.
    out_of_reach: bool,
    #[serde(skip)]
    text: String,
}

/// The numbers, as a table or JSON.
///
/// # Errors
/// When the settings, the policy or the state cannot be read, or the class is none.
pub fn thresholds(args: &ThresholdsArgs) -> anyhow::Result<String> {
    let (policy, tenants) = sources(args)?;
    let classes = match &args.class {
        None => Class::ALL.to_vec(),
        Some(pattern) => Class::matching(pattern),
    };
    if classes.is_empty() {
        return Err(NoSuchClass(args.class.clone().unwrap_or_default()).into());
    }
    let known = args.tenant.as_ref().and_then(|id| tenants.iter().find(|tenant| tenant.id == *id));
    let profile = args.profile.map(Into::into).or(known.map(|tenant| tenant.profile)).unwrap_or_default();
    let quota = known.and_then(|tenant| tenant.quota_bytes);
    let rows = rows(&policy, profile, (args.tenant.as_ref(), quota), &classes);
    if args.json {
        return Ok(serde_json::to_string_pretty(&serde_json::json!({
            "policy": policy.name,
            "version": policy.version,
            "tenant": args.tenant,
            "known": args.tenant.is_some().then_some(known.is_some()),
            "profile": profile.name(),
            "numbers": rows,
        }))?);
    }
    let mut text = format!("policy   {} version {}\n", policy.name, policy.version);
    // Writing to a String cannot fail.
    if let Some(id) = &args.tenant {
        let note = if known.is_some() { "" } else { " (not known on this node)" };
        let _ = writeln!(text, "tenant   {id}{note}");
    }
    let _ = writeln!(text, "profile  {}\n", profile.name());
    text.push_str(&table(&rows));
    Ok(text.trim_end().to_owned())
}

/// The policy, and the tenants that are known here.
fn sources(args: &ThresholdsArgs) -> anyhow::Result<(Policy, Vec<Tenant>)> {
    if let Some(name) = &args.policy {
        return Ok((config::named_policy(name)?, Vec::new()));
    }
    let loaded = config::load(&args.config).map_err(|error| {
        let is_absent = matches!(&error, config::ConfigError::Read { path, source }
            if *path == args.config && source.kind() == io::ErrorKind::NotFound);
        let error = anyhow::Error::from(error);
        if is_absent { error.context("there are no settings; --policy baseline goes without") } else { error }
    })?;
    // What the controller said last goes before the local file, as when the agent runs.
    let roster = peek(&loaded.settings.state_dir).map(|(_, roster)| roster).unwrap_or_default();
    let tenants = if roster.version > 0 { roster.tenants } else { loaded.tenants.clone() };
    Ok((Policy::clone(&loaded.policy), tenants))
}

/// `quota` is what the tenant's own entry says, which goes before any policy.
fn rows(
    policy: &Policy,
    profile: Profile,
    (tenant, quota): (Option<&TenantId>, Option<u64>),
    classes: &[Class],
) -> Vec<Row> {
    let mut numbers = policy.thresholds_for(profile, tenant);
    numbers.quota.bytes_per_month = quota.unwrap_or(numbers.quota.bytes_per_month);
    let own = tenant.and_then(|id| policy.tailoring.tenants.get(id));
    let factors = tenant.and_then(|id| policy.tailoring.tenant_factors.get(id));
    let mut rows = Vec::new();
    for &class in classes {
        let by = factors.and_then(|factors| factors.get(&class)).copied();
        let said = |one: &Number, base: &Number| {
            let is_plan = class == Class::Quota && one.key == "bytes_per_month" && quota.is_some();
            let is_own = own.and_then(|own| own.get(&class)).is_some_and(|own| own.contains_key(one.key));
            is_plan || is_own || (by.is_some() && one.scales && one.value != base.value)
        };
        let pairs = |one: &Thresholds, base: &Thresholds| one.list(class).into_iter().zip(base.list(class));
        rows.extend(
            pairs(&numbers, &policy.thresholds).map(|(one, base)| row(class, None, one, &base, &said)),
        );
        if class == Class::ApiBurst {
            for (one, base) in numbers.endpoints.iter().zip(&policy.thresholds.endpoints) {
                let alone = |endpoint: &reeve_policy::language::thresholds::Endpoint| Thresholds {
                    api: endpoint.numbers.clone(),
                    ..Thresholds::default()
                };
                let name = one.name.to_string();
                rows.extend(
                    pairs(&alone(one), &alone(base))
                        .map(|(one, base)| row(class, Some(name.clone()), one, &base, &said)),
                );
            }
        }
    }
    rows
}

fn row(
    class: Class,
    endpoint: Option<String>,
    one: Number,
    base: &Number,
    said: &impl Fn(&Number, &Number) -> bool,
) -> Row {
    let from = match () {
        () if said(&one, base) => Whence::Tenant,
        () if one.value != base.value => Whence::Profile,
        () => Whence::Policy,
    };
    Row {
        class,
        endpoint,
        key: one.key,
        value: json(&one.value),
        policy_value: json(&base.value),
        from,
        out_of_reach: one.is_out_of_reach(),
        text: one.value.to_string(),
        allowed: one.allowed,
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Count(number) => (*number).into(),
        Value::Number(number) => (*number).into(),
        Value::Ports(ports) => ports.clone().into(),
        Value::Span(_) => value.to_string().trim_matches('"').into(),
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<22} {:<26} {:>14}  {}\n", "class", "key", "number", "from");
    let mut before = String::new();
    for row in rows {
        let class = match &row.endpoint {
            None => row.class.to_string(),
            Some(name) => format!("  endpoint {name}"),
        };
        let shown = if class == before { "" } else { &class };
        let from = match row.from {
            Whence::Policy => String::new(),
            Whence::Profile => format!("profile (policy: {})", row.policy_value),
            Whence::Tenant => format!("tenant (policy: {})", row.policy_value),
        };
        let never = if row.out_of_reach { "; never reached, so many are not counted" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}",
            format!("{shown:<22} {:<26} {:>14}  {from}{never}", row.key, row.text).trim_end()
        );
        before = class;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, profile: Profile, tenant: Option<&str>, class: Class, expect: &[&str]) {
        let head = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\n";
        let policy = Policy::parse("p.toml", &format!("{head}{text}")).unwrap();
        let tenant = tenant.map(|id| id.parse().unwrap());
        let told = table(&rows(&policy, profile, (tenant.as_ref(), None), &[class]));
        let squeezed: Vec<String> =
            told.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for expect in expect {
            assert!(squeezed.iter().any(|line| line == expect), "{expect}\nis not in\n{squeezed:#?}");
        }
    }

    #[test]
    fn a_number_says_where_it_is_from() {
        let text = "[profile.p2p]\n\"portscan.slow\" = 3\n[tenant.t.thresholds.\"portscan.slow\"]\ntargets_per_day = 7\n";
        let class = Class::PortscanSlow;
        let plain = Thresholds::default().slow;
        let per_hour = plain.targets_per_hour;
        check(text, Profile::None, None, class, &[&format!("portscan.slow targets_per_hour {per_hour}")]);
        let by_profile =
            format!("portscan.slow targets_per_hour {} profile (policy: {per_hour})", per_hour * 3);
        check(
            text,
            Profile::P2p,
            Some("t"),
            class,
            &[&by_profile, &format!("targets_per_day 7 tenant (policy: {})", plain.targets_per_day)],
        );
    }

    #[test]
    fn a_tenants_factor_is_the_tenants() {
        let text = "[tenant.t]\n\"portscan.*\" = 2\n";
        let plain = Thresholds::default().vertical;
        let line = format!("portscan.vertical ports {} tenant (policy: {})", plain.ports * 2, plain.ports);
        check(text, Profile::None, Some("t"), Class::PortscanVertical, &[&line, "window \"1m\""]);
    }

    #[test]
    fn what_is_never_reached_is_told() {
        let text = "[profile.scanner]\n\"portscan.vertical\" = 1000\n";
        let ports = Thresholds::default().vertical.ports;
        let line = format!(
            "portscan.vertical ports {} profile (policy: {ports}); never reached, so many are not counted",
            ports * 1_000
        );
        check(text, Profile::Scanner, None, Class::PortscanVertical, &[&line]);
    }

    #[test]
    fn a_tenants_own_plan_is_what_holds() {
        let policy = Policy::preset("baseline").unwrap();
        let tenant: TenantId = "q1".parse().unwrap();
        let plan = |quota| {
            let rows = rows(&policy, Profile::None, (Some(&tenant), quota), &[Class::Quota]);
            let row = rows.into_iter().find(|row| row.key == "bytes_per_month").unwrap();
            (row.value, row.from)
        };
        assert_eq!(plan(Some(100_000)), (Json::from(100_000), Whence::Tenant));
        assert_eq!(plan(None), (Json::from(policy.thresholds.quota.bytes_per_month), Whence::Policy));
        assert_eq!(plan(Some(0)), (Json::from(0), Whence::Tenant), "no limit, said of the tenant");
    }
}
