//! What is sent of notices, and to those who complained, as it is stored.

use reeve_policy::{Mailbox, Name, Notice, Tenant, Timestamp};
use reeve_reports::Complaint;

use super::query::Select;
use super::read::NoticeRow;
use super::row::{Body, count, name, nanos, time, uncount};
use super::seals::{Sight, of_deliveries};
use super::{Connection, Store, StoreError};
use crate::listing::Plan;

/// By which way something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A letter to an address.
    Mail,
    /// A call of somebody's program.
    Webhook,
    /// A line in a file.
    File,
}

impl Channel {
    /// All of them, as they are stored and asked for.
    pub const NAMES: &[&str] = &["mail", "webhook", "file"];

    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mail => Self::NAMES[0],
            Self::Webhook => Self::NAMES[1],
            Self::File => Self::NAMES[2],
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        let all = [Self::Mail, Self::Webhook, Self::File];
        let found = all.into_iter().find(|channel| channel.name() == text);
        found.ok_or_else(|| StoreError::Body { kind: "delivery", detail: format!("its channel is `{text}`") })
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is to be sent, or tried again.
    Pending,
    /// Whoever takes it has it.
    Sent,
    /// It is not tried any more.
    Dead,
}

impl DeliveryState {
    /// All of them, as they are stored and asked for.
    pub const NAMES: &[&str] = &["pending", "sent", "dead"];

    /// As it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => Self::NAMES[0],
            Self::Sent => Self::NAMES[1],
            Self::Dead => Self::NAMES[2],
        }
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        let all = [Self::Pending, Self::Sent, Self::Dead];
        let found = all.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| StoreError::Body { kind: "delivery", detail: format!("its state is `{text}`") })
    }
}

/// By which ways notices leave a controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Whether letters are sent.
    pub mail: bool,
    /// The programs that are called.
    pub webhooks: Vec<Name>,
    /// Whether there is a file.
    pub file: bool,
}

impl Channels {
    /// Whether nothing leaves it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.mail && self.webhooks.is_empty() && !self.file
    }

    /// Where a notice to somebody goes: of a letter without an address there is none.
    #[must_use]
    pub fn targets(&self, recipient: Option<&Tenant>) -> Vec<(Channel, String)> {
        let contacts: &[Mailbox] = recipient.map_or(&[], |tenant| &tenant.contacts);
        let mut all: Vec<(Channel, String)> = Vec::new();
        if self.mail {
            // An address that stands there twice is written to once.
            for contact in contacts.iter().map(ToString::to_string) {
                if !all.iter().any(|(_, known)| *known == contact) {
                    all.push((Channel::Mail, contact));
                }
            }
            if all.is_empty() {
                all.push((Channel::Mail, String::new()));
            }
        }
        all.extend(self.webhooks.iter().map(|name| (Channel::Webhook, name.to_string())));
        all.extend(self.file.then(|| (Channel::File, String::new())));
        all
    }
}

/// One thing that is sent, or was, or cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Grows with every one.
    pub number: u64,
    /// The notice's number; 0 where it is an acknowledgement.
    pub notice: u64,
    /// Of an acknowledgement, the complaint's number.
    pub complaint: Option<u64>,
    /// Who is told, of a notice.
    pub recipient: Option<Name>,
    /// About whom, of a notice.
    pub tenant: Option<Name>,
    /// By which way.
    pub channel: Channel,
    /// Where to; empty where there is no address.
    pub target: String,
    /// How far it is.
    pub state: DeliveryState,
    /// Since when it is to be sent.
    pub made: Timestamp,
    /// When it is tried next.
    pub due: Timestamp,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was tried last.
    pub tried: Option<Timestamp>,
    /// What came of that.
    pub detail: String,
}

/// Something that is to be sent now.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The delivery's number.
    pub number: u64,
    /// By which way.
    pub channel: Channel,
    /// Where to.
    pub target: String,
    /// How often it was tried, with this time.
    pub attempts: u64,
    /// What is told.
    pub told: Told,
}

/// What is told by what is sent.
#[derive(Clone, Debug)]
pub enum Told {
    /// A notice, to whom it is for.
    Notice(Box<Noticed>),
    /// That a complaint is here, to who complained.
    Complaint(Box<Acknowledged>),
}

