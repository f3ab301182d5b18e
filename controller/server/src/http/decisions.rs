//! What stands against tenants, as CrowdSec's bouncers ask a local API of theirs (LAPI, v1): all at their start, then what changed; or about
//! one address at a time. docs/crowdsec.md says how they are set up.
//!
//! Nothing else of that API is here: alerts are not taken, and decisions are Reeve's own. Errors are those of the rest of this port.

use std::net::IpAddr;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use ipnet::IpNet;
use reeve_policy::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::answer::whole;
use super::problem::Problem;
use super::route::{JSON, admitted_by, decoded, json};
use super::{Body, Front, Peer};
use crate::auth::Caller;
use crate::clock;
use crate::refusal::Reason;
use crate::remedy::{self, Remedy};
use crate::store::write::MOST;
use crate::writer::Job;

/// The header by which bouncers show their token.
const KEY: &str = "x-api-key";
/// For how long something is told to last that a person ends: a bouncer hears of the end, and begins anew at its start.
const UNTIL_ENDED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a bouncer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// What changed.
    Stream,
    /// What there is.
    Now,
}

impl Place {
    pub fn find(path: &str) -> Option<Self> {
        match path {
            "/v1/decisions/stream" => Some(Self::Stream),
            "/v1/decisions" => Some(Self::Now),
            _ => None,
        }
    }

    /// What of the table of methods it takes to ask here.
    const fn method(self) -> &'static str {
        match self {
            Self::Stream => "/reeve.status.v1.StatusService/WatchStatus",
            Self::Now => "/reeve.status.v1.StatusService/GetStatus",
        }
    }
}

/// A decision, as the description of LAPI has it.
#[derive(Debug, Serialize)]
struct DecisionJson {
    id: u64,
    uuid: String,
    origin: String,
    r#type: &'static str,
    scope: &'static str,
    value: String,
    /// As Go writes it: `3h59m58.5s`.
    duration: String,
    scenario: String,
    simulated: bool,
}

#[derive(Debug, Serialize)]
struct StreamJson {
    new: Option<Vec<DecisionJson>>,
    deleted: Option<Vec<DecisionJson>>,
}

/// Which of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    is_start: bool,
    inside: Option<IpNet>,
    scopes: Vec<String>,
    origins: Vec<String>,
    kinds: Vec<String>,
    containing: Vec<String>,
    not_containing: Vec<String>,
}

impl Wanted {
    /// Reads a query. What is not known is left alone, as the original does.
    fn read(query: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut value = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
            let text = decoded(&text.replace('+', " ")).ok_or("the query is not percent-encoded UTF-8")?;
            if text.is_empty() {
                continue;
            }
            let list = || text.split(',').map(|one| one.trim().to_lowercase()).collect::<Vec<_>>();
            match key {
                "startup" => wanted.is_start = is_true(&text).ok_or("startup: true or false is expected")?,
                "ip" => {
                    let ip = text.parse::<IpAddr>().map_err(|_| format!("ip: {text:.60?} is no address"))?;
                    wanted.inside = Some(ip.to_canonical().into());
                }
                "range" => {
                    let range = text.parse::<IpNet>();
                    let range = range.map_err(|_| format!("range: {text:.60?} is no prefix"))?;
                    wanted.inside = Some(range.trunc());
                }
                "scope" | "scopes" => wanted.scopes = list(),
                "origins" => wanted.origins = list(),
                "type" => wanted.kinds = list(),
                "scenarios_containing" => wanted.containing = list(),
                "scenarios_not_containing" => wanted.not_containing = list(),
                "value" => value = Some(text),
                _ => {}
            }
        }
        if let Some(value) = value {
            let address = || value.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
            let prefix = value.parse::<IpNet>().ok().map(|prefix| prefix.trunc()).or_else(address);
            wanted.inside =
                Some(prefix.ok_or_else(|| format!("value: {value:.60?} is no address and no prefix"))?);
        }
        Ok(wanted)
    }

    fn is(&self, remedy: &Remedy) -> bool {
        let is_in = |all: &[String], one: &str| {
            all.is_empty() || all.iter().any(|name| name.eq_ignore_ascii_case(one))
        };
        let scenario = remedy.scenario.to_lowercase();
        is_in(&self.scopes, scope(remedy.value))
            && is_in(&self.origins, &remedy.origin)
            && is_in(&self.kinds, remedy.kind.name())
            && self.inside.is_none_or(|inside| remedy.value.contains(&inside))
            && (self.containing.is_empty() || self.containing.iter().any(|part| scenario.contains(part)))
            && !self.not_containing.iter().any(|part| scenario.contains(part))
    }
}

