#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small writes are gathered: nobody who looks may see that, and nothing may come out of order."""

import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import random
import signal
import stat
import threading
import time

import nfsreply as nfs
from harness import Suite
from hostile import Hostile, damaged
from nfsreply import p32
from test_basic import read, write

suite = Suite()
KIB, MIB = 1 << 10, 1 << 20
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)


class Twin:
    """The same calls on a file of the mount and on one of the local disk."""

    def __init__(self, env, name, seed):
        self.paths = [env.path(name), env.scratch(name)]
        self.noise = random.Random(seed)
        self.fds = [[os.open(p, os.O_CREAT | os.O_RDWR | how, 0o644) for p in self.paths]
                    for how in (0, 0, os.O_APPEND, os.O_SYNC)]

    def both(self, call, pair, *args):
        got, want = (call(fd, *args) for fd in pair)
        assert got == want, (call.__name__, args[-2:], str(got)[:80], str(want)[:80])
        return got

    def pick(self):
        return self.noise.choice(self.fds)

    def range(self):
        size = self.noise.choice((1, 100, 4 * KIB, 10_000, 100_000, 300_000))
        return self.noise.randrange(300_000), self.noise.randint(1, size)

    def write(self):
        pair, (at, size) = self.pick(), self.range()
        place = self.noise.random()
        if place < 0.5:  # what goes on where the last one has ended
            at = self.at
        elif place < 0.8:  # or begins in front of it and reaches into it
            at = max(0, self.begin - self.noise.randint(0, size))
        self.begin, self.at = at, at + size
        data = self.noise.randbytes(size)
        if pair is self.fds[2]:
            self.both(os.write, pair, data)
        else:
            self.both(os.pwrite, pair, data, at)

    def read(self):
        pair, (at, size) = self.pick(), self.range()
        if self.noise.random() < 0.5:  # from the daemon, not from the page cache
            for fd in pair:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self.both(os.pread, pair, size, at)

    def truncate(self):
        self.both(os.ftruncate, self.pick(), self.range()[0])

    def look(self):
        self.both(lambda fd: os.fstat(fd).st_size, self.pick())
        self.both(lambda path: os.stat(path).st_size, self.paths)

    def sync(self):
        self.both(os.fsync, self.pick())

    def map(self):
        size = self.both(lambda fd: os.fstat(fd).st_size, self.pick())
        if size < 10:
            return
        for fd in self.fds[0]:
            with mmap.mmap(fd, size) as m:
                m[size // 2] = 7
                m.flush()

    def reopen(self):
        at = self.noise.randrange(2)
        pair = self.fds[at]
        self.both(os.close, pair)
        self.fds[at] = [os.open(p, os.O_RDWR) for p in self.paths]

    def run(self, steps):
        self.begin = self.at = 0
        calls = [self.write] * 10 + [self.read] * 4 + [
            self.truncate, self.look, self.look, self.sync, self.map, self.reopen]
        for _ in range(steps):
            self.noise.choice(calls)()
        for pair in self.fds:
            self.both(os.close, pair)
        self.both(read, self.paths)


@suite.test("any mix of calls through four descriptors does what a local disk does", timeout=120)
def mixed(env):
    for seed in range(6):
        twin = Twin(env, f"f{seed}", seed)
        twin.run(250)
        assert read(env.on_disk(f"f{seed}")) == read(twin.paths[1])


@suite.test("several threads write to one file, each its own part, while others read and stat",
            timeout=60)
def parallel(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 4 * 100 * KIB)

    def part(n):
        mine = os.open(env.path("f"), os.O_RDWR)
        for i in range(100):
            os.pwrite(mine, bytes([n + 1]) * KIB, (n * 100 + i) * KIB)
            assert os.fstat(mine).st_size == 4 * 100 * KIB
            if i % 10 == 0:
                os.posix_fadvise(mine, 0, 0, os.POSIX_FADV_DONTNEED)
                assert os.pread(mine, KIB, (n * 100 + i) * KIB) == bytes([n + 1]) * KIB
        os.close(mine)

    failures = []

    def guarded(n):
        try:
            part(n)
        except BaseException as e:
            failures.append(e)
    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    assert not failures, failures[0]
    assert read(env.on_disk("f")) == b"".join(bytes([n + 1]) * 100 * KIB for n in range(4))


def little_ahead(mount):
    """As on a mount that is not root's."""
    device = os.stat(mount).st_dev
    with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb", "w") as f:
        f.write("128")


@suite.test("what is read ahead is not told any more when the file has changed, here or there")
def led(env):
    little_ahead(env.mnt)
    size = 6 * MIB
    data = bytearray(random.Random(1).randbytes(size + 12_345))
    write(env.on_disk("f"), data)
    with open(env.path("f"), "rb", buffering=0) as f, open(env.path("f"), "r+b", buffering=0) as w:
        assert f.read(MIB) == data[:MIB]
        data[2 * MIB:2 * MIB + 5] = b"mount"
        os.pwrite(w.fileno(), b"mount", 2 * MIB)
        assert f.read(2 * MIB) == data[MIB:3 * MIB]
        data[4 * MIB:4 * MIB + 4] = b"disk"
        with open(env.on_disk("f"), "r+b", buffering=0) as disk:
            os.pwrite(disk.fileno(), b"disk", 4 * MIB)
        read(env.path("f"))  # which finds that it has changed
        assert f.read(2 * MIB) == data[3 * MIB:5 * MIB]
        assert f.read(8 * MIB) == data[5 * MIB:]
        assert f.read(1) == b""
        with open(env.on_disk("f"), "ab") as disk:
            disk.write(b"more")
        env.eventually(lambda: os.stat(env.path("f")).st_size == len(data) + 4, what="the new size")
        assert f.read() == b"more"


def halved(reply):
    """The first half of what READ gave, as servers may; longer answers only."""
    op = reply.find(nfs.READ)
    data = op[2][8:]
    if len(data) > 256 * KIB:
        op[2] = p32(0) + nfs.opaque(data[:len(data) // 2])


@suite.test("what the server gives in smaller pieces than were asked for is read whole")
def led_by_halves(env):
    data = random.Random(3).randbytes(6 * MIB + 5)
    write(env.on_disk("f"), data)
    h = Hostile(env, "nconnect=1,timeo=20")
    little_ahead(h.mount.point)
    h.proxy.arm(damaged(halved), nfs.READ, times=10000)
    with open(h.path("f"), "rb", buffering=0) as f:
        got = b"".join(iter(lambda: f.read(128 * KIB), b""))
    assert got == data
    assert h.proxy.hits > 0


@suite.test("any order of reading, by two threads through one open, gives the file's bytes")
def led_astray(env):
    little_ahead(env.mnt)
    data = random.Random(2).randbytes(9 * MIB + 77)
    write(env.on_disk("f"), data)
    fd = os.open(env.path("f"), os.O_RDONLY)

    def wander(seed):
        noise, at = random.Random(seed), 0
        for _ in range(200):
            size = noise.choice((128 * KIB, 128 * KIB, 256 * KIB, MIB, 4 * KIB + 1))
            if noise.random() < 0.1:
                at = noise.randrange(len(data))
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, size, at) == data[at:at + size], (at, size)
            at = at + size if at + size < len(data) else 0
    walkers = [env.child(wander, seed) for seed in range(2)]
    for walker in walkers:
        walker.join()
    os.close(fd)


@suite.test("a program that writes large pieces is some ahead of the server, and no more than that")
def flying(env):
    pieces, ahead = [bytes([n]) * MIB for n in range(12)], 4
    with mmap.mmap(-1, mmap.PAGESIZE) as told, open(env.path("f"), "wb", buffering=0) as f:

        def work():
            for n, piece in enumerate(pieces):
                f.write(piece)
                told[0] = n + 1
        os.kill(env.suite.relay.pid, signal.SIGSTOP)
        try:
            writer = env.child(work)
            env.eventually(lambda: told[0] == ahead, within=10, what="that it is ahead")
            time.sleep(0.2)
            assert told[0] == ahead, told[0]
        finally:
            os.kill(env.suite.relay.pid, signal.SIGCONT)
        writer.join()
    assert read(env.on_disk("f")) == b"".join(pieces)


@suite.test("what is gathered does not grow over bytes that are under way")
def growing(env):
    pieces = [(5000, b"a" * 1000), (4200, b"b" * 100), (4300, b"c" * 2000)]
    with mmap.mmap(-1, mmap.PAGESIZE) as told, open(env.path("f"), "wb", buffering=0) as f:

        def work():
            for n, (at, piece) in enumerate(pieces):
                os.pwrite(f.fileno(), piece, at)
                told[0] = n + 1
        os.kill(env.suite.relay.pid, signal.SIGSTOP)
        try:
            writer = env.child(work)
            env.eventually(lambda: told[0] >= 2, within=10, what="that two are gathered")
            time.sleep(0.2)
            assert told[0] == 2, "a write over another does not wait for it"
        finally:
            os.kill(env.suite.relay.pid, signal.SIGCONT)
        writer.join()
    assert read(env.on_disk("f")) == bytes(4200) + b"b" * 100 + b"c" * 2000


@suite.test("what nobody asks for is on the server within a second or so")
def old(env):
    with open(env.path("f"), "wb", buffering=0) as f:
        f.write(b"data")
        env.eventually(lambda: read(env.on_disk("f")) == b"data", within=10, what="the data")


@suite.test("close, fsync and the release of a lock return when the data is on the server")
def safe(env):
    for i in range(50):
        path = f"f{i}"
        with open(env.path(path), "wb", buffering=0) as f:
            f.write(b"one")
            if i % 3 == 0:
                os.fsync(f.fileno())
                assert read(env.on_disk(path)) == b"one"
            elif i % 3 == 1:
                fcntl.lockf(f.fileno(), fcntl.LOCK_EX)
                f.write(b"two")
                fcntl.lockf(f.fileno(), fcntl.LOCK_UN)
                assert read(env.on_disk(path)) == b"onetwo"
            f.write(b"three")
        assert read(env.on_disk(path)).endswith(b"three")


@suite.test("O_SYNC, O_DIRECT and O_APPEND of two mounts keep their meaning")
def flags(env):
    fd = os.open(env.path("sync"), os.O_CREAT | os.O_WRONLY | os.O_SYNC)
    for i in range(5):
        os.write(fd, b"x")
        assert read(env.on_disk("sync")) == b"x" * (i + 1)
    os.close(fd)
    other = env.mount()
    lines = 40
    ends = [open(os.path.join(root, env.name, "log"), "ab", buffering=0)
            for root in (env.root, other.point)]
    for i in range(lines):
        for n, end in enumerate(ends):
            end.write(b"%d %03d\n" % (n, i))
            os.fsync(end.fileno())
    for end in ends:
        end.close()
    told = read(env.on_disk("log")).split()
    assert len(told) == 4 * lines, len(told)


@suite.test("mode, owner and times that are set while a new file is open are those it has in the end")
def attributes(env):
    for i, mode in enumerate((0o644, 0o4755, 0o600, 0o2755, 0o444)):
        name = f"f{i}"
        fd = os.open(env.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        os.write(fd, b"data")
        os.utime(fd, ns=(10 ** 18, 2 * 10 ** 18 + i))
        os.fchown(fd, 12, 34)
        os.fchmod(fd, mode)
        st = os.fstat(fd)
        told = st.st_size, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns
        os.close(fd)
        for path in (env.path(name), env.on_disk(name)):
            st = os.stat(path)
            assert (st.st_size, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid,
                    st.st_mtime_ns) == (4, mode, 12, 34, 2 * 10 ** 18 + i) == told, (path, st)


@suite.test("a mode that is set before the data is the mode under which the data comes")
def mode_first(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.fchmod(fd, 0o600)
    os.write(fd, b"secret")
    env.eventually(lambda: read(env.on_disk("f")) == b"secret", within=10, what="the data")
    assert stat.S_IMODE(os.stat(env.on_disk("f")).st_mode) == 0o600
    os.utime(fd, ns=(10 ** 18, 10 ** 18))
    os.write(fd, b"s")
    os.close(fd)
    assert os.stat(env.on_disk("f")).st_mtime_ns > 10 ** 18, "the write came before the times"


@suite.test("a new file that was made longer keeps its length, mapped, when its mode is set")
def mode_of_mapped(env):
    def touch():
        fd = os.open(env.path("f"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        os.ftruncate(fd, MIB)
        with mmap.mmap(fd, MIB) as m:
            os.fchmod(fd, 0o600)
            m[MIB // 2] = 7  # SIGBUS behind the end
    env.child(touch).join()
    assert read(env.on_disk("f"))[MIB // 2] == 7

    def look():
        fd = os.open(env.path("g"), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        os.write(fd, bytes(64 * KIB) + b"end")
        # Python's mmap asks for the size, and what was written is sent for that
        at = libc.mmap(None, 65 * KIB, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        assert at != ctypes.c_void_p(-1).value
        os.fchmod(fd, 0o600)
        assert ctypes.string_at(at + 64 * KIB, 3) == b"end"  # likewise
    env.child(look).join()


@suite.test("changes of mode, owner and times have the outcome of the order in which they are asked for")
def attributes_in_order(env):
    changes = (lambda fd: os.write(fd, b"data"), lambda fd: os.fchown(fd, 12, 34),
               lambda fd: os.fchmod(fd, 0o6755), lambda fd: os.utime(fd, ns=(10 ** 18, 10 ** 18)))
    for i, order in enumerate(itertools.permutations(changes)):
        ends = []
        for path in (env.path(f"f{i}"), env.scratch(f"f{i}")):
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            for change in order:
                change(fd)
            os.close(fd)
            st = os.stat(path)
            ends.append((st.st_size, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid,
                         st.st_atime_ns, st.st_mtime_ns == 10 ** 18))
        assert ends[0] == ends[1], ([changes.index(c) for c in order], ends)


@suite.test("an owner who may not be set is refused at once, the first time and the second")
def owner_refused(env):
    # by the server: where the kernel checks it does not even ask
    mount = env.mount("allow_other,access=server")
    os.chmod(env.disk, 0o777)
    script = ("import os\nfor i in range(2):\n"
              f" fd = os.open('{mount.point}/{env.name}/u%d' % i, os.O_CREAT | os.O_EXCL | os.O_WRONLY)\n"
              " os.write(fd, b'x')\n"
              " try: os.fchown(fd, 0, -1)\n"
              " except PermissionError: print('refused')\n"
              " os.close(fd)\n")
    told = env.as_user("nobody", ["/usr/bin/python3", "-c", script]).stdout
    assert told.split() == [b"refused"] * 2, told


@suite.test("a file that is renamed, linked and removed while its data waits")
def names(env):
    with open(env.path("f"), "wb", buffering=0) as f:
        f.write(b"data")
        os.rename(env.path("f"), env.path("g"))
        assert os.stat(env.path("g")).st_size == 4
        f.write(b"more")
        os.link(env.path("g"), env.path("h"))
        assert os.stat(env.path("h")).st_size == 8
        f.write(b"!")
        assert {e.name: e.stat().st_size for e in os.scandir(env.mnt)} == {"g": 9, "h": 9}
        os.unlink(env.path("g"))
        f.write(b"!")
        os.unlink(env.path("h"))
        f.write(b"!")
    env.eventually(lambda: os.listdir(env.disk) == [], within=10, what="the removal")


@suite.test("a file that another program truncates at open, with data waiting")
def truncated(env):
    with open(env.path("f"), "wb", buffering=0) as f:
        f.write(b"x" * 1000)
        write(env.path("f"), b"new")
        assert read(env.path("f")) == b"new"
        os.pwrite(f.fileno(), b"y", 5)
    assert read(env.on_disk("f")) == b"new\0\0y"


@suite.test("a write to a file whose removal on the server is not known fails at fsync or close")
def gone(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x")
    os.fsync(fd)
    other = env.mount("noac")
    os.unlink(os.path.join(other.point, env.name, "f"))
    os.write(fd, b"y" * 10)
    try:
        os.close(fd)
    except OSError as e:
        assert e.errno in (errno.ESTALE, errno.EIO), e
    write(env.path("f"), b"again")
    assert read(env.on_disk("f")) == b"again"


if __name__ == "__main__":
    suite.main()
