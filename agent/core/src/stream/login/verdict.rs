//! Answers that tell all by themselves what became of a login: those of binary protocols with a code at a known place.
//!
//! They are heeded where the tenant has asked to be let in, and nowhere else: anybody can send such bytes to anybody. What it asks
//! with need not be understood, but be recognised.

use super::super::order::Piece;
use super::lines::find;
use super::speech::Next;
use super::{Credential, Login, Service};

const REFUSED: Login = Login::Refused(Credential::Hidden);

/// TDS: a response's type, tokens for an error and for a login that was acknowledged ([MS-TDS]), and the error "login failed".
const TDS_RESPONSE: u8 = 4;
const TDS_HEADER_LEN: usize = 8;
const TDS_ERROR: u8 = 0xaa;
const TDS_INFO: u8 = 0xab;
const TDS_ENVIRONMENT: u8 = 0xe3;
const TDS_ACKNOWLEDGED: u8 = 0xad;
const LOGIN_FAILED: i32 = 18_456;
/// TDS: what a client begins with: a login, one by SSPI, and what comes before one.
const TDS_LOGINS: std::ops::RangeInclusive<u8> = 0x10..=0x12;

/// MongoDB: the number of `OP_MSG`; in a document the field `code` as a 32-bit number, 18 ("AuthenticationFailed"), and `done`, which ends a
/// SASL exchange.
const OP_MSG: u32 = 2_013;
const MONGO_FAILED: &[u8] = b"\x10code\0\x12\0\0\0";
const MONGO_DONE: &[u8] = b"\x08done\0\x01";

/// SMB: the commands by which a session is set up, in version 2 and in version 1 ([MS-SMB2], [MS-CIFS]).
const SMB2_SETUP: u16 = 1;
const SMB1_SETUP: u8 = 0x73;
/// The statuses of a login that was refused ([MS-ERREF]): wrong name or password, an account that may not, is disabled or locked.
const STATUS_REFUSED: [u32; 6] =
    [0xc000_006d, 0xc000_006a, 0xc000_0064, 0xc000_006e, 0xc000_0072, 0xc000_0234];

/// LDAP: the tags of a message, a bind's response and an enumeration, and the result "invalid credentials" (RFC 4511).
const LDAP_INVALID: u8 = 49;
/// Ports of the directory: elsewhere bytes like these are something else.
const LDAP_PORTS: [u16; 2] = [389, 3268];

/// Kerberos: the port, the tag of an error, and the field with code 24, "pre-authentication failed" (RFC 4120, section 7.5.9).
const KERBEROS_PORT: u16 = 88;
const KERBEROS_ERROR: u8 = 0x7e;
const KERBEROS_FAILED: &[u8] = &[0xa6, 3, 2, 1, 24];

/// The tags of a client's requests in Kerberos, for a ticket and for another by that (RFC 4120, section 5.10).
const KERBEROS_REQUESTS: [u8; 2] = [0x6a, 0x6c];
/// The tag of a bind in LDAP.
const LDAP_BIND: u8 = 0x60;
/// What stands in a message by which MongoDB's clients say who they are, and how far from its start.
const MONGO_LOGINS: [&[u8]; 3] = [b"saslStart", b"saslContinue", b"authenticate"];
const MONGO_LOOK: usize = 512;
/// A server that has said so much more has let the client in, or does not speak of it.
const ANSWER_MAX: u32 = 64 * 1024;
/// So many requests may wait for their answers.
const WAITING_MAX: u8 = 8;

/// Whether a client's segment asks to be let in.
pub(super) fn asks(port: u16, data: &[u8]) -> bool {
    match data {
        // Type, the last of its message, a length, and numbers that are 0 at the beginning ([MS-TDS], section 2.2.3).
        [kind, 0 | 1, _, _, 0, 0, _, _, ..] if TDS_LOGINS.contains(kind) => true,
        [0, _, _, _, 0xfe, b'S', b'M', b'B', ..] => data.get(16..18) == Some(&SMB2_SETUP.to_le_bytes()[..]),
        [0, _, _, _, 0xff, b'S', b'M', b'B', command, ..] => *command == SMB1_SETUP,
        [0, 0, _, _, tag, ..] if port == KERBEROS_PORT => KERBEROS_REQUESTS.contains(tag),
        [0x30, ..] if LDAP_PORTS.contains(&port) => {
            ldap_operation(data).is_some_and(|(tag, _)| tag == LDAP_BIND)
        }
        _ => {
            let operation = data.get(12..).and_then(|rest| rest.first_chunk::<4>());
            let beginning = &data[..data.len().min(MONGO_LOOK)];
            operation == Some(&OP_MSG.to_le_bytes())
                && MONGO_LOGINS.iter().any(|word| find(beginning, word).is_some())
        }
    }
}

/// Whether datagrams of this port's may be answers.
pub(super) const fn answers_by_datagram(port: u16) -> bool {
    port == KERBEROS_PORT
}

/// Whether a client's datagram does.
pub(super) fn asks_by_datagram(port: u16, data: &[u8]) -> bool {
    port == KERBEROS_PORT && data.first().is_some_and(|tag| KERBEROS_REQUESTS.contains(tag))
}

/// What was asked of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    port: u16,
    /// How much the server may still say before it is given up.
    left: u32,
    /// Datagrams that wait for their answers.
    waiting: u8,
}

