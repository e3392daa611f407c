#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts end: by signals, by umount -f and -l, busy or not, with a server that lives or is dead."""

import fcntl
import mmap
import os
import signal
import subprocess
import time

import nfsreply as nfs
from harness import Suite
from hostile import Hostile
from mounts import mountinfo
from nfsreply import record
from test_basic import read, write
from test_kill import Stuck, silence
from test_locks import lockf, refused

suite = Suite()
# silence 5 s, unmounting 1 s, good-bye 5 s
ENDS_WITHIN = 40
SERVER = dict(graceless=True, nfsv4="Lease_Lifetime = 60;")


def ended(env, mount, status=0):
    assert mount.process.wait(ENDS_WITHIN) == status, mount.log_tail()
    assert not mountinfo(mount.point)
    mount.umount = lambda: None


class Holder(Stuck):
    """A program that keeps files of a mount open until it is told to go on."""

    def __init__(self, work):
        super().__init__("/", work)

    def end(self):
        os.close(self.go)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def dirty(path):
    """Written, mapped and written, and locked; nothing of it is synced."""
    def work():
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(fd, b"written" + bytes(100_000), 0)
        memory = mmap.mmap(fd, 100_007)
        memory[50_000:50_006] = b"mapped"
        lockf(fd, fcntl.F_WRLCK, 0, 10)
        yield
    return work


def saved(path):
    data = read(path)
    return data[:7] == b"written" and data[50_000:50_006] == b"mapped" and len(data) == 100_007


def by_signal(env, number):
    h = Hostile(env, "nconnect=2")
    other = env.mount()
    holder = Holder(dirty(h.path("f")))
    h.proxy.arm(lambda _, reply: record(reply.bytes()), nfs.COMMIT, times=1000)
    h.mount.process.send_signal(number)
    ended(env, h.mount)
    assert h.proxy.hits > 0, "nothing was committed"
    assert saved(env.on_disk("f"))
    # the client id was given back, long before the lease ends
    fd = os.open(os.path.join(other.point, env.name, "f"), os.O_RDWR)
    assert not refused(fd, fcntl.F_WRLCK, 0, 10)
    holder.end()


for sig in (signal.SIGTERM, signal.SIGINT):
    suite.test(f"{sig.name}: a busy mount's data is committed, its state returned, status 0",
               timeout=90)(lambda env, s=sig: by_signal(env, s))


def do_stat():
    yield
    os.stat("below/f")  # siblings of this directory may have been read with it


def do_write():
    fd = os.open("f", os.O_RDWR)
    yield
    os.pwrite(fd, b"x" * 1000, 0)


def do_map():
    fd = os.open("f", os.O_RDWR)
    memory = mmap.mmap(fd, 4096)
    yield
    memory[0] = 1
    memory.flush()


def do_statfs():
    yield
    os.statvfs(".")


class Dead:
    """A mount with a silent server, and programs that wait for it."""

    def __init__(self, env):
        self.server = env.server(**SERVER)
        for work in (do_stat, do_write, do_map, do_statfs):
            os.makedirs(os.path.join(self.server.export, work.__name__, "below"))
            for name in ("f", "below/f"):
                write(os.path.join(self.server.export, work.__name__, name), bytes(4096))
        self.mount = self.server.mount("nconnect=2")
        self.holder = Holder(dirty(os.path.join(self.mount.point, "dirty")))
        self.stuck = [Stuck(os.path.join(self.mount.point, work.__name__), work)
                      for work in (do_stat, do_write, do_map, do_statfs)]
        silence(env, self.mount)
        for s in self.stuck:
            os.write(s.go, b"g")
        for s in self.stuck:
            env.eventually(s.waits, within=20, what="waiting")
        self.env = env

    def all_free(self):
        left = list(self.stuck)

        def free():
            left[:] = [s for s in left if not s.gone()]
            return not left
        self.env.eventually(free, within=ENDS_WITHIN, what="the end of what was stuck")
        self.holder.end()


def dead_signal(env, number):
    dead = Dead(env)
    dead.mount.process.send_signal(number)
    ended(env, dead.mount)
    dead.all_free()


for sig in (signal.SIGTERM, signal.SIGINT):
    suite.test(f"{sig.name} with a dead server: bounded, status 0, no process stuck",
               timeout=120)(lambda env, s=sig: dead_signal(env, s))


def run_bounded(command):
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/",
                          stderr=subprocess.STDOUT, timeout=ENDS_WITHIN)
    assert done.returncode == 0, done.stdout.decode()
    print(f"# {command[:2]} took {time.monotonic() - start:.1f} s", flush=True)


@suite.test("umount -f: a busy mount goes, its daemon with it, what was written is committed",
            timeout=90)
def force(env):
    server = env.server(**SERVER)
    mount = server.mount()
    write(os.path.join(mount.point, "f"), b"f")
    fd = os.open(os.path.join(mount.point, "g"), os.O_RDWR | os.O_CREAT)
    os.write(fd, b"written")
    os.close(fd)
    run_bounded(["umount", "-f", mount.point])
    ended(env, mount)
    assert read(os.path.join(server.export, "g")) == b"written"


@suite.test("umount -f with a dead server: nothing hangs, the daemon ends with status 0",
            timeout=120)
def force_dead(env):
    dead = Dead(env)
    df = subprocess.Popen(["stat", "-f", dead.mount.point], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, cwd="/")
    subprocess.run(["umount", "-f", dead.mount.point], timeout=ENDS_WITHIN, cwd="/",
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    dead.all_free()
    df.wait(ENDS_WITHIN)
    env.eventually(lambda: not mountinfo(dead.mount.point), within=20, what="the unmount")
    ended(env, dead.mount)


@suite.test("umount -l: those who have files open go on, the daemon ends with the last of them",
            timeout=90)
def lazy(env):
    server = env.server(**SERVER)
    mount = server.mount()
    path = os.path.join(mount.point, "f")
    write(path, bytes(10))

    def work():
        fd = os.open(path, os.O_RDWR)
        yield
        assert os.pwrite(fd, b"late", 0) == 4
        os.fsync(fd)
        os.close(fd)
    holder = Holder(work)
    run_bounded(["umount", "-l", mount.point])
    assert not mountinfo(mount.point)
    assert mount.process.poll() is None
    assert holder.end() == 0
    ended(env, mount)
    assert read(os.path.join(server.export, "f"))[:4] == b"late"


@suite.test("umount -l with a dead server: the name is free at once, the rest ends when killed",
            timeout=120)
def lazy_dead(env):
    dead = Dead(env)
    run_bounded(["umount", "-l", dead.mount.point])
    assert not mountinfo(dead.mount.point)
    for s in dead.stuck:
        os.kill(s.pid, signal.SIGKILL)
    os.kill(dead.mount.process.pid, signal.SIGTERM)
    dead.all_free()
    ended(env, dead.mount)


if __name__ == "__main__":
    suite.main()
