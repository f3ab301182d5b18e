//! A form on which anybody complains, where a provider wants one (`[complaints] form`).
//!
//! Nobody is logged in, and no cookie is set: there is nothing that another site could do in somebody's name. What a form carries instead is a token of ours
//! that ages ([`Form::token`]), so that programs have to look at the page before they send, and a field that people do not see. What is
//! sent goes the way of every complaint, and whoever sends it is told its number and nothing else: not whose the address is, not what was seen.
//!
//! Bounds: how often a network sends, and everybody together; every field; how many may wait for a person (`store::write::complaints`).

mod page;
mod words;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use reeve_policy::{Mailbox, Timestamp};
use reeve_reports::{Kind, Reason, may_be_answered, read_form};
use ring::digest::{Context, SHA256};
use serde::Deserialize;

use super::desk::{Desk, Refused};
use super::kinds::OFFERED;
use crate::auth::{Vault, network};
use crate::clock;
use crate::settings::Complaints;
use crate::store::write::{AnswerTo, BY_FORM, Incoming, Submission, SubmissionTaken};
use crate::writer::Job;

pub(super) use page::routes;

/// How often a network may send one, and all together.
const OF_NETWORK: Quota = Quota::per_hour(NonZeroU32::new(20).expect("it is above zero"))
    .allow_burst(NonZeroU32::new(5).expect("it is above zero"));
const OF_ALL: Quota = Quota::per_hour(NonZeroU32::new(300).expect("it is above zero"))
    .allow_burst(NonZeroU32::new(60).expect("it is above zero"));
/// For how long a page may lie open before it is sent.
const LIFE: Duration = Duration::from_secs(4 * 3_600);
/// What clocks of controllers may differ by.
const SLACK: Duration = Duration::from_secs(60);
/// What the seal is for.
const PURPOSE: &str = "form of a complaint";
/// The longest of each field, in characters.
const MAX_ABOUT: usize = 1_000;
const MAX_TEXT: usize = 4_000;
const MAX_EMAIL: usize = 254;

/// What keeps a form from being misused.
#[derive(Clone, Debug)]
pub(super) struct Form {
    settings: Complaints,
    vault: Arc<Vault>,
    of_network: Arc<DefaultKeyedRateLimiter<IpNet>>,
    of_all: Arc<DefaultDirectRateLimiter>,
}

/// A form as it is sent. What is missing is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Filled {
    about: String,
    kind: String,
    date: String,
    time: String,
    text: String,
    email: String,
    /// People do not see it, and leave it empty.
    homepage: String,
    token: String,
}

/// What of it is to be mended, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    About,
    Kind,
    Time,
    Text,
    Email,
    /// The page is too old, or none of ours.
    Token,
    /// What nobody sees was filled in.
    Trap,
}

/// Why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NotTaken {
    /// It is to be mended.
    Wrong(Vec<Wrong>),
    /// It cannot be sent now.
    Refused(Refused),
}

impl Form {
    /// A form, where the settings have one.
    pub fn new(settings: &Complaints, vault: &Arc<Vault>) -> Option<Self> {
        settings.form.then(|| Self {
            settings: settings.clone(),
            vault: Arc::clone(vault),
            of_network: Arc::new(RateLimiter::keyed(OF_NETWORK)),
            of_all: Arc::new(RateLimiter::direct(OF_ALL)),
        })
    }

    /// Whoever sent one is not remembered for ever.
    pub fn forget(&self) {
        self.of_network.retain_recent();
    }

