//! Who was told what, and what holds a tenant, as text.

use reeve_proto::operator::v1::{NoticeEntry, PaidResponse};
use reeve_proto::status::v1::{Hold, hold};
use reeve_proto::types::v1::{Notice, NoticeKind, until};

use super::{cells, order, plain, table, when};

pub fn notices(entries: &[NoticeEntry], with_text: bool) -> String {
    if entries.is_empty() {
        return "nobody was told anything".to_owned();
    }
    if with_text {
        return entries.iter().map(whole).collect::<Vec<_>>().join("\n\n");
    }
    let mut rows = vec![cells(["NUMBER", "TO", "ABOUT", "KIND", "LANGUAGE", "WHEN", "SUBJECT"])];
    rows.extend(entries.iter().map(|entry| {
        let notice = entry.notice.clone().unwrap_or_default();
        vec![
            entry.number.to_string(),
            notice.recipient.clone(),
            notice.tenant.clone(),
            kind_word(notice.kind()).to_owned(),
            notice.language.clone(),
            when(notice.time),
            notice.subject,
        ]
    }));
    table(&rows)
}

fn whole(entry: &NoticeEntry) -> String {
    let notice = entry.notice.clone().unwrap_or_default();
    let text: Vec<String> = notice.text.lines().map(plain).collect();
    format!("{}  {}\n\n{}", entry.number, plain(&line(&notice)), text.join("\n"))
}

/// One line of a notice, for whoever watches.
pub fn line(notice: &Notice) -> String {
    let kind = kind_word(notice.kind());
    format!(
        "{}  {kind} notice to {} ({}): {}",
        notice.tenant, notice.recipient, notice.language, notice.subject
    )
}

fn kind_word(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Unspecified => "unknown",
        NoticeKind::Information => "information",
        NoticeKind::Warning => "warning",
        NoticeKind::Immediate => "immediate",
        NoticeKind::Final => "final",
        NoticeKind::Lifted => "lifted",
    }
}

pub fn cause_word(cause: hold::Cause) -> &'static str {
    match cause {
        hold::Cause::Unspecified => "unknown",
        hold::Cause::Abuse => "abuse",
        hold::Cause::Billing => "billing",
    }
}

/// Whose doing a hold is: an operator's by name, else why a policy did it.
fn held_by(hold: &Hold) -> String {
    match (hold.cause(), hold.ordered_by.as_str()) {
        (cause, "") => cause_word(cause).to_owned(),
        (hold::Cause::Billing, operator) => format!("billing, ordered by {operator}"),
        (_, operator) => format!("order of {operator}"),
    }
}

/// What ends a hold that has no end in time, in the policy's words.
pub fn ended_by(hold: &Hold) -> &'static str {
    let decided = hold.decided_until.and_then(|until| until.until);
    match (hold.cause(), decided) {
        (hold::Cause::Billing, _) => "paid",
        (_, Some(until::Until::Verified(_))) => "verified",
        _ => "released",
    }
}

/// All that holds a tenant: what, which of its traffic, how much is let through, until when, and who ordered it; where it is more than what is told of
/// already.
pub fn holds(holds: &[Hold]) -> Vec<(&'static str, String)> {
    // Of a single one most is told already.
    if let [only] = holds
        && only.rate.is_empty()
        && only.connections == 0
        && only.ordered_by.is_empty()
    {
        return Vec::new();
    }
    let one = |hold: &Hold| {
        let until = match hold.until {
            Some(until) => format!("until {}", when(Some(until))),
            None => format!("until {}", ended_by(hold)),
        };
        let action = reeve_proto::types::v1::Action::as_str_name(&hold.action());
        let action = action.trim_start_matches("ACTION_").to_lowercase();
        let scope = hold.scope.clone().and_then(|scope| reeve_policy::Scope::try_from(scope).ok());
        let scope = scope.map(|scope| format!(" {scope}")).unwrap_or_default();
        let rate = if hold.rate.is_empty() { String::new() } else { format!(" at {}", hold.rate) };
        let at_once = match hold.connections {
            0 => String::new(),
            number => format!(", {number} connections at a time,"),
        };
        let clause = if hold.clause.is_empty() { String::new() } else { format!(", {}", hold.clause) };
        let what = format!("{action}{scope}{rate}{at_once} {until}: {}", hold.reason);
        ("held by", format!("{}{clause}: {what}", held_by(hold)))
    };
    holds.iter().map(one).collect()
}

