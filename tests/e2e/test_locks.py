#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fcntl, open-file-description and flock locks: held on the server, so that everybody sees them."""

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import threading
import time

from harness import Suite
from mounts import Mount
from nfsreply import p32, record
from proxy import Proxy
from test_basic import write
from test_stats import stats

suite = Suite()
FLOCK = "hhqqi4x"
F_OFD_SETLK = 37
LOCKU, WRITE_LT = 14, 2


def lockf(fd, kind, start=0, length=0, command=fcntl.F_SETLK):
    fcntl.fcntl(fd, command, struct.pack(FLOCK, kind, os.SEEK_SET, start, length, 0))


def getlk(fd, kind, start=0, length=0):
    """(type, start, length, pid) of a lock in the way; type F_UNLCK when there is none."""
    out = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, kind, os.SEEK_SET, start, length, 0))
    kind, _, start, length, pid = struct.unpack(FLOCK, out)
    return kind, start, length, pid


def refused(fd, kind, start=0, length=0):
    try:
        lockf(fd, kind, start, length)
    except OSError as e:
        assert e.errno in (errno.EAGAIN, errno.EACCES), e
        return True
    lockf(fd, fcntl.F_UNLCK, start, length)
    return False


def opened(env, name="f", root=None):
    return os.open(os.path.join(root or env.root, env.name, name), os.O_RDWR | os.O_CREAT, 0o644)


@suite.test("an fcntl write lock keeps another process out, on this mount and on a second one")
def fcntl_excludes(env):
    fd = opened(env)
    lockf(fd, fcntl.F_WRLCK)
    other = env.mount()

    def elsewhere(root):
        there = opened(env, root=root)
        assert refused(there, fcntl.F_WRLCK) and refused(there, fcntl.F_RDLCK)

    for root in (env.root, other.point):
        env.child(elsewhere, root).join()
    lockf(fd, fcntl.F_UNLCK)
    env.child(lambda: lockf(opened(env, root=other.point), fcntl.F_WRLCK)).join()
    lockf(fd, fcntl.F_WRLCK)  # the other's lock went with its process


@suite.test("read locks are shared, and keep writers out")
def read_locks(env):
    fd = opened(env)
    lockf(fd, fcntl.F_RDLCK)
    other = env.mount()
    there = opened(env, root=other.point)
    lockf(there, fcntl.F_RDLCK)
    env.child(lambda: check(refused(opened(env), fcntl.F_WRLCK))).join()
    lockf(fd, fcntl.F_UNLCK)
    env.child(lambda: check(refused(opened(env), fcntl.F_WRLCK))).join()
    lockf(there, fcntl.F_UNLCK)
    env.child(lambda: check(not refused(opened(env), fcntl.F_WRLCK))).join()


def check(condition):
    assert condition


@suite.test("byte ranges are locked, split, upgraded and freed piece by piece")
def ranges(env):
    fd = opened(env)
    other = env.mount()
    there = opened(env, root=other.point)
    lockf(fd, fcntl.F_WRLCK, 100, 100)
    assert not refused(there, fcntl.F_WRLCK, 0, 100)
    assert refused(there, fcntl.F_WRLCK, 50, 51) and refused(there, fcntl.F_WRLCK, 199, 1)
    assert not refused(there, fcntl.F_WRLCK, 200, 0)
    lockf(fd, fcntl.F_UNLCK, 140, 20)
    assert not refused(there, fcntl.F_WRLCK, 140, 20)
    assert refused(there, fcntl.F_WRLCK, 139, 1) and refused(there, fcntl.F_WRLCK, 160, 1)
    lockf(fd, fcntl.F_RDLCK, 100, 100)
    assert not refused(there, fcntl.F_RDLCK, 0, 0)
    assert refused(there, fcntl.F_WRLCK, 150, 1)
    far = (1 << 62) + 5
    lockf(fd, fcntl.F_WRLCK, far, 10)
    assert refused(there, fcntl.F_WRLCK, far + 9, 1)
    assert not refused(there, fcntl.F_WRLCK, far + 10, 1)


