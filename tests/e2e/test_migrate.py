#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file system that moves to another server while it is in use: shims in front of nfs-ganeshas on
one directory say so. Vsock addresses lead to Unix sockets (vsock_paths.c)."""

import contextlib
import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import nfsreply as nfs
from harness import ROOT, Server, Suite, build_path, preloaded
from manager import Manager
from mounts import Mount
from nfsreply import opaque, opaque_end, p32, u32
from proxy import Proxy
from shim import bitmap
from test_basic import read, write
from test_locks import lockf, refused
from test_restart import Meanwhile
from test_takeover import need_kernel

suite = Suite()
sys.path.append(os.path.join(ROOT, "tests", "matrix"))
import matrix  # noqa: E402
MIB = 1 << 20
FS_LOCATIONS, MOVED, STALE, ACCESS = 24, 10019, 70, 13
LEASE = 10
GRACELESS = dict(graceless=True, nfsv4=f"Lease_Lifetime = {LEASE};")
# it ends when all have reclaimed what they had
GRACE = dict(graceless=False, nfsv4=f"Lease_Lifetime = {LEASE}; Grace_Period = 60;")


def words(*texts):
    return p32(len(texts)) + b"".join(opaque(t.encode()) for t in texts)


def locations(*servers):
    return words("old") + p32(1) + words(*servers) + words("export")


class Away(Proxy):
    """`gone`: where the file system is, instead of here; `refused`: the status of all that begins
    with a handle; `verifier`: that of its writes."""

    def __init__(self, path, port):
        self.gone = self.refused = self.verifier = None
        self.asked = 0
        self.cut = {}  # xid: what is left undone of the call, and the status
        super().__init__(path, port)

    def forwarded(self, call):
        with contextlib.suppress(IndexError, nfs.struct.error):
            return self.shortened(call)
        return call

    def shortened(self, call):
        if u32(call, 20) != 1 or not (self.gone or self.refused):
            return call
        at = opaque_end(call, opaque_end(call, opaque_end(call, 28) + 4)) + 4
        first = at + 4
        second = first + 36
        if u32(call, first) != nfs.SEQUENCE or u32(call, at) < 2 or u32(call, second) != nfs.PUTFH:
            return call
        third = opaque_end(call, second + 4)
        where = (u32(call, at) == 3 and u32(call, third) == nfs.GETATTR
                 and FS_LOCATIONS in bitmap(call, third + 4))
        with self.lock:
            self.cut[u32(call)] = "where" if where and self.gone else self.refused or MOVED
            self.asked += where
        return call[:at] + p32(1) + call[first:second]

    def amended(self, reply):
        with self.lock:
            cut = self.cut.pop(u32(reply), None)
        if cut is None:
            return self.verified(reply) if self.verifier else reply
        done = nfs.Reply(reply)
        if done.status == 0 and cut == "where":
            value = self.gone
            attrs = nfs.p32(1, 1 << FS_LOCATIONS) + opaque(value)
            done.ops += [[nfs.PUTFH, 0, b""], [nfs.GETATTR, 0, attrs]]
        elif done.status == 0:
            done.ops.append([nfs.PUTFH, cut, b""])
            done.status = cut
        done.count = len(done.ops)
        return done.bytes()

    def verified(self, reply):
        try:
            done = nfs.Reply(reply)
        except nfs.NotCompound:
            return reply
        for op in done.ops:
            if op[0] in (nfs.WRITE, nfs.COMMIT) and op[1] == 0:
                op[2] = op[2][:-8] + self.verifier
        return done.bytes()


class PathMount(Mount):
    def command(self):
        return preloaded(self.paths, super().command())


class Place:
    """Servers at vsock:7, vsock:8, ...; a mount from the first."""

    def __init__(self, env):
        self.env = env
        self.paths = env.scratch("vsock")
        os.makedirs(self.paths)
        self.mounted = []
        self.doors, self.stack, self.mounts = {}, contextlib.ExitStack(), contextlib.ExitStack()

    def open(self, cid, port):
        """A door at CID to the server at that port of TCP."""
        self.doors[cid] = Away(os.path.join(self.paths, f"{cid}.2049"), port)
        self.stack.callback(self.doors[cid].stop)
        return self.doors[cid]

    def mount(self, options="nconnect=2", **more):
        mount = PathMount(self.env.suite.program(), "7:/export", self.env.scratch("mnt"),
                          ",".join(w for w in (self.env.suite.options, options) if w))
        mount.paths = self.paths
        self.mounted.append(mount)
        return self.mounts.enter_context(mount)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        with self.stack:
            if what[0]:  # files are open there still
                for mount in self.mounted:
                    mount.kill()
            return self.mounts.__exit__(*what)


def another(env, server, grace=None):
    """A server of the same directory, which knows no clients but, with `grace`, who they were."""
    config = dict(server.ganesha) if grace is None else grace
    other = Server(env, config)
    other.directory += "-other"
    other.export = server.export
    os.makedirs(other.directory)
    if grace:
        shutil.copytree(os.path.join(server.directory, "recovery"),
                        os.path.join(other.directory, "recovery"))
    return env.stack.enter_context(other)


def status(mount):
    tool = os.environ.get("VSOCKFSCTL", build_path("src", "ctl", "vsockfsctl"))
    return subprocess.run([tool, "status", mount.point], stdout=subprocess.PIPE, check=True,
                          timeout=30).stdout.decode()


def logged(mount):
    with open(mount.log, errors="replace") as f:
        return f.read()


def at(mount, *names):
    return os.path.join(mount.point, *names)


@suite.test("a busy file system that moves to another server goes on there", timeout=90)
def busy(env):
    server = env.server(**GRACELESS)
    other = another(env, server)
    content = random.Random(1).randbytes(MIB)
    names = [f"{i:04}" for i in range(500)]
    with Place(env) as place:
        here, _ = place.open(7, server.port), place.open(8, other.port)
        mount = place.mount("nconnect=2,noac")
        write(at(mount, "read"), content)
        os.mkdir(at(mount, "many"))
        for name in names:
            os.close(os.open(at(mount, "many", name), os.O_CREAT | os.O_WRONLY))
        reader = os.open(at(mount, "read"), os.O_RDONLY)
        writer = os.open(at(mount, "written"), os.O_RDWR | os.O_CREAT)
        hidden = os.open(at(mount, "hidden"), os.O_RDWR | os.O_CREAT)
        os.unlink(at(mount, "hidden"))
        listing = os.scandir(at(mount, "many"))
        listed = [next(listing).name]

        def step(i):
            place_of = i * 4096 % MIB
            os.posix_fadvise(reader, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(reader, 4096, place_of) == content[place_of:place_of + 4096]
            assert os.pwrite(writer, b"%07d\n" % i, i * 8) == 8
            assert os.pwrite(hidden, b"%07d\n" % i, i * 8) == 8
            os.close(os.open(at(mount, f"made{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))

        with Meanwhile(step) as meanwhile:
            here.gone = locations("tcphost", "vsock:8")
            env.eventually(lambda: "going on with vsock 8" in logged(mount), within=30, what="the move")
            server.order("kill")
        listed += [entry.name for entry in listing]
        assert sorted(listed) == names
        os.fsync(writer)
        expected = b"".join(b"%07d\n" % i for i in range(meanwhile.count))
        assert read(os.path.join(server.export, "written")) == expected
        assert os.pread(hidden, len(expected), 0) == expected
        for fd in (reader, writer, hidden):
            os.close(fd)
        made = [name for name in os.listdir(server.export) if name.startswith("made")]
        assert len(made) == meanwhile.count
        assert "vsock 8 port 2049" in status(mount) and "vsock 7" not in status(mount)
        assert "was lost" not in logged(mount), mount.log_tail()
        env.eventually(lambda: not any(n.startswith(".") for n in os.listdir(server.export)),
                       within=LEASE, what="the end of the unlinked file")


@suite.test("what was not committed is written again, though the other server has the same verifier")
def unstable(env):
    server = env.server(**GRACELESS)
    data = random.Random(2).randbytes(3 * MIB + 123)
    with Place(env) as place:
        here = place.open(7, server.port)
        other = another(env, server)
        here.verifier = place.open(8, other.port).verifier = b"the same"
        mount = place.mount()
        fd = os.open(at(mount, "f"), os.O_RDWR | os.O_CREAT)
        assert os.write(fd, data) == len(data)
        assert os.fstat(fd).st_size == len(data)  # nothing is under way any more
        here.gone = locations("vsock:8")
        with open(os.path.join(server.export, "f"), "r+b") as f:
            f.truncate(0)
        os.fsync(fd)
        assert read(os.path.join(server.export, "f")) == data
        assert "writing them again" in logged(mount), mount.log_tail()
        os.close(fd)


@suite.test("locks are reclaimed where the other server lets them be", timeout=90)
def locks(env):
    server = env.server(**GRACE)
    with Place(env) as place:
        here = place.open(7, server.port)
        mount = place.mount()
        # its process shall have nothing open there
        other = another(env, server, grace=GRACE)
        place.open(8, other.port)
        fd = os.open(at(mount, "f"), os.O_RDWR | os.O_CREAT)
        lockf(fd, fcntl.F_WRLCK, 0, 10)
        here.gone = locations("vsock:8")
        # which forgets what it had, and says of that, too, that it has moved
        server.restart()
        assert os.pwrite(fd, b"x", 0) == 1
        os.fsync(fd)
        second = other.mount()
        stranger = os.open(os.path.join(second.point, "f"), os.O_RDWR)
        assert refused(stranger, fcntl.F_WRLCK, 0, 10)
        lockf(fd, fcntl.F_UNLCK, 0, 10)
        assert not refused(stranger, fcntl.F_WRLCK, 0, 10)
        for f in (fd, stranger):
            os.close(f)
        assert "was lost" not in logged(mount), mount.log_tail()


@suite.test("another address of the same server: nothing is reclaimed, locks are kept")
def same_server(env):
    server = env.server(**GRACELESS)
    with Place(env) as place:
        here = place.open(7, server.port)
        place.open(8, server.port)
        mount, other = place.mount(), server.mount()
        fd = os.open(at(mount, "f"), os.O_RDWR | os.O_CREAT)
        lockf(fd, fcntl.F_WRLCK, 0, 10)
        here.gone = locations("vsock:8")
        assert os.pwrite(fd, b"x", 0) == 1
        os.fsync(fd)
        stranger = os.open(os.path.join(other.point, "f"), os.O_RDWR)
        assert refused(stranger, fcntl.F_WRLCK, 0, 10)
        assert "which is the same server" in logged(mount), mount.log_tail()
        # and back, from where it has what it had
        place.doors[8].gone, here.gone = locations("vsock:7"), None
        assert os.pwrite(fd, b"y", 1) == 1
        os.fsync(fd)
        assert refused(stranger, fcntl.F_WRLCK, 0, 10)
        assert "vsock 7 port 2049" in status(mount)
        assert read(os.path.join(server.export, "f")) == b"xy"
        for f in (fd, stranger):
            os.close(f)


@suite.test("there and back between two servers: what the first still holds is not in the way")
def back(env):
    server = env.server(**GRACELESS)
    other = another(env, server)
    with Place(env) as place:
        here, there = place.open(7, server.port), place.open(8, other.port)
        mount, stranger = place.mount(), server.mount()
        fd = os.open(at(mount, "f"), os.O_RDWR | os.O_CREAT)
        held = os.open(at(mount, "g"), os.O_RDWR | os.O_CREAT)
        lockf(held, fcntl.F_WRLCK, 0, 10)
        here.gone = locations("vsock:8")
        assert os.pwrite(fd, b"x", 0) == 1
        os.fsync(fd)
        there.gone, here.gone = locations("vsock:7"), None
        assert os.pwrite(fd, b"y", 1) == 1
        os.fsync(fd)
        assert read(os.path.join(server.export, "f")) == b"xy"
        # lost with the first move, and not held by anybody since
        assert "a lock was lost" in logged(mount), mount.log_tail()
        again = os.open(os.path.join(stranger.point, "g"), os.O_RDWR)
        env.eventually(lambda: not refused(again, fcntl.F_WRLCK, 0, 10), within=5)
        for f in (fd, held, again):
            os.close(f)


@suite.test("a place that is not there yet is waited for, and so is the old one")
def later(env):
    server = env.server(**GRACELESS)
    with Place(env) as place:
        here = place.open(7, server.port)
        mount = place.mount("nconnect=1,noac")
        os.mkdir(at(mount, "d"))

        def begun():
            found = []
            thread = threading.Thread(target=lambda: found.append(os.stat(at(mount, "d")).st_ino))
            thread.start()
            env.eventually(lambda: "still trying" in logged(mount), within=20, what="the trouble")
            assert not found
            return thread, found

        here.gone = locations("vsock:8")
        thread, found = begun()
        here.gone = None
        thread.join(20)
        assert found and "going on" not in logged(mount)
        with open(mount.log, "w"):
            pass
        here.gone = locations("vsock:9")
        thread, found = begun()
        # somebody who is killed while he waits does so
        killed = subprocess.Popen(["stat", at(mount, "d")], stdout=subprocess.DEVNULL)
        time.sleep(0.3)
        killed.kill()
        killed.wait(15)
        place.open(9, server.port)
        thread.join(20)
        assert found and "vsock 9 port 2049" in status(mount)


@suite.test("places that cannot serve are refused with a reason, and what comes back works again")
def refusals(env):
    server = env.server(**GRACELESS)
    other = another(env, server)
    with Place(env) as place:
        here, there, third = (place.open(cid, s.port) for cid, s in
                              ((7, server), (8, other), (9, other)))
        mount = place.mount("nconnect=1,noac")
        os.mkdir(at(mount, "d"))

        def refuses(reason, where):
            here.gone = locations(*where)
            env.fails(errno.EREMOTE, os.stat, at(mount, "d"))
            assert reason in logged(mount), (reason, mount.log_tail())
            # not looked at again for each that asks
            asked, begun = there.asked, time.monotonic()
            for _ in range(3):
                env.fails(errno.EREMOTE, os.stat, at(mount, "d"))
            assert there.asked == asked or time.monotonic() - begun > 4
            here.gone = None
            os.stat(at(mount, "d"))
            with open(mount.log, "w"):
                pass
            time.sleep(5.2)

        there.refused = STALE
        refuses("the file handles are not known there", ["vsock:8"])
        there.refused, there.gone = None, locations("vsock:7")
        refuses("that is where it was", ["vsock:8"])
        # in a circle, and the one after the other is good
        there.gone, third.gone = locations("vsock:9"), None
        here.gone = locations("vsock:8")
        os.stat(at(mount, "d"))
        assert "vsock 9 port 2049" in status(mount)


@suite.test("another daemon goes on where the file system is")
def taken_over(env):
    need_kernel()
    server = env.server(**GRACELESS)
    other = another(env, server)
    with Place(env) as place:
        here, _ = place.open(7, server.port), place.open(8, other.port)
        point = env.scratch("taken")
        os.makedirs(point)
        manager = place.mounts.enter_context(contextlib.closing(Manager(
            env.scratch("."), preloaded(place.paths, [
                suite.program(), "7:/export", point, "-f", "-o", "takeover,nconnect=1"]),
            point + ".log")))
        mount = Mount(None, None, point, log=point + ".log")
        place.mounts.callback(mount.kill)
        manager.start()
        fd = os.open(at(mount, "f"), os.O_RDWR | os.O_CREAT)
        here.gone = locations("vsock:8")
        assert os.pwrite(fd, b"x", 0) == 1
        os.fsync(fd)
        manager.again()
        assert os.pwrite(fd, b"y", 1) == 1
        os.fsync(fd)
        assert "vsock 8 port 2049" in status(mount)
        # the next one is told of a move before it has looked at the root
        place.doors[8].gone, here.gone = locations("vsock:7"), None
        manager.again()
        assert os.pwrite(fd, b"z", 2) == 1
        os.fsync(fd)
        assert "vsock 7 port 2049" in status(mount)
        os.close(fd)
        assert read(os.path.join(server.export, "f")) == b"xyz"
        manager.kill(signal.SIGTERM)
        assert manager.wait() == 0


@suite.test("a soft mount does not wait for a place that is not there")
def soft(env):
    server = env.server(**GRACELESS)
    with Place(env) as place:
        here = place.open(7, server.port)
        mount = place.mount("nconnect=1,noac,soft,timeo=10,retrans=1")
        os.mkdir(at(mount, "d"))
        here.gone = locations("vsock:8")
        env.fails(errno.EIO, os.stat, at(mount, "d"))
        here.gone = None
        env.eventually(lambda: os.path.isdir(at(mount, "d")), within=20)


@suite.test("a referral that nfs-ganesha itself keeps is followed: a directory 01000, user.fs_location")
def referral(env):
    server = env.server(**GRACELESS)
    os.makedirs(os.path.join(server.export, "there"))
    write(os.path.join(server.export, "there", "f"), b"there")
    away = os.path.join(server.export, "away")
    os.mkdir(away)
    os.setxattr(away, "user.fs_location", b"7:/export/there")
    os.chmod(away, 0o1000)
    with Place(env) as place:
        place.open(7, server.port)
        mount = place.mount("nconnect=1")

        def followed():
            with contextlib.suppress(OSError):  # EREMOTE: it has only just begun
                return read(at(mount, "away/f")) == b"there"
        env.eventually(followed, within=20)
        assert os.path.ismount(at(mount, "away"))
        os.mkdir(at(mount, "away/made"))
        assert os.path.isdir(os.path.join(server.export, "there", "made"))
        subprocess.run(["umount", at(mount, "away")], check=True)
        matrix.hold("ganesha", "referrals", "yes")
        # that it says of directories alone: who has a file there open is not led away
        fd = os.open(at(mount, "f"), os.O_RDWR | os.O_CREAT)
        os.setxattr(server.export, "user.fs_location", b"8:/export")
        os.chmod(server.export, 0o1000)
        assert os.pwrite(fd, b"x", 0) == 1
        os.fsync(fd)
        os.close(fd)
        assert read(os.path.join(server.export, "f")) == b"x"
        assert "vsock 7 port 2049" in status(mount)
        matrix.hold("ganesha", "moves in use", "no")
        os.chmod(server.export, 0o755)


if __name__ == "__main__":
    suite.main()
