#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests over io_uring instead of /dev/fuse; and when not, by which they come."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time

import ring
from harness import Skip, Suite
from mounts import MountFailed, guards_of, mountinfo, processes_of
from test_basic import read, write
from test_inside import await_control
from test_kill import GONE_WITHIN, GRACELESS, Stuck, silence
from test_locks import lockf
from test_stats import vsockfsctl

suite = Suite("fuse_uring=on")
MIB = 1 << 20
# of a queue at first, and more than that wait for one lock
ENTRIES = 32
WAITERS = 3 * ENTRIES


def status(env, point):
    return json.loads(env.run([vsockfsctl(), "status", "--json", point]))


def transport(env, point):
    await_control(env, point)
    return status(env, point)["fuse_transport"]


@suite.test("status and stats say that requests come over io_uring")
def told(env):
    assert transport(env, env.root) == "io_uring"
    assert "io_uring" in env.run([vsockfsctl(), "stats", env.root])


@suite.test("with the kernel's parameter off they come by /dev/fuse, silently; on demand it fails")
def parameter_off(env):
    with off():
        mount = env.mount("fuse_uring=auto")
    assert transport(env, mount.point) == "/dev/fuse"
    assert mount.log_tail() == "", mount.log_tail()
    with ring.enabled():
        device = env.mount("fuse_uring=off")
        assert transport(env, device.point) == "/dev/fuse"
        auto = env.mount("fuse_uring=auto")
        assert transport(env, auto.point) == "io_uring"
        poll = env.mount("fuse_uring=auto,io=poll")
        assert transport(env, poll.point) == "/dev/fuse"
        write(os.path.join(poll.point, env.name, "f"), b"by poll")
        assert read(os.path.join(auto.point, env.name, "f")) == b"by poll"
        refused(env, "io=poll", "loops cannot")


@contextlib.contextmanager
def off():
    """Nobody turns the parameter on meanwhile."""
    with open(ring.PARAMETER) as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        if f.read().strip() == "Y":
            raise Skip("fuse.enable_uring is on here")
        yield


def refused(env, words, why):
    try:
        with suite.new_mount(os.path.join(env.work, env.name + "-refused"), words):
            pass
    except MountFailed as e:
        assert why in e.stderr, e.stderr
        return
    raise AssertionError("it was mounted")


@suite.test("a kernel whose parameter is off refuses fuse_uring=on in a line that says so")
def refused_off(env):
    point = os.path.join(env.work, env.name + "-refused")
    os.mkdir(point)
    with off():
        done = subprocess.run(
            [suite.program(), "-f", suite.source(), point, "-o", "fuse_uring=on"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/")
    assert done.returncode != 0
    assert b"fuse.enable_uring is off" in done.stdout, done.stdout


@suite.test("more wait for a lock on one CPU than its queue begins with; the lock goes round",
            timeout=60)
def many_locks(env):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    await_control(env, env.root)
    held = os.open(env.path("f"), os.O_RDWR | os.O_CREAT)
    lockf(held, fcntl.F_WRLCK)

    def wait_for_it():
        fd = os.open(env.path("f"), os.O_RDWR)
        lockf(fd, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
        os.close(fd)
    waiters = [env.child(wait_for_it) for _ in range(WAITERS)]
    # nobody asks for anything else on that CPU meanwhile
    os.sched_setaffinity(0, {max(range(os.cpu_count()))})

    def waiting():
        return status(env, env.root)["requests"]["count"] >= WAITERS
    env.eventually(waiting, within=30, what="all of them")
    lockf(held, fcntl.F_UNLCK)
    for waiter in waiters:
        waiter.join()


@suite.test("what was read takes no memory and no time when nothing is asked any more")
def idle(env):
    write(env.on_disk("f"), bytes(64 * MIB))
    mount = env.mount("cache=none")

    def anonymous():
        with open(f"/proc/{mount.process.pid}/status") as f:
            return next(int(s.split()[1]) for s in f if s.startswith("RssAnon"))
    # of each entry a header and 64 KiB stay, and a buffer here or there
    enough = anonymous() + os.cpu_count() * ENTRIES * 68 + 1024
    # many at once, so that as many entries are used
    readers = [subprocess.Popen(["dd", f"if={mount.point}/{env.name}/f", "of=/dev/null", "bs=4M"],
                                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for _ in range(4)]
    assert not any(reader.wait(60) for reader in readers)
    print(f"# {anonymous()} KiB after reading, {enough} would do", flush=True)
    if env.slowness() == 1:
        env.eventually(lambda: anonymous() < enough, within=20, what="its memory again")
        print(f"# {anonymous()} KiB then", flush=True)

    def ticks():
        with open(f"/proc/{mount.process.pid}/stat") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
    before = ticks()
    time.sleep(1)
    assert ticks() - before <= 5, f"{ticks() - before} ticks in a second of nothing"


def stuck_reader(path):
    def work():
        fd = os.open(path, os.O_RDONLY)
        yield
        os.pread(fd, 100, 0)
    return work


@suite.test("kill -9 while the kernel waits for pages: programs end, and nothing of it is left",
            timeout=60)
def killed(env):
    server = env.server(**GRACELESS)
    write(os.path.join(server.export, "f"), bytes(MIB))
    mount = server.mount()
    reader = Stuck(mount.point, stuck_reader("f"))
    silence(env, mount)
    os.write(reader.go, b"g")
    env.eventually(reader.waits, within=GONE_WITHIN, what="the reader")
    # its page is locked now, and dropping the cache waits for that
    drop = subprocess.Popen([vsockfsctl(), "drop", mount.point], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    notifiers = processes_of(mount.point, "vsockfs-notify")

    def locked():
        return any("D (" in read(f"/proc/{p}/status").decode() for p in notifiers)
    env.eventually(locked, within=GONE_WITHIN, what="a notification that waits")
    mount.process.kill()
    mount.process.wait()
    drop.wait(GONE_WITHIN)
    env.eventually(reader.gone, within=GONE_WITHIN, what="the end of the reader")
    env.eventually(lambda: not guards_of(mount.point), within=GONE_WITHIN,
                   what="the end of the guard")
    env.eventually(lambda: not any(os.path.exists(f"/proc/{p}") for p in notifiers),
                   within=GONE_WITHIN, what="the end of the notifiers")
    os.kill(mount.relay.pid, signal.SIGCONT)
    env.run(["umount", mount.point])
    mount.process = None
    mount.start()
    assert read(os.path.join(mount.point, "f")) == bytes(MIB)


@suite.test("SIGTERM with files open and a request waiting for another's lock ends it all",
            timeout=60)
def terminated(env):
    mount = suite.new_mount(os.path.join(env.work, env.name + "-ends")).start()
    await_control(env, mount.point)
    path = os.path.join(mount.point, env.name, "f")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    lockf(fd, fcntl.F_WRLCK)

    def wait_for_it():
        there = os.open(path, os.O_RDWR)
        try:
            lockf(there, fcntl.F_WRLCK, command=fcntl.F_SETLKW)
        except OSError:
            return
        raise AssertionError("locked twice")
    waiter = env.child(wait_for_it)
    env.eventually(lambda: status(env, mount.point)["requests"]["count"] > 0, within=10,
                   what="the waiter")
    mount.process.send_signal(signal.SIGTERM)
    assert mount.process.wait(30) == 0, mount.log_tail()
    waiter.join()
    with contextlib.suppress(OSError):
        os.close(fd)
    assert not mountinfo(mount.point)


if __name__ == "__main__":
    suite.main()
