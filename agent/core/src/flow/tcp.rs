//! TCP: how a connection attempt becomes an outcome.
//!
//! The outcome needs no payload: sequence numbers tell at the close, or at a reset, whether the tenant had said
//! anything (RFC 9293, section 3.4: SYN and FIN take one number each). So it is right even where the capture keeps
//! only a sample of the bulk.

use reeve_policy::Outcome;

use super::contacts::Contacts;
use super::table::{AWAITED, COMPLETED, COUNT, FlowTable};
use super::{FlowEvent, Held, ProbeKind, Seen, State};
use crate::packet::{Tcp, TcpFlags};

const OPENING: u8 = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;

/// So many packets a tenant may send where nothing but a refusal came back, before they count as packets of no connection: a close that
/// is repeated, or an answer that the sensor missed. They are packets as they are seen, sampled or not.
const SPARE: u8 = 8;

/// How far a caller's acknowledgment may be ahead of the tenant's SYN-ACK to complete the handshake: the tenant may have greeted it.
/// A forger does not know that number, and guesses it once in 65,536 times.
const GREETING: u32 = 65_536;

/// A segment from the tenant.
pub(super) fn sent(
    (table, contacts): (&mut FlowTable, &Contacts),
    seen: Seen,
    tcp: &Tcp<'_>,
    grace_over: bool,
    events: &mut Vec<FlowEvent>,
) {
    let flags = tcp.flags;
    let slot = table.find(&seen.key, seen.at);
    if flags.0 & OPENING == TcpFlags::SYN {
        return open(table, seen, slot, tcp.sequence);
    }
    if let Some(slot) = slot {
        let flow = table.get_mut(slot);
        let state = flow.state;
        if state == State::Called {
            return answer(table, slot, seen, tcp, events);
        }
        let was_refused = state == State::Over && flow.answered_again;
        let is_open = matches!(state, State::Tried | State::Over);
        if is_open && flow.marks & COUNT < COUNT {
            flow.marks += 1;
        }
        if matches!(state, State::Unheard | State::Midstream(_)) && !is_answer(flags) {
            flow.isn = flow.isn.saturating_add(seen.packets);
        }
        if was_refused
            || is_open && flow.marks & COUNT > SPARE
            || matches!(state, State::Unheard | State::Midstream(_) | State::Blocked)
        {
            events.push(stray(seen, flags));
        }
        // Who goes on after a SYN-ACK serves somebody whose side is not seen.
        if state == State::Midstream(ProbeKind::SynAck) && !is_answer(flags) {
            finish(table, slot, State::Unheard);
        }
        if is_live(state) {
            return speak(table, slot, seen, tcp, events);
        }
        table.get_mut(slot).touch(seen.at);
        // A probe at a target that has just been tried in vain is a probe all the same.
        if let (
            State::Tried | State::Over,
            Some(kind @ (ProbeKind::Null | ProbeKind::Fin | ProbeKind::Xmas)),
        ) = (state, probe_kind(tcp))
        {
            events.push(seen.probe(kind));
        }
        return;
    }
    // What answers those whose flows were given up is no flood.
    if !(is_answer(flags) && table.gives_up(seen.tenant, seen.at)) {
        events.push(stray(seen, flags));
    }
    // Both at once open nothing and answer nobody (RFC 9293 knows no such segment).
    if flags.all(TcpFlags::SYN | TcpFlags::FIN) || flags.all(TcpFlags::SYN | TcpFlags::RST) {
        table.insert(seen.key, seen.at, State::Over, tcp.sequence, false);
        if !seen.is_blocked() {
            events.push(seen.probe(ProbeKind::Xmas));
        }
        return;
    }
    // SYN-ACK and RST answer somebody, and never open anything. Where nobody calls, a SYN-ACK asks who is there.
    if flags.any(TcpFlags::SYN | TcpFlags::RST) {
        if !flags.any(TcpFlags::RST) && !seen.is_blocked() && is_unasked(table, contacts, &seen) {
            let waits = grace_over && seen.held == Held::Free;
            table.insert(seen.key, seen.at, State::Midstream(ProbeKind::SynAck), 0, waits);
        }
        return;
    }
    match probe_kind(tcp) {
        Some(kind @ (ProbeKind::Null | ProbeKind::Fin | ProbeKind::Xmas)) => {
            let state = if seen.is_blocked() { State::Blocked } else { State::Midstream(kind) };
            table.insert(seen.key, seen.at, state, seen.packets, false);
            if !seen.is_blocked() {
                events.push(seen.probe(kind));
            }
        }
        Some(kind) => {
            let state = if seen.is_blocked() { State::Blocked } else { State::Midstream(kind) };
            table.insert(seen.key, seen.at, state, seen.packets, seen.held == Held::Free);
        }
        // Data in no connection: the peer's RST makes it a probe, once connections from before have had their time.
        None if grace_over && !seen.is_blocked() => {
            table.insert(seen.key, seen.at, State::Midstream(ProbeKind::Ack), seen.packets, false);
        }
        None => {
            table.insert(seen.key, seen.at, State::Unheard, seen.packets, false);
        }
    }
}

