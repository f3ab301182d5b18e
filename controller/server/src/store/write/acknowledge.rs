//! Who complained is told that it is here: once for each complaint, seldom to one address, and to all together no more than a bound.
//!
//! The address is what a stranger says it is, and may be somebody's who wrote nothing. So a flood of forged complaints makes a few
//! letters of it, and none twice to one within a day. The row goes with its complaint: no address outlives that.

use std::time::Duration;

use reeve_policy::Mailbox;

use super::super::row::nanos;
use super::super::{Connection, StoreError};
use super::Effects;

/// For so long nothing more goes to an address that was told.
const BETWEEN: Duration = Duration::from_secs(24 * 3_600);
/// So many go out in an hour, whoever is told.
const MOST: i64 = 60;
const HOUR: Duration = Duration::from_secs(3_600);

/// Whom to tell, and in which language; in the provider's own if none is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerTo {
    /// The address.
    pub mailbox: Mailbox,
    /// The language, as a tag.
    pub language: Option<String>,
}

/// Has a complaint acknowledged that is new. Whether it is: not where letters do not leave, or too many did.
pub(super) async fn acknowledge(
    conn: &mut Connection,
    number: i64,
    to: &AnswerTo,
    effects: &Effects,
) -> Result<bool, StoreError> {
    if !effects.desk.channels.mail {
        return Ok(false);
    }
    let target = to.mailbox.to_string();
    let (to_it,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM deliveries WHERE complaint IS NOT NULL AND lower(target) = $1 AND made > $2",
    )
    .bind(target.to_ascii_lowercase())
    .bind(nanos(effects.now.minus(BETWEEN)))
    .fetch_one(&mut *conn)
    .await?;
    let (to_all,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM deliveries WHERE complaint IS NOT NULL AND made > $1")
            .bind(nanos(effects.now.minus(HOUR)))
            .fetch_one(&mut *conn)
            .await?;
    if to_it > 0 || to_all >= MOST {
        return Ok(false);
    }
    let language = match &to.language {
        Some(language) => language.clone(),
        None => {
            let policy = effects.desk.policies.clone().latest(conn, None).await?;
            policy.notices.languages.first().unwrap_or(&policy.language).to_string()
        }
    };
    sqlx::query(
        "INSERT INTO deliveries (complaint, language, channel, target, state, made, due, attempts, detail) \
         VALUES ($1, $2, 'mail', $3, 'pending', $4, $4, 0, '')",
    )
    .bind(number)
    .bind(language)
    .bind(target)
    .bind(nanos(effects.now))
    .execute(conn)
    .await?;
    Ok(true)
}
