//! What happens, as it happens: server-sent events, a line of HTML each.
//!
//! A feed ends after a minute, and the browser asks again by itself: a session that was ended meanwhile gets no other one. Whoever is too slow, or comes again,
//! is told to look at everything anew.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use prost_types::Timestamp;
use reeve_proto::operator::v1::watch_response::Event as What;
use reeve_proto::operator::v1::{WatchRequest, WatchResponse};
use reeve_proto::types::v1::{Decision, Violation};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::App;
use crate::error::Error;
use crate::page::Base;
use crate::session::Session;
use crate::shown;

/// The most feeds of one person, and of all.
const OF_ONE: usize = 8;
const OF_ALL: usize = 256;
/// How long one lasts.
const LIFE: Duration = Duration::from_secs(60);
/// Events that wait for a browser.
const WINDOW: usize = 64;
/// The rest of the page is loaded again no more often.
const SETTLE: Duration = Duration::from_millis(700);
/// A proxy is shown that something lives so often.
const BEAT: Duration = Duration::from_secs(15);
/// After so long a browser asks again.
const AGAIN: Duration = Duration::from_millis(300);

/// How many live feeds there are, by whose they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feeds(Arc<Mutex<HashMap<String, usize>>>);

/// A place among the feeds, until it is dropped.
struct Place(Feeds, String);

impl Feeds {
    fn enter(&self, name: &str) -> Option<Place> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.values().sum::<usize>() >= OF_ALL || feeds.get(name).is_some_and(|own| *own >= OF_ONE) {
            return None;
        }
        *feeds.entry(name.to_owned()).or_default() += 1;
        drop(feeds);
        Some(Place(self.clone(), name.to_owned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut feeds = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = feeds.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                feeds.remove(&self.1);
            }
        }
    }
}

/// Something that happened, for people.
#[derive(Template)]
#[template(path = "now_line.html")]
struct Line<'a> {
    base: &'a Base,
    at: Option<Timestamp>,
    /// How grave it is: a class of the style sheet.
    tone: &'static str,
    /// The key of what happened.
    key: &'static str,
    tenant: &'a str,
    node: &'a str,
    violation: &'a str,
    detail: String,
}

/// Serves the feed.
pub(super) async fn serve(State(app): State<App>, session: Session) -> Result<Response, Error> {
    let Some(place) = app.feeds.enter(session.name()) else {
        // The browser does not ask again; the page renews itself by and by.
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let mut watched = session.api().operator().watch(WatchRequest::default()).await?.into_inner();
    let base = session.base("now");
    let (sender, events) = mpsc::channel(WINDOW);
    tokio::spawn(async move {
        let telling = async {
            sender.send(changed().retry(AGAIN)).await.ok()?;
            // Lines are told one by one; that the rest is another now, at once and then after a moment for all that came meanwhile. The last is always told.
            let (mut is_other, mut next) = (false, Instant::now());
            loop {
                tokio::select! {
                    event = watched.message() => {
                        let event = event.ok()??;
                        if let Some(line) = told(&base, &event) {
                            sender.send(line).await.ok()?;
                        }
                        is_other = true;
                    }
                    () = sleep_until(next), if is_other => {
                        sender.send(changed()).await.ok()?;
                        (is_other, next) = (false, Instant::now() + SETTLE);
                    }
                }
            }
        };
        // Whether it went away or stayed to the end, its place is free.
        let _: Result<Option<()>, _> = tokio::time::timeout(LIFE, telling).await;
        drop(place);
    });
    let events = ReceiverStream::new(events).map(Ok::<_, Infallible>);
    // A proxy in front is not to collect what it passes on.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(BEAT))).into_response())
}

fn changed() -> Event {
    Event::default().event("changed").data("now")
}

/// What a browser is told of an event, if there is anything to tell.
fn told(base: &Base, event: &WatchResponse) -> Option<Event> {
    let text = line(base, event)?.render().ok()?;
    // One line: an event's data end where a line does.
    Some(Event::default().event("happened").data(text.replace(['\r', '\n'], " ")))
}

fn line<'e>(base: &'e Base, event: &'e WatchResponse) -> Option<Line<'e>> {
    let blank = Line {
        base,
        at: event.time,
        tone: "note",
        key: "now.missed",
        tenant: "",
        node: "",
        violation: "",
        detail: String::new(),
    };
    Some(match event.event.as_ref()? {
        What::ViolationOpened(violation) => {
            Line { tone: "bad", key: "now.opened", ..of(blank, base, violation) }
        }
        What::ViolationClosed(violation) => {
            Line { tone: "good", key: "now.closed", ..of(blank, base, violation) }
        }
        What::Decision(decision) => decided(blank, base, decision),
        What::MeasureStands(one) => {
            let decision = one.measure.as_ref().and_then(|measure| measure.decision.as_ref())?;
            Line { tone: "warn", key: "now.stands", node: &one.node, ..decided(blank, base, decision) }
        }
        What::MeasureLifted(one) => Line {
            tone: "good",
            key: "now.lifted",
            tenant: &one.tenant,
            node: &one.node,
            detail: one.reason.clone(),
            ..blank
        },
        What::NodeUp(one) => Line { tone: "good", key: "now.up", node: &one.node, ..blank },
        What::NodeDown(one) => {
            Line { tone: "bad", key: "now.down", node: &one.node, detail: one.reason.clone(), ..blank }
        }
        What::NodeEvent(one) => {
            let event = one.event.as_ref()?;
            let kind = event.kind().as_str_name().trim_start_matches("NODE_EVENT_KIND_").to_ascii_lowercase();
            let detail = if event.detail.is_empty() { kind } else { format!("{kind}: {}", event.detail) };
            Line { tone: "warn", key: "now.event", node: &one.node, detail, ..blank }
        }
        What::Missed(_) => Line { tone: "warn", ..blank },
        // Whoever asked sees the answer; who is told what stands in the case.
        What::OrderAnswered(_) | What::Notice(_) => return None,
    })
}

fn of<'e>(blank: Line<'e>, base: &Base, violation: &'e Violation) -> Line<'e> {
    let class = violation.evidence.as_ref().map(|alert| shown::class(base, &alert.class)).unwrap_or_default();
    Line {
        tenant: &violation.tenant,
        node: &violation.node,
        violation: &violation.id,
        detail: format!("{class} ({})", violation.clause),
        ..blank
    }
}

fn decided<'e>(blank: Line<'e>, base: &Base, decision: &'e Decision) -> Line<'e> {
    let what = shown::decided(base, decision).what;
    Line {
        key: "now.decided",
        tenant: &decision.tenant,
        violation: &decision.violation,
        detail: format!("{what} ({})", decision.clause),
        ..blank
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places() {
        let feeds = Feeds::default();
        let mut own: Vec<_> = (0..OF_ONE).map(|_| feeds.enter("oncall").unwrap()).collect();
        assert!(feeds.enter("oncall").is_none() && feeds.enter("other").is_some());
        own.pop();
        assert!(feeds.enter("oncall").is_some());
    }
}
