//! A policy written out: all that holds, with what it extends put in, and how two policies differ.
//!
//! What is written is a policy again, and comes to the same when it is read: people look at it, keep it and compare it. What only a running
//! agent knows (the node's own addresses) is left out.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};

use super::conditions::{Calendar, Weekday};
use super::notices::NoticeSettings;
use super::numbers::{Number, Own};
use super::thresholds::Endpoint;
use super::{Policy, Rule, ScopeRule, Step, thresholds_read};
use crate::class::Class;
use crate::decision::Until;
use crate::reader::format_duration;

/// One key of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// The table that it stands in, as a header.
    table: String,
    /// What the table is called where people speak of it.
    name: String,
    key: String,
    value: String,
}

/// Something in which two policies differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What, as a path: `rule flood: ladder`.
    pub what: String,
    /// What it was; `None` if it is new.
    pub before: Option<String>,
    /// What it is; `None` if it is gone.
    pub after: Option<String>,
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} -> {after}", self.what),
            (None, Some(after)) => write!(f, "{}: new, {after}", self.what),
            (Some(before), None) => write!(f, "{}: gone, was {before}", self.what),
            (None, None) => f.write_str(&self.what),
        }
    }
}

impl Policy {
    /// All that holds, as a file.
    #[must_use]
    pub fn written(&self) -> String {
        let mut text = String::new();
        let mut table = None;
        for line in lines(self) {
            let here = (line.table.clone(), line.name);
            if table.as_ref() != Some(&here) {
                let gap = if text.is_empty() { "" } else { "\n" };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{gap}{}", line.table);
                table = Some(here);
            }
            let _ = writeln!(text, "{} = {}", line.key, line.value);
        }
        text
    }

    /// In what `after` differs from this one, in the order in which it is written; what is gone comes last.
    #[must_use]
    pub fn differences(&self, after: &Self) -> Vec<Difference> {
        let path = |line: &Line| match line.name.as_str() {
            "" => line.key.clone(),
            name => format!("{name}: {}", line.key),
        };
        let plain = |line: &Line| line.value.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut before: BTreeMap<String, String> =
            lines(self).iter().map(|line| (path(line), plain(line))).collect();
        let mut all = Vec::new();
        for line in lines(after) {
            let (what, after) = (path(&line), Some(plain(&line)));
            let before = before.remove(&what);
            if before != after {
                all.push(Difference { what, before, after });
            }
        }
        all.extend(before.into_iter().map(|(what, before)| Difference {
            what,
            before: Some(before),
            after: None,
        }));
        all
    }
}

/// Puts keys of a policy one after the other.
#[derive(Default)]
struct Writer {
    lines: Vec<Line>,
    table: String,
    name: String,
}

impl Writer {
    fn table(&mut self, table: impl Into<String>, name: impl Into<String>) {
        (self.table, self.name) = (table.into(), name.into());
    }

    fn put(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (table, name) = (self.table.clone(), self.name.clone());
        self.lines.push(Line { table, name, key: key.into(), value: value.into() });
    }

    fn list<T: Display>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        let all = list(items);
        if !all.is_empty() {
            self.put(key, format!("[{all}]"));
        }
    }

    fn numbers(&mut self, numbers: &[Number]) {
        numbers.iter().for_each(|number| self.put(number.key, number.value.to_string()));
    }
}

fn lines(policy: &Policy) -> Vec<Line> {
    let mut to = Writer::default();
    to.table("[policy]", "");
    to.put("name", quoted(&policy.name));
    to.put("version", policy.version.to_string());
    to.put("language", quoted(&policy.language));
    to.put("mode", quoted(&policy.mode));
    if !policy.own_networks.is_empty() {
        to.table("[networks]", "networks");
        to.list("own", &policy.own_networks);
    } else if policy.rules_without_networks().next().is_some() {
        // Without this it would be taken for forgotten when it is read again.
        to.table("[networks]", "networks");
        to.put("own", "[]");
    }
    to.table("[protected]", "protected");
    to.list("sources", &policy.protected_sources);
    to.list("destinations", &policy.protected_destinations);
    to.list("lifeline", &policy.lifeline);
    to.table("[suspension]", "suspension");
    to.put("inbound", quoted(&policy.suspension.inbound.name()));
    to.table("[brakes]", "brakes");
    to.put("measures_per_minute", policy.brakes.measures_per_minute.to_string());
    to.put("share_of_tenants", number(policy.brakes.share_of_tenants));
    to.put("tenants_at_least", policy.brakes.tenants_at_least.to_string());
    if let Some(check) = &policy.relay_check {
        to.table("[relay_check]", "relay_check");
        to.put("enabled", "true");
        to.put("from", quoted(&check.from));
        to.put("to", quoted(&check.to));
        to.put("recheck", quoted(&format_duration(check.recheck)));
    }
    calendar(&mut to, &policy.calendar);
    notices(&mut to, &policy.notices);
    policy.rules.iter().for_each(|one| rule(&mut to, one));
    policy.thresholds.endpoints.iter().for_each(|one| endpoint(&mut to, one));
    for class in Class::ALL {
        to.table(format!("[thresholds.{}]", quoted(&class)), format!("thresholds {class}"));
        to.numbers(&policy.thresholds.list(class));
    }
    tailoring(&mut to, policy);
    to.lines
}

