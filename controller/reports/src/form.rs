//! What somebody filled in on a form: an address or URL, a kind, a time, and words.
//!
//! What is named is read as people write it in letters, since they paste it from there. What cannot be understood is refused, so that whoever
//! filled it in mends it at once.

use reeve_policy::{Mailbox, Timestamp};

use crate::complaint::{Complaint, Format, Found, MAX_LINE, MAX_TEXT, Reporter};
use crate::kind::Kind;
use crate::read::takedown;
use crate::refused::{Reason, Refused};
use crate::{source, when, words};

/// A form that was filled in.
#[derive(Clone, Debug)]
pub struct Form<'a> {
    /// The address, network, host or URL that it is about.
    pub about: &'a str,
    /// What it is about.
    pub kind: Kind,
    /// When it happened, where that is known.
    pub seen_at: Option<Timestamp>,
    /// What happened.
    pub text: &'a str,
    /// Whom to answer, where that is said.
    pub email: Option<&'a Mailbox>,
}

/// Reads a form.
///
/// # Errors
/// Where what it is about is no address, host or URL, there are no words, or its time is still to come.
pub fn read_form(form: &Form<'_>, now: Timestamp) -> Result<Complaint, Refused> {
    let mut complaint = Complaint::new(Format::Form);
    let about = words::line(&source::refang(words::head(form.about.trim(), 4 * MAX_LINE)), MAX_LINE);
    if about.is_empty() {
        return Err(Reason::NoSource.with("an address, host or URL"));
    }
    match source::address(&about) {
        Ok((network, port)) => (complaint.source, complaint.port) = (Some(network), port),
        Err(refused) => {
            if let Some(url) = source::url(&about) {
                complaint.source = source::address_of_url(&url);
                complaint.hosts.extend(source::authority(&url).and_then(source::host));
                complaint.urls.push(url);
            } else if let Some(host) = source::host(&about) {
                complaint.hosts.push(host);
            } else {
                return Err(refused);
            }
        }
    }
    if complaint.source.is_some() {
        complaint.found = Found::Stated;
    }
    complaint.kind = form.kind;
    complaint.text = words::lines(words::head(form.text, 4 * MAX_TEXT), MAX_TEXT);
    if complaint.text.is_empty() {
        return Err(Reason::FieldMissing.with("what happened"));
    }
    if let Some(at) = form.seen_at {
        complaint.seen_at = Some(when::past(at, now)?);
    }
    if let Some(email) = form.email {
        let email = email.to_string();
        let domain =
            email.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase()).unwrap_or_default();
        complaint.reporter = Reporter { org: String::new(), email, domain };
    }
    takedown::of_kind(&mut complaint);
    Ok(complaint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn form(about: &str) -> Form<'_> {
        Form { about, kind: Kind::Scan, seen_at: None, text: "it knocked", email: None }
    }

    #[test]
    fn what_it_is_about_is_an_address_a_host_or_a_url() {
        let check = |about: &str, source: Option<&str>, hosts: &[&str], urls: &[&str]| {
            let read = read_form(&form(about), NOW).unwrap();
            let found = read.source.map(|source| source.to_string());
            assert_eq!(
                (found.as_deref(), &read.hosts[..], &read.urls[..]),
                (
                    source,
                    &hosts.iter().map(ToString::to_string).collect::<Vec<_>>()[..],
                    &urls.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
                ),
                "{about}"
            );
        };
        check(" 203.0.113.7 ", Some("203.0.113.7/32"), &[], &[]);
        check("203[.]0[.]113[.]7:22", Some("203.0.113.7/32"), &[], &[]);
        check("2001:db8::/48", Some("2001:db8::/48"), &[], &[]);
        check("Shop.Example.", None, &["shop.example"], &[]);
        check("hxxps://shop[.]example/a?b=<c>", None, &["shop.example"], &["https://shop.example/a?b=<c>"]);
        check("http://203.0.113.7:8080/x", Some("203.0.113.7/32"), &[], &["http://203.0.113.7:8080/x"]);
        for (about, reason) in [
            ("", Reason::NoSource),
            (" \u{202e}\u{0} ", Reason::NoSource),
            ("my neighbour", Reason::BadSource),
            ("javascript:alert(1)", Reason::BadSource),
            ("0.0.0.0", Reason::AbsurdSource),
            ("10.0.0.0/8", Reason::SourceTooWide),
        ] {
            assert_eq!(read_form(&form(about), NOW).unwrap_err().reason, reason, "{about}");
        }
    }

    #[test]
    fn words_and_times_are_bounded_and_what_is_to_be_taken_down_is() {
        let long = "\u{1b}[31mx\u{202e}y ".repeat(20_000);
        let email = "Ann@Reader.example".parse().unwrap();
        let mut filled =
            Form { text: &long, email: Some(&email), kind: Kind::ChildAbuse, ..form("192.0.2.1") };
        let read = read_form(&filled, NOW).unwrap();
        assert!(read.text.chars().count() <= MAX_TEXT && !read.text.contains(['\u{1b}', '\u{202e}']));
        assert_eq!(
            (read.reporter.email.as_str(), read.reporter.domain.as_str()),
            ("Ann@Reader.example", "reader.example")
        );
        assert!(read.takedown.unwrap().is_urgent);
        filled.seen_at = Some(NOW + std::time::Duration::from_secs(3 * 86_400));
        assert_eq!(read_form(&filled, NOW).unwrap_err().reason, Reason::Future);
        filled.seen_at = Some(NOW.minus(std::time::Duration::from_secs(60)));
        assert_eq!(read_form(&filled, NOW).unwrap().seen_at, filled.seen_at);
        filled.text = " \r\n ";
        assert_eq!(read_form(&filled, NOW).unwrap_err().reason, Reason::FieldMissing);
    }
}
