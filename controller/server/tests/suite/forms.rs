//! The form on which anybody complains: what it takes, what it does not, and that it tells nobody anything.

use std::path::Path;
use std::sync::Arc;

use super::complaints::{get, list};
use crate::common::{Running, alice, execute, import, set};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{Complaint, ComplaintState, ListDeliveriesRequest};
use reqwest::header::HeaderMap;
use tonic::transport::Channel;

pub(super) const LINKS: &str =
    "[links]\nlisten = \"127.0.0.1:0\"\nurl = \"https://abuse.example.net\"\nproxies = [\"127.0.0.1\"]\n";

/// A browser, from some address.
pub(super) struct Browser {
    client: reqwest::Client,
    base: String,
}

pub(super) struct Page {
    status: u16,
    headers: HeaderMap,
    pub(super) text: String,
}

impl Page {
    /// What the hidden field carries.
    pub(super) fn token(&self) -> String {
        let after =
            self.text.split("name=\"token\" value=\"").nth(1).unwrap_or_else(|| panic!("{}", self.text));
        after.split('"').next().unwrap().to_owned()
    }

    /// The number that whoever sent it is told.
    pub(super) fn reference(&self) -> u64 {
        assert_eq!(self.status, 200, "{}", self.text);
        let after = self.text.split("<strong>").nth(1).unwrap_or_else(|| panic!("{}", self.text));
        after.split('<').next().unwrap().parse().unwrap()
    }

    /// As strict as the pages behind links, whatever it says.
    fn is_strict(&self) {
        let policy = self.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; form-action 'self'"), "{policy}");
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(self.headers[name], value, "{name}");
        }
        for bad in ["<script", "<img", " style=", " onclick", "href=\"javascript"] {
            assert!(!self.text.contains(bad), "{bad}: {}", self.text);
        }
        assert!(!self.headers.contains_key("set-cookie"));
    }
}

impl Browser {
    pub(super) fn new(running: &Running) -> Self {
        let tls = tokio_rustls::rustls::ClientConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::ring::default_provider(),
        ));
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let tls =
            tls.with_root_certificates(tokio_rustls::rustls::RootCertStore::empty()).with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
        Self { client, base: format!("http://{}/report", running.links.unwrap()) }
    }

    async fn ask(&self, request: reqwest::RequestBuilder, from: &str) -> Page {
        let request = request.header("accept", "text/html").header("x-forwarded-for", from);
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let page = Page { status, headers, text: answer.text().await.unwrap() };
        page.is_strict();
        page
    }

    pub(super) async fn look(&self, language: &str, from: &str) -> Page {
        self.ask(self.client.get(&self.base).header("accept-language", language), from).await
    }

    pub(super) async fn send(&self, fields: &[(&str, &str)], language: &str, from: &str) -> Page {
        let body = fields
            .iter()
            .map(|(key, value)| format!("{key}={}", escaped(value)))
            .collect::<Vec<_>>()
            .join("&");
        let request =
            self.client.post(&self.base).header("content-type", "application/x-www-form-urlencoded");
        self.ask(request.header("accept-language", language).body(body), from).await
    }
}

/// As browsers send it.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Fields that are sound, but for these.
pub(super) fn fields<'a>(token: &'a str, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let sound = [
        ("about", "203.0.113.7"),
        ("kind", "scan"),
        ("date", ""),
        ("time", ""),
        ("text", "It knocked at every port."),
        ("email", ""),
        ("homepage", ""),
        ("token", token),
    ];
    let other = |key: &str| others.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    sound.into_iter().map(|(key, value)| (key, other(key).unwrap_or(value))).collect()
}

async fn start(dir: &Path, text: &str) -> (Running, Channel, Browser) {
    set(dir, &format!("{LINKS}[complaints]\nform = true\n{text}"));
    let running = Running::start(dir).await;
    let channel = running.plain().await;
    import(&channel, vec![alice()], true).await;
    let browser = Browser::new(&running);
    (running, channel, browser)
}

