//! Dialogues: what two sides of a connection say, in whatever order and completeness.
//!
//! The first byte of a case chooses the port and who is the client. Then come pieces: a byte that says who speaks and what befell it
//! (a segment lost before it, sent again, cut off by the capture, the end of the connection), a byte of length and time, and what is said.

use std::time::Duration;

use reeve_core::{LinkType, Passage, VantageId};

use crate::frames::Pair;

/// Where a dialogue takes place.
pub(crate) struct Place {
    /// 6 or 17.
    protocol: u8,
    ports: &'static [u16],
    /// How many bytes one of length stands for.
    unit: usize,
}

pub(crate) const MAIL: Place = Place { protocol: 6, ports: &[25, 587, 465, 2525], unit: 1 };
pub(crate) const WEB: Place = Place { protocol: 6, ports: &[80, 8080], unit: 1 };
pub(crate) const SEALED: Place = Place { protocol: 6, ports: &[443, 465, 993, 3389], unit: 1 };
pub(crate) const QUIC: Place = Place { protocol: 17, ports: &[443], unit: 6 };
/// FTP, SSH, Telnet, POP3, IMAP, LDAP, SMB, TDS, MySQL, RDP, PostgreSQL, VNC, Redis, submission of mail, web, and one where a
/// server may be told by what it says alone.
pub(crate) const LOGIN: Place = Place {
    protocol: 6,
    ports: &[21, 22, 23, 110, 143, 389, 445, 1433, 3306, 3389, 5432, 5900, 6379, 587, 80, 2222],
    unit: 1,
};

const TENANT: [u8; 4] = [203, 0, 113, 10];
const PEER: [u8; 4] = [34, 0, 0, 7];
const PORT: u16 = 40_000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The most pieces of a case: what comes behind adds time, and nothing else.
const PIECES_MAX: usize = 200;

/// Who speaks.
const BY_CLIENT: u8 = 0x01;
/// What befell a piece.
const LOST_BEFORE: u8 = 0x02;
const AGAIN: u8 = 0x04;
const CUT: u8 = 0x08;
const CLOSES: u8 = 0x10;
const RESETS: u8 = 0x20;
/// The connection begins anew, from another port.
const ANEW: u8 = 0x40;
/// Much time passes before.
const LATER: u8 = 0x80;

pub(crate) fn play(place: &Place, bytes: &[u8]) {
    let Some((how, mut rest)) = bytes.split_first() else { return };
    let port = place.ports[usize::from(how >> 1) % place.ports.len()];
    let mut talk = Talk {
        pair: Pair::new(),
        protocol: place.protocol,
        is_tenant_client: how & 1 == 0,
        client: PORT,
        server: port,
        next: [1_000; 2],
    };
    talk.open();
    for _ in 0..PIECES_MAX {
        let [what, len, more @ ..] = rest else { break };
        let (said, next) = more.split_at((usize::from(*len) * place.unit).min(more.len()));
        talk.say(*what, said);
        rest = next;
    }
    talk.pair.finish();
}

struct Talk {
    pair: Pair,
    protocol: u8,
    is_tenant_client: bool,
    client: u16,
    server: u16,
    /// The sequence numbers of server and client.
    next: [u32; 2],
}

impl Talk {
    fn open(&mut self) {
        if self.protocol == 6 {
            self.send(true, self.next[1].wrapping_sub(1), SYN, &[], 0);
            self.send(false, self.next[0].wrapping_sub(1), SYN | ACK, &[], 0);
            self.send(true, self.next[1], ACK, &[], 0);
        }
    }

    fn say(&mut self, what: u8, said: &[u8]) {
        let by_client = what & BY_CLIENT != 0;
        self.pair.pass(Duration::from_millis(if what & LATER == 0 { 3 } else { 3_700 }));
        if what & ANEW != 0 {
            self.client = self.client.wrapping_add(1).max(PORT);
            self.next = [1_000; 2];
            self.open();
        }
        let side = usize::from(by_client);
        if what & LOST_BEFORE != 0 {
            self.next[side] = self.next[side].wrapping_add(97);
        }
        let mut sequence = self.next[side];
        if what & AGAIN != 0 {
            sequence = sequence.wrapping_sub(u32::try_from(said.len() / 2).unwrap_or(0) + 1);
        }
        let cut = if what & CUT == 0 { 0 } else { 300 };
        let mut flags = ACK;
        if what & CLOSES != 0 {
            flags |= FIN;
        }
        if what & RESETS != 0 {
            flags |= RST;
        }
        self.send(by_client, sequence, flags, said, cut);
        let len = u32::try_from(said.len()).unwrap_or(0) + u32::from(cut) + u32::from(flags & FIN);
        self.next[side] = sequence.wrapping_add(len);
    }

    fn send(&mut self, by_client: bool, sequence: u32, flags: u8, said: &[u8], cut: u16) {
        let by_tenant = by_client == self.is_tenant_client;
        let ports = if by_client { (self.client, self.server) } else { (self.server, self.client) };
        let header = if self.protocol == 6 { 20 } else { 8 };
        let said = &said[..said.len().min(1_460)];
        let len = u16::try_from(20 + header + said.len()).unwrap_or(u16::MAX) + cut;
        let mut packet = vec![0x45, 0];
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, self.protocol, 0, 0]);
        let (from, to) = if by_tenant { (TENANT, PEER) } else { (PEER, TENANT) };
        packet.extend(from.iter().chain(&to));
        packet.extend(ports.0.to_be_bytes());
        packet.extend(ports.1.to_be_bytes());
        if self.protocol == 6 {
            packet.extend(sequence.to_be_bytes());
            packet.extend([0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
        } else {
            packet.extend((len - 20).to_be_bytes());
            packet.extend([0, 0]);
        }
        packet.extend(said);
        let passage = if by_tenant { Passage::In } else { Passage::Out };
        self.pair.frame(LinkType::RawIp, VantageId(0), passage, &packet, u32::from(len));
    }
}
