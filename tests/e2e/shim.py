# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server that knows more than nfs-ganesha: stands in front of it, takes operations and attributes
that it has not out of the calls, and puts its own answers into the replies (RFC 8276, RFC 7862)."""

import os

import nfsreply as nfs
from nfsreply import (GETATTR, GETXATTR, LISTXATTRS, PUTFH, REMOVEXATTR, SEQUENCE, SETXATTR, SUPPORTED,
                      Fattr, NotCompound, Reply, opaque, opaque_end, p32, p64, u32)
from proxy import Proxy

ACL, ACLSUPPORT, SEC_LABEL, XATTR_SUPPORT = 12, 13, 80, 82
DACL, SACL, POSIX_DEFAULT_ACL, POSIX_ACCESS_ACL = 58, 59, 91, 92
QUOTA_HARD, QUOTA_SOFT, QUOTA_USED = 38, 39, 40
NOENT, EXIST, INVAL, NOTSUPP, NOXATTR, XATTR2BIG = 2, 17, 22, 10004, 10095, 10096
EITHER, CREATE, REPLACE = 0, 1, 2
LIST_STEP = 100  # names that one LISTXATTRS tells, at most

# bytes of the arguments, from their beginning; compounds with others pass as they are
ARGS = {
    nfs.ACCESS: lambda d, at: at + 4, nfs.CLOSE: lambda d, at: at + 20,
    GETATTR: nfs.bitmap_end, nfs.GETFH: lambda d, at: at, nfs.LOOKUP: opaque_end,
    PUTFH: opaque_end, nfs.PUTROOTFH: lambda d, at: at, SEQUENCE: lambda d, at: at + 32,
    nfs.SETATTR: lambda d, at: nfs.fattr_end(d, at + 16),
    GETXATTR: opaque_end, REMOVEXATTR: opaque_end, LISTXATTRS: lambda d, at: at + 12,
    SETXATTR: lambda d, at: opaque_end(d, opaque_end(d, at + 4)),
}


def take_opaque(data, at):
    return data[at + 4:at + 4 + u32(data, at)], opaque_end(data, at)


def bitmap(data, at=0):
    return [32 * i + bit for i in range(u32(data, at)) for bit in range(32)
            if u32(data, at + 4 + 4 * i) >> bit & 1]


def put_bitmap(numbers):
    words = [0] * (max(numbers, default=-1) // 32 + 1)
    for n in numbers:
        words[n // 32] |= 1 << n % 32
    return p32(len(words), *words)


class Call:
    """A COMPOUND taken apart: `ops` are [operation, arguments]."""

    def __init__(self, data):
        if u32(data, 20) != 1:
            raise NotCompound
        at = opaque_end(data, opaque_end(data, 28) + 4)
        at = opaque_end(data, at) + 4
        self.head, self.ops = data[:at], []
        count, at = u32(data, at), at + 4
        for _ in range(count):
            op = u32(data, at)
            if op not in ARGS:
                raise NotCompound
            end = ARGS[op](data, at + 4)
            self.ops.append([op, data[at + 4:end]])
            at = end

    def bytes(self):
        return self.head + p32(len(self.ops)) + b"".join(p32(op) + a for op, a in self.ops)


class Shim(Proxy):
    """`fs`: attributes of each file system, by number, as they are on the wire. `errors`: the
    status of operations that fail. `seen`: the operations of its own that were asked for."""

    def __init__(self, path, port):
        self.fs = {XATTR_SUPPORT: p32(1)}
        self.errors, self.seen = {}, []
        self.xattrs = {}   # filehandle: {name: value}
        self.objects = {}  # attributes of objects, by number: {filehandle: as on the wire}
        self.default = {}  # and what they are where they were not set
        self.touch = None  # the file whose change attribute moves with a change here
        self.plans = {}    # xid: the call as it was asked
        self.replies = {}  # (session, sequence, slot): what was answered
        super().__init__(path, port)

    def own(self, op, args):
        if op == nfs.SETATTR:
            return any(n in self.objects for n in bitmap(args, 16))
        return op in (GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR)

    def forwarded(self, call):
        try:
            asked, sent = Call(call), Call(call)
        except (NotCompound, IndexError):
            return call
        sent.ops = [o for o in sent.ops if not self.own(*o)]
        for o in sent.ops:
            if o[0] == GETATTR:
                o[1] = put_bitmap([n for n in bitmap(o[1])
                                   if n not in self.fs and n not in self.objects])
        if sent.bytes() == call:
            return call
        self.seen += [o[0] for o in asked.ops if self.own(*o)]
        if self.touch and any(o[0] in (SETXATTR, REMOVEXATTR, nfs.SETATTR) and self.own(*o)
                              for o in asked.ops):
            os.utime(self.touch)
        with self.lock:
            self.plans[u32(call)] = asked
        return sent.bytes()

    def amended(self, reply):
        with self.lock:
            asked = self.plans.pop(u32(reply), None)
        if asked is None:
            return reply
        key = asked.ops[0][1][:24]
        done = self.replies.get(key)
        if done is None:
            try:
                done = self.merge(asked, Reply(reply)).bytes()[4:]
            except NotCompound:
                return reply
            if asked.ops[0][0] == SEQUENCE:
                self.replies[key] = done
        return reply[:4] + done

    def merge(self, asked, reply):
        results, reply.ops, status, fh = iter(reply.ops), [], 0, None
        for op, args in asked.ops:
            if op == PUTFH:
                fh = take_opaque(args, 0)[0]
            if self.own(op, args):
                status, body = self.execute(op, fh, args)
                reply.ops.append([op, status, body])
            else:
                result = next(results)
                status = result[1]
                if op == GETATTR and status == 0:
                    result[2] = self.more(fh, bitmap(args), result[2])
                reply.ops.append(result)
            if status:
                break
        reply.status, reply.count = status, len(reply.ops)
        return reply

    def more(self, fh, want, body):
        fattr = Fattr(body)
        for n in want:
            if n in self.fs:
                fattr.values[n] = self.fs[n]
            elif n in self.objects:
                fattr.values[n] = self.objects[n].get(fh, self.default[n])
        if SUPPORTED in fattr.values:
            fattr.values[SUPPORTED] = put_bitmap(
                bitmap(fattr.values[SUPPORTED]) + list(self.fs) + list(self.objects))
        values = b"".join(fattr.values[n] for n in sorted(fattr.values))
        return put_bitmap(fattr.values) + opaque(values)

    def execute(self, op, fh, args):
        if op in self.errors:
            return self.errors[op], b""
        if op == nfs.SETATTR:
            return self.setattr(fh, args[16:])
        values = self.xattrs.setdefault(fh, {})
        return {GETXATTR: self.getxattr, SETXATTR: self.setxattr, LISTXATTRS: self.listxattrs,
                REMOVEXATTR: self.removexattr}[op](values, args)

    def setattr(self, fh, fattr):
        number, = bitmap(fattr)
        self.objects[number][fh] = take_opaque(fattr, nfs.bitmap_end(fattr, 0))[0]
        return 0, put_bitmap([number])

    def getxattr(self, values, args):
        value = values.get(take_opaque(args, 0)[0])
        return (NOXATTR, b"") if value is None else (0, opaque(value))

    def setxattr(self, values, args):
        option = u32(args)
        name, at = take_opaque(args, 4)
        value = take_opaque(args, at)[0]
        if option == CREATE and name in values:
            return EXIST, b""
        if option == REPLACE and name not in values:
            return NOXATTR, b""
        values[name] = value
        return 0, p32(0) + p64(0) + p64(0)

    def removexattr(self, values, args):
        if values.pop(take_opaque(args, 0)[0], None) is None:
            return NOXATTR, b""
        return 0, p32(0) + p64(0) + p64(0)

    def listxattrs(self, values, args):
        at = u32(args, 4)
        names = list(values)[at:at + LIST_STEP]
        end = at + len(names)
        return 0, (p64(end) + p32(len(names)) + b"".join(opaque(n) for n in names) +
                   p32(end == len(values)))
