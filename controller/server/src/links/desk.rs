//! What comes of a link that somebody followed.
//!
//! That it is mended is checked where it can be, from outside: whoever runs an open relay has it asked again, and the node that asks lifts by what it is
//! told. Of everything else it is told whether it was seen since; where its rule names a silence, what stands is let go of after that, and else a person
//! decides. All of it lands on the case and in the audit log, in the name of whom the
//! letter was written to.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota};
use ipnet::IpNet;
use reeve_policy::{Class, Name, Timestamp, Violation, ViolationState};
use reeve_proto::operator::v1::VerifyRequest;

use super::form::Form;
use super::{Links, What};
use crate::audit::{Also, Draft};
use crate::auth::network;
use crate::clock;
use crate::services::{House, orders};
use crate::settings::Complaints;
use crate::store::write::{CaseAct, CaseAsked, CaseTaken, MendAsked, Mended, Requested};
use crate::store::{CaseRow, Claim, EntryKind, NoticeRow, Sight};
use crate::writer::Job;

/// The longest statement, in characters.
pub(super) const MAX_STATEMENT: usize = 4_000;
/// As what links call, in the audit log and towards nodes.
const CALLER: &str = "link-in-notice";
/// A node asks a server by hand no more often than this, and a little more for what is on its way.
const BETWEEN: Duration = Duration::from_secs(21);
/// How often one link may do something.
const ACTS: Quota = Quota::per_hour(NonZeroU32::new(12).expect("it is above zero"))
    .allow_burst(NonZeroU32::new(4).expect("it is above zero"));
/// How often anybody of a network may follow links, whether they are ours or not.
const LOOKS: Quota = Quota::per_minute(NonZeroU32::new(120).expect("it is above zero"));

/// What a link is about, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Matter {
    pub notice: NoticeRow,
    pub case: CaseRow,
    pub violation: Option<Violation>,
    /// How many of the case's violations are open, and how many measures stand.
    pub goes_on: (u64, u64),
    /// What became of what was said to be mended before.
    pub claim: Option<Claim>,
}

impl Matter {
    /// What can be said to it.
    pub fn ways(&self) -> &'static [What] {
        What::of(&self.notice.notice, true)
    }

    /// Whether a check from outside can tell that it is mended.
    pub fn is_relay(&self) -> bool {
        self.violation.as_ref().is_some_and(|violation| violation.evidence.class == Class::SmtpRelay)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A check found it mended.
    Mended,
    /// A check found it as it was.
    StillOpen,
    /// There was no check, or it said nothing.
    Unclear,
    /// It was not seen since; a person decides.
    Noted,
    /// It is seen still.
    StillSeen(Timestamp),
    /// There was no silence yet that is long enough: what was seen last, when, how often, and when it is looked at again.
    TooLoud(Option<Class>, Timestamp, u64, Timestamp),
    /// It was silent for long enough: what stands is let go of.
    LetGo,
    /// The statement is on the case.
    Taken,
}

/// Why nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is no link of ours, its time is over, or what it is about is forgotten.
    Unknown,
    /// It was followed too often.
    TooOften,
    /// It is no statement.
    Unsound,
    /// The controller cannot do it just now.
    NotNow,
}

/// Whoever answers those that follow links.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    house: House,
    links: Links,
    acts: Arc<DefaultKeyedRateLimiter<u64>>,
    looks: Arc<DefaultKeyedRateLimiter<IpNet>>,
    form: Option<Form>,
}

impl Desk {
    /// Whoever answers.
    pub fn new(house: House, links: Links, complaints: &Complaints) -> Self {
        let form = Form::new(complaints, &house.vault);
        let (acts, looks) =
            (Arc::new(DefaultKeyedRateLimiter::keyed(ACTS)), Arc::new(DefaultKeyedRateLimiter::keyed(LOOKS)));
        Self { house, links, acts, looks, form }
    }

    /// Whoever asked once is not remembered for ever.
    pub fn forget(&self) {
        self.acts.retain_recent();
        self.looks.retain_recent();
        self.form.iter().for_each(Form::forget);
    }

    /// The form on which anybody complains, where there is one.
    pub(super) const fn form(&self) -> Option<&Form> {
        self.form.as_ref()
    }

