#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fallocate(2), SEEK_DATA and SEEK_HOLE: the same as on the server's disk, or refused as the kernel's
client refuses it."""

import ctypes
import errno
import os
import random
import resource
import signal

import nfsreply as nfs
from harness import Suite
from hostile import Hostile
from nfsreply import p32, p64, record
from test_basic import read, write
from test_stats import stats

suite = Suite()
KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE = 1, 2, 8, 16, 32
KIB, MIB = 1 << 10, 1 << 20
DATA = random.Random(9).randbytes(MIB)
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def calls(env, mount, op):
    """How often the server was asked for it."""
    return stats(env, mount.point)["operations"].get(op, {"rpcs": 0})["rpcs"]


def is_so(env, name, size=None):
    """The mount and the disk agree on size, blocks and bytes."""
    mnt, disk = os.stat(env.path(name)), os.stat(env.on_disk(name))
    assert (mnt.st_size, mnt.st_blocks) == (disk.st_size, disk.st_blocks), (mnt, disk)
    assert size is None or mnt.st_size == size, mnt
    assert read(env.path(name)) == read(env.on_disk(name))


@suite.test("space is allocated: size and blocks are seen at once")
def allocate(env):
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT)
    fallocate(fd, 0, 0, MIB)
    assert os.fstat(fd).st_size == MIB and os.fstat(fd).st_blocks >= MIB // 512
    is_so(env, "f", MIB)
    fallocate(fd, 0, 3 * MIB, MIB)
    is_so(env, "f", 4 * MIB)
    # what is there stays
    os.pwrite(fd, DATA, 100)
    fallocate(fd, 0, 0, 2 * MIB)
    assert os.pread(fd, MIB, 100) == DATA
    os.close(fd)
    is_so(env, "f", 4 * MIB)


@suite.test("an allocation leaves the page cache what it has")
def keeps(env):
    write(env.path("f"), DATA)
    assert read(env.path("f")) == DATA
    fd = os.open(env.path("f"), os.O_RDWR)
    fallocate(fd, 0, 0, MIB)
    os.close(fd)
    before = calls(env, env.daemon, "READ")
    assert read(env.path("f")) == DATA
    assert calls(env, env.daemon, "READ") == before


@suite.test("a hole is punched: its bytes are zero, at once, in what the page cache has too")
def punch(env):
    write(env.path("f"), DATA)
    assert read(env.path("f")) == DATA
    blocks = os.stat(env.on_disk("f")).st_blocks
    fd = os.open(env.path("f"), os.O_RDWR)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 100 * KIB, 200 * KIB)
    wanted = DATA[:100 * KIB] + bytes(200 * KIB) + DATA[300 * KIB:]
    assert os.pread(fd, MIB, 0) == wanted
    assert os.stat(env.on_disk("f")).st_blocks <= blocks - 200 * KIB // 512
    # not at the borders of blocks
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 500_001, 77)
    wanted = wanted[:500_001] + bytes(77) + wanted[500_078:]
    assert os.pread(fd, MIB, 0) == wanted
    # across the end, which stays
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, MIB - 10, MIB)
    assert os.pread(fd, MIB, 0) == wanted[:-10] + bytes(10)
    os.close(fd)
    is_so(env, "f", MIB)


@suite.test("a range is zeroed, and stays allocated")
def zero(env):
    write(env.path("f"), DATA)
    assert read(env.path("f")) == DATA
    fd = os.open(env.path("f"), os.O_RDWR)
    fallocate(fd, ZERO_RANGE, 4 * KIB, 64 * KIB)
    assert os.pread(fd, MIB, 0) == DATA[:4 * KIB] + bytes(64 * KIB) + DATA[68 * KIB:]
    assert os.stat(env.on_disk("f")).st_blocks >= MIB // 512
    fallocate(fd, ZERO_RANGE, MIB - 10, MIB)
    os.close(fd)
    is_so(env, "f", 2 * MIB - 10)


@suite.test("what was written and not sent, or not committed, does not come back in a hole")
def order(env):
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT)
    for i in range(64):
        os.write(fd, DATA[4 * KIB * i:4 * KIB * (i + 1)])
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 8 * KIB, 8 * KIB)
    wanted = DATA[:8 * KIB] + bytes(8 * KIB) + DATA[16 * KIB:256 * KIB]
    assert os.pread(fd, MIB, 0) == wanted
    os.pwrite(fd, DATA, 0)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, MIB)
    os.fsync(fd)
    os.close(fd)
    is_so(env, "f", MIB)
    assert read(env.on_disk("f")) == bytes(MIB)


@suite.test("a second mount sees it")
def elsewhere(env):
    other = env.mount("noac")
    path = os.path.join(other.point, env.name, "f")
    write(env.path("f"), DATA)
    assert read(path) == DATA
    fd = os.open(env.path("f"), os.O_RDWR)
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, 512 * KIB)
    fallocate(fd, 0, 0, 2 * MIB)
    assert os.stat(path).st_size == 2 * MIB
    assert read(path) == bytes(512 * KIB) + DATA[512 * KIB:] + bytes(MIB)
    os.close(fd)


@suite.test("other kinds of fallocate are not supported, and nothing is asked for them")
def unsupported(env):
    write(env.path("f"), DATA)
    fd = os.open(env.path("f"), os.O_RDWR)
    before = [calls(env, env.daemon, op) for op in ("ALLOCATE", "DEALLOCATE")]
    for mode in (KEEP_SIZE, ZERO_RANGE | KEEP_SIZE, COLLAPSE_RANGE, INSERT_RANGE):
        env.fails(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 4 * KIB)
    assert before == [calls(env, env.daemon, op) for op in ("ALLOCATE", "DEALLOCATE")]
    os.close(fd)
    assert read(env.path("f")) == DATA


@suite.test("errors of fallocate: EBADF, EINVAL, EFBIG, ENODEV")
def errors(env):
    write(env.path("f"), DATA)
    fd = os.open(env.path("f"), os.O_RDONLY)
    env.fails(errno.EBADF, fallocate, fd, 0, 0, 1)
    os.close(fd)
    fd = os.open(env.path("f"), os.O_RDWR)
    env.fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
    env.fails(errno.EINVAL, fallocate, fd, 0, -1, 1)
    env.fails(errno.EFBIG, fallocate, fd, 0, (1 << 63) - 1, 1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, limit[1]))
    env.fails(errno.EFBIG, fallocate, fd, 0, 0, 3 * MIB)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    os.close(fd)
    is_so(env, "f", MIB)


def places(path):
    """Where SEEK_DATA and SEEK_HOLE lead from everywhere that matters."""
    found = []
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for offset in sorted({0, 1, 4095, 4096, 300_000, MIB - 1, MIB, 2 * MIB, 3 * MIB - 1,
                              3 * MIB, 3 * MIB + 1, size - 1, size, size + 1, 1 << 40} - {-1}):
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                try:
                    found.append((offset, whence, os.lseek(file.fileno(), offset, whence)))
                except OSError as e:
                    found.append((offset, whence, errno.errorcode[e.errno]))
    return found


@suite.test("SEEK_DATA and SEEK_HOLE lead where they do on the disk")
def seek(env):
    shapes = {"empty": [], "data": [(0, DATA)], "hole": [], "sparse": [(MIB, DATA), (3 * MIB, DATA)],
              "tail": [(5, b"x")]}
    for name, parts in shapes.items():
        with open(env.path(name), "wb") as file:
            for offset, data in parts:
                file.seek(offset)
                file.write(data)
            if name in ("hole", "tail"):
                file.truncate(4 * MIB)
        wanted = places(env.on_disk(name))
        assert places(env.path(name)) == wanted, (name, places(env.path(name)), wanted)
    assert calls(env, env.daemon, "SEEK") > 0
    # what is not sent yet is found
    fd = os.open(env.path("hole"), os.O_RDWR)
    os.pwrite(fd, b"now", 2 * MIB)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 2 * MIB
    os.close(fd)


def refusing(op, status):
    def damage(_, reply):
        found = reply.find(op)
        found[1], found[2], reply.status = status, b"", status
        del reply.ops[reply.ops.index(found) + 1:]
        reply.count = len(reply.ops)
        return record(reply.bytes())
    return damage


@suite.test("what the server refuses as not supported is asked for once; all is data then")
def refused(env):
    h = Hostile(env)
    for op, mode in ((nfs.ALLOCATE, 0), (nfs.DEALLOCATE, PUNCH_HOLE | KEEP_SIZE)):
        fd = os.open(h.path("big"), os.O_RDWR)
        h.proxy.arm(refusing(op, nfs.NOTSUPP), op, times=1000)
        for _ in range(3):
            env.fails(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 4 * KIB)
        assert h.proxy.hits == 1, h.proxy.hits
        env.fails(errno.EOPNOTSUPP, fallocate, fd, ZERO_RANGE, 0, 4 * KIB)
        assert h.proxy.hits == 1, h.proxy.hits
        os.close(fd)
    h.proxy.arm(refusing(nfs.SEEK, nfs.NOTSUPP), nfs.SEEK, times=1000)
    with open(h.path("sparse"), "wb") as file:
        file.truncate(MIB)
    with open(h.path("sparse"), "rb") as file:
        fd = file.fileno()
        assert os.lseek(fd, 5, os.SEEK_DATA) == 5
        assert os.lseek(fd, 5, os.SEEK_HOLE) == MIB
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            env.fails(errno.ENXIO, os.lseek, fd, MIB, whence)
    assert h.proxy.hits == 1, h.proxy.hits


@suite.test("the server's errors: ENOSPC, EDQUOT, EFBIG, EIO; no half of a zeroed range is hidden")
def server_errors(env):
    h = Hostile(env)
    fd = os.open(h.path("big"), os.O_RDWR)
    size = os.fstat(fd).st_size
    before = os.pread(fd, size, 0)
    for status, number in ((28, errno.ENOSPC), (69, errno.EDQUOT), (27, errno.EFBIG),
                           (5, errno.EIO)):
        h.proxy.arm(refusing(nfs.ALLOCATE, status), nfs.ALLOCATE)
        env.fails(number, fallocate, fd, ZERO_RANGE, 4 * KIB, 4 * KIB)
        assert h.proxy.hits == 1
    wanted = before[:4 * KIB] + bytes(4 * KIB) + before[8 * KIB:]
    assert read(env.on_disk("big")) == wanted
    env.eventually(lambda: os.pread(fd, size, 0) == wanted, within=10)
    os.close(fd)


def seek_reply(eof, offset):
    def damage(_, reply):
        reply.find(nfs.SEEK)[2] = p32(eof) + p64(offset)
        return record(reply.bytes())
    return damage


@suite.test("a server that leads SEEK backwards, or beyond all files, is not followed")
def hostile_seek(env):
    h = Hostile(env)
    fd = os.open(h.path("big"), os.O_RDONLY)
    for eof, offset, whence, number in (
            (0, 4095, os.SEEK_DATA, errno.EIO), (0, 0, os.SEEK_HOLE, errno.EIO),
            (0, 1 << 63, os.SEEK_DATA, errno.EIO), (1, (1 << 64) - 1, os.SEEK_HOLE, errno.EIO),
            (1, 4096, os.SEEK_DATA, errno.ENXIO), (1, 0, os.SEEK_HOLE, errno.ENXIO)):
        h.proxy.arm(seek_reply(eof, offset), nfs.SEEK)
        env.fails(number, os.lseek, fd, 4096, whence)
        assert h.proxy.hits == 1
    h.proxy.arm(seek_reply(2, 4096), nfs.SEEK)  # no boolean: the reply is asked for again
    assert os.lseek(fd, 4096, os.SEEK_DATA) == 4096
    os.close(fd)
    h.good(lines=1)


@suite.test("NFSv4.1: fallocate is not supported, and all is data, without a question")
def minor_1(env):
    other = env.mount("vers=4.1")
    path = os.path.join(other.point, env.name, "f")
    with open(env.path("f"), "wb") as file:
        file.truncate(MIB)
    fd = os.open(path, os.O_RDWR)
    for mode in (0, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE):
        env.fails(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 4 * KIB)
    assert os.lseek(fd, 5, os.SEEK_DATA) == 5
    assert os.lseek(fd, 5, os.SEEK_HOLE) == MIB
    env.fails(errno.ENXIO, os.lseek, fd, MIB, os.SEEK_DATA)
    os.close(fd)
    for op in ("ALLOCATE", "DEALLOCATE", "SEEK"):
        assert calls(env, other, op) == 0, op


if __name__ == "__main__":
    suite.main()
