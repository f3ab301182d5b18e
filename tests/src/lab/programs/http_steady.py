"""Calls a service over one connection at a steady pace; the last line says how many calls were answered.

usage: http_steady.py HOST PORT CALLS SECONDS_BETWEEN
"""

import http.client
import sys
import time

host, port, calls, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
connection = http.client.HTTPConnection(host, port, timeout=5)
begin = time.monotonic()
answered = 0
for number in range(min(calls, 100)):
    time.sleep(max(0.0, begin + number * step - time.monotonic()))
    connection.request("GET", "/steady")
    answer = connection.getresponse()
    answer.read()
    answered += answer.status == 200
print(f"answered {answered}")