/// A notice that is to be sent.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// Its number.
    pub number: u64,
    /// What is told.
    pub notice: Notice,
    /// When it was made.
    pub made: Timestamp,
    /// The case that it belongs to.
    pub case: Option<Name>,
}

/// A complaint that is to be acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its number.
    pub number: u64,
    /// What was said.
    pub complaint: Complaint,
    /// When it is acknowledged.
    pub made: Timestamp,
    /// In which language.
    pub language: String,
}

/// Which deliveries.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryFilter {
    /// Only of this notice.
    pub notice: Option<i64>,
    /// Whether those about cases that are sealed as well.
    pub sight: Sight,
    /// Which page.
    pub plan: Plan,
}

/// What waits to be sent of notices, and what never will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How much waits.
    pub pending: u64,
    /// Since when the oldest of it waits.
    pub oldest: Option<Timestamp>,
    /// How much was given up.
    pub dead: u64,
}

type Columns = (
    i64,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<String>,
    String,
    String,
    String,
    i64,
    i64,
    i64,
    Option<i64>,
    String,
);

fn delivery(columns: Columns) -> Result<DeliveryRow, StoreError> {
    let (
        number,
        notice,
        complaint,
        recipient,
        tenant,
        channel,
        target,
        state,
        made,
        due,
        attempts,
        tried,
        detail,
    ) = columns;
    Ok(DeliveryRow {
        number: uncount(number),
        notice: notice.map_or(0, uncount),
        complaint: complaint.map(uncount),
        recipient: recipient.map(|recipient| name("notice", &recipient)).transpose()?,
        tenant: tenant.map(|tenant| name("notice", &tenant)).transpose()?,
        channel: Channel::read(&channel)?,
        target,
        state: DeliveryState::read(&state)?,
        made: time(made),
        due: time(due),
        attempts: uncount(attempts),
        tried: tried.map(time),
        detail,
    })
}

impl Store {
    /// What is sent, newest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRow>, StoreError> {
        let mut query = Select::new(
            "SELECT number, notice, complaint, recipient, tenant, channel, target, state, made, due, attempts, tried, detail FROM (\
             SELECT d.number, d.notice, d.complaint, n.recipient, n.tenant, n.violation, n.decision, d.channel, d.target, d.state, \
             d.made, d.due, d.attempts, d.tried, d.detail FROM deliveries d LEFT JOIN notices n ON n.number = d.notice) AS all_of_them WHERE 1 = 1",
        );
        if let Some(notice) = filter.notice {
            query.push(" AND notice = ").push_bind(notice);
        }
        filter.sight.narrow(&mut query, of_deliveries!("all_of_them", "all_of_them"));
        query.page(&filter.plan);
        let rows: Vec<Columns> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(delivery).collect()
    }

    /// A notice by its number, and its case.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn notice(&self, number: u64) -> Result<Option<(NoticeRow, Option<Name>)>, StoreError> {
        type Row = (i64, i64, Vec<u8>, Option<String>, Option<String>);
        let found: Option<Row> = sqlx::query_as(
            "SELECT n.number, n.made, n.body, v.case_id, x.case_id FROM notices n \
             LEFT JOIN violations v ON v.id = n.violation LEFT JOIN decisions x ON x.id = n.decision WHERE n.number = $1",
        )
        .bind(count(number))
        .fetch_optional(&self.readers)
        .await?;
        let Some((number, made, body, of_violation, of_decision)) = found else { return Ok(None) };
        let case = of_violation.or(of_decision).map(|case| name("case", &case)).transpose()?;
        let row = NoticeRow { number: uncount(number), notice: Notice::decode(&body)?, made: time(made) };
        Ok(Some((row, case)))
    }

    /// Whether anything is to be sent by one of these ways at this time.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn is_anything_due(&self, now: Timestamp) -> Result<bool, StoreError> {
        let found: Option<(i64,)> =
            sqlx::query_as("SELECT number FROM deliveries WHERE state = 'pending' AND due <= $1 LIMIT 1")
                .bind(nanos(now))
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.is_some())
    }

    /// Whether any bouncer ever asked.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn has_bouncers(&self) -> Result<bool, StoreError> {
        let found: Option<(i64,)> =
            sqlx::query_as("SELECT told FROM bouncers LIMIT 1").fetch_optional(&self.readers).await?;
        Ok(found.is_some())
    }

    /// What waits to be sent of notices, and what was given up: of that somebody is told. Who complained may have given an address that there is not, and
    /// nobody is to be woken by that.
    ///
    /// # Errors
    /// Where the database fails.
    pub(crate) async fn backlog(&self) -> Result<Backlog, StoreError> {
        let (pending, oldest): (i64, Option<i64>) = sqlx::query_as(
            "SELECT count(*), min(made) FROM deliveries WHERE state = 'pending' AND notice IS NOT NULL",
        )
        .fetch_one(&self.readers)
        .await?;
        let (dead,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM deliveries WHERE state = 'dead' AND notice IS NOT NULL")
                .fetch_one(&self.readers)
                .await?;
        Ok(Backlog { pending: uncount(pending), oldest: oldest.map(time), dead: uncount(dead) })
    }
}

