//! Whom a tenant asks for on its link.

use std::net::IpAddr;

use reeve_policy::{Protocol, Target, Timestamp};

use super::{Shard, earlier, wake};
use crate::packet::Arp;
use crate::topology::{Attribution, TenantIx};

impl Shard {
    /// Reads an ARP message: who asks for whom on the link.
    #[inline(never)]
    pub(super) fn swept(&mut self, who: &Attribution, arp: &Arp, at: Timestamp) {
        const REQUEST: u16 = 1;
        // What the tenant asks for itself, or about itself, is no neighbour.
        if arp.operation == REQUEST
            && arp.sender != arp.target
            && let Some(sender) = who.sender.filter(|ix| self.part.owns(*ix))
        {
            self.ask(sender, arp.target.into(), at);
        } else if arp.operation != REQUEST
            && let Some(receiver) = who.receiver.filter(|ix| self.part.owns(*ix))
        {
            self.found_neighbour(receiver, arp.sender.into(), at);
        }
    }

    /// Takes note that a tenant asks for a neighbour, unless all that it sends is held back.
    #[inline(never)]
    pub(super) fn ask(&mut self, sender: TenantIx, neighbour: IpAddr, at: Timestamp) {
        let state = &mut self.tenants[sender.0 as usize];
        if state.restrictions.is_total() || self.is_degraded {
            return;
        }
        let detectors = wake(&mut state.detectors, &mut self.active, sender, &state.numbers, at);
        detectors.handle_asked(&state.numbers, neighbour, at);
        self.detectors_due = earlier(self.detectors_due, detectors.next_deadline(&state.numbers));
        let target = Target { address: neighbour, protocol: Protocol::Arp, port: None };
        self.count_apart(sender, (Some(target), at), |detectors, numbers, _| {
            detectors.handle_asked(numbers, neighbour, at);
        });
    }
}
