//! A policy's file, read.

use std::collections::BTreeSet;

use super::numbers::Tailoring;
use super::tenants::spared;
use super::thresholds::Thresholds;
use super::{Brakes, Policy, RelayCheck, Rule, ScopeRule, Step, thresholds_read};
use crate::class::Class;
use crate::decision::{Action, Until};
use crate::net::Protocol;
use crate::rate::{Rate, Unit};
use crate::reader::{ConfigErrors, Document, Section, parse_duration};
use crate::tenant::{Mode, Name};

const NAME: &str = "a name: 1 to 64 letters, digits, `.`, `_` or `-`, the first a letter or digit";
const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];

pub(super) fn parse(file: &str, text: &str) -> Result<Policy, ConfigErrors> {
    Document::read(file, text, policy)
}

fn policy(root: &Section<'_, '_>) -> Option<Policy> {
    let Some(head) = root.section("policy") else {
        root.reject("policy", "a table [policy] with name and version");
        return None;
    };
    let name: Option<Name> = head.required("name", NAME);
    if !head.has("version") {
        head.reject("version", "a whole number from 1 on");
    }
    let version =
        head.integer("version", 1..=u64::from(u32::MAX)).and_then(|version| u32::try_from(version).ok());
    let language = head.parsed("language", "a language tag such as en, nl or da");
    let mode = head.one_of("mode", &MODES);
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
    if rules.is_empty() && !root.has("rule") {
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
        brakes,
        relay_check,
    })
}

/// Both addresses are checked even where nobody is to be asked.
fn read_relay_check(section: &Section<'_, '_>) -> Option<RelayCheck> {
    const MAILBOX: &str = "an address of mail like probe@example.net";
    let is_enabled = section.boolean("enabled").unwrap_or(false);
    let read = |key| {
        if is_enabled { section.required(key, MAILBOX) } else { section.parsed(key, MAILBOX) }
    };
    let (from, to) = (read("from"), read("to"));
    section.finish();
    if is_enabled { Some(RelayCheck { from: from?, to: to? }) } else { None }
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

fn rules(root: &Section<'_, '_>, policy: Option<&Name>, thresholds: &mut Thresholds) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for section in root.sections("rule") {
        let rule = rule(&section, policy, thresholds);
        if let Some(rule) = rule {
            if rules.iter().any(|other| other.id == rule.id) {
                section.reject("id", "an id that no rule above has");
            }
            if let Some(other) = rules.iter().find(|other| !other.on.is_disjoint(&rule.on)) {
                section.reject("on", &format!("classes that are not under rule `{}` already", other.id));
            }
            rules.push(rule);
        }
        section.finish();
    }
    rules
}

/// Lets `own` rules replace those with the same id, and take their classes from the others.
fn override_rules(rules: &mut Vec<Rule>, own: Vec<Rule>) {
    for rule in own {
        for other in rules.iter_mut() {
            other.on.retain(|class| !rule.on.contains(class));
        }
        match rules.iter_mut().find(|other| other.id == rule.id) {
            Some(place) => *place = rule,
            None => rules.push(rule),
        }
    }
    rules.retain(|rule| !rule.on.is_empty());
}

fn rule(section: &Section<'_, '_>, policy: Option<&Name>, thresholds: &mut Thresholds) -> Option<Rule> {
    let id: Option<Name> = section.required("id", NAME);
    let clause = clause(section, policy, id.as_ref());
    let on = classes(section);
    let mode = section.one_of("mode", &MODES);
    let quiet = section.duration("quiet").unwrap_or(Rule::DEFAULT_QUIET);
    let memory = section.duration("memory").unwrap_or(Rule::DEFAULT_MEMORY);
    let grace = section.duration("grace").unwrap_or(Rule::DEFAULT_GRACE);
    if quiet.is_zero() {
        section.reject("quiet", "a time above zero");
    }
    if let Some(numbers) = section.section("thresholds") {
        thresholds_read::read(&numbers, thresholds);
    }
    let ladder = ladder(section);
    Some(Rule { id: id?, clause: clause?, on: on?, mode, quiet, memory, grace, ladder: ladder? })
}

