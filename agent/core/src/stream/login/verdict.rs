//! Answers that tell all by themselves what became of a login: those of binary protocols with a code at a known place.
//!
//! Read from what reaches the tenant, so no connection need be followed. A server of the tenant's own that is asked by others sends
//! them, and is not meant.

use super::lines::find;
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

/// What a server's datagram tells.
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

fn ldap(data: &[u8]) -> Option<Login> {
    let [0x30, len, rest @ ..] = data else { return None };
    // Active Directory writes lengths in four bytes behind their number.
    let rest = if *len == 0x84 { rest.get(4..)? } else { rest };
    let [0x02, number @ 1..=4, rest @ ..] = rest else { return None };
    let [0x61, len, rest @ ..] = rest.get(usize::from(*number)..)? else { return None };
    let rest = if *len == 0x84 { rest.get(4..)? } else { rest };
    let [0x0a, 0x01, result, ..] = rest else { return None };
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