/// What Go reads as a truth.
fn is_true(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn scope(prefix: IpNet) -> &'static str {
    if prefix.prefix_len() == prefix.max_prefix_len() { "Ip" } else { "Range" }
}

impl DecisionJson {
    fn new(remedy: Remedy, now: Timestamp) -> Self {
        let value = match scope(remedy.value) {
            "Ip" => remedy.value.addr().to_string(),
            _ => remedy.value.to_string(),
        };
        // The same wherever and whenever it is told.
        let mut digest = Sha256::new();
        for part in [value.as_str(), remedy.kind.name(), &remedy.decision] {
            digest.update(part);
            digest.update([0]);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let left = match remedy.until {
            Some(until) => Duration::from_nanos(until.as_nanos().saturating_sub(now.as_nanos())),
            None => UNTIL_ENDED,
        };
        Self {
            // As large as every reader of JSON takes.
            id: number(&digest[..6]),
            uuid: uuid(&digest),
            origin: remedy.origin,
            r#type: remedy.kind.name(),
            scope: scope(remedy.value),
            value,
            duration: go_duration(left),
            scenario: remedy.scenario,
            simulated: false,
        }
    }
}

/// Made of a hash (RFC 9562, version 8).
fn uuid(digest: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[16..]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A duration as Go writes it, to the millisecond.
fn go_duration(duration: Duration) -> String {
    let (all, millis) = (duration.as_secs(), duration.subsec_millis());
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    let fraction = format!("{millis:03}");
    let fraction = fraction.trim_end_matches('0');
    let seconds = if fraction.is_empty() { format!("{seconds}s") } else { format!("{seconds}.{fraction}s") };
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// Answers a bouncer.
pub(super) async fn respond(
    place: Place,
    head: &Parts,
    peer: &Peer,
    front: &Front,
) -> Result<Response<Body>, Problem> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Problem::method("GET, HEAD", head.method.as_str()));
    }
    let shown = shown(&head.headers);
    let caller = admitted_by(front, peer, place.method(), shown.as_deref())?;
    let (from, desk) = (peer.conn.address().ip(), &front.desk);
    desk.admit(Some(from), 1)?;
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let wanted = Wanted::read(head.uri.query().unwrap_or_default()).map_err(bad)?;
    // To ask whether it is here is not to be told.
    if place == Place::Stream && head.method == Method::HEAD {
        return Ok(answer(&StreamJson { new: None, deleted: None }));
    }
    let now = clock::now();
    let told = |all: Vec<Remedy>| -> Option<Vec<DecisionJson>> {
        let wanted = all.into_iter().filter(|remedy| wanted.is(remedy));
        Some(wanted.map(|remedy| DecisionJson::new(remedy, now)).collect())
            .filter(|all: &Vec<_>| !all.is_empty())
    };
    if place == Place::Now {
        let directory = &desk.house.directory;
        let all = match wanted.inside {
            Some(inside) => remedy::about(directory, inside.addr(), now).into_iter().collect(),
            None => {
                remedy::now_in_force(directory, now, MOST, |remedy| wanted.is(remedy)).into_values().collect()
            }
        };
        return Ok(answer(&told(all)));
    }
    desk.admit_pull(from)?;
    let (name, is_start) = (name_of(&caller, from), wanted.is_start);
    let pulled = desk.house.writer.ask(|reply| Job::Pull { name, is_start, reply }).await;
    let pulled = pulled.map_err(|error| {
        tracing::warn!(%error, "a bouncer cannot be answered");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database cannot be asked now; ask again later")
            .because(Reason::DatabaseUnavailable)
    })?;
    Ok(answer(&StreamJson { new: told(pulled.new), deleted: told(pulled.deleted) }))
}

/// One bouncer of those that may show one token.
fn name_of(caller: &Caller, from: IpAddr) -> String {
    format!("{} {}", caller.name, from.to_canonical())
}