/// `policy/clause`; left out, the rule's id stands for the clause.
fn clause(section: &Section<'_, '_>, policy: Option<&Name>, id: Option<&Name>) -> Option<String> {
    let Some(text) = section.text("clause") else {
        return Some(format!("{}/{}", policy?, id?));
    };
    let good = text
        .split_once('/')
        .is_some_and(|(policy, clause)| policy.parse::<Name>().is_ok() && clause.parse::<Name>().is_ok());
    if !good {
        section.reject("clause", "POLICY/CLAUSE, both of them names");
    }
    good.then(|| text.to_owned())
}

fn classes(section: &Section<'_, '_>) -> Option<BTreeSet<Class>> {
    let known = || {
        let all: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        format!("a class or a family of them: portscan.*, flood.*, spam.*, {}", all.join(", "))
    };
    if !section.has("on") {
        section.reject("on", &format!("a list: {}", known()));
        return None;
    }
    let patterns: Vec<String> = section.parsed_list("on", &known())?;
    let mut classes = BTreeSet::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let matching = Class::matching(pattern);
        if matching.is_empty() {
            section.reject_item("on", index, &known());
        }
        classes.extend(matching);
    }
    if patterns.is_empty() {
        section.reject("on", &known());
    }
    Some(classes)
}

fn ladder(section: &Section<'_, '_>) -> Option<Vec<Step>> {
    let allowed = "a list of 1 to 16 steps like { action = \"suspend\", until = \"released\" }";
    if !section.has("ladder") {
        section.reject("ladder", allowed);
        return None;
    }
    let sections = section.sections("ladder");
    let steps: Vec<Step> = sections.iter().filter_map(step).collect();
    if sections.is_empty() || sections.len() > Rule::MAX_STEPS {
        section.reject("ladder", allowed);
    }
    Some(steps)
}

fn step(section: &Section<'_, '_>) -> Option<Step> {
    let actions = [Action::Observe, Action::Notify, Action::Limit, Action::Block, Action::Suspend];
    if !section.has("action") {
        section.reject("action", "observe, notify, limit, block, suspend");
    }
    let action = section.one_of("action", &actions.map(|action| (action.name(), action)));
    let scope = scope(section, action);
    let rate = rate(section, action, scope);
    let until = until(section, action);
    section.finish();
    Some(Step { action: action?, scope: scope?, rate: rate?, until: until? })
}

/// A limit has a rate and nothing else has.
fn rate(section: &Section<'_, '_>, action: Option<Action>, scope: Option<ScopeRule>) -> Option<Option<Rate>> {
    let rate: Option<Rate> = section.parsed("rate", Rate::SYNTAX);
    match (action, rate) {
        (Some(Action::Limit), None) => {
            if !section.has("rate") {
                section.reject("rate", Rate::SYNTAX);
            }
            None
        }
        (Some(Action::Limit), Some(rate)) => {
            if rate.unit == Unit::Calls && scope.is_some_and(|scope| scope != ScopeRule::Endpoint) {
                section.reject("rate", "connections, packets or bytes; calls go with the scope `endpoint`");
            }
            Some(Some(rate))
        }
        (_, Some(_)) => {
            section.reject("rate", "nothing: only a limit has a rate");
            None
        }
        (_, None) => Some(None),
    }
}

