//! The outbox: notices leave as letters, calls of programs, and lines of a file; acknowledgements of complaints as letters.
//!
//! What is to leave is in the database, a row for each notice and place (`store::write::deliveries`). This task claims rows that are due, sends, and
//! writes down what came of it; what fails is tried again for some three days, and then kept as dead until somebody looks at it. To each place things go one after the
//! other, in their order; to different places at the same time.
//!
//! Left out: making notices (`store::write::notices`), and mail that comes back.

mod acknowledgement;
mod file;
mod letter;
mod mail;
mod tls;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock;
use crate::error::ControllerError;
use crate::events::{Events, What};
use crate::links::Links;
use crate::settings;
use crate::store::write::{Attempted, Outcome};
use crate::store::{Channel, Channels, Outgoing, Store, Told};
use crate::writer::{Job, Writer};
use mail::Post;
pub(crate) use tls::client as client_tls;
use webhook::Caller;

/// How often is looked for what is to be tried again, or was made by another controller.
const LOOK: Duration = Duration::from_secs(5);
/// How much is claimed at once.
const CLAIM: usize = 64;
/// To how many places is sent at the same time.
const PLACES: usize = 8;
/// After so long nothing more is begun of what was claimed: together with one attempt it is well below the lease.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The longest that one attempt takes, whoever holds it up.
const ATTEMPT: Duration = Duration::from_secs(5 * 60);

/// Whoever sends.
#[derive(Debug)]
pub(crate) struct Outbox {
    channels: Arc<Channels>,
    ways: Arc<Ways>,
    store: Store,
    writer: Writer,
    events: Events,
}

/// By which ways.
#[derive(Debug)]
struct Ways {
    post: Option<Post>,
    callers: Vec<Caller>,
    file: Option<PathBuf>,
    links: Option<Links>,
}

impl Outbox {
    /// Whoever sends by the ways that are set; nobody where there is none.
    ///
    /// # Errors
    /// Where certificates that are named cannot be used.
    pub fn new(
        settings: &settings::Outbox,
        links: Option<Links>,
        (store, writer, events): (Store, Writer, Events),
    ) -> Result<Option<Self>, ControllerError> {
        let channels = Arc::new(settings.channels());
        if channels.is_empty() {
            return Ok(None);
        }
        let post = settings.mail.as_ref().map(|mail| Post::new(mail, links.clone())).transpose()?;
        let callers = settings
            .webhooks
            .iter()
            .map(|webhook| Caller::new(webhook, links.clone()))
            .collect::<Result<_, _>>()?;
        let ways = Arc::new(Ways { post, callers, file: settings.file.clone(), links });
        Ok(Some(Self { channels, ways, store, writer, events }))
    }

    /// Sends for as long as it is polled.
    pub async fn run(self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut events = self.events.subscribe();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                heard = events.recv() => match heard {
                    Ok(event) if !matches!(event.what, What::Notice { .. }) => continue,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                    _ => {}
                },
            }
            while self.send_some().await {}
            // What was heard meanwhile was sent, too.
            events = events.resubscribe();
        }
    }

    /// Sends what is due, as much as is claimed at once; whether there may be more.
    async fn send_some(&self) -> bool {
        match self.store.is_anything_due(clock::now()).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                tracing::warn!(%error, "it cannot be seen what is to be sent");
                return false;
            }
        }
        let channels = Arc::clone(&self.channels);
        let claimed = self.writer.ask(|reply| Job::ClaimDeliveries { channels, most: CLAIM, reply }).await;
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "what is to be sent cannot be claimed");
                return false;
            }
        };
        let is_more = claimed.len() == CLAIM;
        let all = send(&self.ways, claimed).await;
        if all.is_empty() {
            return false;
        }
        // Nobody else knows what came of it: it is told until it is written down.
        while let Err(error) = self.writer.ask(|reply| Job::Attempted { all: all.clone(), reply }).await {
            tracing::warn!(%error, "what came of sending cannot be written down yet");
            tokio::time::sleep(LOOK).await;
        }
        is_more
    }
}

/// Sends to each place one after the other, and says what came of each.
async fn send(ways: &Arc<Ways>, claimed: Vec<Outgoing>) -> Vec<Attempted> {
    let mut places: BTreeMap<(Channel, String, bool), Vec<Outgoing>> = BTreeMap::new();
    for one in claimed {
        let is_notice = matches!(one.told, Told::Notice(_));
        places.entry((one.channel, one.target.clone(), is_notice)).or_default().push(one);
    }
    let room = Arc::new(Semaphore::new(PLACES));
    let mut sending = JoinSet::new();
    for all in places.into_values() {
        let (ways, room) = (Arc::clone(ways), Arc::clone(&room));
        sending.spawn(async move {
            let _place = room.acquire_owned().await;
            ways.send_in_order(all).await
        });
    }
    sending.join_all().await.into_iter().flatten().collect()
}

impl Ways {
    async fn send_in_order(&self, all: Vec<Outgoing>) -> Vec<Attempted> {
        let begun = Instant::now();
        let mut is_held_up = false;
        let mut attempted = Vec::with_capacity(all.len());
        for one in all {
            let outcome = if is_held_up || begun.elapsed() >= LONGEST {
                Outcome::Untried
            } else {
                let tried = tokio::time::timeout(ATTEMPT, self.send_one(&one)).await;
                tried.unwrap_or_else(|_| Outcome::Later("there was no answer in time".to_owned()))
            };
            is_held_up |= matches!(outcome, Outcome::Later(_));
            log(&one, &outcome);
            attempted.push(Attempted { number: one.number, attempt: one.attempts, outcome });
        }
        attempted
    }

    async fn send_one(&self, one: &Outgoing) -> Outcome {
        match one.channel {
            Channel::Mail => match &self.post {
                Some(post) => post.send(one).await,
                None => Outcome::Untried,
            },
            Channel::Webhook => {
                let caller = self.callers.iter().find(|caller| caller.is(&one.target));
                match (caller, &one.told) {
                    (Some(caller), Told::Notice(notice)) => caller.call(notice, clock::now()).await,
                    _ => Outcome::Untried,
                }
            }
            Channel::File => match (&self.file, &one.told) {
                (Some(path), Told::Notice(notice)) => {
                    file::append(path.clone(), webhook::event(notice, self.links.as_ref())).await
                }
                _ => Outcome::Untried,
            },
        }
    }
}

/// Says what came of it. Who complained, and what a server says of that address, is told by the outbox alone, for as long as the complaint is kept.
fn log(one: &Outgoing, outcome: &Outcome) {
    let channel = one.channel.name();
    match (&one.told, outcome) {
        (_, Outcome::Untried) => {}
        (Told::Notice(told), Outcome::Sent(_)) => {
            tracing::info!(notice = told.number, channel, tenant = %told.notice.tenant, "a notice was sent");
        }
        (Told::Notice(told), Outcome::Later(detail)) => {
            tracing::warn!(notice = told.number, channel, detail, "a notice is sent later");
        }
        (Told::Notice(told), Outcome::Refused(detail)) => {
            tracing::warn!(notice = told.number, channel, detail, "a notice was refused");
        }
        (Told::Complaint(told), Outcome::Sent(_)) => {
            tracing::info!(complaint = told.number, "who complained was told that it is here");
        }
        (Told::Complaint(told), Outcome::Later(_)) => {
            tracing::warn!(complaint = told.number, delivery = one.number, "who complained is told later");
        }
        (Told::Complaint(told), Outcome::Refused(_)) => {
            tracing::warn!(complaint = told.number, delivery = one.number, "who complained cannot be told");
        }
    }
}
