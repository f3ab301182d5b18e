//! A policy's file, read.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use super::conditions::{Calendar, Weekday, Whose};
use super::notices::NoticeSettings;
use super::numbers::Tailoring;
use super::rules_read::{NAME, override_rules, rules};
use super::tenants::{prefixes, spared};
use super::thresholds::Thresholds;
use super::{Brakes, Inbound, Policy, RelayCheck, Rule, thresholds_read};
use crate::reader::{ConfigErrors, Document, Schema, Section, Trace};
use crate::tenant::Name;

pub(super) fn parse(file: &str, text: &str) -> Result<Policy, ConfigErrors> {
    Document::read(file, text, policy)
}

/// What policies may hold, by what is asked for where `samples` are read. See [`Trace`].
///
/// # Errors
/// The tables that no sample holds.
pub fn policy_schema(samples: &[&str]) -> Result<Schema, Vec<String>> {
    let trace = Trace::default();
    for sample in samples {
        // Those that lack something show what is required.
        let _ = trace.read(sample, policy);
    }
    trace.schema("A policy of Reeve's")
}

fn policy(root: &Section<'_, '_>) -> Option<Policy> {
    let Some(head) = root.section("policy") else {
        root.reject("policy", "a table [policy] with name and version");
        root.leave();
        return None;
    };
    let name: Option<Name> = head.required("name", NAME);
    if !head.has("version") {
        head.reject("version", "a whole number from 1 on");
    }
    let version =
        head.integer("version", 1..=u64::from(u32::MAX)).and_then(|version| u32::try_from(version).ok());
    let language = head.parsed("language", "a language tag such as en, nl or da");
    let mode = head.one_of("mode", &super::rules_read::MODES);
    head.is_among("extends", Policy::PRESETS.iter().map(|(name, _)| *name));
    let base = match head.text("extends") {
        None => None,
        Some(preset) => {
            let base = Policy::preset(preset);
            if base.is_none() {
                let all: Vec<&str> = Policy::PRESETS.iter().map(|(name, _)| *name).collect();
                head.reject("extends", &all.join(", "));
            }
            base
        }
    };
    let extends_something = head.has("extends");
    head.finish();

    let mut thresholds = base.as_ref().map_or_else(Thresholds::default, |base| base.thresholds.clone());
    if let Some(section) = root.section("thresholds") {
        thresholds_read::read(&section, &mut thresholds);
    }
    thresholds_read::endpoints(root, &mut thresholds);
    let clause_root = name.clone();
    let own = rules(root, clause_root.as_ref(), &mut thresholds);
    let mut tailoring = base.as_ref().map_or_else(Tailoring::default, |base| base.tailoring.clone());
    tailoring.read(root, &thresholds);
    let mut rules = base.as_ref().map_or_else(Vec::new, |base| base.rules.clone());
    override_rules(&mut rules, own);
    if rules.is_empty() && !root.has("rule") && !extends_something {
        root.reject("rule", "at least one [[rule]], or `extends`");
    }

    let (mut sources, mut destinations, mut lifeline) = match &base {
        Some(base) => {
            (base.protected_sources.clone(), base.protected_destinations.clone(), base.lifeline.clone())
        }
        None => (BTreeSet::new(), Vec::new(), Vec::new()),
    };
    if let Some(protected) = root.section("protected") {
        sources.extend(protected.parsed_list("sources", "tenant ids").unwrap_or_default());
        destinations.extend(spared(&protected, "destinations"));
        lifeline.extend(spared(&protected, "lifeline"));
        protected.finish();
    }
    let mut brakes = base.as_ref().map_or_else(Brakes::default, |base| base.brakes);
    if let Some(section) = root.section("brakes") {
        read_brakes(&section, &mut brakes);
    }
    let mut suspension = base.as_ref().map(|base| base.suspension).unwrap_or_default();
    if let Some(section) = root.section("suspension") {
        let words = [Inbound::Keep, Inbound::Cut].map(|inbound| (inbound.name(), inbound));
        suspension.inbound = section.one_of("inbound", &words).unwrap_or(suspension.inbound);
        section.finish();
    }
    let mut own_networks = base.as_ref().map_or_else(Vec::new, |base| base.own_networks.clone());
    let mut is_said = false;
    if let Some(networks) = root.section("networks") {
        is_said = networks.has("own");
        own_networks.extend(prefixes(&networks, "own"));
        networks.finish();
    }
    if own_networks.is_empty() && !is_said {
        require_networks(root);
    }
    refuse_futile(root, &rules, (&own_networks, &destinations));
    let mut calendar = base.as_ref().map_or_else(Calendar::default, |base| base.calendar.clone());
    if let Some(section) = root.section("calendar") {
        read_calendar(&section, &mut calendar);
    }
    let mut notices = base.as_ref().map_or_else(NoticeSettings::default, |base| base.notices.clone());
    if let Some(section) = root.section("notices") {
        notices.read(&section);
    }
    let relay_check = match root.section("relay_check") {
        Some(section) => read_relay_check(&section),
        None => base.as_ref().and_then(|base| base.relay_check.clone()),
    };
    Some(Policy {
        name: name?,
        version: version?,
        language: language
            .or_else(|| base.as_ref().map(|base| base.language.clone()))
            .unwrap_or_else(english),
        mode: mode.or_else(|| base.as_ref().map(|base| base.mode)).unwrap_or_default(),
        thresholds,
        tailoring,
        rules,
        protected_sources: sources,
        protected_destinations: destinations,
        own_addresses: Vec::new(),
        lifeline,
        suspension,
        brakes,
        relay_check,
        own_networks,
        calendar,
        notices,
    })
}