fn calendar(to: &mut Writer, calendar: &Calendar) {
    if *calendar == Calendar::default() {
        return;
    }
    to.table("[calendar]", "calendar");
    let minutes = calendar.offset_seconds / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    to.put("utc_offset", format!("\"{sign}{:02}:{:02}\"", minutes.abs() / 60, minutes.abs() % 60));
    let word =
        |day: &Weekday| Weekday::ALL.iter().find(|(_, other)| other == day).map_or("", |(word, _)| word);
    let weekend: Vec<String> = calendar.weekend.iter().map(word).map(|word| quoted(&word)).collect();
    to.put("weekend", format!("[{}]", weekend.join(", ")));
    let date = |days: &i64| {
        let span = jiff::Span::new().days(*days);
        jiff::civil::date(1970, 1, 1).saturating_add(span)
    };
    to.list("holidays", calendar.holidays.iter().map(date));
}

fn notices(to: &mut Writer, notices: &NoticeSettings) {
    to.table("[notices]", "notices");
    to.list("tell", notices.tell.words());
    to.list("urgent", &notices.urgent);
    to.list("languages", &notices.languages);
    for (key, text) in [("provider", &notices.provider), ("contact", &notices.contact)] {
        if !text.is_empty() {
            to.put(key, quoted(text));
        }
    }
    for (language, texts) in &notices.texts {
        for (key, text) in texts {
            let Some((group, key)) = key.split_once('.') else { continue };
            let table = format!("[notices.texts.{}.{}]", quoted(language), quoted(&group));
            to.table(table, format!("notices texts {language} {group}"));
            to.put(quoted(&key), quoted(text));
        }
    }
}

fn rule(to: &mut Writer, rule: &Rule) {
    to.table("[[rule]]", format!("rule {}", rule.id));
    to.put("id", quoted(&rule.id));
    to.put("clause", quoted(&rule.clause));
    to.list("also", &rule.also);
    to.list("on", &rule.on);
    if let Some(target) = rule.target {
        to.put("target", quoted(&target.name()));
    }
    if let Some(kind) = rule.kind {
        to.put("kind", quoted(&kind.name()));
    }
    if let Some(mode) = rule.mode {
        to.put("mode", quoted(&mode));
    }
    to.put("quiet", quoted(&format_duration(rule.quiet)));
    to.put("memory", quoted(&format_duration(rule.memory)));
    if let Some(decay) = rule.decay {
        to.put("decay", quoted(&format_duration(decay)));
    }
    if let Some(silence) = rule.release_after_silence {
        to.put("release_after_silence", quoted(&format_duration(silence)));
    }
    to.put("grace", quoted(&rule.grace));
    if let Some(severe) = rule.severe {
        to.put("severe", format!("{{ times = {}, step = {} }}", number(severe.times), severe.step + 1));
    }
    if let Some(repeat) = rule.repeat {
        let within = quoted(&format_duration(repeat.within));
        to.put("repeat", format!("{{ within = {within}, step = {} }}", repeat.step + 1));
    }
    if let Some(known) = rule.known_offender {
        to.put("known_offender", (known + 1).to_string());
    }
    if let Some(tell) = rule.tell {
        to.list("tell", tell.words());
    }
    if let Some(parent) = &rule.parent {
        let steps: Vec<String> = parent.ladder.iter().map(step).collect();
        let (violations, children) = (parent.violations, parent.children);
        let within = format_duration(parent.within);
        to.put(
            "parent",
            format!(
                "{{ violations = {violations}, children = {children}, within = \"{within}\", ladder = [{}] }}",
                steps.join(", ")
            ),
        );
    }
    let steps: Vec<String> = rule.ladder.iter().map(step).collect();
    to.put("ladder", format!("[\n  {},\n]", steps.join(",\n  ")));
}

