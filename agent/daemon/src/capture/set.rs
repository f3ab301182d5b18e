//! Live capture: one ring a vantage, read in turn by one thread.
//!
//! Fairness: rings are read a block at a time, round robin, and where a call stopped the next one goes on. So a tenant who
//! floods costs others at most one block's delay a round, and its own ring overflows first.
//!
//! Left out: which interfaces there are to be ([`crate::links`] tells, the run loop decides).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use reeve_core::interest::Interest;
use reeve_core::{Frame, VantageId};
use reeve_policy::Loss;
use rustix::event::{Timespec, epoll};

use super::clock::{Clock, StampScale};
use super::ring::{RETIRE_MS, Ring, RingOptions};
use super::{CaptureError, Progress, Source};

/// One call of [`RingSet::poll`] reads no further block when it has delivered so many frames: some 15 ms of work for
/// the core.
const BATCH_FRAMES: usize = 65_536;
/// Nor when it has read so many blocks, be there nothing in them.
const BATCH_BLOCKS: usize = 256;
/// Nor when so much time has gone by: a frame with a thousand calls in it costs what a thousand others do, and what was found in
/// the first of them is to be acted on before the last is read.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// How many readiness events are taken at once; those beyond wait for the next turn.
const EVENTS: usize = 64;

/// How often interfaces are looked after. The kernel tells an error when one goes down, and none when it goes away after
/// that.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What an interface sent last is handed over so long after it went away at the latest.
const LAST_BLOCK: Duration = Duration::from_millis(2 * RETIRE_MS as u64);

/// How large each of `rings` rings is to be, so that they take `total` bytes together. One that comes later is as large
/// as it would have been at first; the total may be exceeded then, by as many rings as came.
#[must_use]
pub const fn ring_bytes_each(total: usize, rings: usize) -> usize {
    let rings = if rings == 0 { 1 } else { rings };
    total / rings
}

/// Rings on live interfaces.
#[derive(Debug)]
pub struct RingSet {
    epoll: OwnedFd,
    /// By vantage, ascending.
    rings: Vec<Watched>,
    /// Whose turn it is: an index into `rings`, if not beyond.
    turn: usize,
    scale: StampScale,
    /// When interfaces are to be looked after next.
    look_at: Instant,
    /// What is still to be told of rings that are no more.
    departed: Vec<(VantageId, Loss)>,
    ended: bool,
}

#[derive(Debug)]
struct Watched {
    ring: Ring,
    loss: Loss,
    /// When the interface was found to be gone.
    gone: Option<Instant>,
}

impl Watched {
    /// What was received and lost since this was last asked.
    fn take_loss(&mut self) -> Loss {
        let dropped = self.ring.statistics().map_or(0, |statistics| statistics.drops);
        self.loss.dropped += u64::from(dropped);
        std::mem::take(&mut self.loss)
    }
}