/// A rule that protects the provider's own networks protects nothing where there are none. `own = []` says that this is known.
fn require_networks(root: &Section<'_, '_>) {
    for rule in root.sections("rule") {
        if rule.text("target") == Some("own") {
            rule.reject(
                "target",
                "`own` where [networks] own = [...] says which networks are the provider's",
            );
        }
    }
}

/// A rule that protects networks which are never blocked, and whose every measure is aimed at what was hit, could never do anything: it
/// would only seem to.
fn refuse_futile(root: &Section<'_, '_>, rules: &[Rule], (own, protected): (&[IpNet], &[IpNet])) {
    let is_protected = |net: &IpNet| protected.iter().any(|outer| outer.contains(net));
    if own.is_empty() || !own.iter().all(is_protected) {
        return;
    }
    for section in root.sections("rule") {
        let rule = section.text("id").and_then(|id| rules.iter().find(|rule| rule.id.as_str() == id));
        let Some(rule) = rule.filter(|rule| rule.target == Some(Whose::Own)) else { continue };
        let mut measures = rule.ladder.iter().filter(|step| step.action.is_measure()).peekable();
        if measures.peek().is_some() && measures.all(|step| step.scope.is_by_target()) {
            section.reject(
                "ladder",
                "a step with the scope `all` or a port: all of [networks] `own` is in [protected] `destinations`, to which nothing is blocked",
            );
        }
    }
}

fn read_calendar(section: &Section<'_, '_>, calendar: &mut Calendar) {
    section.looks_like(
        "utc_offset",
        "^[+-][0-9]{2}:[0-5][0-9]$",
        "a difference such as \"+01:00\", of at most 14 hours",
    );
    if let Some(text) = section.text("utc_offset") {
        match offset(text) {
            Some(seconds) => calendar.offset_seconds = seconds,
            None => section.reject("utc_offset", "a difference such as \"+01:00\", of at most 14 hours"),
        }
    }
    if section.has("weekend") {
        let words = "a list of days: monday, tuesday, wednesday, thursday, friday, saturday, sunday";
        section.is_among("weekend", Weekday::ALL.iter().map(|(word, _)| *word));
        let days: Vec<String> = section.parsed_list("weekend", words).unwrap_or_default();
        calendar.weekend.clear();
        for (index, text) in days.iter().enumerate() {
            match Weekday::ALL.iter().find(|(word, _)| word == text) {
                Some((_, day)) => drop(calendar.weekend.insert(*day)),
                None => section.reject_item("weekend", index, words),
            }
        }
        if calendar.weekend.len() == Weekday::ALL.len() {
            section.reject("weekend", "at most six days: somebody has to work");
        }
    }
    let dates = "days such as \"2026-12-25\"";
    section.looks_like("holidays", "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", dates);
    for (index, text) in
        section.parsed_list::<String>("holidays", dates).unwrap_or_default().iter().enumerate()
    {
        match date(text) {
            Some(day) => drop(calendar.holidays.insert(day)),
            None => section.reject_item("holidays", index, dates),
        }
    }
    section.finish();
}

/// Seconds ahead of UTC, of `+01:00` and the like.
fn offset(text: &str) -> Option<i32> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str| -> Option<i32> {
        let is_good = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_good)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = hours * 3_600 + minutes * 60;
    (minutes < 60 && seconds <= 14 * 3_600).then_some(sign * seconds)
}

/// Days since 1 January 1970.
fn date(text: &str) -> Option<i64> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let first = jiff::civil::date(1970, 1, 1);
    let days = first.until(date).ok()?.get_days();
    // The library takes times as well.
    (text.len() == 10).then(|| i64::from(days))
}

/// Both addresses are checked even where nobody is to be asked.
fn read_relay_check(section: &Section<'_, '_>) -> Option<RelayCheck> {
    const MAILBOX: &str = "an address of mail like probe@example.net";
    let is_enabled = section.boolean("enabled").unwrap_or(false);
    let read = |key| {
        if is_enabled { section.required(key, MAILBOX) } else { section.parsed(key, MAILBOX) }
    };
    let (from, to) = (read("from"), read("to"));
    let allowed = "a time from 1s to 7d, such as 30m";
    let is_good = |span: &Duration| (1..=7 * 86_400).contains(&span.as_secs());
    let recheck = section.span("recheck", allowed, is_good).unwrap_or(RelayCheck::DEFAULT_RECHECK);
    section.finish();
    if is_enabled { Some(RelayCheck { from: from?, to: to?, recheck }) } else { None }
}

fn read_brakes(section: &Section<'_, '_>, brakes: &mut Brakes) {
    let count = |key, place: &mut u32| {
        if let Some(number) = section.integer(key, 0..=1_000_000) {
            *place = u32::try_from(number).expect("the range fits");
        }
    };
    count("measures_per_minute", &mut brakes.measures_per_minute);
    count("tenants_at_least", &mut brakes.tenants_at_least);
    if let Some(share) = section.float("share_of_tenants", 0.0..=1.0) {
        brakes.share_of_tenants = share;
    }
    section.finish();
}

fn english() -> Name {
    "en".parse().expect("two letters are a name")
}