fn scope(section: &Section<'_, '_>, action: Option<Action>) -> Option<ScopeRule> {
    let Some(text) = section.text("scope") else {
        // Without a word, the mildest scope that stops the abuse.
        let is_by_target = matches!(action, Some(Action::Block | Action::Limit));
        return Some(if is_by_target { ScopeRule::Destinations } else { ScopeRule::All });
    };
    let scope = match text {
        "all" => Some(ScopeRule::All),
        "dst" | "targets" => Some(ScopeRule::Destinations),
        "dst:port" => Some(ScopeRule::DestinationPorts),
        "endpoint" => Some(ScopeRule::Endpoint),
        other => other.split_once('/').and_then(|(protocol, port)| {
            let protocol: Protocol = protocol.parse().ok()?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            protocol.has_ports().then_some(ScopeRule::Port(protocol, port))
        }),
    };
    let scope = match (action, scope) {
        // A suspension is of everything, and a block of everything is a suspension.
        (Some(Action::Suspend), Some(scope)) if scope != ScopeRule::All => None,
        (Some(Action::Block), Some(ScopeRule::All)) => None,
        (_, scope) => scope,
    };
    if scope.is_none() {
        section.reject(
            "scope",
            "all (to suspend or limit); dst, dst:port, targets, endpoint, or a port like tcp/25 (to block or limit)",
        );
    }
    scope
}

