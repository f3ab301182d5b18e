//! Letters: what people write, and programs that have no format for it.
//!
//! Nothing of it is certain. Addresses are found in subject and text, defanged or not, and weighed by the words before them; the
//! likeliest is the source, the others are told as well, since only the caller knows whose they are. A time is taken where it says its
//! offset. Notices of the film and music industry carry an `<Infringement>` of XML (ACNS), which is read by its tags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reeve_policy::Timestamp;

use super::{arf, attachments, begun, prose, takedown, text};
use crate::complaint::{Complaint, Format, Found, MAX_LIST};
use crate::kind::Kind;
use crate::mime::{self, Mail, Part};
use crate::refused::{Reason, Refused};
use crate::{source, when, words};

/// How much of a letter is looked through, in bytes.
const MAX_SEARCHED: usize = 128 << 10;
/// The longest URL that is looked at, in bytes.
const MAX_URL: usize = 4_000;
/// How many addresses are weighed.
const MAX_ADDRESSES: usize = 200;

/// Lines behind which somebody else's mail begins: it is searched, and not kept.
const ENCLOSES: [&str; 8] = [
    "-----original message-----",
    "-------- original message",
    "-------- forwarded message",
    "---------- forwarded message",
    "begin forwarded message",
    "-----oorspronkelijk bericht-----",
    "-----oprindelig meddelelse-----",
    "-----ursprüngliche nachricht-----",
];

/// Reads a letter.
pub(super) fn read(mail: &Mail<'_>, now: Timestamp) -> Result<Complaint, Refused> {
    let mut complaint = begun(Format::Plain, &mail.head);
    let whole = prose(mail);
    let whole = words::head(&whole, MAX_SEARCHED);
    let searched = source::refang(&format!("{}\n{whole}", mail.head.subject));
    let lower = searched.to_lowercase();
    complaint.text = text(&whole[..enclosed_from(whole)]);
    for url in urls(&searched) {
        source::add(&mut complaint.urls, url);
    }
    // Where no text tells a URL, links of the page may be it, or be somebody's imprint: better too many than none.
    if complaint.urls.is_empty() {
        let links = mail.of_kind(&["text/html"]).take(1).flat_map(Part::links);
        links.filter_map(|link| source::url(&link)).for_each(|url| source::add(&mut complaint.urls, url));
    }
    complaint.kind = kind(&complaint.subject.to_lowercase(), &lower);
    notice(&mut complaint, whole, now)?;
    if complaint.source.is_none() {
        choose(&mut complaint, &searched);
    }
    if complaint.seen_at.is_none() {
        complaint.seen_at = when::in_text(&searched, now);
    }
    let hosts: Vec<_> =
        complaint.urls.iter().filter_map(|url| source::host(source::authority(url)?)).collect();
    hosts.into_iter().for_each(|host| source::add(&mut complaint.hosts, host));
    let enclosed = mail.of_kind(&["message/rfc822", "text/rfc822-headers", "message/global"]).next();
    if let Some(head) = enclosed.and_then(Part::enclosed) {
        complaint.header = mime::kept(&head);
        // Whoever forwards a mail and says nothing means that it is spam, sent by whoever handed it over.
        if complaint.kind == Kind::Other {
            complaint.kind = Kind::Spam;
        }
        if let Some(network) = arf::handed_over(&head).filter(|_| complaint.source.is_none()) {
            (complaint.source, complaint.found) = (Some(network), Found::InHeader);
        }
    }
    complaint.evidence = attachments(mail, &["message/rfc822", "text/rfc822-headers", "message/global"]);
    takedown::in_words(&mut complaint, &lower);
    if complaint.source.is_none() && complaint.urls.is_empty() {
        return Err(Reason::NoSource.with("no address and no URL in its subject and text"));
    }
    Ok(complaint)
}

/// Where in a letter another one begins.
fn enclosed_from(whole: &str) -> usize {
    let mut at = 0;
    for line in whole.split_inclusive('\n') {
        let lower = line.trim().to_lowercase();
        if ENCLOSES.iter().any(|mark| lower.starts_with(mark)) {
            return at;
        }
        at += line.len();
    }
    whole.len()
}

