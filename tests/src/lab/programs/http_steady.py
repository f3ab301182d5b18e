"""Calls a service at a steady pace, over one connection or each time over a new one; the last line says how many were answered.

usage: http_steady.py http|https HOST PORT CALLS SECONDS_BETWEEN one|each
"""

import http.client
import ssl
import sys
import time

scheme, host, port, calls, step, connections = sys.argv[1:]
context = ssl._create_unverified_context()


def connect():
    if scheme == "https":
        return http.client.HTTPSConnection(host, int(port), timeout=5, context=context)
    return http.client.HTTPConnection(host, int(port), timeout=5)


connection = connect()
begin = time.monotonic()
answered = 0
for number in range(min(int(calls), 100)):
    time.sleep(max(0.0, begin + number * float(step) - time.monotonic()))
    connection.request("GET", "/steady")
    answer = connection.getresponse()
    answer.read()
    answered += answer.status == 200
    if connections == "each":
        connection.close()
        connection = connect()
print(f"answered {answered}")
