//! What every page is made of.

use std::fmt::Display;

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use prost_types::Timestamp as WireTime;
use reeve_proto::operator::v1::Role;

use crate::App;
use crate::forms;
use crate::session::{cookie, read_cookie};
use crate::words::{LANGUAGES, Words};

/// The cookies of what somebody chose.
const LANGUAGE: &str = "reeve-language";
/// The operator's time zone, as the browser names it.
const ZONE: &str = "reeve-zone";
/// That single letters are no keys.
const KEYS: &str = "reeve-keys";
/// What is to be said on the next page.
const FLASH: &str = "reeve-flash";
/// No more is said than that, in bytes: browsers take cookies of 4 KiB.
const MAX_FLASH: usize = 1_500;

/// Something that is said once, at the head of the next page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flash {
    /// Whether something went wrong.
    pub is_wrong: bool,
    /// What.
    pub text: String,
}

/// What every page begins with.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    words: Words,
    zone: TimeZone,
    /// Where one is, in the navigation.
    pub place: &'static str,
    /// Who is signed in; empty for nobody.
    pub name: String,
    role: Role,
    mark: String,
    /// The page's path, to come back to.
    pub path: String,
    /// Whether single letters are keys.
    keys: bool,
    /// What is said once.
    pub flash: Option<Flash>,
}

/// A place in the navigation: its name, path, and key.
type Place = (&'static str, &'static str, &'static str);

const PLACES: [Place; 10] = [
    ("now", "/", "n"),
    ("tenants", "/tenants", "t"),
    ("violations", "/violations", "v"),
    ("cases", "/cases", "c"),
    ("complaints", "/complaints", "p"),
    ("nodes", "/nodes", "o"),
    ("policies", "/policies", "l"),
    ("outbox", "/outbox", "m"),
    ("approvals", "/approvals", "a"),
    ("audit", "/audit", "u"),
];

impl Base {
    pub fn of(app: &App, headers: &HeaderMap, name: &str, role: Role, mark: String, path: &str) -> Self {
        let stranger = Self::stranger(app, headers);
        Self { name: name.to_owned(), role, mark, path: path.to_owned(), ..stranger }
    }

    /// Of somebody who is not signed in, or of a page that is for everybody.
    pub fn stranger(app: &App, headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let words = Words::of(read_cookie(app, headers, LANGUAGE).as_deref(), accepted);
        let zone =
            read_cookie(app, headers, ZONE).and_then(|name| TimeZone::get(&name.replace("%2F", "/")).ok());
        Self {
            words,
            zone: zone.unwrap_or(TimeZone::UTC),
            place: "",
            name: String::new(),
            role: Role::Unspecified,
            mark: String::new(),
            path: String::new(),
            keys: read_cookie(app, headers, KEYS).is_none_or(|kept| kept != "off"),
            flash: flash(app, headers),
        }
    }

    /// The text of a key.
    pub fn t<'a>(&self, key: &'a str) -> &'a str {
        self.words.t(key)
    }

    /// The text of a key with these values in place of its `{}`.
    pub fn fill(&self, key: &str, values: &[&dyn Display]) -> String {
        self.words.fill(key, values)
    }

    /// The language's tag.
    pub fn language(&self) -> &'static str {
        self.words.language()
    }

    /// The languages: tag, name, and whether it is this one.
    pub fn languages(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let own = self.language();
        LANGUAGES.into_iter().map(move |(tag, name)| (tag, name, tag == own))
    }

    /// The navigation: name, path, key, and whether one is there. The log is for administrators.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, bool)> {
        let (own, is_admin) = (self.place, self.is_admin());
        let open = PLACES.into_iter().filter(move |(name, ..)| is_admin || *name != "audit");
        open.map(move |(name, path, key)| (name, path, key, name == own))
    }

    /// The words of a place.
    pub fn place_name(&self, name: &str) -> &'static str {
        let key = PLACES.iter().position(|(place, ..)| *place == name).unwrap_or_default();
        const KEYS: [&str; 10] = [
            "place.now",
            "place.tenants",
            "place.violations",
            "place.cases",
            "place.complaints",
            "place.nodes",
            "place.policies",
            "place.outbox",
            "place.approvals",
            "place.audit",
        ];
        self.words.t(KEYS[key])
    }

    /// The role's name.
    pub fn role(&self) -> &'static str {
        match self.role {
            Role::Unspecified => "",
            Role::Viewer => self.words.t("role.viewer"),
            Role::Operator => self.words.t("role.operator"),
            Role::Admin => self.words.t("role.admin"),
            Role::Billing => self.words.t("role.billing"),
            Role::Status => self.words.t("role.status"),
        }
    }

    /// Whether whoever looks may act upon tenants, nodes and cases.
    pub const fn may_act(&self) -> bool {
        matches!(self.role, Role::Operator | Role::Admin)
    }

    /// Whether they are an administrator.
    pub const fn is_admin(&self) -> bool {
        matches!(self.role, Role::Admin)
    }

    /// Whether single letters are keys.
    pub const fn has_keys(&self) -> bool {
        self.keys
    }

    /// The field that a form of this session carries; an element, in which nothing is foreign.
    pub fn csrf_field(&self) -> String {
        format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", forms::FIELD, self.mark)
    }

    /// A time in the operator's zone, with UTC where the mouse rests; an element, in which nothing is foreign. A dash for none.
    pub fn time(&self, at: &Option<WireTime>) -> String {
        let Some(at) = at.as_ref().and_then(moment) else {
            return "<span class=\"none\">–</span>".to_owned();
        };
        let zoned = at.to_zoned(self.zone.clone());
        let utc = at.to_zoned(TimeZone::UTC);
        format!(
            "<time datetime=\"{}\" title=\"{}\">{}</time>",
            utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
            zoned.strftime("%Y-%m-%d %H:%M:%S"),
        )
    }

    /// A time in the operator's zone, as plain text; empty for none.
    pub fn plain_time(&self, at: &Option<WireTime>) -> String {
        let zoned = at.as_ref().and_then(moment).map(|at| at.to_zoned(self.zone.clone()));
        zoned.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
    }

    /// When a day begins in the operator's zone.
    ///
    /// # Errors
    /// Where there is no such time.
    pub fn begin_of(&self, day: Date) -> Result<Timestamp, jiff::Error> {
        Ok(day.to_zoned(self.zone.clone())?.timestamp())
    }

    /// The address of one thing: `begin`, and its key behind it.
    pub fn link(&self, begin: impl AsRef<str>, key: impl AsRef<str>) -> String {
        address(begin.as_ref(), &[key.as_ref()], &[])
    }

    /// The address of a list that is narrowed to one value of one field.
    pub fn narrowed(&self, begin: impl AsRef<str>, field: impl AsRef<str>, value: impl AsRef<str>) -> String {
        address(begin.as_ref(), &[], &[(field.as_ref(), value.as_ref())])
    }

    /// How the zone is called.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

