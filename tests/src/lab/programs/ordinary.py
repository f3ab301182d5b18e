"""What ordinary hosts do: ordinary.py ROLE ADDRESS PREFIX6 SECONDS. Sockets of the kernel's, many in one process; nothing here is crafted."""
import errno
import random
import selectors
import socket
import sys
import threading
import time

role, own, prefix6, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
chance = random.Random(role)
end = time.monotonic() + seconds


def going_on():
    return time.monotonic() < end


def rest(pause):
    time.sleep(max(0, min(pause, end - time.monotonic())))


def alive(net="20"):
    return "%s.%d.%d.%d" % (net, chance.randrange(30, 60), chance.randrange(256), chance.randrange(1, 255))


def dead():
    return alive("185")


def call(address, said=b"", source=None, patience=5.0, answers=1):
    """A connection in which something is said and heard, as far as it comes; whether it was answered."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(patience)
        try:
            if source:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                one.bind(source)
            one.connect(address)
            if said:
                one.sendall(said)
                for _ in range(answers):
                    one.recv(65536)
            return True
        except OSError:
            return False


def at_once(number, work):
    """So many threads at the same work until the end."""
    threads = [threading.Thread(target=work, args=(each,), daemon=True) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()) + 6)


GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
QUERY = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\7example\0\0\1\0\1"


def resolver():
    """Fifteen questions a second to as many servers as there are zones, each from a port of its own; a few servers are gone."""
    zones = [alive() for _ in range(700)] + [dead() for _ in range(40)]
    while going_on():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(0.3)
            one.sendto(QUERY, (chance.choice(zones), 53))
            try:
                one.recv(2048)
            except OSError:
                pass
        rest(0.06)


def mail():
    """A newsletter: a message every two seconds to many exchangers; some put it off, a few are gone and tried again."""
    gone = [dead() for _ in range(4)]
    number = 0
    while going_on():
        number += 1
        exchanger = chance.choice(gone) if number % 10 == 0 else "20.25.0.%d" % (1 + number % 60)
        threading.Thread(target=deliver, args=(exchanger, number), daemon=True).start()
        rest(2)


def deliver(exchanger, number):
    try:
        with socket.create_connection((exchanger, 25), 20) as one:
            heard = one.makefile("rb")
            heard.readline()
            for line in ("EHLO a.example", "MAIL FROM:<news@a.example>", "RCPT TO:<r%d@b%d.example>" % (number, number % 60), "DATA"):
                one.sendall(line.encode() + b"\r\n")
                while heard.readline()[3:4] == b"-":
                    pass
            one.sendall(b"Subject: news %d\r\n\r\nhello\r\n.\r\nQUIT\r\n" % number)
            heard.read()
    except OSError:
        pass


def blocked():
    """A mail server whose provider lets no mail out: twenty deliverers, each with patience, and a queue for forty sites."""
    sites = ["20.25.1.%d" % (1 + number) for number in range(40)]

    def deliverer(each):
        rest(each * 0.2)
        while going_on():
            call((chance.choice(sites), 25), patience=30)
            rest(1)

    at_once(20, deliverer)


def monitor():
    """Two hundred machines looked after, each once a minute; five of them are down, one has the wrong port."""
    hosts = ["20.92.0.%d" % (1 + number) for number in range(194)] + [dead() for _ in range(5)]

    def watcher(each):
        for host in hosts[each::8] * 1000:
            if not going_on():
                return
            call((host, 8080), GET, patience=2)
            call((host, 9 if each == 0 and host == hosts[0] else 80), GET, patience=2)
            rest(0.6)

    at_once(8, watcher)


def browser():
    """Pages with things from fifteen places each; IPv6 is broken, which both versions at once hide (RFC 8305)."""
    while going_on():
        for _ in range(15):
            host = chance.randrange(1, 250)
            try_both = [("2001:db8:fdea::%x" % host, 80), ("20.80.1.%d" % host, 80)]
            for address in try_both:
                threading.Thread(target=call, args=(address, GET), daemon=True).start()
                time.sleep(0.05)
        rest(4)


def tunnels():
    """QUIC and WireGuard: as much as goes, both ways."""
    ones = []
    for port, size in ((443, 1200), (51820, 1300)):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setblocking(False)
        one.connect(("20.44.0.%d" % (port % 200), port))
        ones.append((one, b"t" * size))
    while going_on():
        for one, said in ones:
            for _ in range(8):
                try:
                    one.send(said)
                    one.recv(2048)
                except OSError:
                    pass
        time.sleep(0.004)


def timeserver():
    """Answers whoever asks for the time; who asks comes from outside."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((own, 123))
    one.settimeout(0.5)
    while going_on():
        try:
            _, asker = one.recvfrom(512)
            one.sendto(b"\x24\2\3" + b"t" * 45, asker)
        except OSError:
            pass


