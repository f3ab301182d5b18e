"""Takes notices of Reeve, as webhook.php does: python3 webhook.py PORT. See docs/billing.md."""

import base64
import hashlib
import hmac
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST = 1 << 20


def is_authentic(secret, ident, at, signatures, body, now):
    """Whether a call is Reeve's, and not an old one (https://www.standardwebhooks.com)."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    if len(key) < 24 or not re.fullmatch("[0-9]{1,12}", at) or abs(now - int(at)) > 300:
        return False
    digest = hmac.new(key, f"{ident}.{at}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    return any(hmac.compare_digest(expected.encode(), one.encode()) for one in signatures.split(" "))


def service_of(tenant):
    """The number of a service whose tenant is `whmcs-NUMBER`."""
    found = re.fullmatch("whmcs-([1-9][0-9]{0,9})", tenant)
    return int(found[1]) if found else None


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LONGEST:
            return self.answer(413)
        body = self.rfile.read(length)
        with open(os.environ["REEVE_SECRET_FILE"]) as file:
            secret = file.read().rstrip("\n")
        shown = [self.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")]
        if not is_authentic(secret, *shown, body, time.time()):
            return self.answer(401)
        notice = json.loads(body)["data"]
        service = service_of(notice["tenant"])
        if service is not None:
            path = os.path.join(os.environ["REEVE_INBOX"], hashlib.sha256(shown[0].encode()).hexdigest())
            line = {key: notice[key] for key in ("kind", "subject", "case")}
            # The same notice may come twice.
            if not os.path.exists(path):
                with open(path + ".part", "w") as file:
                    file.write(json.dumps({"service": service, **line}) + "\n")
                os.replace(path + ".part", path)
        return self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hook).serve_forever()