fn until(section: &Section<'_, '_>, action: Option<Action>) -> Option<Until> {
    let allowed = "\"released\" or a time from \"1s\" on, such as \"15m\"";
    let Some(text) = section.text("until") else {
        return match action {
            Some(action) if action.is_measure() => {
                section.reject("until", allowed);
                None
            }
            _ => Some(Until::Released),
        };
    };
    let until = match text {
        "released" => Some(Until::Released),
        // The kernel's timeouts and people's patience both begin at a second.
        other => parse_duration(other).filter(|span| span.as_secs() >= 1).map(Until::After),
    };
    if until.is_none() {
        section.reject("until", allowed);
    }
    until
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "[[rule]]\nid = \"scan\"\non = [\"portscan.*\"]\nladder = [{ action = \"notify\" }]\n";

    /// What is wrong with a policy, without the file's name.
    fn check(text: &str, expect: &[&str]) {
        let told = match parse("p.toml", text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(|error| error.to_string().replace("p.toml:", "")).collect(),
        };
        assert_eq!(told.len(), expect.len(), "{text}\n{told:#?}");
        for (told, expect) in told.iter().zip(expect) {
            assert!(told.starts_with(expect), "{told}\nis not\n{expect}");
        }
    }

    #[test]
    fn presets_are_sound() {
        for (name, _) in Policy::PRESETS {
            let policy = Policy::preset(name).unwrap();
            assert_eq!(policy.name.as_str(), name);
            for class in Class::ALL {
                assert!(policy.rule_for(class).is_some(), "{name}: {class}");
            }
        }
        assert!(Policy::preset("none").is_none());
    }

    #[test]
    fn mail_servers_are_asked_only_where_that_is_said_in_full() {
        let head = "[policy]\nname = \"x\"\nversion = 1\nextends = \"baseline\"\n";
        let (from, to) = ("from = \"probe@asker.example\"\n", "to = \"probe@elsewhere.example\"\n");
        let asks = |section: &str| {
            let policy = Policy::parse("p.toml", &format!("{head}{section}")).unwrap();
            policy.relay_check.map(|check| (check.from.to_string(), check.to.to_string()))
        };
        let both = Some(("probe@asker.example".to_owned(), "probe@elsewhere.example".to_owned()));
        assert_eq!(asks(&format!("[relay_check]\nenabled = true\n{from}{to}")), both);
        for silent in [
            "",
            "[relay_check]\n",
            &format!("[relay_check]\nenabled = false\n{from}{to}"),
            &format!("[relay_check]\n{from}{to}"),
        ] {
            assert_eq!(asks(silent), None, "{silent}");
        }
        check(
            &format!("{head}[relay_check]\nenabled = true\n"),
            &["5:1: `relay_check.from`: found nothing", "5:1: `relay_check.to`: found nothing"],
        );
        check(
            &format!("{head}[relay_check]\nenabled = \"yes\"\nfrom = \"a b@c.example\"\nby = 1\n{to}"),
            &[
                "6:11: `relay_check.enabled`: found \"yes\"; allowed: true, false",
                "7:8: `relay_check.from`: found \"a b@c.example\"; allowed: an address of mail",
                "8:1: `relay_check.by`: found a key that is not known",
            ],
        );
    }

    #[test]
    fn errors_say_what_is_wrong_and_where() {
        let head = "[policy]\nname = \"x\"\nversion = 1\n";
        check(&format!("{head}{RULE}"), &[]);
        check("", &["1:1: `policy`: found nothing"]);
        check(head, &["1:1: `rule`: found nothing; allowed: at least one [[rule]]"]);
        check(
            &format!("[policy]\nname = \"a b\"\nversion = 0\n{RULE}"),
            &["2:8: `policy.name`: found \"a b\"", "3:11: `policy.version`: found 0"],
        );
        check(
            &format!("{head}mod = \"observe\"\n{RULE}"),
            &["4:1: `policy.mod`: found a key that is not known"],
        );
        check(
            &format!("{head}extends = \"nobody\"\n"),
            &["1:1: `rule`", "4:11: `policy.extends`: found \"nobody\"; allowed: baseline"],
        );
        check(
            &format!(
                "{head}{RULE}[brakes]\nmeasures_per_minute = -1\nshare_of_tenants = 2.0\nper_hour = 1\n"
            ),
            &[
                "9:23: `brakes.measures_per_minute`: found -1",
                "10:20: `brakes.share_of_tenants`: found 2",
                "11:1: `brakes.per_hour`",
            ],
        );
        let broken = |line: &str| format!("{head}[[rule]]\nid = \"r\"\n{line}\n");
        let ladder = "ladder = [{ action = \"notify\" }]";
        check(
            &broken(&format!("on = [\"portscan.fast\"]\n{ladder}")),
            &["6:7: `rule[1].on[1]`: found \"portscan.fast\""],
        );
        check(&broken(ladder), &["4:1: `rule[1].on`: found nothing"]);
        let on = "on = [\"flood.*\"]\nladder = ";
        check(&broken(&format!("{on}[]")), &["7:10: `rule[1].ladder`: found a list"]);
        check(
            &broken(&format!("{on}[{{ action = \"ban\" }}]")),
            &[
                "7:22: `rule[1].ladder[1].action`: found \"ban\"; allowed: observe, notify, limit, block, suspend",
            ],
        );
        check(
            &broken(&format!("{on}[{{ action = \"suspend\" }}]")),
            &["7:11: `rule[1].ladder[1].until`: found nothing"],
        );
        check(
            &broken(&format!("{on}[{{ action = \"suspend\", until = \"0s\" }}]")),
            &["7:41: `rule[1].ladder[1].until`: found \"0s\""],
        );
        check(
            &broken(&format!("{on}[{{ action = \"suspend\", scope = \"dst\", until = \"1h\" }}]")),
            &["7:41: `rule[1].ladder[1].scope`: found \"dst\""],
        );
        check(
            &broken(&format!("{on}[{{ action = \"block\", scope = \"icmp/25\", until = \"1h\" }}]")),
            &["7:39: `rule[1].ladder[1].scope`: found \"icmp/25\""],
        );
        check(
            &broken(&format!("{on}[{{ action = \"limit\", until = \"1h\" }}]")),
            &["7:11: `rule[1].ladder[1].rate`: found nothing; allowed: AMOUNT"],
        );
        check(
            &broken(&format!("{on}[{{ action = \"limit\", rate = \"fast\", until = \"1h\" }}]")),
            &["7:38: `rule[1].ladder[1].rate`: found \"fast\""],
        );
        check(
            &broken(&format!("{on}[{{ action = \"limit\", rate = \"1 calls/second\", until = \"1h\" }}]")),
            &["7:38: `rule[1].ladder[1].rate`: found \"1 calls/second\"; allowed: connections"],
        );
        check(
            &broken(&format!("{on}[{{ action = \"notify\", rate = \"10/minute\" }}]")),
            &["7:39: `rule[1].ladder[1].rate`: found \"10/minute\"; allowed: nothing"],
        );
        let endpoint = |lines: &str| format!("{head}{RULE}[[endpoint]]\n{lines}\n");
        check(&endpoint("name = \"api\"\naddresses = [\"192.0.2.1/32\"]\nports = [443]\nburst = 5"), &[]);
        check(
            &endpoint(
                "name = \"api\"\nhosts = [\"api.example\", \"*.api.example\"]\nports = [443]\npaths = [\"/v1/\"]\n\
                 kind = \"signup\"\nsignups = 3",
            ),
            &[],
        );
        check(
            &endpoint(
                "name = \"api\"\nhosts = [\"192.0.2.1\"]\nports = [443]\npaths = [\"v1\"]\nkind = \"shop\"",
            ),
            &[
                "10:10: `endpoint[1].hosts[1]`: found \"192.0.2.1\"; allowed: 1 to 16 host names",
                "12:10: `endpoint[1].paths[1]`: found \"v1\"",
                "13:8: `endpoint[1].kind`: found \"shop\"; allowed: api, signup, login",
            ],
        );
        check(
            &endpoint("addresses = []\nports = [0]\nbust = 1"),
            &[
                "8:1: `endpoint[1].name`: found nothing",
                "9:13: `endpoint[1].addresses`: found a list",
                "10:9: `endpoint[1].ports`: found a list",
                "11:1: `endpoint[1].bust`: found a key that is not known",
            ],
        );
        check(&format!("{head}{RULE}{RULE}"), &["9:6: `rule[2].id`: found \"scan\"", "10:6: `rule[2].on`"]);
    }

    #[test]
    fn a_policy_extends_another_and_takes_over_what_it_names() {
        let policy = parse(
            "x.toml",
            "[policy]\nname = \"x\"\nversion = 3\nextends = \"baseline\"\nmode = \"observe\"\n\
             [thresholds.\"portscan.vertical\"]\nports = 40\n\
             [[rule]]\nid = \"syn\"\non = [\"flood.syn\"]\nladder = [{ action = \"notify\" }]\n\
             thresholds.\"flood.syn\" = { packets_per_second = 900 }\n",
        )
        .unwrap();
        assert_eq!(policy.mode, Mode::Observe);
        assert_eq!(policy.rule_for(Class::FloodSyn).unwrap().clause, "x/syn");
        assert_eq!(policy.rule_for(Class::FloodUdp).unwrap().clause, "baseline/flood");
        assert_eq!(policy.thresholds.vertical.ports, 40);
        assert_eq!(policy.thresholds.flood_syn.packets_per_second, 900);
        assert_eq!(policy.thresholds.horizontal.hosts, 25);
        assert_eq!(policy.rule_for(Class::SmtpRelay).unwrap().clause, "baseline/relay");
    }

    #[test]
    fn a_rule_with_the_id_of_another_replaces_it_whole() {
        let head = "[policy]\nname = \"x\"\nversion = 3\nextends = \"baseline\"\n";
        let rule = |id: &str, on: &str| {
            format!("[[rule]]\nid = \"{id}\"\non = [\"{on}\"]\nladder = [{{ action = \"notify\" }}]\n")
        };
        let policy = parse("x.toml", &format!("{head}{}", rule("flood", "flood.syn"))).unwrap();
        assert_eq!(policy.rule_for(Class::FloodSyn).unwrap().clause, "x/flood");
        assert_eq!(policy.rule_for(Class::FloodUdp), None);
        // Two rules of one file never share a class, family or not.
        let both = format!("{head}{}{}", rule("syn", "flood.syn"), rule("all", "flood.*"));
        let told = parse("x.toml", &both).unwrap_err().to_string();
        assert!(told.contains("classes that are not under rule `syn` already"), "{told}");
    }
}
