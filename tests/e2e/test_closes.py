#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel does not tell of each close(2) of a file that is open for reading only: what must be
known of those that lock by it all the same."""

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import time

from harness import Suite
from mounts import processes_of
from test_basic import write
from test_inside import await_control
from test_locks import F_OFD_SETLK, check, lockf, opened, refused
from test_stats import vsockfsctl

suite = Suite()


def reading(env, name="f", root=None):
    return os.open(os.path.join(root or env.root, env.name, name), os.O_RDONLY)


def asleep(pid):
    """All of its threads: a request is told of only after the program has its answer."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{task}/stat") as f:
            if f.read().rsplit(") ", 1)[1][0] == "R":
                return False
    return True


@contextlib.contextmanager
def requests(env, point):
    """Those of this mount, by their names, in the order of their ends."""
    await_control(env, point)
    trace = subprocess.Popen([vsockfsctl(), "trace", "--slower", "0", point],
                             stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    found = []

    def mark(word):
        """Looks for a name, of which a line will tell, behind those of all before."""
        env.eventually(lambda: all(asleep(pid) for pid in processes_of(point)), within=20,
                       what="the end of what the daemon does")
        assert not os.path.exists(os.path.join(point, f"{word}-{time.monotonic()}"))
    try:
        while not select.select([trace.stdout], [], [], 0.05)[0]:
            mark("begin")
        mark("begun")
        for line in trace.stdout:
            if "begun-" in line:
                break
        yield found
        mark("end")
        for line in trace.stdout:
            if "end-" in line:
                break
            found.append(line.split()[3])
    finally:
        trace.kill()
        trace.wait()
        trace.stdout.close()


def by_another(env, root=None):
    """Another process gets the lock that nobody has any more, at once."""
    env.child(lambda: lockf(opened(env, root=root), fcntl.F_WRLCK)).join()


@suite.test("who reads files has the daemon told of the last close only, who writes of each")
def told(env):
    names = [f"f{i}" for i in range(20)]
    mount = env.mount()
    for name in names:
        write(env.path(name), b"x")
    with requests(env, mount.point) as found:
        for name in names:
            fd = reading(env, name, mount.point)
            os.close(os.dup(fd))
            assert os.read(fd, 9) == b"x"
            os.close(fd)
    assert found.count("OPEN") == len(names), found
    assert "FLUSH" not in found, found
    with requests(env, mount.point) as found:
        for name in names:
            os.close(opened(env, name, mount.point))
    assert found.count("FLUSH") == len(names), found


@suite.test("a file that is made, and open for reading, has the change of its mode told at close")
def made(env):
    with requests(env, env.root) as found:
        fd = os.open(env.path("f"), os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(fd, 0o640)
        os.close(fd)
        assert os.stat(env.on_disk("f")).st_mode & 0o777 == 0o640
    assert found.count("FLUSH") == 1, found


@suite.test("a read lock is free for everybody here when the close(2) of its file has returned", 60)
def free_at_close(env):
    write(env.path("f"), b"x")
    mount = env.mount("nconnect=4")
    fds = [reading(env, root=mount.point) for _ in range(80)]
    kept = opened(env, root=mount.point)
    for i, fd in enumerate(fds):
        lockf(fd, fcntl.F_RDLCK, i, 1)
        if i % 4 == 0:
            env.child(lambda: check(refused(opened(env, root=mount.point), fcntl.F_WRLCK))).join()
        if i % 2:
            os.dup2(kept, fd)
        else:
            os.close(fd)
        if i % 8 == 0:
            by_another(env, mount.point)
        else:
            lockf(kept, fcntl.F_WRLCK, command=F_OFD_SETLK)
            lockf(kept, fcntl.F_UNLCK, command=F_OFD_SETLK)


@suite.test("a read lock by a file that was opened before is free on the server after its last close")
def elsewhere(env):
    write(env.path("f"), b"x")
    mount = env.mount()
    fd = reading(env, root=mount.point)
    there = opened(env)
    lockf(fd, fcntl.F_RDLCK)
    copy = os.dup(fd)
    os.close(fd)
    os.close(copy)
    env.eventually(lambda: not refused(there, fcntl.F_WRLCK), what="the lock's end")


@suite.test("what a process locks right after a close does not keep what went with that", timeout=60)
def apart(env):
    write(env.path("f"), b"x")
    mount = env.mount("nconnect=4")
    fds = [reading(env, root=mount.point) for _ in range(200)]
    kept, other = (opened(env, root=mount.point) for _ in range(2))
    for fd in fds:
        lockf(fd, fcntl.F_RDLCK, 0, 100)
        os.close(fd)
        lockf(kept, fcntl.F_WRLCK, 200, 100)
        lockf(other, fcntl.F_WRLCK, 0, 100, command=F_OFD_SETLK)
        lockf(other, fcntl.F_UNLCK, 0, 100, command=F_OFD_SETLK)
        env.fails(errno.EAGAIN, lockf, other, fcntl.F_WRLCK, 200, 100, F_OFD_SETLK)
        lockf(kept, fcntl.F_UNLCK, 200, 100)


@suite.test("a process that is killed frees the read locks of files that it could only read", 60)
def killed(env):
    write(env.path("f"), b"x")
    mount = env.mount("nconnect=4")
    fds = [reading(env, root=mount.point) for _ in range(20)]
    for ended in (True, False):
        while fds:
            read_end, write_end = os.pipe()
            pid = os.fork()
            if pid == 0:
                fd = reading(env, root=mount.point) if ended else fds[-1]
                lockf(fd, fcntl.F_RDLCK)
                os.write(write_end, b"x")
                time.sleep(60)
            os.close(fds.pop())
            os.read(read_end, 1)
            os.close(read_end)
            os.close(write_end)
            assert refused(opened(env, root=mount.point), fcntl.F_WRLCK)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            by_another(env, mount.point)
        fds = [] if not ended else [reading(env, root=mount.point) for _ in range(20)]


@suite.test("where one program has locked by a file open for reading, all is POSIX's from then on")
def known(env):
    mount = env.mount()
    for name in ("first", "f"):
        write(env.path(name), b"x")
    fd = reading(env, "first", mount.point)
    lockf(fd, fcntl.F_RDLCK)
    os.close(fd)
    # a copy of the descriptor
    fd = reading(env, root=mount.point)
    lockf(fd, fcntl.F_RDLCK)
    os.close(os.dup(fd))
    by_another(env, mount.point)
    # another descriptor
    lockf(fd, fcntl.F_RDLCK)
    os.close(reading(env, root=mount.point))
    by_another(env, mount.point)
    # what a child still has open
    lockf(fd, fcntl.F_RDLCK)
    read_end, write_end = os.pipe()
    child = env.child(os.read, read_end, 1)
    os.close(fd)
    by_another(env, mount.point)
    os.write(write_end, b"x")
    child.join()


@suite.test("closing a file open for reading drops the locks of the file, if it was locked before")
def close_drops(env):
    write(env.path("f"), b"x")
    mount = env.mount()
    fd = opened(env, root=mount.point)
    lockf(fd, fcntl.F_WRLCK)
    os.close(reading(env, root=mount.point))
    by_another(env, mount.point)


@suite.test("a lock by a file that was open before any was asked for goes with its last close")
def first(env):
    """What the manual tells of: for this one the kernel has been told to keep closes to itself."""
    write(env.path("f"), b"x")
    mount = env.mount()
    fd = reading(env, root=mount.point)
    lockf(fd, fcntl.F_RDLCK)
    copy = os.dup(fd)
    os.close(fd)
    there = opened(env)
    assert refused(there, fcntl.F_WRLCK)
    lockf(copy, fcntl.F_UNLCK)
    assert not refused(there, fcntl.F_WRLCK)


@suite.test("with nolock, locks are the kernel's, which knows of each close")
def nolock(env):
    write(env.path("f"), b"x")
    mount = env.mount("nolock")
    with requests(env, mount.point) as found:
        for _ in range(3):
            fd = reading(env, root=mount.point)
            lockf(fd, fcntl.F_RDLCK)
            os.close(os.dup(fd))
            by_another(env, mount.point)
            os.close(fd)
    # of the three that had it open for writing
    assert found.count("FLUSH") == 3, found


@suite.test("with writeback the kernel tells of each close")
def writeback(env):
    write(env.path("f"), b"x")
    mount = env.mount("writeback")
    with requests(env, mount.point) as found:
        os.close(reading(env, root=mount.point))
    assert found.count("FLUSH") == 1, found


if __name__ == "__main__":
    suite.main()
