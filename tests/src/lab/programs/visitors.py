"""Those who come from outside to ordinary hosts: visitors.py TIMESERVER WEBSERVER SECONDS."""
import random
import socket
import sys
import time

timeserver, web, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
chance = random.Random(7)
askers = []
for number in range(400):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("20.%d.%d.%d" % (chance.randrange(100, 200), chance.randrange(256), chance.randrange(1, 255)), 0))
    one.setblocking(False)
    askers.append(one)
start, number = time.monotonic(), 0
while time.monotonic() - start < seconds:
    number += 1
    try:
        askers[number % len(askers)].sendto(b"\x23" + b"\0" * 47, (timeserver, 123))
    except OSError:
        pass
    if number % 20 == 0:
        with socket.socket() as one:
            one.settimeout(0.5)
            try:
                one.bind(("20.%d.3.%d" % (chance.randrange(100, 200), chance.randrange(1, 255)), 0))
                one.connect((web, 80))
                if number % 60:
                    one.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    one.recv(4096)
            except OSError:
                pass
    time.sleep(max(0, start + number / 200 - time.monotonic()))
