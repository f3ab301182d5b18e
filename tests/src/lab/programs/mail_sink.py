"""Mail exchangers for a whole internet: port 25 of every address of this host, until killed.

The second octet of the address that was called says how it behaves (IPv6: as 25):
25 takes everything, 26 knows no recipient, 27 puts each recipient off once (greylisting), 28 offers STARTTLS.
Each message taken is a line: the exchanger's address, the number of recipients, `tls` or `plain`.

usage: mail_sink.py CERTIFICATE KEY
"""

import asyncio
import ipaddress
import ssl
import sys

KNOWS_NOBODY, GREYLISTS, OFFERS_TLS = 26, 27, 28
seen = set()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])


def called(writer):
    address = ipaddress.ip_address(writer.get_extra_info("sockname")[0].split("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    manner = address.packed[1] if address.version == 4 else 25
    return str(address), manner


async def session(reader, writer):
    address, manner = called(writer)
    recipients, tls = [], "plain"

    def say(line):
        writer.write(line.encode() + b"\r\n")

    say("220 mx.example ESMTP")
    while line := await asyncio.wait_for(reader.readline(), 30):
        word = line.decode("latin-1").strip()
        verb = word.upper().split(":")[0].split(" ")[0]
        if verb in ("EHLO", "HELO"):
            offers = ["mx.example", "PIPELINING", "8BITMIME"]
            if manner == OFFERS_TLS and tls == "plain":
                offers.append("STARTTLS")
            for place, offer in enumerate(offers):
                say(("250 " if place + 1 == len(offers) else "250-") + offer)
        elif verb == "STARTTLS" and manner == OFFERS_TLS:
            say("220 go ahead")
            await writer.drain()
            await writer.start_tls(context)
            tls, recipients = "tls", []
        elif verb == "RCPT":
            key = (address, word.lower())
            if manner == KNOWS_NOBODY:
                say("550 5.1.1 no such user")
            elif manner == GREYLISTS and key not in seen:
                seen.add(key)
                say("451 4.7.1 come again later")
            else:
                recipients.append(word)
                say("250 ok")
        elif verb == "DATA" and not recipients:
            say("554 5.5.1 no valid recipients")
        elif verb == "DATA":
            say("354 go ahead")
            await writer.drain()
            while (await asyncio.wait_for(reader.readline(), 30)) not in (b".\r\n", b""):
                pass
            say("250 2.0.0 queued")
            print(address, len(recipients), tls, flush=True)
            recipients = []
        elif verb in ("MAIL", "RSET"):
            recipients = []
            say("250 ok")
        elif verb == "NOOP":
            say("250 ok")
        elif verb == "QUIT":
            say("221 bye")
            break
        else:
            say("502 unknown")
        # What was pipelined is answered in one go, as servers do.
        if not reader._buffer:
            await writer.drain()


async def serve(reader, writer):
    try:
        await session(reader, writer)
        await writer.drain()
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


async def main():
    await asyncio.start_server(serve, "0.0.0.0", 25, backlog=512)
    await asyncio.start_server(serve, "::", 25, backlog=512)
    print("listening", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
