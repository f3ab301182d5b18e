//! The task that writes, and that follows what other controllers write.
//!
//! One task does both, so that what is in memory goes forward commit by commit: before it writes, it takes in what was
//! committed since it last looked, in the same transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::run::{greet, merge, run};
use super::{Job, Pulse, WriteError, Writer};
use crate::auth::{Book, Records};
use crate::clock;
use crate::directory::{Directory, Snapshot};
use crate::events::{Event, Events, What};
use crate::store::share::{self, Change, Heard};
use crate::store::write::{self, Desk, Effects, Told};
use crate::store::{Channels, Connection, OUTAGE, Policies, StoreError, Writing, access};
use crate::streams::Streams;

/// How many jobs may wait; those who have more wait with them.
const QUEUE: usize = 1_024;
/// How many jobs one transaction takes.
const BATCH: usize = 512;
/// After so long a transaction takes no further job: what people order, and other controllers, wait for it to be over.
const LONGEST: Duration = Duration::from_millis(250);
/// For how many jobs what they are about is looked up together, and how much that is at most: what was looked up is done in that transaction.
const AHEAD: usize = 128;
const MAX_AHEAD: usize = 2_048;
/// How often a transaction is tried that the engine gave up for another one's sake, or whose connection broke.
const ATTEMPTS: u32 = 4;
/// How long is waited before that, and so much longer each time.
const PAUSE: Duration = Duration::from_millis(50);
/// How long is waited between attempts of what nodes tell, while the database is away.
const AGAIN: Duration = Duration::from_millis(250);
/// How often is looked for what others wrote, where nobody tells, and how often a controller beats.
const LOOK: Duration = Duration::from_secs(1);
/// A controller that has not beaten for so long is gone.
const GONE: Duration = Duration::from_secs(10);
/// Changes are forgotten every so many looks.
const FORGET_EVERY: u64 = 60;

/// The task.
#[derive(Debug)]
pub(crate) struct Task {
    acts: mpsc::Receiver<Job>,
    others: mpsc::Receiver<Job>,
    writing: Writing,
    directory: Arc<Directory>,
    events: Events,
    streams: Streams,
    book: Book,
    policies: Policies,
    /// By which ways notices leave this controller.
    channels: Arc<Channels>,
    /// Who this controller is to the others.
    own: String,
    /// Up to which commit everything is in memory.
    seen: u64,
    /// Told when others may have written.
    wake: Arc<Notify>,
    /// The beats of the others, and since when they are what they are.
    beats: BTreeMap<String, (i64, Instant)>,
    looks: u64,
    pulse: Pulse,
    /// Since when the database has been away.
    away: Option<Instant>,
    /// What nobody would tell again, while the database takes nothing.
    kept: Vec<Job>,
}

/// What a transaction came to.
struct Committed {
    number: u64,
    snapshot: Option<Snapshot>,
    /// What this one changed.
    own: Effects,
    /// What others changed before it.
    others: Vec<Change>,
    /// By which controller each node is connected, where all was read anew.
    presence: Option<BTreeMap<reeve_policy::NodeId, String>>,
    /// Who may call, where others changed it.
    access: Option<Records>,
    /// How many of the jobs it took.
    done: usize,
}

