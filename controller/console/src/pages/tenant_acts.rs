//! What can be done about a tenant: each act with its reason, and what is severe on a page of its own that says what it means before it is done.
//!
//! Every act carries a key that was made with its form, so a form that is sent twice does nothing twice.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use prost_types::Duration as WireDuration;
use prost_types::Timestamp as WireTime;
use reeve_proto::operator::v1::{
    CreateExemptionRequest, ForgiveStrikesRequest, ImposeRequest, PaidRequest, ReleaseRequest,
    RevokeExemptionRequest, SuspendRequest, VerifyRequest,
};
use reeve_proto::status::v1::get_status_request::Subject;
use reeve_proto::status::v1::{GetStatusRequest, GetStatusResponse};
use reeve_proto::types::v1::{Action, Exemption, Scope, Target, scope};
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, Flash, address};
use crate::session::Session;
use crate::shown::{self, Badge};

/// The paths below a tenant's.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/tenants/{id}/release", post(release))
        .route("/tenants/{id}/paid", post(paid))
        .route("/tenants/{id}/verify", post(verify))
        .route("/tenants/{id}/suspend", get(ask_suspend).post(suspend))
        .route("/tenants/{id}/limit", get(ask_limit).post(limit))
        .route("/tenants/{id}/exempt", get(ask_exempt).post(exempt))
        .route("/tenants/{id}/forgive", post(forgive))
        .route("/tenants/{id}/revoke", post(revoke))
}

/// For how long something may hold, in seconds, each with the key of its word; 0 until somebody releases it.
const SPANS: [(i64, &str); 7] = [
    (0, "tenant.until_released"),
    (3_600, "tenant.for_1h"),
    (14_400, "tenant.for_4h"),
    (86_400, "tenant.for_1d"),
    (259_200, "tenant.for_3d"),
    (604_800, "tenant.for_7d"),
    (2_592_000, "tenant.for_30d"),
];

/// The page on which an act is asked for.
#[derive(Template)]
#[template(path = "tenant_act.html")]
struct Ask {
    base: Base,
    /// `suspend`, `limit` or `exempt`.
    act: &'static str,
    id: String,
    status: GetStatusResponse,
    badge: Badge,
    key: String,
}

impl Ask {
    fn back(&self) -> String {
        to(&self.id)
    }

    fn action(&self) -> String {
        address("/tenants", &[&self.id, self.act], &[])
    }

    fn spans(&self) -> impl Iterator<Item = (i64, &'static str)> {
        SPANS.into_iter()
    }
}

/// A form of an act upon a tenant. What an act has no field for is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Act {
    reason: String,
    clause: String,
    seconds: String,
    until_paid: String,
    sure: String,
    key: String,
    forgive: String,
    /// Of a limit: `limit` or `block`.
    action: String,
    rate: String,
    protocol: String,
    port: String,
    addresses: String,
    /// Of an exemption.
    targets: String,
    ports: String,
    reference: String,
    until: String,
    until_revoked: String,
    /// Of strikes.
    rule: String,
    /// Of an exemption that is taken back.
    exemption: String,
}

fn to(id: &str) -> String {
    address("/tenants", &[id], &[])
}

fn wrong(field: &str, found: &str) -> Error {
    Error::Form(format!("{field}: {found}"))
}

async fn ask(session: Session, id: String, act: &'static str) -> Result<Response, Error> {
    let request = GetStatusRequest { subject: Some(Subject::Tenant(id)) };
    let status = session.api().status().get_status(request).await?.into_inner();
    let badge = shown::standing(status.state());
    let (base, id, key) = (session.base("tenants"), status.tenant.clone(), shown::fresh_key());
    Ok(page::html(&Ask { base, act, id, status, badge, key }))
}

async fn ask_suspend(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    ask(session, id, "suspend").await
}

async fn ask_limit(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    ask(session, id, "limit").await
}

async fn ask_exempt(session: Session, Path(id): Path<String>) -> Result<Response, Error> {
    ask(session, id, "exempt").await
}

async fn release(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let forgive = !act.forgive.is_empty();
    let request = ReleaseRequest {
        tenant: id.clone(),
        reason: act.reason,
        idempotency_key: act.key,
        wait: true,
        forgive,
    };
    let came = session.api().operator().release(request).await;
    shown::told(&session, came, &to(&id), |base, done| {
        let mut text = match done.ended {
            Some(0) => base.t("tenant.nothing_held").to_owned(),
            _ => format!("{} {}", base.t("tenant.released"), shown::ordered(base, &done.nodes)),
        };
        if let Some(count) = done.forgiven.filter(|_| forgive) {
            text.push(' ');
            text.push_str(&base.fill("tenant.forgiven", &[&count]));
        }
        text
    })
}

