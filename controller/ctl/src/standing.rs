//! What is held against tenants, and what they may do by written permission: calls, and their answers shown.

use reeve_policy::{Exemption, Name};
use reeve_proto::operator::v1::{
    CreateExemptionRequest, ExemptionState, ForgiveStrikesRequest, GetStandingRequest, GetStandingResponse,
    GrantedExemption, ListExemptionsRequest, RevokeExemptionRequest, StandingHold, StrikesByRule,
    WaitingOrder,
};
use reeve_proto::types;
use serde_json::{Value, json};

use crate::args::{ExemptArgs, ExemptionsCommand};
use crate::client::CallError;
use crate::commands::{Call, done};
use crate::json::{self, at, own};
use crate::show::{cells, facts, now, order, state_word, table, when};

/// So many are asked for at once.
const PAGE: i32 = 1_000;

impl Call {
    pub(crate) async fn exempt(&self, asked: ExemptArgs) -> Result<(), CallError> {
        let tenant = self.tenant(asked.tenant).await?;
        let until = asked.end.at(now());
        let exemption = Exemption {
            id: None,
            clause: asked.clause,
            targets: asked.to,
            ports: asked.port,
            reference: asked.reference,
            from: asked.from,
            until,
        };
        let request = CreateExemptionRequest {
            tenant,
            exemption: Some((&exemption).into()),
            until_revoked: until.is_none(),
            reason: asked.reason,
            idempotency_key: asked.repeat.request_key,
        };
        let done = self.controller.standing().create_exemption(self.request(request)).await?.into_inner();
        let granted = done.exemption.ok_or(CallError::Answer("it holds no exemption"))?;
        let text = || {
            let (key, line) = line(granted.exemption.as_ref());
            format!(
                "{} is exempt from {line}\nto take it back: reevectl exemptions revoke {key}",
                granted.tenant
            )
        };
        self.tell(|| granted_json(&granted), text)
    }

    pub(crate) async fn exemptions(
        &self,
        tenant: Option<Name>,
        all: bool,
        command: Option<ExemptionsCommand>,
    ) -> Result<(), CallError> {
        if let Some(ExemptionsCommand::Revoke { id, reason }) = command {
            let request = self.request(RevokeExemptionRequest { id: id.to_string(), reason });
            let done = self.controller.standing().revoke_exemption(request).await?.into_inner();
            let revoked = done.exemption.ok_or(CallError::Answer("it holds no exemption"))?;
            let text = || {
                let when = when(revoked.revoke_time);
                format!("{id} of {} is taken back since {when}, by {}", revoked.tenant, revoked.revoked_by)
            };
            return self.tell(|| granted_json(&revoked), text);
        }
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListExemptionsRequest {
                page_size: PAGE,
                page_token,
                tenant: tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
                include_over: all,
                ..Default::default()
            };
            let page = self.controller.standing().list_exemptions(self.request(request)).await?.into_inner();
            found.extend(page.exemptions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let json = || json!({ "exemptions": found.iter().map(granted_json).collect::<Vec<_>>() });
        self.tell(json, || granted_text(&found))
    }

    pub(crate) async fn forgive(&self, request: ForgiveStrikesRequest) -> Result<(), CallError> {
        let (tenant, wait) = (request.tenant.clone(), request.wait);
        let answer = self.controller.standing().forgive_strikes(self.request(request)).await?.into_inner();
        let json = || {
            let mut value = json::order(&tenant, &answer.order, &answer.nodes);
            value["forgiven"] = answer.forgiven.into();
            value
        };
        let text = || {
            let told = order(&tenant, "strikes taken back", &answer.nodes);
            match answer.forgiven {
                Some(0) => format!("{told}\nthe controller knew of none that counted"),
                Some(count) => format!("{told}\nepisodes that count no longer: {count}"),
                None => told,
            }
        };
        self.tell(json, text)?;
        done(&answer.nodes, wait)
    }

    pub(crate) async fn standing(&self, subject: String) -> Result<(), CallError> {
        let tenant = self.tenant(subject).await?;
        let request = self.request(GetStandingRequest { tenant });
        let answer = self.controller.standing().get_standing(request).await?.into_inner();
        self.tell(|| standing_json(&answer), || standing_text(&answer))
    }
}

const fn word(state: ExemptionState) -> &'static str {
    match state {
        ExemptionState::Unspecified => "unknown",
        ExemptionState::Pending => "pending",
        ExemptionState::InForce => "in force",
        ExemptionState::Over => "over",
        ExemptionState::Revoked => "revoked",
    }
}

