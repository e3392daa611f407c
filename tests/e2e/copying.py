# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy that copies: what the server behind it refuses as not supported (COPY, CLONE,
OFFLOAD_STATUS, OFFLOAD_CANCEL) it does itself on the server's disk, or pretends to, as a test wants it."""

import os
import re
import struct
import threading

import nfsreply as nfs
from nfsreply import Fattr, NotCompound, Reply, p32, p64, record, u32
from proxy import CLOSE, Proxy, callback

# both stateids, both offsets, count; consecutive, synchronous, no source servers
ARGS = re.compile(rb"\0\0\0\x3c.{32}(.{24})\0\0\0\x01(\0\0\0[\x00\x01])\0{4}", re.DOTALL)
CLONE_ARGS = re.compile(rb"\0\0\0\x47.{32}(.{24})", re.DOTALL)  # the same without the rest
VERIFIER, OTHER_VERIFIER = b"verifier", b"restart!"
STATEID = p32(1) + b"of this copy"
CB_SLOT = 3


class Copying(Proxy):
    def __init__(self, path, port, source, target):
        self.source, self.target = source, target   # on the disk
        self.free = threading.Event()   # until then no COPY is answered
        self.free.set()
        self.breaks = []        # of the next COPYs, once done: CLOSE, "session" or None
        self.clones = None      # a list: what CLONE has copied, (from, to, count)
        self.asked = {}         # xid: (from, to, count, synchronous)
        self.commits = set()    # xids of OFFLOAD_STATUS with COMMIT behind it
        self.copies = []        # the same, in order
        self.polls = self.cancels = self.callbacks = 0
        self.fattr = None       # what the server last told of the target
        self.uncommitted = False    # the next COMMIT is of a copy
        self.most = 1 << 40     # bytes that one COPY copies
        self.lies = 0           # bytes more than were asked for
        self.statuses = []      # of the next COPYs; 0: done
        self.verifiers = []     # that the next COMMITs come with
        self.stable = 0
        self.asynchronous = True
        self.calls_back = "after"   # after or before the reply, "nameless", or None
        self.results = []       # statuses that the next CB_OFFLOADs tell; 0: done
        self.calls_late = False     # and nameless: with the answer to OFFLOAD_STATUS and COMMIT
        self.poll_answer = None     # a status, or None: complete
        self.complete = True
        super().__init__(path, port)

    def answer_call(self, data):
        found = CLONE_ARGS.search(data)
        if found:
            self.asked[u32(data)] = struct.unpack(">QQQ", found[1])
        found = ARGS.search(data)
        if found:
            self.asked[u32(data)] = (*struct.unpack(">QQQ", found[1]), u32(found[2]) == 1)
            at = data.index(p32(nfs.SAVEFH, nfs.PUTFH)) + 8
            self.handle = data[at:nfs.opaque_end(data, at)]
        if p32(nfs.OFFLOAD_STATUS) + STATEID + p32(nfs.COMMIT) in data:
            self.commits.add(u32(data))
        return super().answer_call(data)

    def damaged(self, connection, data):
        try:
            reply = Reply(data)
        except NotCompound:
            return super().damaged(connection, data)
        self.learn(reply)
        op, status, _ = reply.ops[-1]
        if op == nfs.COMMIT and status == 0 and self.uncommitted:
            self.uncommitted = False
            reply.ops.pop()
            return self.finish(reply, self.commit())
        known = (nfs.COPY, nfs.OFFLOAD_STATUS, nfs.OFFLOAD_CANCEL)
        if status != nfs.NOTSUPP or op not in known and (op != nfs.CLONE or self.clones is None):
            return super().damaged(connection, data)
        reply.ops.pop()
        if op == nfs.CLONE:
            return self.clone(reply, self.asked.pop(reply.xid))
        if op == nfs.COPY:
            return self.broken(reply, self.copy(reply, self.asked.pop(reply.xid)))
        if op == nfs.OFFLOAD_STATUS:
            return self.poll(reply)
        self.cancels += 1
        return self.finish(reply, [op, 0, b""])

    def learn(self, reply):
        for op, status, body in reply.ops:
            if op == nfs.GETATTR and status == 0:
                try:
                    fattr = Fattr(body)
                except KeyError:  # of the file system
                    continue
                inode = fattr.values.get(nfs.FILEID)
                if nfs.OWNER in fattr.values and os.path.exists(self.target) and \
                        inode == p64(os.stat(self.target).st_ino):
                    self.fattr = body

    @staticmethod
    def finish(reply, *ops):
        reply.ops += ops
        reply.status, reply.count = reply.ops[-1][1], len(reply.ops)
        return record(reply.bytes())

    def commit(self):
        return [nfs.COMMIT, 0, self.verifiers.pop(0) if self.verifiers else VERIFIER]

    def getattr(self):
        fattr = Fattr(self.fattr)
        fattr.values[nfs.SIZE] = p64(os.stat(self.target).st_size)
        fattr.values[nfs.CHANGE] = p64(os.stat(self.target).st_mtime_ns)
        return [nfs.GETATTR, 0, fattr.bytes()]

    def bring(self, start, to, count):
        with open(self.source, "rb") as source, open(self.target, "r+b") as target:
            data = os.pread(source.fileno(), count, start)
            os.pwrite(target.fileno(), data, to)
        return data

    def clone(self, reply, asked):
        start, to, count = asked
        self.clones.append(asked)
        self.bring(start, to, count)
        return self.finish(reply, [nfs.CLONE, 0, b""], self.commit(), self.getattr())

    def broken(self, reply, answer):
        how = self.breaks.pop(0) if self.breaks else None
        if how == "session":
            self.forget(reply.find(nfs.SEQUENCE)[2][:16], lambda: None)
        return CLOSE if how else answer

    def copy(self, reply, asked):
        start, to, count, synchronous = asked
        self.copies.append(asked)
        status = self.statuses.pop(0) if self.statuses else 0
        if status:
            body = p32(1, self.asynchronous == "no") if status == nfs.OFFLOAD_NO_REQS else b""
            return self.finish(reply, [nfs.COPY, status, body])
        self.free.wait()
        data = self.bring(start, to, min(count, self.most))
        done = len(data) + self.lies
        result = p64(done) + p32(self.stable) + VERIFIER
        if synchronous or not self.asynchronous:
            ops = [[nfs.COPY, 0, p32(0) + result + p32(1, 1)]]
            if synchronous:
                ops += [self.commit(), self.getattr()]
            self.uncommitted = not synchronous
            return self.finish(reply, *ops)
        answer = self.finish(reply, [nfs.COPY, 0, p32(1) + STATEID + p64(0) + p32(0) + bytes(8) +
                                     p32(1, 0)])
        self.done, self.uncommitted = done, self.calls_back in ("before", "after")
        if not self.calls_back:
            return [answer]
        call = self.offload(reply, result)
        return [call, answer] if self.calls_back == "before" else [answer, call]

    def offload(self, reply, result):
        """CB_OFFLOAD."""
        self.callbacks += 1
        session = reply.find(nfs.SEQUENCE)[2][:16]
        named = self.calls_back != "nameless" and not self.calls_late
        status = self.results.pop(0) if self.results else 0
        args = (p32(0, 2, 0, 2, 11) + session + p32(self.callbacks, CB_SLOT, CB_SLOT, 0, 0) +
                p32(15) + self.handle + (STATEID if named else bytes(16)) +
                (p32(status) + p64(0) if status else p32(0, 0) + result))
        return callback(0x77000000 + self.callbacks, 1, args)

    def poll(self, reply):
        self.polls += 1
        if self.poll_answer:
            return self.finish(reply, [nfs.OFFLOAD_STATUS, self.poll_answer, b""])
        body = p64(self.done) + (p32(1, 0) if self.complete else p32(0))
        last = reply.xid in self.commits
        answer = self.finish(reply, [nfs.OFFLOAD_STATUS, 0, body], *([self.commit()] if last else []))
        # in one piece
        return self.offload(reply, b"") + answer if last and self.calls_late else answer
