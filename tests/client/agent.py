"""An agent as somebody else would write it: its own key, a certificate for a token, a stream, reports and obedience."""

import base64
import datetime
import hashlib
import queue
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wire import Inbox


def request_of_a_new_key(name):
    """A key that never leaves here (PEM), and a request for a certificate of it (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    encoding = serialization.Encoding
    secret = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret, request.public_bytes(encoding.DER)


def holder(certificate):
    """Whom a certificate (PEM) names, as a URI, and how many days are left of it."""
    read = x509.load_pem_x509_certificate(certificate)
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    days = (read.not_valid_after - datetime.datetime.utcnow()).days
    return names.get_values_for_type(x509.UniformResourceIdentifier), days


def is_pinned(token, authority):
    """Whether the authority (PEM) is the one that an enrolment token names behind its dot."""
    der = x509.load_pem_x509_certificate(authority).public_bytes(serialization.Encoding.DER)
    pin = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
    return token.partition(".")[2] == pin


class Agent:
    """One node's stream."""

    def __init__(self, channel, node, epoch):
        from reeve.agent.v1 import agent_service_pb2 as wire
        from reeve.agent.v1 import agent_service_pb2_grpc as service

        self.wire, self.node, self._out = wire, node, queue.Queue()
        self.say(hello=wire.Hello(
            node=node, agent_version="independent", epoch=epoch,
            protocol_version=wire.ProtocolVersion(major=1, minor=6),
        ))
        self._call = service.AgentServiceStub(channel).Connect(iter(self._out.get, None))
        self._inbox = Inbox(self._call)

    def say(self, **message):
        """Sends a message."""
        self._out.put(self.wire.ConnectRequest(**message))

    def hear(self, kind):
        """The next message of a kind; what is pinged in between is answered."""
        def holds(message):
            if message.HasField("ping"):
                self.say(pong=self.wire.Pong(nonce=message.ping.nonce))
            return getattr(message, kind) if message.HasField(kind) else None
        return self._inbox.until(kind, holds)

    def order(self, kind):
        """The next order of a kind."""
        while True:
            order = self.hear("order")
            if order.HasField(kind):
                return getattr(order, kind)

    def tell(self, sequence, **report):
        """Sends a report under a number."""
        from reeve.agent.v1 import report_pb2

        self.say(report=self.wire.SequencedReport(sequence=sequence, report=report_pb2.Report(**report)))

    def report(self, sequence, **report):
        """The same, and waits until the controller has it on disk."""
        self.tell(sequence, **report)
        while self.hear("ack").sequence < sequence:
            pass

    def did(self, order):
        """Says that an order is carried out."""
        from reeve.agent.v1 import order_pb2

        result = order_pb2.OrderResult(id=order, done=order_pb2.OrderResult.Done())
        result.time.FromNanoseconds(time.time_ns())
        self.say(order_result=result)

    def hang_up(self):
        """Ends the stream."""
        self._out.put(None)
        self._call.cancel()
