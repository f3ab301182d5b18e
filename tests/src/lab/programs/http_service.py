"""A small HTTP/1.1 service with keep-alive on every address of this host, port 8090 plain and 8443 with TLS, until killed.

It thinks for 60 ms over each request. Each request is a line: the address that was called, and the time since the epoch.

usage: http_service.py CERTIFICATE KEY
"""

import asyncio
import ssl
import sys
import time

BODY = b'{"ok": true, "rows": [' + b", ".join(b"%d" % number for number in range(120)) + b"]}\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(BODY)
THINKS = 0.06


async def serve(reader, writer):
    try:
        address = writer.get_extra_info("sockname")[0]
        while head := await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60):
            print(address, f"{time.time():.3f}", flush=True)
            await asyncio.sleep(THINKS)
            asked = head.lower()
            # A client of HTTP/1.0 says that it wants to keep the connection, and wants to hear that it may.
            keeps = b"connection: keep-alive" in asked
            writer.write(HEAD + (b"Connection: keep-alive\r\n" if keeps else b"") + b"\r\n" + BODY)
            await writer.drain()
            is_old = asked.split(b"\r\n", 1)[0].endswith(b"http/1.0")
            if b"connection: close" in asked or (is_old and not keeps):
                break
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    await asyncio.start_server(serve, "0.0.0.0", 8090, backlog=512)
    await asyncio.start_server(serve, "0.0.0.0", 8443, backlog=512, ssl=context)
    print("listening", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
