//! The outbox: what is sent of notices, who sends it, and what came of it.
//!
//! Rows are made with the notice, in its transaction, so nothing is lost that was told. Whoever sends claims them: they are due
//! again after [`LEASE`], by which time it has said what came of them. So two controllers send nothing twice, and what one was sending when it died is sent
//! by another; whether it had left already nobody can know, which is why every letter and call has a key of its own.

use std::time::Duration;

use reeve_policy::{Notice, Timestamp};

use super::super::deliveries::{Channel, Channels, DeliveryRow, DeliveryState, Outgoing, one, outgoing};
use super::super::query::Select;
use super::super::row::{count, nanos};
use super::super::{Connection, StoreError};
use super::orders::{remember, repeated};
use super::{Effects, OrderTaken, Requested};

/// How long whoever sends has to say what came of it; longer than it may take.
pub const LEASE: Duration = Duration::from_secs(15 * 60);
/// How long is waited after each attempt that failed; after the last of them it is given up. Some three days in all, as RFC 5321 (4.5.4.1) has it
/// of mail at the least four.
const WAITS: [Duration; 12] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(3_600),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(4 * 3_600),
    Duration::from_secs(8 * 3_600),
    Duration::from_secs(12 * 3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(24 * 3_600),
    Duration::from_secs(24 * 3_600),
];
/// The most that is kept of what came of an attempt, in bytes.
const MAX_DETAIL: usize = 500;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken, and what was said.
    Sent(String),
    /// It may be taken another time.
    Later(String),
    /// It will never be taken.
    Refused(String),
    /// It was not tried, since one before it could not be sent.
    Untried,
}

/// What came of sending something.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// The delivery's number.
    pub number: u64,
    /// Which attempt it was: what is heard of an earlier one says nothing.
    pub attempt: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// Something to be sent again.
