"""The way to a controller for a program that has the protocol files and nothing else of Reeve.

`generate` has `protoc` and gRPC's own plugin make Python of the files; `House` knows the folder with certificates, opens channels as
this or that caller, and asks over HTTP by curl. Nothing here is taken from Reeve's programs or libraries.
"""

import json
import pathlib
import queue
import subprocess
import sys
import threading
import time

import grpc

# Nothing that is waited for takes longer, or it does not come.
PATIENCE = 20


def generate(protocol, into):
    """Makes Python modules of every protocol file, and lets them be imported."""
    into.mkdir(parents=True, exist_ok=True)
    files = sorted(str(path.relative_to(protocol)) for path in protocol.rglob("*.proto"))
    plugin = subprocess.run(["which", "grpc_python_plugin"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(
        ["protoc", f"--proto_path={protocol}", f"--python_out={into}", f"--grpc_python_out={into}",
         f"--plugin=protoc-gen-grpc_python={plugin}", *files],
        check=True,
    )
    sys.path.insert(0, str(into))
    return files


class House:
    """A controller, and who may be somebody before it."""

    def __init__(self, folder, grpc_at, http_at):
        self.folder, self.grpc_at, self.http_at = pathlib.Path(folder), grpc_at, http_at
        self.authority = (self.folder / "ca.crt").read_bytes()

    def channel(self, certificate=None, key=None):
        """A channel that shows a certificate, or nothing."""
        credentials = grpc.ssl_channel_credentials(self.authority, key, certificate)
        return grpc.secure_channel(self.grpc_at, credentials)

    def person(self, name):
        """A channel as somebody of whom `init` made a certificate."""
        own = self.folder / "operators" / name
        return self.channel(own.with_suffix(".crt").read_bytes(), own.with_suffix(".key").read_bytes())

    def curl(self, path, *more, person=None, token=None):
        """What curl is to be called with."""
        curl = ["curl", "--silent", "--show-error", "--cacert", str(self.folder / "ca.crt")]
        if person:
            own = self.folder / "operators" / person
            curl += ["--cert", f"{own}.crt", "--key", f"{own}.key"]
        if token:
            curl += ["--header", f"Authorization: Bearer {token}"]
        return [*curl, *more, f"https://{self.http_at}{path}"]

    def get(self, path, **who):
        """The status and the JSON of an answer."""
        asked = self.curl(path, "--max-time", str(PATIENCE), "--write-out", "\n%{http_code}", **who)
        body, status = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.rsplit("\n", 1)
        return int(status), json.loads(body)


class Inbox:
    """What comes on a stream, taken by whoever waits for it."""

    def __init__(self, messages):
        self._queue = queue.Queue()
        threading.Thread(target=self._read, args=(messages,), daemon=True).start()

    def _read(self, messages):
        try:
            for message in messages:
                self._queue.put(message)
        except grpc.RpcError as error:
            self._queue.put(error)

    def until(self, what, holds):
        """The first message that is what is waited for; those before it are let go."""
        seen, ends = [], time.monotonic() + PATIENCE
        while True:
            try:
                message = self._queue.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{what} did not come, but: {seen}") from None
            if isinstance(message, grpc.RpcError):
                raise AssertionError(f"{what} did not come: {message.code()}: {message.details()}")
            found = holds(message)
            if found:
                return found
            seen.append(str(message)[:300])


class Events(Inbox):
    """Server-sent events that curl follows, as pairs of a name and JSON."""

    def __init__(self, command):
        self._curl = subprocess.Popen([command[0], "--no-buffer", *command[1:]], stdout=subprocess.PIPE, text=True)
        super().__init__(self._events(self._curl.stdout))

    @staticmethod
    def _events(lines):
        name = None
        for line in lines:
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                yield name, json.loads(value)

    def close(self):
        """Stops following."""
        self._curl.kill()
        self._curl.wait()
