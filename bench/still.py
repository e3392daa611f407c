#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An NFSv4.1 server that always answers the same: bench/cpu counts what the daemon does for it.

    bench/still.py SOCKET

One directory in memory with what bench/cpu works on. Files have a size and no contents, everything is
allowed, nothing is locked or delegated, and times stand still.
"""

import os
import socketserver
import struct
import sys
import threading

MIB = 1 << 20
LARGE, MANY = 64 * MIB, 1000
VERIFIER, SESSION = b"verifier", b"the only session"
OTHER = b"a file open.."[:12]
NOENT, EXIST, STALE, NOTSUPP = 2, 17, 70, 10004
DIRECTORY, REGULAR = 2, 1
(ACCESS, CLOSE, COMMIT, GETATTR, GETFH, LOOKUP, NVERIFY, OPEN, PUTFH, PUTROOTFH, READ, READDIR, REMOVE,
 RENAME, RESTOREFH, SAVEFH, SETATTR, VERIFY, WRITE, BIND, EXCHANGE_ID, CREATE_SESSION, DESTROY_SESSION,
 FREE_STATEID, SEQUENCE, TEST_STATEID, DESTROY_CLIENTID, RECLAIM_COMPLETE) = (
     3, 4, 5, 9, 10, 15, 17, 18, 22, 24, 25, 26, 28, 29, 31, 32, 34, 37, 38, 41, 42, 43, 44, 45, 53, 55,
     57, 58)


class Failed(Exception):
    """The nfsstat4 of an operation."""


def u32(*numbers):
    return struct.pack(f">{len(numbers)}I", *numbers)


def u64(*numbers):
    return struct.pack(f">{len(numbers)}Q", *numbers)


def opaque(data):
    return u32(len(data)) + data + bytes(-len(data) % 4)


def bitmap(bits):
    words = [0, 0, 0]
    for bit in bits:
        words[bit // 32] |= 1 << bit % 32
    return u32(3, *words)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def u32(self):
        return struct.unpack(">I", self.raw(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.raw(8))[0]

    def opaque(self):
        size = self.u32()
        data = self.raw(size)
        self.raw(-size % 4)
        return data

    def bitmap(self):
        words = [self.u32() for _ in range(self.u32())]
        return [32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1]

    def attributes(self):
        wanted = self.bitmap()
        self.opaque()
        return wanted


class Node:
    def __init__(self, number, kind):
        self.number, self.kind = number, kind
        self.size, self.change, self.names = 0, 1, {}
        self.handle = b"a handle of usual length" + u64(number)

    def changed(self):
        self.change += 1
        return u32(1) + u64(self.change - 1, self.change)


TIME = u64(1700000000) + u32(0)
ATTRIBUTES = {
    1: lambda n: u32(n.kind), 2: lambda n: u32(0), 3: lambda n: u64(n.change),
    4: lambda n: u64(n.size), 5: lambda n: u32(1), 6: lambda n: u32(1), 8: lambda n: u64(7, 7),
    10: lambda n: u32(90), 11: lambda n: u32(0), 16: lambda n: u32(0), 17: lambda n: u32(1),
    19: lambda n: opaque(n.handle), 20: lambda n: u64(n.number),
    21: lambda n: u64(MIB), 22: lambda n: u64(MIB), 23: lambda n: u64(MIB),
    27: lambda n: u64(1 << 62), 28: lambda n: u32(255), 29: lambda n: u32(255),
    30: lambda n: u64(MIB), 31: lambda n: u64(MIB), 33: lambda n: u32(0o755), 34: lambda n: u32(1),
    35: lambda n: u32(2 if n.kind == DIRECTORY else 1), 36: lambda n: opaque(b"0"),
    37: lambda n: opaque(b"0"), 41: lambda n: u32(0, 0), 42: lambda n: u64(1 << 40),
    43: lambda n: u64(1 << 40), 44: lambda n: u64(1 << 41), 45: lambda n: u64(n.size),
    47: lambda n: TIME, 52: lambda n: TIME, 53: lambda n: TIME, 55: lambda n: u64(n.number),
}
ATTRIBUTES[0] = lambda n: bitmap(ATTRIBUTES)


def attributes(node, wanted):
    there = sorted(bit for bit in wanted if bit in ATTRIBUTES)
    return bitmap(there) + opaque(b"".join(ATTRIBUTES[bit](node) for bit in there))


class Store:
    def __init__(self):
        self.nodes, self.made = {}, 0
        self.root = self.make(DIRECTORY)
        self.root.names[b"large"] = self.make(REGULAR)
        self.root.names[b"large"].size = LARGE
        many = self.root.names[b"many"] = self.make(DIRECTORY)
        many.names = {b"%d" % i: self.make(REGULAR) for i in range(MANY)}

    def make(self, kind):
        self.made += 1
        node = Node(self.made, kind)
        self.nodes[node.handle] = node
        return node


class Compound:
    """One, as far as its first failure. Methods are named after operations and give their results."""

    def __init__(self, store, args):
        self.store, self.args = store, args
        self.node = self.saved = None

    def run(self):
        self.args.opaque()
        self.args.u32()  # minor version
        results, status, done = b"", 0, 0
        for _ in range(self.args.u32()):
            op = self.args.u32()
            try:
                status, body = 0, METHODS.get(op, Compound.unknown)(self)
            except Failed as why:
                status = why.args[0]
                body = bitmap([]) if op == SETATTR else b""
            results += u32(op, status) + body
            done += 1
            if status:
                break
        return u32(status) + opaque(b"") + u32(done) + results

    def unknown(self):
        raise Failed(NOTSUPP)

    def exchange_id(self):
        return (u64(1) + u32(1, 0x10000, 0) + u64(1) + opaque(b"still") + opaque(b"still") + u32(0))

    def create_session(self):
        self.args.u64()
        sequence, flags = self.args.u32(), self.args.u32()
        channels = b""
        for _ in range(2):
            channel = [self.args.u32() for _ in range(6)]
            self.args.raw(4 * self.args.u32())
            channels += u32(0, *channel[1:], 0)
        return SESSION + u32(sequence, flags) + channels

    def bind(self):
        return self.args.raw(16) + u32(3, 0)

    def sequence(self):
        session, numbers = self.args.raw(16), [self.args.u32() for _ in range(4)]
        return session + u32(*numbers[:2], 63, 63, 0)

    def ignored(self, size):
        self.args.raw(size)
        return b""

    def test_stateid(self):
        count = self.args.u32()
        self.args.raw(16 * count)
        return u32(count) + bytes(4 * count)

    def putfh(self):
        self.node = self.store.nodes.get(self.args.opaque())
        if not self.node:
            raise Failed(STALE)
        return b""

    def putrootfh(self):
        self.node = self.store.root
        return b""

    def savefh(self):
        self.saved = self.node
        return b""

    def restorefh(self):
        self.node = self.saved
        return b""

    def getfh(self):
        return opaque(self.node.handle)

    def getattr(self):
        return attributes(self.node, self.args.bitmap())

    def setattr(self):
        self.args.raw(16)
        self.node.changed()
        return bitmap(self.args.attributes())

    def access(self):
        asked = self.args.u32()
        return u32(asked, asked)

    def lookup(self):
        self.node = self.node.names.get(self.args.opaque())
        if not self.node:
            raise Failed(NOENT)
        return b""

    def verify(self):
        self.args.attributes()
        return b""

    def open(self):
        self.args.raw(4 + 4 + 4 + 8)
        self.args.opaque()
        how = self.args.u32() and self.args.u32() + 1
        if how > 2:
            self.args.raw(8)
        given = self.args.attributes() if how in (1, 2, 4) else []
        directory, cinfo = self.node, u32(1) + u64(1, 1)
        if self.args.u32() == 0:
            name = self.args.opaque()
            there = directory.names.get(name)
            if there and how > 1:
                raise Failed(EXIST)
            if not there and not how:
                raise Failed(NOENT)
            if not there:
                there = directory.names[name] = self.store.make(REGULAR)
                cinfo = directory.changed()
            self.node = there
        return u32(1) + OTHER + cinfo + u32(0) + bitmap(given) + u32(0)

    def close(self):
        self.args.raw(4 + 16)
        return u32(2) + OTHER

    def read(self):
        self.args.raw(16)
        offset, count = self.args.u64(), self.args.u32()
        size = max(min(count, self.node.size - offset), 0)
        return u32(offset + size >= self.node.size) + opaque(bytes(size))

    def write(self):
        self.args.raw(16)
        offset, stable, size = self.args.u64(), self.args.u32(), len(self.args.opaque())
        self.node.size = max(self.node.size, offset + size)
        self.node.changed()
        return u32(size, stable) + VERIFIER

    def commit(self):
        self.args.raw(12)
        return VERIFIER

    def remove(self):
        if not self.node.names.pop(self.args.opaque(), None):
            raise Failed(NOENT)
        return self.node.changed()

    def rename(self):
        old, new = self.args.opaque(), self.args.opaque()
        if old not in self.saved.names:
            raise Failed(NOENT)
        self.node.names[new] = self.saved.names.pop(old)
        return self.saved.changed() + self.node.changed()

    def readdir(self):
        cookie = self.args.u64()
        self.args.raw(8 + 4)
        room, wanted = self.args.u32() - 64, self.args.bitmap()
        first = max(cookie - 2, 0)
        names = list(self.node.names.items())
        entries = b""
        for at, (name, node) in enumerate(names[first:], first):
            entry = u32(1) + u64(at + 3) + opaque(name) + attributes(node, wanted)
            if len(entries) + len(entry) > room:
                return VERIFIER + entries + u32(0, 0)
            entries += entry
        return VERIFIER + entries + u32(0, 1)


METHODS = {
    ACCESS: Compound.access, CLOSE: Compound.close, COMMIT: Compound.commit, GETATTR: Compound.getattr,
    GETFH: Compound.getfh, LOOKUP: Compound.lookup, NVERIFY: Compound.verify, OPEN: Compound.open,
    PUTFH: Compound.putfh, PUTROOTFH: Compound.putrootfh, READ: Compound.read, READDIR: Compound.readdir,
    REMOVE: Compound.remove, RENAME: Compound.rename, RESTOREFH: Compound.restorefh,
    SAVEFH: Compound.savefh, SETATTR: Compound.setattr, VERIFY: Compound.verify, WRITE: Compound.write,
    BIND: Compound.bind, EXCHANGE_ID: Compound.exchange_id, CREATE_SESSION: Compound.create_session,
    DESTROY_SESSION: lambda c: c.ignored(16), FREE_STATEID: lambda c: c.ignored(16),
    SEQUENCE: Compound.sequence, TEST_STATEID: Compound.test_stateid,
    DESTROY_CLIENTID: lambda c: c.ignored(8), RECLAIM_COMPLETE: lambda c: c.ignored(4),
}


class Connection(socketserver.StreamRequestHandler):
    def record(self):
        data, last = b"", False
        while not last:
            mark = self.rfile.read(4)
            if len(mark) < 4:
                return None
            size = struct.unpack(">I", mark)[0]
            last = size >> 31
            data += self.rfile.read(size & 0x7fffffff)
        return data

    def handle(self):
        while (data := self.record()) is not None:
            args = Reader(data)
            xid = args.u32()
            args.raw(4 * 4)  # a call of RPC 2, program and version
            procedure = args.u32()
            for _ in range(2):  # credential and verifier
                args.u32()
                args.opaque()
            reply = u32(xid, 1, 0, 0, 0, 0)
            if procedure:
                with self.server.lock:
                    reply += Compound(self.server.store, args).run()
            self.request.sendall(u32(1 << 31 | len(reply)) + reply)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        super().__init__(path, Connection)
        self.store, self.lock = Store(), threading.Lock()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    Server(sys.argv[1]).serve_forever()