fn step(step: &Step) -> String {
    let mut text = format!("{{ action = {}, scope = {}", quoted(&step.action), quoted(&step.scope));
    if let Some(rate) = step.rate {
        let _ = write!(text, ", rate = {}", quoted(&rate));
    }
    if let Some(connections) = step.connections {
        let _ = write!(text, ", connections = {connections}");
    }
    let until = match step.until {
        Until::After(span) => format_duration(span),
        Until::Released => "released".to_owned(),
        Until::Verified => "verified".to_owned(),
        Until::Paid => "paid".to_owned(),
        Until::MonthEnd => "month".to_owned(),
    };
    let _ = write!(text, ", until = {}", quoted(&until));
    if let Some(grace) = step.grace {
        let _ = write!(text, ", grace = {}", quoted(&grace));
    }
    if let Some(notice) = step.notice {
        let _ = write!(text, ", notice = {}", quoted(&notice.name()));
    }
    if let Some(tell) = step.tell {
        let _ = write!(text, ", tell = [{}]", list(tell.words()));
    }
    text + " }"
}

impl Step {
    /// In a few words: `limit dst at 10/minute for 15m`.
    #[must_use]
    pub fn told(&self) -> String {
        if !self.action.is_measure() {
            return self.action.to_string();
        }
        let rate = self.rate.map(|rate| format!(" at {rate}")).unwrap_or_default();
        let at_once = self.connections.map(at_a_time).unwrap_or_default();
        format!("{} {}{rate}{at_once} {}", self.action, self.scope, self.until)
    }
}

/// ` and 1 connection at a time`.
pub(crate) fn at_a_time(connections: u8) -> String {
    format!(" and {connections} connection{} at a time", if connections == 1 { "" } else { "s" })
}

impl Display for ScopeRule {
    /// As it is written in policies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Port(protocol, port) => write!(f, "{protocol}/{port}"),
            Self::Destinations => f.write_str("dst"),
            Self::DestinationPorts => f.write_str("dst:port"),
            Self::Endpoint => f.write_str("endpoint"),
            Self::Forged => f.write_str("forged"),
        }
    }
}

fn endpoint(to: &mut Writer, endpoint: &Endpoint) {
    to.table("[[endpoint]]", format!("endpoint {}", endpoint.name));
    to.put("name", quoted(&endpoint.name));
    to.put("kind", quoted(&endpoint.kind.name()));
    to.list("addresses", &endpoint.addresses);
    to.list("hosts", &endpoint.hosts);
    let ports: Vec<String> = endpoint.ports.iter().map(ToString::to_string).collect();
    to.put("ports", format!("[{}]", ports.join(", ")));
    to.list("paths", &endpoint.paths);
    to.numbers(&thresholds_read::list_endpoint(&endpoint.numbers));
}

fn tailoring(to: &mut Writer, policy: &Policy) {
    let tailoring = &policy.tailoring;
    let factors = |to: &mut Writer, table: &str, name: &str, factors: Option<&BTreeMap<Class, f64>>| {
        to.table(format!("[{table}]"), name);
        for (class, factor) in factors.into_iter().flatten() {
            to.put(quoted(class), number(*factor));
        }
    };
    let instead = |to: &mut Writer, table: &str, name: &str, own: Option<&Own>| {
        for (class, values) in own.into_iter().flatten() {
            to.table(format!("[{table}.thresholds.{}]", quoted(class)), format!("{name} thresholds {class}"));
            values.iter().for_each(|(key, value)| to.put(key.clone(), value.to_string()));
        }
    };
    for profile in
        tailoring.profiles.keys().chain(tailoring.instead.keys()).collect::<std::collections::BTreeSet<_>>()
    {
        let (table, name) = (format!("profile.{}", profile.name()), format!("profile {}", profile.name()));
        factors(to, &table, &name, tailoring.profiles.get(profile));
        instead(to, &table, &name, tailoring.instead.get(profile));
    }
    let tenants = tailoring.tenant_factors.keys().chain(tailoring.tenants.keys());
    for tenant in tenants.collect::<std::collections::BTreeSet<_>>() {
        let (table, name) = (format!("tenant.{}", quoted(tenant)), format!("tenant {tenant}"));
        factors(to, &table, &name, tailoring.tenant_factors.get(tenant));
        instead(to, &table, &name, tailoring.tenants.get(tenant));
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| quoted(&item)).collect::<Vec<_>>().join(", ")
}

/// A number with a point in it, as it is read.
fn number(number: f64) -> String {
    number.to_string()
}

