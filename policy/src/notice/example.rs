//! What a policy's letters look like: those of a customer whom there is not, about what nobody did.
//!
//! Every step of every rule is told as if it were taken, with numbers and addresses that are kept for documentation (RFC 5737), and then its end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Notice, Office};
use crate::alert::{Alert, Loss, Metric, Outcome, TargetSeen, Window};
use crate::class::Class;
use crate::decision::{Decision, DecisionId, Origin, Scope};
use crate::language::{Policy, Rule, ScopeRule, Step};
use crate::net::{Protocol, Target};
use crate::tenant::{Mode, Name, NodeId, Tenant, TenantId};
use crate::time::Timestamp;
use crate::violation::{Violation, ViolationId, ViolationState};

/// 1 December 2026, at noon.
const AT: Timestamp = Timestamp::from_secs(1_796_126_400);
/// Whoever is tried out.
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// A letter that a policy would have written.
#[derive(Clone, Debug)]
pub struct Example {
    /// By which rule.
    pub rule: Name,
    /// Of which clause.
    pub clause: String,
    /// By which step, from 1 on.
    pub step: usize,
    /// It.
    pub notice: Notice,
}

/// The letters of a policy to a customer who reads `language`, of the rules whose key or clause is `only`, or of all.
#[must_use]
pub fn examples(policy: &Policy, language: Option<&Name>, only: Option<&str>) -> Vec<Example> {
    let id = |text: &str| text.parse::<TenantId>().expect("letters and dashes are a name");
    let customer = Tenant {
        name: "Example Customer".to_owned(),
        addresses: ["203.0.113.10/32"].iter().filter_map(|text| text.parse().ok()).collect(),
        parent: Some(id("example-reseller")),
        language: language.cloned(),
        ..Tenant::new(id("example-customer"))
    };
    let reseller = Tenant {
        name: "Example Reseller".to_owned(),
        language: language.cloned(),
        ..Tenant::new(id("example-reseller"))
    };
    let who = |asked: &TenantId| [&customer, &reseller].into_iter().find(|tenant| tenant.id == *asked);
    let office = Office { policy, tenants: &who };
    let mut all = Vec::new();
    for rule in &policy.rules {
        let is_meant = only.is_none_or(|only| rule.id.as_str() == only || rule.clause == only);
        let Some(class) = rule.on.first().copied().filter(|_| is_meant) else { continue };
        let violation = violation(rule, class, &customer.id);
        for (index, step) in rule.ladder.iter().enumerate() {
            let decision = decision(policy, (rule, index, step), &violation);
            let mut notices = office.of_decision(&decision, Some(&violation));
            notices.extend(office.of_end(&decision, Some(class), AT + Duration::from_secs(3_600), false));
            let example = |notice| Example {
                rule: rule.id.clone(),
                clause: rule.clause.clone(),
                step: index + 1,
                notice,
            };
            all.extend(notices.into_iter().map(example));
        }
    }
    all
}

fn violation(rule: &Rule, class: Class, tenant: &TenantId) -> Violation {
    let (number, port) = match class.family() {
        "portscan" => ("hosts", 22),
        "flood" | "udp_stream" => ("packets_per_second", 443),
        "spam" | "smtp_relay" => ("messages", 25),
        "api_burst" => ("calls_per_second", 443),
        "crawl" => ("requests_per_second", 443),
        _ => ("targets", 22),
    };
    let target = Target { address: TARGET, protocol: Protocol::Tcp, port: Some(port) };
    let node: NodeId = "example-node".parse().expect("letters and dashes are a name");
    let evidence = Alert {
        class,
        tenant: tenant.clone(),
        at: AT,
        window: Window { start: AT.minus(Duration::from_secs(60)), end: AT },
        metrics: vec![Metric { name: number.into(), value: 120.0, threshold: Some(25.0) }],
        confidence_percent: 99,
        targets: vec![TargetSeen { target, first: AT, last: AT, outcome: Outcome::Unknown }],
        samples: Vec::new(),
        loss: Loss::default(),
        is_suspicion: false,
    };
    Violation {
        id: ViolationId::new(&node, tenant, &rule.id, AT),
        node,
        tenant: tenant.clone(),
        rule: rule.id.clone(),
        clause: rule.clause.clone(),
        opened: AT,
        last_seen: AT,
        closed: None,
        state: ViolationState::Open,
        strike: 1,
        alerts: 1,
        evidence,
    }
}

