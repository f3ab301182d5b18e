//! Datagrams: UDP, ICMP, SCTP and every other protocol, where any answer is an answer.
//!
//! Whoever sends a datagram has said something, so an answered attempt is productive at once.

use reeve_policy::{Outcome, Protocol, Timestamp};

use super::contacts::Contacts;
use super::table::{FlowKey, FlowTable};
use super::{FlowEvent, Seen, State};
use crate::packet::{Icmp, IcmpKind, Ip, Quoted, Transport};
use crate::topology::TenantIx;

/// SCTP chunk types (RFC 9260, section 3.2).
const SCTP_INIT: u8 = 1;
const SCTP_ABORT: u8 = 6;
/// Outside any association it opens nothing; a scanner's way past filters that look for INIT.
const SCTP_COOKIE_ECHO: u8 = 10;

/// UDP ports and hop limits that traceroute uses: such packets measure a path and are at no service.
const TRACEROUTE_PORTS: std::ops::RangeInclusive<u16> = 33434..=33600;
const TRACEROUTE_HOPS: u8 = 32;

/// A datagram from the tenant.
pub(super) fn sent(
    (table, contacts): (&mut FlowTable, &Contacts),
    seen: Seen,
    ip: &Ip<'_>,
    events: &mut Vec<FlowEvent>,
) {
    if let Some(slot) = table.find(&seen.key, seen.at) {
        let flow = table.get_mut(slot);
        flow.touch(seen.at);
        if flow.state == State::Called {
            flow.state = State::Adopted;
            events.push(flow.served(seen.at));
        }
        return;
    }
    if !opens(ip) {
        return;
    }
    // Who has sent a datagram to any address or port of the tenant's is answered.
    if ip.protocol == Protocol::Udp && contacts.has_sent(&seen.key, seen.at) {
        table.insert(seen.key, seen.at, State::Adopted, 0, false);
        return;
    }
    let (state, waits) = seen.attempt();
    table.insert(seen.key, seen.at, state, 0, waits);
}

/// A datagram to the tenant.
pub(super) fn received(
    (table, contacts): (&mut FlowTable, &mut Contacts),
    seen: Seen,
    ip: &Ip<'_>,
    events: &mut Vec<FlowEvent>,
) {
    let Some(slot) = table.find(&seen.key, seen.at) else {
        // Only ports tell an answer of ours from an attempt of ours later on.
        if ip.protocol.has_ports() {
            table.insert(seen.key, seen.at, State::Called, 0, false);
        }
        if ip.protocol == Protocol::Udp {
            contacts.note_datagram(&seen.key, seen.at);
        }
        return;
    };
    if !answers(ip) {
        return;
    }
    let flow = *table.get(slot);
    let is_new_second = table.get_mut(slot).touch(seen.at);
    // It goes on asking and is not answered from here.
    if is_new_second && flow.state == State::Called && ip.protocol == Protocol::Udp {
        contacts.note_datagram(&seen.key, seen.at);
    }
    if matches!(flow.state, State::Tried | State::Over) {
        let refused = matches!(&ip.transport, Transport::Sctp(sctp) if sctp.first_chunk == SCTP_ABORT);
        let (outcome, state) =
            if refused { (Outcome::Refused, State::Over) } else { (Outcome::Productive, State::Productive) };
        let known = refused && flow.state == State::Over;
        end(table, slot, seen.at, state, (!known).then_some(outcome), events);
    }
}

/// An ICMP error to the tenant that quotes one of its packets. In an outage it speaks of the way and not of the target.
pub(super) fn error(
    table: &mut FlowTable,
    (tenant, silence_counts): (TenantIx, bool),
    error: IcmpKind,
    quoted: &Quoted,
    at: Timestamp,
    events: &mut Vec<FlowEvent>,
) {
    let (local_port, remote_port) =
        if quoted.protocol.has_ports() { (quoted.source_port, quoted.destination_port) } else { (0, 0) };
    let local = (quoted.source, local_port);
    let key = FlowKey::new(tenant, quoted.protocol, local, (quoted.destination, remote_port));
    let Some(slot) = table.find(&key, at) else { return };
    let flow = *table.get(slot);
    // Some filters answer a probe that opens nothing as well.
    if let State::Midstream(kind) = flow.state {
        if kind.is_weak() && error == IcmpKind::Unreachable && silence_counts {
            table.stop_waiting(slot);
            table.get_mut(slot).state = State::Over;
            events.push(flow.probe(kind, at, false, true));
        }
        return;
    }
    if flow.state != State::Tried {
        return;
    }
    let outcome = match error {
        IcmpKind::Unreachable if silence_counts => Outcome::Refused,
        IcmpKind::Unreachable => Outcome::Unknown,
        // The packet died on the way; whether anybody is there remains unknown.
        IcmpKind::TimeExceeded | IcmpKind::OtherError => Outcome::Unknown,
        _ => return,
    };
    end(table, slot, at, State::Over, Some(outcome), events);
}

fn end(
    table: &mut FlowTable,
    slot: u32,
    at: Timestamp,
    state: State,
    outcome: Option<Outcome>,
    events: &mut Vec<FlowEvent>,
) {
    table.stop_waiting(slot);
    let flow = table.get_mut(slot);
    flow.state = state;
    if let Some(outcome) = outcome {
        events.push(flow.outcome(outcome, at));
    }
}

/// Whether a packet outside any flow is an attempt rather than an answer.
fn opens(ip: &Ip<'_>) -> bool {
    match &ip.transport {
        Transport::Icmp(icmp) => icmp.kind == IcmpKind::Request,
        Transport::Sctp(sctp) => matches!(sctp.first_chunk, SCTP_INIT | SCTP_COOKIE_ECHO),
        Transport::Udp(udp) => {
            !(TRACEROUTE_PORTS.contains(&udp.destination_port) && ip.ttl <= TRACEROUTE_HOPS)
        }
        _ => !matches!(ip.protocol, Protocol::Tcp),
    }
}

/// Whether a packet within a flow answers it. An echo request from the peer does not answer ours.
fn answers(ip: &Ip<'_>) -> bool {
    match &ip.transport {
        Transport::Icmp(Icmp { kind, .. }) => *kind == IcmpKind::Reply,
        _ => true,
    }
}
