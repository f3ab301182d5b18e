//! What is over is forgotten after the time that `[retention]` names, a little at once.

use std::time::Duration;

use crate::clock;
use crate::settings::Retention;
use crate::store::write::Limits;
use crate::writer::{Job, Writer};

/// How often is looked for what is old enough.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// The first time is so long after the start: agents that connect come first.
const FIRST: Duration = Duration::from_secs(60);
/// Between two batches others come in.
const PAUSE: Duration = Duration::from_millis(20);

/// Forgets for as long as it is polled.
pub(crate) async fn keep(retention: Retention, writer: Writer) {
    let Some(kept) = retention.keep else { return };
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + FIRST, EVERY);
    loop {
        look.tick().await;
        let now = clock::now();
        let limits = Limits { over: now.minus(kept), strikes: now.minus(kept.max(retention.strikes)) };
        let mut all = 0;
        loop {
            match writer.ask(|reply| Job::Retain { limits, reply }).await {
                Ok((count, is_more)) => {
                    all += count;
                    if !is_more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what is old cannot be forgotten");
                    break;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        if all > 0 {
            tracing::info!(rows = all, days = kept.as_secs() / 86_400, "forgot what was over for that long");
        }
    }
}
