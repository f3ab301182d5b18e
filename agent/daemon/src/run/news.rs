//! News for operators: node events, at most one a minute of a kind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reeve_policy::{NodeEvent, NodeEventKind, Timestamp};

/// How often one kind is told.
const EVERY: Duration = Duration::from_secs(60);

/// What was told when.
#[derive(Debug, Default)]
pub(super) struct News {
    /// By kind: when it was last told, and how often it came about since.
    told: BTreeMap<NodeEventKind, (Instant, u64)>,
}

impl News {
    /// The event, unless one of its kind was told within the last minute; it tells how many were not told before it.
    pub fn tell(
        &mut self,
        now: Instant,
        at: Timestamp,
        kind: NodeEventKind,
        detail: &str,
    ) -> Option<NodeEvent> {
        if let Some((last, untold)) = self.told.get_mut(&kind)
            && now.saturating_duration_since(*last) < EVERY
        {
            *untold += 1;
            return None;
        }
        let untold = self.told.insert(kind, (now, 0)).map_or(0, |(_, untold)| untold);
        Some(match untold {
            0 => NodeEvent::new(at, kind, detail),
            untold => {
                NodeEvent::new(at, kind, &format!("{detail} (and {untold} times since it was last told)"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_of_a_kind() {
        let (mut news, start) = (News::default(), Instant::now());
        let mut tell = |secs, kind| {
            let at = Timestamp::from_secs(secs);
            news.tell(start + Duration::from_secs(secs), at, kind, "x").map(|event| event.detail)
        };
        assert_eq!(tell(0, NodeEventKind::Braked).as_deref(), Some("x"));
        assert_eq!(tell(1, NodeEventKind::Braked), None);
        assert_eq!(tell(2, NodeEventKind::CaptureLoss).as_deref(), Some("x"));
        assert_eq!(tell(59, NodeEventKind::Braked), None);
        let told = tell(60, NodeEventKind::Braked);
        assert_eq!(told.as_deref(), Some("x (and 2 times since it was last told)"));
        assert_eq!(tell(120, NodeEventKind::Braked).as_deref(), Some("x"));
    }
}