pub fn paid(tenant: &str, answer: &PaidResponse) -> String {
    if answer.ended.unwrap_or(answer.decisions) == 0 {
        return super::nothing_done(tenant, "nothing held it until an invoice is paid", &answer.nodes);
    }
    order(tenant, "paid, and open again as far as billing goes,", &answer.nodes)
}

#[cfg(test)]
mod tests {
    use reeve_proto::types;
    use reeve_proto::types::v1::Until;

    use super::*;

    #[test]
    fn what_holds_a_tenant_is_told_apart() {
        let abuse =
            Hold { cause: hold::Cause::Abuse.into(), action: 4, reason: "scan".into(), ..Hold::default() };
        let billing = Hold {
            cause: hold::Cause::Billing.into(),
            action: 4,
            reason: "invoice".into(),
            ..Hold::default()
        };
        assert_eq!(holds(std::slice::from_ref(&billing)), []);
        let told: Vec<String> = holds(&[abuse.clone(), billing]).into_iter().map(|(_, text)| text).collect();
        assert_eq!(told, ["abuse: suspend until released: scan", "billing: suspend until paid: invoice"]);
        let verified = until::Until::Verified(until::Verified {});
        let relay = Hold { decided_until: Some(Until { until: Some(verified) }), ..abuse };
        assert_eq!(ended_by(&relay), "verified");
        // A single one that says more than the lines above it.
        let scope = reeve_policy::Scope::Port { protocol: reeve_policy::Protocol::Tcp, port: 25 };
        let by_hand = Hold {
            scope: Some((&scope).into()),
            rate: "10/minute".into(),
            connections: 3,
            ordered_by: "oncall".into(),
            action: types::v1::Action::Limit.into(),
            ..relay
        };
        let told: Vec<String> = holds(&[by_hand]).into_iter().map(|(_, text)| text).collect();
        let expect =
            "order of oncall: limit tcp/25 at 10/minute, 3 connections at a time, until verified: scan";
        assert_eq!(told, [expect]);
    }

    #[test]
    fn a_payment_that_ended_nothing_says_so() {
        use reeve_proto::operator::v1::{NodeOrder, node_order};
        let node =
            NodeOrder { node: "n1".into(), state: node_order::State::Done.into(), detail: String::new() };
        let answer = PaidResponse { nodes: vec![node], ..PaidResponse::default() };
        assert_eq!(paid("a", &answer), "a: nothing held it until an invoice is paid");
        // By a step of a policy.
        let ended = PaidResponse { ended: Some(1), ..answer };
        assert_eq!(paid("a", &ended), "a: paid, and open again as far as billing goes, on n1");
    }

    #[test]
    fn notices_are_listed_and_their_texts_do_not_steer_the_terminal() {
        let notice = Notice {
            recipient: "r".into(),
            tenant: "t".into(),
            kind: NoticeKind::Warning.into(),
            language: "nl".into(),
            subject: "Graag uw aandacht".into(),
            text: "een\n\n\u{1b}[31mtwee".into(),
            ..Notice::default()
        };
        let entry = NoticeEntry { number: 7, notice: Some(notice), made_time: None };
        let listed = notices(std::slice::from_ref(&entry), false);
        assert!(listed.lines().nth(1).unwrap().starts_with("7       r   t      warning  nl"), "{listed}");
        let whole = notices(&[entry], true);
        assert!(whole.starts_with("7  t  warning notice to r (nl): Graag uw aandacht\n\neen\n\n"), "{whole}");
        assert!(!whole.contains('\u{1b}'));
        assert_eq!(notices(&[], false), "nobody was told anything");
    }
}
