//! Cases that no person has to move: those whose deadline is over, those of which nothing goes on any more, and those that were said to be mended.

use std::time::Duration;

use crate::writer::{Job, WriteError, Writer};

/// How often is looked for those whose deadline is over.
const EVERY: Duration = Duration::from_secs(60);
/// How often is looked whether what was said to be mended is silent.
const LISTEN_EVERY: Duration = Duration::from_secs(5);
/// Every so many times, and at first, for those of which nothing goes on: that is a question of days.
const QUIET_EVERY: u32 = 60;
/// As many as are moved at once: then there may be more.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks after them for as long as it is polled; they come to their end where nothing of them has gone on for `quiet`, if that is given.
pub(crate) async fn keep(quiet: Option<Duration>, writer: Writer) {
    tokio::join!(listen(&writer), move_on(quiet, &writer));
}

/// Lets go of what was silent for long enough since it was said to be mended.
async fn listen(writer: &Writer) {
    let mut look = tokio::time::interval(LISTEN_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        match writer.ask(|reply| Job::LookAgain { reply }).await {
            Ok(0) => {}
            Ok(over) => tracing::info!(over, "what was said to be mended was let go of, or was seen again"),
            Err(error) => tracing::warn!(%error, "what was said to be mended cannot be looked at again"),
        }
    }
}

async fn move_on(quiet: Option<Duration>, writer: &Writer) {
    let mut look = tokio::time::interval(EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: u32 = 0;
    loop {
        look.tick().await;
        let is_quiets_turn = looks.is_multiple_of(QUIET_EVERY);
        looks = looks.wrapping_add(1);
        let ended = end_waiting(writer).await;
        let closed = match quiet.filter(|_| is_quiets_turn) {
            Some(quiet) => close_quiet(quiet, writer).await,
            None => Ok(0),
        };
        match (ended, closed) {
            (Ok(0), Ok(0)) => {}
            (Ok(ended), Ok(closed)) => {
                tracing::info!(
                    ended,
                    closed,
                    "cases were moved: a deadline is over, or nothing goes on any more"
                );
            }
            (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "cases cannot be looked after"),
        }
    }
}

async fn end_waiting(writer: &Writer) -> Result<u64, WriteError> {
    let mut all = 0;
    loop {
        match writer.ask(|reply| Job::EndWaiting { reply }).await? {
            0 => return Ok(all),
            some => all += some,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn close_quiet(quiet: Duration, writer: &Writer) -> Result<u64, WriteError> {
    let (mut all, mut behind) = (0, (0, String::new()));
    loop {
        let (some, next) = writer.ask(|reply| Job::CloseQuiet { quiet, behind, reply }).await?;
        all += some;
        match next {
            Some(next) => behind = next,
            None => return Ok(all),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
