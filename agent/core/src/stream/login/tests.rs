use super::*;
use crate::frame::LinkType;
use crate::packet::{self, Body};
use proptest::prelude::*;

const TENANT: [u8; 4] = [203, 0, 113, 10];
const PEER: [u8; 4] = [34, 0, 0, 7];
const LOCAL_PORT: u16 = 40_000;

/// An IPv4 packet; of `protocol` TCP or UDP.
fn frame(
    protocol: u8,
    is_sent: bool,
    port: u16,
    (sequence, acknowledgment): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let header_len = if protocol == 6 { 20 } else { 8 };
    let mut bytes = vec![0x45, 0];
    bytes.extend(u16::try_from(20 + header_len + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    let (from, to) = ((TENANT, LOCAL_PORT), (PEER, port));
    let (from, to) = if is_sent { (from, to) } else { (to, from) };
    bytes.extend(from.0.iter().chain(&to.0));
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    if protocol == 6 {
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(acknowledgment.to_be_bytes());
        bytes.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    } else {
        bytes.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend(payload);
    bytes
}

/// A connection of the tenant's to a server's port.
struct Play {
    logins: Logins,
    events: Vec<StreamEvent>,
    at: Timestamp,
    port: u16,
    sequences: [u32; 2],
    /// Of each segment so many bytes are captured.
    snap: usize,
}

impl Play {
    fn new(port: u16) -> Self {
        let at = Timestamp::from_secs(1_000);
        Self {
            logins: Logins::new(1),
            events: Vec::new(),
            at,
            port,
            sequences: [u32::MAX - 2, 7],
            snap: usize::MAX,
        }
    }

    fn packet(&mut self, is_sent: bool, frame: &[u8], wire_len: usize) {
        let packet = packet::parse(LinkType::RawIp, frame, wire_len as u32).unwrap();
        let Body::Ip(ip) = packet.body else { panic!("it is IP") };
        let ends = crate::stream::ends(is_sent, &ip).unwrap();
        self.logins.handle(TenantIx(0), is_sent, ends, &ip.transport, self.at, &mut self.events);
    }

    fn segment(&mut self, is_sent: bool, flags: u8, payload: &[u8]) {
        let side = usize::from(is_sent);
        let whole =
            frame(6, is_sent, self.port, (self.sequences[side], self.sequences[1 - side]), flags, payload);
        let kept = whole.len().min(40 + self.snap.min(payload.len()));
        self.packet(is_sent, &whole[..kept], whole.len());
        self.sequences[side] = self.sequences[side].wrapping_add(payload.len() as u32);
        self.at += Duration::from_millis(20);
    }

    fn told(&self) -> Vec<(&'static str, Login)> {
        let told = |event: &StreamEvent| match event {
            StreamEvent::Login { service, login, .. } => (service.name(), *login),
            other => panic!("{other:?}"),
        };
        self.events.iter().map(told).collect()
    }

    /// How it was told, without what tells credentials from each other; that known ones differ is looked at.
    fn words(&self) -> String {
        let mut seen = Vec::new();
        let words: Vec<String> = self
            .told()
            .iter()
            .map(|(name, login)| match login {
                Login::Refused(Credential::Known(bits)) | Login::RefusedIn(Credential::Known(bits), _) => {
                    let is_old = seen.contains(bits);
                    seen.push(*bits);
                    format!("{name} {}", if is_old { "same" } else { "no" })
                }
                Login::Refused(Credential::Hidden) | Login::RefusedIn(Credential::Hidden, _) => {
                    format!("{name} hidden")
                }
                Login::Refused(Credential::Kept) | Login::RefusedIn(Credential::Kept, _) => {
                    format!("{name} kept")
                }
                Login::Accepted | Login::AcceptedIn(_) => format!("{name} yes"),
                Login::TurnedAway(_) => format!("{name} away"),
                Login::Sealed(_) => format!("{name} sealed"),
            })
            .collect();
        words.join(", ")
    }
}

/// What a side says: `C` the client, `S` the server, `F` the server closes, `E` the client does.
type Said<'a> = (char, &'a [u8]);

/// Plays what is said at a port, whole and cut in pieces behind the first words; what is told.
fn check(port: u16, cuts: &[usize], said: &[Said<'_>], expect: &str) {
    for cut in cuts {
        let mut play = Play::new(port);
        for (place, (who, text)) in said.iter().enumerate() {
            let is_sent = matches!(who, 'C' | 'E');
            let flags = if matches!(who, 'F' | 'E') { TcpFlags::FIN } else { 0 } | TcpFlags::ACK;
            let step = if place == 0 { usize::MAX } else { *cut };
            if text.is_empty() {
                play.segment(is_sent, flags, b"");
            }
            for part in text.chunks(step) {
                play.segment(is_sent, flags, part);
            }
        }
        let Play { logins, events, at, .. } = &mut play;
        logins.sweep(*at + IDLE, events);
        assert_eq!(play.logins.len(), 0);
        assert!(play.logins.followed.iter().all(|followed| *followed == 0));
        let told: Vec<(char, String)> = said
            .iter()
            .map(|(who, text)| (*who, text[..text.len().min(40)].escape_ascii().to_string()))
            .collect();
        assert_eq!(play.words(), expect, "in steps of {cut}: {told:?}");
    }
}

const WHOLE: &[usize] = &[10_000];
const CUT: &[usize] = &[10_000, 1, 7];

fn text(port: u16, said: &str, expect: &str) {
    let lines: Vec<(char, String)> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.trim().split_once(": ").unwrap())
        .map(|(who, line)| (who.chars().next().unwrap(), format!("{}\r\n", line.replace("\\n", "\r\n"))))
        .collect();
    let said: Vec<Said<'_>> = lines.iter().map(|(who, line)| (*who, line.as_bytes())).collect();
    check(port, CUT, &said, expect);
}

#[test]
fn ftp() {
    let session = "S: 220-Welcome\\n220 ready
        C: USER root
        S: 331 password
        C: PASS a
        S: 530-no\\n530 no
        C: SYST
        S: 530 Please login
        C: USER root
        S: 331 password
        C: PASS b
        S: 530 no
        C: USER root
        S: 331 password
        C: PASS a
        S: 530 no";
    text(21, session, "ftp no, ftp no, ftp same");
    // On whatever port, and let in in the end; what follows is not read.
    text(
        2_121,
        &format!("{session}\nC: PASS c\nS: 230 in\nC: PASS d\nS: 530 no"),
        "ftp no, ftp no, ftp same, ftp yes",
    );
    text(21, "S: 220 x\nC: AUTH TLS\nS: 234 go\nC: USER a\nS: 331 x\nC: PASS b\nS: 530 no", "");
    // Anybody is let in so, which says nothing of others.
    text(
        21,
        "S: 220 x\nC: USER Anonymous\nS: 331 x\nC: PASS a\nS: 230 in\nC: USER root\nS: 331 x\nC: PASS a\nS: 530 no",
        "ftp no",
    );
    text(21, "S: 220 x\nC: USER anonymous\nS: 530 not here\nC: QUIT\nS: 221 bye", "ftp no");
}

#[test]
fn smtp() {
    text(
        587,
        "S: 220 mx ESMTP
        C: EHLO a
        S: 250-mx\\n250 AUTH PLAIN
        C: AUTH PLAIN AGEAYg==
        S: 535 no
        C: AUTH LOGIN
        S: 334 x
        C: YQ==
        S: 334 y
        C: Yg==
        S: 535 5.7.8 no
        C: AUTH PLAIN
        S: 334
        C: AGEAYw==
        S: 454 later
        C: AUTH CRAM-MD5
        S: 334 PDE+
        C: YSBi
        S: 535 no
        C: AUTH PLAIN AGEAZA==
        S: 235 in",
        "smtp no, smtp no, smtp hidden, smtp yes",
    );
    text(25, "S: 220 mx\nC: EHLO a\nS: 530 no\nC: MAIL FROM:<a>\nS: 250 ok\nC: AUTH PLAIN x\nS: 535 no", "");
    text(2_525, "S: 220 mx\nC: EHLO a\nS: 250 a\nC: STARTTLS\nS: 220 go\nC: AUTH PLAIN x\nS: 535 no", "");
}

#[test]
fn pop3() {
    text(
        110,
        "S: +OK ready
        C: CAPA
        S: +OK\\nUSER\\n.
        C: USER a
        S: +OK
        C: PASS b
        S: -ERR no
        C: USER a\\nPASS c
        S: +OK\\n-ERR [AUTH] no
        C: USER a
        S: +OK
        C: PASS c
        S: -ERR [IN-USE] locked
        C: APOP a c4c9334bac560ecc979e58001b3e22fb
        S: -ERR no
        C: AUTH PLAIN
        S: + 
        C: AGEAYg==
        S: -ERR no
        C: RETR 1
        S: -ERR not yet
        C: USER a
        S: +OK
        C: PASS d
        S: +OK in",
        "pop3 no, pop3 no, pop3 hidden, pop3 no, pop3 yes",
    );
    text(995, "S: +OK x\nC: STLS\nS: +OK go\nC: USER a\nS: +OK\nC: PASS b\nS: -ERR no", "");
}

#[test]
fn imap() {
    text(
        143,
        "S: * OK [CAPABILITY IMAP4rev1] ready
        C: a1 CAPABILITY
        S: * CAPABILITY IMAP4rev1\\na1 OK done
        C: a2 LOGIN u p
        S: a2 NO [AUTHENTICATIONFAILED] no
        C: a3 login {1}
        S: + go
        C: u {1}
        S: + go
        C: q
        S: * BYE soon\\na3 NO no
        C: a4 AUTHENTICATE PLAIN
        S: +
        C: AHUAcA==
        S: a4 NO no
        C: a5 LOGIN u p
        S: a5 NO [UNAVAILABLE] ill
        C: a6 LOGIN u p
        S: a6 NO no
        C: a7 SELECT x
        S: a7 NO no
        C: a8 LOGIN u r
        S: a8 OK in",
        "imap no, imap no, imap no, imap same, imap yes",
    );
    text(143, "S: * OK x\nC: a STARTTLS\nS: a OK go\nC: b LOGIN u p\nS: b NO no", "");
}

#[test]
fn http() {
    let basic = |secret: &str, code: &str| {
        format!("C: GET /x HTTP/1.1\\nHost: a\\nAuthorization: Basic {secret}\\n\nS: HTTP/1.1 {code} x\\n\n")
    };
    let all = [basic("YQ==", "401"), basic("Yg==", "401"), basic("Yg==", "401"), basic("Yw==", "200")];
    text(8_080, &all.concat(), "http no, http no, http same, http yes");
    // The first answer is a challenge, and NTLM's first message asks for one.
    text(80, "C: GET / HTTP/1.1\\n\nS: HTTP/1.1 401 x\\n", "");
    text(
        80,
        "C: GET / HTTP/1.1\\nAuthorization: NTLM TlRMTVNTUAABAAAA\\n
        S: HTTP/1.1 401 x\\n
        C: GET / HTTP/1.1\\nAuthorization: NTLM TlRMTVNTUAADAAAA\\n
        S: HTTP/1.1 401 x\\n",
        "http hidden",
    );
    let post = |body: &str, path: &str, code: &str| {
        let len = body.len() + 2;
        format!("C: POST {path} HTTP/1.1\\nContent-Length: {len}\\n\\n{body}\nS: HTTP/1.1 {code} x\\n\n")
    };
    let door = "/api/Login?x=/";
    let all = [post("u=a&p=b", door, "401"), post("u=a&p=cc", door, "403"), post("u=a&p=b", door, "401")];
    text(80, &all.concat(), "http no, http no, http same");
    text(80, &[post("u=a", "/pay", "401"), post("u=a&p=b", door, "200")].concat(), "");
    // What is refused there and has not the form of a login.
    let notice = [post("{\"event\":1}", "/token", "403"), post("{\"event\":2}", "/token", "401")];
    text(80, &notice.concat(), "http away, http away");
    // In chunks, as long as one likes; what differs is told apart.
    let chunked = |parts: &[&str], code: &str| {
        let parts: String = parts.iter().map(|part| format!("{:x};x=y\\n{part}\\n", part.len())).collect();
        format!(
            "C: POST {door} HTTP/1.1\\nTransfer-Encoding: chunked\\n\\n{parts}0\\nX: y\\n\nS: HTTP/1.1 {code} x\\n\n"
        )
    };
    let all =
        [chunked(&["u=a&p=b"], "401"), chunked(&["u=a", "&p=c"], "401"), chunked(&["u=a", "&p=b"], "403")];
    text(80, &all.concat(), "http no, http no, http same");
}

#[test]
fn requests_of_http_wait_for_their_answers() {
    let ask = |secret: &str| format!("GET /x HTTP/1.1\\nAuthorization: Basic {secret}\\n\\n");
    let asks = |secrets: &[&str]| secrets.iter().map(|secret| ask(secret)).collect::<String>();
    // Bodies between, of whatever length and without an end of their own.
    text(
        80,
        &format!(
            "C: {}\nS: HTTP/1.1 401 x\\nContent-Length: 3\\n\\nyouHTTP/1.1 401 x\\n\\n<p>no HTTP/1 here\\nHTTP/1.1 100 x\\n\\nHTTP/1.1 200 x\\n",
            asks(&["YQ==", "Yg==", "Yw=="])
        ),
        "http no, http no, http yes",
    );
    // More than wait are given up, the oldest first, and nothing grows.
    let mut play = Play::new(80);
    let many: Vec<String> = (0..100).map(|n| ask(&format!("{n}")).replace("\\n", "\r\n")).collect();
    play.segment(true, TcpFlags::ACK, many.concat().as_bytes());
    for _ in 0..100 {
        play.segment(false, TcpFlags::ACK, b"HTTP/1.1 401 x\r\n\r\n");
    }
    assert_eq!(play.words().matches("http no").count(), 32);
}

#[test]
fn telnet() {
    let session = "S: \u{1b}[2J\\nhost login:
        C: root
        S: Password:
        C: a
        S: \\nLogin incorrect\\nhost login:
        C: root
        S: Password:
        C: b
        S: \\nLogin incorrect\\nhost login:";
    check(23, WHOLE, &[('S', &[255, 253, 24]), ('C', &[255, 252, 24])], "");
    let lines = |said: &str| said.replace(':', ": ").replace("C:  ", "C: ").replace("S:  ", "S: ");
    text(23, &lines(session), "telnet no, telnet no");
    let more = "C: root\nS: Password:\nC: c\nS: Last login: today\\nroot@host:~#\nC: x\nS: denied";
    text(2_323, &format!("{}\n{}", lines(session), more), "telnet no, telnet no, telnet yes");
    text(23, "S: BusyBox\\nhost login:\nC: root\nS: root@host:~#\nC: ls\nS: permission denied", "");
}

/// A session in SSH; numbers are lengths of encrypted segments, the client's and the server's by turns.
fn ssh(lengths: &[usize], expect: &str) {
    let newkeys = [0, 0, 0, 12, 10, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut kex = vec![0, 0, 3, 132, 8, 20];
    kex.resize(904, 9);
    let mut said: Vec<(char, Vec<u8>)> = vec![
        ('S', b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ('C', b"SSH-2.0-x\r\n".to_vec()),
        ('C', kex.clone()),
        ('S', kex),
        ('C', vec![0, 0, 0, 44, 6, 30]),
        ('S', vec![0, 0, 0, 188, 8, 31]),
    ];
    let rest = lengths.iter().zip("CS".chars().cycle()).map(|(len, who)| (who, vec![0xaa; *len]));
    said.extend(rest);
    // Both ways of sending the end of the keys: alone, and with what follows.
    for together in [false, true] {
        let mut said = said.clone();
        if together {
            said[6].1.splice(..0, newkeys);
        } else {
            said.insert(6, ('C', newkeys.to_vec()));
        }
        said.push(('E', Vec::new()));
        said.push(('F', Vec::new()));
        let said: Vec<Said<'_>> = said.iter().map(|(who, text)| (*who, text.as_slice())).collect();
        check(902, WHOLE, &said, expect);
    }
}

#[test]
fn ssh_passwords_by_their_lengths() {
    // "none", then two passwords; chacha20-poly1305.
    ssh(&[44, 44, 60, 76, 76, 76, 84, 76], "ssh hidden, ssh hidden");
    // One password a session, blocks of 16.
    ssh(&[52, 52, 68, 52, 84, 52], "ssh hidden");
    // Without "none" first.
    ssh(&[44, 44, 76, 76], "ssh hidden");
    ssh(&[44, 44, 76, 76, 84, 76, 76, 76], "ssh hidden, ssh hidden, ssh hidden");
    // A question and an answer each time.
    ssh(&[44, 44, 60, 76, 84, 60, 44, 76, 84, 60, 44, 76], "ssh hidden, ssh hidden");
    // Let in with the second; by keys after some that are not known; who only asks which ways there are.
    ssh(&[44, 44, 60, 76, 76, 76, 76, 28, 52, 44], "ssh hidden, ssh yes");
    ssh(&[44, 44, 68, 52, 364, 52, 500, 332, 652, 28, 112, 500], "ssh yes");
    ssh(&[44, 44, 60, 76], "");
    // A key that is not known there, and several; of a user with a long name; in blocks of 16.
    ssh(&[44, 44, 60, 52, 140, 52], "ssh kept");
    ssh(&[44, 44, 60, 52, 140, 52, 140, 52, 364, 52], "ssh kept");
    ssh(&[44, 44, 68, 52, 148, 52, 148, 52, 148, 52], "ssh kept");
    ssh(&[52, 52, 68, 52, 148, 52, 148, 52], "ssh kept");
    // Long passwords that are filled up: of root, and of one who asks for nothing first, in blocks of 8 and of 16.
    ssh(&[44, 44, 60, 52, 148, 52, 148, 52], "ssh hidden, ssh hidden");
    ssh(&[44, 44, 148, 76], "ssh hidden");
    ssh(&[44, 44, 148, 76, 148, 76, 84, 76, 148, 76], "ssh hidden, ssh hidden, ssh hidden, ssh hidden");
    ssh(&[52, 52, 148, 84, 148, 84], "ssh hidden, ssh hidden");
    // A key that is offered at once may sign, and lets in.
    ssh(&[52, 52, 148, 100, 244, 36, 84, 52], "ssh yes");
    // Somebody is in, and it was not seen.
    ssh(&[44, 44, 60, 52, 148, 700, 112, 396, 76, 76, 76, 76], "");
}

#[test]
fn ssh_is_followed_for_the_client_and_by_headers_alone() {
    // The tenant is the server: it answers the exchange of keys.
    let said: [Said<'_>; 4] = [
        ('S', b"SSH-2.0-libssh\r\n"),
        ('C', b"SSH-2.0-OpenSSH\r\n"),
        ('S', &[0, 0, 0, 44, 6, 30]),
        ('C', &[0, 0, 0, 188, 8, 31]),
    ];
    check(50_000, WHOLE, &said, "");
    // Cut off after a few bytes, lengths are still known.
    let mut play = Play::new(22);
    play.snap = 16;
    play.segment(false, TcpFlags::ACK, b"SSH-2.0-OpenSSH_9.2p1\r\n");
    play.segment(true, TcpFlags::ACK, &[0, 0, 0, 12, 10, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (is_sent, len) in [(true, 44), (false, 44), (true, 60), (false, 76), (true, 76), (false, 76)] {
        play.segment(is_sent, TcpFlags::ACK, &vec![0xaa; len]);
    }
    assert_eq!(play.words(), "ssh hidden");
}

fn mysql_packet(number: u8, body: &[u8]) -> Vec<u8> {
    [&[body.len() as u8, 0, 0, number], body].concat()
}

#[test]
fn mysql() {
    let greeting = mysql_packet(0, b"\x0a5.7.1\0....");
    let answer = |abilities: u32, rest: &[u8]| {
        let mut body = abilities.to_le_bytes().to_vec();
        body.resize(32, 0);
        body.extend(rest);
        mysql_packet(1, &body)
    };
    let denied = mysql_packet(2, b"\xff\x15\x04#28000Access denied");
    let ok = mysql_packet(2, b"\0\0\0");
    let said = |answer: &[u8], reply: &[u8], expect| {
        check(3_307, WHOLE, &[('S', &greeting), ('C', answer), ('S', reply)], expect);
    };
    said(&answer(0x8000, b"root\0\x02ab"), &denied, "mysql hidden");
    said(&answer(0x8008, b"root\0\x02abmysql\0"), &denied, "mysql hidden");
    said(&answer(0x8008, b"shop\0\x02abshop_live\0"), &denied, "mysql kept");
    said(&answer(0x8000, b"root\0\x02ab"), &ok, "mysql yes");
    said(&answer(0x8000, b"root\0\x02ab"), &mysql_packet(2, b"\xff\x10\x04too many"), "");
}

fn record(kind: u8, len: u16) -> Vec<u8> {
    [&[kind, 3, 3][..], &len.to_be_bytes(), &vec![0; len.into()]].concat()
}

#[test]
fn databases_and_screens_in_tls() {
    let greeting = mysql_packet(0, b"\x0a8.0.1\0....");
    let mut tls = 0x8a00_u32.to_le_bytes().to_vec();
    tls.resize(32, 0);
    let ask = mysql_packet(1, &tls);
    let (hello, answered) = (record(22, 300), record(22, 900));
    let (finished, login, reply) = (record(23, 53), record(23, 190), record(23, 90));
    let opening: [Said<'_>; 6] =
        [('S', &greeting), ('C', &ask), ('C', &hello), ('S', &answered), ('C', &finished), ('C', &login)];
    let with = |rest: &[Said<'static>], reply: &[u8], expect| {
        let said = [&opening[..], &[('S', reply)], rest].concat();
        check(3_306, WHOLE, &said, expect);
    };
    // Turned away, and gone after being let in.
    with(&[('F', b""), ('E', b"")], &reply, "mysql hidden");
    let quit: &'static [u8] = Box::leak(record(23, 30).into_boxed_slice());
    with(&[('C', quit), ('E', b""), ('F', b"")], &reply, "");
    let rdp: Vec<Said<'_>> = vec![
        ('C', &[3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, 3, 0, 0, 0]),
        ('S', &[3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0, 0, 2, 0, 8, 0, 2, 0, 0, 0]),
        ('C', &hello),
        ('S', &answered),
        ('C', &finished),
        ('C', &login),
        ('S', &login),
        ('C', &login),
        ('S', &reply),
        ('E', b""),
        ('F', b""),
    ];
    check(3_390, WHOLE, &rdp, "rdp hidden");
    // Who looks at a certificate shows nothing.
    check(3_389, WHOLE, &[&rdp[..5], &rdp[9..]].concat(), "");
    let mailbox: Vec<Said<'_>> = vec![
        ('C', &hello),
        ('S', &answered),
        ('C', &finished),
        ('S', &reply),
        ('C', &login),
        ('S', &reply),
        ('C', &login),
        ('S', &reply),
        ('E', b""),
        ('F', b""),
    ];
    check(993, WHOLE, &mailbox, "tls sealed");
    check(443, WHOLE, &mailbox, "");
}

#[test]
fn postgres() {
    let startup = |rest: &[u8]| {
        [&u32::try_from(rest.len() + 8).unwrap().to_be_bytes()[..], &[0, 3, 0, 0], rest].concat()
    };
    let (guess, own) =
        (startup(b"user\0postgres\0database\0template1\0\0"), startup(b"user\0shop\0database\0live\0\0"));
    let (md5, clear) = (b"R\0\0\0\x0c\0\0\0\x05salt", b"R\0\0\0\x08\0\0\0\x03");
    let no = b"E\0\0\0\x60SFATAL\0VFATAL\0C28P01\0Mno\0\0";
    let said = |startup: &[u8], challenge: &[u8], reply: &[u8], expect| {
        let said = [('C', startup), ('S', challenge), ('C', &b"p\0\0\0\x06x\0"[..]), ('S', reply)];
        check(5_433, WHOLE, &said, expect);
    };
    said(&guess, md5, no, "postgres hidden");
    said(&own, md5, no, "postgres kept");
    said(&own, clear, no, "postgres no");
    said(&guess, md5, b"R\0\0\0\x08\0\0\0\0", "postgres yes");
    said(&guess, md5, b"E\0\0\0\x60SFATAL\0C53300\0Mtoo many\0\0", "");
}

#[test]
fn redis_vnc_and_socks() {
    let redis: [Said<'_>; 6] = [
        ('C', b"*2\r\n$4\r\nAUTH\r\n$1\r\na\r\n"),
        ('S', b"-WRONGPASS no\r\n"),
        ('C', b"AUTH b\r\n"),
        ('S', b"-ERR invalid password\r\n"),
        ('C', b"auth b\r\n"),
        ('S', b"+OK\r\n"),
    ];
    check(6_380, WHOLE, &redis, "redis no, redis no, redis yes");
    check(6_379, WHOLE, &[('C', b"*1\r\n$4\r\nPING\r\n"), ('S', b"-NOAUTH no\r\n")], "");
    let vnc = |result: u8, expect| {
        let said: [Said<'_>; 7] = [
            ('S', b"RFB 003.008\n"),
            ('C', b"RFB 003.008\n"),
            ('S', &[1, 2]),
            ('C', &[2]),
            ('S', &[7; 16]),
            ('C', &[8; 16]),
            ('S', &[0, 0, 0, result]),
        ];
        check(5_901, WHOLE, &said, expect);
    };
    vnc(0, "vnc yes");
    vnc(1, "vnc hidden");
    vnc(2, "vnc hidden");
    let socks = |status: u8, expect| {
        let said: [Said<'_>; 4] =
            [('C', &[5, 2, 0, 2]), ('S', &[5, 2]), ('C', b"\x01\x01a\x01b"), ('S', &[1, status])];
        check(1_080, WHOLE, &said, expect);
    };
    socks(0, "socks yes");
    socks(1, "socks no");
}

#[test]
fn answers_that_tell_all_by_themselves() {
    let tds = |token: u8, number: i32| {
        [&[4, 1, 0, 40, 0, 0, 1, 0, 0xe3, 2, 0, 9, 9, token, 10, 0][..], &number.to_le_bytes(), b"...."]
            .concat()
    };
    let answered = |port, asked: &[u8], answer: &[u8], expect| {
        check(port, WHOLE, &[('C', asked), ('S', answer)], expect);
        // Whoever was not asked is not believed.
        check(port, WHOLE, &[('S', answer)], "");
    };
    let login = [16, 1, 0, 40, 0, 0, 1, 0, 7, 7];
    answered(14_330, &login, &tds(0xaa, 18_456), "mssql hidden");
    answered(1_433, &login, &tds(0xaa, 208), "");
    answered(1_433, &login, &tds(0xad, 0), "mssql yes");
    let mongo = |document: &[u8]| {
        let len = u32::try_from(21 + document.len()).unwrap();
        let head = [&len.to_le_bytes()[..], &[0; 8], &2_013_u32.to_le_bytes(), &[0, 0, 0, 0, 0]].concat();
        [&head[..], document].concat()
    };
    let sasl = mongo(b"....\x02saslStart\0");
    answered(27_018, &sasl, &mongo(b"....\x10code\0\x12\0\0\0\0"), "mongodb hidden");
    answered(27_017, &sasl, &mongo(b"....\x10code\0\x0d\0\0\0\0"), "");
    answered(27_017, &sasl, &mongo(b"....\x08done\0\x01..."), "mongodb yes");
    let smb2 = |command: u8, status: u32| {
        let start = [&[0, 0, 0, 72, 0xfe, b'S', b'M', b'B', 64, 0, 1, 0][..], &status.to_le_bytes()].concat();
        [&start[..], &[command, 0], &[0; 50]].concat()
    };
    let setup = smb2(1, 0);
    answered(445, &setup, &smb2(1, 0xc000_006d), "smb hidden");
    answered(445, &setup, &smb2(1, 0xc000_0016), "");
    answered(445, &setup, &smb2(5, 0xc000_006d), "");
    answered(445, &setup, &smb2(1, 0), "smb yes");
    let old = b"\0\0\0\x23\xffSMB\x73\x6d\0\0\xc0....";
    answered(139, old, old, "smb hidden");
    let ldap = |result: u8| vec![0x30, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, result, 4, 0, 4, 0];
    let long = |tag: u8, rest: &[u8]| {
        let message = [&[2, 1, 1, tag, 0x84, 0, 0, 0, rest.len() as u8][..], rest].concat();
        [&[0x30, 0x84, 0, 0, 0, message.len() as u8][..], &message].concat()
    };
    let bind = [0x30, 12, 2, 1, 1, 0x60, 7, 2, 1, 3, 4, 0, 0x80, 0];
    answered(389, &bind, &ldap(49), "ldap hidden");
    answered(389, &bind, &ldap(0), "ldap yes");
    answered(389, &bind, &ldap(14), "");
    answered(390, &bind, &ldap(49), "");
    answered(
        3_268,
        &long(0x60, &[2, 1, 3, 4, 0, 0x80, 0]),
        &long(0x61, &[0x0a, 1, 49, 4, 0, 4, 0]),
        "ldap hidden",
    );
    let kerberos = |code: u8| [&[0, 0, 0, 30, 0x7e, 28][..], &[0xa6, 3, 2, 1, code], b"..."].concat();
    let ticket = [0, 0, 0, 9, 0x6a, 7, 0, 0, 0, 0, 0];
    answered(88, &ticket, &kerberos(24), "kerberos hidden");
    answered(88, &ticket, &kerberos(25), "");
    // Sent again it is the same answer.
    let mut play = Play::new(445);
    play.segment(true, TcpFlags::ACK, &setup);
    for sequence in [1, 1, 69] {
        play.sequences[0] = sequence;
        play.segment(false, TcpFlags::ACK, &smb2(1, 0xc000_006d));
    }
    assert_eq!(play.words(), "smb hidden, smb hidden");
    // What a server of the tenant's own says is not meant.
    let mut play = Play::new(40_001);
    play.segment(true, TcpFlags::ACK, &smb2(1, 0xc000_006d));
    assert_eq!(play.words(), "");
}

#[test]
fn datagrams_are_answers_where_something_was_asked_and_once() {
    let mut play = Play::new(88);
    let (asked, no) = ([0x6a, 7, 0, 0], [0x7e, 28, 0xa6, 3, 2, 1, 24, 0]);
    let mut say = |is_sent: bool, said: &[u8]| {
        let bytes = frame(17, is_sent, 88, (0, 0), 0, said);
        play.packet(is_sent, &bytes, bytes.len());
    };
    for (is_sent, said) in [
        (false, &no[..]),
        (true, &asked),
        (false, &no),
        (false, &no),
        (true, &asked),
        (false, &[0x6b, 1]),
        (false, &no),
    ] {
        say(is_sent, said);
    }
    assert_eq!((play.words().as_str(), play.logins.len()), ("kerberos hidden", 0));
}

/// A packet of the client's in the midst of a session of FTP, before each guess; how many are seen of three.
fn guesses_beside(flags: u8, off: u32, payload: &[u8]) -> usize {
    let mut play = Play::new(21);
    play.segment(false, TcpFlags::ACK, b"220 x\r\n");
    for guess in [&b"PASS a\r\n"[..], b"PASS b\r\n", b"PASS c\r\n"] {
        let held = play.sequences;
        play.sequences[1] = held[1].wrapping_add(off);
        play.segment(true, flags, payload);
        play.sequences = held;
        for (is_sent, said) in
            [(true, &b"USER u\r\n"[..]), (false, b"331 x\r\n"), (true, guess), (false, b"530 x\r\n")]
        {
            play.segment(is_sent, TcpFlags::ACK, said);
        }
    }
    play.words().matches("ftp no").count()
}

#[test]
fn what_reaches_nobody_hides_nothing() {
    for off in [1, 1_000, 3_000_000, 1 << 30, 1 << 31, u32::MAX - 3_000_000, u32::MAX] {
        for (flags, payload) in [
            (TcpFlags::RST, &b""[..]),
            (TcpFlags::RST | TcpFlags::ACK, b""),
            (TcpFlags::SYN, b""),
            (TcpFlags::SYN, b"USER x\r\n"),
        ] {
            assert_eq!(guesses_beside(flags, off, payload), 3, "flags {flags:x} at {off}");
        }
    }
    // Even at the right place, where it may have been lost on its way.
    assert_eq!(guesses_beside(TcpFlags::RST, 0, b""), 3);
    for off in [1 << 30, 1 << 31, u32::MAX - 90_000_000] {
        assert_eq!(guesses_beside(TcpFlags::ACK, off, b"QUIT\r\n"), 3, "words at {off}");
        assert_eq!(guesses_beside(TcpFlags::FIN | TcpFlags::ACK, off, b""), 3, "an end at {off}");
    }
}

#[test]
fn another_connection_on_the_same_ports_begins_when_the_server_takes_it() {
    let mut play = Play::new(21);
    let said = [
        (false, &b"220 x\r\n"[..]),
        (true, b"USER u\r\n"),
        (false, b"331 x\r\n"),
        (true, b"PASS a\r\n"),
        (false, b"530 x\r\n"),
    ];
    for sequences in [[90, 70], [1 << 30, 1 << 31]] {
        play.sequences = sequences;
        play.segment(true, TcpFlags::SYN, b"");
        play.sequences[1] += 1;
        play.segment(false, TcpFlags::SYN | TcpFlags::ACK, b"");
        play.sequences[0] += 1;
        for (is_sent, said) in said {
            play.segment(is_sent, TcpFlags::ACK, said);
        }
    }
    assert_eq!(play.words(), "ftp no, ftp same");
}

#[test]
fn answers_of_another_connection_are_not_believed() {
    let mut play = Play::new(445);
    let setup =
        [&[0, 0, 0, 72, 0xfe, b'S', b'M', b'B', 64, 0, 1, 0][..], &[0; 4], &[1, 0], &[0; 50]].concat();
    let refused = [&setup[..12], &0xc000_006d_u32.to_le_bytes(), &setup[16..]].concat();
    play.segment(true, TcpFlags::ACK, &setup);
    let held = play.sequences;
    for acknowledged in [1 << 30, 1 << 31] {
        play.sequences[1] = acknowledged;
        play.segment(false, TcpFlags::ACK, &refused);
        play.sequences = held;
    }
    assert_eq!(play.words(), "");
    play.segment(false, TcpFlags::ACK, &refused);
    assert_eq!(play.words(), "smb hidden");
}

#[test]
fn sip() {
    let register = |account: u8, shows: bool| {
        let shows = if shows { "Authorization: Digest username=\"a\"\r\n" } else { "" };
        format!("REGISTER sip:x SIP/2.0\r\nTo: <sip:{account}@x>;tag=7{account}\r\n{shows}\r\n")
    };
    let mut play = Play::new(5_062);
    let mut say = |is_sent: bool, text: &str| {
        let bytes = frame(17, is_sent, 5_062, (0, 0), 0, text.as_bytes());
        play.packet(is_sent, &bytes, bytes.len());
    };
    let answer = |code: u16| format!("SIP/2.0 {code} x\r\n\r\n");
    for (account, shows, code) in
        [(1, false, 401), (1, true, 401), (1, true, 100), (2, false, 404), (3, false, 403), (1, true, 200)]
    {
        say(true, &register(account, shows));
        say(false, &answer(code));
        // Sent again it is answered once.
        say(false, &answer(code));
    }
    assert_eq!(play.words(), "sip hidden, sip no, sip no, sip yes");
}

#[test]
fn room_is_bounded_and_shared() {
    let mut logins = Logins::new(1);
    logins.set_tenants(1_000);
    let mut events = Vec::new();
    for number in 0..200_u32 {
        for tenant in [7, 8] {
            let key = FlowKey::new(
                TenantIx(tenant),
                Protocol::Tcp,
                (TENANT.into(), 1_000 + number as u16),
                (PEER.into(), 21),
            );
            assert!(logins.begin(key, 21, Speech::ssh(), Timestamp::EPOCH, &mut events));
        }
    }
    assert_eq!((logins.len(), logins.evictions()), (2 * LEAST_EACH, 2 * (200 - LEAST_EACH as u64)));
    logins.forget(TenantIx(7));
    assert_eq!(logins.len(), LEAST_EACH);
    assert_eq!(usize::from(logins.followed[21]), LEAST_EACH);
}

/// First words of everything that is recognised.
fn first_words() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        b"SSH-2.0-x\r\n".to_vec(),
        b"220 x\r\n".to_vec(),
        b"+OK x\r\n".to_vec(),
        b"* OK x\r\n".to_vec(),
        b"RFB 003.008\n".to_vec(),
        vec![255, 253, 1],
        mysql_packet(0, b"\x0a5.7.1\0...."),
        b"GET / HTTP/1.1\r\nAuthorization: Basic x\r\n\r\n".to_vec(),
        b"POST /login HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
        b"AUTH x\r\n".to_vec(),
        vec![0, 0, 0, 8, 4, 210, 22, 47],
        vec![5, 1, 2],
        vec![3, 0, 0, 19, 14, 0xe0],
        record(22, 10),
        vec![4, 1, 0, 40, 0, 0, 1, 0, 0xe3, 255, 255],
        b"\0\0\0\x23\xffSMB\x73".to_vec(),
        vec![0x30, 12, 2, 4, 1, 0x61],
    ])
}

proptest! {
    /// Whatever is said, nothing panics, and what is held is bounded.
    #[test]
    fn anything_may_be_said(
        first in first_words(),
        said in prop::collection::vec(
            (any::<bool>(), prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                first_words(),
                Just(b"USER x\r\nPASS y\r\n".to_vec()),
                Just(b"a LOGIN x y\r\n".to_vec()),
                Just(vec![0, 0, 0, 12, 10, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ], 0_u32..40, 0_usize..100),
            0..60,
        ),
        port in prop::sample::select(vec![21, 22, 23, 88, 389, 445, 993, 3_306, 40_001]),
    ) {
        for is_sent in [true, false] {
            let mut play = Play::new(port);
            play.segment(is_sent, TcpFlags::ACK, &first);
            for (is_sent, text, back, snap) in &said {
                let side = usize::from(*is_sent);
                play.snap = *snap;
                // Some come again, or leave a gap.
                play.sequences[side] = play.sequences[side].wrapping_sub(*back).wrapping_add(10);
                play.segment(*is_sent, TcpFlags::ACK, text);
            }
            let Play { logins, events, at, .. } = &mut play;
            logins.sweep(*at + IDLE, events);
            prop_assert_eq!(logins.len(), 0);
            // A few bytes at least for each word.
            prop_assert!(play.events.len() <= 40 * (said.len() + 1));
        }
    }

    /// However lines are cut, the same is told.
    #[test]
    fn cuts_do_not_matter(cuts in prop::collection::vec(1_usize..20, 1..40)) {
        let lines: [Said<'_>; 9] = [
            ('S', b"220 x\r\n"), ('C', b"USER a\r\n"), ('S', b"331 x\r\n"), ('C', b"PASS b\r\n"), ('S', b"530 no\r\n"),
            ('C', b"USER a\r\n"), ('S', b"331 x\r\n"), ('C', b"PASS c\r\n"), ('S', b"530 no\r\n"),
        ];
        let mut play = Play::new(21);
        let mut cuts = cuts.iter().cycle();
        for (place, (who, line)) in lines.iter().enumerate() {
            let mut rest = *line;
            while !rest.is_empty() {
                let len = if place == 0 { rest.len() } else { rest.len().min(*cuts.next().unwrap()) };
                play.segment(*who == 'C', TcpFlags::ACK, &rest[..len]);
                rest = &rest[len..];
            }
        }
        prop_assert_eq!(play.words(), "ftp no, ftp no");
    }
}
