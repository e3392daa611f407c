# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands between vsockfs and the server, forwards record by record, and damages what it is told."""

import os
import socket
import struct
import threading

from nfsreply import SEQUENCE, NotCompound, Reply, opaque_end, p32, record, u32

CALL, REPLY = 0, 1
BADSESSION = 10052
CLOSE = object()  # a damage returns this, or ends its list with it, to close the connection


def receive_exactly(sock, n):
    data = bytearray()
    while len(data) < n:
        block = sock.recv(n - len(data))
        if not block:
            raise ConnectionError
        data += block
    return bytes(data)


def receive_record(sock):
    data, last = b"", False
    while not last:
        mark = u32(receive_exactly(sock, 4))
        last = mark >> 31
        data += receive_exactly(sock, mark & 0x7fffffff)
    return data


class Connection:
    def __init__(self, proxy, client, port):
        self.proxy, self.client = proxy, client
        self.server = socket.create_connection(("127.0.0.1", port))
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lock = threading.Lock()
        self.silent = False      # nothing more is forwarded to the client
        self.reading = threading.Event()
        self.reading.set()       # the client's records are read
        for target in (self.serve_calls, self.serve_replies):
            threading.Thread(target=self.run, args=(target,), daemon=True).start()

    def run(self, target):
        try:
            while True:
                target()
        except (OSError, ValueError):
            self.close()

    def close(self):
        for s in (self.client, self.server):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def send(self, data):
        with self.lock:
            self.client.sendall(data)

    def act(self, actions):
        """Bytes, or a list (or generator) of them, perhaps with CLOSE at its end."""
        for action in [actions] if isinstance(actions, bytes) or actions is CLOSE else actions:
            if action is CLOSE:
                raise ConnectionError
            self.send(action)

    def serve_calls(self):
        data = receive_record(self.client)
        self.reading.wait()
        if u32(data, 4) == REPLY:
            self.proxy.note_callback_reply(data)
            return
        answer = self.proxy.answer_call(data) or self.proxy.lost_call(data)
        if answer is None:
            self.server.sendall(record(self.proxy.forwarded(data)))
        else:
            self.act(answer)

    def serve_replies(self):
        data = self.proxy.amended(receive_record(self.server))
        actions = self.proxy.damaged(self, data)
        if not self.silent:
            self.act(record(data) if actions is None else actions)


class Proxy:
    def __init__(self, path, port):
        self.path, self.port = path, port
        self.connections = []
        self.lock = threading.Lock()
        self.hits = 0
        self.callback_replies = []
        self.lost_sessions = set()
        self.disarm()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                self.connections.append(Connection(self, client, self.port))
            except ConnectionRefusedError:  # it is just being started again
                client.close()

    def stop(self):
        self.listener.close()
        for c in self.connections:
            c.close()
        os.unlink(self.path)

    def arm(self, damage, op=None, times=1):
        """The next replies with a good result of `op` (None: all, of whatever kind) go through
        damage(connection, reply): a Reply, or the record where op is None."""
        with self.lock:
            self.damage, self.op, self.times, self.hits = damage, op, times, 0

    def arm_call(self, answer, pattern=b""):
        """The next COMPOUND that contains `pattern` is not forwarded; answer(record) goes back."""
        with self.lock:
            self.answer, self.answered, self.hits = answer, pattern, 0

    def lose(self, op=None, pattern=None, meanwhile=lambda: None):
        """The stream breaks and the session is forgotten, with its reply cache: before the next
        good reply with `op` is forwarded, or before the next call that contains `pattern` is.
        `meanwhile` runs before the client hears of it."""
        def damage(_, reply):
            self.forget(reply.find(SEQUENCE)[2][:16], meanwhile)
            return CLOSE
        if op is not None:
            self.arm(damage, op)
        with self.lock:
            self.pattern, self.meanwhile = pattern, meanwhile
            self.hits = 0

    def forget(self, session, meanwhile):
        with self.lock:
            self.lost_sessions.add(session)
        meanwhile()

    def lost_call(self, data):
        """What becomes of a call that names a session which is lost, or is to be lost now."""
        session = call_session(data)
        with self.lock:
            if session in self.lost_sessions:
                return record(p32(u32(data), REPLY, 0, 0, 0, 0, BADSESSION, 0, 1, SEQUENCE,
                                  BADSESSION))
            if session is None or self.pattern is None or self.pattern not in data:
                return None
            self.pattern = None
            self.hits += 1
        self.forget(session, self.meanwhile)
        return CLOSE

    def disarm(self):
        with self.lock:
            self.damage = self.op = self.answer = self.pattern = None
            self.times = 0

    def forwarded(self, call):
        """What the server gets to see of a call, and with `amended` what the client does of the
        reply: for those who add to what the server knows."""
        return call

    def amended(self, reply):
        return reply

    def damaged(self, connection, data):
        with self.lock:
            if self.times == 0:
                return None
            reply = data
            if self.op is not None:
                try:
                    reply = Reply(data)
                except NotCompound:
                    return None
                if not reply.has(self.op):
                    return None
            self.times -= 1
            self.hits += 1
            damage = self.damage
        return damage(connection, reply)

    def answer_call(self, data):
        with self.lock:
            if self.answer is None or u32(data, 20) != 1 or self.answered not in data:
                return None
            answer, self.answer = self.answer, None
            self.hits += 1
        return answer(data)

    def note_callback_reply(self, data):
        with self.lock:
            self.callback_replies.append(data)

    def current(self):
        return self.connections[-1]


def callback(xid, proc, args, prog=0x40000000, vers=1):
    return record(p32(xid, CALL, 2, prog, vers, proc, 0, 0, 0, 0) + args)


def call_session(data):
    """The session that a COMPOUND begins with; None: it begins otherwise, or is none."""
    if u32(data, 20) != 1:
        return None
    at = opaque_end(data, opaque_end(data, 28) + 4)  # credential, verifier
    at = opaque_end(data, at) + 8                    # tag, minor version, count
    return data[at + 4:at + 20] if u32(data, at) == SEQUENCE else None


def refusal(call, status, *ops, body=b""):
    """The reply to a COMPOUND of which `ops`, without results, went well but for the last."""
    session = call_session(call)
    sequence = call[call.index(session):][:24]
    done = b"".join(p32(op, 0) for op in ops[:-1])
    return record(call[:4] + p32(1, 0, 0, 0, 0, status, 0, len(ops) + 1) + p32(SEQUENCE, 0) +
                  sequence + p32(15, 15, 0) + done + p32(ops[-1], status) + body)


def accept_stat(reply):
    return struct.unpack_from(">I", reply, 20)[0]