@suite.test("F_GETLK names the lock in the way")
def get_lock(env):
    fd = opened(env)
    lockf(fd, fcntl.F_WRLCK, 10, 20)
    other = env.mount()

    def look(root):
        there = opened(env, root=root)
        kind, start, length, _ = getlk(there, fcntl.F_RDLCK, 0, 0)
        assert (kind, start, length) == (fcntl.F_WRLCK, 10, 20), (kind, start, length)
        assert getlk(there, fcntl.F_RDLCK, 30, 5)[0] == fcntl.F_UNLCK

    for root in (env.root, other.point):
        env.child(look, root).join()
    assert getlk(fd, fcntl.F_WRLCK)[0] == fcntl.F_UNLCK, "one's own lock is in nobody's way"


@suite.test("a blocking lock waits for its turn, on this mount and on a second one", timeout=60)
def blocking(env):
    other = env.mount()
    for root in (env.root, other.point):
        fd = opened(env)
        lockf(fd, fcntl.F_WRLCK)
        read_end, write_end = os.pipe()

        def wait():
            there = opened(env, root=root)
            os.write(write_end, b"w")
            lockf(there, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
            os.write(write_end, b"l")

        waiter = env.child(wait)
        assert os.read(read_end, 1) == b"w"
        time.sleep(0.3)
        os.set_blocking(read_end, False)
        env.fails(errno.EAGAIN, os.read, read_end, 1)
        os.set_blocking(read_end, True)
        lockf(fd, fcntl.F_UNLCK)
        freed = time.monotonic()
        waiter.join()
        waited = time.monotonic() - freed
        assert os.read(read_end, 1) == b"l"
        assert waited < 12, f"the lock came {waited:.1f} s after it was free"
        os.close(fd)


@suite.test("who waits for a lock is not starved by who takes it again and again", timeout=60)
def starved(env):
    fd = opened(env)
    for _ in range(3):
        lockf(fd, fcntl.F_WRLCK)
        waiter = env.child(lambda: lockf(opened(env), fcntl.F_WRLCK, command=fcntl.F_SETLKW))
        time.sleep(0.2)
        turns = 0
        while not select.select([waiter.read_end], [], [], 0)[0]:
            assert turns < 30, "another had the lock 30 times meanwhile"
            lockf(fd, fcntl.F_UNLCK)
            lockf(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
            time.sleep(0.05)
            turns += 1
        waiter.join()


@suite.test("a lock that another client holds is asked for four times a second", timeout=60)
def polled(env):
    other = env.mount()
    fd = opened(env)
    lockf(fd, fcntl.F_WRLCK)
    waiter = env.child(lambda: lockf(opened(env, root=other.point), fcntl.F_WRLCK, command=fcntl.F_SETLKW))

    def asked():
        try:
            return stats(env, other.point)["operations"]["LOCK"]["rpcs"]
        except (AssertionError, KeyError):
            return 0  # the daemon begins

    # at 10, 30, 70, 150 and 310 ms, and from then on every 250 ms
    env.eventually(lambda: asked() >= 20, within=12, what="20 times")
    lockf(fd, fcntl.F_UNLCK)
    waiter.join()


@suite.test("a signal interrupts a process that waits for a lock, and the lock is not taken later",
            timeout=60)
def interrupted(env):
    fd = opened(env)
    lockf(fd, fcntl.F_WRLCK)
    other = env.mount()
    for root, take in ((env.root, lambda f: lockf(f, fcntl.F_WRLCK, command=fcntl.F_SETLKW)),
                       (other.point, lambda f: lockf(f, fcntl.F_WRLCK, command=fcntl.F_SETLKW))):
        def wait():
            class Rang(Exception):
                pass

            def ring(*_):
                raise Rang
            signal.signal(signal.SIGALRM, ring)
            there = opened(env, root=root)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            start = time.monotonic()
            try:
                take(there)
                raise AssertionError("the lock was taken")
            except Rang:
                waited = time.monotonic() - start
                assert waited < 2, f"interrupted after {waited:.1f} s"

        env.child(wait).join()
    lockf(fd, fcntl.F_UNLCK)
    time.sleep(0.2)
    there = opened(env, root=other.point)
    assert not refused(there, fcntl.F_WRLCK), "an interrupted wait got the lock after all"


@suite.test("SIGKILL ends a process that waits for a lock")
def killed(env):
    fd = opened(env)
    lockf(fd, fcntl.F_WRLCK)
    pid = os.fork()
    if pid == 0:
        lockf(opened(env), fcntl.F_WRLCK, command=fcntl.F_SETLKW)
        os._exit(0)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    os.waitpid(pid, 0)
    assert time.monotonic() - start < 2
    lockf(fd, fcntl.F_UNLCK)
    assert not refused(opened(env, root=env.mount().point), fcntl.F_WRLCK)


@suite.test("flock excludes between descriptors, processes and mounts, and upgrades")
def flock(env):
    a, b = opened(env), opened(env)
    other = env.mount()
    c = opened(env, root=other.point)
    fcntl.flock(a, fcntl.LOCK_EX)
    for fd in (b, c):
        env.fails(errno.EAGAIN, fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        env.fails(errno.EAGAIN, fcntl.flock, fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(a, fcntl.LOCK_SH)
    for fd in (b, c):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    env.fails(errno.EAGAIN, fcntl.flock, a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for fd in (b, c):
        fcntl.flock(fd, fcntl.LOCK_UN)
    fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(a)

    def free():
        try:
            fcntl.flock(c, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    # FUSE tells of the last close after close(2) has returned
    env.eventually(free, what="the release of a closed descriptor's lock")


@suite.test("a blocking flock waits for its turn and is interrupted by a signal")
def flock_blocks(env):
    a = opened(env)
    fcntl.flock(a, fcntl.LOCK_EX)
    path = env.path("f")
    done = subprocess.run(["flock", "-w", "0.5", path, "true"])
    assert done.returncode == 1, "flock(1) did not time out"
    waiter = subprocess.Popen(["flock", path, "echo", "mine"], stdout=subprocess.PIPE)
    time.sleep(0.3)
    assert waiter.poll() is None
    fcntl.flock(a, fcntl.LOCK_UN)
    assert waiter.communicate(timeout=15)[0] == b"mine\n"


@suite.test("open-file-description locks belong to the descriptor")
def ofd(env):
    a, b = opened(env), opened(env)
    lockf(a, fcntl.F_WRLCK, command=F_OFD_SETLK)
    env.fails(errno.EAGAIN, lockf, b, fcntl.F_WRLCK, command=F_OFD_SETLK)
    env.child(lambda: lockf(a, fcntl.F_UNLCK, command=F_OFD_SETLK)).join()
    lockf(b, fcntl.F_WRLCK, command=F_OFD_SETLK)


@suite.test("an open-file-description lock ends with its descriptor, for other mounts, too")
def ofd_ends(env):
    a, b = opened(env), opened(env, root=env.mount().point)
    lockf(a, fcntl.F_WRLCK, command=F_OFD_SETLK)
    assert refused(b, fcntl.F_WRLCK)
    os.close(a)
    env.eventually(lambda: not refused(b, fcntl.F_WRLCK), what="the lock's end")


@suite.test("what an open file had locked is free when close(2) has returned", timeout=60)
def free_at_close(env):
    """RELEASE, which frees it, comes later."""
    there = opened(env)
    mount = env.mount("nconnect=4")
    kept = opened(env, root=mount.point)
    for _ in range(200):
        fd = opened(env, root=mount.point)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
    for i in range(400):
        fd = opened(env, root=mount.point)
        lockf(fd, fcntl.F_WRLCK, command=F_OFD_SETLK)
        os.close(fd)
        if i % 2:
            assert getlk(kept, fcntl.F_WRLCK)[0] == fcntl.F_UNLCK, i
    env.eventually(lambda: not refused(there, fcntl.F_WRLCK), what="the last lock's end")


@suite.test("what an open file had locked is free though the server hears of it late")
def freed_late(env):
    proxy = Proxy(env.scratch("proxy.sock"), env.port)
    env.stack.callback(proxy.stop)
    options = ",".join(w for w in (env.suite.options, "nconnect=1") if w)
    mount = env.stack.enter_context(Mount(env.suite.program(), f"unix:{proxy.path}:/export",
                                          env.scratch("mnt"), options))

    def later(call):
        threading.Timer(3, proxy.current().server.sendall, (record(call),)).start()
        return iter(())
    kept, fd = opened(env, root=mount.point), opened(env, root=mount.point)
    fcntl.flock(fd, fcntl.LOCK_EX)
    proxy.arm_call(later, p32(LOCKU, WRITE_LT))
    os.close(fd)
    fcntl.flock(kept, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert proxy.hits == 1


@suite.test("who opens and locks a file again and again has its lock, and leaves none behind", 60)
def again(env):
    """RELEASE comes after close(2) has returned, and the next open file may have the number of the
    last one."""
    mount = env.mount("nconnect=4")
    there = opened(env)
    for take in (fcntl.flock, fcntl.lockf):
        kept = opened(env, root=mount.point)
        for i in range(300):
            fd = opened(env, root=mount.point)
            take(fd, fcntl.LOCK_EX)
            if take is fcntl.lockf:
                os.close(fd)    # and the lock with it
                take(kept, fcntl.LOCK_EX)
                if i % 10 == 0:
                    env.fails(errno.EAGAIN, take, there, fcntl.LOCK_EX | fcntl.LOCK_NB)
                take(kept, fcntl.LOCK_UN)
            elif i % 2:
                take(fd, fcntl.LOCK_UN)
                os.close(fd)
            else:
                os.close(fd)
        os.close(kept)

        def free():
            try:
                take(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            take(there, fcntl.LOCK_UN)
            return True
        env.eventually(free, what="the last lock's end")


@suite.test("closing any descriptor of the file drops the process's fcntl locks, as POSIX says")
def close_drops(env):
    a, b = opened(env), opened(env)
    lockf(a, fcntl.F_WRLCK)
    os.close(b)
    env.child(lambda: check(not refused(opened(env), fcntl.F_WRLCK))).join()
    lockf(a, fcntl.F_WRLCK)


@suite.test("a process locks a file by any of its open files, whatever they are open for")
def by_any_file(env):
    there = opened(env, root=env.mount().point)
    reading, writing, both = (os.open(env.path("f"), flags)
                              for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR))
    # each kind of open file locks first, and the others go on with what it has locked
    for first, kind in ((reading, fcntl.F_RDLCK), (writing, fcntl.F_WRLCK)):
        for second in (both, writing if first == reading else reading):
            lockf(first, kind, 0, 30)
            other = fcntl.F_WRLCK if kind == fcntl.F_RDLCK else fcntl.F_RDLCK
            lockf(second, other, 10, 10)
            for start in (0, 10, 20):
                locked = other if start == 10 else kind
                assert refused(there, fcntl.F_WRLCK, start, 10), (first, second, start)
                assert refused(there, fcntl.F_RDLCK, start, 10) == (locked == fcntl.F_WRLCK), (
                    first, second, start)
            lockf(first, kind, 10, 10)
            os.pwrite(writing, b"w", 15)
            os.pwrite(both, b"b", 16)
            assert os.pread(both, 2, 15) == os.pread(reading, 2, 15) == b"wb"
            lockf(second, fcntl.F_UNLCK, 0, 20)
            assert not refused(there, fcntl.F_WRLCK, 0, 20) and refused(there, fcntl.F_WRLCK, 20, 10)
            lockf(first, fcntl.F_UNLCK)
            assert not refused(there, fcntl.F_WRLCK)
    env.fails(errno.EBADF, lockf, reading, fcntl.F_WRLCK)


@suite.test("a lock that was taken by two open files goes with the first that is closed, for good")
def by_two_files(env):
    there = opened(env, root=env.mount().point)
    both = opened(env)
    for last in (fcntl.F_WRLCK, fcntl.F_RDLCK):
        with open(env.path("f"), "rb") as reading:
            lockf(reading, fcntl.F_RDLCK)
            lockf(both, fcntl.F_WRLCK)
            lockf(reading if last == fcntl.F_RDLCK else both, last)
        assert not refused(there, fcntl.F_WRLCK)
        lockf(both, fcntl.F_WRLCK)
        time.sleep(0.2)  # longer than CLOSE is put off
        assert refused(there, fcntl.F_RDLCK)
        lockf(both, fcntl.F_UNLCK)


@suite.test("one thread waits for its first lock by one open file, another one locks by the next")
def by_two_threads(env):
    there = opened(env, root=env.mount().point)
    reading, both = os.open(env.path("f"), os.O_RDONLY), opened(env)
    lockf(there, fcntl.F_WRLCK, 0, 10)
    waits = threading.Thread(
        target=lockf, args=(reading, fcntl.F_RDLCK, 0, 10, fcntl.F_SETLKW), daemon=True)
    waits.start()
    time.sleep(0.2)
    lockf(both, fcntl.F_WRLCK, 20, 10)
    assert refused(there, fcntl.F_RDLCK, 20, 10) and waits.is_alive()
    os.close(both)  # the lock goes with it, and the lock-owner stays
    time.sleep(0.2)  # longer than CLOSE is put off
    assert not refused(there, fcntl.F_WRLCK, 20, 10) and waits.is_alive()
    lockf(there, fcntl.F_UNLCK)
    waits.join(10)
    assert refused(there, fcntl.F_WRLCK, 0, 10) and not refused(there, fcntl.F_RDLCK, 0, 10)
    with open(env.path("f"), "r+b") as both:
        lockf(both, fcntl.F_WRLCK, 20, 10)
        lockf(reading, fcntl.F_UNLCK, 25, 10)
        assert refused(there, fcntl.F_WRLCK, 20, 5) and not refused(there, fcntl.F_WRLCK, 25, 10)
    assert not refused(there, fcntl.F_WRLCK)


@suite.test("open files of a process that are inherited keep what the others of the file let go")
def by_inherited_files(env):
    there = opened(env, root=env.mount().point)
    both = opened(env)
    with open(env.path("f"), "rb") as first:
        lockf(first, fcntl.F_RDLCK)  # closes are told from now on
    with open(env.path("f"), "rb") as reading:
        read_end, write_end = os.pipe()
        lockf(reading, fcntl.F_RDLCK, 0, 10)
        lockf(both, fcntl.F_WRLCK, 0, 10)

        def elsewhere():
            check(refused(reading, fcntl.F_RDLCK, 0, 10))
            lockf(reading, fcntl.F_RDLCK, 10, 10)
            lockf(both, fcntl.F_WRLCK, 20, 10)
            os.close(write_end)
            os.read(read_end, 1)
        child = env.child(elsewhere)
        env.eventually(lambda: getlk(there, fcntl.F_RDLCK, 20, 10)[0] == fcntl.F_WRLCK,
                       what="the child's lock")
    assert not refused(there, fcntl.F_WRLCK, 0, 10)
    assert refused(there, fcntl.F_WRLCK, 10, 10) and not refused(there, fcntl.F_RDLCK, 10, 10)
    assert refused(there, fcntl.F_RDLCK, 20, 10)
    os.close(write_end)
    child.join()
    assert not refused(there, fcntl.F_WRLCK)
    os.close(read_end)


@suite.test("a process that is killed frees its locks on the server")
def death_frees(env):
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        lockf(opened(env), fcntl.F_WRLCK)
        os.write(write_end, b"x")
        time.sleep(60)
    os.read(read_end, 1)
    there = opened(env, root=env.mount().point)
    assert refused(there, fcntl.F_WRLCK)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    env.eventually(lambda: not refused(there, fcntl.F_WRLCK), what="the lock's end")


@suite.test("libnfs and the host's own processes meet the locks of the mount, and it meets theirs")
def seen_by_others(env):
    fd = opened(env)
    lockf(fd, fcntl.F_WRLCK)
    target = env.nfs + "/f"
    assert env.witness("lock", target) == b"denied\n"
    host = os.open(env.on_disk("f"), os.O_RDWR)
    assert refused(host, fcntl.F_WRLCK), "the host's process got the lock"
    lockf(fd, fcntl.F_UNLCK)
    holder = subprocess.Popen(env.witness_command("lock", target), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"locked\n"
    assert refused(fd, fcntl.F_WRLCK), "the mount got a lock that libnfs holds"
    holder.stdin.close()
    holder.wait()
    env.eventually(lambda: not refused(fd, fcntl.F_WRLCK))
    lockf(host, fcntl.F_WRLCK)
    env.child(lambda: check(refused(opened(env), fcntl.F_WRLCK))).join()


@suite.test("taking a lock brings what the last holder wrote", timeout=60)
def lock_refreshes(env):
    """A counter incremented under a lock by four processes on two mounts loses no increment."""
    other = env.mount()
    write(env.path("f"), b"0")
    rounds = 60

    def count(root):
        fd = opened(env, root=root)
        for _ in range(rounds):
            lockf(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
            value = int(os.pread(fd, 20, 0) or b"0")
            os.pwrite(fd, b"%d" % (value + 1), 0)
            lockf(fd, fcntl.F_UNLCK)
        os.close(fd)

    # two contenders a mount; a blocked lock of another mount is polled for, so keep them few
    workers = [env.child(count, root) for root in (env.root, env.root)]
    for worker in workers:
        worker.join()
    for root in (other.point, env.root):
        count(root)
    with open(env.on_disk("f")) as f:
        assert int(f.read()) == 4 * rounds


@suite.test("a lock that goes from mount to mount brings what was written, to files that stay open")
def lock_hands_over(env):
    other = env.mount("acregmin=60,acregmax=60")
    write(env.path("f"), b"0")
    fds = [opened(env, root=root) for root in (env.root, other.point)]
    for turn in range(6):
        fd = fds[turn % 2]
        lockf(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
        assert os.pread(fd, 20, 0) == b"%d" % turn
        os.pwrite(fd, b"%d" % (turn + 1), 0)
        lockf(fd, fcntl.F_UNLCK)
    for fd in fds:
        os.close(fd)


@suite.test("with nolock, locks stay within the mount")
def local_locks(env):
    a, b = env.mount("nolock"), env.mount("nolock")
    fd, same, other = (opened(env, root=m.point) for m in (a, a, b))
    fcntl.flock(fd, fcntl.LOCK_EX)
    env.fails(errno.EAGAIN, fcntl.flock, same, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for descriptor in (fd, same, other):
        os.close(descriptor)


@suite.test("locking errors are POSIX's")
def errors(env):
    write(env.path("f"), b"x")
    fd = os.open(env.path("f"), os.O_RDONLY)
    env.fails(errno.EBADF, lockf, fd, fcntl.F_WRLCK)
    env.fails(errno.EBADF, fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # NFS's
    env.fails(errno.EINVAL, lockf, fd, fcntl.F_RDLCK, -1, 1)
    lockf(fd, fcntl.F_RDLCK)
    os.close(fd)


if __name__ == "__main__":
    suite.main()