/// What stands in the bouncers' own header is a token as any other; without it the usual one counts.
fn shown(headers: &HeaderMap) -> Option<Vec<u8>> {
    match headers.get(KEY) {
        Some(key) => Some([b"Bearer ", key.as_bytes()].concat()),
        None => headers.get(AUTHORIZATION).map(|shown| shown.as_bytes().to_vec()),
    }
}

fn answer<T: Serialize>(value: &T) -> Response<Body> {
    let mut response = Response::new(whole(json(value)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remedy::Kind;

    #[test]
    fn durations_are_as_go_reads_them() {
        let check = |millis, expect: &str| assert_eq!(go_duration(Duration::from_millis(millis)), expect);
        check(0, "0s");
        check(1_500, "1.5s");
        check(60_000, "1m0s");
        check(3_600_000, "1h0m0s");
        check(14_398_050, "3h59m58.05s");
        assert_eq!(go_duration(UNTIL_ENDED), "8760h0m0s");
    }

    #[test]
    fn only_what_is_asked_for_is_told() {
        let remedy = |value: &str, origin: &str, scenario: &str| Remedy {
            value: value.parse().unwrap(),
            kind: Kind::Ban,
            origin: origin.into(),
            scenario: scenario.into(),
            until: None,
            decision: "d".into(),
        };
        let all = [
            remedy("192.0.2.7/32", "reeve", "reeve/suspend:aup/scan"),
            remedy("2001:db8::/48", "reeve-billing", "reeve/suspend"),
            remedy("192.0.2.128/25", "reeve", "reeve/block"),
        ];
        let check = |query: &str, expect: &[usize]| {
            let wanted = Wanted::read(query).unwrap();
            let found: Vec<usize> = (0..all.len()).filter(|place| wanted.is(&all[*place])).collect();
            assert_eq!(found, expect, "{query}");
        };
        check("", &[0, 1, 2]);
        check("startup=true&scopes=ip,range&dedup=false", &[0, 1, 2]);
        check("scopes=Ip", &[0]);
        check("scopes=ip%2Ccountry", &[0]);
        check("scopes=range", &[1, 2]);
        check("scopes=AS", &[]);
        check("origins=reeve", &[0, 2]);
        check("origins=cscli,CAPI", &[]);
        check("scenarios_containing=SCAN", &[0]);
        check("scenarios_not_containing=reeve/block,scan", &[1]);
        check("type=captcha", &[]);
        check("ip=192.0.2.200", &[2]);
        check("ip=::ffff:192.0.2.7", &[0]);
        check("range=192.0.2.128/26", &[2]);
        check("scope=ip&value=192.0.2.7", &[0]);
        check("ip=", &[0, 1, 2]);
        assert!(
            Wanted::read("startup=1").unwrap().is_start && !Wanted::read("startup=false").unwrap().is_start
        );
        for bad in ["startup=yes", "ip=here", "range=192.0.2.1", "value=x", "ip=%ff"] {
            assert!(Wanted::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_told_is_the_same_whoever_tells_it() {
        let remedy = |value: &str| Remedy {
            value: value.parse().unwrap(),
            kind: Kind::Throttle,
            origin: "reeve".into(),
            scenario: "reeve/limit".into(),
            until: Some(Timestamp::from_secs(90)),
            decision: "d".into(),
        };
        let told = |value, now| {
            let one = DecisionJson::new(remedy(value), Timestamp::from_secs(now));
            (one.id, one.uuid, one.scope, one.value, one.duration)
        };
        let (first, later, other) =
            (told("192.0.2.7/32", 0), told("192.0.2.7/32", 30), told("2001:db8::/48", 95));
        assert_eq!((first.0, &first.1), (later.0, &later.1));
        assert_ne!(first.0, other.0);
        assert_eq!((first.2, first.3.as_str(), first.4.as_str()), ("Ip", "192.0.2.7", "1m30s"));
        assert_eq!(later.4, "1m0s");
        assert_eq!((other.2, other.3.as_str(), other.4.as_str()), ("Range", "2001:db8::/48", "0s"));
        assert_eq!((first.1.len(), &first.1[14..15]), (36, "8"));
    }
}
