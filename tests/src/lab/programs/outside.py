"""The internet that ordinary hosts meet: outside.py SECONDS. Names and datagrams are answered from the address that was asked, files are
served by FTP, and those who were visited on a port of peer-to-peer software call back."""
import selectors
import socket
import struct
import sys
import threading
import time

seconds = int(sys.argv[1])
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO = 8, 49, 50
chooser = selectors.DefaultSelector()


def udp(port, answer):
    """Serves a port on every address; `answer` makes the datagrams that go back."""
    service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    service.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    service.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    service.bind(("0.0.0.0", port))

    def read():
        data, ancillary, _, peer = service.recvmsg(2048, 256)
        for level, kind, info in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                index, own, _ = struct.unpack("I4s4s", info)
                info = struct.pack("I4s4s", 0, own, own)
                for said in answer(data):
                    service.sendmsg([said], [(level, kind, info)], 0, peer)

    chooser.register(service, selectors.EVENT_READ, read)


def tcp(port, serve):
    service = socket.create_server(("0.0.0.0", port), backlog=256)

    def read():
        client, _ = service.accept()
        threading.Thread(target=guarded, args=(serve, client), daemon=True).start()

    chooser.register(service, selectors.EVENT_READ, read)


def guarded(serve, client):
    client.settimeout(20)
    try:
        with client:
            serve(client)
    except OSError:
        pass


def ftp(client):
    say = lambda text: client.sendall(text.encode() + b"\r\n")
    say("220 files")
    data = None
    for line in client.makefile("r", encoding="latin-1"):
        word = line.split()[0].upper() if line.split() else ""
        if word == "PASV":
            data = socket.create_server((client.getsockname()[0], 0))
            high, low = divmod(data.getsockname()[1], 256)
            say("227 Entering Passive Mode (%s,%d,%d)" % (client.getsockname()[0].replace(".", ","), high, low))
        elif word in ("RETR", "LIST") and data:
            say("150 here it comes")
            with data.accept()[0] as taker:
                taker.sendall(b"f" * 20000)
            data.close()
            say("226 done")
        elif word == "QUIT":
            say("221 bye")
            return
        else:
            say({"USER": "331 password", "PASS": "230 welcome"}.get(word, "200 ok"))


def peer(client):
    """Shakes hands, and calls back on the port that the other listens on: that is what strangers do who heard of it."""
    said = client.recv(512)
    client.sendall(said or b"hello")
    host, port = client.getpeername()
    with socket.socket() as back:
        back.settimeout(3)
        back.bind((client.getsockname()[0], 0))
        back.connect((host, port))
        back.sendall(b"heard of you")
        back.recv(64)
    client.recv(512)


def page(client):
    while client.recv(4096):
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"w" * 3000)


udp(53, lambda data: [data[:2] + b"\x81\x80" + data[4:] + b"\xc0\x0c\0\1\0\1\0\0\1\0\0\4\x14\1\2\3"])
udp(443, lambda data: [b"q" * 1200, b"q" * 400])
udp(51820, lambda data: [data])
for port in (6881, 30303, 4001):
    udp(port, lambda data: [b"d1:r" + data[:200]])
    tcp(port, peer)
tcp(21, ftp)
tcp(443, page)
tcp(8448, page)
print("listening", file=sys.stderr, flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    for key, _ in chooser.select(0.5):
        try:
            key.data()
        except OSError:
            pass