    pub(super) const fn house(&self) -> &House {
        &self.house
    }

    /// Whether somebody at this address may look once more.
    pub(super) fn admit(&self, from: IpAddr) -> Result<(), Refused> {
        self.looks.check_key(&network(from)).map_err(|_| Refused::TooOften)
    }

    /// What a link is about.
    pub(super) async fn look(&self, token: &str, from: IpAddr) -> Result<Matter, Refused> {
        self.admit(from)?;
        let number = self.links.read(token, clock::now()).ok_or(Refused::Unknown)?;
        self.matter(number).await.map_err(|error| {
            tracing::error!(%error, "what a link is about cannot be read");
            Refused::NotNow
        })?
    }

    async fn matter(&self, number: u64) -> Result<Result<Matter, Refused>, crate::store::StoreError> {
        let store = &self.house.store;
        let Some((notice, Some(case))) = store.notice(number).await? else {
            return Ok(Err(Refused::Unknown));
        };
        // Of one that is sealed nothing is said, nor that it is.
        let case = store.case(&case).await?.filter(|case| case.sealed.is_none());
        let Some(case) = case else { return Ok(Err(Refused::Unknown)) };
        let violation = match &notice.notice.violation {
            Some(id) => store.violation(id).await?,
            None => None,
        };
        let goes_on = store.goes_on(&case.id, clock::now()).await?;
        let claim = store.claim(&case.id).await?;
        Ok(Ok(Matter { notice, case, violation, goes_on, claim }))
    }

    /// Somebody says that it is mended.
    pub(super) async fn fixed(&self, token: &str, from: IpAddr) -> Result<(Matter, Answer), Refused> {
        let matter = self.begin(token, from, What::Fixed).await?;
        self.enter(&matter, What::Fixed, from).await?;
        let (answer, text) = if matter.is_relay() {
            self.check_relay(&matter).await
        } else if let Some(told) = self.listen(&matter, from).await? {
            told
        } else {
            match matter.violation.as_ref().filter(|violation| violation.state == ViolationState::Open) {
                Some(violation) => (
                    Answer::StillSeen(violation.last_seen),
                    format!("says that it is mended; it is still seen, last at {}", violation.last_seen),
                ),
                None => (Answer::Noted, "says that it is mended; it was not seen since".to_owned()),
            }
        };
        self.say(&matter, EntryKind::Claim, text).await?;
        Ok((matter, answer))
    }

    /// Has what stands let go of, if it was silent for long enough; nothing where a person decides.
    async fn listen(&self, matter: &Matter, from: IpAddr) -> Result<Option<(Answer, String)>, Refused> {
        let asked = MendAsked {
            case: matter.case.id.clone(),
            by: matter.notice.notice.recipient.to_string(),
            from: from.to_string(),
        };
        let mended = self.house.writer.ask(|reply| Job::Mend { asked, reply }).await.map_err(|error| {
            tracing::error!(%error, "what is said to be mended cannot be looked at");
            Refused::NotNow
        })?;
        Ok(match mended {
            Mended::Full => return Err(Refused::TooOften),
            Mended::Person => None,
            Mended::LetGo(_) => Some((Answer::LetGo, "says that it is mended".to_owned())),
            Mended::Seen { class, at, count, again } => Some((
                Answer::TooLoud(class, at, count, again),
                format!(
                    "says that it is mended; it was seen last at {at}, and is looked at again at {again}"
                ),
            )),
        })
    }

    /// Has the mail server asked, by every node that knows it; once more, where it was asked a moment before and nodes do not ask so soon.
    async fn check_relay(&self, matter: &Matter) -> (Answer, String) {
        let told = match self.ask_relay(matter).await {
            None => {
                let known = self.house.store.relay_check(&matter.notice.notice.tenant).await.ok().flatten();
                let wait = known.map(|(known, _)| (known.at + BETWEEN).since(clock::now()));
                match wait.filter(|wait| !wait.is_zero() && *wait <= BETWEEN) {
                    Some(wait) => {
                        tokio::time::sleep(wait).await;
                        self.ask_relay(matter).await
                    }
                    None => None,
                }
            }
            told => told,
        };
        let checked = told.and_then(|told| reeve_policy::RelayChecked::try_from(told).ok());
        match checked.map(|checked| checked.answer) {
            Some(answer) if answer.is_mended() => {
                (Answer::Mended, format!("says that it is mended; {} refused what was asked", answer.server))
            }
            Some(answer) if answer.is_open() => (
                Answer::StillOpen,
                format!("says that it is mended; {} still took what was asked", answer.server),
            ),
            _ => (
                Answer::Unclear,
                "says that it is mended; there was no answer that says so or not".to_owned(),
            ),
        }
    }

