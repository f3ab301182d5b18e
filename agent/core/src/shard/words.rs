//! What is said in connections, told to the detectors; and what stands on blocklists, which is known live only, too.

use reeve_policy::Timestamp;

use super::apart::addressee;
use super::{Hearing, IDLE_CHECK, Shard, earlier, wake};
use crate::detect::mail::Whence;
use crate::frame::{Frame, Passage, VantageId};
use crate::packet::Ip;
use crate::stream::{StreamEvent, pages};
use crate::topology::TenantIx;

/// In its own connections the mail server is the only one.
const SERVER: TenantIx = TenantIx(0);

impl Shard {
    /// Whether an attempt that has just begun is at something listed.
    pub(super) fn look_up(&self, tenant: TenantIx, ip: &Ip<'_>) -> Option<StreamEvent> {
        let target = ip.target();
        let list = self.blocklists.find(&target)?.clone();
        Some(StreamEvent::Listed { tenant, target, list })
    }

    /// Reads what is said in connections of mail and to protected endpoints.
    pub(super) fn overhear(
        &mut self,
        who: (Option<TenantIx>, Option<TenantIx>),
        ip: &Ip<'_>,
        at: Timestamp,
        vantage: VantageId,
    ) {
        let mut said = Vec::new();
        for (tenant, is_sent) in [(who.0, true), (who.1, false)] {
            if let Some(tenant) = tenant {
                self.streams.handle(tenant, is_sent, ip, at, &mut said);
                if is_sent && pages::may_ask(ip) {
                    self.count_pages(tenant, ip, vantage, &mut said);
                }
            }
        }
        // At a frame's time and not at a deadline's, so that all that is heard is heard with a frame.
        if at >= self.next_sweep {
            self.streams.sweep(at, &mut said);
            self.next_sweep = at + IDLE_CHECK;
        }
        said.extend(self.listed.take());
        if said.is_empty() {
            return;
        }
        if self.hearing == Hearing::Keeps {
            self.kept.extend(said.iter().cloned());
        }
        self.listen(said, at);
    }

    /// Reads what the mail server that customers share says and is told: it is on behalf of one of them, or of nobody.
    #[inline(never)]
    pub(super) fn post(&mut self, frame: &Frame<'_>, ip: &Ip<'_>, at: Timestamp) {
        if self.hearing == Hearing::Told {
            return;
        }
        let mut said = Vec::new();
        self.post.handle(SERVER, frame.passage == Passage::Out, ip, at, &mut said);
        if at >= self.next_post_sweep {
            self.post.sweep(at, &mut said);
            self.next_post_sweep = at + IDLE_CHECK;
        }
        said.retain(|event| self.part.owns(event.tenant()));
        if said.is_empty() {
            return;
        }
        if self.hearing == Hearing::Keeps {
            self.kept.extend(said.iter().cloned());
        }
        self.listen(said, at);
    }

    #[inline(never)]
    fn count_pages(&self, tenant: TenantIx, ip: &Ip<'_>, vantage: VantageId, said: &mut Vec<StreamEvent>) {
        for (port, path) in pages::asked(ip) {
            let peer = ip.destination;
            // Connections to protected endpoints are kept whole, others sampled.
            let sampling = self.topology.vantage(vantage).map_or(1, |one| one.sampling);
            let weight = if self.streams.is_read(ip) { 1 } else { sampling };
            said.push(StreamEvent::Page { tenant, peer, port, path, weight });
        }
    }

    /// Tells the detectors what was said.
    #[inline(never)]
    pub(super) fn listen(&mut self, said: Vec<StreamEvent>, at: Timestamp) {
        for event in said {
            let (tenant, peer) = (event.tenant(), &event.peer());
            if !self.part.owns(tenant) {
                continue;
            }
            let Some(state) = self.tenants.get_mut(tenant.0 as usize) else { continue };
            let known = self.topology.tenant(tenant);
            let clients = &known.mail_clients;
            let is_trusted = || clients.iter().any(|prefix| prefix.contains(peer));
            let is_outside = self.topology.by_address(*peer) != Some(tenant) && !is_trusted();
            let relays = u32::try_from(known.relay_domains.len()).unwrap_or(u32::MAX);
            let whence = Whence { is_outside, relays };
            let detectors = wake(&mut state.detectors, &mut self.active, tenant, &state.numbers, at);
            detectors.handle_stream(&state.numbers, &event, whence, at, &mut self.findings);
            self.detectors_due = earlier(self.detectors_due, detectors.next_deadline(&state.numbers));
            self.count_apart(tenant, (addressee(&event), at), |detectors, numbers, found| {
                detectors.handle_stream(numbers, &event, whence, at, found);
            });
            self.raise(tenant);
        }
    }
}
