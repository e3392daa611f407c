# SPDX-License-Identifier: LGPL-2.1-or-later
"""Stands between vsockfs and nfs-ganesha, which delegates nothing, and says that it does. Nothing is ever
recalled."""

import time

import nfsreply as nfs
from nfsreply import p32
from proxy import Proxy

DELEGRETURN, READ_DELEGATION = 8, 1
MARK = b"delegate"  # the stateids of delegations: seqid, this, number
# seqid 0, READ with WANT_READ_DELEG, deny nothing
WANTS = p32(nfs.OPEN, 0, 0x101, 0)


class Delegating(Proxy):
    """Each OPEN that asks for a read delegation brings one."""

    def __init__(self, path, port):
        self.asking, self.returning = set(), set()
        self.number = self.returned = 0
        self.slow = 0  # seconds for each OPEN
        super().__init__(path, port)

    def forwarded(self, call):
        xid, what = call[:4], call
        if WANTS in call:
            time.sleep(self.slow)
            self.asking.add(xid)
        while (at := what.find(MARK)) >= 0:
            if what[at - 8:at - 4] == p32(DELEGRETURN):
                # ganesha has never heard of it: something that takes as many operations
                what = what[:at - 8] + p32(nfs.ACCESS, 1) + what[at + 12:]
                self.returning.add(xid)
            else:
                what = what[:at - 4] + bytes(16) + what[at + 12:]  # the anonymous stateid
        return what

    def amended(self, reply):
        xid = reply[:4]
        if xid in self.asking:
            self.asking.discard(xid)
            done = nfs.Reply(reply)
            if done.has(nfs.OPEN):
                op = done.find(nfs.OPEN)
                self.number += 1
                op[2] = (op[2][:nfs.bitmap_end(op[2], 40)] + p32(READ_DELEGATION, 1) + MARK
                         + p32(self.number, 0, 0, 0, 0) + nfs.opaque(b"OWNER@"))
                return done.bytes()
        if xid in self.returning:
            self.returning.discard(xid)
            done = nfs.Reply(reply)
            for op in done.ops:
                if op[0] == nfs.ACCESS:
                    op[0], op[2] = DELEGRETURN, b""
                    self.returned += 1
            return done.bytes()
        return reply