/// The same for programs.
fn key(state: ExemptionState) -> String {
    word(state).replace(' ', "_")
}

/// An exemption's key, and all else in one line.
fn line(wire: Option<&types::v1::Exemption>) -> (String, String) {
    let known = wire.cloned().and_then(|wire| Exemption::try_from(wire).ok());
    let key = known.as_ref().and_then(|one| one.id.as_ref()).map(ToString::to_string).unwrap_or_default();
    (key, known.map(|one| one.to_string()).unwrap_or_default())
}

fn exemption_json(wire: Option<&types::v1::Exemption>) -> Value {
    own(wire.cloned().and_then(|wire| Exemption::try_from(wire).ok()))
}

fn granted_json(granted: &GrantedExemption) -> Value {
    json!({
        "tenant": granted.tenant,
        "exemption": exemption_json(granted.exemption.as_ref()),
        "state": key(granted.state()),
        "reason": granted.reason,
        "grant_time": at(granted.grant_time),
        "granted_by": granted.granted_by,
        "revoke_time": at(granted.revoke_time),
        "revoked_by": granted.revoked_by,
        "revoke_reason": granted.revoke_reason,
    })
}

fn granted_text(all: &[GrantedExemption]) -> String {
    if all.is_empty() {
        return "operators granted no exemption that holds".to_owned();
    }
    let mut rows = vec![cells(["EXEMPTION", "TENANT", "STATE", "FROM WHAT", "GRANTED", "BY", "WHY"])];
    rows.extend(all.iter().map(|one| {
        let (key, line) = line(one.exemption.as_ref());
        let (state, given, by) = (word(one.state()).to_owned(), when(one.grant_time), one.granted_by.clone());
        vec![key, one.tenant.clone(), state, line, given, by, one.reason.clone()]
    }));
    table(&rows)
}

fn standing_json(answer: &GetStandingResponse) -> Value {
    let hold = |hold: &StandingHold| {
        json!({
            "decision": own(hold.decision.clone().and_then(|one| reeve_policy::Decision::try_from(one).ok())),
            "since": at(hold.since_time),
            "until": at(hold.until_time),
            "nodes": hold.nodes,
        })
    };
    let rule = |rule: &StrikesByRule| {
        let episodes = rule.episodes.iter().map(|one| {
            json!({ "node": one.node, "open_time": at(one.open_time), "close_time": at(one.close_time), "number": one.number })
        });
        json!({ "rule": rule.rule, "strikes": rule.strikes, "episodes": episodes.collect::<Vec<_>>() })
    };
    let exemptions = answer
        .exemptions
        .iter()
        .map(|one| json!({ "exemption": exemption_json(one.exemption.as_ref()), "state": key(one.state()) }));
    let waiting = |one: &WaitingOrder| {
        json!({
            "order": one.order,
            "node": one.node,
            "kind": one.kind,
            "order_time": at(one.order_time),
            "decision": own(one.decision.clone().and_then(|one| reeve_policy::Decision::try_from(one).ok())),
        })
    };
    json!({
        "tenant": answer.tenant,
        "name": answer.name,
        "parent": Some(&answer.parent).filter(|parent| !parent.is_empty()),
        "state": state_word(answer.state()),
        "holds": answer.holds.iter().map(hold).collect::<Vec<_>>(),
        "strikes": answer.strikes.iter().map(rule).collect::<Vec<_>>(),
        "known_offender": answer.known_offender,
        "exemptions": exemptions.collect::<Vec<_>>(),
        "waiting_orders": answer.waiting_orders.iter().map(waiting).collect::<Vec<_>>(),
    })
}

