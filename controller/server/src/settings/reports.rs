//! `[reports]`: who reports to others what was found.

use reeve_reports::Contact;
use serde::Deserialize;

/// The longest name of an organization, in bytes.
const MAX_ORGANIZATION: usize = 200;
/// The longest address of mail (RFC 5321, 4.5.3.1.3).
const MAX_MAIL: usize = 254;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportsText {
    organization: String,
    contact: String,
    domain: Option<String>,
}

impl TryFrom<ReportsText> for Contact {
    type Error = String;

    fn try_from(read: ReportsText) -> Result<Self, String> {
        let ReportsText { organization, contact, domain } = read;
        if organization.trim().is_empty()
            || organization.len() > MAX_ORGANIZATION
            || organization.chars().any(char::is_control)
        {
            return Err(format!("reports.organization: one line of 1 to {MAX_ORGANIZATION} bytes"));
        }
        let parts = contact.split_once('@').filter(|(name, host)| {
            let is_plain = |letter: char| letter.is_ascii_graphic() && !"<>()[],;:\\\"@".contains(letter);
            contact.len() <= MAX_MAIL && !name.is_empty() && name.chars().all(is_plain) && is_domain(host)
        });
        let Some((_, host)) = parts else {
            return Err(format!(
                "reports.contact: {contact:.80?} is no mailbox, such as \"abuse@example.net\""
            ));
        };
        let domain = domain.unwrap_or_else(|| host.to_owned());
        if !is_domain(&domain) {
            return Err(format!("reports.domain: {domain:.80?} is no domain, such as \"example.net\""));
        }
        Ok(Self { org: organization, email: contact, domain })
    }
}

/// Whether a text is a domain of at least two names.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Contact, String> {
        toml::from_str::<ReportsText>(text).map_err(|error| error.to_string())?.try_into()
    }

    #[test]
    fn who_reports_has_a_name_and_a_mailbox() {
        let own = read("organization = 'Example Hosting'\ncontact = 'abuse@mail.example.net'").unwrap();
        assert_eq!((own.org.as_str(), own.domain.as_str()), ("Example Hosting", "mail.example.net"));
        let own = read("organization = 'E'\ncontact = 'a@m.example.net'\ndomain = 'example.net'").unwrap();
        assert_eq!(own.domain, "example.net");
        for (text, key) in [
            ("organization = ' '\ncontact = 'a@example.net'", "reports.organization:"),
            ("organization = 'E'\ncontact = 'example.net'", "reports.contact:"),
            ("organization = 'E'\ncontact = 'a b@example.net'", "reports.contact:"),
            ("organization = 'E'\ncontact = 'a@localhost'", "reports.contact:"),
            ("organization = 'E'\ncontact = 'a@example.net'\ndomain = '-x.y'", "reports.domain:"),
        ] {
            assert!(read(text).unwrap_err().starts_with(key), "{text}");
        }
        assert!(read("organization = 'E'").unwrap_err().contains("contact"));
    }
}
