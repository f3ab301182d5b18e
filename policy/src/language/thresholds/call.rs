//! Numbers of calls to protected endpoints, and of crawling.

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
}

impl Default for ApiBurst {
    fn default() -> Self {
        Self {
            calls_per_second: 1.0,
            burst: 10,
            in_flight: 1,
            in_flight_window: Duration::from_secs(5),
            continuous: Duration::from_secs(600),
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
}

impl Default for Crawl {
    fn default() -> Self {
        Self { requests_per_second: 10, seconds: 60 }
    }
}

/// A protected endpoint: TCP services that are not to be called in bursts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// What people call it.
    pub name: Name,
    /// Where it is.
    pub addresses: Vec<IpNet>,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Its numbers.
    pub numbers: ApiBurst,
}

impl Endpoint {
    /// Whether a TCP port of an address is the endpoint's.
    #[must_use]
    pub fn is_at(&self, address: std::net::IpAddr, port: u16) -> bool {
        self.ports.contains(&port) && self.addresses.iter().any(|prefix| prefix.contains(&address))
    }
}
