#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server that sends garbage: the connection ends with one log line, and the work goes on."""

import errno
import os
import signal
import subprocess
import threading
import time

import nfsreply as nfs
from harness import Suite
from hostile import MIB, NAMES, WORK, Hostile, damaged, each, endless, readdir, stat
from nfsreply import Directory, Fattr, p32, record
from proxy import CLOSE
from test_basic import write

suite = Suite()


# Records


def one_byte_fragments(_, reply):
    data = reply.bytes()
    fragments = bytearray(5 * len(data))    # in time, though the machine be slow
    fragments[3::5] = b"\1" * len(data)
    fragments[4::5] = data
    fragments[-5] = 0x80
    return bytes(fragments)


def truncated(part):
    def damage(_, reply):
        data = record(reply.bytes())
        return [data[:max(1, int(len(data) * part))], CLOSE]
    return damage


@suite.test("fragments of one byte are put together", timeout=60)
def fragments(env):
    h = Hostile(env)
    for op, work in WORK.items():
        h.proxy.arm(one_byte_fragments, op, times=3)
        work(h)
        assert h.proxy.hits >= 1
    h.good(lines=0)


@suite.test("a record that is cut short by the end of the connection is asked for again",
            timeout=100)
def cut(env):
    for op in WORK:
        each(env, op, {f"{part} of it": truncated(part) for part in (0.001, 0.3, 0.99)})


@suite.test("a record that is cut short by silence is asked for again when timeo is over",
            timeout=60)
