# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server that speaks RPC-with-TLS (RFC 9289): Python's ssl module in front of a real one.

A process of its own, so that what stands on a mount never waits for it:

    relay = TlsRelay(path, port, greet="tls", cert=..., key=..., client_ca=...)
    relay.tell(greet="plain")     how the next connections are greeted
    relay.tell(cut=True)          ends those that there are
    relay.tell(damage=True)       changes a byte of what goes to the next client to send something
    relay.seen()                  how each connection was: a list of dicts

Greetings:
    tls      as it should be
    forward  without TLS: all goes to the server, the question included
    refuse   no TLS: AUTH_ERROR
    no-verf  no TLS: an answer whose verifier is empty
    inject   words of plain text behind the answer
    plain    the answer, then plain RPC instead of a handshake
    mute     the answer, then nothing
    cut      the answer, then half of the handshake
    slow     the handshake in small pieces
    silent   no answer at all
"""

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

AUTH_TLS = 7
CHUNK = 1 << 18
STARTTLS = struct.pack(">IIII", 1, 0, 0, 8) + b"STARTTLS" + struct.pack(">I", 0)
GREETINGS = {
    "tls": STARTTLS, "inject": STARTTLS, "plain": STARTTLS, "mute": STARTTLS, "cut": STARTTLS,
    "slow": STARTTLS,
    "refuse": struct.pack(">IIII", 1, 1, 1, 1),
    "no-verf": struct.pack(">IIIII", 1, 0, 0, 0, 0),
}


class TlsRelay:
    """The side of the test."""

    def __init__(self, path, port, **settings):
        self.path = path
        self.settings = {"path": path, "port": port, "greet": "tls", **settings}

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), json.dumps(self.settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, **what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def tell(self, **what):
        self.ask(**what)

    def seen(self):
        return self.ask()


class Connection(threading.Thread):
    def __init__(self, relay, client):
        super().__init__(daemon=True)
        self.relay, self.client, self.server = relay, client, None
        self.greet = relay.settings["greet"]
        self.seen = {"greet": self.greet, "calls": 0, "open": True}

    def run(self):
        try:
            self.carry()
        except (OSError, ssl.SSLError, ValueError) as e:
            self.seen["error"] = str(e)
        finally:
            self.seen["open"] = False
            for s in (self.client, self.server):
                if s:
                    s.close()

    def end(self):
        for s in (self.client, self.server):
            if s:
                with contextlib.suppress(OSError):  # one that has ended by itself
                    s.shutdown(socket.SHUT_RDWR)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            block = self.client.recv(n - len(data))
            if not block:
                raise ConnectionError("closed before it asked for TLS")
            data += block
        return data

    def carry(self):
        mark = self.exactly(4)
        call = self.exactly(struct.unpack(">I", mark)[0] & 0x7fffffff)
        fields = struct.unpack(">10I", call[:40])
        self.seen["probe"] = fields[1:]
        if self.greet == "silent":
            time.sleep(3600)
        self.server = socket.create_connection(("127.0.0.1", self.relay.settings["port"]))
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.greet == "forward":
            self.server.sendall(mark + call)
            return self.pump_plain()
        answer = struct.pack(">I", fields[0]) + GREETINGS[self.greet]
        self.client.sendall(struct.pack(">I", 0x80000000 | len(answer)) + answer
                            + (b"HELLO" if self.greet == "inject" else b""))
        if self.greet == "mute":
            time.sleep(3600)
        if self.greet == "plain":
            self.client.recv(CHUNK)
            self.client.sendall(struct.pack(">I", 0x80000018) + bytes(24))
            time.sleep(3600)
        return self.pump_tls()

    def pump_plain(self):
        pairs = {self.client: self.server, self.server: self.client}
        while True:
            for source in select.select(list(pairs), [], [])[0]:
                data = source.recv(CHUNK)
                if not data:
                    return
                pairs[source].sendall(data)

    def flush(self):
        data = self.outgoing.read()
        if not data:
            return
        if self.relay.damage and self.seen.get("alpn"):
            self.relay.damage = False
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.greet == "cut":
            self.client.sendall(data[:len(data) // 2])
            raise ConnectionError("cut in the handshake")
        step = 150 if self.greet == "slow" and not self.seen.get("alpn") else len(data)
        for i in range(0, len(data), step):
            self.client.sendall(data[i:i + step])
            if step < len(data):
                time.sleep(0.05)

    def more(self):
        data = self.client.recv(CHUNK)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def shake(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.more()
            except ssl.SSLError:
                self.flush()
                raise
        peer = self.tls.getpeercert()
        self.seen.update(alpn=self.tls.selected_alpn_protocol(), version=self.tls.version(),
                         peer=peer and dict(x[0] for x in peer["subject"])["commonName"])
        self.flush()

    def pump_tls(self):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.relay.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.shake()
        self.forward()
        while True:
            ready = select.select([self.client, self.server], [], [])[0]
            if self.server in ready:
                data = self.server.recv(CHUNK)
                if not data:
                    return
                self.tls.write(data)
                self.flush()
            if self.client in ready:
                self.more()
                if not self.forward():
                    return

    def forward(self):
        """What has come for the server; False at the end."""
        while True:
            try:
                data = self.tls.read(CHUNK)
            except ssl.SSLWantReadError:
                self.flush()
                return True
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self.seen["goodbye"] = True
                return False
            self.seen["calls"] += 1
            self.server.sendall(data)


class Relay:
    """The side of the process."""

    def __init__(self, settings):
        self.settings, self.connections, self.damage = settings, [], False
        self.renew()

    def renew(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = getattr(
            ssl.TLSVersion, self.settings.get("version", "TLSv1_3"))
        context.maximum_version = context.minimum_version
        context.load_cert_chain(self.settings["cert"], self.settings["key"])
        if self.settings.get("alpn", "sunrpc"):
            context.set_alpn_protocols([self.settings.get("alpn", "sunrpc")])
        if self.settings.get("client_ca"):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.settings["client_ca"])
        self.context = context

    def obey(self):
        for line in sys.stdin:
            what = json.loads(line)
            if what.pop("cut", False):
                for c in self.connections:
                    if c.seen["open"]:
                        c.end()
            self.damage = what.pop("damage", self.damage)
            self.settings.update(what)
            self.renew()
            print(json.dumps([c.seen for c in self.connections]), flush=True)
        os._exit(0)

    def serve(self):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.settings["path"])
        listener.listen(64)
        print("ready", flush=True)
        threading.Thread(target=self.obey, daemon=True).start()
        while True:
            client, _ = listener.accept()
            connection = Connection(self, client)
            self.connections.append(connection)
            connection.start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Relay(json.loads(sys.argv[1])).serve()
