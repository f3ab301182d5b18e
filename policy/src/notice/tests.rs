use std::collections::BTreeMap;

use super::*;
use crate::alert::{Alert, Loss, Metric, Outcome, TargetSeen, Window};
use crate::decision::{Action, Scope};
use crate::net::{Protocol, Target};
use crate::usage::Month;
use crate::violation::ViolationState;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn at() -> Timestamp {
    "2026-11-20T14:03:10Z".parse().unwrap()
}

/// A customer of a reseller, the reseller, and a customer without one.
fn tenants() -> BTreeMap<TenantId, Tenant> {
    let shop = Tenant {
        name: "Shop B.V.".to_owned(),
        parent: Some(name("reseller")),
        addresses: vec!["203.0.113.10/32".parse().unwrap()],
        language: Some(name("nl-BE")),
        ..Tenant::new(name("shop"))
    };
    let reseller = Tenant { language: Some(name("da")), ..Tenant::new(name("reseller")) };
    let alone = Tenant::new(name("alone"));
    [shop, reseller, alone].into_iter().map(|tenant| (tenant.id.clone(), tenant)).collect()
}

fn violation(tenant: &str, rule: &Rule, class: Class) -> Violation {
    let target = Target { address: "198.51.100.7".parse().unwrap(), protocol: Protocol::Tcp, port: Some(22) };
    let seen = TargetSeen { target, first: at(), last: at(), outcome: Outcome::Silent };
    let metrics = vec![
        Metric { name: "intruder_hosts".into(), value: 12_043.0, threshold: Some(15.0) },
        Metric { name: "unanswered".into(), value: 0.9, threshold: Some(0.6) },
    ];
    let evidence = Alert {
        class,
        tenant: name(tenant),
        at: at(),
        window: Window { start: at().minus(std::time::Duration::from_secs(120)), end: at() },
        metrics,
        confidence_percent: 95,
        targets: vec![seen; 5],
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    };
    Violation {
        id: ViolationId::from(name("01HF7YAT00000000000000000A")),
        node: name("n1"),
        tenant: name(tenant),
        rule: rule.id.clone(),
        clause: rule.clause.clone(),
        opened: at(),
        last_seen: at(),
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence,
    }
}