    async fn ask_relay(&self, matter: &Matter) -> Option<reeve_proto::types::v1::RelayChecked> {
        let request = VerifyRequest {
            tenant: matter.notice.notice.tenant.to_string(),
            wait: true,
            ..VerifyRequest::default()
        };
        let caller: Name = CALLER.parse().expect("letters and dashes are a name");
        match orders::verify(&self.house, caller, request).await {
            Ok(told) => told.relay_checked,
            Err(error) => {
                tracing::warn!(error = error.message(), "a relay cannot be asked");
                None
            }
        }
    }

    /// Somebody has something to say.
    pub(super) async fn statement(
        &self,
        token: &str,
        text: &str,
        from: IpAddr,
    ) -> Result<(Matter, Answer), Refused> {
        let text = text.replace("\r\n", "\n");
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_STATEMENT {
            // Who follows a link that is not ours is told nothing else.
            self.look(token, from).await?;
            return Err(Refused::Unsound);
        }
        let matter = self.begin(token, from, What::Statement).await?;
        self.enter(&matter, What::Statement, from).await?;
        let is_sound = |letter: char| letter == '\n' || reeve_policy::pause::is_plain(letter);
        let plain = text.chars().map(|letter| if is_sound(letter) { letter } else { ' ' }).collect();
        self.say(&matter, EntryKind::Statement, plain).await?;
        Ok((matter, Answer::Taken))
    }

    async fn begin(&self, token: &str, from: IpAddr, what: What) -> Result<Matter, Refused> {
        let matter = self.look(token, from).await?;
        if !matter.ways().contains(&what) {
            return Err(Refused::Unknown);
        }
        self.acts.check_key(&matter.notice.number).map_err(|_| Refused::TooOften)?;
        Ok(matter)
    }

    /// Nothing is done that is not on the record.
    async fn enter(&self, matter: &Matter, what: What, from: IpAddr) -> Result<(), Refused> {
        let notice = &matter.notice;
        let draft = Box::new(Draft {
            who: notice.notice.recipient.to_string(),
            role: "link".to_owned(),
            from: from.to_string(),
            act: format!("/links/{}", what.name()),
            subject: format!("tenant/{}", notice.notice.tenant),
            asked: format!("{{\"notice\":{},\"case\":\"{}\"}}", notice.number, matter.case.id),
            ..Draft::default()
        });
        // It is found by the case, too.
        let also = vec![Also { subject: format!("case/{}", matter.case.id), reason: String::new() }];
        let entered = self.house.writer.ask(|reply| Job::Enter { draft, also, reply }).await;
        entered.map(|_| ()).map_err(|error| {
            tracing::error!(%error, "what somebody says by a link cannot be entered");
            Refused::NotNow
        })
    }

    async fn say(&self, matter: &Matter, kind: EntryKind, text: String) -> Result<(), Refused> {
        let asked = Box::new(CaseAsked {
            id: matter.case.id.clone(),
            by: matter.notice.notice.recipient.to_string(),
            sight: Sight::Unsealed,
            act: CaseAct::Said(kind, text),
        });
        let requested = Requested { key: String::new(), meaning: String::new() };
        match self.house.writer.ask(|reply| Job::Case { requested, asked, reply }).await {
            Ok(CaseTaken::Done(_)) => Ok(()),
            Ok(CaseTaken::Full) => Err(Refused::TooOften),
            Ok(_) => Err(Refused::Unknown),
            Err(error) => {
                tracing::error!(%error, "what somebody says by a link cannot be kept");
                Err(Refused::NotNow)
            }
        }
    }
}
