//! Numbers of calls to protected endpoints, and of crawling.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::tenant::Name;

/// Numbers of `api_burst`. Of one tenant at one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiBurst {
    /// Calls per second that are in order.
    pub calls_per_second: f64,
    /// Calls that may come at once after a pause.
    pub burst: u32,
    /// Calls in flight that are in order.
    pub in_flight: u32,
    /// For how long more than `in_flight` may be.
    pub in_flight_window: Duration,
    /// For how long calls may go on without a pause of ten seconds.
    pub continuous: Duration,
    /// Sign-ups that are in order within `signup_window`, where an endpoint is there for that.
    #[serde(default = "ApiBurst::default_signups")]
    pub signups: u32,
    /// The window of sign-ups.
    #[serde(default = "ApiBurst::default_signup_window")]
    pub signup_window: Duration,
}

impl ApiBurst {
    const fn default_signups() -> u32 {
        5
    }

    const fn default_signup_window() -> Duration {
        Duration::from_secs(600)
    }
}

impl Default for ApiBurst {
    fn default() -> Self {
        Self {
            calls_per_second: 1.0,
            burst: 10,
            in_flight: 1,
            in_flight_window: Duration::from_secs(5),
            continuous: Duration::from_secs(600),
            signups: Self::default_signups(),
            signup_window: Self::default_signup_window(),
        }
    }
}

/// Numbers of `crawl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crawl {
    /// Requests per second to one site.
    pub requests_per_second: u32,
    /// For how long.
    pub seconds: u32,
    /// The least share of them that is for paths that were not asked for before.
    #[serde(default = "Crawl::default_distinct")]
    pub distinct: f64,
    /// More bytes than this for a request are files that are fetched, and no pages.
    #[serde(default = "Crawl::default_bytes")]
    pub bytes_per_request: u64,
}

impl Crawl {
    const fn default_distinct() -> f64 {
        0.6
    }

    const fn default_bytes() -> u64 {
        200_000
    }
}

impl Default for Crawl {
    fn default() -> Self {
        Self {
            requests_per_second: 10,
            seconds: 60,
            distinct: Self::default_distinct(),
            bytes_per_request: Self::default_bytes(),
        }
    }
}

/// What an endpoint is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointKind {
    /// Any request is a call.
    #[default]
    Api,
    /// Accounts are made there: what is sent to it (POST, PUT) is a sign-up; inside TLS, a connection is.
    Signup,
    /// People log in there: what is sent to it is a call; inside TLS, as with [`EndpointKind::Api`].
    Login,
}

impl EndpointKind {
    /// All of them with their words in policies.
    pub const ALL: [(&str, Self); 3] = [("api", Self::Api), ("signup", Self::Signup), ("login", Self::Login)];

    /// The word in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Signup => "signup",
            Self::Login => "login",
        }
    }

    /// Whether only what is sent to it counts, where the method can be read.
    #[must_use]
    pub const fn is_for_sending(self) -> bool {
        matches!(self, Self::Signup | Self::Login)
    }
}

/// A host by its name: `api.example`, or `*.api.example` for all below that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Host {
    name: String,
    is_below: bool,
}

impl Host {
    /// Whether a name, as a client says it, is meant. Case and a dot at the end do not matter.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let Some(rest) = name.len().checked_sub(self.name.len()) else { return false };
        let (front, back) = name.split_at(rest);
        let is_meant = match front {
            [] => !self.is_below,
            [.., b'.'] => self.is_below && front.len() > 1,
            _ => false,
        };
        is_meant && back.eq_ignore_ascii_case(self.name.as_bytes())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_below { "*." } else { "" }, self.name)
    }
}

/// A text that names no host.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no host name, with or without `*.` before it")]
pub struct ParseHostError(String);

impl FromStr for Host {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        // RFC 1123, section 2.1; underscores are seen in practice.
        let is_label = |label: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(is_part)
        };
        let is_name = name.len() <= 253 && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err();
        if !is_name {
            return Err(ParseHostError(text.chars().take(64).collect()));
        }
        Ok(Self { name: name.to_ascii_lowercase(), is_below: text.starts_with("*.") })
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl TryFrom<String> for Host {
    type Error = ParseHostError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A protected endpoint: services that are not to be called in bursts, over TCP or QUIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What people call it.
    pub name: Name,
    /// What it is there for.
    #[serde(default)]
    pub kind: EndpointKind,
    /// Where it is. If this is empty it is wherever its hosts are named.
    pub addresses: Vec<IpNet>,
    /// What it is called by its clients. Of endpoints that share an address, the name tells which is meant.
    #[serde(default)]
    pub hosts: Vec<Host>,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Of what can be read only requests for paths that begin so are calls; if this is empty, all are.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Its numbers.
    pub numbers: ApiBurst,
}

impl Endpoint {
    /// Whether a port of an address is the endpoint's.
    #[must_use]
    pub fn is_at(&self, address: IpAddr, port: u16) -> bool {
        self.ports.contains(&port) && self.addresses.iter().any(|prefix| prefix.contains(&address))
    }

    /// Its numbers, in the order of their importance.
    #[must_use]
    pub fn list(&self) -> Vec<crate::language::numbers::Number> {
        crate::language::thresholds_read::list_endpoint(&self.numbers)
    }

    /// Whether it is known by the names of its hosts alone.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Whether a client that names `host` means it.
    #[must_use]
    pub fn is_called(&self, host: &[u8]) -> bool {
        self.hosts.iter().any(|known| known.matches(host))
    }

    /// Whether a request for `path` is a call.
    #[must_use]
    pub fn is_for(&self, path: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|prefix| path.starts_with(prefix.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_met_whole_or_from_below() {
        for (host, name, is_meant) in [
            ("api.example", "api.example", true),
            ("api.example", "API.Example.", true),
            ("API.example", "api.example", true),
            ("api.example", "v1.api.example", false),
            ("api.example", "notapi.example", false),
            ("*.api.example", "v1.api.example", true),
            ("*.api.example", "a.b.api.example", true),
            ("*.api.example", "api.example", false),
            ("*.api.example", ".api.example", false),
            ("*.api.example", "xapi.example", false),
            ("api.example", "", false),
        ] {
            assert_eq!(host.parse::<Host>().unwrap().matches(name.as_bytes()), is_meant, "{host} {name}");
        }
        for text in ["", "*.", "192.0.2.1", "2001:db8::1", "a..b", "a b", "*", "https://api.example"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
        assert_eq!("*.API.example".parse::<Host>().unwrap().to_string(), "*.api.example");
    }
}