impl Task {
    /// The task and the way to it. The directory is filled from the database.
    pub async fn new(
        mut writing: Writing,
        directory: Arc<Directory>,
        events: Events,
        streams: Streams,
        book: Book,
        channels: Channels,
    ) -> Result<(Self, Writer), StoreError> {
        let policies = Policies::default();
        let own = super::controller_key();
        let is_shared = writing.is_shared();
        let conn = writing.connection().await?;
        // First the number, then the state: what comes between is read twice, not missed.
        let seen = share::last(conn).await?;
        if is_shared {
            share::beat(conn, &own).await?;
            streams.connected_elsewhere(elsewhere(share::presence(conn).await?, &own));
        } else {
            share::alone(conn).await?;
        }
        book.replace(access::load(conn).await?);
        directory.replace(crate::store::snapshot(conn, &policies).await?);
        let ((to_acts, acts), (to_others, others)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let (wake, beats) = (Arc::new(Notify::new()), BTreeMap::new());
        let task = Self {
            acts,
            others,
            writing,
            directory,
            events,
            streams,
            book,
            policies,
            channels: Arc::new(channels),
            own,
            seen,
            wake,
            beats,
            looks: 0,
            pulse: Pulse::default(),
            away: None,
            kept: Vec::new(),
        };
        Ok((task, Writer::new(to_acts, to_others)))
    }

    /// Hears, for as long as it is polled, when others have written.
    pub fn listen(&self) -> impl Future<Output = ()> + Send + 'static {
        self.writing.listen(Arc::clone(&self.wake))
    }

    /// How it fares.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Works until every way to it is gone.
    pub async fn run(mut self) {
        // The connection is to be heard by the runtime that waits for it.
        self.writing.drop_connection();
        let mut batch = Vec::with_capacity(BATCH);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (wake, is_shared) = (Arc::clone(&self.wake), self.writing.is_shared());
        loop {
            let is_taken = tokio::select! {
                () = self.take(&mut batch) => true,
                () = wake.notified(), if is_shared => {
                    self.look(false).await;
                    false
                }
                _ = look.tick(), if is_shared => {
                    self.look(true).await;
                    false
                }
            };
            if !is_taken {
                // A look takes as long as a silent server is waited for: whoever waits meanwhile goes before the next one.
                if batch.is_empty() && self.kept.is_empty() && self.acts.is_empty() && self.others.is_empty()
                {
                    continue;
                }
                self.take(&mut batch).await;
            }
            if batch.is_empty() {
                break;
            }
            batch = self.write(std::mem::take(&mut batch)).await;
        }
        self.writing.close().await;
    }

    /// Waits for something to do and takes what waits, acts first, then what could not be written before, and then what was left of the batch
    /// before; nothing where every way here is gone.
    async fn take(&mut self, batch: &mut Vec<Job>) {
        // However much is kept, as much besides is taken as ever: they are told, in the end, that nothing can be written.
        let room = BATCH + self.kept.len();
        batch.splice(..0, self.kept.drain(..));
        if batch.is_empty() {
            let first = tokio::select! {
                biased;
                job = self.acts.recv() => job,
                job = self.others.recv() => job,
            };
            batch.extend(first);
        } else {
            let acts = std::iter::from_fn(|| self.acts.try_recv().ok()).take(BATCH);
            batch.splice(..0, acts);
        }
        while batch.len() < room
            && let Ok(job) = self.acts.try_recv().or_else(|_| self.others.try_recv())
        {
            batch.push(job);
        }
    }

