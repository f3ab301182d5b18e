//! Live capture: one ring a vantage, read in turn by one thread.
//!
//! Left out: which interfaces there are to be ([`crate::links`] tells, the run loop decides).

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use reeve_core::interest::Interest;
use reeve_core::{Frame, VantageId};
use reeve_policy::Loss;
use rustix::event::{Timespec, epoll};

use super::clock::{Clock, StampScale};
use super::ring::{Ring, RingOptions};
use super::{CaptureError, Progress, Source};

/// How many readiness events are taken at once; those beyond wait for the next turn.
const EVENTS: usize = 64;

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
    rings: BTreeMap<VantageId, Watched>,
    scale: StampScale,
}

#[derive(Debug)]
struct Watched {
    ring: Ring,
    loss: Loss,
    /// The kernel told an error: the interface is down, and may be going away.
    is_suspect: bool,
}

impl RingSet {
    /// A set without rings, whose frames are on `clock`'s time.
    ///
    /// # Errors
    /// When the system has no room for another descriptor.
    pub fn new(clock: Clock) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, rings: BTreeMap::new(), scale: StampScale::new(clock) })
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
        if self.rings.contains_key(&vantage) {
            return Err(CaptureError::VantageTaken { vantage });
        }
        let ring = Ring::open(vantage, interface, interest, options)?;
        let data = epoll::EventData::new_u64(u64::from(vantage.0));
        epoll::add(&self.epoll, &ring, data, epoll::EventFlags::IN).map_err(|errno| {
            CaptureError::System { call: "epoll_ctl", interface: interface.to_owned(), source: errno.into() }
        })?;
        self.rings.insert(vantage, Watched { ring, loss: Loss::default(), is_suspect: false });
        Ok(())
    }

    /// Watches a vantage no more; what its ring still holds is thrown away.
    pub fn remove(&mut self, vantage: VantageId) {
        self.rings.remove(&vantage);
    }

    /// The vantages that are watched.
    pub fn vantages(&self) -> impl Iterator<Item = (VantageId, &str)> {
        self.rings.iter().map(|(vantage, watched)| (*vantage, watched.ring.interface()))
    }

    /// A block of each ring that has one.
    fn read_all(&mut self, sink: &mut dyn FnMut(Frame<'_>)) -> (usize, usize) {
        let (mut frames, mut blocks) = (0, 0);
        for watched in self.rings.values_mut() {
            if let Some(count) = watched.ring.read_block(&mut self.scale, sink) {
                blocks += 1;
                frames += count;
                watched.loss.received += count as u64;
                watched.is_suspect = false;
            }
        }
        (frames, blocks)
    }

    /// Waits until a ring has a block or an error.
    fn wait(&mut self, wait: Duration) -> Result<(), CaptureError> {
        let mut events = Vec::with_capacity(EVENTS);
        let timeout = Timespec::try_from(wait).ok();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                let interface = "*".to_owned();
                return Err(CaptureError::System { call: "epoll_wait", interface, source: errno.into() });
            }
        }
        for event in events {
            let (flags, data) = (event.flags, event.data.u64());
            if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                let vantage = VantageId(u16::try_from(data).unwrap_or(u16::MAX));
                if let Some(watched) = self.rings.get_mut(&vantage) {
                    watched.ring.take_error();
                    watched.is_suspect = true;
                }
            }
        }
        Ok(())
    }

    /// Tells of one ring whose interface has gone, having read what it held. An interface goes down before it goes away,
    /// and only the former is an error on the socket; so those that are down are looked at until they are up again.
    fn tell_gone(&mut self, sink: &mut dyn FnMut(Frame<'_>)) -> Result<(), CaptureError> {
        let mut suspects = self.rings.iter().filter(|(_, watched)| watched.is_suspect);
        let gone = suspects.find(|(_, watched)| !watched.ring.is_there());
        let Some(vantage) = gone.map(|(vantage, _)| *vantage) else { return Ok(()) };
        let Some(mut watched) = self.rings.remove(&vantage) else { return Ok(()) };
        while watched.ring.read_block(&mut self.scale, sink).is_some() {}
        Err(CaptureError::InterfaceGone { vantage, interface: watched.ring.interface().to_owned() })
    }
}

impl Source for RingSet {
    fn poll(&mut self, wait: Duration, sink: &mut dyn FnMut(Frame<'_>)) -> Result<Progress, CaptureError> {
        self.scale.keep_watch();
        self.tell_gone(sink)?;
        let (mut frames, mut blocks) = self.read_all(sink);
        if blocks == 0 && !wait.is_zero() {
            self.wait(wait)?;
            (frames, blocks) = self.read_all(sink);
        }
        // A block may hold nothing but frames that were seen twice.
        Ok(if frames > 0 || blocks > 0 { Progress::Frames(frames) } else { Progress::Idle })
    }

    fn loss(&mut self) -> Vec<(VantageId, Loss)> {
        let each = self.rings.iter_mut().map(|(vantage, watched)| {
            let dropped = watched.ring.statistics().map_or(0, |statistics| statistics.drops);
            watched.loss.dropped += u64::from(dropped);
            (*vantage, std::mem::take(&mut watched.loss))
        });
        each.collect()
    }
}