/// The decision by a step of a rule, counted from 0, as the judge makes it.
fn decision(policy: &Policy, rule: &Rule, step: usize, violation: &Violation) -> Decision {
    let taken = &rule.ladder[step];
    let targets: Vec<Target> = violation.evidence.targets.iter().map(|seen| seen.target).collect();
    Decision {
        id: DecisionId(format!("{}.{}", violation.id, step + 1).parse().unwrap()),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: rule.clause.clone(),
        origin: Origin::Policy {
            policy: policy.name.clone(),
            version: policy.version,
            rule: rule.id.clone(),
            step: u32::try_from(step + 1).unwrap(),
        },
        action: taken.action,
        scope: taken.scope.resolve(&targets, &policy.thresholds.endpoints),
        rate: taken.rate,
        until: taken.until,
        at: at(),
        mode: Mode::Enforce,
        reason: violation.evidence.summary(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

/// An operator's.
fn ordered(until: Until, reason: &str) -> Decision {
    Decision {
        id: DecisionId(name("O1")),
        tenant: name("shop"),
        violation: None,
        clause: String::new(),
        origin: Origin::Operator { name: "oncall".to_owned() },
        action: Action::Suspend,
        scope: Scope::All,
        rate: None,
        until,
        at: at(),
        mode: Mode::Enforce,
        reason: reason.to_owned(),
        connections: None,
        softened: None,
        reckoning: None,
    }
}

fn policy(lines: &str) -> Policy {
    let head = "[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\nmode = \"enforce\"\n";
    Policy::parse("p.toml", &format!("{head}{lines}")).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is made of the step of the rule on `class`, as `RECIPIENT LANGUAGE KIND`.
fn told(policy: &Policy, tenant: &str, class: Class, step: usize) -> Vec<String> {
    let people = tenants();
    let office = Office { policy, tenants: &|id| people.get(id) };
    let rule = policy.rule_for(class).unwrap();
    let violation = violation(tenant, rule, class);
    let notices = office.of_decision(&decision(policy, rule, step, &violation), Some(&violation));
    notices.iter().map(|one| format!("{} {} {}", one.recipient, one.language, one.kind)).collect()
}

/// Every text is whole: nothing of the template shows, and nothing is missing.
fn check_words(notice: &Notice) {
    let both = format!("{}\n\n{}", notice.subject, notice.text);
    assert!(!notice.subject.is_empty() && notice.text.contains("\n\n"), "{notice:?}");
    for bad in ["{", "}", "  ", "\n\n\n", "()", "( ", " .", " ,", ": .", "\n "] {
        assert!(!both.contains(bad), "{bad:?} in {both}");
    }
    assert!(both.split("\n\n").all(|part| !part.trim().is_empty()), "{both}");
}

#[test]
fn every_step_of_every_preset_has_words_in_every_language_for_every_kind_and_class() {
    let kinds = [NoticeKind::Information, NoticeKind::Warning, NoticeKind::Immediate, NoticeKind::Final];
    let mut made = 0;
    for (preset, _) in Policy::PRESETS {
        for language in texts::languages() {
            let mut policy = Policy::preset(preset).unwrap();
            policy.notices.languages = vec![language.clone()];
            policy.notices.tell = Tell::BOTH;
            policy.notices.contact = "abuse@example.net".to_owned();
            let people = tenants();
            for rule in &policy.rules.clone() {
                for (class, step) in
                    rule.on.iter().flat_map(|class| (0..rule.ladder.len()).map(move |step| (*class, step)))
                {
                    let violation = violation("shop", rule, class);
                    let one = decision(&policy, rule, step, &violation);
                    for kind in kinds {
                        for known in policy.rules.iter_mut().filter(|known| known.id == rule.id) {
                            known.ladder[step].notice = Some(kind);
                            (known.tell, known.ladder[step].tell) = (None, Some(Tell::BOTH));
                        }
                        let office = Office { policy: &policy, tenants: &|id| people.get(id) };
                        let mut all = office.of_decision(&one, Some(&violation));
                        assert_eq!(all.len(), 2, "{preset} {rule:?}");
                        all.extend(office.of_decision(&one, None));
                        if one.action.is_measure() {
                            let ended = office.of_end(&one, Some(class), at(), true);
                            assert_eq!(ended.len(), 2);
                            all.extend(ended);
                        }
                        for notice in &all {
                            assert!(notice.language.as_str().starts_with(language.as_str()));
                            check_words(notice);
                        }
                        made += all.len();
                        let explained = office.explain(&one, Some(class), None);
                        assert!(!explained.reason.contains(['{', '}']) && !explained.reason.is_empty());
                        assert_eq!(explained.lifted_by.is_empty(), !one.action.is_measure());
                    }
                }
            }
        }
    }
    assert!(made > 1_000, "{made}");
}

#[test]
fn what_people_order_and_what_is_used_has_words_in_every_language() {
    for language in texts::languages() {
        let mut policy = policy("[notices]\ntell = [\"tenant\", \"parent\"]\nprovider = \"Example\"\n");
        policy.notices.languages = vec![language.clone()];
        let people = tenants();
        let office = Office { policy: &policy, tenants: &|id| people.get(id) };
        let mut all = Vec::new();
        for until in
            [Until::Released, Until::Paid, Until::Verified, Until::After(std::time::Duration::from_secs(60))]
        {
            let one = ordered(until, "ticket 4711");
            all.extend(office.of_decision(&one, None));
            all.extend(office.of_end(&one, None, at(), false));
        }
        assert_eq!(all.len(), 16);
        assert!(all[0].text.contains("ticket 4711"));
        let usage = Usage {
            tenant: name("shop"),
            month: Month::of(at()),
            received: 700_000_000_000,
            sent: 200_000_000_000,
        };
        for mark in QUOTA_MARKS {
            let notices = office.of_usage(&usage, mark, 1_000_000_000_000, at());
            assert_eq!(notices.len(), 2);
            assert!(
                notices[0].text.contains("900 GB") && notices[0].text.contains("1000 GB"),
                "{}",
                notices[0].text
            );
            all.extend(notices);
        }
        all.iter().for_each(check_words);
    }
}

#[test]
fn who_is_told_is_said_by_step_rule_class_and_policy_in_that_order() {
    let spam = Class::Spam;
    let resellers = policy(
        "[notices]\ntell = [\"parent\"]\nurgent = [\"flood.*\"]\n\
         [[rule]]\nid = \"spam\"\non = [\"spam.*\"]\nladder = [\n\
         { action = \"notify\" }, { action = \"observe\" },\n\
         { action = \"suspend\", until = \"released\", notice = \"final\", tell = [\"tenant\"] },\n\
         { action = \"suspend\", until = \"released\", notice = \"none\" } ]\n\
         [[rule]]\nid = \"relay\"\non = [\"smtp_relay\"]\ntell = [\"tenant\", \"parent\"]\n\
         ladder = [{ action = \"notify\", notice = \"information\" }]\n",
    );
    assert_eq!(told(&resellers, "shop", spam, 0), ["reseller da warning"]);
    assert!(told(&resellers, "shop", spam, 1).is_empty());
    assert_eq!(told(&resellers, "shop", spam, 2), ["shop nl-BE final"]);
    assert!(told(&resellers, "shop", spam, 3).is_empty());
    assert_eq!(
        told(&resellers, "shop", Class::SmtpRelay, 0),
        ["shop nl-BE information", "reseller da information"]
    );
    assert_eq!(
        told(&resellers, "shop", Class::FloodSyn, 0),
        ["shop nl-BE immediate", "reseller da immediate"]
    );
    assert_eq!(told(&resellers, "shop", Class::Crash, 0), ["reseller da immediate"]);
    // Without a reseller the customer itself, in the policy's language.
    assert_eq!(told(&resellers, "alone", spam, 0), ["alone en warning"]);
    // Without a word from anybody, the customer alone; a plan that is used up is nobody's fault.
    let plain = Policy::preset("baseline").unwrap();
    assert_eq!(told(&plain, "shop", Class::PortscanVertical, 0), ["shop nl-BE immediate"]);
    assert_eq!(told(&plain, "shop", Class::Quota, 0), ["shop nl-BE information"]);
}

#[test]
fn languages_are_those_that_the_provider_writes_in() {
    let two = policy("[notices]\nlanguages = [\"da\", \"en\"]\n");
    assert_eq!(told(&two, "shop", Class::Crash, 0), ["shop da immediate"]);
    let none = policy("language = \"fr\"\n");
    assert_eq!(told(&none, "alone", Class::Crash, 0), ["alone en immediate"]);
}

#[test]
fn what_is_only_observed_is_told_to_nobody_and_what_was_not_done_is_not_told_as_done() {
    let policy = Policy::preset("baseline").unwrap();
    let people = tenants();
    let office = Office { policy: &policy, tenants: &|id| people.get(id) };
    let rule = policy.rule_for(Class::PortscanVertical).unwrap();
    let violation = violation("shop", rule, Class::PortscanVertical);
    let enforced = decision(&policy, rule, 0, &violation);
    let observed = Decision { mode: Mode::Observe, ..enforced.clone() };
    assert_eq!(office.of_decision(&observed, Some(&violation)), []);
    assert_eq!(office.of_end(&observed, None, at(), false), []);
    let softened = Decision { action: Action::Notify, softened: Some("a brake".to_owned()), ..enforced };
    let [notice] = office.of_decision(&softened, Some(&violation)).try_into().unwrap();
    assert_eq!(notice.kind, NoticeKind::Warning);
    assert!(notice.text.contains("ongemoeid") && !notice.text.contains("brake"), "{}", notice.text);
}

#[test]
fn a_notice_has_one_key_however_often_it_is_made() {
    let policy = Policy::preset("baseline").unwrap();
    let people = tenants();
    let office = Office { policy: &policy, tenants: &|id| people.get(id) };
    let rule = policy.rule_for(Class::Quota).unwrap();
    let mut violation = violation("shop", rule, Class::Quota);
    violation.evidence.window.start = Month::of(at()).start();
    violation.evidence.metrics = vec![
        Metric { name: "bytes".into(), value: 1_000.0, threshold: Some(1_000.0) },
        Metric { name: "percent".into(), value: 100.0, threshold: Some(100.0) },
    ];
    let one = decision(&policy, rule, 0, &violation);
    let by_decision = office.of_decision(&one, Some(&violation));
    assert_eq!(by_decision, office.of_decision(&one, Some(&violation)));
    let usage = Usage { tenant: name("shop"), month: Month::of(at()), received: 900, sent: 200 };
    let by_usage = office.of_usage(&usage, 100, 1_000, at());
    assert_eq!(by_decision[0].id, by_usage[0].id, "a month's plan is told of once");
    assert_ne!(by_decision[0].id, office.of_usage(&usage, 80, 1_000, at())[0].id);
    assert_ne!(
        by_decision[0].id,
        office.of_usage(&usage, 100, 2_000, at())[0].id,
        "a larger plan is another"
    );
}

#[test]
fn who_is_suspended_is_told_whether_others_still_reach_it() {
    let people = tenants();
    for (inbound, arrives, is_refused) in
        [("keep", "ook antwoorden", false), ("cut", "weigeren wat anderen u sturen", true)]
    {
        let policy = policy(&format!("[suspension]\ninbound = \"{inbound}\"\n"));
        let office = Office { policy: &policy, tenants: &|id| people.get(id) };
        let notices = office.of_decision(&ordered(Until::Paid, "invoice 12"), None);
        assert!(notices[0].text.contains(arrives), "{}", notices[0].text);
        let is_told = |notice: &Notice| notice.text.contains("weigeren");
        assert!(notices.iter().all(|notice| is_told(notice) == is_refused), "{notices:?}");
    }
}

#[test]
fn a_notice_reads_well_in_each_language() {
    let text = "[calendar]\nutc_offset = \"+01:00\"\n\
         [notices]\ntell = [\"tenant\", \"parent\"]\nprovider = \"Example Hosting\"\ncontact = \"abuse@example.net\"\n\
         [[rule]]\nid = \"spam\"\non = [\"spam.*\"]\nalso = [\"p/mail\"]\nladder = [\n\
         { action = \"notify\", grace = \"2 working days\" },\n\
         { action = \"limit\", scope = \"tcp/25\", rate = \"10/minute\", until = \"1h\" } ]\n";
    let policy = policy(text);
    let people = tenants();
    let office = Office { policy: &policy, tenants: &|id| people.get(id) };
    let rule = policy.rule_for(Class::Spam).unwrap();
    let violation = violation("shop", rule, Class::Spam);
    let warned = office.of_decision(&decision(&policy, rule, 0, &violation), Some(&violation));
    insta::assert_snapshot!(
        "warning_da",
        format!("{}\n\n{}", warned[1].subject, warned[1].text).replace('\u{a0}', "_")
    );
    let limited = office.of_decision(&decision(&policy, rule, 1, &violation), Some(&violation));
    insta::assert_snapshot!(
        "limit_nl",
        format!("{}\n\n{}", limited[0].subject, limited[0].text).replace('\u{a0}', "_")
    );
    let ended = office.of_end(&ordered(Until::Paid, "invoice 12"), None, at(), true);
    insta::assert_snapshot!("end_nl", format!("{}\n\n{}", ended[0].subject, ended[0].text));
}

#[test]
fn mistakes_in_what_a_policy_says_of_notices_are_told_with_their_place() {
    let check = |lines: &str, expect: &str| {
        let text = format!("[policy]\nname = \"p\"\nversion = 1\nextends = \"baseline\"\n{lines}");
        let errors = Policy::parse("p.toml", &text).unwrap_err();
        assert!(errors.0[0].to_string().starts_with(expect), "{errors}\nis not\n{expect}");
    };
    check(
        "[notices]\ntell = [\"everybody\"]\n",
        "p.toml:6:9: `notices.tell[1]`: found \"everybody\"; allowed: a list of \"tenant\"",
    );
    check("[notices]\ntell = []\n", "p.toml:6:8: `notices.tell`: found a list; allowed: a list of");
    check("[notices]\nurgent = [\"floods\"]\n", "p.toml:6:11: `notices.urgent[1]`: found \"floods\"");
    check(
        "[notices]\nlanguages = [\"fr\"]\n",
        "p.toml:6:14: `notices.languages[1]`: found \"fr\"; allowed: a list of languages",
    );
    check("[notices]\nprovder = \"x\"\n", "p.toml:6:1: `notices.provder`: found a key that is not known");
    check(
        "[notices.texts.nl.subject]\nwarning = \"Let op {naam}\"\n",
        "p.toml:6:11: `notices.texts.nl.subject.warning`: found \"Let op {naam}\"; allowed: a text in which places are {tenant}",
    );
    check(
        "[notices.texts.nl.subject]\nwaring = \"x\"\n",
        "p.toml:6:1: `notices.texts.nl.subject.waring`: found a key",
    );
    check("[notices.texts.fr.short]\nspam = \"x\"\n", "p.toml:5:");
    let rule = |step: &str| {
        format!("[[rule]]\nid = \"r\"\non = [\"crash\"]\nladder = [{{ action = \"notify\", {step} }}]\n")
    };
    check(
        &rule("notice = \"loud\""),
        "p.toml:8:41: `rule[1].ladder[1].notice`: found \"loud\"; allowed: none, information, warning",
    );
    check(&rule("notice = \"lifted\""), "p.toml:8:41: `rule[1].ladder[1].notice`");
    check(
        &rule("until = \"month\""),
        "p.toml:8:40: `rule[1].ladder[1].until`: found \"month\"; allowed: \"month\" only",
    );
    check(
        &rule("tell = \"parent\""),
        "p.toml:8:39: `rule[1].ladder[1].tell`: found \"parent\"; allowed: a list",
    );
}

#[test]
fn a_providers_own_words_take_the_place_of_those_that_are_compiled_in() {
    let policy = policy(
        "[notices.texts.nl.subject]\nimmediate = \"{provider} over {tenant}: {short}\"\n[notices.texts.nl.short]\ncrash = \"rommel\"\n[notices]\nprovider = \"Wij\"\n",
    );
    let people = tenants();
    let office = Office { policy: &policy, tenants: &|id| people.get(id) };
    let rule = policy.rule_for(Class::Crash).unwrap();
    let violation = violation("shop", rule, Class::Crash);
    let [notice] =
        office.of_decision(&decision(&policy, rule, 0, &violation), Some(&violation)).try_into().unwrap();
    assert_eq!(notice.subject, "Wij over Shop B.V.: rommel");
}

/// What a reseller is told that its customers' doings are held against it: the rule's clause, its own steps, and what comes next of those.
#[test]
fn a_resellers_own_episode_is_told_by_the_rule_behind_it() {
    let policy = policy(
        "[notices]\ntell = [\"tenant\"]\n[[rule]]\nid = \"spam\"\nclause = \"p/mail\"\nalso = [\"p/good-name\"]\non = [\"spam.*\"]\n\
         parent = { violations = 2, within = \"30d\", ladder = [\n\
         { action = \"notify\", grace = \"2d\", notice = \"information\" },\n\
         { action = \"block\", scope = \"tcp/25\", until = \"released\", notice = \"final\" } ] }\n\
         ladder = [{ action = \"suspend\", until = \"1h\", notice = \"none\" }]\n",
    );
    let rule = policy.rule_for(Class::Spam).unwrap();
    let key = name("spam.parent");
    assert!(policy.rule(&key).is_none());
    let (behind, ladder) = policy.behind(&key).unwrap();
    assert_eq!((&behind.id, ladder.len()), (&rule.id, 2));
    assert!(policy.behind(&name("other.parent")).is_none() && policy.behind(&name("parent")).is_none());
    let derived = Rule { id: key, ladder: ladder.to_vec(), parent: None, ..rule.clone() };
    let violation = violation("reseller", &derived, Class::Spam);
    let people = tenants();
    let office = Office { policy: &policy, tenants: &|id| people.get(id) };
    let kinds: Vec<(String, NoticeKind)> = (0..2)
        .map(|step| {
            let decision = decision(&policy, &derived, step, &violation);
            let notices = office.of_decision(&decision, Some(&violation));
            assert_eq!(notices.len(), 1, "{notices:?}");
            assert_eq!(notices[0].recipient, name("reseller"));
            assert!(notices[0].text.contains("p/mail, p/good-name"), "{}", notices[0].text);
            check_words(&notices[0]);
            (notices[0].text.clone(), notices[0].kind)
        })
        .collect();
    // By its own steps, not by the customers' first, of which nobody would be told.
    assert_eq!(kinds[0].1, NoticeKind::Information);
    assert_eq!(kinds[1].1, NoticeKind::Final);
    // Neither its own machines did it, nor a person decided.
    assert!(
        kinds[0].0.contains("hvad dine kunder har gjort") && !kinds[0].0.contains("Din maskine"),
        "{}",
        kinds[0].0
    );
    assert!(kinds[0].0.contains("22"), "the day on which its time is over: {}", kinds[0].0);
    // Where the violation is not known the rule still says what it is about.
    let alone = office.of_decision(&decision(&policy, &derived, 1, &violation), None);
    assert_eq!(alone[0].kind, NoticeKind::Final);
    assert_eq!(
        alone[0].subject,
        office.of_decision(&decision(&policy, &derived, 1, &violation), Some(&violation))[0].subject
    );
    // The numbers that count are those of its customers.
    let mut counted = violation.clone();
    let metric = |name: &'static str, value| Metric { name: name.into(), value, threshold: Some(1.0) };
    counted.evidence.metrics = vec![metric("violations_of_customers", 5.0), metric("customers", 3.0)];
    for language in texts::languages() {
        let mut policy = policy.clone();
        policy.notices.languages = vec![language.clone()];
        let office = Office { policy: &policy, tenants: &|id| people.get(id) };
        let one = decision(&policy, &derived, 0, &counted);
        let [notice] = office.of_decision(&one, Some(&counted)).try_into().unwrap();
        assert!(notice.text.contains(": 5; ") && notice.text.contains(": 3."), "{}", notice.text);
        check_words(&notice);
        if language.as_str() == "en" {
            let expect =
                "This is about what customers of yours did, not about machines of your own: bulk mail.";
            assert!(notice.text.contains(expect) && !notice.text.contains("Your machine"), "{}", notice.text);
            assert!(office.explain(&one, None, None).reason.starts_with(expect));
        }
    }
}

/// A policy that does not have the step, or the rule, behind a decision does not make it a person's.
#[test]
fn what_a_policy_decided_is_never_told_as_decided_by_a_person() {
    let newer = policy(
        "[[rule]]\nid = \"mail\"\non = [\"spam.*\"]\nparent = { violations = 1, within = \"30d\", \
         ladder = [{ action = \"suspend\", until = \"released\" }] }\nladder = [{ action = \"notify\" }]\n",
    );
    let rule = newer.rule_for(Class::Spam).unwrap();
    let (_, ladder) = newer.behind(&name("mail.parent")).unwrap();
    let derived = Rule { id: name("mail.parent"), ladder: ladder.to_vec(), parent: None, ..rule.clone() };
    let violation = violation("reseller", &derived, Class::Spam);
    let people = tenants();
    let without_ladder =
        policy("[[rule]]\nid = \"mail\"\non = [\"spam.*\"]\nladder = [{ action = \"notify\" }]\n");
    for language in texts::languages() {
        for (older, knows_class) in [(&without_ladder, true), (&policy(""), true), (&policy(""), false)] {
            let mut older = older.clone();
            older.notices.languages = vec![language.clone()];
            let texts = texts::of(language, &older.notices.texts).unwrap();
            let office = Office { policy: &older, tenants: &|id| people.get(id) };
            let mut one = decision(&newer, &derived, 0, &violation);
            if !knows_class {
                one.reason = "no longer on record".to_owned();
            }
            let [notice] = office.of_decision(&one, None).try_into().unwrap();
            let explained = office.explain(&one, None, None).reason;
            let short = texts.word("short", if knows_class { "spam" } else { "automatic" });
            check_words(&notice);
            for text in [&notice.text, &explained] {
                assert!(text.contains(&short) && !text.contains(&one.reason), "{text}");
                assert!(!text.contains(&texts.word("happened", "manual")), "{text}");
            }
        }
    }
}
