"""Services that let nobody in, on every address of this host, until killed: POP3 on 110, IMAP on 143, submission on 587, and a page behind a
password (HTTP Basic) on 8095. Each ends a session after three refusals, as real ones do.

usage: refuser.py CERTIFICATE KEY
"""

import asyncio
import sys

PAUSE, TRIES = 0.2, 3


async def lines(reader):
    while line := await asyncio.wait_for(reader.readline(), 60):
        yield line.decode("latin-1").strip()


async def pop3(reader, say):
    await say("+OK ready")
    tries = 0
    async for line in lines(reader):
        word = line[:4].upper()
        if word == "CAPA":
            await say("+OK\r\nUSER\r\n.")
        elif word == "USER":
            await say("+OK")
        elif word == "PASS":
            await asyncio.sleep(PAUSE)
            await say("-ERR [AUTH] no such name and password")
            tries += 1
        else:
            await say("+OK bye" if word == "QUIT" else "-ERR what")
        if word == "QUIT" or tries == TRIES:
            return


async def imap(reader, say):
    await say("* OK [CAPABILITY IMAP4rev1] ready")
    tries = 0
    async for line in lines(reader):
        tag, _, rest = line.partition(" ")
        word = rest.split(" ")[0].upper()
        if word == "LOGIN":
            await asyncio.sleep(PAUSE)
            await say(f"{tag} NO [AUTHENTICATIONFAILED] no such name and password")
            tries += 1
        elif word == "CAPABILITY":
            await say(f"* CAPABILITY IMAP4rev1\r\n{tag} OK done")
        elif word == "LOGOUT":
            await say(f"* BYE\r\n{tag} OK done")
        else:
            await say(f"{tag} BAD what")
        if word == "LOGOUT" or tries == TRIES:
            return


async def submission(reader, say):
    await say("220 mail.example ESMTP")
    tries, asks = 0, []
    async for line in lines(reader):
        word = line[:4].upper()
        if asks:
            asks.pop()
        elif word == "EHLO":
            await say("250-mail.example\r\n250 AUTH LOGIN PLAIN")
            continue
        elif word == "AUTH":
            parts = line.split()
            asks = [] if len(parts) > 2 else ["334 UGFzc3dvcmQ6", "334 VXNlcm5hbWU6"] if parts[1].upper() == "LOGIN" else ["334 "]
        else:
            await say("221 bye" if word == "QUIT" else "250 ok" if word in ("HELO", "RSET", "NOOP") else "530 say who you are")
            if word == "QUIT":
                return
            continue
        if asks:
            await say(asks[-1])
            continue
        await asyncio.sleep(PAUSE)
        await say("535 5.7.8 no such name and password")
        tries += 1
        if tries == TRIES:
            return


async def page(reader, say):
    while head := await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60):
        await asyncio.sleep(PAUSE)
        await say('HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="files"\r\nContent-Length: 0\r\n')
        if b"authorization" in head.lower() or b"close" in head.lower():
            return


def serving(session):
    async def serve(reader, writer):
        async def say(text):
            writer.write(text.encode() + b"\r\n")
            await writer.drain()

        try:
            await session(reader, say)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    return serve


async def main():
    for port, session in ((110, pop3), (143, imap), (587, submission), (8095, page)):
        await asyncio.start_server(serving(session), "0.0.0.0", port, backlog=256)
    print("listening", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
