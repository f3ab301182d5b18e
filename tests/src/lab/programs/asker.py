"""Asks a service from one address at a steady pace and heeds no answer: asker.py SOURCE DESTINATION PORT RATE SECONDS."""
import socket
import sys
import time

source, destination, port, rate, seconds = sys.argv[1], sys.argv[2], *(int(argument) for argument in sys.argv[3:])
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
asker.bind((source, 40000))
start = time.monotonic()
for number in range(rate * seconds):
    asker.sendto(b"\0\1\0\0\0\1\0\0stats\r\n", (destination, port))
    time.sleep(max(0, start + number / rate - time.monotonic()))
time.sleep(0.5)
