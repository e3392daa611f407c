#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Referrals, and file systems that have moved: a shim in front of nfs-ganesha says so."""

import contextlib
import errno
import os
import signal
import stat
import subprocess
import time

import nfsreply as nfs
from harness import Suite
from mounts import Mount
from nfsreply import opaque, p32, u32
from shim import Call, Shim, bitmap, take_opaque
from test_basic import read, write

suite = Suite()
FS_LOCATIONS, MOVED = 24, 10019


def words(*texts):
    return p32(len(texts)) + b"".join(opaque(t.encode()) for t in texts)


def locations(*servers, path=("data",)):
    return words("old") + p32(1) + words(*servers) + words(*path)


class Away(Shim):
    """What is below the names of `away` is elsewhere; with `gone`, everything is."""

    def __init__(self, path, port, where, away=()):
        self.away, self.gone, self.asked = set(away), False, 0
        super().__init__(path, port)
        self.objects, self.default = {FS_LOCATIONS: {}}, {FS_LOCATIONS: where}

    def forwarded(self, call):
        sent = super().forwarded(call)
        with contextlib.suppress(nfs.NotCompound, IndexError), self.lock:
            self.plans[u32(call)] = Call(call)
        return sent

    def merge(self, asked, reply):
        reply = super().merge(asked, reply)
        where = any(op == nfs.GETATTR and FS_LOCATIONS in bitmap(args) for op, args in asked.ops)
        self.asked += where
        name = b""
        for i, (op, args) in enumerate(asked.ops[:len(reply.ops)]):
            if name in self.away and op in (nfs.LOOKUP, nfs.GETFH) or (
                    self.gone and op == nfs.PUTFH and not where):
                reply.ops[i:] = [[op, MOVED, b""]]
                reply.status, reply.count = MOVED, i + 1
                break
            if op == nfs.LOOKUP:
                name = take_opaque(args, 0)[0]
        return reply


@contextlib.contextmanager
def shim(env, *args):
    env.mount_count += 1
    server = Away(os.path.join(env.work, f"{env.name}-away{env.mount_count}.sock"), env.port, *args)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def served(env, *args, options=""):
    """A shim and a mount through it."""
    with shim(env, *args) as server, Mount(
            env.suite.program(), f"unix:{server.path}:/export", server.path + ".mnt",
            "nconnect=1,noac" + options) as mount:
        yield server, mount, os.path.join(mount.point, env.name)


def log_of(mount):
    return mount.log_tail(1000)


def is_waiting(process):
    """Does it wait for an answer from the mount?"""
    with open(f"/proc/{process.pid}/wchan") as file:
        return "request_wait_answer" in file.read()


def told(mount):
    return [line for line in log_of(mount).splitlines() if "referral" in line]


@suite.test("a referral that is not followed is an empty directory, and the log says so, once")
def referral(env):
    os.mkdir(env.on_disk("away"))
    for where, options, why in ((locations("tcphost", "10.0.0.1", path=("a", "b")), "",
                                 "tcphost:/a/b, 10.0.0.1:/a/b, which is not followed: that is no"),
                                (locations("vsock:2.4000000123"), ",noreferrals", "follows none"),
                                (locations("vsock:2.4000000123", path=("a", "b")), "",
                                 "vsock:2.4000000123:/a/b, which is not followed: 2:/a/b: vsock 2")):
        with served(env, where, [b"away"], options=options) as (_, mount, top):
            away = os.path.join(top, "away")
            inode = os.stat(away).st_ino
            for _ in range(3):
                st = os.stat(away)
                assert stat.S_ISDIR(st.st_mode) and st.st_mode & 0o777 == 0o555
                assert st.st_ino == inode
                for call, *args in ((os.listdir, away), (os.stat, os.path.join(away, "x")),
                                    (os.mkdir, os.path.join(away, "x")), (os.chmod, away, 0o777)):
                    env.fails(errno.EREMOTE, call, *args)
                env.fails(errno.EOPNOTSUPP, os.getxattr, away, "user.a")
            assert os.access(away, os.R_OK | os.X_OK)
            assert os.listdir(top) == ["away"]
            lines = told(mount)
            assert len(lines) == 1 and '"away"' in lines[0] and why in lines[0], lines
            os.mkdir(os.path.join(top, "here"))
            assert sorted(os.listdir(top)) == ["away", "here"]
            os.rmdir(os.path.join(top, "here"))


