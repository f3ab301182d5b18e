//! Where abuse came from: addresses, networks, hosts and URLs, as strangers write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::complaint::{MAX_LINE, MAX_LIST};
use crate::refused::{Reason, Refused};
use crate::words;

/// The widest networks that a report may be about, in bits: a provider has a few of them, and a complaint about more is about nobody.
const WIDEST: (u8, u8) = (16, 32);

/// An address or network: `203.0.113.7`, `203.0.113.0/24`, `[2001:db8::1]`, `203[.]0[.]113[.]7`, `203.0.113.7:4711` (with its port).
///
/// Private and documentation addresses are as good as others here: whose they are is for whoever knows that.
pub(crate) fn address(text: &str) -> Result<(IpNet, Option<u16>), Refused> {
    let text = refang(words::head(text.trim(), 200));
    // RFC 2822's literals in mail, RFC 3986's in URLs, and RFC 5321's tag.
    let text = text.trim_matches(|letter: char| "<>\"'`".contains(letter));
    let wrong = || Reason::BadSource.with(text);
    if let Ok(address) = bare(text).parse() {
        return Ok((whole(address)?, None));
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok((checked(network)?, None));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let address = bare(host).parse().map_err(|_| wrong())?;
    Ok((whole(address)?, port.parse().ok().filter(|port| *port != 0)))
}

/// Without the brackets of a literal, and what stands in them beside the address.
fn bare(text: &str) -> &str {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let text = text.strip_prefix("IPv6:").or_else(|| text.strip_prefix("ipv6:")).unwrap_or(text);
    text.split('%').next().unwrap_or(text)
}

/// A single address as a network.
pub(crate) fn whole(address: IpAddr) -> Result<IpNet, Refused> {
    checked(IpNet::from(address.to_canonical()))
}

/// Refuses what nothing can come from, and what is too wide.
pub(crate) fn checked(network: IpNet) -> Result<IpNet, Refused> {
    let absurd = match network.addr() {
        IpAddr::V4(address) => {
            // RFC 1122, section 3.2.1.3: this host, multicast, class E and the broadcast.
            let first = address.octets()[0];
            first == 0 || first >= 224 || address == Ipv4Addr::BROADCAST
        }
        IpAddr::V6(address) => {
            address.is_unspecified() || address.is_multicast() || address == Ipv6Addr::from(0xffff)
        }
    };
    if absurd {
        return Err(Reason::AbsurdSource.with(network.addr().to_string()));
    }
    let widest = if network.addr().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
    if network.prefix_len() < widest {
        return Err(Reason::SourceTooWide.with(network.to_string()));
    }
    Ok(network.trunc())
}

/// Undoes what keeps programs from making links: `203[.]0`, `hxxp://`, `example(dot)com`.
pub(crate) fn refang(text: &str) -> String {
    const MARKS: [(&str, &str); 14] = [
        ("[.]", "."),
        ("(.)", "."),
        ("{.}", "."),
        ("[.", "."),
        (".]", "."),
        ("[dot]", "."),
        ("(dot)", "."),
        ("{dot}", "."),
        ("[:]", ":"),
        ("[://]", "://"),
        ("hxxps://", "https://"),
        ("hxxp://", "http://"),
        ("hXXps://", "https://"),
        ("hXXp://", "http://"),
    ];
    let mut out = text.to_owned();
    for (mark, plain) in MARKS {
        // `.]` ends a sentence in brackets as well; an address goes on behind it.
        if out.contains(mark) && (mark.len() != 2 || joins(&out, mark)) {
            out = out.replace(mark, plain);
        }
    }
    out
}

/// Whether `mark` stands between letters or digits.
fn joins(text: &str, mark: &str) -> bool {
    text.match_indices(mark).all(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + mark.len()..].chars().next();
        before.is_some_and(char::is_alphanumeric) && after.is_some_and(char::is_alphanumeric)
    })
}

/// A host name in lower case, if `text` is one: labels of letters, digits and hyphens, the last of them no number.
pub(crate) fn host(text: &str) -> Option<String> {
    let text = refang(words::head(text.trim(), 300));
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.rsplit('.').next()?;
    (text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && last.bytes().any(|byte| byte.is_ascii_alphabetic()))
    .then_some(text)
}

/// A URL of the web, in one line, if `text` is one.
pub(crate) fn url(text: &str) -> Option<String> {
    let text = refang(words::head(text.trim(), 4 * MAX_LINE));
    let scheme = text.split_once("://")?.0.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https" | "ftp" | "ftps") {
        return None;
    }
    authority(&text)?;
    words::some_line(&text, MAX_LINE)
}

/// The host of a URL, without user, port and brackets.
pub(crate) fn authority(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let all = rest.split(['/', '?', '#', '\\']).next()?;
    let host = all.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// The address that a URL names instead of a host.
pub(crate) fn address_of_url(url: &str) -> Option<IpNet> {
    authority(url)?.parse().ok().and_then(|address| whole(address).ok())
}

/// Adds to a list what is not in it, while there is room.
pub(crate) fn add<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if list.len() < MAX_LIST && !list.contains(&one) {
        list.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let cases = [
            ("203.0.113.7", "203.0.113.7/32", None),
            (" [203.0.113.7] ", "203.0.113.7/32", None),
            ("203[.]0[.]113[.]7", "203.0.113.7/32", None),
            ("203.0.113.7:4711", "203.0.113.7/32", Some(4711)),
            ("203.0.113.77/24", "203.0.113.0/24", None),
            ("10.0.0.1", "10.0.0.1/32", None),
            ("::ffff:203.0.113.7", "203.0.113.7/32", None),
            ("2001:db8::1", "2001:db8::1/128", None),
            ("[2001:db8::1]:80", "2001:db8::1/128", Some(80)),
            ("[IPv6:2001:db8::1]", "2001:db8::1/128", None),
        ];
        for (text, network, port) in cases {
            assert_eq!(address(text).unwrap(), (network.parse().unwrap(), port), "{text}");
        }
        let refused = [
            ("0.0.0.0", Reason::AbsurdSource),
            ("224.0.0.5", Reason::AbsurdSource),
            ("255.255.255.255", Reason::AbsurdSource),
            ("ff02::1", Reason::AbsurdSource),
            ("::", Reason::AbsurdSource),
            ("203.0.0.0/8", Reason::SourceTooWide),
            ("example.com", Reason::BadSource),
            ("", Reason::BadSource),
        ];
        for (text, reason) in refused {
            assert_eq!(address(text).unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn hosts_and_urls() {
        assert_eq!(host("WWW.Example[.]com.").as_deref(), Some("www.example.com"));
        assert_eq!((host("203.0.113.7"), host("example"), host("a b.c")), (None, None, None));
        assert_eq!(url("hxxp://bad.example/x y").as_deref(), Some("http://bad.example/x y"));
        assert_eq!((url("javascript://x"), url("http://")), (None, None));
        assert_eq!(address_of_url("https://u@203.0.113.7:8443/x"), "203.0.113.7/32".parse().ok());
        assert_eq!(refang("see [the end.] of it"), "see [the end.] of it");
    }
}
