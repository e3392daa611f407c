# SPDX-License-Identifier: LGPL-2.1-or-later
"""NFSv4.1 replies taken apart just far enough to damage them with a purpose (RFC 8881)."""

import struct

ACCESS, CLOSE, COMMIT, CREATE, GETATTR, GETFH, LOOKUP = 3, 4, 5, 6, 9, 10, 15
OPEN, PUTFH, PUTROOTFH, READ, READDIR, READLINK = 18, 22, 24, 25, 26, 27
REMOVE, RENAME, RESTOREFH, SAVEFH, SETATTR, VERIFY, WRITE = 28, 29, 31, 32, 34, 37, 38
BIND_CONN, EXCHANGE_ID, CREATE_SESSION, SEQUENCE, RECLAIM_COMPLETE = 41, 42, 43, 53, 58
LINK, LOCK, LOCKU = 11, 12, 14
GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR = 72, 73, 74, 75
ALLOCATE, COPY, DEALLOCATE, OFFLOAD_CANCEL, OFFLOAD_STATUS, SEEK, CLONE = 59, 60, 62, 66, 67, 69, 71
NOTSUPP, BAD_STATEID, OFFLOAD_NO_REQS = 10004, 10025, 10094

SUPPORTED, TYPE, CHANGE, SIZE, RDATTR_ERROR, FILEHANDLE = 0, 1, 3, 4, 11, 19
FILEID, OWNER, MTIME = 20, 36, 53
# bytes of each attribute that the client may ask for; None: an opaque
ATTRS = {TYPE: 4, 3: 8, SIZE: 8, 8: 16, RDATTR_ERROR: 4, FILEHANDLE: None, 20: 8, 33: 4, 35: 4,
         OWNER: None, 37: None, 41: 8, 45: 8, 47: 12, 50: 12, 52: 12, MTIME: 12, 55: 8,
         13: 4, 21: 8, 22: 8, 23: 8, 29: 4, 30: 8, 31: 8, 42: 8, 43: 8, 44: 8}


class NotCompound(Exception):
    """A reply of another kind, or with an operation that is not known here."""


def u32(data, at=0):
    return struct.unpack_from(">I", data, at)[0]


def p32(*values):
    return struct.pack(f">{len(values)}I", *(v & 0xffffffff for v in values))


def p64(value):
    return struct.pack(">Q", value & 0xffffffffffffffff)


def opaque(data, claimed=None):
    return p32(len(data) if claimed is None else claimed) + data + bytes(-len(data) % 4)


def opaque_end(data, at):
    n = u32(data, at)
    return at + 4 + n + -n % 4


def bitmap_end(data, at):
    return at + 4 + 4 * u32(data, at)


def fattr_end(data, at):
    return opaque_end(data, bitmap_end(data, at))


def readdir_end(data, at):
    at += 8
    while u32(data, at):
        at = fattr_end(data, opaque_end(data, at + 12))
    return at + 8


def open_end(data, at):
    at = bitmap_end(data, at + 16 + 20 + 4)
    kind = u32(data, at)
    if kind == 3:  # OPEN_DELEGATE_NONE_EXT
        return at + 8 + (4 if u32(data, at + 4) in (1, 2) else 0)
    if kind == 1:  # OPEN_DELEGATE_READ
        return opaque_end(data, at + 4 + 16 + 4 + 12)
    if kind:
        raise NotCompound
    return at + 4


def listxattrs_end(data, at):
    count, at = u32(data, at + 8), at + 12
    for _ in range(count):
        at = opaque_end(data, at)
    return at + 4


def fixed(size):
    return lambda data, at: at + size