/// The addresses in a text, in order, each once.
pub(super) fn addresses(text: &str) -> Vec<IpNet> {
    found(text).into_iter().fold(Vec::new(), |mut all, (_, network)| {
        if !all.contains(&network) {
            all.push(network);
        }
        all
    })
}

/// The addresses in a text, with where they stand.
fn found(text: &str) -> Vec<(usize, IpNet)> {
    let mut all = Vec::new();
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let mut at = 0;
    while at < bytes.len() && all.len() < MAX_ADDRESSES {
        if !is_part(bytes[at]) {
            at += 1;
            continue;
        }
        let end = at + bytes[at..].iter().take_while(|byte| is_part(**byte)).count();
        let is_word =
            at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || matches!(bytes[at - 1], b'_' | b'-'));
        let goes_on = bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !is_word && !goes_on {
            // What stands here is ASCII, so it can be cut anywhere.
            let piece = text[at..end].trim_matches(|letter| matches!(letter, '.' | ':'));
            let piece =
                if text[at..end].starts_with("::") { text[at..end].trim_end_matches('.') } else { piece };
            let address = address(piece).and_then(|address| source::whole(address).ok());
            if let Some(address) = address.filter(|_| !is_version(&text[..at])) {
                all.push((at, widened(address, &text[end..], text[..at].ends_with('/'))));
            }
        }
        at = end;
    }
    all
}

/// An address, with a port behind it or not.
fn address(piece: &str) -> Option<IpAddr> {
    if let Ok(address) = piece.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    if let Some((host, port)) = piece.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && let Ok(address) = host.parse::<Ipv4Addr>()
    {
        return Some(address.into());
    }
    // Two groups with `::` between them stand in programs, too; times have no `::`.
    let groups = piece.split(':').filter(|group| !group.is_empty()).count();
    piece.parse::<Ipv6Addr>().ok().filter(|_| groups >= 3).map(IpAddr::from)
}

/// With the length of a prefix behind it, unless it is a URL's host.
fn widened(address: IpNet, rest: &str, is_host: bool) -> IpNet {
    let Some(rest) = rest.strip_prefix('/').filter(|_| !is_host) else { return address };
    let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let length = rest[..digits].parse().ok();
    let wider = length.and_then(|length| IpNet::new(address.addr(), length).ok());
    wider.and_then(|wider| source::checked(wider).ok()).unwrap_or(address)
}

/// `version 1.2.3.4` is none.
fn is_version(before: &str) -> bool {
    let before: String = before.chars().rev().skip_while(|letter| *letter == ' ').take(9).collect();
    let before: String = before.chars().rev().map(|letter| letter.to_ascii_lowercase()).collect();
    ["version", "ver.", "release", "v"]
        .iter()
        .any(|word| before.strip_suffix(word).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric)))
}

/// Chooses the likeliest of the addresses in `said` as the source, by the words before each on its line.
pub(super) fn choose(complaint: &mut Complaint, said: &str) {
    const SOURCE: [&str; 22] = [
        "source",
        "src",
        "attacker",
        "attacking",
        "offending",
        "abusive",
        "from",
        "origin",
        "originating",
        "client",
        "rhost",
        "your ip",
        "your server",
        "your address",
        "ip address",
        "abuser",
        "suspect",
        "bron",
        "aanvaller",
        "kilde",
        "quelle",
        "host",
    ];
    const TARGET: [&str; 15] = [
        "destination",
        "dest",
        "dst",
        "target",
        "targets",
        "victim",
        "our server",
        "our ip",
        "our network",
        "our host",
        "to",
        "doel",
        "mål",
        "ziel",
        "nameserver",
    ];
    let mut weighed: Vec<(i32, usize, IpNet)> = Vec::new();
    for (at, network) in found(said) {
        let mut back = said[..at].rsplit('\n');
        let line = back.next().unwrap_or_default();
        // A line may be broken between the word and the address.
        let line = if line.trim().is_empty() { back.next().unwrap_or_default() } else { line };
        let before = line.char_indices().rev().nth(59).map_or(line, |(from, _)| &line[from..]).to_lowercase();
        let last = |list: &[&str]| {
            list.iter()
                .filter_map(|word| words::places(&before, word).last().map(|place| place + word.len()))
                .max()
        };
        let weight = match (last(&SOURCE), last(&TARGET)) {
            (Some(source), Some(target)) if target > source => -4,
            (None, Some(_)) => -4,
            (Some(_), _) => 4,
            (None, None) => 0,
        };
        let in_subject = i32::from(!said[..at].contains('\n')) * 6;
        match weighed.iter_mut().find(|(_, _, known)| *known == network) {
            Some(known) => known.0 += 1 + weight.max(0),
            None => weighed.push((weight + in_subject, at, network)),
        }
    }
    weighed.sort_by_key(|(weight, at, _)| (-weight, *at));
    let mut likely = weighed.into_iter().map(|(_, _, network)| network);
    let chosen = likely.next().or_else(|| complaint.urls.iter().find_map(|url| source::address_of_url(url)));
    (complaint.source, complaint.found) = (chosen, chosen.map_or(Found::Nowhere, |_| Found::InText));
    complaint.others = likely.take(MAX_LIST).collect();
}

