//! Calls of programs: each notice as an event of [CloudEvents] 1.0, signed as [Standard Webhooks] 1.0 has it.
//!
//! `webhook-id` is the notice's key, the same at every attempt, so that whoever is called twice knows it. The signature is over that key, the time of
//! the call and the body, with a secret that both have. No redirect is followed, and of an answer nothing is kept but its status.
//!
//! [CloudEvents]: https://github.com/cloudevents/spec
//! [Standard Webhooks]: https://www.standardwebhooks.com

use std::time::Duration;

use reeve_policy::{Name, Timestamp};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use ring::hmac;
use serde_json::{Value, json};

use super::tls;
use crate::error::ControllerError;
use crate::links::{Links, What};
use crate::settings::Webhook;
use crate::store::Noticed;
use crate::store::write::Outcome;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long whoever is called has to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Whoever calls a program.
#[derive(Debug)]
pub(super) struct Caller {
    name: Name,
    url: Url,
    key: hmac::Key,
    client: Client,
    links: Option<Links>,
}

impl Caller {
    /// Whoever calls this one.
    ///
    /// # Errors
    /// Where certificates that are named cannot be used.
    pub fn new(webhook: &Webhook, links: Option<Links>) -> Result<Self, ControllerError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client(webhook.ca_file.as_deref())?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("reeve-controller/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ControllerError::Tls { detail: error.to_string() })?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &webhook.secret);
        Ok(Self { name: webhook.name.clone(), url: webhook.url.clone(), key, client, links })
    }

    /// Whether it is called this.
    pub fn is(&self, name: &str) -> bool {
        self.name.as_str() == name
    }

    /// Calls.
    pub async fn call(&self, one: &Noticed, now: Timestamp) -> Outcome {
        let (id, at, body) =
            (&one.notice.id.0, now.as_nanos() / 1_000_000_000, event(one, self.links.as_ref()).to_string());
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8")
            .header("webhook-id", id)
            .header("webhook-timestamp", at)
            .header("webhook-signature", signature(&self.key, id, at, &body))
            .body(body);
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Outcome::Sent(answer.status().to_string()),
            // It asks not to be called any more.
            Ok(answer) if answer.status() == StatusCode::GONE => {
                Outcome::Refused(answer.status().to_string())
            }
            Ok(answer) => Outcome::Later(answer.status().to_string()),
            Err(error) => Outcome::Later(whole(&error.without_url())),
        }
    }
}

/// An error with what is behind it.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        text.push_str(": ");
        text.push_str(&behind.to_string());
        source = behind.source();
    }
    text
}

fn signature(key: &hmac::Key, id: &str, at: u64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", data_encoding::BASE64.encode(tag.as_ref()))
}

/// A notice as an event.
pub(super) fn event(one: &Noticed, links: Option<&Links>) -> Value {
    let notice = &one.notice;
    let url = |what: &What| {
        let links = links?;
        Some((what.name().to_owned(), Value::from(links.url(one.number, one.made, *what))))
    };
    let ways: serde_json::Map<String, Value> =
        What::of(notice, one.case.is_some()).iter().filter_map(url).collect();
    json!({
        "specversion": "1.0",
        "id": notice.id.0,
        "source": "/reeve/notices",
        "type": "reeve.notice.v1",
        "subject": notice.tenant.as_str(),
        "time": one.made.to_string(),
        "datacontenttype": "application/json",
        "data": {
            "number": one.number,
            "recipient": notice.recipient.as_str(),
            "tenant": notice.tenant.as_str(),
            "case": one.case.as_ref().map(Name::as_str),
            "decision": notice.decision.as_ref().map(|id| id.0.as_str()),
            "violation": notice.violation.as_ref().map(|id| id.as_name().as_str()),
            "kind": notice.kind.name(),
            "language": notice.language.as_str(),
            "time": notice.at.to_string(),
            "subject": notice.subject,
            "text": notice.text,
            "links": ways,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn calls_are_signed_as_the_standard_has_it() {
        let secret = data_encoding::BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        assert_eq!(
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
