//! The sensor's side: what goes into the engine, packed into blocks and handed to the thread that writes.
//!
//! It never waits. When the writer has no room, or its disk takes nothing, what comes is let go and counted, and a new segment begins as soon
//! as it goes on, with a [`Start`] that says how much is missing.

use std::path::Path;
use std::time::Duration;

use reeve_core::engine::{Engine, EngineConfig, Input};
use reeve_core::{Frame, packet};
use reeve_policy::{TenantId, Timestamp};
use serde::Serialize;

use super::block::Block;
use super::writer::{Job, Status, Writer};
use super::{HistoryError, Limits, Start};

/// A block is handed on when it is so old: what a kill loses.
const LATEST: Duration = Duration::from_secs(5);
/// When the disk takes nothing, it is tried again after this long.
const RETRY: Duration = Duration::from_secs(10);

/// One thing of a segment that is neither a frame nor time.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Entry<'a> {
    Start(&'a Start),
    Input(&'a Input),
    /// Where the engine keeps its tenants from here on.
    Places(Vec<&'a TenantId>),
}

/// Keeps a history.
#[derive(Debug)]
pub struct Historian {
    writer: Writer,
    config: EngineConfig,
    is_up: bool,
    block: Block,
    /// Whether the block begins a segment.
    begins: bool,
    /// Whether something was written since the agent began.
    is_first: bool,
    /// Whether the next thing begins a segment.
    wants_start: bool,
    /// Time that passed with nothing after it.
    tick: Option<Timestamp>,
    now: Timestamp,
    /// Frames that were let go since the last segment began, and all of them.
    lost: u64,
    lost_in_all: u64,
    retry: Option<Timestamp>,
}

impl Historian {
    /// Keeps the history of an engine of this making in a folder, which is made if it is not there. `now`
    /// also tells this run of the agent from those before.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(
        folder: &Path,
        limits: Limits,
        config: EngineConfig,
        now: Timestamp,
    ) -> Result<Self, HistoryError> {
        Ok(Self {
            writer: Writer::open(folder, limits, now.as_nanos())?,
            config,
            is_up: true,
            block: Block::default(),
            begins: false,
            is_first: true,
            wants_start: true,
            tick: None,
            now,
            lost: 0,
            lost_in_all: 0,
            retry: None,
        })
    }

    /// Takes a frame that the engine is about to take.
    pub fn frame(&mut self, engine: &Engine, frame: &Frame<'_>) {
        self.now = self.now.max(frame.at);
        if !self.prepare(engine) {
            self.lose(1);
            return;
        }
        let len = packet::headers_len(frame.link, frame.data, frame.wire_len);
        self.block.frame(frame, &frame.data[..len]);
        self.hand_on(false);
    }

    /// Takes anything else that the engine is about to take.
    pub fn input(&mut self, engine: &Engine, input: &Input) {
        match input {
            // Time alone matters only as far as something comes after it.
            Input::Tick { at } | Input::Loss { dropped: 0, at, .. } => {
                self.now = self.now.max(*at);
                self.tick = Some(*at);
                return self.hand_on(false);
            }
            Input::Policy { policy, mode, .. } => {
                let at = self.now;
                self.write(engine, at, &Entry::Input(input));
                (self.config.policy, self.config.mode) = (std::sync::Arc::clone(policy), *mode);
                return;
            }
            Input::Upstream { is_up, .. } => self.is_up = *is_up,
            _ => {}
        }
        self.write(engine, self.now, &Entry::Input(input));
    }

    /// Takes note of where the engine keeps its tenants, after it was told of them.
    pub fn places(&mut self, engine: &Engine) {
        let places = engine.topology().tenants().iter().map(|tenant| &tenant.id).collect();
        self.write(engine, self.now, &Entry::Places(places));
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { lost: self.writer.lost() + self.lost_in_all, ..self.writer.status() }
    }

    fn write(&mut self, engine: &Engine, at: Timestamp, entry: &Entry<'_>) {
        if self.prepare(engine) {
            // What the engine takes can be said in JSON: a record says it so, too.
            if let Ok(json) = serde_json::to_vec(entry) {
                self.block.json(at, &json);
            }
            self.hand_on(false);
        }
    }

    /// Whether something can be written; begins a segment if one is wanted, and writes down time that passed.
    fn prepare(&mut self, engine: &Engine) -> bool {
        if self.retry.is_some_and(|retry| self.now < retry) {
            return false;
        }
        self.retry = None;
        if self.wants_start || self.writer.wants_segment() {
            self.hand_on(true);
            if self.retry.is_some() {
                return false;
            }
            let start = self.start(engine);
            let Ok(json) = serde_json::to_vec(&Entry::Start(&start)) else { return false };
            self.block.json(self.now, &json);
            (self.begins, self.wants_start, self.is_first) = (true, false, false);
            self.writer.begins_segment();
        }
        if let Some(at) = self.tick.take() {
            self.block.tick(at);
        }
        true
    }

    fn start(&mut self, engine: &Engine) -> Start {
        let lost = std::mem::take(&mut self.lost) + self.writer.take_lost();
        Start {
            config: self.config.clone(),
            desired: engine.desired().clone(),
            standing: engine.standing().clone(),
            usage: engine.usage(),
            tenants: engine.topology().tenants().to_vec(),
            vantages: engine.topology().vantages().to_vec(),
            is_up: self.is_up,
            at: self.now,
            is_first: self.is_first,
            lost,
        }
    }

    /// Hands the block on if it is full or old, or whatever it is.
    fn hand_on(&mut self, whatever: bool) {
        let is_old = self.block.span().is_some_and(|(first, _)| self.now >= first + LATEST);
        if self.block.is_empty() || !(whatever || is_old || self.block.is_full()) {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let begins = std::mem::take(&mut self.begins);
        if self.writer.is_failing() && !begins {
            return self.give_up(&block);
        }
        if let Err(job) = self.writer.send(Box::new(Job { block, begins })) {
            self.give_up(&job.block);
        }
    }

    fn lose(&mut self, frames: u64) {
        self.lost += frames;
        self.lost_in_all += frames;
    }

    fn give_up(&mut self, block: &Block) {
        // Orders that are missing make a gap, too.
        self.lose(block.frames().max(1));
        self.wants_start = true;
        self.retry = Some(self.now + RETRY);
    }
}

impl Drop for Historian {
    fn drop(&mut self) {
        if let (Some(at), false) = (self.tick, self.wants_start) {
            self.block.tick(at);
        }
        self.hand_on(true);
    }
}
