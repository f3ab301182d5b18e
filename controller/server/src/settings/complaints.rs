//! `[complaints]`: where complaints of people outside come in, and until when they are answered.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use reeve_policy::Name;
use reeve_policy::language::Grace;
use serde::Deserialize;

use super::secret;
use crate::openpgp::Keys;

/// The name under which systemd hands over the passphrase of the key (`LoadCredential=`).
const PASSPHRASE: &str = "openpgp-passphrase";
/// The most addresses that get mail by SMTP.
const MAX_RECIPIENTS: usize = 100;

/// How complaints are dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints {
    /// A folder of mails (maildir) that they come to.
    pub maildir: Option<PathBuf>,
    /// The port that they come to by SMTP.
    pub smtp: Option<SocketAddr>,
    /// Who gets mail there, in lower case.
    pub smtp_recipients: Vec<String>,
    /// What mail is opened with that is encrypted.
    pub(crate) openpgp: Option<Arc<Keys>>,
    /// The clause of cases in which something is to be taken down.
    pub takedown_clause: String,
    /// The time in which such a one is to be answered.
    pub takedown: Grace,
    /// And one that cannot wait.
    pub urgent: Grace,
    /// Whether there is a form that anybody may fill in.
    pub form: bool,
    /// Whether who complains by mail or by the form is told that it is here.
    pub acknowledge: bool,
}