    /// Does jobs, as many as one transaction takes, and tells of them; the others. Where nothing can be written, those are kept that nobody would
    /// tell again.
    async fn write(&mut self, mut jobs: Vec<Job>) -> Vec<Job> {
        self.pulse.begin();
        let mut failed: Vec<Option<WriteError>> = Vec::new();
        let mut is_careful = false;
        let mut attempt = 0;
        let result = loop {
            attempt += 1;
            failed.clear();
            failed.resize(jobs.len(), None);
            // A server's machine that is gone says nothing, and ends no connection.
            let silence = self.writing.silence();
            let tried = tokio::select! {
                tried = self.attempt(&mut jobs, is_careful, &mut failed) => tried,
                error = silence => {
                    self.away = self.away.or(Instant::now().checked_sub(OUTAGE));
                    Err(error)
                }
            };
            let error = match tried {
                Ok(committed) => {
                    self.away = None;
                    let done = committed.done;
                    self.tell(committed);
                    break Ok(done);
                }
                Err(error) => error,
            };
            // What was read of policies in a transaction that is no more may never have been.
            self.policies.forget();
            let is_broken = error.is_disconnected();
            if is_broken {
                self.writing.drop_connection();
                self.away.get_or_insert_with(Instant::now);
            }
            let is_away = self.away.is_some_and(|since| since.elapsed() >= OUTAGE);
            if (is_broken || error.is_transient()) && attempt < ATTEMPTS && !is_away {
                tracing::warn!(%error, "a transaction is tried again");
                tokio::time::sleep(PAUSE * attempt).await;
            } else if !is_broken && !is_careful {
                // Once more, so that one that fails takes no other with it.
                is_careful = true;
            } else {
                let error = WriteError::from(error);
                if is_broken && !is_away && self.keep_patient(&mut jobs, &error) {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
                tracing::error!(%error, "a transaction failed; nothing of it was acknowledged");
                break Err(error);
            }
        };
        self.pulse.end(result.is_ok());
        match result {
            Ok(done) => {
                let left = jobs.split_off(done);
                for (job, failed) in jobs.into_iter().zip(failed) {
                    job.tell(failed.map_or(Ok(()), Err));
                }
                left
            }
            Err(error) => {
                let (kept, told): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(Job::is_told_once);
                self.kept.extend(kept);
                told.into_iter().for_each(|job| job.tell(Err(error.clone())));
                tokio::time::sleep(AGAIN).await;
                Vec::new()
            }
        }
    }

    /// Keeps of jobs what nodes tell, which waits: their streams, broken for a database that is away for a moment, would all be made again at once.
    /// Whoever asked for anything else, or does now, is told that it cannot be done. Whether anything is kept.
    fn keep_patient(&mut self, jobs: &mut Vec<Job>, error: &WriteError) -> bool {
        self.pulse.see(false);
        let (kept, told): (Vec<Job>, Vec<Job>) = std::mem::take(jobs).into_iter().partition(Job::is_patient);
        *jobs = kept;
        let acts = std::iter::from_fn(|| self.acts.try_recv().ok());
        told.into_iter().chain(acts).for_each(|job| job.tell(Err(error.clone())));
        !jobs.is_empty()
    }

    /// Does all of them, in as many transactions as it takes, or keeps them.
    async fn write_all(&mut self, mut jobs: Vec<Job>) {
        while !jobs.is_empty() {
            jobs = self.write(jobs).await;
        }
    }

    /// One transaction. Where `is_careful`, each job has a savepoint of its own, and what fails is noted in `failed`.
    async fn attempt(
        &mut self,
        jobs: &mut [Job],
        is_careful: bool,
        failed: &mut [Option<WriteError>],
    ) -> Result<Committed, StoreError> {
        let (is_shared, listens) = (self.writing.is_shared(), self.writing.listens());
        self.policies.forget_names();
        let mut transaction = self.writing.connection().await?.begin().await?;
        let conn = &mut *transaction;
        let number = share::number(conn).await?;
        let base = self.directory.snapshot();
        let mut next: Option<Snapshot> = None;
        let mut theirs = Effects::new(clock::now(), Desk::default());
        let (mut others, mut presence) = (Vec::new(), None);
        if number > self.seen + 1 {
            match share::since(conn, self.seen).await? {
                Heard::Changes(changes, _) => others = changes,
                Heard::TooMuch(_) => {
                    next = Some(anew(conn, &base, &self.policies).await?);
                    presence = Some(share::presence(conn).await?);
                }
            }
        }
        let desk = Desk {
            people: Arc::clone(&base.tenants),
            policies: self.policies.clone(),
            channels: Arc::clone(&self.channels),
        };
        theirs.desk = desk;
        note(&others, &mut theirs);
        if let Some(next) = &next {
            theirs.desk.people = Arc::clone(&next.tenants);
            theirs.tenants_changed = true;
            theirs.access_changed = true;
            theirs.rollout_changed = true;
        }
        let access = access_of(conn, &theirs).await?;
        refresh_tenants(conn, &base, &mut next, &mut theirs).await?;
        let mut effects = Effects::new(theirs.now, theirs.desk.clone());
        let done = if is_careful {
            one_by_one(conn, jobs, &self.own, failed, &mut effects).await?
        } else {
            together(conn, jobs, &self.own, &mut effects).await?
        };
        refresh_tenants(conn, &base, &mut next, &mut effects).await?;
        write::tell_ends(conn, &mut effects).await?;
        let mut followed = refresh(conn, &base, &mut next, &mut effects).await?;
        if is_shared {
            let is_told = share::tell(conn, number, &self.own, &effects).await?;
            if is_told && listens {
                share::notify(conn).await?;
            }
        }
        theirs.desk = effects.desk.clone();
        followed.append(&mut refresh(conn, &base, &mut next, &mut theirs).await?);
        effects.changed.append(&mut theirs.changed);
        effects.followed = followed;
        transaction.commit().await?;
        Ok(Committed { number, snapshot: next, own: effects, others, presence, access, done })
    }
}

/// Does jobs, as many as there is time for, or none; how many.
async fn together(
    conn: &mut Connection,
    jobs: &mut [Job],
    own: &str,
    effects: &mut Effects,
) -> Result<usize, StoreError> {
    let began = Instant::now();
    // How many are done, and up to which what they are about was looked up.
    let (mut done, mut ahead) = (0, 0);
    let mut told = Told::default();
    told.cursors.read(conn, jobs.iter().filter_map(Job::reporter)).await?;
    while done < jobs.len() && (done == 0 || done < ahead || began.elapsed() < LONGEST) {
        let place = done;
        let greeters = greeters(&jobs[place..]);
        done += greeters.max(1);
        let is_told = jobs[place].is_told();
        if !is_told {
            told.answers.write(conn, effects.now).await?;
            write::settle(conn, effects).await?;
        } else if place >= ahead {
            let some = &jobs[place..place + alike(&jobs[place..])];
            told.answers.read(conn, some.iter().filter_map(Job::answer)).await?;
            effects.seen.read(conn, some.iter().filter_map(Job::report)).await?;
            ahead = place + some.len();
        }
        if greeters > 0 {
            greet(conn, &mut jobs[place..done], &mut told.cursors, effects).await?;
        } else {
            run(conn, &mut jobs[place], own, &mut told, effects).await?;
        }
        if !is_told {
            write::settle(conn, effects).await?;
        }
    }
    write::settle(conn, effects).await?;
    told.write(conn, effects.now).await?;
    Ok(done)
}

/// For how many of these jobs, of which the first is one that nodes tell, what they are about is looked up together.
fn alike(jobs: &[Job]) -> usize {
    let mut keys = 0;
    let told = jobs.iter().take(AHEAD).take_while(|job| {
        let has_room = keys < MAX_AHEAD;
        keys += job.report().map_or(1, |(_, report)| write::subjects(report));
        has_room && job.is_told()
    });
    told.count()
}

/// How many of these jobs, from the first on, are greetings, each of another node.
fn greeters(jobs: &[Job]) -> usize {
    let mut nodes = std::collections::BTreeSet::new();
    let greeting = jobs.iter().map_while(|job| match job {
        Job::Greet { hello, .. } => Some(&hello.node),
        _ => None,
    });
    greeting.take_while(|node| nodes.insert(*node)).count()
}

/// Does jobs, each with a savepoint of its own, as many as there is time for; what fails is noted in `failed`. How many.
async fn one_by_one(
    conn: &mut Connection,
    jobs: &mut [Job],
    own: &str,
    failed: &mut [Option<WriteError>],
    effects: &mut Effects,
) -> Result<usize, StoreError> {
    let began = Instant::now();
    let mut done = 0;
    for (job, failed) in jobs.iter_mut().zip(failed) {
        if done > 0 && began.elapsed() >= LONGEST {
            break;
        }
        done += 1;
        conn.execute("SAVEPOINT job").await?;
        let mut its = Effects::new(effects.now, effects.desk.clone());
        match alone(conn, job, own, &mut its).await {
            Ok(()) => merge(effects, its),
            Err(error) if error.is_transient() || error.is_disconnected() => return Err(error),
            Err(error) => {
                conn.execute("ROLLBACK TO SAVEPOINT job").await?;
                effects.desk.policies.forget();
                tracing::error!(%error, "a change could not be stored");
                if error.is_about_data() && job.refuse() {
                    // It would be the same each time that it is sent: it is counted and let go, so that others come after it.
                    alone(conn, job, own, effects).await?;
                } else {
                    job.give_up();
                    *failed = Some(WriteError::from(error));
                }
            }
        }
        conn.execute("RELEASE SAVEPOINT job").await?;
    }
    Ok(done)
}

/// Does one job, and nothing of it is left to be written.
async fn alone(
    conn: &mut Connection,
    job: &mut Job,
    own: &str,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    let mut told = Told::default();
    run(conn, job, own, &mut told, effects).await?;
    write::settle(conn, effects).await?;
    told.write(conn, effects.now).await
}

impl Task {
    /// Takes in what other controllers wrote, and, `is_due`, beats and sees who is gone.
    async fn look(&mut self, is_due: bool) {
        let mut gone = Vec::new();
        if is_due {
            self.looks += 1;
            match self.see_others().await {
                Ok(found) => gone = found,
                Err(error) => return self.lost(&error),
            }
        }
        match self.catch_up().await {
            Ok(Some(committed)) => self.tell(committed),
            Ok(None) => {}
            Err(error) => return self.lost(&error),
        }
        if is_due {
            // A beat is a change like any other.
            self.pulse.see(true);
        }
        let mut jobs: Vec<Job> =
            gone.into_iter().map(|(controller, beat)| Job::Bury { controller, beat }).collect();
        if is_due && self.looks.is_multiple_of(FORGET_EVERY) {
            jobs.push(Job::Forget);
        }
        if !jobs.is_empty() {
            self.write_all(jobs).await;
        }
    }