/// The URLs in a text that was refanged.
fn urls(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices("://").take(1_000) {
        let start = text[..at]
            .rfind(|letter: char| !letter.is_ascii_alphabetic())
            .map_or(0, |before| before + text[before..].chars().next().map_or(1, char::len_utf8));
        let rest = words::head(&text[start..], MAX_URL);
        let end = rest
            .find(|letter: char| letter.is_whitespace() || "<>\"'`|".contains(letter))
            .unwrap_or(rest.len());
        let whole = rest[..end].trim_end_matches(['.', ',', ';', ':', ')', ']', '}', '!', '?']);
        // Definitions of forms, which notices carry, are nothing to complain about.
        let is_form = ["w3.org", "acns.net", "xarf.org", "x-arf.org"].iter().any(|host| {
            source::authority(whole).is_some_and(|own| {
                own == *host || own.strip_suffix(host).is_some_and(|rest| rest.ends_with('.'))
            })
        });
        if let Some(url) = source::url(whole).filter(|_| !is_form) {
            all.push(url);
        }
        if all.len() >= 2 * MAX_LIST {
            break;
        }
    }
    all
}

/// What a letter is about: the kind whose words it has most of, those of the subject counting for five.
fn kind(subject: &str, said: &str) -> Kind {
    const WORDS: [(Kind, &[&str]); 14] = [
        (
            Kind::ChildAbuse,
            &[
                "csam",
                "child sexual abuse",
                "child pornography",
                "kinderporno",
                "kinderpornografie",
                "børneporno",
            ],
        ),
        (
            Kind::Copyright,
            &[
                "copyright",
                "copyrighted",
                "dmca",
                "copyright infringement",
                "auteursrecht",
                "auteursrechten",
                "ophavsret",
                "urheberrecht",
                "bittorrent",
                "acns",
            ],
        ),
        (Kind::Trademark, &["trademark", "trade mark", "counterfeit", "merkenrecht", "varemærke"]),
        (Kind::Phishing, &["phishing", "phish", "credential harvesting"]),
        (
            Kind::LoginAttack,
            &[
                "brute force",
                "brute-force",
                "bruteforce",
                "failed password",
                "failed login",
                "failed logins",
                "login attempts",
                "login attack",
                "ssh attack",
                "authentication failure",
                "fail2ban",
                "invalid user",
                "inlogpogingen",
                "password guessing",
            ],
        ),
        (
            Kind::Scan,
            &[
                "port scan",
                "portscan",
                "port scanning",
                "port-scan",
                "scanning",
                "network scan",
                "probing",
                "scanned",
                "poortscan",
            ],
        ),
        (
            Kind::Flood,
            &[
                "ddos",
                "dos attack",
                "denial of service",
                "syn flood",
                "udp flood",
                "flooding",
                "flood",
                "amplification",
            ],
        ),
        (
            Kind::OpenService,
            &[
                "open relay",
                "open resolver",
                "open dns",
                "open proxy",
                "openresolver",
                "open memcached",
                "open ntp",
                "open snmp",
            ],
        ),
        (Kind::Botnet, &["botnet", "command and control", "c2 server", "c&c", "infected", "bot infection"]),
        (Kind::Malware, &["malware", "trojan", "virus", "ransomware", "malicious file", "payload delivery"]),
        (
            Kind::WebAttack,
            &[
                "sql injection",
                "web attack",
                "exploit attempt",
                "wordpress attack",
                "xmlrpc",
                "wp-login",
                "hacking",
                "hack attempt",
                "vulnerability scan",
            ],
        ),
        (Kind::Compromised, &["defaced", "defacement", "compromised", "webshell", "hacked"]),
        (
            Kind::Spam,
            &["spam", "unsolicited", "ube", "uce", "junk mail", "spamtrap", "ongevraagde", "spamvertised"],
        ),
        (
            Kind::IllegalContent,
            &[
                "defamation",
                "defamatory",
                "hate speech",
                "terrorist content",
                "illegal content",
                "smaad",
                "doxing",
            ],
        ),
    ];
    let count = |list: &[&str]| -> usize {
        list.iter()
            .map(|word| {
                words::places(said, word).take(20).count() + 5 * words::places(subject, word).take(4).count()
            })
            .sum()
    };
    let mut best = (0, Kind::Other);
    for (kind, list) in WORDS {
        let count = count(list);
        // The graver comes first, and stays where both are said as often.
        if count > best.0 {
            best = (count, kind);
        }
    }
    best.1
}