impl Default for Complaints {
    fn default() -> Self {
        Self {
            maildir: None,
            smtp: None,
            smtp_recipients: Vec::new(),
            openpgp: None,
            takedown_clause: "complaint/takedown".to_owned(),
            takedown: Grace::WorkingDays(2),
            urgent: Grace::WorkingDays(1),
            form: false,
            acknowledge: false,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ComplaintsText {
    maildir: Option<PathBuf>,
    smtp: Option<String>,
    #[serde(default)]
    smtp_recipients: Vec<String>,
    openpgp_key: Option<PathBuf>,
    openpgp_passphrase_file: Option<PathBuf>,
    takedown_clause: Option<String>,
    takedown: Option<String>,
    takedown_urgent: Option<String>,
    form: bool,
    acknowledge: bool,
}

impl TryFrom<ComplaintsText> for Complaints {
    type Error = String;

    fn try_from(read: ComplaintsText) -> Result<Self, String> {
        let usual = Self::default();
        let time = |key: &str, text: Option<String>, usual| match text {
            None => Ok(usual),
            Some(text) => Grace::parse(&text)
                .filter(|limit| !matches!(limit, Grace::Span(time) if time.is_zero()))
                .ok_or_else(|| format!("complaints.{key}: {text:.40?} is not {}", Grace::SYNTAX)),
        };
        let is_clause = |text: &str| {
            let parts = text.split_once('/');
            parts.is_some_and(|(policy, clause)| {
                policy.parse::<Name>().is_ok() && clause.parse::<Name>().is_ok()
            })
        };
        let takedown_clause = read.takedown_clause.unwrap_or(usual.takedown_clause);
        if !is_clause(&takedown_clause) {
            return Err(format!(
                "complaints.takedown_clause: {takedown_clause:.80?} is no clause, such as \"cloudprovider/ntd\""
            ));
        }
        if read.maildir.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err("complaints.maildir: a path from the root on, such as \"/var/mail/abuse\"".to_owned());
        }
        let smtp = read.smtp.map(|text| {
            text.parse().map_err(|_| {
                format!("complaints.smtp: {text:.60?} is no address with a port, such as \"127.0.0.1:2525\"")
            })
        });
        Ok(Self {
            maildir: read.maildir,
            smtp_recipients: recipients(read.smtp_recipients, smtp.is_some())?,
            smtp: smtp.transpose()?,
            openpgp: openpgp(read.openpgp_key, read.openpgp_passphrase_file)?,
            takedown_clause,
            takedown: time("takedown", read.takedown, usual.takedown)?,
            urgent: time("takedown_urgent", read.takedown_urgent, usual.urgent)?,
            form: read.form,
            acknowledge: read.acknowledge,
        })
    }
}

/// The keys that mail is opened with.
fn openpgp(key: Option<PathBuf>, passphrase: Option<PathBuf>) -> Result<Option<Arc<Keys>>, String> {
    let Some(key) = key else {
        return match passphrase {
            Some(_) => {
                Err("complaints.openpgp_passphrase_file: there is no complaints.openpgp_key".to_owned())
            }
            None => Ok(None),
        };
    };
    if !key.is_absolute() {
        return Err("complaints.openpgp_key: a path from the root on, such as \"/etc/reeve/abuse-key.asc\""
            .to_owned());
    }
    let passphrase = secret("complaints.openpgp_passphrase_file", PASSPHRASE, passphrase)?;
    let keys = Keys::load(&key, passphrase.as_deref())
        .map_err(|error| format!("complaints.openpgp_key: {error}"))?;
    Ok(Some(Arc::new(keys)))
}

/// Who gets mail by SMTP, where there is a port for it.
fn recipients(read: Vec<String>, has_port: bool) -> Result<Vec<String>, String> {
    if read.is_empty() == has_port {
        return Err(if has_port {
            "complaints.smtp_recipients: who gets mail there is missing, such as [\"abuse@example.net\"]"
                .to_owned()
        } else {
            "complaints.smtp_recipients: without complaints.smtp no mail comes to them".to_owned()
        });
    }
    if read.len() > MAX_RECIPIENTS {
        return Err(format!("complaints.smtp_recipients: at most {MAX_RECIPIENTS}"));
    }
    let is_address = |text: &str| {
        let is_plain = |text: &str| {
            !text.is_empty()
                && !text.contains(|letter: char| {
                    letter.is_whitespace() || letter.is_control() || "<>@\"\\".contains(letter)
                })
        };
        text.split_once('@').is_some_and(|(local, domain)| is_plain(local) && is_plain(domain))
            && text.len() <= 320
    };
    if let Some(wrong) = read.iter().find(|text| !is_address(text)) {
        return Err(format!(
            "complaints.smtp_recipients: {wrong:.80?} is no address of mail, such as \"abuse@example.net\""
        ));
    }
    Ok(read.iter().map(|text| text.to_lowercase()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Complaints, String> {
        toml::from_str::<ComplaintsText>(text).map_err(|error| error.to_string())?.try_into()
    }

    #[test]
    fn times_are_working_days_or_days_and_a_clause_is_one() {
        let usual = read("").unwrap();
        assert_eq!((usual.takedown, usual.urgent), (Grace::WorkingDays(2), Grace::WorkingDays(1)));
        let own =
            read("maildir = '/var/mail/abuse'\ntakedown = '14d'\ntakedown_clause = 'extin/ntd'").unwrap();
        assert_eq!(own.takedown, Grace::parse("14d").unwrap());
        assert_eq!(own.takedown_clause, "extin/ntd");
        let smtp = read("smtp = '127.0.0.1:2525'\nsmtp_recipients = ['Abuse@Example.net', 'j.ö@b.example']")
            .unwrap();
        assert_eq!(smtp.smtp, Some("127.0.0.1:2525".parse().unwrap()));
        assert_eq!(smtp.smtp_recipients, ["abuse@example.net", "j.ö@b.example"]);
        for (text, key) in [
            ("takedown = 'soon'", "complaints.takedown:"),
            ("takedown_urgent = '0s'", "complaints.takedown_urgent:"),
            ("takedown_clause = 'ntd'", "complaints.takedown_clause:"),
            ("maildir = 'mail'", "complaints.maildir:"),
            ("smtp = '2525'\nsmtp_recipients = ['a@b']", "complaints.smtp:"),
            ("smtp = '127.0.0.1:2525'", "complaints.smtp_recipients: who"),
            ("smtp_recipients = ['abuse@example.net']", "complaints.smtp_recipients: without"),
            ("smtp = '127.0.0.1:2525'\nsmtp_recipients = ['abuse']", "complaints.smtp_recipients: \"abuse\""),
            ("smtp = '[::1]:25'\nsmtp_recipients = ['<a@b>']", "complaints.smtp_recipients: \"<a"),
            ("smtp = '[::1]:25'\nsmtp_recipients = ['a@b@c']", "complaints.smtp_recipients: \"a@b@c"),
        ] {
            assert!(read(text).unwrap_err().starts_with(key), "{text}");
        }
    }
}
