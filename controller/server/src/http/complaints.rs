//! Complaints, taken by the service that takes them over gRPC: for the same callers, by the same gate, and on the same record.
//!
//! What a program has is taken as it is: a mail, JSON of XARF, or words. Copies are counted and not filed again, so a program that
//! heard no answer asks once more.

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use reeve_proto::MAX_MESSAGE_BYTES;
use reeve_proto::operator::v1::complaint_service_client::ComplaintServiceClient;
use reeve_proto::operator::v1::{Complaint, ComplaintFormat, ComplaintState, SubmitComplaintsRequest};
use serde::Serialize;

use super::answer::{at, text, whole};
use super::problem::Problem;
use super::route::{JSON, admitted_by, json, media_type, read};
use super::{Body, Front, Peer};
use crate::complaints::MAX_MESSAGE;

/// Where they are handed in.
pub(super) const PATH: &str = "/v1/complaints";
/// What of the table of methods that is.
const METHOD: &str = "/reeve.operator.v1.ComplaintService/SubmitComplaints";
const TAKEN: &str = "message/rfc822, application/json and text/plain are taken";

/// What a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Media {
    Mail,
    Json,
    /// Words, in a charset.
    Words(String),
}

impl Media {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let all = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match media_type(headers).to_ascii_lowercase().as_str() {
            "message/rfc822" => Some(Self::Mail),
            "application/json" => Some(Self::Json),
            "text/plain" => Some(Self::Words(charset(all).unwrap_or("utf-8").to_owned())),
            _ => None,
        }
    }

    /// What stands before the body so that it is what the service reads: words become a letter of nobody's.
    fn head(&self) -> String {
        match self {
            Self::Mail | Self::Json => String::new(),
            Self::Words(charset) => {
                format!(
                    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                )
            }
        }
    }

    const fn format(&self) -> ComplaintFormat {
        match self {
            Self::Mail | Self::Words(_) => ComplaintFormat::Mail,
            Self::Json => ComplaintFormat::Json,
        }
    }
}

/// The charset that a content type names, if it is a name of one.
fn charset(media: &str) -> Option<&str> {
    let named = media.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    ((1..=40).contains(&named.len()) && named.bytes().all(is_name)).then_some(named)
}

/// What became of a complaint. What is not known is `null`.
#[derive(Debug, Serialize)]
struct ComplaintJson {
    number: u64,
    state: &'static str,
    tenant: Option<String>,
    case: Option<String>,
    violation: Option<String>,
    /// How often it came.
    times: u64,
    kind: Option<String>,
    source: Option<String>,
    receive_time: Option<String>,
    seen_time: Option<String>,
    deadline: Option<String>,
    /// Why it waits for a person, or was dismissed.
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct TakenJson {
    complaints: Vec<ComplaintJson>,
}

impl From<Complaint> for ComplaintJson {
    fn from(one: Complaint) -> Self {
        let state = match one.state() {
            ComplaintState::Unspecified | ComplaintState::Filed => "filed",
            ComplaintState::Unmatched => "unmatched",
            ComplaintState::Unreadable => "unreadable",
            ComplaintState::Dismissed => "dismissed",
        };
        Self {
            number: one.number,
            state,
            tenant: text(one.tenant),
            case: text(one.case_id),
            violation: text(one.violation),
            times: one.times,
            kind: text(one.kind),
            source: text(one.source),
            receive_time: at(one.receive_time),
            seen_time: at(one.seen_time),
            deadline: at(one.deadline),
            reason: text(one.detail),
        }
    }
}

/// Answers whoever hands some in.
pub(super) async fn respond(
    head: &Parts,
    body: Incoming,
    peer: &Peer,
    front: &Front,
) -> Result<Response<Body>, Problem> {
    let admitted = || {
        if head.method != Method::POST {
            return Err(Problem::method("POST", head.method.as_str()));
        }
        let shown = head.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let caller = admitted_by(front, peer, METHOD, shown)?;
        front.desk.admit(Some(peer.conn.address().ip()), 1)?;
        let media = Media::of(&head.headers);
        Ok((caller, media.ok_or_else(|| Problem::media_type(media_type(&head.headers), TAKEN))?))
    };
    let admitted = admitted();
    // Of whoever may hand in nothing, nothing is kept.
    let most = admitted.as_ref().map_or(0, |(_, media)| MAX_MESSAGE - media.head().len());
    let said = read(body, most).await;
    let ((caller, media), said) = (admitted?, said?);
    if said.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "there is nothing in the request"));
    }
    let message = [media.head().as_bytes(), &said].concat();
    let mut request = tonic::Request::new(SubmitComplaintsRequest { message, format: media.format().into() });
    request.extensions_mut().insert(caller);
    let mut services = ComplaintServiceClient::new(front.services.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let complaints = services.submit_complaints(request).await?.into_inner().complaints;
    let waits =
        |one: &Complaint| matches!(one.state(), ComplaintState::Unmatched | ComplaintState::Unreadable);
    let status = if complaints.iter().any(waits) { StatusCode::ACCEPTED } else { StatusCode::OK };
    let complaints = complaints.into_iter().map(ComplaintJson::from).collect();
    let mut response = Response::new(whole(json(&TakenJson { complaints })));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_it_says_and_its_charset_smuggles_nothing() {
        let check = |said: &'static str, expect: Option<Media>| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(said))]);
            assert_eq!(Media::of(&headers), expect, "{said}");
        };
        let words = |charset: &str| Some(Media::Words(charset.to_owned()));
        check("message/rfc822", Some(Media::Mail));
        check("Application/JSON; charset=utf-8", Some(Media::Json));
        check("text/plain", words("utf-8"));
        check("text/plain; format=flowed; Charset=\"iso-8859-1\"", words("iso-8859-1"));
        check("text/plain; charset=a b", words("utf-8"));
        check("text/plain; charset=", words("utf-8"));
        check("text/html", None);
        check("", None);
        assert_eq!(Media::of(&HeaderMap::new()), None);
    }
}