fn decision(policy: &Policy, (rule, index, step): (&Rule, usize, &Step), violation: &Violation) -> Decision {
    let targets: Vec<Target> = violation.evidence.targets.iter().map(|seen| seen.target).collect();
    let scope = match step.scope {
        ScopeRule::All => Scope::All,
        ScopeRule::Port(protocol, port) => Scope::Port { protocol, port },
        ScopeRule::Destinations => Scope::Destinations { addresses: vec![TARGET] },
        ScopeRule::DestinationPorts => Scope::DestinationPorts { targets },
        ScopeRule::Endpoint => Scope::Endpoint {
            name: "example-api".parse().expect("letters and dashes are a name"),
            addresses: vec![TARGET.into()],
            ports: vec![443],
        },
        ScopeRule::Forged => Scope::Forged,
    };
    let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
    let key = format!("{}.{number}", violation.id);
    Decision {
        id: DecisionId(key.parse().expect("a violation's key, a dot and a number are a name")),
        tenant: violation.tenant.clone(),
        violation: Some(violation.id.clone()),
        clause: rule.clause.clone(),
        origin: Origin::Policy {
            policy: policy.name.clone(),
            version: policy.version,
            rule: rule.id.clone(),
            step: number,
        },
        action: step.action,
        scope,
        rate: step.rate,
        connections: step.connections,
        until: step.until.settled(AT),
        at: AT,
        mode: Mode::Enforce,
        reason: String::new(),
        softened: None,
        reckoning: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_every_preset_has_letters_in_every_language() {
        for (preset, _) in Policy::PRESETS {
            let policy = Policy::preset(preset).unwrap();
            for language in ["nl", "da", "en"] {
                let language: Name = language.parse().unwrap();
                let mut policy = policy.clone();
                policy.notices.languages.clear();
                let all = examples(&policy, Some(&language), None);
                for example in &all {
                    let notice = &example.notice;
                    assert_eq!(notice.language, language);
                    assert!(!notice.subject.is_empty() && !notice.text.contains(['{', '}']), "{notice:?}");
                }
                let told = |rule: &Rule| all.iter().any(|example| example.rule == rule.id);
                assert!(policy.rules.iter().any(told), "{preset}");
            }
        }
    }

    #[test]
    fn letters_are_of_the_rules_that_are_asked_for_and_in_words_of_ones_own() {
        let mut policy = Policy::preset("oxygis").unwrap();
        let language: Name = "da".parse().unwrap();
        let file = "language = \"da\"\n[subject]\nwarning = \"PAS PÅ, {tenant}\"\n";
        policy.add_texts("own.toml", file).unwrap();
        let of_clause = examples(&policy, Some(&language), Some("oxygis/api"));
        assert!(!of_clause.is_empty() && of_clause.iter().all(|example| example.clause == "oxygis/api"));
        assert!(of_clause[0].notice.text.contains("120"), "{}", of_clause[0].notice.text);
        assert!(examples(&policy, None, Some("oxygis/none")).is_empty());
        policy.notices.languages.clear();
        let danish = examples(&policy, Some(&language), Some("api"));
        assert_eq!(danish[0].notice.subject, "PAS PÅ, Example Customer");
        // Each mistake is told with its place, and what is allowed.
        let wrong = "language = \"da\"\n[subject]\nwarning = \"{tennant}\"\n";
        let told = policy.add_texts("own.toml", wrong).unwrap_err().to_string();
        assert!(told.contains("own.toml:3:11: `subject.warning`: found \"{tennant}\""), "{told}");
        assert!(told.contains("{tenant}, {short}"), "{told}");
        let told = policy.add_texts("own.toml", "language = \"fr\"\n").unwrap_err().to_string();
        assert!(told.contains("all texts"), "{told}");
    }
}