fn standing_text(answer: &GetStandingResponse) -> String {
    let mut text = facts(&[
        ("tenant", format!("{} {}", answer.tenant, answer.name).trim_end().to_owned()),
        ("reseller", answer.parent.clone()),
        ("state", state_word(answer.state()).to_owned()),
        ("known for", answer.known_offender.join(", ")),
    ]);
    let mut part = |title: &str, head: Vec<String>, rows: Vec<Vec<String>>| {
        if rows.is_empty() {
            return;
        }
        let indented: String =
            table(&[vec![head], rows].concat()).lines().map(|line| format!("  {line}\n")).collect();
        text.push_str(&format!("{title}\n{indented}"));
    };
    let holds = answer.holds.iter().filter_map(|hold| {
        let decision = reeve_policy::Decision::try_from(hold.decision.clone()?).ok()?;
        let until = hold.until_time.map_or_else(|| "-".to_owned(), |until| when(Some(until)));
        let what = format!("{} {}", decision.action, decision.scope);
        Some(vec![what, decision.clause, decision.reason, when(hold.since_time), until, hold.nodes.join(" ")])
    });
    part("held by", cells(["WHAT", "CLAUSE", "REASON", "SINCE", "UNTIL", "NODES"]), holds.collect());
    let waiting = answer.waiting_orders.iter().map(|one| {
        let decision =
            one.decision.clone().and_then(|decision| reeve_policy::Decision::try_from(decision).ok());
        let what = decision
            .map_or_else(|| one.kind.clone(), |decision| format!("{} {}", decision.action, decision.scope));
        vec![what, one.node.clone(), when(one.order_time), one.order.clone()]
    });
    part("ordered, and not carried out yet", cells(["WHAT", "NODE", "WHEN", "ORDER"]), waiting.collect());
    let strikes = answer.strikes.iter().map(|rule| {
        let last = rule.episodes.last();
        let nodes: std::collections::BTreeSet<&str> =
            rule.episodes.iter().map(|one| one.node.as_str()).collect();
        let seen = last.map_or_else(String::new, |one| when(one.open_time));
        let nodes = nodes.into_iter().collect::<Vec<_>>().join(" ");
        vec![rule.rule.clone(), rule.strikes.to_string(), seen, nodes]
    });
    part("strikes", cells(["RULE", "STRIKES", "LAST", "NODES"]), strikes.collect());
    let exemptions = answer.exemptions.iter().map(|one| {
        let (key, line) = line(one.exemption.as_ref());
        let key = if key.is_empty() { "its entry".to_owned() } else { key };
        vec![key, word(one.state()).to_owned(), line]
    });
    part("exempt", cells(["EXEMPTION", "STATE", "FROM WHAT"]), exemptions.collect());
    text
}

#[cfg(test)]
mod tests {
    use reeve_proto::operator::v1::{StandingExemption, StrikeOnNode};
    use reeve_proto::types::v1::Exemption as Wire;

    use super::*;

    #[test]
    fn a_standing_is_told_part_by_part_and_empty_parts_are_left_out() {
        let clear = GetStandingResponse {
            tenant: "alice".into(),
            state: reeve_proto::status::v1::State::Clear.into(),
            ..Default::default()
        };
        assert_eq!(standing_text(&clear), "tenant  alice\nstate   clear\n");
        let wire = |id: &str, reference: &str| Wire {
            id: id.into(),
            clause: "p/scan".into(),
            reference: reference.into(),
            ..Default::default()
        };
        let exempt = |exemption| StandingExemption {
            exemption: Some(exemption),
            state: ExemptionState::InForce.into(),
        };
        let episode = |node: &str| StrikeOnNode { node: node.into(), number: 1, ..Default::default() };
        let told = GetStandingResponse {
            parent: "shop".into(),
            known_offender: vec!["spam".into()],
            strikes: vec![StrikesByRule {
                rule: "scan".into(),
                strikes: 1,
                episodes: vec![episode("n2"), episode("n1")],
            }],
            exemptions: vec![exempt(wire("", "her contract")), exempt(wire("E1", "letter 7"))],
            waiting_orders: vec![WaitingOrder {
                order: "O1".into(),
                node: "n3".into(),
                kind: "release".into(),
                ..Default::default()
            }],
            ..clear
        };
        let expect = "tenant     alice\nreseller   shop\nstate      clear\nknown for  spam\n\
            ordered, and not carried out yet\n  WHAT     NODE  WHEN  ORDER\n  release  n3    -     O1\n\
            strikes\n  RULE  STRIKES  LAST  NODES\n  scan  1        -     n1 n2\n\
            exempt\n  EXEMPTION  STATE     FROM WHAT\n\
            \x20 its entry  in force  p/scan, by her contract, until it is revoked\n\
            \x20 E1         in force  p/scan, by letter 7, until it is revoked\n";
        assert_eq!(standing_text(&told), expect);
        let value = standing_json(&told);
        assert_eq!(value["strikes"][0]["episodes"][1]["node"], "n1");
        assert_eq!(value["exemptions"][1]["exemption"]["id"], "E1");
        assert_eq!(value["exemptions"][1]["state"], "in_force");
        assert_eq!(value["waiting_orders"][0]["kind"], "release");
    }
}
