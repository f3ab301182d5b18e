//! What is sent: which notice goes where, how far it is, and what came of it; and how to send again what was given up.

use askama::Template;
use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::{get, post};
use reeve_proto::operator::v1::{
    Delivery, DeliveryChannel, DeliveryState, ListDeliveriesRequest, ResendDeliveryRequest,
};
use serde::Deserialize;

use crate::App;
use crate::error::Error;
use crate::forms::Signed;
use crate::page::{self, Base, address};
use crate::session::Session;
use crate::shown::{self, Badge, Filter};

/// So many are on a page.
const PAGE: i32 = 50;

/// Where it is.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/outbox", get(list)).route("/outbox/resend", post(resend))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    state: String,
    channel: String,
    tenant: String,
    target: String,
    notice: String,
    number: String,
    page: String,
}

struct Row {
    delivery: Delivery,
    badge: Badge,
    channel: &'static str,
    is_dead: bool,
}

#[derive(Template)]
#[template(path = "outbox.html")]
struct Outbox {
    base: Base,
    asked: Asked,
    rows: Vec<Row>,
    next: String,
    key: String,
}

const STATES: [(&str, &str); 3] =
    [("dead", "outbox.dead"), ("pending", "outbox.pending"), ("sent", "outbox.sent")];
const CHANNELS: [(&str, &str); 3] =
    [("mail", "outbox.mail"), ("webhook", "outbox.webhook"), ("file", "outbox.file")];

impl Outbox {
    fn states(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        STATES.into_iter()
    }

    fn channels(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        CHANNELS.into_iter()
    }

    fn is_narrow(&self) -> bool {
        let all = [&self.asked.state, &self.asked.channel, &self.asked.tenant, &self.asked.target];
        all.into_iter().chain([&self.asked.notice, &self.asked.number]).any(|text| !text.is_empty())
    }
}

/// How far a delivery is.
pub(super) const fn state(state: DeliveryState) -> Badge {
    match state {
        DeliveryState::Unspecified => Badge { key: "shown.unknown", tone: "note" },
        DeliveryState::Pending => Badge { key: "outbox.pending", tone: "warn" },
        DeliveryState::Sent => Badge { key: "outbox.sent", tone: "good" },
        DeliveryState::Dead => Badge { key: "outbox.dead", tone: "bad" },
    }
}

/// By which way: the key of its word.
pub(super) const fn channel(channel: DeliveryChannel) -> &'static str {
    match channel {
        DeliveryChannel::Unspecified => "shown.unknown",
        DeliveryChannel::Mail => "outbox.mail",
        DeliveryChannel::Webhook => "outbox.webhook",
        DeliveryChannel::File => "outbox.file",
    }
}

/// Whether it is not tried any more.
pub(super) fn is_dead(delivery: &Delivery) -> bool {
    delivery.state() == DeliveryState::Dead
}

fn request(asked: &Asked) -> ListDeliveriesRequest {
    let mut filter = Filter::default();
    if STATES.iter().any(|(state, _)| *state == asked.state) {
        filter.also(format_args!("state = {}", asked.state));
    }
    if CHANNELS.iter().any(|(channel, _)| *channel == asked.channel) {
        filter.also(format_args!("channel = {}", asked.channel));
    }
    filter.text("tenant", asked.tenant.trim());
    filter.text("target", asked.target.trim());
    if let Ok(number) = asked.number.trim().parse::<u64>() {
        filter.also(format_args!("number = {number}"));
    }
    ListDeliveriesRequest {
        notice: asked.notice.trim().parse().unwrap_or(0),
        page_size: PAGE,
        page_token: asked.page.clone(),
        filter: filter.written(),
    }
}

async fn list(session: Session, Query(asked): Query<Asked>) -> Result<Response, Error> {
    let answer = session.api().operator().list_deliveries(request(&asked)).await?.into_inner();
    let next = match answer.next_page_token.as_str() {
        "" => String::new(),
        token => {
            let query = [
                ("state", asked.state.as_str()),
                ("channel", &asked.channel),
                ("tenant", &asked.tenant),
                ("target", &asked.target),
                ("notice", &asked.notice),
                ("number", &asked.number),
                ("page", token),
            ];
            address("/outbox", &[], &query)
        }
    };
    let row = |delivery: Delivery| Row {
        badge: state(delivery.state()),
        channel: channel(delivery.channel()),
        is_dead: is_dead(&delivery),
        delivery,
    };
    let rows = answer.deliveries.into_iter().map(row).collect();
    Ok(page::html(&Outbox { base: session.base("outbox"), asked, rows, next, key: shown::fresh_key() }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Again {
    number: String,
    key: String,
}

async fn resend(session: Session, Signed(again): Signed<Again>) -> Result<Response, Error> {
    let number = again.number.parse().map_err(|_| Error::Form(format!("number: {}", again.number)))?;
    let request = ResendDeliveryRequest { number, again: false, idempotency_key: again.key };
    let came = session.api().operator().resend_delivery(request).await;
    session.done(came, "/outbox", "outbox.is_resent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_question() {
        let asked = Asked {
            state: "dead".into(),
            channel: "mail".into(),
            target: "\"<x>\"@example.net".into(),
            notice: "7".into(),
            number: "x".into(),
            ..Asked::default()
        };
        let told = request(&asked);
        assert_eq!(told.filter, "state = dead AND channel = mail AND target = \"\\\"<x>\\\"@example.net\"");
        assert_eq!(told.notice, 7);
    }
}