    /// What a page carries that is made now.
    fn token(&self, now: Timestamp) -> String {
        let mut bytes = (now.as_nanos() / 1_000_000_000).to_be_bytes().to_vec();
        let seal = self.vault.seal(PURPOSE, &[&bytes]);
        bytes.extend(seal);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// Whether a page is ours, and not too old.
    fn is_ours(&self, token: &str, now: Timestamp) -> bool {
        let Ok(bytes) = BASE64URL_NOPAD.decode(token.as_bytes()) else { return false };
        let Some((made, seal)) = bytes.split_first_chunk::<8>() else { return false };
        let at = Timestamp::from_secs(u64::from_be_bytes(*made));
        self.vault.is_sealed(PURPOSE, &[made], seal) && at <= now + SLACK && now < at + LIFE
    }

    /// What was filled in, if all of it is sound.
    fn read(&self, filled: &Filled, language: &str, now: Timestamp) -> Result<Submission, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut note = |one| wrong.push(one);
        if !self.is_ours(&filled.token, now) {
            note(Wrong::Token);
        }
        if !filled.homepage.is_empty() {
            note(Wrong::Trap);
        }
        let kind = filled.kind.parse().ok().filter(|kind: &Kind| OFFERED.contains(kind));
        if kind.is_none() {
            note(Wrong::Kind);
        }
        let seen_at = match (filled.date.trim(), filled.time.trim()) {
            ("", "") => None,
            (date, time) => {
                let at = point(date, time);
                if at.is_none() {
                    note(Wrong::Time);
                }
                at
            }
        };
        let email = match filled.email.trim() {
            "" => None,
            text => {
                let mailbox = text.parse::<Mailbox>().ok().filter(|_| text.len() <= MAX_EMAIL);
                if mailbox.is_none() {
                    note(Wrong::Email);
                }
                mailbox
            }
        };
        if filled.text.trim().is_empty() || filled.text.chars().count() > MAX_TEXT {
            note(Wrong::Text);
        }
        if filled.about.trim().is_empty() || filled.about.chars().count() > MAX_ABOUT {
            note(Wrong::About);
        }
        let form = reeve_reports::Form {
            about: &filled.about,
            kind: kind.unwrap_or(Kind::Other),
            seen_at,
            text: &filled.text,
            email: email.as_ref(),
        };
        let complaint = match read_form(&form, now) {
            Ok(complaint) if wrong.is_empty() => complaint,
            Ok(_) => return Err(wrong),
            Err(refused) => {
                let field = match refused.reason {
                    Reason::Future | Reason::BadTime => Wrong::Time,
                    Reason::FieldMissing => Wrong::Text,
                    _ => Wrong::About,
                };
                if !wrong.contains(&field) {
                    wrong.push(field);
                }
                return Err(wrong);
            }
        };
        // Whoever says who they are may be anybody: words that differ are another one's.
        let mut mark = Context::new(&SHA256);
        mark.update(complaint.fingerprint().to_string().as_bytes());
        mark.update(complaint.text.as_bytes());
        let mark = format!("form {}", HEXLOWER.encode(mark.finish().as_ref()));
        let answer = email.filter(|mailbox| self.settings.acknowledge && may_be_answered(mailbox));
        Ok(Submission {
            via: BY_FORM.to_owned(),
            complaints: vec![Incoming { mark, read: Ok(Box::new(complaint)) }],
            settings: self.settings.clone(),
            answer: answer.map(|mailbox| AnswerTo { mailbox, language: Some(language.to_owned()) }),
            may_wait: 1,
        })
    }
}

/// A point in time in UTC, as browsers send a date and a time.
fn point(date: &str, time: &str) -> Option<Timestamp> {
    let is_shaped = date.len() == 10 && matches!(time.len(), 5 | 8);
    let seconds = if time.len() == 5 { ":00" } else { "" };
    is_shaped.then(|| format!("{date}T{time}{seconds}Z").parse().ok())?
}

/// Takes what was filled in; the complaint's number.
async fn take(
    desk: &Desk,
    form: &Form,
    filled: &Filled,
    language: &str,
    from: IpAddr,
) -> Result<u64, NotTaken> {
    let submission = form.read(filled, language, clock::now()).map_err(|mut wrong| {
        wrong.sort_unstable();
        NotTaken::Wrong(wrong)
    })?;
    let too_often = |_| NotTaken::Refused(Refused::TooOften);
    form.of_network.check_key(&network(from)).map_err(too_often)?;
    form.of_all.check().map_err(|_| NotTaken::Refused(Refused::NotNow))?;
    let taken = desk.house().writer.ask(|reply| Job::Complaints { submission, reply }).await;
    match taken {
        Ok(SubmissionTaken::Done(rows)) => {
            let number = rows.first().map(|row| row.number);
            number.ok_or(NotTaken::Refused(Refused::NotNow))
        }
        Ok(SubmissionTaken::Full) => {
            tracing::warn!("as many complaints of the form, or in all, wait for a person as may");
            Err(NotTaken::Refused(Refused::NotNow))
        }
        Err(error) => {
            tracing::error!(%error, "what somebody filled in cannot be kept");
            Err(NotTaken::Refused(Refused::NotNow))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_ours_until_it_is_old_and_none_can_be_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Arc::new(Vault::open(folder.path()).unwrap());
        let form = Form::new(&Complaints { form: true, ..Complaints::default() }, &vault).unwrap();
        let made = Timestamp::from_secs(1_800_000_000);
        let token = form.token(made);
        for (at, expect) in [
            (made, true),
            (made + (LIFE - Duration::from_secs(1)), true),
            (made + LIFE, false),
            (made.minus(SLACK), true),
            (made.minus(SLACK + Duration::from_secs(1)), false),
        ] {
            assert_eq!(form.is_ours(&token, at), expect, "{at}");
        }
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).unwrap();
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert!(!form.is_ours(&BASE64URL_NOPAD.encode(&other), made), "{place}");
        }
        for text in ["", "AA", "é", &token[..token.len() - 2], &format!("{token}AA")] {
            assert!(!form.is_ours(text, made), "{text}");
        }
        assert!(Form::new(&Complaints::default(), &vault).is_none(), "off until it is set");
    }

    #[test]
    fn a_date_and_a_time_are_a_point_and_nothing_else_is() {
        let check = |date: &str, time: &str, expect: Option<&str>| {
            assert_eq!(point(date, time).map(|at| at.to_string()).as_deref(), expect, "{date} {time}");
        };
        check("2026-11-23", "13:46", Some("2026-11-23T13:46:00Z"));
        check("2026-11-23", "13:46:07", Some("2026-11-23T13:46:07Z"));
        check("2026-11-23", "", None);
        check("", "13:46", None);
        check("2026-02-30", "13:46", None);
        check("2026-11-23", "25:00", None);
        check("2026-11-23", "+1:00", None);
        check("26-11-2300", "13:46", None);
    }
}