/// The deliveries with these numbers, with what they tell.
pub(super) async fn outgoing(conn: &mut Connection, numbers: &[i64]) -> Result<Vec<Outgoing>, StoreError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Select::new(
        "SELECT d.number, d.channel, d.target, d.attempts, n.number, n.body, n.made, v.case_id, x.case_id \
         FROM deliveries d JOIN notices n ON n.number = d.notice LEFT JOIN violations v ON v.id = n.violation \
         LEFT JOIN decisions x ON x.id = n.decision WHERE d.number IN ",
    );
    query.push_numbers(numbers.iter().copied()).push(" ORDER BY d.number");
    type Row = (i64, String, String, i64, i64, Vec<u8>, i64, Option<String>, Option<String>);
    let rows: Vec<Row> = query.fetch_all(&mut *conn).await?;
    let read = |(number, channel, target, attempts, notice, body, made, of_violation, of_decision): Row| {
        let case = of_violation.or(of_decision);
        Ok(Outgoing {
            number: uncount(number),
            channel: Channel::read(&channel)?,
            target,
            attempts: uncount(attempts),
            told: Told::Notice(Box::new(Noticed {
                number: uncount(notice),
                notice: Notice::decode(&body)?,
                made: time(made),
                case: case.map(|case| name("case", &case)).transpose()?,
            })),
        })
    };
    let mut all: Vec<Outgoing> = rows.into_iter().map(read).collect::<Result<_, StoreError>>()?;
    all.extend(acknowledgements(conn, numbers).await?);
    all.sort_by_key(|one| one.number);
    Ok(all)
}

/// Those of them that are acknowledgements.
async fn acknowledgements(conn: &mut Connection, numbers: &[i64]) -> Result<Vec<Outgoing>, StoreError> {
    let mut query = Select::new(
        "SELECT d.number, d.channel, d.target, d.attempts, d.made, d.language, p.number, p.body \
         FROM deliveries d JOIN complaints p ON p.number = d.complaint WHERE d.number IN ",
    );
    query.push_numbers(numbers.iter().copied());
    type Row = (i64, String, String, i64, i64, String, i64, String);
    let rows: Vec<Row> = query.fetch_all(conn).await?;
    let read = |(number, channel, target, attempts, made, language, complaint, body): Row| {
        let wrong =
            |error: serde_json::Error| StoreError::Body { kind: "complaint", detail: error.to_string() };
        Ok(Outgoing {
            number: uncount(number),
            channel: Channel::read(&channel)?,
            target,
            attempts: uncount(attempts),
            told: Told::Complaint(Box::new(Acknowledged {
                number: uncount(complaint),
                complaint: serde_json::from_str(&body).map_err(wrong)?,
                made: time(made),
                language,
            })),
        })
    };
    rows.into_iter().map(read).collect()
}

/// A row of this delivery.
pub(super) async fn one(conn: &mut Connection, number: i64) -> Result<Option<DeliveryRow>, StoreError> {
    let found: Option<Columns> = sqlx::query_as(
        "SELECT d.number, d.notice, d.complaint, n.recipient, n.tenant, d.channel, d.target, d.state, d.made, d.due, d.attempts, \
         d.tried, d.detail FROM deliveries d LEFT JOIN notices n ON n.number = d.notice WHERE d.number = $1",
    )
    .bind(number)
    .fetch_optional(conn)
    .await?;
    found.map(delivery).transpose()
}