impl RingSet {
    /// A set without rings, whose frames are on `clock`'s time.
    ///
    /// # Errors
    /// When the system has no room for another descriptor.
    pub fn new(clock: Clock) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            rings: Vec::new(),
            turn: 0,
            scale: StampScale::new(clock),
            look_at: Instant::now(),
            departed: Vec::new(),
            ended: false,
        })
    }

    /// Watches an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`Ring::open`]; and where the vantage has a ring already.
    pub fn add(
        &mut self,
        vantage: VantageId,
        interface: &str,
        interest: &Interest,
        options: RingOptions,
    ) -> Result<(), CaptureError> {
        let Err(place) = self.place(vantage) else { return Err(CaptureError::VantageTaken { vantage }) };
        let ring = Ring::open(vantage, interface, interest, options)?;
        let data = epoll::EventData::new_u64(u64::from(vantage.0));
        epoll::add(&self.epoll, &ring, data, epoll::EventFlags::IN).map_err(|errno| {
            CaptureError::System { call: "epoll_ctl", interface: interface.to_owned(), source: errno.into() }
        })?;
        self.rings.insert(place, Watched { ring, loss: Loss::default(), gone: None });
        Ok(())
    }

    /// Has [`Source::poll`] wait no longer when there is something to be read elsewhere, too.
    ///
    /// # Errors
    /// When the system has no room for another descriptor.
    pub fn wake_for(&self, other: &impl AsFd) -> io::Result<()> {
        let data = epoll::EventData::new_u64(u64::MAX);
        Ok(epoll::add(&self.epoll, other, data, epoll::EventFlags::IN)?)
    }

    /// Watches a vantage no more; what its ring still holds is thrown away. [`Source::loss`] tells once more of it.
    pub fn remove(&mut self, vantage: VantageId) {
        if let Ok(place) = self.place(vantage) {
            self.take_out(place);
        }
    }

    /// The vantages that are watched, ascending.
    pub fn vantages(&self) -> impl Iterator<Item = (VantageId, &str)> {
        self.rings.iter().map(|watched| (watched.ring.vantage(), watched.ring.interface()))
    }

    /// Where the ring of `vantage` is, or would be.
    fn place(&self, vantage: VantageId) -> Result<usize, usize> {
        self.rings.binary_search_by_key(&vantage, |watched| watched.ring.vantage())
    }

    fn take_out(&mut self, place: usize) -> Ring {
        let mut watched = self.rings.remove(place);
        let (vantage, loss) = (watched.ring.vantage(), watched.take_loss());
        match self.departed.iter_mut().find(|(departed, _)| *departed == vantage) {
            Some((_, before)) => {
                before.received += loss.received;
                before.dropped += loss.dropped;
            }
            None => self.departed.push((vantage, loss)),
        }
        watched.ring
    }

    /// Reads blocks in turn until no ring has one, the batch is full or its time is up: how many frames, how many blocks.
    fn read(&mut self, sink: &mut dyn FnMut(Frame<'_>)) -> (usize, usize) {
        let (mut frames, mut blocks, mut empty) = (0, 0, 0);
        let began = Instant::now();
        let goes_on = |frames, blocks| {
            frames < BATCH_FRAMES && blocks < BATCH_BLOCKS && (blocks == 0 || began.elapsed() < BATCH_TIME)
        };
        while empty < self.rings.len() && goes_on(frames, blocks) {
            let turn = if self.turn < self.rings.len() { self.turn } else { 0 };
            let watched = &mut self.rings[turn];
            self.turn = turn + 1;
            match watched.ring.read_block(&mut self.scale, sink) {
                None => empty += 1,
                Some(count) => {
                    (frames, blocks, empty) = (frames + count, blocks + 1, 0);
                    watched.loss.received += count as u64;
                }
            }
        }
        (frames, blocks)
    }

    /// Waits until a ring has a block or an error, or interfaces are to be looked after.
    fn wait(&mut self, wait: Duration) -> Result<(), CaptureError> {
        let mut events = Vec::with_capacity(EVENTS);
        let timeout = Timespec::try_from(wait.min(LOOK_EVERY)).ok();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                self.ended = true;
                let interface = "*".to_owned();
                return Err(CaptureError::System { call: "epoll_wait", interface, source: errno.into() });
            }
        }
        for event in events {
            let (flags, data) = (event.flags, event.data.u64());
            if !flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                continue;
            }
            // The interface went down, perhaps on its way out.
            self.look_at = Instant::now();
            let vantage = VantageId(u16::try_from(data).unwrap_or(u16::MAX));
            if let Ok(place) = self.place(vantage) {
                self.rings[place].ring.take_error();
            }
        }
        Ok(())
    }

    /// Tells of one ring whose interface has gone, when everything that it sent before has been read.
    fn tell_gone(&mut self) -> Result<(), CaptureError> {
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            for watched in self.rings.iter_mut().filter(|watched| watched.gone.is_none()) {
                watched.gone = watched.ring.is_gone().then_some(now);
            }
        }
        let is_over = |watched: &Watched| watched.gone.is_some_and(|gone| now >= gone + LAST_BLOCK);
        let Some(place) = self.rings.iter().position(is_over) else { return Ok(()) };
        if self.rings[place].ring.has_block() {
            return Ok(());
        }
        let ring = self.take_out(place);
        Err(CaptureError::InterfaceGone { vantage: ring.vantage(), interface: ring.interface().to_owned() })
    }
}

impl Source for RingSet {
    fn poll(&mut self, wait: Duration, sink: &mut dyn FnMut(Frame<'_>)) -> Result<Progress, CaptureError> {
        if self.ended {
            return Ok(Progress::Ended);
        }
        self.scale.keep_watch();
        self.tell_gone()?;
        let (mut frames, mut blocks) = self.read(sink);
        if blocks == 0 && !wait.is_zero() {
            self.wait(wait)?;
            (frames, blocks) = self.read(sink);
        }
        // A block may hold nothing but frames that were seen twice.
        Ok(if blocks > 0 { Progress::Frames(frames) } else { Progress::Idle })
    }

    fn loss(&mut self) -> Vec<(VantageId, Loss)> {
        let departed = std::mem::take(&mut self.departed);
        let there = self.rings.iter_mut().map(|watched| (watched.ring.vantage(), watched.take_loss()));
        departed.into_iter().chain(there).collect()
    }
}
