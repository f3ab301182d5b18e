//! `[mail]`, `[[webhook]]` and `[notice_file]`: by which ways notices leave.

use std::net::IpAddr;
use std::path::PathBuf;

use reeve_policy::{Mailbox, Name};
use serde::Deserialize;

use super::secret;
use crate::store::Channels;

/// The credential that systemd hands over (`LoadCredential=`), where no file of the password is named.
const MAIL_CREDENTIAL: &str = "mail-password";
/// The most webhooks.
const MAX_WEBHOOKS: usize = 8;
/// The longest name of a sender, in bytes.
const MAX_NAME: usize = 128;
/// The shortest secret of a webhook, in bytes: as Standard Webhooks has it.
const LEAST_SECRET: usize = 24;
/// Submission (RFC 6409), with TLS from the first byte (RFC 8314), and relay (RFC 5321).
const PORTS: [(Tls, u16); 3] = [(Tls::StartTls, 587), (Tls::Implicit, 465), (Tls::None, 25)];

/// By which ways notices leave; by none, if nothing is set.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// Over which mail server.
    pub mail: Option<Mail>,
    /// Which programs are called.
    pub webhooks: Vec<Webhook>,
    /// The file to which a line is added for each.
    pub file: Option<PathBuf>,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Tls {
    /// It becomes TLS before anything else is said, or is given up.
    #[serde(rename = "starttls")]
    StartTls,
    /// It is TLS from the first byte.
    #[serde(rename = "tls")]
    Implicit,
    /// It is not: to this machine alone.
    #[serde(rename = "none")]
    None,
}

/// The mail server that takes letters, and whose they are.
#[derive(Clone)]
pub struct Mail {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// Who else than the system's authorities may vouch for it: a file in PEM.
    pub ca_file: Option<PathBuf>,
    /// Who logs in there, and with what.
    pub login: Option<(String, String)>,
    /// Whose name letters bear.
    pub from_name: String,
    /// Whose address they bear, and to which what cannot be delivered comes back.
    pub from: Mailbox,
    /// Where answers go, if elsewhere.
    pub reply_to: Option<Mailbox>,
    /// What this machine calls itself there; its own name if nothing is set.
    pub hello: Option<String>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {}:{}", self.from, self.host, self.port)
    }
}

/// A program that is called.
#[derive(Clone)]
pub struct Webhook {
    /// What it is called here.
    pub name: Name,
    /// Where it is.
    pub url: reqwest::Url,
    /// With what calls are signed.
    pub secret: Vec<u8>,
    /// Who else than the system's authorities may vouch for it: a file in PEM.
    pub ca_file: Option<PathBuf>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailText {
    host: String,
    port: Option<u16>,
    #[serde(default = "starttls")]
    tls: Tls,
    ca_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    from: String,
    #[serde(default)]
    from_name: String,
    reply_to: Option<String>,
    hello: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookText {
    name: String,
    url: String,
    secret_file: PathBuf,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileText {
    path: PathBuf,
}

const fn starttls() -> Tls {
    Tls::StartTls
}

impl Outbox {
    /// By which ways, and no more.
    #[must_use]
    pub fn channels(&self) -> Channels {
        Channels {
            mail: self.mail.is_some(),
            webhooks: self.webhooks.iter().map(|webhook| webhook.name.clone()).collect(),
            file: self.file.is_some(),
        }
    }

    pub(super) fn read(
        mail: Option<MailText>,
        webhooks: Vec<WebhookText>,
        file: Option<FileText>,
    ) -> Result<Self, String> {
        let mail = mail.map(read_mail).transpose()?;
        if webhooks.len() > MAX_WEBHOOKS {
            return Err(format!("webhook: {} are more than {MAX_WEBHOOKS}", webhooks.len()));
        }
        let webhooks: Vec<Webhook> = webhooks.into_iter().map(read_webhook).collect::<Result<_, _>>()?;
        for (place, webhook) in webhooks.iter().enumerate() {
            if webhooks[..place].iter().any(|other| other.name == webhook.name) {
                return Err(format!("webhook.name: two are called {}", webhook.name));
            }
        }
        let file = file.map(|file| file.path);
        if let Some(path) = file.as_ref().filter(|path| !path.is_absolute()) {
            return Err(format!("notice_file.path: {} is no path from the root", path.display()));
        }
        Ok(Self { mail, webhooks, file })
    }
}

fn read_mail(read: MailText) -> Result<Mail, String> {
    let is_address = read.host.parse::<IpAddr>().is_ok();
    if !is_address && read.host.parse::<reeve_policy::Domain>().is_err() {
        return Err(format!("mail.host: {:.80?} is no host's name and no address", read.host));
    }
    if read.tls == Tls::None && !is_here(&read.host) {
        return Err("mail.tls: none is for a server on this machine alone; allowed: starttls, tls".into());
    }
    let mailbox = |key: &str, text: &str| -> Result<Mailbox, String> {
        text.parse().map_err(|_| format!("mail.{key}: {text:.80?} is no address like abuse@example.net"))
    };
    if read.from_name.len() > MAX_NAME || read.from_name.chars().any(char::is_control) {
        return Err(format!("mail.from_name: at most {MAX_NAME} bytes without control characters"));
    }
    let hello = read.hello.map(|name| {
        let is_name = name.parse::<reeve_policy::Domain>().is_ok() && name.is_ascii();
        if is_name { Ok(name) } else { Err(format!("mail.hello: {name:.80?} is no host's name")) }
    });
    let password = secret("mail.password_file", MAIL_CREDENTIAL, read.password_file)?;
    let login = match (read.user, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => return Err("mail.password_file: there is a user, but no password".into()),
        (None, Some(_)) => return Err("mail.user: there is a password, but no user".into()),
    };
    let usual = PORTS.iter().find(|(tls, _)| *tls == read.tls).map_or(587, |(_, port)| *port);
    Ok(Mail {
        port: read.port.unwrap_or(usual),
        tls: read.tls,
        ca_file: read.ca_file,
        login,
        from: mailbox("from", &read.from)?,
        from_name: read.from_name,
        reply_to: read.reply_to.map(|text| mailbox("reply_to", &text)).transpose()?,
        hello: hello.transpose()?,
        host: read.host,
    })
}

fn read_webhook(read: WebhookText) -> Result<Webhook, String> {
    let name: Name = read.name.parse().map_err(|error| format!("webhook.name: {error}"))?;
    let key = |key: &str| format!("webhook {name}: {key}");
    let url: reqwest::Url = read.url.parse().map_err(|error| format!("{}: {error}", key("url")))?;
    let is_here = url.host_str().is_some_and(is_here);
    if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
        return Err(format!("{}: https:// is expected, or http:// on this machine", key("url")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{}: what it holds before the host belongs into no settings", key("url")));
    }
    let secret = secret(&key("secret_file"), "", Some(read.secret_file))?.unwrap_or_default();
    // As Standard Webhooks writes secrets; others are taken as they are.
    let bytes = match secret.strip_prefix("whsec_") {
        Some(text) => data_encoding::BASE64
            .decode(text.as_bytes())
            .map_err(|_| format!("{}: after whsec_ base64 is expected", key("secret_file")))?,
        None => secret.into_bytes(),
    };
    if bytes.len() < LEAST_SECRET {
        return Err(format!("{}: at least {LEAST_SECRET} bytes are expected", key("secret_file")));
    }
    Ok(Webhook { name, url, secret: bytes, ca_file: read.ca_file })
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
