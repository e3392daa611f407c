# SPDX-License-Identifier: LGPL-2.1-or-later
"""RPC records as the proxy sees them: just enough to aim a fault, and to damage one with a purpose.

AUTH_SYS carries no checksum, so that a changed byte of data, of an attribute, of a stateid or of a
status is the truth as far as any client can tell. What is damaged here is what a client must see
through: record marks, xids, and the heads of replies up to the results of SEQUENCE. All of it ends
the connection, and the compound is sent again. Of calls, only the mark and the xid: the rest makes
the server answer with an error, which is an answer.
"""

import struct

CALL, REPLY = 0, 1
NFS4, COMPOUND, SEQUENCE = 100003, 1, 53
LAST = 0x80000000
MARK = 4  # bytes in front of the record


class Ended(Exception):
    """The peer has closed its stream."""


def u32(data, at):
    return struct.unpack_from(">I", data, at)[0]


def receive_exactly(sock, data, n):
    """Appends n bytes to data."""
    end = len(data) + n
    while len(data) < end:
        block = sock.recv(min(end - len(data), 1 << 20))
        if not block:
            raise Ended
        data += block


def receive(sock):
    """One record with its marks, as it came."""
    data = bytearray()
    while True:
        at = len(data)
        receive_exactly(sock, data, MARK)
        mark = u32(data, at)
        receive_exactly(sock, data, mark & ~LAST)
        if mark & LAST:
            return data


def xid(data):
    return u32(data, MARK)


def kind(data):
    return u32(data, MARK + 4) if len(data) >= MARK + 8 else None


def opaque_end(data, at):
    return at + 4 + (u32(data, at) + 3 & ~3)


def wants_cached_reply(data):
    """Whether this is a compound whose SEQUENCE asks for the reply to be kept: what must not be
    executed twice."""
    try:
        if kind(data) != CALL or u32(data, MARK + 12) != NFS4 or u32(data, MARK + 20) != COMPOUND:
            return False
        at = opaque_end(data, MARK + 28)        # credentials
        at = opaque_end(data, at + 4)           # verifier
        at = opaque_end(data, at) + 4 + 4       # tag, minor version, number of operations
        return u32(data, at) == SEQUENCE and u32(data, at + 4 + 16 + 12) == 1
    except struct.error:
        return False


def put(data, at, value):
    struct.pack_into(">I", data, at, value & 0xffffffff)


def mark_by(change):
    def damage(data):
        put(data, 0, change(u32(data, 0)))
    return damage


def word(at, change=lambda value: ~value):
    """Damages a word of the record, counted without the mark."""
    def damage(data):
        put(data, MARK + at, change(u32(data, MARK + at)))
    return damage


DAMAGE = {
    CALL: {
        "mark-huge": mark_by(lambda mark: 0xffffffff),
        "xid": word(0),
    },
    REPLY: {
        "mark-longer": mark_by(lambda mark: mark + 8),
        "mark-shorter": mark_by(lambda mark: mark - 8),
        "mark-huge": mark_by(lambda mark: 0xffffffff),
        "mark-goes-on": mark_by(lambda mark: mark & ~LAST),
        "xid": word(0),
        "reply-stat": word(8, lambda value: 7),
        "verifier-length": word(16),
        "accept-stat": word(20, lambda value: 77),
        "tag-length": word(28),
        "results": word(32, lambda value: value + 1),
        "operation": word(36),
        "session-id": word(44),
        "sequence-id": word(60, lambda value: value + 1),
        "slot": word(64, lambda value: value + 1),
    },
}


def has_sequence_results(data):
    """A reply that all of DAMAGE[REPLY] fits: accepted, good, without a tag."""
    return (len(data) >= MARK + 72 and kind(data) == REPLY and
            [u32(data, MARK + at) for at in (8, 16, 20, 24, 28, 36, 40)] ==
            [0, 0, 0, 0, 0, SEQUENCE, 0])