    fn lost(&mut self, error: &StoreError) {
        tracing::warn!(%error, "what other controllers wrote cannot be read");
        self.pulse.see(false);
        self.writing.drop_connection();
        // The others could not beat either, as far as we know.
        self.beats.clear();
    }

    /// Beats, and gives the controllers whose beats have stood still.
    async fn see_others(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        let conn = self.writing.connection().await?;
        let was_known = share::beat(conn, &self.own).await?;
        let beats = share::beats(conn).await?;
        if !was_known && self.looks > 1 {
            // The others took us for gone, and our nodes with us.
            tracing::warn!("other controllers took this one for gone; its nodes are told anew");
            let jobs = self.streams.own().into_iter();
            let jobs: Vec<Job> = jobs.map(|(node, stream)| Job::Up { node, stream }).collect();
            self.write_all(jobs).await;
        }
        let now = Instant::now();
        let mut known = std::mem::take(&mut self.beats);
        for (controller, beat) in beats.into_iter().filter(|(controller, _)| *controller != self.own) {
            let since = known.remove(&controller).filter(|(before, _)| *before == beat);
            self.beats.insert(controller, since.unwrap_or((beat, now)));
        }
        let is_gone = |(_, (_, since)): &(&String, &(i64, Instant))| now.duration_since(*since) >= GONE;
        Ok(self.beats.iter().filter(is_gone).map(|(id, (beat, _))| (id.clone(), *beat)).collect())
    }