#[derive(Clone, Debug)]
pub struct ResendAsked {
    /// The delivery.
    pub number: u64,
    /// Also where it was sent.
    pub is_again: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResendTaken {
    /// It is sent as soon as may be: this one, or where there was no address those to the addresses that there are now.
    Done(Vec<DeliveryRow>),
    /// There is no such delivery.
    Unknown,
    /// The key of the request stands for another one.
    KeyInUse,
    /// It was sent.
    Sent,
    /// There still is no address.
    Nowhere,
}

/// Rows for a notice that is new: one for each place where it goes.
pub(super) async fn put(
    conn: &mut Connection,
    number: u64,
    notice: &Notice,
    effects: &Effects,
) -> Result<(), StoreError> {
    let channels = &effects.desk.channels;
    if channels.is_empty() {
        return Ok(());
    }
    let recipient = effects.desk.people.by_id(&notice.recipient);
    for (channel, target) in channels.targets(recipient.map(|tenant| &**tenant)) {
        put_one(conn, count(number), channel, &target, effects.now).await?;
    }
    Ok(())
}

/// A row that is not there yet. A letter without an address is dead, so that somebody sees it.
async fn put_one(
    conn: &mut Connection,
    notice: i64,
    channel: Channel,
    target: &str,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let is_nowhere = channel == Channel::Mail && target.is_empty();
    let (state, detail) =
        if is_nowhere { (DeliveryState::Dead, "there is no address") } else { (DeliveryState::Pending, "") };
    let made: Option<(i64,)> = sqlx::query_as(
        "INSERT INTO deliveries (notice, channel, target, state, made, due, attempts, detail) \
         VALUES ($1, $2, $3, $4, $5, $5, 0, $6) ON CONFLICT (notice, channel, target) DO NOTHING RETURNING number",
    )
    .bind(notice)
    .bind(channel.name())
    .bind(target)
    .bind(state.name())
    .bind(nanos(now))
    .bind(detail)
    .fetch_optional(conn)
    .await?;
    Ok(made.map(|(number,)| number))
}

/// Takes what is to be sent now by these ways, oldest first and at most so many, for whoever sends. Letters to one address go in their order: none
/// while an earlier one waits for another attempt. For an acknowledgement no notice waits: anybody can have one made for an address.
///
/// # Errors
/// Where the database fails.
pub async fn claim(
    conn: &mut Connection,
    channels: &Channels,
    most: usize,
    effects: &Effects,
) -> Result<Vec<Outgoing>, StoreError> {
    let now = nanos(effects.now);
    let mut query = Select::new("SELECT d.number FROM deliveries d WHERE d.state = 'pending' AND d.due <= ");
    query.push_bind(now).push(" AND (1 = 0");
    if channels.mail {
        query.push(
            " OR (d.channel = 'mail' AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.channel = 'mail' ",
        );
        query.push("AND e.target = d.target AND e.state = 'pending' AND e.notice IS NOT NULL ");
        query.push("AND e.number < d.number AND e.due > ");
        query.push_bind(now).push("))");
    }
    if channels.file {
        query.push(" OR d.channel = 'file'");
    }
    if !channels.webhooks.is_empty() {
        query.push(" OR (d.channel = 'webhook' AND d.target IN ");
        query.push_list(channels.webhooks.iter().map(|name| name.as_str())).push(")");
    }
    query.push(") ORDER BY d.due, d.number LIMIT ");
    query.push_bind(i64::try_from(most).unwrap_or(i64::MAX));
    let found: Vec<(i64,)> = query.fetch_all(&mut *conn).await?;
    let numbers: Vec<i64> = found.into_iter().map(|(number,)| number).collect();
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Select::new("UPDATE deliveries SET attempts = attempts + 1, tried = ");
    query.push_bind(now).push(", due = ").push_bind(nanos(effects.now + LEASE));
    query.push(" WHERE number IN ").push_numbers(numbers.iter().copied());
    query.execute(&mut *conn).await?;
    outgoing(conn, &numbers).await
}

/// Writes down what came of sending.
///
/// # Errors
/// Where the database fails.
pub async fn attempted(
    conn: &mut Connection,
    all: &[Attempted],
    effects: &Effects,
) -> Result<(), StoreError> {
    for one in all {
        let now = effects.now;
        let wait = usize::try_from(one.attempt.saturating_sub(1)).ok().and_then(|nth| WAITS.get(nth));
        let (state, due, detail, is_tried) = match (&one.outcome, wait) {
            (Outcome::Sent(detail), _) => (DeliveryState::Sent, now, detail.as_str(), true),
            (Outcome::Later(detail), Some(wait)) => {
                (DeliveryState::Pending, now + *wait, detail.as_str(), true)
            }
            (Outcome::Later(detail) | Outcome::Refused(detail), _) => {
                (DeliveryState::Dead, now, detail.as_str(), true)
            }
            (Outcome::Untried, _) => (DeliveryState::Pending, now + WAITS[0], "", false),
        };
        sqlx::query(
            "UPDATE deliveries SET state = $1, due = $2, detail = CASE WHEN $3 <> '' THEN $3 ELSE detail END, \
             attempts = attempts - $4 WHERE number = $5 AND state = 'pending' AND attempts = $6",
        )
        .bind(state.name())
        .bind(nanos(due))
        .bind(clip(detail))
        .bind(i64::from(!is_tried))
        .bind(count(one.number))
        .bind(count(one.attempt))
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// What strangers' machines say, short and without what a terminal obeys.
fn clip(text: &str) -> String {
    let plain: String =
        text.chars().map(|letter| if reeve_policy::pause::is_plain(letter) { letter } else { ' ' }).collect();
    let end = plain
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8())
        .take_while(|end| *end <= MAX_DETAIL)
        .last();
    plain[..end.unwrap_or(0)].trim().to_owned()
}

/// Sends something again that was given up, or before its time; where there was no address, to those that there are now.
///
/// # Errors
/// Where the database fails.
pub async fn resend(
    conn: &mut Connection,
    requested: &Requested,
    asked: &ResendAsked,
    effects: &mut Effects,
) -> Result<ResendTaken, StoreError> {
    super::settle(conn, effects).await?;
    let number = count(asked.number);
    let key = reeve_policy::OrderId(
        format!("delivery-{}", asked.number).parse().expect("letters and digits are a name"),
    );
    let is_repeated = match repeated(conn, requested).await? {
        None => false,
        Some(OrderTaken::Ordered { id, .. }) if id == key => true,
        Some(_) => return Ok(ResendTaken::KeyInUse),
    };
    let Some(row) = one(conn, number).await? else { return Ok(ResendTaken::Unknown) };
    if is_repeated {
        return Ok(ResendTaken::Done(vec![row]));
    }
    if row.state == DeliveryState::Sent && !asked.is_again {
        return Ok(ResendTaken::Sent);
    }
    let again = if row.channel == Channel::Mail && row.target.is_empty() {
        let people = std::sync::Arc::clone(&effects.desk.people);
        let recipient = row.recipient.as_ref().and_then(|recipient| people.by_id(recipient));
        let channels = Channels { mail: true, ..Channels::default() };
        let targets = channels.targets(recipient.map(|tenant| &**tenant));
        let mut made = Vec::new();
        for (channel, target) in targets.iter().filter(|(_, target)| !target.is_empty()) {
            made.extend(put_one(conn, count(row.notice), *channel, target, effects.now).await?);
        }
        if targets.iter().all(|(_, target)| target.is_empty()) {
            return Ok(ResendTaken::Nowhere);
        }
        sqlx::query("DELETE FROM deliveries WHERE number = $1").bind(number).execute(&mut *conn).await?;
        made
    } else {
        sqlx::query(
            "UPDATE deliveries SET state = 'pending', due = $1, attempts = 0, detail = '' WHERE number = $2",
        )
        .bind(nanos(effects.now))
        .bind(number)
        .execute(&mut *conn)
        .await?;
        vec![number]
    };
    remember(conn, requested, &key, None, effects.now).await?;
    let mut rows = Vec::new();
    for number in again {
        rows.extend(one(conn, number).await?);
    }
    Ok(ResendTaken::Done(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_say_is_short_and_plain() {
        assert_eq!(clip("550 no\u{1b}[31m such\r\nuser\u{202e}"), "550 no [31m such  user");
        assert_eq!(clip(&"é".repeat(400)).len(), 500);
        assert_eq!(clip(""), "");
    }
}