def files():
    """One file after the other by passive FTP: each has a port of its own."""
    while going_on():
        try:
            with socket.create_connection(("20.21.0.1", 21), 5) as one:
                one.settimeout(5)
                heard = one.makefile("r")
                heard.readline()
                for line in ("USER a", "PASS b"):
                    one.sendall(line.encode() + b"\r\n")
                    heard.readline()
                for _ in range(40):
                    one.sendall(b"PASV\r\n")
                    numbers = heard.readline().split("(")[1].split(")")[0].split(",")
                    one.sendall(b"RETR x\r\n")
                    with socket.create_connection(("20.21.0.1", int(numbers[4]) * 256 + int(numbers[5])), 5) as data:
                        heard.readline()
                        while data.recv(65536):
                            pass
                    heard.readline()
                    rest(0.5)
                one.sendall(b"QUIT\r\n")
        except (OSError, IndexError):
            rest(1)


def retries():
    """A database that is gone, asked every second; and one whose port is closed, by a few workers."""
    at_once(4, lambda each: [call(("185.7.7.7" if each == 0 else "20.66.6.7", 5432), patience=1) or rest(1) for _ in iter(going_on, False)])


def swarm(port, share):
    """Peers of peer-to-peer software: one port for all, most of those heard of are gone, and strangers call back."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((own, port))
    listener.listen(64)
    listener.settimeout(0.5)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((own, port))
    datagrams.setblocking(False)

    def host():
        return alive() if chance.random() < share else dead()

    def listen():
        while going_on():
            try:
                with listener.accept()[0] as guest:
                    guest.settimeout(2)
                    guest.recv(512)
                    guest.sendall(b"welcome")
            except OSError:
                pass

    def discover():
        while going_on():
            far = port if port != 6881 or chance.random() < 0.3 else chance.randrange(1025, 65000)
            try:
                datagrams.sendto(b"d1:ad2:id20:" + b"i" * 60, (host(), far))
                datagrams.recv(2048)
            except OSError:
                pass
            rest(0.1)

    def dial(each):
        while going_on():
            far = port if port != 6881 or chance.random() < 0.3 else chance.randrange(1025, 65000)
            call((host(), far), b"\x13BitTorrent protocol" + b"h" * 48, source=(own, port) if port == 6881 else None, patience=4, answers=1)
            rest(3)

    threading.Thread(target=listen, daemon=True).start()
    threading.Thread(target=discover, daemon=True).start()
    at_once(6, dial)


def federation():
    """A server of a federation: eighty others, fifteen of them gone for good."""
    others = [alive() for _ in range(65)] + [dead() for _ in range(15)]

    def deliverer(each):
        while going_on():
            call((chance.choice(others), 443 if each % 2 else 8448), GET, patience=8)
            rest(2)

    at_once(6, deliverer)


def storm():
    """Fifty containers, each with an address of its own, that all begin at once and dial what they need until it is there."""
    needs = [("2001:db8:f000::%x" % host, port) for host, port in ((1, 5432), (2, 6379), (3, 5672), (4, 8080), (5, 80), (6, 9092))]

    def container(each):
        source = ("%sc:%x" % (prefix6, each + 1), 0)
        pause = 0.5
        while going_on():
            for need in needs:
                call(need, GET, source=source, patience=3)
            rest(pause)
            pause = min(pause * 2, 20)

    at_once(50, container)


def telemetry():
    """Numbers and lines for a collector that never answers."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while going_on():
        for _ in range(6):
            try:
                one.sendto(b"web.requests:1|c\nweb.time:320|ms", ("104.8.1.25", 8125))
                one.sendto(b"<134>1 - web app - - - a line of a log", ("104.8.1.26", 514))
            except OSError:
                pass
        rest(0.03)


def web():
    """Serves pages; whoever comes, comes from outside, and some of it is a scanner."""
    import http.server

    server = http.server.ThreadingHTTPServer((own, 80), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rest(seconds)


def downloads():
    """Packages from a few mirrors, one after the other over few connections, and backups to one place."""
    while going_on():
        with socket.socket() as one:
            one.settimeout(5)
            try:
                one.connect(("20.80.0.%d" % chance.randrange(1, 6), 443))
                for _ in range(120):
                    one.sendall(GET)
                    one.recv(65536)
            except OSError:
                pass
        rest(0.3)


ROLES = {
    "resolver": resolver, "mail": mail, "blocked": blocked, "monitor": monitor, "browser": browser, "tunnels": tunnels,
    "timeserver": timeserver, "files": files, "retries": retries, "bittorrent": lambda: swarm(6881, 0.35),
    "ethereum": lambda: swarm(30303, 0.4), "ipfs": lambda: swarm(4001, 0.4), "federation": federation, "storm": storm,
    "telemetry": telemetry, "web": web, "downloads": downloads,
}
ROLES[role]()