    /// What others committed, without writing anything.
    async fn catch_up(&mut self) -> Result<Option<Committed>, StoreError> {
        self.policies.forget_names();
        let conn = self.writing.connection().await?;
        let heard = share::since(conn, self.seen).await?;
        let (others, number, is_whole) = match heard {
            Heard::Changes(_, number) if number == self.seen => return Ok(None),
            Heard::Changes(changes, number) => (changes, number, false),
            Heard::TooMuch(number) => (Vec::new(), number, true),
        };
        let base = self.directory.snapshot();
        let mut next: Option<Snapshot> = None;
        let desk = Desk {
            people: Arc::clone(&base.tenants),
            policies: self.policies.clone(),
            channels: Arc::clone(&self.channels),
        };
        let mut theirs = Effects::new(clock::now(), desk);
        note(&others, &mut theirs);
        let mut presence = None;
        if is_whole {
            next = Some(anew(conn, &base, &self.policies).await?);
            presence = Some(share::presence(conn).await?);
            theirs.tenants_changed = true;
            theirs.access_changed = true;
            theirs.rollout_changed = true;
        }
        let access = access_of(conn, &theirs).await?;
        refresh_tenants(conn, &base, &mut next, &mut theirs).await?;
        let followed = refresh(conn, &base, &mut next, &mut theirs).await?;
        let mut own = Effects::new(theirs.now, theirs.desk);
        own.changed = theirs.changed;
        own.followed = followed;
        Ok(Some(Committed { number, snapshot: next, own, others, presence, access, done: 0 }))
    }

