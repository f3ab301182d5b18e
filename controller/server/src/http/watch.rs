//! Changes as server-sent events (WHATWG HTML, 9.2): what an `EventSource` follows, and `curl -N` shows.
//!
//! `id` is the resume token; it stands with the events after which everything up to it is told, so that a client that was cut off
//! in the middle of many comes back with the one before.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio_stream::{Stream, StreamExt as _};

use super::Body;
use super::answer::StatusJson;
use crate::services::status::{Told, View};

/// A client that was cut off comes back after this many milliseconds.
const RETRY: &str = "retry: 2000\n\n";

pub(super) fn events(told: impl Stream<Item = Told> + Send + Sync + 'static, view: View) -> Response<Body> {
    let first = tokio_stream::once(Bytes::from_static(RETRY.as_bytes()));
    let events = first.chain(told.map(move |told| Bytes::from(event(told, view))));
    let body = StreamBody::new(events.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))));
    let mut response = Response::new(body.boxed());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn event(told: Told, view: View) -> String {
    let (name, data, token) = match told {
        Told::Reset => ("reset", "{}".to_owned(), None),
        Told::Status(status, token) => {
            // JSON in one line: serde_json escapes what would break it.
            let data = serde_json::to_string(&StatusJson::new(*status, view)).unwrap_or_default();
            ("status", data, token)
        }
        Told::Synced(token) => ("synced", "{}".to_owned(), Some(token)),
    };
    let id = token.map(|token| format!("id: {token}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}