/// A time of the wire's.
pub(crate) fn moment(at: &WireTime) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// A page as it is sent.
pub(crate) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A path of this console: `parts` behind `begin`, each escaped, and a query of the values that are not empty.
pub(crate) fn address(begin: &str, parts: &[&str], query: &[(&str, &str)]) -> String {
    let mut path = begin.to_owned();
    for part in parts {
        path.push('/');
        // A space is `+` in queries alone.
        path.extend(form_urlencoded::byte_serialize(part.as_bytes()).flat_map(str::chars));
        path = path.replace('+', "%20");
    }
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    query.iter().filter(|(_, value)| !value.is_empty()).for_each(|(key, value)| {
        pairs.append_pair(key, value);
    });
    let query = pairs.finish();
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

fn flash(app: &App, headers: &HeaderMap) -> Option<Flash> {
    let cookie = read_cookie(app, headers, FLASH)?;
    let text = String::from_utf8(BASE64URL_NOPAD.decode(cookie.as_bytes()).ok()?).ok()?;
    let (kind, text) = text.split_at_checked(1)?;
    Some(Flash { is_wrong: kind == "!", text: text.to_owned() })
}

/// Has something said on the next page.
pub(crate) fn put_flash(app: &App, headers: &mut HeaderMap, flash: &Flash) {
    let kind = if flash.is_wrong { '!' } else { '.' };
    let mut text = format!("{kind}{}", flash.text);
    text.truncate((0..=MAX_FLASH.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0));
    let value = BASE64URL_NOPAD.encode(text.as_bytes());
    if let Some(cookie) = cookie(app, FLASH, &value, Some(60)) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Once is enough.
pub(crate) fn forget_flash(app: &App, asked: &HeaderMap, headers: &mut HeaderMap) {
    let is_fragment = asked.contains_key("hx-request");
    if !is_fragment
        && read_cookie(app, asked, FLASH).is_some()
        && let Some(cookie) = cookie(app, FLASH, "", Some(0))
    {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Keeps what somebody chose for a year: the language.
pub(crate) fn keep_language(app: &App, tag: &str) -> Option<HeaderValue> {
    let known = LANGUAGES.iter().find(|(known, _)| *known == tag)?;
    cookie(app, LANGUAGE, known.0, Some(365 * 24 * 3_600))
}

/// Keeps for a year whether single letters are keys.
pub(crate) fn keep_keys(app: &App, are_off: bool) -> Option<HeaderValue> {
    if are_off { cookie(app, KEYS, "off", Some(365 * 24 * 3_600)) } else { cookie(app, KEYS, "", Some(0)) }
}

/// Keeps the time zone for a year, if it is one.
pub(crate) fn keep_zone(app: &App, name: &str) -> Option<HeaderValue> {
    let zone = TimeZone::get(name).ok()?;
    cookie(app, ZONE, &zone.iana_name()?.replace('/', "%2F"), Some(365 * 24 * 3_600))
}

/// The page of an error.
#[derive(Template)]
#[template(path = "trouble.html")]
pub(crate) struct Trouble<'a> {
    /// What every page begins with.
    pub base: Base,
    /// The key of what is told.
    pub key: &'static str,
    /// In the controller's words.
    pub detail: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_what_strangers_write_and_nothing_breaks_out() {
        assert_eq!(address("/tenants", &["a b/../c?x"], &[]), "/tenants/a%20b%2F..%2Fc%3Fx");
        assert_eq!(
            address("/cases", &[], &[("state", ""), ("tenant", "a&b=\"c\"")]),
            "/cases?tenant=a%26b%3D%22c%22"
        );
    }
}
