"""Sends complaints as programs do that have no mail server of their own, and prints what came of each as JSON."""

import json
import smtplib
import sys
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

host, port = sys.argv[1], int(sys.argv[2])
TO = "abuse@example.net"


def letter(number, source, text=""):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ann <ann@reader.example>", TO, "portscan"
    mail["Message-ID"] = f"<{number}@reader.example>"
    mail.set_content(f"A portscan came from {source}. Case {number}.\n{text}")
    return mail


def feedback(number, source):
    mail = MIMEMultipart("report", **{"report-type": "feedback-report"})
    mail["From"], mail["To"], mail["Subject"] = "fbl@isp.example", TO, "FW: spam"
    mail["Message-ID"] = f"<{number}@isp.example>"
    mail.attach(MIMEText("This is spam.\n"))
    part = MIMEApplication("", "feedback-report", lambda part: None)
    part.set_type("message/feedback-report")
    part.set_payload(f"Feedback-Type: abuse\nUser-Agent: fbl/1\nVersion: 1\nSource-IP: {source}\n")
    mail.attach(part)
    return mail


def tried(what, act):
    try:
        act()
        print(json.dumps({"what": what, "code": 250}))
    except smtplib.SMTPRecipientsRefused as refused:
        print(json.dumps({"what": what, "code": next(iter(refused.recipients.values()))[0]}))
    except smtplib.SMTPResponseException as refused:
        print(json.dumps({"what": what, "code": refused.smtp_code, "says": refused.smtp_error.decode()}))


if sys.argv[3:] == ["one"]:
    with smtplib.SMTP(host, port, timeout=60) as server:
        tried("letter", lambda: server.send_message(letter(1, "203.0.113.1")))
    sys.exit()

with smtplib.SMTP(host, port, timeout=60) as server:
    tried("letter", lambda: server.send_message(letter(1, "203.0.113.1")))
    tried("again", lambda: server.send_message(letter(1, "203.0.113.1")))
    tried("feedback", lambda: server.sendmail("", [TO], feedback(2, "203.0.113.2").as_string()))
    # Lines that begin with dots, and one that is nothing else.
    tried("dots", lambda: server.send_message(letter(3, "203.0.113.3", "..\n.\n.x\n")))
    tried("bytes", lambda: server.sendmail("", [TO], "From: jörg@b.example\r\nSubject: ä\r\n\r\nspam from 203.0.113.4\r\n".encode(),
                                           mail_options=["BODY=8BITMIME", "SMTPUTF8"]))
    tried("nobody", lambda: server.sendmail("a@b.example", ["victim@elsewhere.example"], "Subject: x\r\n\r\nx\r\n"))
    tried("several", lambda: server.sendmail("a@b.example", ["victim@elsewhere.example", TO], letter(5, "203.0.113.5").as_string()))
    tried("announced", lambda: server.sendmail("a@b.example", [TO], letter(6, "203.0.113.6", "x" * 11_000_000).as_string()))
    server.rset()
    tried("large", lambda: server.sendmail("a@b.example", [TO], letter(7, "203.0.113.7", ("x" * 70 + "\n") * 60_000).as_string()))
    print(json.dumps({"what": "vrfy", "code": server.verify("root")[0]}))
    print(json.dumps({"what": "help", "code": server.docmd("HELP")[0]}))
with smtplib.SMTP(host, port, timeout=60) as server:
    # The library leaves the line ends of such a part as they are.
    tried("bare", lambda: server.send_message(feedback(2, "203.0.113.2")))
with smtplib.SMTP(host, port, timeout=60) as server:
    # One who does not say how large it is.
    server.helo("reader.example")
    tried("unannounced", lambda: server.sendmail("a@b.example", [TO], letter(8, "203.0.113.8", ("x" * 70 + "\n") * 160_000).as_string()))
    tried("nobody's", lambda: server.send_message(letter(9, "192.0.2.9")))