async fn paid(session: Session, Path(id): Path<String>, Signed(act): Signed<Act>) -> Result<Response, Error> {
    let request =
        PaidRequest { tenant: id.clone(), reason: act.reason, idempotency_key: act.key, wait: true };
    let came = session.api().operator().paid(request).await;
    shown::told(&session, came, &to(&id), |base, done| match done.decisions {
        0 => base.t("tenant.nothing_unpaid").to_owned(),
        _ => format!("{} {}", base.t("tenant.is_paid"), shown::ordered(base, &done.nodes)),
    })
}

async fn verify(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let request = VerifyRequest { tenant: id.clone(), answer: None, idempotency_key: act.key, wait: true };
    let came = session.api().operator().verify(request).await;
    shown::told(&session, came, &to(&id), |base, done| {
        let checked = done.relay_checked.as_ref().and_then(|checked| checked.answer.as_ref());
        match checked {
            None => format!("{} {}", base.t("tenant.not_checked"), shown::ordered(base, &done.nodes)),
            Some(answer) => {
                base.fill("tenant.checked", &[&answer.server, &base.t(verdict(answer.verdict()))])
            }
        }
    })
}

/// What a mail server said: the key of its words.
pub(super) const fn verdict(verdict: reeve_proto::types::v1::CheckVerdict) -> &'static str {
    use reeve_proto::types::v1::CheckVerdict;
    match verdict {
        CheckVerdict::Accepted => "shown.relay_accepted",
        CheckVerdict::Refused => "shown.relay_refused",
        CheckVerdict::Deferred => "shown.relay_deferred",
        CheckVerdict::Unclear => "shown.relay_unclear",
        CheckVerdict::Unreachable => "shown.relay_unreachable",
        CheckVerdict::Unspecified => "shown.unknown",
    }
}

/// For how long, as the form says it; `None` until somebody releases it.
fn span(seconds: &str) -> Result<Option<WireDuration>, Error> {
    match seconds.parse::<i64>() {
        Ok(0) => Ok(None),
        Ok(seconds) if SPANS.iter().any(|(known, _)| *known == seconds) => {
            Ok(Some(WireDuration { seconds, nanos: 0 }))
        }
        _ => Err(wrong("seconds", seconds)),
    }
}

async fn suspend(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    if act.sure.is_empty() {
        return Err(Error::Form(session.base("").t("tenants.not_sure").to_owned()));
    }
    let until_paid = !act.until_paid.is_empty();
    let request = SuspendRequest {
        tenant: id.clone(),
        reason: act.reason,
        clause: act.clause.trim().to_owned(),
        duration: if until_paid { None } else { span(&act.seconds)? },
        idempotency_key: act.key,
        wait: true,
        until_paid,
    };
    let came = session.api().operator().suspend(request).await;
    shown::told(&session, came, &to(&id), |base, done| {
        format!("{} {}", base.t("tenant.is_suspended"), shown::ordered(base, &done.nodes))
    })
}

/// Which traffic a form means: a port, some addresses, or ports of addresses.
fn traffic(act: &Act) -> Result<Scope, Error> {
    let protocol = match act.protocol.as_str() {
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(wrong("protocol", other)),
    };
    let port = match act.port.trim() {
        "" => None,
        port => Some(u32::from(port.parse::<u16>().map_err(|_| wrong("port", port))?)),
    };
    let addresses: Vec<String> = words(&act.addresses);
    if let Some(bad) = addresses.iter().find(|one| one.parse::<std::net::IpAddr>().is_err()) {
        return Err(wrong("addresses", bad));
    }
    let scope = match (port, addresses.is_empty()) {
        (None, true) => scope::Scope::All(scope::All { forged: false }),
        (Some(port), true) => scope::Scope::Port(scope::Port { protocol, port }),
        (None, false) => scope::Scope::Destinations(scope::Destinations { addresses }),
        (Some(port), false) => {
            let target = |address| Target { address, protocol: protocol.clone(), port: Some(port) };
            let targets = addresses.into_iter().map(target).collect();
            scope::Scope::DestinationPorts(scope::DestinationPorts { targets })
        }
    };
    Ok(Scope { scope: Some(scope) })
}

