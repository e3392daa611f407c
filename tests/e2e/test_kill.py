#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program that waits for a dead server can be killed, and no other signal disturbs it."""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import signal
import threading
import time

from harness import LIBC, Suite, held_open
from test_basic import read, write
from test_locks import lockf, refused

suite = Suite()
MIB = 1 << 20
# a killed program is found within 4 s when the kernel does not announce it
GONE_WITHIN = 20
GRACELESS = dict(graceless=True, nfsv4="Lease_Lifetime = 60;")


# What programs are stuck in. Each part before the yield runs while the server lives, the rest when
# it is dead; the working directory is the program's own.


def do_stat():
    yield
    os.stat("below/f")  # siblings of this directory may have been read with it


def do_open():
    os.stat("f")
    yield
    os.open("f", os.O_RDONLY)


def do_create():
    os.path.exists("new")
    yield
    os.open("new", os.O_RDWR | os.O_CREAT | os.O_EXCL)


def do_read():
    fd = os.open("f", os.O_RDONLY)
    yield
    os.pread(fd, 100, 0)


def do_read_direct():
    fd = os.open("f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, MIB)
    yield
    os.preadv(fd, [buffer], 0)


def do_write():
    fd = os.open("f", os.O_RDWR)
    yield
    os.pwrite(fd, b"x" * 10000, 0)


def do_write_direct():
    fd = os.open("f", os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, 64 << 10)
    yield
    os.pwritev(fd, [buffer], 0)


def do_fsync():
    fd = os.open("f", os.O_RDWR)
    os.pwrite(fd, b"x" * 10000, 0)
    yield
    os.fsync(fd)


def do_close():
    fd = os.open("f", os.O_RDWR)
    os.pwrite(fd, b"x" * 10000, 0)
    yield
    os.close(fd)


def do_rename():
    os.stat("f")
    os.path.exists("g")
    yield
    os.rename("f", "g")


def do_unlink():
    os.stat("f")
    yield
    os.unlink("f")


def do_mkdir():
    os.path.exists("new")
    yield
    os.mkdir("new")


def do_readdir():
    fd = os.open("below", os.O_RDONLY)
    yield
    os.listdir(fd)


def do_fault():
    fd = os.open("f", os.O_RDONLY)
    memory = mmap.mmap(fd, MIB, prot=mmap.PROT_READ)
    yield
    memory[MIB // 2]


def do_statfs():
    yield
    os.statvfs(".")


def do_truncate():
    fd = os.open("f", os.O_RDWR)
    yield
    os.ftruncate(fd, 10)


def do_lock():
    fd = os.open("f", os.O_RDWR)
    yield
    lockf(fd, fcntl.F_WRLCK, 0, 10)


def do_lock_wait():
    fd = os.open("f", os.O_RDWR)
    yield
    lockf(fd, fcntl.F_WRLCK, 0, 10, fcntl.F_SETLKW)


def do_flock():
    fd = os.open("f", os.O_RDWR)
    yield
    fcntl.flock(fd, fcntl.LOCK_EX)


WORK = {name[3:]: function for name, function in list(globals().items())
        if name.startswith("do_")}


def keep_only(*fds):
    """Lets nobody wait for the end of what this program has inherited."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in fds:
            try:
                os.close(fd)
            except OSError:
                pass


def silence(env, mount):
    """The server is dead from now on: the stream is there, but nothing comes."""
    os.kill(mount.relay.pid, signal.SIGSTOP)

    def stopped():
        tasks = f"/proc/{mount.relay.pid}/task"
        return all(" T " in read(f"{tasks}/{t}/stat").decode() for t in os.listdir(tasks))
    env.eventually(stopped, within=20, what="the end of the relay's work")


class Stuck:
    """A program that is about to wait for a dead server."""

    def __init__(self, directory, work):
        ready, ready_end = os.pipe()
        go_end, self.go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.run(directory, work, ready_end, go_end)
        os.close(ready_end)
        os.close(go_end)
        assert os.read(ready, 1) == b"r"
        os.close(ready)

    @staticmethod
    def run(directory, work, ready, go):
        try:
            for s in (signal.SIGINT, signal.SIGTERM):
                signal.signal(s, signal.SIG_DFL)
            keep_only(ready, go)
            os.chdir(directory)
            steps = work()
            next(steps)
            os.write(ready, b"r")
            os.read(go, 1)
            for _ in steps:
                pass
            os._exit(0)
        except BaseException:
            os._exit(1)

    def waits(self):
        """It is asleep, and not for the order to begin."""
        with open(f"/proc/{self.pid}/stat") as f:
            asleep = f.read().rpartition(")")[2].split()[0] in "SD"
        with open(f"/proc/{self.pid}/wchan") as f:
            return asleep and "pipe" not in f.read()

    def gone(self):
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0


def prepare(server, name):
    directory = os.path.join(server.export, name)
    os.makedirs(os.path.join(directory, "below"))
    for path in ("f", "below/f"):
        write(os.path.join(directory, path), random.Random(1).randbytes(MIB))


def killed(env, number):
    server = env.server(**GRACELESS)
    for name in WORK:
        prepare(server, name)
    mount, other = server.mount("actimeo=60"), server.mount()
    stuck = {name: Stuck(os.path.join(mount.point, name), work) for name, work in WORK.items()}
    silence(env, mount)
    try:
        for s in stuck.values():
            os.write(s.go, b"g")
        for name, s in stuck.items():
            env.eventually(s.waits, within=GONE_WITHIN, what=f"{name} in waiting")
        time.sleep(0.5)
        assert not [name for name, s in stuck.items() if s.gone()], "ended without a signal"
        for s in stuck.values():
            os.kill(s.pid, number)
        left = dict(stuck)

        def all_gone():
            for name in [name for name, s in left.items() if s.gone()]:
                del left[name]
            return not left
        try:
            took = env.eventually(all_gone, within=GONE_WITHIN, what="the end")
        except AssertionError:
            raise AssertionError(f"not killed: {', '.join(left)}") from None
        print(f"# all gone within {took:.2f} s", flush=True)
    finally:
        os.kill(mount.relay.pid, signal.SIGCONT)
    works(env, server, mount, other)


def works(env, server, mount, other):
    """The mount goes on, and the server has nothing of the dead programs left."""
    write(os.path.join(mount.point, "after"), b"after")
    assert read(os.path.join(server.export, "after")) == b"after"
    for name in WORK:
        assert os.listdir(os.path.join(mount.point, name)) is not None

    with open(os.path.join(server.directory, "ganesha.pid")) as f:
        pid = int(f.read())
    # ganesha keeps what it has opened itself for a COMMIT, not what it was told to OPEN
    committed = os.path.join(server.export, "write_direct/f")
    env.eventually(lambda: set(held_open(pid, server.export)) <= {committed}, within=GONE_WITHIN,
                   what="the last CLOSE")
    for name in ("lock", "lock_wait", "flock"):
        fd = os.open(os.path.join(other.point, name, "f"), os.O_RDWR)
        env.eventually(lambda fd=fd: not refused(fd, fcntl.F_WRLCK), within=GONE_WITHIN,
                       what=f"the end of the lock of {name}")
        os.close(fd)
    assert mount.dead() is None


for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
    suite.test(f"{sig.name} ends programs that are stuck on a dead server, whatever they do",
               timeout=120)(lambda env, s=sig: killed(env, s))


# Other signals


def interrupted_read(env, number, again):
    """A read that takes longer than anything here is patient, under a rain of signals."""
    server = env.server(**GRACELESS)
    data = random.Random(2).randbytes(3 * MIB)
    write(os.path.join(server.export, "f"), data)
    mount = server.mount()
    seen = []
    signal.signal(number, lambda *_: seen.append(1))
    signal.siginterrupt(number, True)
    for flags in (os.O_RDONLY, os.O_RDONLY | os.O_DIRECT):
        fd = os.open(os.path.join(mount.point, "f"), flags)
        memory = mmap.mmap(-1, 4 * MIB)
        buffer = (ctypes.c_char * len(memory)).from_buffer(memory)
        silence(env, mount)
        threading.Timer(6, os.kill, (mount.relay.pid, signal.SIGCONT)).start()
        stop = again()
        LIBC.read.restype = ctypes.c_ssize_t
        count = LIBC.read(fd, buffer, ctypes.c_size_t(len(data)))
        number_of_error = ctypes.get_errno()
        stop()
        assert count > 0, errno.errorcode[number_of_error]
        assert memory[:count] == data[:count]
        assert count == len(data), f"{count} bytes"
        assert seen, "no signal came"
        os.close(fd)


@suite.test("SIGALRM does not interrupt a read that a slow server delays", timeout=60)
def alarms(env):
    def again():
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.1)
        return lambda: signal.setitimer(signal.ITIMER_REAL, 0)
    interrupted_read(env, signal.SIGALRM, again)


@suite.test("SIGCHLD does not either", timeout=60)
def children(env):
    def again():
        pids = []
        for i in range(10):
            pids.append(os.fork())
            if pids[-1] == 0:
                time.sleep(0.3 + i / 4)
                os._exit(0)
        return lambda: [os.waitpid(pid, 0) for pid in pids]
    interrupted_read(env, signal.SIGCHLD, again)


@suite.test("a program that waits for another's lock is interrupted by any signal", timeout=60)
def lock_interrupted(env):
    holder = os.open(env.path("f"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.siginterrupt(signal.SIGALRM, True)
    fd = os.open(env.path("f"), os.O_RDWR)
    signal.setitimer(signal.ITIMER_REAL, 0.5, 0.5)
    assert LIBC.flock(fd, fcntl.LOCK_EX) == -1 and ctypes.get_errno() == errno.EINTR
    signal.setitimer(signal.ITIMER_REAL, 0)
    fcntl.flock(holder, fcntl.LOCK_UN)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


if __name__ == "__main__":
    suite.main()
