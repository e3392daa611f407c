#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server dies and comes back, or the stream to it breaks: programs wait, and nothing is lost."""

import errno
import fcntl
import os
import random
import signal
import threading
import time

from harness import Suite
from test_basic import read, write
from test_locks import lockf, refused

suite = Suite()
KIB, MIB = 1 << 10, 1 << 20
LEASE = 10
GRACE = dict(graceless=False, nfsv4=f"Lease_Lifetime = {LEASE}; Grace_Period = {LEASE};")
GRACELESS = dict(graceless=True, nfsv4=f"Lease_Lifetime = {LEASE};")
KINDS = {"with a grace period": GRACE, "without one": GRACELESS}
# a connection that fails is tried again after at most 5 s
BACK_WITHIN = 15


def both_kinds(title, timeout=90):
    """The test, for a server with a grace period and for one without."""
    def mark(function):
        for kind, config in KINDS.items():
            suite.test(f"{title}, {kind}", timeout)(lambda env, c=config: function(env, c))
        return function
    return mark


def logged(mount):
    with open(mount.log, errors="replace") as f:
        return f.read()


def opened(mount, name, flags=os.O_RDWR | os.O_CREAT):
    return os.open(os.path.join(mount.point, name), flags, 0o644)


class Meanwhile:
    """Runs step(i) again and again, in a thread, while the body does something to the server, and
    for a while after it."""

    def __init__(self, step, after=1.0):
        self.step, self.after = step, after
        self.count, self.error, self.ended = 0, None, False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.ended:
                self.step(self.count)
                self.count += 1
        except BaseException as e:
            self.error = e

    def __enter__(self):
        self.thread.start()
        time.sleep(0.2)
        return self

    def __exit__(self, kind, value, trace):
        count, deadline = self.count, time.monotonic() + 3 * BACK_WITHIN
        while kind is None and not self.error and self.count <= count + 1:
            assert time.monotonic() < deadline, "nothing goes on after the server is back"
            time.sleep(0.05)
        time.sleep(self.after if kind is None else 0)
        self.ended = True
        self.thread.join()
        if self.error and kind is None:
            raise self.error


