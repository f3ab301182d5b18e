//! Explanations, by their exact words: what people on call will read.

use std::time::Duration;

use std::sync::Arc;

use super::*;
use crate::alert::{Alert, Loss, Metric, Outcome, TargetSeen, Window};
use crate::class::Class;
use crate::evidence::Dossier;
use crate::exemption::Exemption;
use crate::judge::{Judge, Judgement, Occupancy};
use crate::language::Policy;
use crate::net::{Protocol, Target};
use crate::pause::Pause;
use crate::tenant::{Profile, Tenant};
use crate::time::Timestamp;

const DAY: u64 = 86_400;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_795_521_600 + secs)
}

fn scan(secs: u64, hosts: f64, limit: f64) -> Alert {
    let target = Target { address: [20, 0, 0, 1].into(), protocol: Protocol::Tcp, port: Some(80) };
    let number = |name: &'static str, value, threshold| Metric { name: name.into(), value, threshold };
    Alert {
        class: Class::PortscanHorizontal,
        tenant: "a".parse().unwrap(),
        at: at(secs),
        window: Window { start: at(secs), end: at(secs) + Duration::from_secs(12) },
        metrics: vec![number("hosts", hosts, Some(limit)), number("unanswered", 0.975, Some(0.6))],
        confidence_percent: 95,
        targets: vec![TargetSeen { target, first: at(secs), last: at(secs), outcome: Outcome::Silent }],
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    }
}

const HEAD: &str = "[policy]\nname = \"x\"\nversion = 4\nmode = \"enforce\"\n";
const RULE: &str = "[[rule]]\nid = \"scan\"\non = [\"portscan.*\"]\n";
const LADDER: &str = "ladder = [{ action = \"notify\" }, { action = \"block\", until = \"1h\" }, \
                      { action = \"suspend\", until = \"released\" }]\n";

fn judge(text: &str) -> Judge {
    let policy = Policy::parse("x.toml", &format!("{HEAD}{text}")).unwrap();
    Judge::new("n1".parse().unwrap(), Mode::Enforce, Arc::new(policy))
}

/// Hands scans in; the dossier of the last violation.
fn play(judge: &mut Judge, tenant: &Tenant, scans: &[Alert]) -> Dossier {
    let mut dossier: Option<Dossier> = None;
    for scan in scans {
        judge.handle_timeout(scan.at);
        judge.handle_alert(scan, tenant, OCCUPANCY);
        drain(judge, &mut dossier);
    }
    dossier.unwrap()
}

const OCCUPANCY: Occupancy = Occupancy { tenants: 100, held: 0, is_held: false };

/// Takes what was judged into the dossier of the last violation.
fn drain(judge: &mut Judge, dossier: &mut Option<Dossier>) {
    while let Some(judgement) = judge.poll() {
        match (judgement, &mut *dossier) {
            (Judgement::Violation(violation), Some(kept)) if kept.violation.id == violation.id => {
                kept.see(&violation);
            }
            (Judgement::Violation(violation), kept) => *kept = Some(Dossier::new(violation)),
            (Judgement::Decision(decision), kept) => kept.as_mut().unwrap().decide(&decision),
            (Judgement::Excused(_) | Judgement::Braked(_), _) => {}
        }
    }
}

/// What is told of it, without the violation's key.
fn told(dossier: &Dossier) -> String {
    let text = Explanation::new(&dossier.violation, dossier.decisions()).to_string();
    text.replace(&dossier.violation.id.to_string(), "V")
}

fn tenant(profile: Profile) -> Tenant {
    Tenant { profile, ..Tenant::new("a".parse().unwrap()) }
}

