# SPDX-License-Identifier: LGPL-2.1-or-later
"""NFSv4.0 compounds by hand, with whatever file handle the caller makes up."""

import socket
import struct

PUTFH, PUTROOTFH, GETFH, LOOKUP, READ, GETATTR = 22, 24, 10, 15, 25, 9
SETCLIENTID, SETCLIENTID_CONFIRM = 35, 36
EXCHANGE_ID, CREATE_SESSION = 42, 43
OK, STALE = 0, 70


def opaque(data):
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def op_putfh(handle):
    return struct.pack(">I", PUTFH) + opaque(handle)


def op_lookup(name):
    return struct.pack(">I", LOOKUP) + opaque(name.encode())


def op_read(size):
    """With the anonymous stateid: no OPEN is needed."""
    return struct.pack(">I", READ) + bytes(16) + struct.pack(">QI", 0, size)


def records(stream):
    """The calls in the bytes of a connection, without their marks."""
    at = 0
    while at + 4 <= len(stream):
        size = struct.unpack_from(">I", stream, at)[0] & 0x7fffffff
        if at + 4 + size > len(stream):
            return
        yield bytes(stream[at + 4:at + 4 + size])
        at += 4 + size


def first_op(call):
    """(operation, where its arguments begin) of a call; None where it has none."""
    at = 24
    for _ in range(2):  # credential, verifier
        size, = struct.unpack_from(">I", call, at + 4)
        at += 8 + size + -size % 4
    if at + 16 > len(call):
        return None
    tag, = struct.unpack_from(">I", call, at)
    at += 4 + tag + -tag % 4 + 8
    return struct.unpack_from(">I", call, at)[0], at + 4


class Client:
    """One connection; `uid` is what the calls claim."""

    def __init__(self, sock, uid=0):
        self.sock = sock
        self.uid = uid
        self.xid = 0

    def compound(self, *ops):
        """(status, results): one (operation, status) each, and with GETFH and READ the bytes."""
        self.xid += 1
        cred = struct.pack(">I", 0) + opaque(b"guest") + struct.pack(">3I", self.uid, self.uid, 0)
        call = struct.pack(">6I", self.xid, 0, 2, 100003, 4, 1)
        call += struct.pack(">I", 1) + opaque(cred) + struct.pack(">2I", 0, 0)
        call += opaque(b"") + struct.pack(">2I", 0, len(ops)) + b"".join(ops)
        return self.decode(self.call(call))

    def call(self, call):
        """The reply, both without marks."""
        self.sock.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        size = struct.unpack(">I", self.exactly(4))[0] & 0x7fffffff
        return self.exactly(size)

    def pose(self, exchange_id, create_session):
        """Becomes the client whose two calls these were, started again. The server's status."""
        _, at = first_op(exchange_id)
        reply = self.call(exchange_id[:at] + b"impostor" + exchange_id[at + 8:])
        status, = struct.unpack_from(">I", reply, 24)
        if status != OK:
            return status
        _, at = first_op(create_session)
        # after status, empty tag, count, operation and its status: the client id and its sequence
        own = reply[44:56]
        return struct.unpack_from(">I", self.call(create_session[:at] + own + create_session[at + 12:]),
                                  24)[0]

    def exactly(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return data

    @staticmethod
    def decode(reply):
        at = 24  # xid, REPLY, accepted, no verifier (two words), SUCCESS
        status, tag = struct.unpack_from(">2I", reply, at)
        at += 8 + tag + -tag % 4
        count, = struct.unpack_from(">I", reply, at)
        at += 4
        results = []
        for _ in range(count):
            op, code = struct.unpack_from(">2I", reply, at)
            at += 8
            data = b""
            if code == OK and op in (GETFH, READ):
                at += 4 if op == READ else 0  # eof
                size, = struct.unpack_from(">I", reply, at)
                data = reply[at + 4:at + 4 + size]
                at += 4 + size + -size % 4
            if code == OK and op == SETCLIENTID:
                data = reply[at:at + 16]
                at += 16
            results.append((op, code, data))
        return status, results

    def handle(self, *names):
        """The handle of a path from the server's root; None when it cannot be had."""
        status, results = self.compound(struct.pack(">I", PUTROOTFH),
                                        *(op_lookup(n) for n in names), struct.pack(">I", GETFH))
        return results[-1][2] if status == OK else None

    def read(self, handle):
        """The first bytes of the file behind a handle, or the status."""
        status, results = self.compound(op_putfh(handle), op_read(4096))
        return results[-1][2] if status == OK else status

    def become(self, owner, verifier):
        """Makes itself known to the server as the client `owner`; the status."""
        call = struct.pack(">I", SETCLIENTID) + verifier + opaque(owner)
        call += struct.pack(">I", 0x40000000) + opaque(b"tcp") + opaque(b"0.0.0.0.0.0")
        status, results = self.compound(call + struct.pack(">I", 1))
        if status != OK:
            return status
        return self.compound(struct.pack(">I", SETCLIENTID_CONFIRM) + results[0][2])[0]