@both_kinds("open files go on being read and written while the server is killed and started again")
def open_files(env, config):
    server = env.server(**config)
    mount = server.mount()
    content = random.Random(1).randbytes(MIB)
    write(os.path.join(mount.point, "read"), content)
    reader = opened(mount, "read", os.O_RDONLY)
    writer = opened(mount, "written")
    hidden = opened(mount, "hidden")
    os.unlink(os.path.join(mount.point, "hidden"))

    def step(i):
        at = i * 4096 % MIB
        os.posix_fadvise(reader, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(reader, 4096, at) == content[at:at + 4096]
        assert os.pwrite(writer, b"%07d\n" % i, i * 8) == 8
        assert os.pwrite(hidden, b"%07d\n" % i, i * 8) == 8

    with Meanwhile(step) as meanwhile:
        for _ in range(2):
            server.restart()
            time.sleep(1)
    os.fsync(writer)
    expected = b"".join(b"%07d\n" % i for i in range(meanwhile.count))
    assert read(os.path.join(server.export, "written")) == expected
    assert os.pread(hidden, len(expected), 0) == expected
    os.close(writer)
    os.close(hidden)
    env.eventually(lambda: sorted(os.listdir(server.export)) == ["read", "written"], within=2 * LEASE,
                   what="the end of the unlinked file")


@both_kinds("data that was not committed when the server died is written again by fsync")
def unstable(env, config):
    server = env.server(**config)
    mount = server.mount()
    data = random.Random(2).randbytes(3 * MIB + 123)
    fd = opened(mount, "f")
    assert os.write(fd, data[:MIB]) == MIB
    os.write(fd, data[MIB:MIB + 10])
    os.write(fd, data[MIB + 10:])
    assert os.fstat(fd).st_size == len(data)  # nothing is under way any more
    assert "again" not in logged(mount)
    server.kill()
    # the machine went down with the server: nothing of it had reached the disk
    with open(os.path.join(server.export, "f"), "r+b") as f:
        assert os.fstat(f.fileno()).st_size == len(data)
        f.truncate(0)
    server.start()
    os.fsync(fd)
    assert read(os.path.join(server.export, "f")) == data
    assert "writing them again" in logged(mount), mount.log_tail()
    os.close(fd)
    assert read(os.path.join(mount.point, "f")) == data


@suite.test("and so it is by the COMMIT that goes along with a WRITE when much is waiting",
            timeout=90)
def riding(env):
    server = env.server(**GRACELESS)
    mount = server.mount()
    data = random.Random(3).randbytes(MIB)
    fd = opened(mount, "f")
    for i in range(20):
        assert os.pwrite(fd, data, i * MIB) == MIB
    server.kill()
    os.truncate(os.path.join(server.export, "f"), 0)
    server.start()
    for i in range(20, 30):
        assert os.pwrite(fd, data, i * MIB) == MIB
    env.eventually(lambda: "writing them again" in logged(mount), within=BACK_WITHIN,
                   what="the loss found, before anybody asks for a COMMIT")
    os.fsync(fd)
    assert read(os.path.join(server.export, "f")) == data * 30


@both_kinds("what is written again does not overwrite what was written stable since")
def stable(env, config):
    server = env.server(**config)
    mount = server.mount()
    fd, sync = opened(mount, "f"), opened(mount, "f", os.O_WRONLY | os.O_CREAT | os.O_SYNC)
    os.pwrite(fd, b"before, and longer", 0)
    server.restart()
    os.pwrite(sync, b"after", 0)
    os.fsync(fd)
    assert read(os.path.join(server.export, "f")) == b"aftere, and longer"


@suite.test("locks are held as before: byte ranges and flock", timeout=120)
def locks(env):
    server = env.server(**GRACE)
    mount, other = server.mount(), server.mount()
    fd, whole = opened(mount, "f"), opened(mount, "whole")
    fcntl.flock(whole, fcntl.LOCK_EX)
    lockf(fd, fcntl.F_WRLCK, 0, 100)
    lockf(fd, fcntl.F_WRLCK, 200, 100)
    lockf(fd, fcntl.F_RDLCK, 400, 100)
    lockf(fd, fcntl.F_UNLCK, 240, 20)
    there, whole_there = opened(other, "f"), opened(other, "whole")
    for _ in range(2):
        server.restart()
        os.statvfs(mount.point)
        os.pwrite(fd, b"mine", 0)

        def elsewhere():
            for start, length in ((0, 100), (200, 40), (260, 40)):
                assert refused(there, fcntl.F_WRLCK, start, length), start
                assert refused(there, fcntl.F_RDLCK, start, 1), start
            assert refused(there, fcntl.F_WRLCK, 400, 100)
            assert not refused(there, fcntl.F_RDLCK, 400, 100)
            assert not refused(there, fcntl.F_WRLCK, 240, 20)
            assert not refused(there, fcntl.F_WRLCK, 100, 100)
            env.fails(errno.EAGAIN, fcntl.flock, whole_there, fcntl.LOCK_EX | fcntl.LOCK_NB)

        elsewhere()
    lockf(fd, fcntl.F_UNLCK)
    fcntl.flock(whole, fcntl.LOCK_UN)
    assert not refused(there, fcntl.F_WRLCK)
    fcntl.flock(whole_there, fcntl.LOCK_EX | fcntl.LOCK_NB)


@suite.test("locks that a process has by several open files are held as before", timeout=120)
def locks_of_several(env):
    server = env.server(**GRACE)
    mount, other = server.mount(), server.mount()
    there = [opened(other, name) for name in ("read", "written")]
    fds = [opened(mount, "read", os.O_RDONLY), opened(mount, "written", os.O_WRONLY)]
    lockf(fds[0], fcntl.F_RDLCK, 0, 20)
    lockf(fds[1], fcntl.F_WRLCK, 0, 20)
    both = [opened(mount, "read"), opened(mount, "written")]
    lockf(both[0], fcntl.F_WRLCK, 10, 10)
    lockf(both[1], fcntl.F_RDLCK, 0, 10)
    for _ in range(2):
        server.restart()
        os.statvfs(mount.point)
        for fd, again in zip(there, both):
            assert refused(fd, fcntl.F_WRLCK, 0, 10) and not refused(fd, fcntl.F_RDLCK, 0, 10)
            assert refused(fd, fcntl.F_RDLCK, 10, 10)
            lockf(again, fcntl.F_WRLCK, 10, 10)
    for fd, again, first in zip(there, both, fds):
        lockf(again, fcntl.F_UNLCK, 0, 15)
        assert not refused(fd, fcntl.F_WRLCK, 0, 15) and refused(fd, fcntl.F_RDLCK, 15, 5)
        lockf(first, fcntl.F_UNLCK)
        assert not refused(fd, fcntl.F_WRLCK)


@both_kinds("what was written under a lock is not written again after the lock's next owner wrote")
def unlocked(env, config):
    server = env.server(**config)
    mount, other = server.mount(), server.mount()
    fd, there = opened(mount, "f"), opened(other, "f")
    for lock, unlock in ((lambda fd: lockf(fd, fcntl.F_WRLCK), lambda fd: lockf(fd, fcntl.F_UNLCK)),
                         (lambda fd: fcntl.flock(fd, fcntl.LOCK_EX),
                          lambda fd: fcntl.flock(fd, fcntl.LOCK_UN))):
        lock(fd)
        os.pwrite(fd, b"first ", 0)
        unlock(fd)
        lock(there)
        os.pwrite(there, b"second", 0)
        os.fsync(there)
        server.restart()
        os.fsync(fd)
        assert read(os.path.join(server.export, "f")) == b"second"
        unlock(there)


def written_again(server, mount):
    """The server loses what was written to "f"; returns the thread that has it written again."""
    other = opened(mount, "f")
    server.restart()
    closer = threading.Thread(target=os.close, args=(other,))
    closer.start()
    return closer


@suite.test("what is written while lost data is written again is not covered by that", timeout=90)
def covered(env):
    server = env.server(**GRACELESS)
    mount = server.mount()
    fd = opened(mount, "f")
    older, newer = (random.Random(i).randbytes(132 * KIB) for i in (4, 5))  # longer than is gathered
    last = 170 * len(older)
    for at in range(0, last + 1, len(older)):
        assert os.pwrite(fd, older, at) == len(older)
    closer = written_again(server, mount)
    env.eventually(lambda: "writing them again" in logged(mount),
                   within=BACK_WITHIN, what="the beginning")
    assert os.pwrite(fd, newer, last) == len(newer)
    closer.join()
    os.fsync(fd)
    with open(os.path.join(server.export, "f"), "rb") as f:
        f.seek(last)
        assert f.read() == newer


@suite.test("what was overwritten is not seen again while lost data is written again", timeout=90)
def overwritten(env):
    server = env.server(**GRACELESS)
    mount = server.mount()
    fd = opened(mount, "f")
    older, newer = (random.Random(i).randbytes(132 * KIB) for i in (6, 7))  # longer than is gathered
    for i in range(10):
        assert os.pwrite(fd, older, i * len(older)) == len(older)
    assert os.pwrite(fd, newer[1000:], 1000) == len(newer) - 1000
    closer = written_again(server, mount)
    with open(os.path.join(server.export, "f"), "rb") as f:
        while closer.is_alive():
            assert os.pread(f.fileno(), len(newer), 0) == older[:1000] + newer[1000:]
    assert "writing them again" in logged(mount), mount.log_tail()
    os.close(fd)
    assert read(os.path.join(server.export, "f")) == older[:1000] + newer[1000:] + older * 9


def lock_is_lost(env, mount, fd, there):
    """The lock on fd, and its end; `there` is the same file seen by another client."""
    env.fails(errno.EIO, os.pwrite, fd, b"x", 0)
    env.fails(errno.EIO, lockf, fd, fcntl.F_WRLCK, 100, 10)
    number = os.fstat(fd).st_ino
    assert f"inode {number}: a lock was lost" in logged(mount), mount.log_tail()
    assert not refused(there, fcntl.F_WRLCK, 0, 10)
    lockf(fd, fcntl.F_UNLCK)
    assert os.pwrite(fd, b"x", 0) == 1
    lockf(fd, fcntl.F_WRLCK, 0, 10)
    assert refused(there, fcntl.F_WRLCK, 0, 10)


@suite.test("a lock that nobody had kept for us is lost: EIO until it is unlocked", timeout=90)
def lost_lock(env):
    server = env.server(**GRACELESS)
    mount, other = server.mount(), server.mount()
    fd, beside = opened(mount, "f"), opened(mount, "beside")
    there = opened(other, "f")
    lockf(fd, fcntl.F_WRLCK, 0, 10)
    server.restart()
    os.statvfs(mount.point)  # never from a cache: the daemon knows of the restart then
    lock_is_lost(env, mount, fd, there)
    assert os.pwrite(beside, b"x", 0) == 1


@suite.test("a lock that was taken by two open files is lost for both", timeout=90)
def lost_lock_of_two(env):
    server = env.server(**GRACELESS)
    mount, other = server.mount(), server.mount()
    there = opened(other, "f")
    write(os.path.join(server.export, "f"), b"written" * 100000)  # more than comes with open(2)
    reading, both = opened(mount, "f", os.O_RDONLY), opened(mount, "f")
    lockf(reading, fcntl.F_RDLCK, 0, 10)
    lockf(both, fcntl.F_WRLCK, 0, 10)
    server.restart()
    os.statvfs(mount.point)
    os.posix_fadvise(reading, 0, 0, os.POSIX_FADV_DONTNEED)
    env.fails(errno.EIO, os.pread, reading, 7, 0)
    lock_is_lost(env, mount, both, there)
    lockf(reading, fcntl.F_RDLCK, 20, 10)
    assert os.pread(reading, 7, 0) == b"xritten"


@suite.test("a file that is gone after the restart gives an error, other files go on", timeout=60)
def gone(env):
    server = env.server(**GRACELESS)
    mount = server.mount()
    fd, stays = opened(mount, "f"), opened(mount, "stays")
    os.pwrite(fd, b"x", 0)
    os.fsync(fd)
    server.kill()
    os.unlink(os.path.join(server.export, "f"))
    server.start()
    assert os.pwrite(stays, b"y", 0) == 1
    env.fails(errno.ESTALE, written, fd, b"y")


@both_kinds("the server is away for longer than its lease", timeout=120)
def away(env, config):
    server = env.server(**config)
    mount, other = server.mount(), server.mount()
    fd = opened(mount, "f")
    if config is GRACE:
        lockf(fd, fcntl.F_WRLCK, 0, 10)
    with Meanwhile(lambda i: os.pwrite(fd, b"%07d\n" % i, i * 8)) as meanwhile:
        server.restart(away=LEASE + 5)
    os.fsync(fd)
    assert read(os.path.join(server.export, "f")) == b"".join(
        b"%07d\n" % i for i in range(meanwhile.count))
    assert refused(opened(other, "f"), fcntl.F_WRLCK, 0, 10) == (config is GRACE)


@suite.test("the client is cut off for longer than its lease: files are had again, locks are lost",
            timeout=120)
def expired(env):
    server = env.server(**GRACELESS)
    mount, other = server.mount(), server.mount()
    fd, beside = opened(mount, "f"), opened(mount, "beside")
    lockf(fd, fcntl.F_WRLCK, 0, 10)
    there = opened(other, "f")
    os.kill(mount.relay.pid, signal.SIGSTOP)
    env.eventually(lambda: not refused(there, fcntl.F_WRLCK, 0, 10), within=6 * LEASE,
                   what="the end of the lease")
    os.kill(mount.relay.pid, signal.SIGCONT)
    assert os.pwrite(beside, b"again", 0) == 5
    os.fsync(beside)
    assert read(os.path.join(server.export, "beside")) == b"again"
    lock_is_lost(env, mount, fd, there)


class Cuts:
    """Cuts the stream of a mount again and again."""

    def __init__(self, mount, pause):
        self.mount, self.pause, self.count = mount, pause, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.wait(self.pause):
            os.kill(self.mount.relay.pid, signal.SIGUSR1)
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


@suite.test("the stream is cut again and again under writes: all that was written is there",
            timeout=120)
def cut_writes(env):
    server = env.server(**GRACELESS)
    mount = server.mount("nconnect=2")
    data = random.Random(3).randbytes(24 * MIB)

    def copy(name, size):
        fd = opened(mount, name)
        for at in range(0, len(data), size):
            assert os.pwrite(fd, data[at:at + size], at) == min(size, len(data) - at)
        os.fsync(fd)
        os.close(fd)

    with Cuts(mount, 0.1) as cuts:
        while cuts.count <= 2:
            copiers = [env.child(copy, f"f{size}", size) for size in (MIB, 64 * KIB, 100000)]
            for copier in copiers:
                copier.join()
    for size in (MIB, 64 * KIB, 100000):
        assert read(os.path.join(server.export, f"f{size}")) == data
        assert read(os.path.join(mount.point, f"f{size}")) == data


@suite.test("under cuts, creating, renaming, linking and removing are done exactly once",
            timeout=120)
def cut_names(env):
    server = env.server(**GRACELESS)
    mount = server.mount("nconnect=1")
    path = os.path.join(mount.point, "")
    with Cuts(mount, 0.03) as cuts:
        deadline, i = time.monotonic() + 8, 0
        while time.monotonic() < deadline:
            os.close(os.open(f"{path}a{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            os.rename(f"{path}a{i}", f"{path}b{i}")
            os.link(f"{path}b{i}", f"{path}c{i}")
            os.mkdir(f"{path}d{i}")
            os.symlink("to", f"{path}e{i}")
            os.rmdir(f"{path}d{i}")
            os.unlink(f"{path}c{i}")
            i += 1
    assert cuts.count > 20 and i > 5, (cuts.count, i)
    assert sorted(os.listdir(server.export)) == sorted(
        [f"b{n}" for n in range(i)] + [f"e{n}" for n in range(i)])


def written(fd, data):
    """Small writes may be told of with the next fsync."""
    count = os.pwrite(fd, data, 0)
    os.fsync(fd)
    return count


def gives_up(env, options, number):
    server = env.server(**GRACELESS)
    mount = server.mount(f"{options},timeo=10,retrans=1")
    write(os.path.join(mount.point, "f"), b"before")
    fd = opened(mount, "f")
    server.kill()
    start = time.monotonic()
    env.fails(number, os.stat, os.path.join(mount.point, "not-cached"))
    env.fails(number, written, fd, b"x")
    waited = time.monotonic() - start
    assert 2 <= waited < 10, f"given up after {waited:.1f} s"
    server.start()

    def works():
        try:
            return written(fd, b"behind") == 6
        except OSError as e:
            assert e.errno == number, e
            return False

    env.eventually(works, within=BACK_WITHIN, what="the server")
    os.fsync(fd)
    assert read(os.path.join(server.export, "f")) == b"behind"
    os.close(fd)


@suite.test("soft: EIO in bounded time, and the mount works again when the server is back",
            timeout=60)
def soft(env):
    gives_up(env, "soft", errno.EIO)


@suite.test("softerr: the same with ETIMEDOUT", timeout=60)
def softerr(env):
    gives_up(env, "softerr", errno.ETIMEDOUT)


if __name__ == "__main__":
    suite.main()
