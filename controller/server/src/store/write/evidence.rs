//! The alerts that decisions rest on, which outlive what is seen later in the same violation.

use reeve_policy::{Decision, Violation, evidence};

use super::super::row::Body;
use super::super::{Connection, StoreError};
use super::seen::Known;
use super::{Effects, unwritten};

/// Keeps the alert by which a violation was opened. `before` is what is stored of it, which may be from a time when nothing was kept
/// beside a violation.
pub(super) async fn keep_opening(
    conn: &mut Connection,
    violation: &Violation,
    before: Option<&Known>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    // Of one that is new nothing is kept yet.
    let Some(before) = before else {
        effects.seen.unwritten.put_evidence(&violation.id, &violation.evidence, None);
        return Ok(());
    };
    if before.has_evidence {
        return Ok(());
    }
    unwritten::write(conn, effects).await?;
    let before = Violation::decode(&before.body)?;
    let decisions: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT body FROM decisions WHERE violation = $1")
        .bind(violation.id.as_name().as_str())
        .fetch_all(&mut *conn)
        .await?;
    let decisions: Vec<Decision> =
        decisions.iter().map(|(body,)| Decision::decode(body)).collect::<Result<_, _>>()?;
    let behind = decisions.iter().find(|decision| evidence::is_behind(&before.evidence, decision));
    let decision = behind.map(|decision| &decision.id);
    effects.seen.unwritten.put_evidence(&violation.id, &before.evidence, decision);
    Ok(())
}

/// Keeps the alert that a decision rests on: the violation was told with it just before.
pub(super) fn keep_behind(decision: &Decision, violation: &Violation, effects: &mut Effects) {
    if evidence::is_behind(&violation.evidence, decision) {
        effects.seen.unwritten.put_evidence(&violation.id, &violation.evidence, Some(&decision.id));
    }
}
