//! `[[events]]`: which log servers and files are told what happens.

use std::path::PathBuf;

use reeve_policy::Name;
use serde::Deserialize;

/// The most of them.
const MAX_SINKS: usize = 8;
/// Where syslog listens over TLS (RFC 5425), and without (RFC 5426, and by custom over TCP).
const PORTS: [(&str, u16); 3] = [("udp", 514), ("tcp", 514), ("tls", 6514)];

/// Somebody who is told what happens.
#[derive(Clone, Debug)]
pub struct Sink {
    /// What it is called here.
    pub name: Name,
    /// Where it is.
    pub to: Place,
    /// In which form.
    pub format: Format,
    /// Who else than the system's authorities may vouch for it: a file in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Where somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A log server, one datagram each.
    Udp(String, u16),
    /// A log server, in a stream.
    Tcp(String, u16),
    /// The same over TLS.
    Tls(String, u16),
    /// This machine's own, such as `/dev/log`.
    Socket(PathBuf),
    /// The end of a file.
    File(PathBuf),
}

/// In which form something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ArcSight's Common Event Format.
    Cef,
    /// The Open Cybersecurity Schema Framework, as JSON in one line.
    Ocsf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkText {
    name: String,
    to: String,
    format: Format,
    ca_file: Option<PathBuf>,
}

pub(super) fn sinks(all: Vec<SinkText>) -> Result<Vec<Sink>, String> {
    if all.len() > MAX_SINKS {
        return Err(format!("events: {}; at most {MAX_SINKS} are allowed", all.len()));
    }
    let mut read: Vec<Sink> = Vec::new();
    for text in all {
        let name: Name = text.name.parse().map_err(|error| format!("events.name: {error}"))?;
        if read.iter().any(|other| other.name == name) {
            return Err(format!("events.name: {name} stands twice"));
        }
        let to = place(&text.to).ok_or_else(|| {
            format!(
                "events {name}: to: {:.100?} is none of udp://HOST[:PORT], tcp://HOST[:PORT], tls://HOST[:PORT], \
                 unix:/PATH and file:/PATH",
                text.to
            )
        })?;
        if text.ca_file.is_some() && !matches!(to, Place::Tls(..)) {
            return Err(format!("events {name}: ca_file: only tls:// shows a certificate"));
        }
        read.push(Sink { name, to, format: text.format, ca_file: text.ca_file });
    }
    Ok(read)
}

fn place(text: &str) -> Option<Place> {
    let path = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    if let Some(rest) = text.strip_prefix("unix:") {
        return path(rest).map(Place::Socket);
    }
    if let Some(rest) = text.strip_prefix("file:") {
        return path(rest).map(Place::File);
    }
    let (scheme, rest) = text.split_once("://")?;
    let (_, usual) = PORTS.into_iter().find(|(known, _)| *known == scheme)?;
    // Behind an address of IPv6 in brackets, or any other host.
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?),
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let port = if port.is_empty() { usual } else { port.parse().ok().filter(|port| *port > 0)? };
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_sound) {
        return None;
    }
    let host = host.to_owned();
    Some(match scheme {
        "udp" => Place::Udp(host, port),
        "tcp" => Place::Tcp(host, port),
        _ => Place::Tls(host, port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_or_refused() {
        let check = |text: &str, expect: Option<Place>| assert_eq!(place(text), expect, "{text}");
        check("udp://192.0.2.9", Some(Place::Udp("192.0.2.9".into(), 514)));
        check("tcp://[2001:db8::1]:601", Some(Place::Tcp("2001:db8::1".into(), 601)));
        check("tls://siem.example.net", Some(Place::Tls("siem.example.net".into(), 6514)));
        check("unix:/dev/log", Some(Place::Socket("/dev/log".into())));
        check("file:/var/log/reeve/events.jsonl", Some(Place::File("/var/log/reeve/events.jsonl".into())));
        for bad in [
            "",
            "udp://",
            "udp://h:0",
            "udp://h:x",
            "udp://h/x",
            "http://h",
            "file:x",
            "unix:",
            "tcp://[::1]x",
        ] {
            check(bad, None);
        }
    }
}
