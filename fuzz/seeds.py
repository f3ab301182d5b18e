#!/usr/bin/env python3
"""Writes fuzz/seeds: small cases made by hand, one of each kind of thing a reader knows. Run it after a change and commit what it writes.

A dialogue's pieces are (who and what befell it, what is said); see exercise/src/dialogue.rs and frames.rs for the form of a case.
"""
import base64
import pathlib
import struct

ROOT = pathlib.Path(__file__).parent / "seeds"
S, C = 0, 1
LOST, AGAIN, CUT, CLOSES, RESETS, ANEW, LATER = 2, 4, 8, 16, 32, 64, 128


def write(drive, name, data):
    folder = ROOT / drive
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def dialogue(drive, name, how, pieces, unit=1):
    data = bytes([how])
    for what, said in pieces:
        said = said.encode() if isinstance(said, str) else said
        first = True
        while first or said:
            part, said = said[: 255 // unit * unit], said[255 // unit * unit :]
            part += b"\0" * (-len(part) % unit)
            data += bytes([what if first else what & 1, len(part) // unit]) + part
            first = False
    write(drive, name, data)


def ip4(protocol, payload, source=(203, 0, 113, 10), to=(34, 0, 0, 7), fragment=0, options=b"", length=None):
    head = 20 + len(options)
    length = head + len(payload) if length is None else length
    return (struct.pack(">BBHHHBBH", 0x40 | head // 4, 0, length, 7, fragment, 64, protocol, 0) + bytes(source) + bytes(to)
            + options + payload)


def ip6(header, payload, source="20010db80010" + "0" * 18 + "10", to="20010db8f000" + "0" * 18 + "80"):
    return struct.pack(">IHBB", 0x60000000, len(payload), header, 64) + bytes.fromhex(source) + bytes.fromhex(to) + payload


def tcp(flags, port=22, payload=b"", options=b""):
    return struct.pack(">HHIIBBHHH", 40000, port, 1, 0, (5 + len(options) // 4) << 4, flags, 1024, 0, 0) + options + payload


def udp(port, payload=b"", source=40000):
    return struct.pack(">HHHH", source, port, 8 + len(payload), 0) + payload


def ether(kind, payload, tags=b""):
    return bytes.fromhex("020000000002020000000001") + tags + struct.pack(">H", kind) + payload


ARP = bytes.fromhex("0001080006040001020000000001cb00710a000000000000cb007101")
PACKETS = {
    "syn": (0, ether(0x0800, ip4(6, tcp(2)))),
    "syn-options": (0, ether(0x0800, ip4(6, tcp(2, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")))),
    "vlan-twice": (0, ether(0x0800, ip4(17, udp(53, b"x" * 12)), b"\x88\xa8\x00\x05\x81\x00\x00\x07")),
    "pppoe": (0, ether(0x8864, b"\x11\0\0\1\0\x2a\0\x21" + ip4(6, tcp(2)))),
    "arp": (0, ether(0x0806, ARP)),
    "icmp-unreachable": (1, ip4(1, b"\x03\x03\0\0\0\0\0\0" + ip4(17, udp(161)), source=(34, 0, 0, 7), to=(203, 0, 113, 10))),
    "first-fragment": (1, ip4(17, udp(53, b"x" * 24), fragment=0x2000)),
    "later-fragment": (1, ip4(17, b"x" * 24, fragment=0x00B9)),
    "tiny-fragment": (1, ip4(6, tcp(2)[:8], fragment=0x2000)),
    "ip-options": (1, ip4(6, tcp(2), options=b"\x44\x0c\x05\0" + b"\0" * 8)),
    "ipip": (1, ip4(4, ip4(6, tcp(2)))),
    "gre": (1, ip4(47, b"\0\0\x08\0" + ip4(6, tcp(2)))),
    "sctp-init": (1, ip4(132, struct.pack(">HHII", 40000, 2905, 0, 0) + b"\x01\0\0\x14" + b"\0" * 16)),
    "v6-syn": (1, ip6(6, tcp(2))),
    "v6-extensions": (1, ip6(0, b"\x3c\0\x01\x04\0\0\0\0" + b"\x2c\0\x01\x04\0\0\0\0" + b"\x06\0\0\0\0\0\0\x07" + tcp(2))),
    "v6-routing": (1, ip6(43, b"\x06\0\0\0\0\0\0\0" + tcp(2))),
    "v6-solicitation": (1, ip6(58, b"\x87\0\0\0\0\0\0\0" + bytes.fromhex("20010db8001000000000000000000099"))),
    "v6-advertisement": (1, ip6(58, b"\x88\0\0\0\x20\0\0\0" + bytes.fromhex("20010db8001000000000000000000099"))),
    "v6-router": (1, ip6(58, b"\x86\0\0\0\x40\0\x07\x08" + b"\0" * 8)),
    "null-link": (2, struct.pack("<I", 2) + ip4(6, tcp(2))),
    "cooked": (3, b"\0\4\0\1\0\6" + bytes.fromhex("0200000000010000") + b"\x08\0" + ip4(6, tcp(2))),
    "cooked-2": (4, b"\x08\0\0\0\0\0\0\1\0\1\4\6" + bytes.fromhex("0200000000010000") + ip4(6, tcp(2))),
    "land": (1, ip4(6, tcp(2, 40000), to=(203, 0, 113, 10))),
    "ping-of-death": (1, ip4(1, b"x" * 40, fragment=0x1FFF)),
    "rst": (1, ip4(6, tcp(0x14))),
    "rip": (1, ip4(17, udp(520, b"\2\2\0\0" + b"\0" * 20), to=(224, 0, 0, 9))),
    "ospf": (1, ip4(89, b"\2\1\0\x2c" + b"\0" * 40, to=(224, 0, 0, 5))),
    "dhcp-offer": (0, ether(0x0800, ip4(17, udp(68, b"\2\1\6\0" + b"\0" * 232 + b"\x63\x82\x53\x63\x35\1\2\xff", source=67), to=(255,) * 4))),
    "length-zero": (1, ip4(6, tcp(0x10, 443, b"x" * 60), length=0)),
}
for name, (link, frame) in PACKETS.items():
    write("packet", name, bytes([link, 0]) + frame)
write("packet", "cut-off", bytes([1, 40]) + ip4(6, tcp(0x18, 80, b"GET / HTTP/1.1\r\n")))
for link in range(5):
    frames = [frame for own, frame in PACKETS.values() if own == link and len(frame) < 256]
    data = bytes([link])
    for number, frame in enumerate(frames * 2):
        data += bytes([len(frame), number % 3, number % 13]) + frame
    write("frames", f"all-of-link-{link}", data)
scan = bytes([1])
for number in range(60):
    syn, rst = ip4(6, tcp(2, 1 + number)), ip4(6, struct.pack(">HHIIBBHHH", 1 + number, 40000, 0, 2, 0x50, 0x14, 0, 0, 0), source=(34, 0, 0, 7), to=(203, 0, 113, 10))
    scan += bytes([len(syn), 0, 3]) + syn + bytes([len(rst), 1, 0]) + rst
write("frames", "scan", scan)
arps = bytes([0])
for number in range(40):
    frame = ether(0x0806, ARP[:-1] + bytes([number]))
    arps += bytes([len(frame), 0, 4]) + frame
write("frames", "arp-sweep", arps)

HELLO = [(S, "220 mx.example ESMTP\r\n"), (C, "EHLO a.example\r\n"), (S, "250-mx.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 CHUNKING\r\n")]
ENVELOPE = [(C, "MAIL FROM:<a@alice.example> SIZE=120\r\n"), (S, "250 ok\r\n"), (C, "RCPT TO:<b@b.example>\r\n"), (S, "250 ok\r\n")]
BODY = [(C, "DATA\r\n"), (S, "354 go\r\n"), (C, "Subject: x\r\n\r\n.. dot\r\n.\r\n"), (S, "250 taken\r\n"), (C, "QUIT\r\n"), (S | CLOSES, "221 bye\r\n")]
for how, who in [(0, "client"), (1, "server")]:
    dialogue("smtp", f"message-{who}", how, HELLO + ENVELOPE + BODY)
dialogue("smtp", "pipelined", 0, HELLO + [(C, "MAIL FROM:<>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@c.example>\r\nDATA\r\n"), (S, "250 ok\r\n550 5.1.1 no\r\n450 later\r\n354 go\r\n"), (C, "x\r\n.\r\nQUIT\r\n"), (S, "250 ok\r\n221 bye\r\n")])
dialogue("smtp", "bdat", 0, HELLO + ENVELOPE + [(C, "BDAT 5\r\nhello"), (S, "250 ok\r\n"), (C, "BDAT 0 LAST\r\n"), (S, "250 ok\r\n")])
dialogue("smtp", "starttls", 0, HELLO + [(C, "STARTTLS\r\n"), (S, "220 go\r\n"), (C, b"\x16\x03\x01\x00\x30" + b"\x01" * 48), (S, b"\x16\x03\x03\x00\x20" + b"\x02" * 32), (C, b"\x17\x03\x03\x00\x40" + b"x" * 64), (S, b"\x17\x03\x03\x00\x20" + b"x" * 32)])
dialogue("smtp", "auth", 2, HELLO + [(C, "AUTH PLAIN AAAA\r\n"), (S, "535 5.7.8 no\r\n"), (C, "AUTH LOGIN\r\n"), (S, "334 VXNlcg==\r\n"), (C, "YQ==\r\n"), (S, "334 UGFzcw==\r\n"), (C, "Yg==\r\n"), (S, "235 ok\r\n")] + ENVELOPE)
dialogue("smtp", "lost-and-again", 0, HELLO + [(C | LOST, "FROM:<a@b.example>\r\n"), (S | CUT, "250 ok\r\n"), (C | AGAIN, "RCPT TO:<b@b.example>\r\n"), (S | RESETS, "")])
dialogue("smtp", "source-route", 0, HELLO + [(C, "MAIL FROM:<@x,@y:a@b.example>\r\n"), (S, "250 ok\r\n"), (C, 'RCPT TO:<"a b\\"c"@[203.0.113.9]>\r\n'), (S, "250 ok\r\n"), (C, "RSET\r\nVRFY b\r\nEXPN l\r\nNOOP\r\n")])
dialogue("smtp", "smtps", 4, [(C, b"\x16\x03\x01\x00\x30" + b"\x01" * 48), (S, b"\x16\x03\x03\x00\x20" + b"\x02" * 32)] + [(C, b"\x17\x03\x03\x00\x60" + b"x" * 96), (S, b"\x17\x03\x03\x00\x30" + b"x" * 48)] * 6)

GET = "GET /a?b HTTP/1.1\r\nHost: api.example\r\n\r\n"
OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
dialogue("http", "keep-alive", 0, [(C, GET), (S, OK)] * 6)
dialogue("http", "pipelined", 0, [(C, GET * 5), (S, OK * 5)])
dialogue("http", "post", 0, [(C, "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), (S, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n"), (C, GET), (S, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 no\r\n\r\n")])
dialogue("http", "split", 0, [(C, "GE"), (C, "T / HT"), (C, "TP/1.1\r\n\r"), (C, "\n"), (S, "HTT"), (S, "P/1.1 200 OK\r\n\r\n")])
dialogue("http", "lost-and-again", 0, [(C, GET), (S | LOST, OK), (C | AGAIN, GET), (C | CUT, GET), (S | CUT, OK), (C | ANEW, GET), (S | RESETS, "")])
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
H2GET = b"\0\0\x0c\1\5\0\0\0\1\x82\x84\x86\x41\7example"
dialogue("http", "h2c", 0, [(C, PREFACE + H2GET), (S, b"\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0\0\0\1\1\4\0\0\0\1\x88\0\0\2\0\1\0\0\0\1ok"), (C, H2GET[:5] + b"\0\0\0\3" + H2GET[9:]), (C, b"\0\0\4\x08\0\0\0\0\0\0\0\1\0"), (C, b"\0\0\x08\6\0\0\0\0\0" + b"p" * 8)])
dialogue("http", "h2c-upgrade", 0, [(C, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"), (S, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), (C, PREFACE)])
dialogue("http", "grpc", 2, [(C, PREFACE + b"\0\0\x10\1\4\0\0\0\1\x83\x86\x44\4/a/b\x5f\x05grpcx" + b"\0\0\7\0\1\0\0\0\1\0\0\0\0\2hi"), (S, b"\0\0\1\1\4\0\0\0\1\x88")])
dialogue("http", "websocket", 0, [(C, "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"), (S, "HTTP/1.1 101 Switching Protocols\r\n\r\n")] + [(C, b"\x81\x85mask" + b"hello"), (S, b"\x81\x05hello")] * 4)
dialogue("http", "as-server", 1, [(C, GET), (S, OK)] * 3)

NAME = b"api.example"
SNI = struct.pack(">HHHBH", 0, len(NAME) + 5, len(NAME) + 3, 0, len(NAME)) + NAME
ALPN = struct.pack(">HHHB", 16, 5, 3, 2) + b"h2"
EXTENSIONS = SNI + ALPN + b"\0\x2b\0\3\2\3\4"
BODY = b"\3\3" + b"r" * 32 + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack(">H", len(EXTENSIONS)) + EXTENSIONS
CLIENT = b"\x01" + struct.pack(">I", len(BODY))[1:] + BODY
CLIENT = b"\x16\3\1" + struct.pack(">H", len(CLIENT)) + CLIENT
SERVER = b"\x16\3\3\0\x4a\2\0\0\x46\3\3" + b"s" * 32 + b"\x20" + b"i" * 32 + b"\x13\1\0"
record = lambda length: b"\x17\3\3" + struct.pack(">H", length) + b"x" * length
DONE = [(C, CLIENT), (S, SERVER + b"\x14\3\3\0\1\1" + record(95)), (C, b"\x14\3\3\0\1\1" + record(53)), (S, record(251))]
dialogue("tls", "calls", 0, DONE + [(C, record(119)), (S, record(403))] * 5)
dialogue("tls", "cut-in-records", 0, DONE + [(C, record(119)[:9]), (C, record(119)[9:]), (S | CUT, record(403)[:40]), (C | LOST, record(87)), (S | AGAIN, record(87))])
dialogue("tls", "middle", 0, [(C, record(119)), (S, record(403))] * 4)
dialogue("tls", "refused", 0, [(C, CLIENT), (S, b"\x15\3\3\0\2\2\x28")] + [(C | ANEW, CLIENT), (S | CLOSES, b"\x15\3\3\0\2\2\x28")] * 3)
dialogue("tls", "split-hello", 0, [(C, CLIENT[:3]), (C, CLIENT[3:60]), (C, CLIENT[60:])])
dialogue("tls", "two-records-hello", 0, [(C, b"\x16\3\1\0\x28" + CLIENT[5:45] + b"\x16\3\1" + struct.pack(">H", len(CLIENT) - 45) + CLIENT[45:])])
dialogue("tls", "rdp", 6, [(C, b"\3\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\x08\0\3\0\0\0"), (S, b"\3\0\0\x13\x0e\xd0\0\0\x12\x34\0\2\0\x08\0\1\0\0\0"), (C, CLIENT)])
dialogue("tls", "keepalive", 0, DONE + [(C | LATER, record(34)), (S, record(34))] * 4)


def initial(version=b"\0\0\0\1", dcid=b"d" * 8, scid=b"", token=b"", length=1150):
    return (b"\xc0" + version + bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid + bytes([len(token)]) + token
            + struct.pack(">H", 0x4000 | length) + b"q" * length)


dialogue("quic", "connections", 0, [(C | ANEW, initial()), (S, b"\xc0\0\0\0\1\0\x08" + b"s" * 90), (C, b"\x40" + b"d" * 40), (S, b"\x40" + b"s" * 40)] * 3, 6)
dialogue("quic", "retry", 0, [(C, initial()), (S, b"\xf0\0\0\0\1\0\x08ssssssss" + b"t" * 32), (C, initial(token=b"t" * 20))], 6)
dialogue("quic", "version-negotiation", 0, [(C, initial(b"\x1a\x2a\x3a\x4a")), (S, b"\x80\0\0\0\0\x08dddddddd\0" + b"\0\0\0\1\x6b\x33\x43\xcf")], 6)
dialogue("quic", "version-2", 0, [(C, b"\xd0" + initial(b"\x6b\x33\x43\xcf")[1:]), (S, b"\x40" + b"s" * 30)], 6)
dialogue("quic", "long-ids", 0, [(C, initial(dcid=b"d" * 20, scid=b"s" * 20)), (C, initial(dcid=b"d" * 255, length=700)), (C, b"\xc0\0\0\0\1"), (C, b"\xc0")], 6)
dialogue("quic", "zero-rtt", 0, [(C, initial(length=300) + b"\xd0\0\0\0\1\x08dddddddd\0\x41\0" + b"z" * 256), (C | AGAIN, initial())], 6)
dialogue("quic", "as-server", 1, [(C, initial()), (S, initial(scid=b"s" * 8))], 6)

PORTS = [21, 22, 23, 110, 143, 389, 445, 1433, 3306, 3389, 5432, 5900, 6379, 587, 80, 2222]
at = lambda port: PORTS.index(port) * 2
REFUSED = {
    "ftp": (21, [(S, "220 ftp\r\n"), (C, "USER a\r\n"), (S, "331 password\r\n"), (C, "PASS b\r\n"), (S, "530 no\r\n")]),
    "ssh": (22, [(S, "SSH-2.0-x\r\n"), (C, "SSH-2.0-y\r\n"), (C, b"\0\0\1\x0c\x04\x14" + b"k" * 230), (S, b"\0\0\1\x0c\x04\x14" + b"k" * 230), (C, b"e" * 200), (S, b"e" * 220), (S | CLOSES, b"")]),
    "telnet": (23, [(S, b"\xff\xfd\x18\r\nlogin: "), (C, "a\r\n"), (S, "Password: "), (C, "b\r\n"), (S, "\r\nLogin incorrect\r\nlogin: ")]),
    "pop3": (110, [(S, "+OK ready\r\n"), (C, "USER a\r\n"), (S, "+OK\r\n"), (C, "PASS b\r\n"), (S, "-ERR [AUTH] no\r\n")]),
    "imap": (143, [(S, "* OK ready\r\n"), (C, "a1 LOGIN a b\r\n"), (S, "a1 NO [AUTHENTICATIONFAILED] no\r\n"), (C, "a2 AUTHENTICATE PLAIN\r\n"), (S, "+ \r\n"), (C, "AAAA\r\n"), (S, "a2 NO no\r\n")]),
    "ldap": (389, [(C, b"\x30\x0c\2\1\1\x60\7\2\1\3\4\0\x80\0"), (S, b"\x30\x0c\2\1\1\x61\7\x0a\1\x31\4\0\4\0")]),
    "smb": (445, [(C, b"\0\0\0\x40\xfeSMB\x40\0" + b"\0" * 58), (S, b"\0\0\0\x48\xfeSMB\x40\0\0\0\x6d\0\0\xc0\1\0" + b"\0" * 56)]),
    "tds": (1433, [(C, b"\x12\1\0\x2f" + b"\0" * 43), (S, b"\4\1\0\x2b" + b"\0" * 39), (C, b"\x10\1\0\x40" + b"\0" * 60), (S, b"\4\1\0\x20\0\0\1\0\xaa\x14\0\x18\x48\0\0\1\x0e" + b"\0" * 15)]),
    "mysql": (3306, [(S, b"\x4a\0\0\0\x0a8.0.1\0" + b"s" * 66), (C, b"\x20\0\0\1" + b"\x85\xa6\3\0" + b"\0" * 28), (S, b"\x17\0\0\2\xff\x15\4#28000Access denied")]),
    "rdp": (3389, [(C, b"\3\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\x08\0\3\0\0\0"), (S, b"\3\0\0\x13\x0e\xd0\0\0\x12\x34\0\2\0\x08\0\1\0\0\0"), (C, CLIENT), (S, SERVER)]),
    "postgresql": (5432, [(C, b"\0\0\0\x14\0\3\0\0user\0a\0\0\0\0"), (S, b"R\0\0\0\x0c\0\0\0\5salt"), (C, b"p\0\0\0\x08md5\0"), (S, b"E\0\0\0\x1eSFATAL\0C28P01\0Mno\0\0\0\0\0\0")]),
    "vnc": (5900, [(S, "RFB 003.008\n"), (C, "RFB 003.008\n"), (S, b"\1\2"), (C, b"\2"), (S, b"c" * 16), (C, b"r" * 16), (S, b"\0\0\0\1\0\0\0\2no")]),
    "redis": (6379, [(C, "*2\r\n$4\r\nAUTH\r\n$1\r\nb\r\n"), (S, "-WRONGPASS no\r\n"), (C, "AUTH a\r\n"), (S, "-ERR invalid password\r\n+OK\r\n")]),
    "submission": (587, HELLO + [(C, "AUTH PLAIN AAAA\r\n"), (S, "535 5.7.8 no\r\n"), (S | CLOSES, "421 bye\r\n")]),
    "web": (80, [(C, "GET /admin HTTP/1.1\r\nHost: a\r\nAuthorization: Basic AAAA\r\n\r\n"), (S, "HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n"), (C, "POST /login HTTP/1.1\r\nHost: a\r\n\r\n"), (S, "HTTP/1.1 403 no\r\n\r\n")]),
    "ssh-elsewhere": (2222, [(S, "SSH-2.0-x\r\n"), (C, "SSH-2.0-y\r\n"), (C, b"e" * 200), (S | CLOSES, b"e" * 220)]),
}
for name, (port, talk) in REFUSED.items():
    dialogue("login", name, at(port), talk)
    anew = [(talk[0][0] | ANEW, talk[0][1])] + talk[1:]
    dialogue("login", f"{name}-often", at(port), anew * max(2, min(30, 1500 // sum(len(said) + 2 for _, said in talk))))
dialogue("login", "taken", at(21), [(S, "220-long\r\n220 ftp\r\n"), (C, "AUTH TLS\r\n"), (S, "234 go\r\n"), (C, CLIENT)])
dialogue("login", "as-server", at(21) + 1, REFUSED["ftp"][1] * 8)


def mail(name, head, body, end="\r\n"):
    text = f"From: \"Desk\" <abuse@reporter.example>\nSubject: report\nMessage-ID: <1@reporter.example>\n{head}\n\n{body}"
    write("complaints", name, b"\0" + text.replace("\n", end).encode())


def parts(*list):
    return "".join(f"--b\n{part}\n" for part in list) + "--b--\n"


MIXED, DATE = "Content-Type: multipart/mixed; boundary=b", "Wed, 13 Jan 2027 10:00:00 +0100"
FEEDBACK = f"Feedback-Type: abuse\nVersion: 1\nUser-Agent: x\nSource-IP: 203.0.113.7\nSource-Port: 25\nArrival-Date: {DATE}\nIncidents: 2\nReported-URI: http://bad.example/\n"
SPAMMED = "Content-Type: message/rfc822\n\nReceived: from x ([203.0.113.7]) by mx\nSubject: =?utf-8?q?=C3=A9?=\nTo: a@b.example\n\nbuy\n"
ARF = parts("Content-Type: text/plain\n\nsee below", f"Content-Type: message/feedback-report\n\n{FEEDBACK}", SPAMMED)
REPORT = "Content-Type: multipart/report; report-type=feedback-report; boundary=b"
mail("arf", REPORT, ARF)
mail("arf-without-source", REPORT, ARF.replace("Source-IP: 203.0.113.7\n", "").replace("Source-Port", "Source-IP: 224.0.0.1\nSource-IP"), "\n")
mail("arf-in-base64", REPORT, parts(f"Content-Type: message/feedback-report\nContent-Transfer-Encoding: base64\n\n{base64.b64encode(FEEDBACK.encode()).decode()}", "Content-Type: text/html; charset=utf-16\nContent-Transfer-Encoding: quoted-printable\n\n<b>=\n=C3=A9</b>"))
mail("forwarded", "Content-Type: multipart/mixed; boundary=o", f"--o\nContent-Type: message/rfc822\n\nFrom: a@b.example\n{REPORT}\n\n{ARF}\n--o--\n")
FOUR = ('{"xarf_version": "4.2.0", "report_id": "7", "timestamp": "2027-01-13T09:00:00.5Z", "reporter": {"org": "R", "contact": "a@r.example", "domain": "r.example"},'
        ' "source_identifier": "203.0.113.7", "source_port": 25, "category": "%s", "type": "%s", "confidence": 0.9, "description": "d", "url": "http://bad.example/",'
        ' "evidence": [{"content_type": "message/rfc822", "payload": "U3ViamVjdDogeAoK", "hash": "sha256:00"}], "_internal": {"a": [[[[1, null, true]]]]}}')
THREE = ('{"Version": "3", "ReporterInfo": {"ReporterOrg": "R", "ReporterOrgDomain": "r.example", "ReporterOrgEmail": "a@r.example"}, "Report": {"ReportClass": "Activity",'
         ' "ReportType": "PortScan", "Date": "2027-01-13T09:00:00Z", "SourceIp": "2001:db8::7", "Samples": [{"ContentType": "text/plain", "Base64Encoded": false, "Payload": "x"}]}}')
for category, kind in [("messaging", "spam"), ("connection", "ddos"), ("content", "csam"), ("copyright", "p2p")]:
    write("complaints", f"xarf4-{kind}", b"\1" + (FOUR % (category, kind)).encode())
write("complaints", "xarf3", b"\1" + THREE.encode())
write("complaints", "xarf-array", b"\1\xef\xbb\xbf[" + THREE.encode() + b", {}, 7, " + (FOUR % ("reputation", "x")).encode() + b"]")
mail("xarf-in-mail", MIXED, parts("Content-Type: text/plain\n\nhello", f"Content-Type: application/json; name=xarf.json\n\n{THREE}"))
YAML = f"---\nReported-From: a@r.example\nCategory: abuse\nReport-Type: login-attack\nService: ssh\nDate: {DATE}\nSource-Type: ip-address\nSource: '203.0.113.7'\nPort: 22 # ssh\nReport-ID: 7\n"
mail("x-arf", f"X-XARF: PLAIN\n{MIXED}", parts("\nhello", f"Content-Type: text/plain; name=report.txt\n\n{YAML}", "Content-Type: text/plain; name=log\n\nlines"))
mail("letter", "X: y", "Brute force from 203[.]0[.]113[.]7:4711 to our server 192.0.2.1 at 2027-01-13 10:00:00 +0100, and [2001:db8::7]/64.\n-----Original Message-----\nx\n")
mail("takedown", "Content-Type: text/plain; charset=iso-8859-1", "DMCA notice: remove hxxps://bad[.]example/film within 2 (two) business days, or binnen 24 uur. Copyright infringement. Urgent.\n")
mail("acns", "X: y", "Dear all,\n<Infringement><Case><ID>7</ID></Case><Source><TimeStamp>2027-01-13T09:00:00Z</TimeStamp><IP_Address>203.0.113.7</IP_Address><Port>6881</Port></Source></Infringement>\n")
mail("page", "Content-Type: text/html", "<html><style>x</style><body>&lt;spam&gt; from <a href='http://203.0.113.7/'>203.0.113.7</a> &#233;</body></html>")
mail("deep", "".join(f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n" for level in range(12)), "spam from 203.0.113.7")
mail("encrypted", "Content-Type: multipart/encrypted; boundary=b", parts("\nx"))