/// A notice of ACNS 1.2 in the text: who says that which address shared a work, and when.
fn notice(complaint: &mut Complaint, whole: &str, now: Timestamp) -> Result<(), Refused> {
    let Some(at) = whole.find("<Infringement") else { return Ok(()) };
    let xml = &whole[at..];
    complaint.kind = Kind::Copyright;
    complaint.said = "acns".into();
    complaint.reported_id = tag(xml, "ID").and_then(|id| words::some_line(id, 400));
    if let Some(stated) = tag(xml, "IP_Address") {
        let (network, _) = source::address(stated)?;
        (complaint.source, complaint.found) = (Some(network), Found::Stated);
    }
    complaint.port = tag(xml, "Port").and_then(|port| port.trim().parse().ok()).filter(|port| *port != 0);
    complaint.protocol = words::line(tag(xml, "Type").unwrap_or_default(), 60);
    complaint.seen_at = tag(xml, "TimeStamp").map(|time| when::field(time, now)).transpose()?;
    // The form is for programs; what people read is the letter before it.
    complaint.text = text(&whole[..at]);
    Ok(())
}

/// What the first element of this name holds.
fn tag<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let open = format!("<{name}>");
    let start = xml.find(&open)? + open.len();
    let rest = &xml[start..];
    let inner = &rest[..rest.find('<')?];
    Some(inner.trim()).filter(|inner| !inner.is_empty() && inner.len() <= 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_among_words() {
        let cases: [(&str, &[&str]); 9] = [
            ("from 203.0.113.7, and 203.0.113.7.", &["203.0.113.7/32"]),
            ("203.0.113.7:22 -> 198.51.100.9:4711", &["203.0.113.7/32", "198.51.100.9/32"]),
            ("net 203.0.113.0/24 at 12:34:56", &["203.0.113.0/24"]),
            ("http://203.0.113.7/24", &["203.0.113.7/32"]),
            ("[2001:db8::1:7]:80 and 2001:db8:0:0:0:0:0:9", &["2001:db8::1:7/128", "2001:db8::9/128"]),
            ("version 1.2.3.4, v1.2.3.4, x1.2.3.4, 1.2.3.4.5", &[]),
            ("std::vec, a::b, 0.0.0.0, 999.1.1.1", &[]),
            ("é203.0.113.7é 203.0.113.8é", &["203.0.113.7/32", "203.0.113.8/32"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let all: Vec<String> = addresses(text).iter().map(ToString::to_string).collect();
            assert_eq!(all, expected, "{text}");
        }
    }

    #[test]
    fn words_say_what_it_is_about() {
        assert_eq!(kind("abuse report", "we saw 40 failed password lines (fail2ban)"), Kind::LoginAttack);
        assert_eq!(kind("portscan", "a portscan of our hosts"), Kind::Scan);
        assert_eq!(kind("", "good day"), Kind::Other);
    }
}
