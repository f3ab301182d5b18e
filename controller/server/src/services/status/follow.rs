//! Changes of where tenants stand, followed over interruptions.
//!
//! One task a watcher. It keeps nothing but how far it has told: what changed since is the directory's to know, so a watcher that is slow
//! costs no memory, and is told of a tenant that changed often only where it stands now. One that falls too far behind begins anew.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_policy::TenantId;
use reeve_proto::status::v1::watch_status_response::{Event, Reset, Synced};
use reeve_proto::status::v1::{GetStatusResponse, State, WatchStatusResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::desk::{Desk, TooMany};
use super::wire::View;
use crate::auth::Caller;
use crate::clock;
use crate::directory::Token;

/// Messages between the task and the transport.
const WINDOW: usize = 64;
/// How often a watcher hears that there is nothing to hear.
const QUIET: Duration = Duration::from_secs(15);

/// A watch ends after this long; who comes back goes on where it was, if it still may.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What is to be followed.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    /// How far it was seen before.
    pub seen: Option<Token>,
    /// Only these; all if there is none.
    pub only: BTreeSet<TenantId>,
    /// How much is told.
    pub view: View,
}

impl Following {
    fn wanted<'a>(&self, all: impl Iterator<Item = &'a TenantId>) -> Vec<TenantId> {
        all.filter(|id| self.only.is_empty() || self.only.contains(id)).cloned().collect()
    }
}

/// Something to know.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// What was told before is void.
    Reset,
    /// A tenant stands here now; with it everything is told up to the token.
    Status(Box<GetStatusResponse>, Option<Token>),
    /// All is told for now.
    Synced(Token),
}

impl From<Told> for WatchStatusResponse {
    fn from(told: Told) -> Self {
        let (token, event) = match told {
            Told::Reset => (None, Event::Reset(Reset {})),
            Told::Status(status, token) => (token, Event::Status(*status)),
            Told::Synced(token) => (Some(token), Event::Synced(Synced {})),
        };
        let resume_token = token.map(|token| token.to_string()).unwrap_or_default();
        Self { resume_token, event: Some(event) }
    }
}

/// Whoever was told to listen has hung up.
struct HungUp;

impl Desk {
    /// What changes, from where the caller has seen it.
    pub fn follow(&self, following: Following, caller: &Caller) -> Result<ReceiverStream<Told>, TooMany> {
        let place = self.watchers.take(caller)?;
        let (out, told) = mpsc::channel(WINDOW);
        let desk = self.clone();
        tokio::spawn(async move {
            let gone = out.clone();
            tokio::select! {
                _ = tokio::time::timeout(LIFETIME, desk.tell_changes(following, &out)) => {}
                () = gone.closed() => {}
            }
            drop(place);
        });
        Ok(ReceiverStream::new(told))
    }

    async fn tell_changes(&self, following: Following, out: &mpsc::Sender<Told>) -> Result<(), HungUp> {
        let mut follower = self.house.directory.changes().follow();
        let mut seen = following.seen;
        let mut is_first = true;
        loop {
            // What changes from here on wakes us again, whether or not we have it already.
            follower.borrow_and_update();
            let reached = self.catch_up(&following, seen, is_first, out).await?;
            (seen, is_first) = (Some(reached), false);
            while tokio::time::timeout(QUIET, follower.changed()).await.is_err() {
                send(out, Told::Synced(reached)).await?;
            }
        }
    }

    /// Tells what changed since, and how far that is.
    async fn catch_up(
        &self,
        following: &Following,
        seen: Option<Token>,
        is_first: bool,
        out: &mpsc::Sender<Told>,
    ) -> Result<Token, HungUp> {
        let directory = &self.house.directory;
        let changes = directory.changes();
        let since = seen.map(|token| changes.since(token));
        let Some(Ok((whom, reached))) = since else {
            // Before the snapshot is taken: what changes between the two is told twice, not never.
            let reached = changes.now();
            send(out, Told::Reset).await?;
            let held = following.wanted(directory.snapshot().standings.keys());
            for id in &held {
                let status = self.tell(&directory.snapshot(), id, following.view, clock::now());
                if status.state() != State::Clear || status.observed {
                    send(out, Told::Status(Box::new(status), None)).await?;
                }
            }
            send(out, Told::Synced(reached)).await?;
            return Ok(reached);
        };
        let whom = following.wanted(whom.iter());
        for (place, id) in whom.iter().enumerate() {
            let status = self.tell(&directory.snapshot(), id, following.view, clock::now());
            let is_last = place + 1 == whom.len();
            send(out, Told::Status(Box::new(status), is_last.then_some(reached))).await?;
        }
        if is_first {
            send(out, Told::Synced(reached)).await?;
        }
        Ok(reached)
    }
}

async fn send(out: &mpsc::Sender<Told>, told: Told) -> Result<(), HungUp> {
    out.send(told).await.map_err(|_| HungUp)
}
