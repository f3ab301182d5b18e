//! `[links]`: the port for people outside, and what it is called there.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

/// A port for browsers.
#[derive(Clone, Debug)]
pub struct Web {
    /// Where it is.
    pub listen: SocketAddr,
    /// How it is reached from outside: with a scheme, without a slash at the end.
    pub url: String,
    /// A certificate that browsers know, and its key; without them it listens on this machine alone, behind a proxy.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whose word is taken for who asks (`X-Forwarded-For`).
    pub proxies: Vec<IpNet>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebText {
    listen: String,
    url: String,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    #[serde(default)]
    proxies: Vec<String>,
}

impl Web {
    pub(super) fn read(table: &str, read: WebText) -> Result<Self, String> {
        let listen: SocketAddr = read.listen.parse().map_err(|_| {
            format!("{table}.listen: {:.60?} is no ADDRESS:PORT, such as 127.0.0.1:8080", read.listen)
        })?;
        let certificate = match (read.certificate, read.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) if !listen.ip().is_loopback() => {
                return Err(format!(
                    "{table}.certificate: without one it listens on this machine alone, such as 127.0.0.1:8080"
                ));
            }
            (None, None) => None,
            _ => return Err(format!("{table}.certificate, {table}.key: both or none")),
        };
        let form = || format!("{table}.url: {:.120?} is not like https://abuse.example.net", read.url);
        let url: reqwest::Url = read.url.parse().map_err(|_| form())?;
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&url.host_str().unwrap_or_default());
        let is_sound = (url.scheme() == "https" || (url.scheme() == "http" && is_here))
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_sound {
            return Err(form());
        }
        let prefix = |text: &String| -> Result<IpNet, String> {
            let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            let wrong = || format!("{table}.proxies: {text:.60?} is no address and no prefix");
            text.parse::<IpNet>().ok().or_else(address).ok_or_else(wrong)
        };
        let proxies = read.proxies.iter().map(prefix).collect::<Result<_, _>>()?;
        Ok(Self { listen, url: url.as_str().trim_end_matches('/').to_owned(), certificate, proxies })
    }
}