/// A text as TOML has it.
fn quoted(text: &impl Display) -> String {
    let mut quoted = String::from('"');
    for letter in text.to_string().chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
[policy]
name = "full"
version = 7
extends = "baseline"
language = "nl"
mode = "observe"

[notices]
tell = ["parent"]
urgent = ["flood.*", "malware"]
languages = ["nl", "en"]
provider = "Example \"B.V.\""
contact = "abuse@example.net"

[notices.texts.nl.short]
spam = "reclame"
"spoof.arp" = "iets"

[notices.texts.nl.subject]
warning = "Let op: {short}"

[networks]
own = ["203.0.113.0/24", "2001:db8:a::/48"]

[calendar]
utc_offset = "-03:30"
weekend = ["friday"]
holidays = ["2026-12-25", "2027-01-01"]

[protected]
sources = ["our-monitoring"]
destinations = ["192.0.2.0/24"]
lifeline = ["198.51.100.0/28"]

[suspension]
inbound = "cut"

[brakes]
share_of_tenants = 0.25

[relay_check]
enabled = true
from = "probe@asker.example"
to = "probe@elsewhere.example"
recheck = "1h"

[thresholds."portscan.horizontal"]
hosts = 40

[[rule]]
id = "ours"
target = "own"
on = ["portscan.*"]
also = ["full/attack"]
mode = "enforce"
decay = "30d"
release_after_silence = "30m"
grace = "2 working days"
severe = { times = 12.5, step = 2 }
parent = { violations = 3, within = "30d", ladder = [{ action = "notify" }, { action = "block", scope = "tcp/25", until = "released" }] }
repeat = { within = "7d", step = "last" }
known_offender = 2
notice_first = true
ladder = [
  { action = "limit", scope = "tcp/25", rate = "10/minute burst 3", until = "15m", grace = "90s" },
  { action = "block", scope = "tcp/25", until = "1h", notice = "none" },
  { action = "suspend", until = "paid", notice = "final", tell = ["tenant", "parent"] },
]

[[rule]]
id = "accounts"
kind = "signup"
on = ["api_burst"]
ladder = [{ action = "block", scope = "endpoint", until = "24h" }]

[[rule]]
id = "relay"
on = ["smtp_relay"]
tell = ["parent", "tenant"]
ladder = [{ action = "block", scope = "tcp/25", until = "verified" }]

[[rule]]
id = "quota"
on = ["quota"]
ladder = [{ action = "limit", scope = "all", rate = "100 kbytes/second", until = "month" }]

[[endpoint]]
name = "api"
kind = "signup"
hosts = ["*.api.example"]
ports = [80, 443]
paths = ["/a\"b"]
signups = 3

[profile.mail]
"spam" = 2.5

[tenant."t-1001"]
"portscan.*" = 3

[tenant."t-1001".thresholds."portscan.horizontal"]
hosts = 50
"#;

    /// What is written comes to the same.
    fn check(policy: &Policy) {
        let text = policy.written();
        let back = Policy::parse("written.toml", &text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        assert_eq!(back, *policy, "{text}");
        assert_eq!(policy.differences(&back), []);
    }

    #[test]
    fn what_is_written_is_read_again_as_it_was() {
        for (name, _) in Policy::PRESETS {
            check(&Policy::preset(name).unwrap());
        }
        check(&Policy::parse("full.toml", FULL).unwrap());
    }

    #[test]
    fn differences_are_told_one_by_one() {
        let policy = |lines: &str| {
            let head = "[policy]\nname = \"x\"\nversion = 1\nextends = \"baseline\"\n";
            Policy::parse("x.toml", &format!("{head}{lines}")).unwrap()
        };
        let before = policy("[tenant.\"a\"]\n\"spam\" = 2\n");
        let after = policy(
            "mode = \"observe\"\n[thresholds.\"flood.syn\"]\npackets_per_second = 900\n\
             [[rule]]\nid = \"syn\"\non = [\"flood.syn\"]\nladder = [{ action = \"notify\" }]\n",
        );
        let told: Vec<String> = before.differences(&after).iter().map(ToString::to_string).collect();
        let starts = [
            "mode: \"enforce\" -> \"observe\"",
            "rule flood: on: [\"flood.syn\", \"flood.tcp\"",
            "rule syn: id: new, \"syn\"",
            "rule syn: clause: new, \"x/syn\"",
            "rule syn: on: new, [\"flood.syn\"]",
            "rule syn: quiet: new, \"10m\"",
            "rule syn: memory: new, \"180d\"",
            "rule syn: grace: new, \"10m\"",
            "rule syn: ladder: new, [ { action = \"notify\", scope = \"all\", until = \"released\" }, ]",
            "thresholds flood.syn: packets_per_second: ",
            "tenant a: \"spam\": gone, was 2",
        ];
        assert_eq!(told.len(), starts.len(), "{told:#?}");
        for (told, start) in told.iter().zip(starts) {
            assert!(told.starts_with(start), "{told}\nis not\n{start}");
        }
        assert_eq!(before.differences(&before), []);
    }
}
