//! Letters, over the provider's own mail server.
//!
//! A letter's `Message-ID` is made of its notice, the same at every attempt; letters of one case refer to the same message, so that programs show them
//! together. They say of themselves that a program wrote them (RFC 3834), so that no other program answers; what answers a complaint leaves without a
//! sender on its envelope besides, so that nothing comes back of it.

use std::time::{Duration, SystemTime};

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use reeve_reports::message_id;

use super::acknowledgement::Acknowledgement;
use super::letter::Letter;
use super::webhook::whole;
use crate::error::ControllerError;
use crate::links::Links;
use crate::settings::{Mail, Tls as Protection};
use crate::store::write::Outcome;
use crate::store::{Acknowledged, Noticed, Outgoing, Told};

/// How long the server has for each answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Whoever hands letters to the mail server.
#[derive(Debug)]
pub(super) struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    domain: String,
    provider: String,
    links: Option<Links>,
}

impl Post {
    /// Whoever hands letters to this one.
    ///
    /// # Errors
    /// Where the certificates that are named cannot be used.
    pub fn new(settings: &Mail, links: Option<Links>) -> Result<Self, ControllerError> {
        let unusable = |error: lettre::transport::smtp::Error| ControllerError::Tls { detail: whole(&error) };
        let mut parameters = TlsParameters::builder(settings.host.clone());
        if let Some(path) = &settings.ca_file {
            let pem =
                std::fs::read(path).map_err(|source| ControllerError::File { path: path.clone(), source })?;
            parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(unusable)?);
        }
        let tls = match settings.tls {
            Protection::None => Tls::None,
            Protection::StartTls => Tls::Required(parameters.build().map_err(unusable)?),
            Protection::Implicit => Tls::Wrapper(parameters.build().map_err(unusable)?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(ANSWER));
        if let Some((user, password)) = &settings.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        if let Some(name) = &settings.hello {
            transport = transport.hello_name(ClientId::Domain(name.clone()));
        }
        let name = Some(settings.from_name.clone()).filter(|name| !name.is_empty());
        let from = address(settings.from.to_string())?;
        Ok(Self {
            transport: transport.build(),
            domain: from.domain().to_owned(),
            provider: name.clone().unwrap_or_else(|| settings.from.to_string()),
            from: Mailbox::new(name, from),
            reply_to: match &settings.reply_to {
                Some(reply_to) => Some(Mailbox::new(None, address(reply_to.to_string())?)),
                None => None,
            },
            links,
        })
    }

    /// Hands a letter over.
    pub async fn send(&self, one: &Outgoing) -> Outcome {
        let made = match &one.told {
            Told::Notice(notice) => self.notice(notice, &one.target),
            Told::Complaint(complaint) => self.acknowledgement(complaint, &one.target),
        };
        let message = match made {
            Ok(message) => message,
            Err(error) => return Outcome::Refused(whole(&error)),
        };
        match self.transport.send(message).await {
            Ok(answer) => Outcome::Sent(answer.message().collect::<Vec<_>>().join(" ")),
            Err(error) if error.is_permanent() => Outcome::Refused(whole(&error)),
            Err(error) => Outcome::Later(whole(&error)),
        }
    }

    fn notice(&self, one: &Noticed, target: &str) -> Result<Message, lettre::error::Error> {
        let (notice, made) = (&one.notice, Duration::from_nanos(one.made.as_nanos()));
        let letter = Letter::of(one, &self.provider, self.links.as_ref());
        // The address was read when it was imported; what other programs than ours take for one may still differ.
        let to: Address = target.parse().map_err(|_| lettre::error::Error::MissingTo)?;
        let key = format!("notice-{}.{:x}", one.number, one.made.as_nanos());
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .date(SystemTime::UNIX_EPOCH + made)
            .message_id(Some(format!("<{key}@{}>", self.domain)));
        if let Some(case) = &one.case {
            message = message
                .references(format!("<case-{case}@{}>", self.domain))
                .raw_header(plain("X-Reeve-Case", case.to_string()));
        }
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        let part = |kind: ContentType, text: String| SinglePart::builder().header(kind).body(text);
        message
            .raw_header(plain("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(plain("X-Auto-Response-Suppress", "All".to_owned()))
            .raw_header(plain("Content-Language", notice.language.to_string()))
            .multipart(
                MultiPart::alternative()
                    .singlepart(part(ContentType::TEXT_PLAIN, letter.text))
                    .singlepart(part(ContentType::TEXT_HTML, letter.html)),
            )
    }

    /// To who complained: text alone, in answer to what they wrote.
    fn acknowledgement(&self, one: &Acknowledged, target: &str) -> Result<Message, lettre::error::Error> {
        let made = Duration::from_nanos(one.made.as_nanos());
        let to: Address = target.parse().map_err(|_| lettre::error::Error::MissingTo)?;
        let said = Acknowledgement::of(one, &self.provider);
        // RFC 3834, 3.3: with a sender what cannot be delivered would come back, and be a complaint where that address is the one for them.
        let envelope = Envelope::new(None, vec![to.clone()])?;
        let key = format!("complaint-{}.{:x}", one.number, one.made.as_nanos());
        let mut message = Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(said.subject)
            .date(SystemTime::UNIX_EPOCH + made)
            .message_id(Some(format!("<{key}@{}>", self.domain)));
        if let Some(id) = one.complaint.message_id.as_deref().and_then(message_id) {
            message = message.in_reply_to(id.clone()).references(id);
        }
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        message
            .raw_header(plain("Auto-Submitted", "auto-replied".to_owned()))
            .raw_header(plain("X-Auto-Response-Suppress", "All".to_owned()))
            .raw_header(plain("Content-Language", said.language.to_owned()))
            .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(said.text))
    }
}

/// A field whose value is of letters, digits and dashes.
fn plain(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

fn address(text: String) -> Result<Address, ControllerError> {
    text.parse().map_err(|error: lettre::address::AddressError| ControllerError::Tls {
        detail: format!("{text}: {error}"),
    })
}
