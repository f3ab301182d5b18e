//! Policies in text: what they come to, and what is told of mistakes.

use super::*;
use crate::class::Class;
use crate::tenant::Mode;

const RULE: &str = "[[rule]]\nid = \"scan\"\non = [\"portscan.*\"]\nladder = [{ action = \"notify\" }]\n";

/// What is wrong with a policy, without the file's name.
fn check(text: &str, expect: &[&str]) {
    let told = match Policy::parse("p.toml", text) {
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
fn a_silence_after_which_a_rule_lets_go_is_no_shorter_than_its_quiet() {
    let rule = |on: &str, more: &str| {
        format!(
            "[policy]\nname = \"x\"\nversion = 1\nextends = \"baseline\"\n[[rule]]\nid = \"r\"\non = [\"{on}\"]\n{more}\n\
             ladder = [{{ action = \"notify\" }}]\n"
        )
    };
    let silence = |more: &str| {
        let policy = Policy::parse("p.toml", &rule("portscan.*", more)).unwrap();
        policy.rules.iter().find(|rule| rule.id.as_str() == "r").unwrap().release_after_silence
    };
    assert_eq!(silence(""), None);
    assert_eq!(silence("release_after_silence = \"10m\""), Some(Rule::DEFAULT_QUIET));
    for wrong in ["599s", "31d"] {
        let told =
            format!("8:25: `rule[1].release_after_silence`: found \"{wrong}\"; allowed: a time such as");
        check(&rule("portscan.*", &format!("release_after_silence = \"{wrong}\"")), &[&told]);
    }
    check(&rule("portscan.*", "release_after_silence = 10"), &["8:25: `rule[1].release_after_silence`"]);
    for on in ["smtp_relay", "quota"] {
        let told = "8:25: `rule[1].release_after_silence`: found \"1h\"; allowed: nothing where";
        check(&rule(on, "release_after_silence = \"1h\""), &[told]);
    }
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
        &format!(
            "{head}[relay_check]\nenabled = \"yes\"\nfrom = \"a b@c.example\"\nby = 1\nrecheck = \"0s\"\n{to}"
        ),
        &[
            "6:11: `relay_check.enabled`: found \"yes\"; allowed: true, false",
            "7:8: `relay_check.from`: found \"a b@c.example\"; allowed: an address of mail",
            "8:1: `relay_check.by`: found a key that is not known",
            "9:11: `relay_check.recheck`: found \"0s\"; allowed: a time from 1s to 7d, such as 30m",
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
    check(&format!("{head}mod = \"observe\"\n{RULE}"), &["4:1: `policy.mod`: found a key that is not known"]);
    check(
        &format!("{head}extends = \"nobody\"\n"),
        &["4:11: `policy.extends`: found \"nobody\"; allowed: baseline"],
    );
    check(
        &format!("{head}{RULE}[brakes]\nmeasures_per_minute = -1\nshare_of_tenants = 2.0\nper_hour = 1\n"),
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
        &["7:22: `rule[1].ladder[1].action`: found \"ban\"; allowed: observe, notify, limit, block, suspend"],
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
fn mistakes_in_conditions_are_told_one_by_one() {
    let head = "[policy]\nname = \"x\"\nversion = 1\n";
    let broken = |line: &str| {
        format!(
            "{head}[[rule]]\nid = \"r\"\non = [\"flood.*\"]\n{line}\nladder = [{{ action = \"notify\" }}]\n"
        )
    };
    let told = |line: &str, expect: &str| check(&broken(line), &[expect]);
    check(
        &broken("severe = { times = 10 }\nrepeat = { within = \"7d\" }\nknown_offender = 1\ndecay = \"1d\""),
        &[],
    );
    told(
        "severe = { times = 0.5 }",
        "7:20: `rule[1].severe.times`: found 0.5; allowed: a number from 1 to 1000000",
    );
    told("severe = { step = 1 }", "7:10: `rule[1].severe.times`: found nothing");
    told(
        "severe = { times = 2, step = 2 }",
        "7:30: `rule[1].severe.step`: found 2; allowed: a whole number from 1 to 1",
    );
    told("severe = { times = 2, steps = 1 }", "7:23: `rule[1].severe.steps`: found a key that is not known");
    told("severe = 10", "7:10: `rule[1].severe`: found 10; allowed: a table");
    told("repeat = { step = 1 }", "7:10: `rule[1].repeat.within`: found nothing");
    told("repeat = { within = \"often\" }", "7:21: `rule[1].repeat.within`: found \"often\"");
    told("known_offender = \"first\"", "7:18: `rule[1].known_offender`: found \"first\"; allowed: \"last\"");
    told("known_offender = 0", "7:18: `rule[1].known_offender`: found 0");
    told("decay = \"0s\"", "7:9: `rule[1].decay`: found \"0s\"; allowed: a time above zero");
    told("grace = \"2 days\"", "7:9: `rule[1].grace`: found \"2 days\"; allowed: a time such as");
    told("target = \"ours\"", "7:10: `rule[1].target`: found \"ours\"; allowed: own, third-party");
    told("target = \"own\"", "7:10: `rule[1].target`: found \"own\"; allowed: `own` where [networks]");
    told("also = [\"spam\"]", "7:9: `rule[1].also[1]`: found \"spam\"; allowed: a list of POLICY/CLAUSE");
    told("notice_first = 1", "7:16: `rule[1].notice_first`: found 1; allowed: true, false");
    let step = |until: &str| {
        format!(
            "{head}[[rule]]\nid = \"r\"\non = [\"flood.*\"]\nladder = [{{ action = \"suspend\", until = \"{until}\" }}]\n"
        )
    };
    check(&step("paid"), &[]);
    check(
        &step("verified"),
        &["7:41: `rule[1].ladder[1].until`: found \"verified\"; allowed: \"verified\" only where"],
    );
    let section = |lines: &str| format!("{head}{RULE}{lines}\n");
    check(
        &section(
            "[calendar]\nutc_offset = \"-03:30\"\nweekend = [\"friday\"]\nholidays = [\"2026-12-25\"]\n[networks]\nown = [\"192.0.2.0/24\"]",
        ),
        &[],
    );
    check(
        &section(
            "[calendar]\nutc_offset = \"+1\"\nweekend = [\"sun\"]\nholidays = [\"25-12\", \"2026-02-30\"]\ndays = 1",
        ),
        &[
            "9:14: `calendar.utc_offset`: found \"+1\"; allowed: a difference such as \"+01:00\"",
            "10:12: `calendar.weekend[1]`: found \"sun\"; allowed: a list of days: monday",
            "11:13: `calendar.holidays[1]`: found \"25-12\"; allowed: days such as \"2026-12-25\"",
            "11:22: `calendar.holidays[2]`: found \"2026-02-30\"",
            "12:1: `calendar.days`: found a key that is not known",
        ],
    );
    check(
        &section("[networks]\nown = [\"192.0.2.1/24\"]"),
        &["9:8: `networks.own[1]`: found \"192.0.2.1/24\""],
    );
}

#[test]
fn a_policy_extends_another_and_takes_over_what_it_names() {
    let policy = Policy::parse(
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
    let policy = Policy::parse("x.toml", &format!("{head}{}", rule("flood", "flood.syn"))).unwrap();
    assert_eq!(policy.rule_for(Class::FloodSyn).unwrap().clause, "x/flood");
    assert_eq!(policy.rule_for(Class::FloodUdp), None);
    // Two rules of one file never share a class, family or not.
    let both = format!("{head}{}{}", rule("syn", "flood.syn"), rule("all", "flood.*"));
    let told = Policy::parse("x.toml", &both).unwrap_err().to_string();
    assert!(told.contains("classes that are not under rule `syn` already: flood.syn"), "{told}");
}

#[test]
fn what_would_block_an_endpoint_that_is_protected_is_told() {
    let aims = |protected: &str, kind: &str, step: &str| {
        let text = format!(
            "[policy]\nname = \"x\"\nversion = 1\n[protected]\ndestinations = [\"{protected}\"]\n\
             [[endpoint]]\nname = \"api\"\naddresses = [\"192.0.2.7\", \"2001:db8:7::/64\"]\nports = [443]\n\
             [[rule]]\nid = \"calls\"\non = [\"api_burst\"]\n{kind}ladder = [{{ {step}, until = \"1h\" }}]\n"
        );
        Policy::parse("p.toml", &text).unwrap().aims_at_protected()
    };
    const BLOCK: &str = "action = \"block\", scope = \"endpoint\"";
    for protected in ["192.0.2.0/24", "192.0.2.7", "2001:db8:7::/48", "2001:db8:7::9"] {
        let told = aims(protected, "", BLOCK);
        assert!(told.len() == 1 && told[0].contains(protected), "{protected}: {told:?}");
    }
    let none = Vec::<String>::new();
    assert_eq!(aims("192.0.3.0/24", "", BLOCK), none);
    assert_eq!(
        aims("192.0.2.0/24", "", "action = \"limit\", scope = \"endpoint\", rate = \"1/second\""),
        none
    );
    assert_eq!(aims("192.0.2.0/24", "kind = \"login\"\n", BLOCK), none, "it is no login");
}