/// A segment to the tenant.
pub(super) fn received(
    (table, contacts): (&mut FlowTable, &mut Contacts),
    seen: Seen,
    tcp: &Tcp<'_>,
    events: &mut Vec<FlowEvent>,
) {
    let flags = tcp.flags;
    let Some(slot) = table.find(&seen.key, seen.at) else {
        // The peer opens, or speaks in a connection that nobody saw begin. A lone RST opens nothing.
        if !flags.any(TcpFlags::RST) {
            let calls = flags.0 & OPENING == TcpFlags::SYN;
            let state = if calls { State::Called } else { State::Adopted };
            table.insert(seen.key, seen.at, state, 0, false);
        }
        return;
    };
    let flow = *table.get(slot);
    table.get_mut(slot).touch(seen.at);
    let mut ends = |outcome| {
        events.push(flow.outcome(outcome, seen.at));
    };
    match flow.state {
        State::Tried if flags.any(TcpFlags::RST) => {
            ends(Outcome::Refused);
            finish(table, slot, State::Over);
        }
        State::Tried => {
            ends(Outcome::Answered);
            finish(table, slot, State::Answered);
            vouch(table, slot, seen, events);
        }
        // Answered twice: the tenant never completed the handshake. A lost ACK is put right by the first data.
        State::Answered if flags.all(TcpFlags::SYN | TcpFlags::ACK) && !flow.answered_again => {
            ends(Outcome::Aborted);
            table.get_mut(slot).answered_again = true;
        }
        State::Answered if flags.any(TcpFlags::ACK) => {
            let heard = said(flow.isn, tcp.acknowledgment) > u32::from(flags.any(TcpFlags::FIN));
            if heard {
                ends(Outcome::Productive);
                complete(table, slot, seen, events);
                finish(table, slot, State::Productive);
            }
        }
        State::Midstream(kind) if flags.any(TcpFlags::RST) => {
            if kind.is_weak() {
                events.push(flow.probe(kind, seen.at, false, true));
            }
            refuse(table, slot);
        }
        State::Unheard if flags.any(TcpFlags::RST) => refuse(table, slot),
        State::Midstream(_) | State::Unheard => {
            let (target, packets) = (flow.key.target(), flow.isn);
            events.push(FlowEvent::Vouched { tenant: seen.tenant, target, at: seen.at, packets });
            finish(table, slot, State::Adopted);
        }
        State::Adopted if flow.marks & AWAITED != 0 && flags.any(TcpFlags::ACK) => {
            let ahead = tcp.acknowledgment.wrapping_sub(flow.isn);
            if (1..=GREETING).contains(&ahead) && !flags.any(TcpFlags::RST) {
                table.get_mut(slot).marks &= !AWAITED;
                contacts.note_connected(&flow.key, seen.at);
            }
        }
        // A late answer: the attempt was not silent after all.
        State::Over if flags.all(TcpFlags::SYN | TcpFlags::ACK) => {
            ends(Outcome::Answered);
            finish(table, slot, State::Answered);
            vouch(table, slot, seen, events);
        }
        // The tenant had nothing more to say, and is told something; or the peer's first word was missed.
        State::Over if flags.any(TcpFlags::ACK) && !flags.any(TcpFlags::RST) => {
            finish(table, slot, State::Adopted);
            vouch(table, slot, seen, events);
        }
        _ => {}
    }
}

/// A SYN: an attempt, its retransmission, or the next attempt from the same port.
fn open(table: &mut FlowTable, seen: Seen, slot: Option<u32>, isn: u32) {
    let (state, waits) = seen.attempt();
    match slot {
        None => {
            table.insert(seen.key, seen.at, state, isn, waits);
        }
        Some(slot) => {
            let flow = table.get_mut(slot);
            flow.touch(seen.at);
            let is_attempt =
                !matches!(flow.state, State::Adopted | State::Called | State::Unheard | State::Midstream(_));
            let same = flow.isn == isn && is_attempt;
            if !same {
                table.reopen(slot, seen.at, state, isn, waits);
            }
        }
    }
}