    /// After the commit: what is in memory goes forward, and everybody is told.
    fn tell(&mut self, committed: Committed) {
        let Committed { number, snapshot, own, others, presence, access, done: _ } = committed;
        self.seen = number;
        if let Some(access) = access {
            self.book.replace(access);
        }
        let is_anew = presence.is_some();
        if let Some(snapshot) = snapshot {
            let people = Arc::clone(&snapshot.tenants);
            if is_anew {
                self.directory.replace(snapshot);
            } else {
                self.directory.publish(snapshot, own.changed);
            }
            for tenant in own.followed.iter().filter_map(|id| people.by_id(id)) {
                self.streams.wake_around(tenant);
            }
        }
        if let Some(presence) = presence {
            self.streams.connected_elsewhere(elsewhere(presence, &self.own));
        }
        // Of either, every node may have to be told.
        let mut concerns_all = own.tenants_changed || own.rollout_changed;
        for change in others {
            concerns_all |= change.tenants_changed || change.rollout_changed;
            let is_ours = change.controller == self.own;
            for what in change.events {
                match &what {
                    What::NodeUp { node } if !is_ours => self.streams.taken_elsewhere(node),
                    What::NodeDown { node, .. } if !is_ours => self.streams.gone_elsewhere(node),
                    _ => {}
                }
                self.events.publish(Event { at: change.at, what });
            }
            change.ordered.iter().for_each(|node| self.streams.wake(node));
        }
        for what in own.events {
            match &what {
                What::NodeUp { node } | What::NodeDown { node, .. } => self.streams.gone_elsewhere(node),
                _ => {}
            }
            self.events.publish(Event { at: own.now, what });
        }
        if concerns_all || is_anew {
            self.streams.wake_all();
        }
        own.ordered.iter().for_each(|node| self.streams.wake(node));
    }
}

fn elsewhere(
    presence: BTreeMap<reeve_policy::NodeId, String>,
    own: &str,
) -> impl Iterator<Item = reeve_policy::NodeId> {
    presence.into_iter().filter(move |(_, controller)| controller != own).map(|(node, _)| node)
}

/// Everything as it is on disk, numbered on from what is in memory.
async fn anew(conn: &mut Connection, base: &Snapshot, policies: &Policies) -> Result<Snapshot, StoreError> {
    let mut next = crate::store::snapshot(conn, policies).await?;
    let mut records = base.records.renewed(&next.tenants, &next.records);
    records.place_all_anew(&next.tenants);
    next.records = Arc::new(records);
    Ok(next)
}

/// Notes what others changed among what is to be read again.
fn note(others: &[Change], theirs: &mut Effects) {
    for change in others {
        theirs.touched.extend(change.touched.iter().cloned());
        theirs.tenants_changed |= change.tenants_changed;
        theirs.pauses_changed_elsewhere |= change.pauses_changed;
        theirs.access_changed |= change.access_changed;
        theirs.rollout_changed |= change.rollout_changed;
    }
}

/// Reads again who may call, where others changed it.
async fn access_of(conn: &mut Connection, theirs: &Effects) -> Result<Option<Records>, StoreError> {
    if theirs.access_changed { access::load(conn).await.map(Some) } else { Ok(None) }
}

/// Reads the tenants again where they changed.
async fn refresh_tenants(
    conn: &mut Connection,
    base: &Snapshot,
    next: &mut Option<Snapshot>,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    if !effects.tenants_changed {
        return Ok(());
    }
    let next = next.get_or_insert_with(|| base.clone());
    let before = Arc::clone(&next.tenants);
    next.tenants = write::tenants(conn, &before).await?;
    effects.desk.people = Arc::clone(&next.tenants);
    let held = next.standings.keys();
    match next.tenants.changed_since(before.version()) {
        // Who reads why it is held may read another language now.
        Some(whom) => {
            let whom: std::collections::BTreeSet<_> = whom.into_iter().cloned().collect();
            let records = Arc::make_mut(&mut next.records);
            whom.iter().for_each(|id| records.place_anew(&next.tenants, id));
            effects.touched.extend(held.filter(|id| next.tenants.is_concerned(id, &whom)).cloned());
            effects.changed.extend(whom);
        }
        None => {
            Arc::make_mut(&mut next.records).place_all_anew(&next.tenants);
            effects.touched.extend(held.cloned());
            effects.changed.extend(next.tenants.all().keys().cloned());
        }
    }
    Ok(())
}

/// Reads again what else changed. The tenants of whom nodes are to be told something else.
async fn refresh(
    conn: &mut Connection,
    base: &Snapshot,
    next: &mut Option<Snapshot>,
    effects: &mut Effects,
) -> Result<std::collections::BTreeSet<reeve_policy::TenantId>, StoreError> {
    let mut followed = std::collections::BTreeSet::new();
    if effects.pauses_changed || effects.pauses_changed_elsewhere || !effects.pauses_told.is_empty() {
        let next = next.get_or_insert_with(|| base.clone());
        write::update_paused(conn, Arc::make_mut(&mut next.paused), effects).await?;
    }
    if effects.rollout_changed {
        let next = next.get_or_insert_with(|| base.clone());
        next.rollout = Arc::new(write::rollout(conn, &next.rollout).await?);
    }
    let touched: Vec<_> = effects.touched.iter().collect();
    let mut standings = write::standings(conn, &touched, &effects.desk).await?;
    let mut records = write::records(conn, &touched, effects.now).await?;
    for tenant in touched {
        let standing = standings.remove(tenant).unwrap_or_default();
        let known = next.as_ref().unwrap_or(base);
        let before = known.standings.get(tenant);
        if before.map_or(!standing.is_empty(), |before| **before != standing) {
            let next = next.get_or_insert_with(|| base.clone());
            if standing.is_empty() {
                next.standings.remove(tenant);
            } else {
                next.standings.insert(tenant.clone(), Arc::new(standing));
            }
            effects.changed.insert(tenant.clone());
        }
        let record = records.remove(tenant).unwrap_or_default();
        let known = next.as_ref().unwrap_or(base);
        let before = known.records.get(tenant);
        if before.map_or(!record.is_empty(), |before| **before != record) {
            let next = next.get_or_insert_with(|| base.clone());
            let people = Arc::clone(&next.tenants);
            Arc::make_mut(&mut next.records).set(&people, tenant.clone(), record);
            followed.insert(tenant.clone());
        }
    }
    Ok(followed)
}