impl Asked {
    pub fn at(port: u16) -> Self {
        Self { port, left: ANSWER_MAX, waiting: 0 }
    }

    /// Takes what a side says.
    pub fn read(
        &mut self,
        from_client: bool,
        piece: Piece<'_>,
        say: &mut impl FnMut(Service, Login),
    ) -> Next {
        if from_client {
            return Next::GoOn;
        }
        if let Piece::Data(data) = piece
            && let Some((service, login)) = of(self.port, data)
        {
            say(service, login);
            if login == Login::Accepted {
                return Next::Done;
            }
            self.left = ANSWER_MAX;
        }
        self.left = self.left.saturating_sub(piece.len());
        if self.left == 0 { Next::Done } else { Next::GoOn }
    }

    /// Takes a datagram: a request, or the answer to one.
    pub fn datagram(&mut self, from_client: bool, data: &[u8]) -> Option<(Service, Login)> {
        if from_client {
            self.waiting = (self.waiting + 1).min(WAITING_MAX);
            return None;
        }
        self.waiting = self.waiting.checked_sub(1)?;
        of_datagram(self.port, data)
    }

    /// Whether no datagram waits for its answer.
    pub fn is_answered(&self) -> bool {
        self.waiting == 0
    }
}

/// What a server's segment tells.
pub(super) fn of(port: u16, data: &[u8]) -> Option<(Service, Login)> {
    match data.first()? {
        &TDS_RESPONSE => tds(data).map(|login| (Service::Mssql, login)),
        0 => smb(data)
            .map(|login| (Service::Smb, login))
            .or_else(|| kerberos(port, data.get(4..)?).map(|login| (Service::Kerberos, login))),
        0x30 if LDAP_PORTS.contains(&port) => ldap(data).map(|login| (Service::Ldap, login)),
        _ => mongodb(data).map(|login| (Service::Mongodb, login)),
    }
}

/// What a server's datagram tells of an earlier request.
pub(super) fn of_datagram(port: u16, data: &[u8]) -> Option<(Service, Login)> {
    kerberos(port, data).map(|login| (Service::Kerberos, login))
}

fn tds(data: &[u8]) -> Option<Login> {
    let mut rest = data.get(TDS_HEADER_LEN..)?;
    // A few tokens may stand before the one that tells.
    for _ in 0..8 {
        let [token, low, high, body @ ..] = rest else { return None };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        match *token {
            TDS_ERROR => {
                let number = i32::from_le_bytes(*body.first_chunk::<4>()?);
                return (number == LOGIN_FAILED).then_some(REFUSED);
            }
            TDS_ACKNOWLEDGED => return Some(Login::Accepted),
            TDS_INFO | TDS_ENVIRONMENT => rest = body.get(len..)?,
            _ => return None,
        }
    }
    None
}

fn mongodb(data: &[u8]) -> Option<Login> {
    let operation = u32::from_le_bytes(*data.get(12..)?.first_chunk::<4>()?);
    let length = u32::from_le_bytes(*data.first_chunk::<4>()?);
    if operation != OP_MSG || length > 4_096 {
        return None;
    }
    if find(data, MONGO_FAILED).is_some() {
        return Some(REFUSED);
    }
    find(data, MONGO_DONE).map(|_| Login::Accepted)
}

fn smb(data: &[u8]) -> Option<Login> {
    // Behind a length of 24 bits in a header of four.
    let message = data.get(4..)?;
    let status = match message {
        [0xfe, b'S', b'M', b'B', ..] => {
            let command = u16::from_le_bytes(*message.get(12..)?.first_chunk::<2>()?);
            if command != SMB2_SETUP {
                return None;
            }
            message.get(8..)?
        }
        [0xff, b'S', b'M', b'B', SMB1_SETUP, status @ ..] => status,
        _ => return None,
    };
    match u32::from_le_bytes(*status.first_chunk::<4>()?) {
        0 => Some(Login::Accepted),
        status => STATUS_REFUSED.contains(&status).then_some(REFUSED),
    }
}

/// The tag of a message's operation, and what stands behind its length.
fn ldap_operation(data: &[u8]) -> Option<(u8, &[u8])> {
    let [0x30, rest @ ..] = data else { return None };
    let [0x02, number @ 1..=4, rest @ ..] = behind_length(rest)? else { return None };
    let [tag, rest @ ..] = rest.get(usize::from(*number)..)? else { return None };
    Some((*tag, behind_length(rest)?))
}

/// What stands behind a length (X.690, section 8.1.3): one byte, or the number of those that follow, as Active Directory writes it.
fn behind_length(data: &[u8]) -> Option<&[u8]> {
    match data {
        [len, rest @ ..] if *len < 0x80 => Some(rest),
        [len @ 0x81..=0x84, rest @ ..] => rest.get(usize::from(len & 0x7f)..),
        _ => None,
    }
}

fn ldap(data: &[u8]) -> Option<Login> {
    let (0x61, [0x0a, 0x01, result, ..]) = ldap_operation(data)? else { return None };
    match *result {
        0 => Some(Login::Accepted),
        LDAP_INVALID => Some(REFUSED),
        _ => None,
    }
}

fn kerberos(port: u16, data: &[u8]) -> Option<Login> {
    if port != KERBEROS_PORT || data.first() != Some(&KERBEROS_ERROR) {
        return None;
    }
    find(&data[..data.len().min(256)], KERBEROS_FAILED).map(|_| REFUSED)
}
