"""A service that answers each datagram of any source with many times as much, as open reflectors do: reflector.py PORT BYTES PACKETS SECONDS."""
import socket
import sys
import time

port, size, packets, seconds = (int(argument) for argument in sys.argv[1:])
service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
service.bind(("0.0.0.0", port))
service.settimeout(0.5)
print("listening", file=sys.stderr, flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        _, asker = service.recvfrom(2048)
    except TimeoutError:
        continue
    for _ in range(packets):
        service.sendto(b"x" * size, asker)