/// The tenant's answer to a call: it takes the call, or refuses it.
fn answer(table: &mut FlowTable, slot: u32, seen: Seen, tcp: &Tcp<'_>, events: &mut Vec<FlowEvent>) {
    let flow = table.get_mut(slot);
    flow.touch(seen.at);
    flow.state = State::Adopted;
    if tcp.flags.all(TcpFlags::SYN | TcpFlags::ACK) {
        (flow.isn, flow.marks) = (tcp.sequence, AWAITED);
        events.push(table.get(slot).served(seen.at));
    }
}

/// A segment of the tenant's in a live flow.
fn speak(table: &mut FlowTable, slot: u32, seen: Seen, tcp: &Tcp<'_>, events: &mut Vec<FlowEvent>) {
    let flow = table.get_mut(slot);
    flow.touch(seen.at);
    if flow.state != State::Answered {
        return;
    }
    let spoken = tcp.payload_len > 0 || said(flow.isn, tcp.sequence) > 0;
    let (outcome, state) = if spoken {
        (Outcome::Productive, State::Productive)
    } else if tcp.flags.any(TcpFlags::RST) {
        (Outcome::Aborted, State::Over)
    } else if tcp.flags.any(TcpFlags::FIN) {
        (Outcome::Empty, State::Over)
    } else {
        return complete(table, slot, seen, events);
    };
    if outcome != Outcome::Aborted {
        complete(table, slot, seen, events);
    }
    events.push(table.get(slot).outcome(outcome, seen.at));
    finish(table, slot, state);
}

/// Tells once that the tenant went through with the handshake.
fn complete(table: &mut FlowTable, slot: u32, seen: Seen, events: &mut Vec<FlowEvent>) {
    let flow = table.get_mut(slot);
    if flow.marks & COMPLETED == 0 {
        flow.marks |= COMPLETED;
        let (target, opened) = (flow.key.target(), flow.opened);
        events.push(FlowEvent::Completed { tenant: seen.tenant, target, opened, at: seen.at });
    }
}

/// The peer has spoken after all: what seemed to be of no connection was.
fn vouch(table: &mut FlowTable, slot: u32, seen: Seen, events: &mut Vec<FlowEvent>) {
    let flow = table.get_mut(slot);
    let told = (flow.marks & COUNT).saturating_sub(SPARE);
    flow.marks &= !COUNT;
    if told > 0 {
        let (target, packets) = (flow.key.target(), u32::from(told));
        events.push(FlowEvent::Vouched { tenant: seen.tenant, target, at: seen.at, packets });
    }
}

/// Whether nobody can have called for a SYN-ACK that belongs to no flow: its port has served nobody, and no call was forgotten.
fn is_unasked(table: &FlowTable, contacts: &Contacts, seen: &Seen) -> bool {
    table.has_room(seen.tenant)
        && !table.gives_up(seen.tenant, seen.at)
        && !contacts.has_served(seen.tenant, seen.key.local_port(), seen.at)
}

/// The peer knows of no connection.
fn refuse(table: &mut FlowTable, slot: u32) {
    finish(table, slot, State::Over);
    table.get_mut(slot).answered_again = true;
}

/// How many bytes lie between the SYN and `sequence`; numbers wrap (RFC 9293, section 3.4).
fn said(isn: u32, sequence: u32) -> u32 {
    let bytes = sequence.wrapping_sub(isn).wrapping_sub(1);
    // The upper half is behind the SYN: a keep-alive, or a number that is not of this connection.
    if bytes > u32::MAX / 2 { 0 } else { bytes }
}

fn finish(table: &mut FlowTable, slot: u32, state: State) {
    table.get_mut(slot).state = state;
    table.stop_waiting(slot);
}

const fn is_live(state: State) -> bool {
    matches!(state, State::Answered | State::Productive | State::Adopted | State::Unheard)
}

/// What kind of probe a segment without SYN and RST is, should it belong to no connection.
fn probe_kind(tcp: &Tcp<'_>) -> Option<ProbeKind> {
    match tcp.flags.classic() {
        0 => Some(ProbeKind::Null),
        TcpFlags::FIN => Some(ProbeKind::Fin),
        TcpFlags::ACK if tcp.payload_len == 0 => Some(ProbeKind::Ack),
        flags if flags == TcpFlags::FIN | TcpFlags::ACK => Some(ProbeKind::Maimon),
        flags if flags & (TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK) == 0 => Some(ProbeKind::Xmas),
        _ => None,
    }
}

/// Whether it is what a host answers others with.
const fn is_answer(flags: TcpFlags) -> bool {
    flags.any(TcpFlags::RST) || flags.all(TcpFlags::SYN | TcpFlags::ACK)
}

fn stray(seen: Seen, flags: TcpFlags) -> FlowEvent {
    let is_answer = is_answer(flags);
    let (tenant, target) = (seen.tenant, seen.key.target());
    FlowEvent::Stray { tenant, target, at: seen.at, packets: seen.packets, is_answer }
}
