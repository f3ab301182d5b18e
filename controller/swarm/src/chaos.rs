//! Killing: controllers and the database, at random, while agents report and a person acts.
//!
//! What has to hold: every report and every act that was acknowledged is there once, and no agent is without an answer for long while one
//! controller lives and the database is there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::{PauseRequest, PauseTarget, pause_target};
use tonic::transport::Channel;

use crate::house::House;
use crate::inventory::Inventory;

/// One kill in so many is the database's.
const DATABASE_EVERY: u32 = 4;
/// A controller that was killed is away for so long at most.
const AWAY: Duration = Duration::from_secs(4);
/// A call that has no answer by then is made again elsewhere.
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers without an order.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    fn up_to(&mut self, time: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What was killed, and when nobody could have answered.
#[derive(Debug, Default)]
pub struct Log {
    pub controllers: u32,
    pub database: u32,
    /// Who is down since when: controllers by number, and the database as the number behind them.
    down: BTreeMap<usize, Instant>,
    silent_since: Option<Instant>,
    /// Where no controller lived, or the database was away.
    silences: Vec<(Instant, Instant)>,
}

impl Log {
    fn note(&mut self, who: usize, controllers: usize, is_down: bool) {
        let now = Instant::now();
        if is_down {
            self.down.insert(who, now);
        } else {
            self.down.remove(&who);
        }
        let is_silent =
            self.down.contains_key(&controllers) || (0..controllers).all(|one| self.down.contains_key(&one));
        match (is_silent, self.silent_since) {
            (true, None) => self.silent_since = Some(now),
            (false, Some(since)) => {
                self.silences.push((since, now));
                self.silent_since = None;
            }
            _ => {}
        }
    }

    /// How long a gap was, without the time in which nobody could have answered.
    pub fn unexcused(&self, (from, to): (Instant, Instant)) -> Duration {
        let excused = self
            .silences
            .iter()
            .map(|(since, until)| (*until).min(to).saturating_duration_since((*since).max(from)));
        to.saturating_duration_since(from).saturating_sub(excused.sum())
    }
}

/// Kills, about every so often, until `end`; then everything runs.
pub async fn kill(
    house: Arc<House>,
    every: Duration,
    end: Instant,
    log: Arc<Mutex<Log>>,
) -> anyhow::Result<()> {
    let mut dice = Dice(0x5eed);
    let all = house.controllers();
    let note = |who: usize, is_down: bool| {
        log.lock().unwrap_or_else(PoisonError::into_inner).note(who, all, is_down);
    };
    let mut away: BTreeMap<usize, Instant> = BTreeMap::new();
    let mut next = Instant::now() + every;
    loop {
        let now = Instant::now();
        let is_over = now >= end;
        let back: Vec<usize> =
            away.iter().filter(|(_, at)| is_over || **at <= now).map(|(who, _)| *who).collect();
        for who in back {
            house.run(who).await?;
            away.remove(&who);
            note(who, false);
        }
        if is_over {
            return Ok(());
        }
        if now >= next {
            next = now + every / 2 + dice.up_to(every);
            if dice.below(u64::from(DATABASE_EVERY)) == 0 {
                let cluster = house.cluster().context("there is no server of the database")?;
                note(all, true);
                cluster.crash()?;
                tokio::time::sleep(dice.up_to(AWAY / 2)).await;
                cluster.resume()?;
                note(all, false);
                log.lock().unwrap_or_else(PoisonError::into_inner).database += 1;
            } else {
                let who = dice.below(all as u64) as usize;
                // Now and then both are away.
                if let Entry::Vacant(place) = away.entry(who) {
                    note(who, true);
                    house.kill(who).await?;
                    place.insert(now + dice.up_to(AWAY));
                    log.lock().unwrap_or_else(PoisonError::into_inner).controllers += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Pauses one node after the other until `end`, each until it was acknowledged, wherever that is; how many were.
pub async fn act(
    house: Arc<House>,
    inventory: Inventory,
    every: Duration,
    end: Instant,
) -> anyhow::Result<u64> {
    let mut done = 0;
    let mut channels: BTreeMap<usize, Channel> = BTreeMap::new();
    while Instant::now() < end {
        let number = u32::try_from(done)?;
        ensure!(number < inventory.nodes, "every node is paused: fewer seconds, or more agents");
        let target = pause_target::Target::Node(Inventory::node(number).to_string());
        let request = PauseRequest {
            target: Some(PauseTarget { target: Some(target) }),
            reason: "swarm".into(),
            idempotency_key: format!("act-{done}"),
            ..PauseRequest::default()
        };
        let mut attempt = 0;
        loop {
            let who = (done as usize + attempt) % house.controllers();
            attempt += 1;
            let channel = match channels.get(&who) {
                Some(channel) => Some(channel.clone()),
                None => tokio::time::timeout(PATIENCE, house.operator(who)).await.ok().and_then(Result::ok),
            };
            if let Some(channel) = channel {
                channels.insert(who, channel.clone());
                let mut client = OperatorServiceClient::new(channel);
                match tokio::time::timeout(PATIENCE, client.pause(request.clone())).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(status)) if is_refusal(status.code()) => return Err(status.into()),
                    _ => _ = channels.remove(&who),
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        done += 1;
        tokio::time::sleep(every).await;
    }
    Ok(done)
}

/// What would be the same however often it is asked.
fn is_refusal(code: tonic::Code) -> bool {
    use tonic::Code::{
        AlreadyExists, InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Unimplemented,
    };
    matches!(
        code,
        AlreadyExists | InvalidArgument | NotFound | PermissionDenied | Unauthenticated | Unimplemented
    )
}
