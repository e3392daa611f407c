# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mount through the damaging proxy, for tests of servers that send garbage."""

import contextlib
import os
import random
import time

import nfsreply as nfs
from mounts import Mount
from nfsreply import record
from proxy import Proxy
from test_basic import read, write

MIB = 1 << 20
DATA = random.Random(5).randbytes(300_000)
RSS_MAX = 64 << 10  # KiB
NAMES = [f"entry{i:03}" for i in range(60)]


class Hostile:
    """A mount through the proxy, with files in place, and what must hold after all."""

    def __init__(self, env, options="nconnect=1,noac,timeo=20", first=None):
        """first: (damage, operation) for the proxy while it is being mounted."""
        self.env = env
        env.mount_count += 1
        point = os.path.join(env.work, f"{env.name}-hostile{env.mount_count}")
        self.stack = env.stack.enter_context(contextlib.ExitStack())
        self.proxy = Proxy(point + ".sock", env.port)
        self.stack.callback(self.proxy.stop)
        if first:
            self.proxy.arm(*first, times=1000)
        self.mount = self.stack.enter_context(
            Mount(env.suite.program(), f"unix:{self.proxy.path}:/export", point, options))
        self.stack.callback(self.proxy.disarm)
        self.dir = os.path.join(point, env.name)
        if not os.path.exists(env.on_disk("d")):
            os.mkdir(env.on_disk("d"))
            for name in NAMES:
                write(env.on_disk("d", name), b"")
            write(env.on_disk("big"), DATA)
        os.listdir(self.dir)
        self.log_start = os.path.getsize(self.mount.log)
        self.connections = len(self.proxy.connections)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def log(self):
        with open(self.mount.log, errors="replace") as f:
            f.seek(self.log_start)
            return f.read()

    def complaints(self):
        return [line for line in self.log().splitlines()
                if "connection closed" in line or "connection lost" in line]

    def memory(self):
        with open(f"/proc/{self.mount.process.pid}/status") as f:
            return int(next(line.split()[1] for line in f if line.startswith("VmHWM:")))

    def cpu(self):
        with open(f"/proc/{self.mount.process.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def good(self, lines=0):
        """The daemon is the same, said so much, connected so often (None: whatever), and works."""
        self.proxy.disarm()
        start = time.monotonic()
        name = f"after{len(os.listdir(self.env.disk))}"
        write(self.path(name), DATA[:70_000])
        assert read(self.env.on_disk(name)) == DATA[:70_000]
        for file in ("big", name):
            fd = os.open(self.path(file), os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
            assert read(self.path(file)) == read(self.env.on_disk(file)), file
        assert read(self.env.on_disk("big")) == DATA
        assert sorted(os.listdir(self.path("d"))) == NAMES
        took = time.monotonic() - start
        assert took < 6 * self.env.slowness(), f"{took:.1f} s until it worked again"
        assert self.mount.process.poll() is None, "the daemon ended"
        found = self.complaints()
        if lines is not None:
            assert len(found) == lines, f"{len(found)} complaints, not {lines}:\n{self.log()}"
            made = len(self.proxy.connections) - self.connections
            assert made == lines, f"{made} new connections, not {lines}\n{self.log()}"
        assert len(found) <= 12, self.log()
        if os.environ.get("VSOCKFS_SANITIZED") != "1":
            assert self.memory() < RSS_MAX, f"{self.memory()} KiB"
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()
        self.log_start = os.path.getsize(self.mount.log)
        self.connections = len(self.proxy.connections)


def stat(h):
    assert os.stat(h.path("big")).st_size == len(DATA)


def readdir(h):
    assert sorted(os.listdir(h.path("d"))) == NAMES


def load(h):
    fd = os.open(h.path("big"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        assert os.pread(fd, len(DATA), 0) == DATA
    finally:
        os.close(fd)


def save(h):
    write(h.path("new"), DATA)
    assert read(h.env.on_disk("new")) == DATA


WORK = {nfs.LOOKUP: stat, nfs.READDIR: readdir, nfs.READ: load, nfs.WRITE: save}


def each(env, op, damages, lines=1, fails=None):
    """Every damage once to a reply with `op`: the program sees nothing of it. Then twice in a row:
    it fails with EIO. On a mount of its own, since the daemon says only so much in a minute."""
    for name, damage in damages.items():
        try:
            h = Hostile(env)
            h.proxy.arm(damage, op)
            WORK[op](h)
            assert h.proxy.hits == 1, f"{h.proxy.hits} replies damaged"
            h.good(lines)
            if fails:
                h.proxy.arm(damage, op, times=1000)
                h.env.fails(fails, WORK[op], h)
                # the kernel asks several times for one read(2), and for one path
                assert 2 <= h.proxy.hits <= 40, f"{h.proxy.hits} replies damaged in a row"
                h.good(None)
            h.stack.close()
        except AssertionError as e:
            raise AssertionError(f"{name}: {e}") from e


def damaged(change):
    """From a function that changes a Reply in place."""
    def damage(_, reply):
        change(reply)
        return record(reply.bytes())
    return damage


def endless(first, block, limit=256 * MIB):
    """Bytes until the connection is cut."""
    def damage(connection, reply):
        yield first
        for _ in range(limit // len(block)):
            yield block
        raise AssertionError("took all of it")
    return damage