#[test]
fn a_first_strike_says_what_it_was_measured_by_and_what_comes_next() {
    let text = format!(
        "{RULE}also = [\"x/attack\"]\nsevere = {{ times = 10 }}\n{LADDER}\
         [profile.crawler]\n\"portscan.*\" = 4\n[profile.web]\n\"portscan.*\" = 1.1\n"
    );
    let dossier = play(&mut judge(&text), &tenant(Profile::None), &[scan(0, 40.0, 25.0)]);
    insta::assert_snapshot!(told(&dossier), @r"
    violation  V
    tenant     a on n1
    rule       scan, clause x/scan; also x/attack
    strike     1, open
    latest     portscan.horizontal: hosts 40 (limit 25), unanswered 0.98 (limit 0.6) in 12 s, to 20.0.0.1 tcp/80

    decision V.1: notify (2026-11-24T12:00:00Z)
      policy     x@4
      number     portscan.horizontal: hosts 40 in 60 s, limit 25, 1.6 times it: the detector's default
      number     portscan.horizontal: unanswered 0.98, limit 0.6: the detector's default
      standing   strike 1 within 180d; not known for it
      step       1 of 3: notify, for strike 1
      next       step 2, block dst for 1h, if it goes on, from 2026-11-24T12:10:00Z at the earliest
      what would have changed it
        hosts below 25 in 60 s: nothing by this number
        profile crawler, whose limit is 100: nothing by this number
        10 times the limit or more: step 3, suspend all until released
        the next strike begins at step 2, block dst for 1h, or higher
    ");
}

#[test]
fn a_second_strike_soon_says_what_is_on_record() {
    let text = format!("{RULE}repeat = {{ within = \"7d\" }}\nmemory = \"30d\"\n{LADDER}");
    let scans = [scan(0, 30.0, 25.0), scan(29 * DAY, 30.0, 25.0), scan(31 * DAY, 30.0, 25.0)];
    let dossier = play(&mut judge(&text), &tenant(Profile::None), &scans);
    insta::assert_snapshot!(told(&dossier), @r"
    violation  V
    tenant     a on n1
    rule       scan, clause x/scan
    strike     2, open
    latest     portscan.horizontal: hosts 30 (limit 25), unanswered 0.98 (limit 0.6) in 12 s, to 20.0.0.1 tcp/80

    decision V.1: suspend all until released (2026-12-25T12:00:00Z)
      policy     x@4
      number     portscan.horizontal: hosts 30 in 60 s, limit 25, 1.2 times it: the detector's default
      number     portscan.horizontal: unanswered 0.98, limit 0.6: the detector's default
      standing   strike 2 within 30d, 2 days after the one before; one before no longer counts; not known for it
      step       3 of 3: suspend all until released, for it happened again soon
      what would have changed it
        hosts below 25 in 60 s: nothing by this number
        as a first strike: step 1, notify
        more than 7d after the strike before: step 2, block dst for 1h
        the next strike begins at step 3, suspend all until released, or higher
    ");
}

#[test]
fn a_limit_says_whose_it_is() {
    let text = format!(
        "{RULE}{LADDER}[thresholds.\"portscan.horizontal\"]\nhosts = 20\n[profile.web]\n\"portscan.*\" = 2\n\
         [tenant.a.thresholds.\"portscan.horizontal\"]\nunanswered = 0.7\n"
    );
    let number = |profile, limit, unanswered| {
        let mut scan = scan(0, 90.0, limit);
        scan.metrics[1].threshold = Some(unanswered);
        let dossier = play(&mut judge(&text), &tenant(profile), &[scan]);
        let explanation = Explanation::new(&dossier.violation, dossier.decisions());
        let numbers = explanation.decisions[0].told.iter().filter(|line| line.about == "number");
        numbers.map(|line| line.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        number(Profile::None, 20.0, 0.7),
        [
            "portscan.horizontal: hosts 90 in 60 s, limit 20, 4.5 times it: the policy's",
            "portscan.horizontal: unanswered 0.98, limit 0.7: the tenant's own (the policy's is 0.6)",
        ]
    );
    assert_eq!(
        number(Profile::Web, 40.0, 0.7)[0],
        "portscan.horizontal: hosts 90 in 60 s, limit 40, 2.25 times it: of profile web (the policy's is 20)"
    );
    assert_eq!(
        number(Profile::None, 33.0, 0.7)[0],
        "portscan.horizontal: hosts 90 in 60 s, limit 33, 2.73 times it: made by the detector of its numbers"
    );
}

#[test]
fn what_softened_it_and_what_went_on_is_told() {
    let mut judge = judge(&format!("{RULE}grace = \"5m\"\n{LADDER}"));
    let dossier = play(&mut judge, &tenant(Profile::None), &[scan(0, 30.0, 25.0), scan(300, 30.0, 25.0)]);
    insta::assert_snapshot!(told(&dossier), @r"
    violation  V
    tenant     a on n1
    rule       scan, clause x/scan
    strike     1, open
    latest     portscan.horizontal: hosts 30 (limit 25), unanswered 0.98 (limit 0.6) in 12 s, to 20.0.0.1 tcp/80

    decision V.1: notify (2026-11-24T12:00:00Z)
      policy     x@4
      number     portscan.horizontal: hosts 30 in 60 s, limit 25, 1.2 times it: the detector's default
      number     portscan.horizontal: unanswered 0.98, limit 0.6: the detector's default
      standing   strike 1 within 180d; not known for it
      step       1 of 3: notify, for strike 1
      next       step 2, block dst for 1h, if it goes on, from 2026-11-24T12:05:00Z at the earliest
      what would have changed it
        hosts below 25 in 60 s: nothing by this number
        the next strike begins at step 2, block dst for 1h, or higher

    decision V.2: block to 20.0.0.1 for 1h (2026-11-24T12:05:00Z)
      policy     x@4
      number     portscan.horizontal: hosts 30 in 60 s, limit 25, 1.2 times it: the detector's default
      number     portscan.horizontal: unanswered 0.98, limit 0.6: the detector's default
      standing   strike 1 within 180d; not known for it
      step       2 of 3: block dst for 1h, for it went on after step 1 at 2026-11-24T12:00:00Z, whose patience was over
      next       step 3, suspend all until released, if it goes on, from 2026-11-24T12:06:00Z at the earliest
      what would have changed it
        hosts below 25 in 60 s: nothing by this number
        had it ended before: no further step
        the next strike begins at step 2, block dst for 1h, or higher
    ");
    let mut known = tenant(Profile::None);
    known.id = "b".parse().unwrap();
    known.known_offender.insert(Class::PortscanHorizontal);
    let mut judge = self::judge(&format!("{RULE}known_offender = \"last\"\n{LADDER}"));
    judge.set_pause(Some(Pause::new("oncall", "look", at(0))));
    let mine = Alert { tenant: known.id.clone(), ..scan(10, 30.0, 25.0) };
    insta::assert_snapshot!(told(&play(&mut judge, &known, &[mine])), @r"
    violation  V
    tenant     b on n1
    rule       scan, clause x/scan
    strike     1, open
    latest     portscan.horizontal: hosts 30 (limit 25), unanswered 0.98 (limit 0.6) in 12 s, to 20.0.0.1 tcp/80

    decision V.1: notify (2026-11-24T12:00:10Z)
      policy     x@4
      number     portscan.horizontal: hosts 30 in 60 s, limit 25, 1.2 times it: the detector's default
      number     portscan.horizontal: unanswered 0.98, limit 0.6: the detector's default
      standing   strike 1 within 180d; known for it
      step       3 of 3: suspend all until released, for the tenant is known for portscan.horizontal
      softened   notify instead: paused by oncall since 2026-11-24T12:00:00Z: look
      what would have changed it
        hosts below 25 in 60 s: nothing by this number
        not being known for it: step 1, notify
        the next strike begins at step 3, suspend all until released, or higher
        had nothing softened it: step 3, suspend all until released, carried out
    ");
}

#[test]
fn who_observes_is_named_and_what_was_observed_is_told() {
    let mut tenant = tenant(Profile::None);
    tenant.mode = Some(Mode::Observe);
    let text = format!("{RULE}ladder = [{{ action = \"suspend\", until = \"released\" }}]\n");
    insta::assert_snapshot!(told(&play(&mut judge(&text), &tenant, &[scan(0, 30.0, 25.0)])), @r"
    violation  V
    tenant     a on n1
    rule       scan, clause x/scan
    strike     1, open
    latest     portscan.horizontal: hosts 30 (limit 25), unanswered 0.98 (limit 0.6) in 12 s, to 20.0.0.1 tcp/80

    decision V.1: suspend all until released, observed only (2026-11-24T12:00:00Z)
      policy     x@4
      number     portscan.horizontal: hosts 30 in 60 s, limit 25, 1.2 times it: the detector's default
      number     portscan.horizontal: unanswered 0.98, limit 0.6: the detector's default
      standing   strike 1 within 180d; not known for it
      step       1 of 1: suspend all until released, for strike 1
      mode       only told: the tenant observes
      what would have changed it
        hosts below 25 in 60 s: nothing by this number
        the next strike begins at step 1, suspend all until released, or higher
        had everybody let it be enforced: step 1, suspend all until released, carried out
    ");
}

#[test]
fn a_suspicion_and_what_older_agents_told_are_explained_as_far_as_it_goes() {
    let text = format!("{RULE}{LADDER}");
    let suspicion = Alert { is_suspicion: true, ..scan(0, 30.0, 25.0) };
    insta::assert_snapshot!(told(&play(&mut judge(&text), &tenant(Profile::None), &[suspicion])), @r"
    violation  V
    tenant     a on n1
    rule       scan, clause x/scan
    strike     none: it is only suspected
    latest     suspected portscan.horizontal: hosts 30 (limit 25), unanswered 0.98 (limit 0.6) in 12 s, to 20.0.0.1 tcp/80
    decided    nothing: a suspicion is told, and leads to no step until something confirms it
    ");
    let dossier = play(&mut judge(&text), &tenant(Profile::None), &[scan(0, 30.0, 25.0)]);
    let mut older = dossier.decisions()[0].clone();
    older.reckoning = None;
    // What an older agent wrote has no such field.
    let json = serde_json::to_value(&older).unwrap();
    assert!(json.get("reckoning").is_none());
    let older: Decision = serde_json::from_value(json).unwrap();
    let told = Explanation::new(&dossier.violation, &[older]).to_string();
    assert!(told.contains("why        portscan.horizontal: hosts 30 (limit 25)"), "{told}");
    assert!(told.contains("the agent did not tell more"), "{told}");
}

#[test]
fn what_is_kept_comes_back_as_it_was() {
    let text = format!("{RULE}severe = {{ times = 10 }}\nrepeat = {{ within = \"7d\" }}\n{LADDER}");
    let dossier = play(&mut judge(&text), &tenant(Profile::None), &[scan(0, 30.0, 25.0)]);
    let json = serde_json::to_string(&dossier).unwrap();
    assert_eq!(serde_json::from_str::<Dossier>(&json).unwrap(), dossier);
    let explanation = Explanation::new(&dossier.violation, dossier.decisions());
    let value = serde_json::to_value(&explanation).unwrap();
    assert_eq!(value["decisions"][0]["reckoning"]["cause"], "strikes");
    assert_eq!(value["decisions"][0]["reckoning"]["numbers"][0]["from"], "detector");
    assert_eq!(value["decisions"][0]["reckoning"]["otherwise"][0]["if"]["kind"], "below");
}

#[test]
fn an_exemption_that_nearly_applied_is_named_with_what_was_in_its_way() {
    let text = format!("{RULE}{LADDER}[[rule]]\nid = \"login\"\non = [\"bruteforce\"]\n{LADDER}");
    let exemption = |clause: &str, targets: &[&str], from: Option<&str>, until: Option<&str>| Exemption {
        id: None,
        clause: clause.parse().unwrap(),
        targets: targets.iter().map(|net| net.parse().unwrap()).collect(),
        ports: Vec::new(),
        reference: "ticket 1".into(),
        from: from.map(|text| text.parse().unwrap()),
        until: until.map(|text| text.parse().unwrap()),
    };
    let check = |exemption: Exemption, line: &str, otherwise: Option<&str>| {
        let tenant = Tenant { exemptions: vec![exemption.clone()], ..tenant(Profile::None) };
        let told = told(&play(&mut judge(&text), &tenant, &[scan(0, 40.0, 25.0)]));
        let line = format!("  exemption  {exemption} did not apply: {line}\n");
        assert!(told.contains(&line), "{line}\n{told}");
        match otherwise {
            Some(how) => {
                assert!(told.contains(&format!("    the exemption {exemption}: {how}, nothing\n")), "{told}")
            }
            None => assert!(!told.contains("    the exemption"), "{told}"),
        }
    };
    let (scanned, other) = ("20.0.0.0/24", "30.0.0.0/24");
    let (past, later) = (Some("2026-11-01T00:00:00Z"), Some("2026-12-01T00:00:00Z"));
    check(
        exemption("x/scan", &[scanned], None, past),
        "it had ended at 2026-11-01T00:00:00Z",
        Some("had it not ended"),
    );
    // Not for these targets even if it had not ended.
    check(exemption("x/scan", &[other], None, past), "it had ended at 2026-11-01T00:00:00Z", None);
    check(exemption("x/*", &[], later, None), "it begins at 2026-12-01T00:00:00Z", Some("had it begun"));
    check(
        exemption("x/scan", &[other], None, None),
        "it lists 0 of the 1 targets named",
        Some("had it listed all of its targets"),
    );
    check(
        exemption("x/login", &[scanned], None, None),
        "it is from another clause",
        Some("had it been from this clause"),
    );
    // One from another clause for others has nothing to do with it.
    let tenant =
        Tenant { exemptions: vec![exemption("x/login", &[other], None, None)], ..tenant(Profile::None) };
    let told = told(&play(&mut judge(&text), &tenant, &[scan(0, 40.0, 25.0)]));
    assert!(!told.contains("exemption"), "{told}");
}

#[test]
fn what_is_held_against_a_reseller_is_told_by_the_rule_behind_it_and_its_own_steps() {
    let text = format!(
        "{RULE}also = [\"x/attack\"]\nparent = {{ violations = 2, within = \"30d\", ladder = [\
         {{ action = \"notify\" }}, {{ action = \"suspend\", until = \"released\" }}] }}\n{LADDER}"
    );
    let mut judge = judge(&text);
    let reseller = Tenant::new("r".parse().unwrap());
    let child = Tenant { parent: Some(reseller.id.clone()), ..tenant(Profile::None) };
    let family = [Arc::new(reseller.clone()), Arc::new(child.clone())];
    judge.set_families(family.iter());
    let own = play(&mut judge, &child, &[scan(0, 40.0, 25.0), scan(2 * DAY, 40.0, 25.0)]);
    assert!(told(&own).contains("rule       scan, clause x/scan; also x/attack\n"), "{}", told(&own));
    let escalated = judge.poll_escalated().unwrap();
    judge.handle_escalated(&escalated, OCCUPANCY);
    let mut held = None;
    drain(&mut judge, &mut held);
    insta::assert_snapshot!(told(&held.unwrap()), @r"
    violation  V
    tenant     r on n1
    rule       scan.parent, held against the reseller for what its customers did by rule scan, clause x/scan; also x/attack
    strike     1, open
    latest     portscan.horizontal: violations of customers 2 (limit 2), customers 1 (limit 1) in 12 s, to 20.0.0.1 tcp/80

    decision V.1: notify (2026-11-26T12:00:00Z)
      policy     x@4
      number     portscan.horizontal: violations of customers 2 in 30d, limit 2: the policy's
      number     portscan.horizontal: customers 1, limit 1: the policy's
      standing   strike 1 within 180d; not known for it
      step       1 of 2: notify, for strike 1
      next       step 2, suspend all until released, if it goes on, from 2026-11-26T12:10:00Z at the earliest
      what would have changed it
        violations of customers below 2 in 30d: nothing by this number
        the next strike begins at step 2, suspend all until released, or higher
    ");
    // A rule whose own key ends so is told as what it is.
    let text =
        format!("[[rule]]\nid = \"scan.parent\"\nclause = \"x/scan\"\non = [\"portscan.*\"]\n{LADDER}");
    let plain = told(&play(&mut self::judge(&text), &tenant(Profile::None), &[scan(0, 40.0, 25.0)]));
    assert!(plain.contains("rule       scan.parent, clause x/scan\n"), "{plain}");
}