/// What stands between blanks and commas.
fn words(text: &str) -> Vec<String> {
    text.split([' ', ',', '\n', '\r', '\t', ';']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

async fn limit(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let action = match act.action.as_str() {
        "limit" => Action::Limit,
        "block" => Action::Block,
        other => return Err(wrong("action", other)),
    };
    let request = ImposeRequest {
        tenant: id.clone(),
        action: action.into(),
        scope: Some(traffic(&act)?),
        rate: if action == Action::Limit { act.rate.trim().to_owned() } else { String::new() },
        duration: span(&act.seconds)?,
        reason: act.reason,
        clause: act.clause.trim().to_owned(),
        idempotency_key: act.key,
        wait: true,
    };
    let came = session.api().operator().impose(request).await;
    shown::told(&session, came, &to(&id), |base, done| {
        format!("{} {}", base.t("tenant.is_imposed"), shown::ordered(base, &done.nodes))
    })
}

/// The last second of a day (UTC), as browsers write days.
fn end_of(day: &str) -> Result<WireTime, Error> {
    let date: jiff::civil::Date = day.parse().map_err(|_| wrong("until", day))?;
    let end = date.at(23, 59, 59, 0).to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong("until", day))?;
    Ok(WireTime { seconds: end.timestamp().as_second(), nanos: 0 })
}

async fn exempt(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let until_revoked = !act.until_revoked.is_empty();
    let ports: Result<Vec<u32>, Error> = words(&act.ports)
        .iter()
        .map(|port| port.parse::<u16>().map(u32::from).map_err(|_| wrong("ports", port)))
        .collect();
    let exemption = Exemption {
        clause: act.clause.trim().to_owned(),
        targets: words(&act.targets),
        ports: ports?,
        reference: act.reference,
        until: if until_revoked { None } else { Some(end_of(&act.until)?) },
        ..Exemption::default()
    };
    let request = CreateExemptionRequest {
        tenant: id.clone(),
        exemption: Some(exemption),
        until_revoked,
        reason: act.reason,
        idempotency_key: act.key,
    };
    let came = session.api().standing().create_exemption(request).await;
    session.done(came, &to(&id), "tenant.is_exempt")
}

async fn forgive(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    let request = ForgiveStrikesRequest {
        tenant: id.clone(),
        rule: act.rule,
        reason: act.reason,
        idempotency_key: act.key,
        wait: true,
    };
    let came = session.api().standing().forgive_strikes(request).await;
    shown::told(&session, came, &to(&id), |base, done| {
        base.fill("tenant.forgiven", &[&done.forgiven.unwrap_or(0)])
    })
}

async fn revoke(
    session: Session,
    Path(id): Path<String>,
    Signed(act): Signed<Act>,
) -> Result<Response, Error> {
    if act.reason.trim().is_empty() {
        let text = session.base("").t("shown.reason_needed").to_owned();
        return Ok(session.back(&to(&id), &Flash { is_wrong: true, text }));
    }
    let request = RevokeExemptionRequest { id: act.exemption, reason: act.reason };
    let came = session.api().standing().revoke_exemption(request).await;
    session.done(came, &to(&id), "tenant.is_revoked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(protocol: &str, port: &str, addresses: &str) -> Act {
        Act { protocol: protocol.into(), port: port.into(), addresses: addresses.into(), ..Act::default() }
    }

    #[test]
    fn traffic_is_what_the_fields_say_together() {
        let told = |act: &Act| traffic(act).map(|scope| shown::scope(Some(&scope))).map_err(|_| ());
        assert_eq!(told(&act("tcp", "", "")), Ok("all".into()));
        assert_eq!(told(&act("tcp", " 25 ", "")), Ok("tcp/25".into()));
        assert_eq!(told(&act("udp", "", "192.0.2.1")), Ok("to 192.0.2.1".into()));
        assert!(
            told(&act("udp", "53", "192.0.2.1, 2001:db8::1")).is_ok_and(|told| told.ends_with("and 1 more"))
        );
        for wrong in [act("icmp", "", ""), act("tcp", "65536", ""), act("tcp", "25", "example.net")] {
            assert_eq!(told(&wrong), Err(()));
        }
    }

    #[test]
    fn only_spans_of_the_form_are_taken() {
        assert!(span("0").is_ok_and(|span| span.is_none()));
        assert!(span("3600").is_ok_and(|span| span.is_some_and(|span| span.seconds == 3_600)));
        for wrong in ["", "-1", "5", "1e9"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_exemption_lasts_to_the_end_of_its_day() {
        assert!(end_of("2026-11-23").is_ok_and(|at| at.seconds == 1_795_478_399));
        assert!(end_of("soon").is_err());
    }
}
