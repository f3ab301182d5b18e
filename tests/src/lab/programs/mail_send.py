"""Sends numbered messages by SMTP, a bounded number for a bounded time.

Message N goes to the server N modulo the number of servers, for RECIPIENT with {n} replaced by N, over a connection of its own
from the source N modulo the number of sources. One that cannot be delivered is tried again until `--seconds` are over.
With --spread each is longer than the text by another number of bytes below that. The last line says how many were taken, refused for good, and neither.

usage: mail_send.py --server ADDRESS.. [--source ADDRESS..] --recipient PATTERN --messages N
                    [--threads N] [--seconds N] [--patience SECONDS] [--body TEXT] [--tls]
                    [--spread BYTES]
"""

import argparse
import queue
import random
import smtplib
import ssl
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("--server", nargs="+", required=True)
parser.add_argument("--source", nargs="*", default=[])
parser.add_argument("--recipient", required=True)
parser.add_argument("--sender", default="news@origin.example")
parser.add_argument("--messages", type=int, required=True)
parser.add_argument("--threads", type=int, default=4)
parser.add_argument("--seconds", type=float, default=30)
parser.add_argument("--patience", type=float, default=10)
parser.add_argument("--body", default="hello")
parser.add_argument("--tls", action="store_true")
parser.add_argument("--spread", type=int, default=0)
asked = parser.parse_args()

end = time.monotonic() + asked.seconds
todo = queue.Queue()
for number in range(min(asked.messages, 1000)):
    todo.put(number)
taken, refused, left = [], [], []


def send(number):
    server = asked.server[number % len(asked.server)]
    source = (asked.source[number % len(asked.source)], 0) if asked.source else None
    recipient = asked.recipient.replace("{n}", str(number))
    text = f"From: <{asked.sender}>\r\nTo: <{recipient}>\r\nSubject: {number}\r\n\r\n{asked.body}\r\n"
    if asked.spread:
        longer = random.Random(recipient).randrange(asked.spread)
        text += ("x" * 70 + "\r\n") * (longer // 72)
    with smtplib.SMTP(server, 25, "origin.example", asked.patience, source) as session:
        if asked.tls:
            # Nobody vouches for the lab's servers.
            session.starttls(context=ssl._create_unverified_context())
        session.sendmail(asked.sender, [recipient], text)


def work():
    while True:
        try:
            number = todo.get_nowait()
        except queue.Empty:
            return
        if time.monotonic() >= end:
            left.append(number)
            continue
        try:
            send(number)
            taken.append(number)
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            (refused if code >= 500 else left).append(number)
        except (OSError, smtplib.SMTPException):
            todo.put(number)
            time.sleep(0.1)


threads = [threading.Thread(target=work) for _ in range(min(asked.threads, 32))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"taken {len(taken)} refused {len(refused)} left {len(left)}")