def silence(env):

    def damage(connection, reply):
        connection.silent = True
        data = record(reply.bytes())
        connection.send(data[:len(data) // 2])
        return b""
    for op in (nfs.LOOKUP, nfs.READ):
        each(env, op, {"silence": damage})


@suite.test("record marks that lie and fragments without end close the connection", timeout=100)
def marks(env):
    each(env, nfs.LOOKUP, {
        "4 GiB": lambda _, r: p32(0xffffffff) + r.bytes(),
        "2 GiB fragment": lambda _, r: p32(0x7fffffff) + r.bytes(),
        "64 MiB": lambda _, r: p32(0x84000000) + r.bytes(),
        "shorter than it is": lambda _, r: p32(0x80000000 | 40) + r.bytes(),
        "empty record": lambda _, r: p32(0x80000000) + record(r.bytes()),
        "empty fragments": endless(b"", p32(0) * 1000),
        "one record": endless(b"", p32(1000) + bytes(1000)),
        "HTTP": lambda _, r: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    })
    each(env, nfs.READ, {
        "payload without end": lambda c, r: endless(
            p32(100) + r.bytes()[:100], p32(4) + b"abcd")(c, r)})


@suite.test("replies to no call, twice or to one not made close the connection", timeout=60)
def strangers(env):
    each(env, nfs.LOOKUP, {
        "wrong xid": damaged(lambda r: setattr(r, "xid", r.xid ^ 0x8000)),
        "twice": lambda _, r: 2 * record(r.bytes())})
    h = Hostile(env)
    h.proxy.current().send(record(p32(0xdeadbeef, 1, 0, 0, 0, 0)))
    stat(h)
    h.good(lines=1)


@suite.test("replies in another order than the calls go to the right ones", timeout=60)
def order(env):
    h = Hostile(env)
    held = []

    def hold(connection, reply):
        held.append(record(reply.bytes()))
        if len(held) < 8:
            return b""
        return b"".join(reversed(held))
    sizes = {}
    threads = []
    for i in range(8):
        write(env.on_disk(f"s{i}"), b"x" * (1000 + i))
    h.proxy.arm(hold, nfs.GETATTR, times=8)
    for i in range(8):  # one call each: the directory's attributes are asked for as well
        threads.append(threading.Thread(
            target=lambda n: sizes.update({n: os.stat(h.path(f"s{n}")).st_size}), args=(i,)))
        threads[-1].start()
    deadline = time.monotonic() + 2
    while len(held) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    if len(held) < 8:  # fewer calls at a time than threads: let go what is there
        h.proxy.disarm()
        h.proxy.current().send(b"".join(reversed(held)))
    for thread in threads:
        thread.join()
    assert len(held) > 1, "never two calls at a time"
    assert sizes == {i: 1000 + i for i in range(8)}, sizes
    h.good(lines=0)


@suite.test("a call that RPC rejects fails with an errno, and the connection stays")
def rejected(env):
    h = Hostile(env)
    for answer, number in ((p32(1, 1, 5), errno.EACCES),              # AUTH_TOOWEAK
                           (p32(0, 0, 0, 2, 3, 3), errno.EPROTONOSUPPORT),  # PROG_MISMATCH
                           (p32(0, 0, 0, 4), errno.EIO),              # GARBAGE_ARGS
                           (p32(0, 0, 0, 5), errno.EIO),              # SYSTEM_ERR
                           (p32(1, 0, 2, 2), errno.EIO)):             # RPC_MISMATCH
        h.proxy.arm_call(lambda call, a=answer: record(call[:4] + p32(1) + a))
        env.fails(number, os.stat, h.path("big"))
        assert h.proxy.hits == 1
        h.good(lines=0)


# Compounds


def set_op(index, value, field=0):
    def change(reply):
        reply.ops[index][field] = value
    return damaged(change)


def more(reply):
    reply.ops.append([nfs.GETATTR, 0, reply.find(nfs.GETATTR)[2]])
    reply.count += 1


def fewer(reply):
    reply.ops.pop()
    reply.count -= 1


def sequence_bytes(at, data):
    def change(reply):
        body = bytearray(reply.ops[0][2])
        body[at:at + len(data)] = data
        reply.ops[0][2] = bytes(body)
    return damaged(change)


@suite.test("results that do not answer what was asked close the connection, and are EIO when they"
            " come again", timeout=150)
def results(env):
    each(env, nfs.LOOKUP, {
        "another operation": set_op(2, nfs.RENAME),
        "no SEQUENCE": set_op(0, nfs.PUTFH),
        "unknown operation": set_op(-1, 0x7fffffff),
        "more results": damaged(more),
        "fewer results": damaged(fewer),
        "status of another": damaged(lambda r: setattr(r, "status", 2)),
        "no error at its end": set_op(2, 2, field=1),
        "status beyond all": damaged(lambda r: setattr(r, "status", 0xffffffff)),
        "count of 4e9": damaged(lambda r: setattr(r, "count", 0xfffffff0)),
        "no results": damaged(lambda r: (setattr(r, "count", 0), setattr(r, "ops", []))),
        "trailing bytes": damaged(lambda r: setattr(r, "tail", bytes(8))),
        "one trailing byte": damaged(lambda r: setattr(r, "tail", b"x")),
        "another session": sequence_bytes(3, b"!"),
        "another sequence": sequence_bytes(16, p32(0x7000)),
        "another slot": sequence_bytes(20, p32(3)),
    }, fails=errno.EIO)


@suite.test("SEQUENCE's targets and flags of any kind are survived")
def sequence_values(env):
    h = Hostile(env)
    for value in (0, 1, 0x7fffffff, 0xffffffff):
        h.proxy.arm(sequence_bytes(24, p32(value, value)), nfs.SEQUENCE, times=4)
        stat(h)
        readdir(h)
        h.good(lines=0)


# Operations


def read_length(change):
    def damage(reply):
        body = reply.find(nfs.READ)[2]
        data = body[8:8 + nfs.u32(body, 4)]
        reply.find(nfs.READ)[2] = body[:4] + change(data)
    return damaged(damage)


@suite.test("READ results whose lengths lie close the connection", timeout=60)
def read_lies(env):
    each(env, nfs.READ, {
        "more than asked": read_length(lambda d: nfs.opaque(d + bytes(MIB))),
        "4 GiB": read_length(lambda d: nfs.opaque(d, 0xffffffff)),
        "2 GiB": read_length(lambda d: nfs.opaque(d, 0x7fffffff)),
        "more than sent": read_length(lambda d: nfs.opaque(d[:-4096], len(d))),
        "less than sent": read_length(lambda d: nfs.opaque(d, len(d) - 4096)),
        "eof is 7": damaged(lambda r: r.find(nfs.READ).__setitem__(
            2, p32(7) + r.find(nfs.READ)[2][4:])),
    }, fails=errno.EIO)


@suite.test("WRITE results that claim more than was sent close the connection", timeout=60)
def write_lies(env):

    def put(*words):
        def change(reply):
            body = reply.find(nfs.WRITE)[2]
            reply.find(nfs.WRITE)[2] = p32(*words) + body[4 * len(words):]
        return damaged(change)
    each(env, nfs.WRITE, {"4 GiB": put(0xffffffff), "how": put(100, 77)}, fails=errno.EIO)


def attrs(change):
    """Changes the attributes of a GETATTR."""
    def damage(reply):
        getattr_op = reply.find(nfs.GETATTR)
        fattr = Fattr(getattr_op[2])
        change(fattr)
        getattr_op[2] = fattr.bytes()
    return damaged(damage)


def claim(delta):
    return lambda f: setattr(f, "claimed", sum(map(len, f.values.values())) + delta)


def value(number, data):
    return lambda f: f.values.__setitem__(number, data)


def getfh(data):
    return damaged(lambda r: r.find(nfs.GETFH).__setitem__(2, data))


@suite.test("attributes and filehandles that cannot be close the connection", timeout=150)
def attributes(env):
    each(env, nfs.LOOKUP, {
        "list longer than it is": attrs(claim(4)),
        "list shorter than it is": attrs(claim(-4)),
        "list of 4 GiB": attrs(lambda f: setattr(f, "claimed", 0xfffffffc)),
        "owner of 2000 bytes": attrs(value(nfs.OWNER, nfs.opaque(b"o" * 2000))),
        "owner of 2 GiB": attrs(value(nfs.OWNER, nfs.opaque(b"o", 0x7fffffff))),
        "4e9 nanoseconds": attrs(value(nfs.MTIME, nfs.p64(1) + p32(4_000_000_000))),
        "unknown type": attrs(value(nfs.TYPE, p32(99))),
        "not asked for": attrs(lambda f: f.words.__setitem__(0, f.words[0] | 0x1000)),
        "many words": attrs(lambda f: setattr(f, "words", f.words + [1] * 200)),
        "empty filehandle": getfh(p32(0)),
        "filehandle of 129 bytes": getfh(nfs.opaque(bytes(129))),
        "filehandle of 4 GiB": getfh(nfs.opaque(bytes(128), 0xffffffff)),
    }, fails=errno.EIO)


@suite.test("missing attributes and odd but legal values are an error or a value")
def odd_attributes(env):
    h = Hostile(env)

    def nothing(fattr):
        fattr.words, fattr.values = [], {}
    h.proxy.arm(attrs(nothing), nfs.GETATTR)
    env.fails(errno.EIO, os.stat, h.path("big"))
    h.good(lines=0)
    for change in (value(nfs.SIZE, nfs.p64(-1)), value(nfs.OWNER, nfs.opaque(b"\0\xff@%n%s")),
                   value(nfs.MTIME, nfs.p64(-(1 << 63)) + p32(999_999_999))):
        h.proxy.arm(attrs(change), nfs.GETATTR, times=3)
        try:
            os.stat(h.path("big"))
        except OSError as e:
            assert e.errno in (errno.EIO, errno.EOVERFLOW), e
        h.good(lines=0)


# Directories


def directory(change):
    def damage(reply):
        readdir_op = reply.find(nfs.READDIR)
        contents = Directory(readdir_op[2])
        change(contents)
        readdir_op[2] = contents.bytes()
    return damaged(damage)


@suite.test("names that no directory has are not shown")
def bad_names(env):
    h = Hostile(env)
    bad = [b"..", b".", b"a/b", b"/", b"nul\0name", b"", b"n" * 300]

    def change(contents):
        for entry, name in zip(contents.entries, bad):
            entry[1] = name
    h.proxy.arm(directory(change), nfs.READDIR, times=10)
    names = os.listdir(os.fsencode(h.path("d")))
    assert h.proxy.hits >= 1
    assert len(names) == len(NAMES) - len(bad), names
    assert all(os.fsdecode(n) in NAMES for n in names), names
    h.good(lines=0)


def entry_vanished(_, reply):
    at = [op[0] for op in reply.ops].index(nfs.READDIR)
    reply.ops[at:] = [[nfs.READDIR, 2, b""]]
    reply.status, reply.count = 2, len(reply.ops)
    return record(reply.bytes())


@suite.test("an entry that vanishes while the server reads a directory does not end its listing")
def vanished(env):
    """readdir(3) takes ENOENT for the end."""
    h = Hostile(env)
    h.proxy.arm(entry_vanished, nfs.READDIR, times=3)
    assert sorted(os.listdir(h.path("d"))) == sorted(NAMES)
    assert h.proxy.hits == 3
    h.proxy.arm(entry_vanished, nfs.READDIR, times=1000)
    env.fails(errno.EIO, os.listdir, h.path("d"))
    h.good(lines=0)


@suite.test("an entry with an error instead of attributes is listed, and can be used")
def entry_with_error(env):
    """As knfsd answers for a file whose delegation's holder is slow to tell its size."""
    h = Hostile(env)
    names = sorted(NAMES)[:3]

    def change(contents):
        for entry in contents.entries:
            if os.fsdecode(entry[1]) in names:
                entry[2] = p32(1, 1 << 11) + nfs.opaque(p32(10008))  # rdattr_error: NFS4ERR_DELAY
    h.proxy.arm(directory(change), nfs.READDIR, times=10)
    with os.scandir(h.path("d")) as entries:
        numbers = {entry.name: entry.inode() for entry in entries}
    assert h.proxy.hits >= 1
    assert sorted(numbers) == sorted(NAMES), sorted(set(NAMES) - set(numbers))
    assert all(numbers.values()), numbers
    for name in names:
        assert os.stat(h.path("d", name)).st_size == 0
    h.good(lines=0)


@suite.test("READDIR results whose lengths lie close the connection", timeout=60)
def readdir_lies(env):

    def name_of(length):
        def change(reply):
            op = reply.find(nfs.READDIR)
            op[2] = op[2][:8 + 12] + p32(length) + op[2][8 + 16:]
        return damaged(change)

    def no_end(contents):
        contents.entries, contents.eof = [], 0
    each(env, nfs.READDIR, {
        "name of 4 GiB": name_of(0xffffffff), "name of 1 MiB": name_of(MIB),
        "nothing and no end": directory(no_end),
        "eof is 9": directory(lambda c: setattr(c, "eof", 9)),
    }, fails=errno.EIO)


def replaying(change):
    """Every READDIR is answered from the first reply, changed and without an end."""
    first = []

    def damage(_, reply):
        if reply.has(nfs.READDIR):
            first.append(reply.find(nfs.READDIR)[2])
        elif not first or reply.ops[-1][0] != nfs.READDIR:
            return record(reply.bytes())
        else:
            reply.ops[-1][1] = reply.status = 0
        contents = Directory(first[0])
        contents.eof = 0
        change(contents)
        reply.ops[-1][2] = contents.bytes()
        return record(reply.bytes())
    return damage


def counting():
    turn = [0]

    def change(contents):
        for entry in contents.entries:
            turn[0] += 1
            entry[0] = 1000 + turn[0]
    return change


def same_cookie(contents):
    for entry in contents.entries:
        entry[0] = 4711


def unusable(contents):
    for entry in contents.entries:
        entry[1] = b".."


@suite.test("a directory without end ends, or its reader can be killed", timeout=60)
def endless_directory(env):
    h = Hostile(env)
    for change in (counting(), same_cookie, unusable):
        h.proxy.arm(replaying(change), nfs.SEQUENCE, times=1_000_000)
        ls = subprocess.Popen(["ls", "-f", h.path("d")], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
        try:
            assert ls.wait(2) != 0 or change is not unusable, "no error from a directory of '..'"
        except subprocess.TimeoutExpired:
            assert change is not unusable, "a directory of '..' does not end"
            ls.send_signal(signal.SIGKILL)
            ls.wait(3)
        h.good(None)  # attributes of another READDIR may not be what was asked for


if __name__ == "__main__":
    suite.main()