async fn the_one(channel: &Channel, number: u64) -> Complaint {
    get(channel, number).await.unwrap().complaint.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_complains_in_their_language_and_is_told_a_number_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (running, channel, browser) = start(dir.path(), "").await;
    for (language, title, kind) in [
        ("en-GB", "Report abuse", "attempts to log in"),
        ("nl-BE,nl;q=0.9,en;q=0.1", "Misbruik melden", "pogingen om in te loggen"),
        ("fr, da;q=0.5", "Anmeld misbrug", "forsøg på at logge ind"),
        ("de", "Report abuse", "phishing"),
    ] {
        let page = browser.look(language, "192.0.2.1").await;
        assert_eq!(page.status, 200);
        assert!(
            page.text.contains(&format!("<h1>{title}</h1>")) && page.text.contains(kind),
            "{}",
            page.text
        );
        // A label for each field, and a field for each label.
        for field in ["about", "kind", "date", "time", "text", "email", "homepage"] {
            assert!(page.text.contains(&format!("<label for=\"{field}\">")), "{field}");
            assert!(page.text.contains(&format!("id=\"{field}\" name=\"{field}\"")), "{field}");
        }
        let named = page
            .text
            .split("aria-describedby=\"")
            .skip(1)
            .flat_map(|rest| rest.split('"').next().unwrap().split(' '));
        for id in named {
            assert_eq!(page.text.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert!(page.text.contains("UTC"));
        assert_eq!(
            page.headers["content-language"],
            page.text.split("lang=\"").nth(1).unwrap().get(..2).unwrap()
        );
    }
    let token = browser.look("en", "192.0.2.1").await.token();
    let sent = browser
        .send(
            &fields(&token, &[("date", "2026-01-02"), ("time", "03:04"), ("email", "ann@reader.example")]),
            "nl",
            "192.0.2.1",
        )
        .await;
    assert!(sent.text.contains("De melding is binnen") && !sent.text.contains("alice"), "{}", sent.text);
    let one = the_one(&channel, sent.reference()).await;
    assert_eq!(
        (one.state(), one.tenant.as_str(), one.source.as_str()),
        (ComplaintState::Filed, "alice", "203.0.113.7")
    );
    assert_eq!(
        (one.via.as_str(), one.format.as_str(), one.kind.as_str(), one.reporter.as_str()),
        ("form", "form", "scan", "ann@reader.example")
    );
    assert_eq!(one.seen_time.unwrap().seconds, 1_767_323_040);
    // Sent twice it is the same, also by somebody else's page; in other words it is another.
    let again = browser
        .send(
            &fields(&token, &[("date", "2026-01-02"), ("time", "03:04"), ("email", "ann@reader.example")]),
            "en",
            "192.0.2.1",
        )
        .await;
    assert_eq!(again.reference(), one.number);
    assert_eq!(the_one(&channel, one.number).await.times, 2);
    let other = browser
        .send(
            &fields(&token, &[("date", "2026-01-02"), ("time", "03:04"), ("text", "Other words.")]),
            "en",
            "192.0.2.1",
        )
        .await;
    assert_ne!(other.reference(), one.number);
    // What is nobody's waits, and whoever sent it is told the same.
    let mine = browser.send(&fields(&token, &[("text", "Mine.")]), "en", "192.0.3.2").await;
    let nobodys = browser
        .send(
            &fields(&token, &[("about", "https://shop.example/x"), ("kind", "phishing")]),
            "en",
            "192.0.3.2",
        )
        .await;
    let waits = the_one(&channel, nobodys.reference()).await;
    assert_eq!((waits.state(), waits.kind.as_str()), (ComplaintState::Unmatched, "phishing"));
    let without = |page: &Page| page.text.replace(&page.reference().to_string(), "N");
    assert_eq!(without(&mine), without(&nobodys));
    // To take something down has its time.
    let down = browser
        .send(
            &fields(&token, &[("about", "hxxp://203.0.113.8/film"), ("kind", "copyright")]),
            "en",
            "192.0.3.2",
        )
        .await;
    assert!(the_one(&channel, down.reference()).await.deadline.is_some());
    // Nobody is written to, since it is not set.
    let request = ListDeliveriesRequest::default();
    let sent =
        OperatorServiceClient::new(channel.clone()).list_deliveries(request).await.unwrap().into_inner();
    assert!(sent.deliveries.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_is_shown_as_text_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (running, channel, browser) = start(dir.path(), "").await;
    let token = browser.look("en", "192.0.2.1").await.token();
    let markup =
        "\"><script>alert(1)</script><img src=x onerror=alert(1)>' {{7*7}} {% include \"/etc/passwd\" %}";
    // In every field: what is sound is kept as text, what is not comes back as text.
    for (number, field) in (10..).zip(["about", "kind", "date", "time", "text", "email", "homepage", "token"])
    {
        let page =
            browser.send(&fields(&token, &[(field, markup)]), "en", &format!("192.0.{number}.1")).await;
        assert!(!page.text.contains("<script") && !page.text.contains("<img"), "{field}: {}", page.text);
        if field == "text" {
            let kept = get(&channel, page.reference()).await.unwrap();
            assert!(
                kept.report.contains("<script>alert(1)"),
                "it is kept as it was written: {}",
                kept.report
            );
            continue;
        }
        assert_eq!(page.status, 422, "{field}");
        assert!(page.text.contains("role=\"alert\""), "{field}");
        // What was filled in is still there, and can be sent once it is mended.
        assert!(page.text.contains("It knocked at every port."), "{field}");
        if !["kind", "homepage", "token"].contains(&field) {
            assert!(page.text.contains("&#34;&#62;&#60;script&#62;"), "{field}: {}", page.text);
            assert!(page.text.contains("aria-invalid=\"true\""), "{field}");
        }
    }
    assert_eq!(list(&channel, "").await.len(), 1);

    // Fields that say nothing, too much, or what cannot be.
    let long = |count: usize| "x".repeat(count);
    let (long_about, long_text, long_email) =
        (format!("http://a.example/{}", long(1_000)), long(4_001), format!("{}@a.example", long(250)));
    for (number, others) in (30..).zip([
        &[("about", "")][..],
        &[("about", "my neighbour")],
        &[("about", "0.0.0.0")],
        &[("about", "10.0.0.0/8")],
        &[("about", "javascript:alert(1)")],
        &[("about", &long_about)],
        &[("kind", "")],
        &[("kind", "listed")],
        &[("date", "2026-01-02")],
        &[("time", "12:00")],
        &[("date", "2099-01-02"), ("time", "12:00")],
        &[("date", "2026-02-30"), ("time", "12:00")],
        &[("text", " \r\n\t")],
        &[("text", &long_text)],
        &[("email", "ann")],
        &[("email", "ann@reader.example\r\nBcc: victim@z.example")],
        &[("email", "ann@reader.example, victim@z.example")],
        &[("email", &long_email)],
        &[("homepage", "http://pills.example")],
        &[("token", "")],
        &[("token", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        &[("about", "\u{0}\u{202e}")],
    ]) {
        let page = browser.send(&fields(&token, others), "en", &format!("192.0.{number}.1")).await;
        assert_eq!(page.status, 422, "{others:?}");
    }
    // Of another controller's key, or changed by a letter, it is nobody's.
    let mut forged = token.clone().into_bytes();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(browser.send(&fields(&forged, &[]), "en", "192.0.60.1").await.status, 422);
    // All that is wrong is told at once, in the order of the page, and each leads to its field.
    let page = browser
        .send(
            &fields(&token, &[("about", ""), ("kind", ""), ("time", "1"), ("email", "x")]),
            "en",
            "192.0.60.1",
        )
        .await;
    let places: Vec<usize> = ["about", "kind", "date", "email"]
        .iter()
        .map(|field| {
            page.text
                .find(&format!("<a href=\"#{field}\">"))
                .unwrap_or_else(|| panic!("{field}: {}", page.text))
        })
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    // Nothing at all, no form, and more than a form may be.
    assert_eq!(browser.send(&[], "en", "192.0.61.1").await.status, 422);
    let post = |kind: &'static str, body: Vec<u8>| {
        browser.client.post(&browser.base).header("content-type", kind).body(body)
    };
    assert_eq!(browser.ask(post("application/json", b"{}".to_vec()), "192.0.62.1").await.status, 415);
    let form = "application/x-www-form-urlencoded";
    assert_eq!(browser.ask(post(form, vec![b'a'; 100_000]), "192.0.62.1").await.status, 413);
    let twice = format!("about=203.0.113.7&about=203.0.113.8&token={token}");
    assert!((400..500).contains(&browser.ask(post(form, twice.into_bytes()), "192.0.62.1").await.status));
    assert!(
        (400..500)
            .contains(&browser.ask(post(form, b"about=%ff%zz&text=%".to_vec()), "192.0.62.1").await.status)
    );
    for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::PATCH] {
        let page = browser.ask(browser.client.request(method.clone(), &browser.base), "192.0.63.1").await;
        assert_eq!(page.status, 405, "{method}");
        assert!(page.headers["allow"].to_str().unwrap().contains("POST"), "{method}");
    }
    assert_eq!(list(&channel, "").await.len(), 1, "none of it is kept");
    // Letters of many bytes are as good as others, as many as may be.
    let (text, about) = ("ø".repeat(4_000), format!("http://a.example/{}", "é".repeat(980)));
    let page = browser.send(&fields(&token, &[("text", &text), ("about", &about)]), "da", "192.0.64.1").await;
    assert!(get(&channel, page.reference()).await.unwrap().report.contains(&text));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_too_many_and_not_all_together_and_off_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let (running, channel, browser) = start(dir.path(), "").await;
    let token = browser.look("en", "192.0.2.1").await.token();
    let mut statuses = Vec::new();
    for number in 0..7 {
        let text = format!("number {number}");
        // From anywhere in one network.
        let from = format!("192.0.2.{number}");
        let page = browser.send(&fields(&token, &[("text", &text)]), "en", &from).await;
        if page.status == 429 {
            assert!(page.text.contains(&text), "what was written is not lost: {}", page.text);
        }
        statuses.push(page.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429]);
    // What is unsound is counted by the looks alone: it costs nobody a place.
    for _ in 0..8 {
        assert_eq!(browser.send(&fields("", &[]), "en", "192.0.3.1").await.status, 422);
    }
    assert_eq!(browser.send(&fields(&token, &[("text", "mine")]), "en", "192.0.3.1").await.status, 200);
    // Everybody together: 60 at once, of which six are here.
    let mut refused = 0;
    for number in 0..60 {
        let (text, from) = (format!("other {number}"), format!("198.51.{number}.1"));
        let page = browser.send(&fields(&token, &[("text", &text)]), "en", &from).await;
        assert!([200, 503].contains(&page.status), "{}", page.status);
        refused += usize::from(page.status == 503);
    }
    assert!((4..=6).contains(&refused), "{refused}");
    // Who only looks is held up, too, before long.
    let mut last = 200;
    for _ in 0..125 {
        last = browser.look("en", "203.0.113.99").await.status;
    }
    assert_eq!(last, 429);
    let before = list(&channel, "").await.len();
    running.stop().await;

    // As many wait as may: of forms fewer than of all, so that mail gets in.
    execute(
        dir.path(),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         INSERT INTO complaints (mark, state, received, updated, times, via, format, kind, source, reporter, detail, body) \
         SELECT 'm' || i, 'unmatched', 1, 1, 1, 'form', 'form', 'scan', '', '', '', '' FROM n",
    )
    .await;
    let running = Running::start(dir.path()).await;
    let (channel, browser) = (running.plain().await, Browser::new(&running));
    let page = browser.send(&fields(&token, &[("about", "192.0.2.77")]), "en", "192.0.2.1").await;
    assert_eq!(page.status, 503, "{}", page.text);
    // A page of before the restart is still ours; what is somebody's needs no person, and mail waits where it may.
    let page = browser.send(&fields(&token, &[("text", "after")]), "en", "192.0.2.1").await;
    assert_eq!(the_one(&channel, page.reference()).await.tenant, "alice");
    let mail = b"From: ann@reader.example\n\nA portscan came from 192.0.2.77.\n";
    super::complaints::submit_as(&channel, Default::default(), mail).await.unwrap();
    assert_eq!(list(&channel, "via != form").await.len(), 1);
    assert!(before > 58);
    running.stop().await;

    // Without the setting there is none.
    let dir = tempfile::tempdir().unwrap();
    set(dir.path(), LINKS);
    let running = Running::start(dir.path()).await;
    let browser = Browser::new(&running);
    assert_eq!(browser.look("en", "192.0.2.1").await.status, 404);
    assert_eq!(browser.send(&fields(&token, &[]), "en", "192.0.2.1").await.status, 404);
    running.stop().await;
}