BODY = {
    ACCESS: fixed(8), CLOSE: fixed(16), COMMIT: fixed(8), GETATTR: fattr_end, GETFH: opaque_end,
    CREATE: lambda d, at: bitmap_end(d, at + 20), LOOKUP: fixed(0), OPEN: open_end, LINK: fixed(20),
    PUTFH: fixed(0), PUTROOTFH: fixed(0), READ: lambda d, at: opaque_end(d, at + 4),
    READDIR: readdir_end, READLINK: opaque_end, LOCK: fixed(16), LOCKU: fixed(16), REMOVE: fixed(20), RENAME: fixed(40),
    RESTOREFH: fixed(0), SAVEFH: fixed(0), SETATTR: bitmap_end, VERIFY: fixed(0),
    WRITE: fixed(16), SEQUENCE: fixed(36), RECLAIM_COMPLETE: fixed(0),
    ALLOCATE: fixed(0), DEALLOCATE: fixed(0), SEEK: fixed(12),
    BIND_CONN: lambda d, at: len(d), EXCHANGE_ID: lambda d, at: len(d),
    CREATE_SESSION: lambda d, at: len(d),
    GETXATTR: opaque_end, SETXATTR: fixed(20), LISTXATTRS: listxattrs_end, REMOVEXATTR: fixed(20),
}


class Reply:
    """An accepted reply to COMPOUND. `ops` are lists [operation, status, body]."""

    def __init__(self, record):
        if len(record) < 36 or record[4:24] != p32(1, 0, 0, 0, 0):
            raise NotCompound
        try:
            self.take_apart(record)
        except struct.error:
            raise NotCompound from None

    def take_apart(self, record):
        self.xid, self.status = u32(record), u32(record, 24)
        at = opaque_end(record, 28)
        self.count, self.ops, self.tail = u32(record, at), [], b""
        at += 4
        for _ in range(self.count):
            op, status = u32(record, at), u32(record, at + 4)
            at += 8
            end = at
            if status == 0 or op == SETATTR:
                if op not in BODY:
                    raise NotCompound
                end = BODY[op](record, at)
            self.ops.append([op, status, record[at:end]])
            at = end
        if at != len(record):
            raise NotCompound

    def has(self, op):
        return any(o[0] == op and o[1] == 0 for o in self.ops)

    def find(self, op):
        return next(o for o in self.ops if o[0] == op)

    def bytes(self):
        body = b"".join(p32(op, status) + body for op, status, body in self.ops)
        return p32(self.xid, 1, 0, 0, 0, 0, self.status, 0, self.count) + body + self.tail


def record(data):
    """With its mark, in one fragment."""
    return p32(0x80000000 | len(data)) + data


class Fattr:
    """fattr4: what the bitmap says and, in its order, the values."""

    def __init__(self, data, at=0):
        words = u32(data, at)
        self.words = [u32(data, at + 4 + 4 * i) for i in range(words)]
        at += 4 + 4 * words
        self.values, where, self.claimed = {}, at + 4, None
        for number in (32 * w + b for w in range(words) for b in range(32)
                       if self.words[w] >> b & 1):
            if number == SUPPORTED:
                end = bitmap_end(data, where)
            else:
                size = ATTRS[number]
                end = opaque_end(data, where) if size is None else where + size
            self.values[number] = data[where:end]
            where = end

    def bytes(self):
        values = b"".join(self.values.values())
        return p32(len(self.words), *self.words) + opaque(values, self.claimed)


class Directory:
    """READDIR4resok. `entries` are lists [cookie, name, encoded fattr4]."""

    def __init__(self, data):
        self.verifier, self.entries, at = data[:8], [], 8
        while u32(data, at):
            cookie = struct.unpack_from(">Q", data, at + 4)[0]
            name = data[at + 16:at + 16 + u32(data, at + 12)]
            attrs = opaque_end(data, at + 12)
            end = fattr_end(data, attrs)
            self.entries.append([cookie, name, data[attrs:end]])
            at = end
        self.eof = u32(data, at + 4)

    def bytes(self):
        entries = b"".join(p32(1) + p64(c) + opaque(n) + a for c, n, a in self.entries)
        return self.verifier + entries + p32(0, self.eof)
