//! Short sessions in TLS: what their records' lengths tell.
//!
//! A **database** that refuses closes the connection itself, at once, after a short answer to the client's login; one that lets in waits
//! for what is wanted, and for the client to go. **RDP** with network level authentication (CredSSP) that is refused ends
//! after the client's second or third message, and goes on for long where it is not. A **mailbox** or file server in TLS
//! tells neither: webmail opens it for every page and is let in each time. All that can be said is that short sessions of one shape go by.

use std::time::Duration;

use super::super::order::Piece;
use super::super::tls::{self, Records};
use super::speech::End;
use super::{Credential, Login};

/// The record with the client's `Finished` in TLS 1.3, by the hash (RFC 8446, section 4.4.4).
const FINISHED: [u32; 2] = [4 + 32 + 1 + 16, 4 + 48 + 1 + 16];
/// A server's answer to one who is turned away is shorter.
const ANSWER_MAX: u32 = 400;
/// A login takes up to so many turns of the client's: several where a challenge is answered.
const LOGIN_TURNS: std::ops::RangeInclusive<u32> = 1..=3;
/// Network level authentication takes so many, with one more where it is negotiated.
const DOOR_TURNS: std::ops::RangeInclusive<u32> = 2..=4;
/// What is let in by RDP is sent more than this at once.
const DOOR_MAX: u32 = 2_048;
/// Longer sessions, and larger ones, are those of somebody who is in.
const SHORT: Duration = Duration::from_secs(60);
/// See [`SHORT`].
const SMALL: u32 = 4_096;
/// A mailbox is asked at least for who one is, and left; more than that many times for what is in it.
const SHORT_TURNS: std::ops::RangeInclusive<u32> = 2..=14;
/// Sessions whose bytes differ by less have one shape: names and passwords are of different lengths.
const STEP: u32 = 32;

/// The shape of a session: its bytes both ways, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape(pub u16);

/// A session.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    client: Records,
    server: Records,
    has_client_begun: bool,
    has_server_begun: bool,
    /// Turns of the client's that said something.
    turns: u32,
    is_clients_turn: bool,
    up: u32,
    down: u32,
    /// Bytes of the server's since the client last spoke.
    answer: u32,
}

impl Sealed {
    /// Takes what a side says.
    pub fn read(&mut self, from_client: bool, piece: Piece<'_>) {
        let has_begun = if from_client { &mut self.has_client_begun } else { &mut self.has_server_begun };
        if !*has_begun {
            // What asked for TLS, and what granted it.
            *has_begun = matches!(piece, Piece::Data(data) if tls::is_record(data));
            if !*has_begun {
                return;
            }
        }
        if !from_client {
            let bytes = self.server.take_each(piece, |_| ());
            // Tickets come before the client has said anything.
            if bytes > 0 && self.turns > 0 {
                self.is_clients_turn = false;
                self.down = self.down.saturating_add(bytes);
                self.answer = self.answer.saturating_add(bytes);
            }
            return;
        }
        let mut finished = 0;
        let is_fresh = self.turns == 0;
        let bytes = self.client.take_each(piece, |len| {
            if is_fresh && FINISHED.contains(&len) {
                finished = len;
            }
        });
        let bytes = bytes.saturating_sub(finished);
        if bytes > 0 {
            if !self.is_clients_turn {
                self.turns = self.turns.saturating_add(1);
                self.answer = 0;
            }
            self.is_clients_turn = true;
            self.up = self.up.saturating_add(bytes);
        }
    }

    /// What a database's end of it tells.
    pub fn turned_away(&self, end: &End) -> Option<Login> {
        if self.turns == 0 || self.is_clients_turn {
            return None;
        }
        let is_turned_away = end.is_server_first
            && LOGIN_TURNS.contains(&self.turns)
            && (1..=ANSWER_MAX).contains(&self.answer);
        if is_turned_away {
            return Some(Login::Refused(Credential::Hidden));
        }
        (self.turns > *LOGIN_TURNS.end()).then_some(Login::Accepted)
    }

    /// What the end of a session of RDP tells.
    pub fn left_at_the_door(&self, end: &End) -> Option<Login> {
        if end.lasted < SHORT && DOOR_TURNS.contains(&self.turns) && self.down < DOOR_MAX {
            return Some(Login::Refused(Credential::Hidden));
        }
        (self.turns > 2 * DOOR_TURNS.end() && self.down > 2 * DOOR_MAX).then_some(Login::Accepted)
    }

    /// The shape of a short session.
    pub fn shape(&self, end: &End) -> Option<Shape> {
        let is_short =
            end.lasted < SHORT && self.up < SMALL && self.down < SMALL && SHORT_TURNS.contains(&self.turns);
        // Both fit 8 bits, being less than 128 steps.
        let steps = |bytes: u32| (bytes / STEP) as u16;
        is_short.then(|| Shape(steps(self.up) << 8 | steps(self.down)))
    }
}