@suite.test("many programs at once have one attempt to follow a referral made", timeout=120)
def crowd(env):
    os.mkdir(env.on_disk("away"))
    uses = ("ls .", "stat -f .", "stat .", "cd .", "mkdir ./d", "touch ./f", "cat ./f", "chmod 0 .",
            "mv ./a ./b", "rmdir ./d")
    with served(env, locations("vsock:2.4000000123"), [b"away"]) as (_, mount, top):
        away = os.path.join(top, "away")
        done = [subprocess.Popen(["sh", "-c", use.replace(".", away)], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for use in uses * 3]
        said = {use: process.communicate(timeout=120)[1] for use, process in zip(uses * 3, done)}
        assert len(told(mount)) == 1, log_of(mount)
        assert "remote" in said["ls ."] and "remote" in said["touch ./f"], said
        assert not any("Stale" in text for text in said.values()), said
        assert mount.process.poll() is None


def mounter_of(mount):
    """Its process id, or None."""
    with open(f"/proc/{mount.process.pid}/task/{mount.process.pid}/children") as file:
        for pid in file.read().split():
            with open(f"/proc/{pid}/comm") as comm:
                if comm.read().strip() == "vsockfs-mounter":
                    return int(pid)
    return None


@suite.test("without its mounter a mount goes on, and who waits for a referral does not")
def orphaned(env):
    os.mkdir(env.on_disk("away"))
    with served(env, locations("vsock:2.4000000123"), [b"away"]) as (_, mount, top):
        away = os.path.join(top, "away")
        env.eventually(lambda: mounter_of(mount))
        pid = mounter_of(mount)
        os.kill(pid, signal.SIGSTOP)
        waiting = subprocess.Popen(["ls", away], stderr=subprocess.PIPE, text=True)
        ending = subprocess.Popen(["ls", away], stderr=subprocess.DEVNULL)
        os.stat(top)
        env.eventually(lambda: is_waiting(waiting) and is_waiting(ending))
        ending.kill()
        assert ending.wait(timeout=60) == -signal.SIGKILL
        assert waiting.poll() is None
        os.kill(pid, signal.SIGKILL)
        assert "remote" in waiting.communicate(timeout=60)[1]
        for _ in range(3):
            env.fails(errno.EREMOTE, os.listdir, away)
        os.mkdir(os.path.join(top, "here"))


@suite.test("what a referral leads to can be mounted on it, and stays")
def mounted(env):
    os.mkdir(env.on_disk("away"))
    os.mkdir(env.on_disk("other"))
    write(env.on_disk("other/f"), b"there")
    with served(env, locations("vsock:7"), [b"away"], options=",noreferrals") as (_, _, top):
        away = os.path.join(top, "away")
        with Mount(env.suite.program(), env.suite.source(export=f"/export/{env.name}/other"), away,
                   "nconnect=1"):
            for _ in range(5):
                assert read(os.path.join(away, "f")) == b"there"
                os.stat(top)
                time.sleep(0.3)  # names are looked up again meanwhile
            assert os.path.ismount(away)
        env.fails(errno.EREMOTE, os.listdir, away)


@suite.test("a file system that has moved to no vsock address is EREMOTE, and comes back when it does")
def moved(env):
    with served(env, locations("tcphost", "10.0.0.1")) as (server, mount, top):
        os.mkdir(os.path.join(top, "d"))
        server.gone = True
        for _ in range(3):
            env.fails(errno.EREMOTE, os.stat, os.path.join(top, "d"))
        lines = [line for line in log_of(mount).splitlines() if "has moved to tcphost:/data" in line]
        # for the log, and for whether to follow
        assert 1 <= len(lines) <= 2 and server.asked <= len(lines) + 3, (lines, server.asked)
        server.gone = False
        os.stat(os.path.join(top, "d"))


@suite.test("locations that are none do no harm")
def hostile(env):
    os.mkdir(env.on_disk("away"))
    for where in (b"", p32(0xffffffff), words("old") + p32(0), locations("vsock:7") + p32(1),
                  locations("vsock:7", path=("..",)), locations("\x1b[2J")):
        with served(env, where, [b"away"]) as (_, mount, top):
            # it says so from when it could follow them, a moment after it is there
            env.eventually(lambda: env.fails(errno.EREMOTE, os.listdir, os.path.join(top, "away"))
                           or "does not tell" in log_of(mount))
            assert mount.process.poll() is None


def mounting(env, server, path="/export"):
    """The line that says why it failed."""
    point = env.scratch("point")
    os.makedirs(point, exist_ok=True)
    done = subprocess.run([env.suite.program(), f"unix:{server.path}:{path}", point, "-o",
                           "nconnect=1"], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 32 and not os.path.ismount(point), done
    return done.stderr.decode()


@suite.test("mounting what is elsewhere goes there, where that is a vsock address, and says so")
def follow(env):
    went = "is at vsock:1.4000000123:/data", "vsock 1 port 4000000123"
    for where, said in ((locations("tcphost", "vsock:1.4000000123"), went),
                        (locations("tcphost", "10.0.0.1"), ["tcphost:/data, 10.0.0.1:/data"]),
                        (b"", ["does not tell"])):
        with shim(env, where, [b"export"]) as server:
            text = mounting(env, server)
            assert all(word in text for word in said), text



if __name__ == "__main__":
    suite.main()
