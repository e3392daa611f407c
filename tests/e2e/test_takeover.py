#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""-o takeover: the daemon is killed, started again, and programs go on."""

import contextlib
import errno
import fcntl
import mmap
import os
import signal
import time

from harness import EXPORT, Skip, Suite, errno_of, start_relay
from manager import Manager
from mounts import Mount, abort_connection, guards_of, mountinfo
from test_locks import refused as kept_from
from test_moved import Away, locations

suite = Suite()


def need_kernel():
    release = os.uname().release.split(".")
    if (int(release[0]), int(release[1].split("-")[0])) < (6, 9):
        raise Skip("this kernel cannot send FUSE requests again (6.9 can)")


class Service:
    def __init__(self, env, options="", server=None):
        self.env = env
        self.point = os.path.join(env.work, env.name + "-takeover")
        os.makedirs(self.point, exist_ok=True)
        words = ",".join(w for w in (suite.options, "takeover", options) if w)
        source = server or suite.source()
        self.manager = Manager(
            os.path.dirname(env.scratch("notify")),
            [suite.program(), source, self.point, "-f", "-o", words], self.point + ".log")

    def __enter__(self):
        self.pid = self.manager.start()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print("#", self.manager.tail().replace("\n", "\n# "), flush=True)
        os.chdir("/")
        abort_connection(self.point)
        self.manager.kill()
        self.manager.drop()
        self.manager.close()
        Mount(None, None, self.point, log=self.manager.log).kill()

    def path(self, *parts):
        return os.path.join(self.point, self.env.name, *parts)

    def again(self):
        self.pid = self.manager.again()


@contextlib.contextmanager
def service(env, options="", server=None):
    need_kernel()
    with Service(env, options, server) as s:
        yield s


def own_service(env, server):
    """On a server of the test's own."""
    sock = os.path.join(server.directory, "sock-takeover")
    server.relays.append(start_relay(f"unix:{sock}", server.port))
    return service(env, server=f"unix:{sock}:{EXPORT}")


@suite.test("the device and the state are in the manager's store, and leave it with the mount")
def stored(env):
    with service(env) as s:
        names = s.manager.names()
        assert names.count("vsockfs-state") == 1 and names.count("vsockfs-fuse") >= 1, names
        s.manager.kill(signal.SIGTERM)
        assert s.manager.wait() == 0
        assert mountinfo(s.point) is None
        assert s.manager.names() == []
        assert {"STOPPING": "1"} in s.manager.heard()


@suite.test("killed and started again, the daemon goes on with its mount")
def goes_on(env):
    with service(env) as s:
        with open(s.path("f"), "w") as f:
            f.write("before")
        device = os.stat(s.point).st_dev
        s.again()
        assert os.stat(s.point).st_dev == device
        with open(s.path("f")) as f:
            assert f.read() == "before"
        with open(s.path("g"), "w") as f:
            f.write("after")
        assert sorted(os.listdir(env.disk)) == ["f", "g"]
        env.eventually(lambda: len(guards_of(s.point)) == 1, within=10,
                       what="the end of the first guard")


@suite.test("open files, the working directory, a mapping and positions in directories survive")
def open_files(env):
    with service(env) as s:
        os.makedirs(s.path("dir/sub"))
        for i in range(300):
            with open(s.path("dir", f"f{i}"), "wb") as f:
                f.write(b"%d" % i)
        os.chdir(s.path("dir"))
        reading = open("f7", "rb", buffering=0)
        writing = open("new", "w+b", buffering=0)
        writing.write(b"one ")
        listing = os.scandir(".")
        names = [next(listing).name for _ in range(20)]
        mapped = mmap.mmap(os.open("f299", os.O_RDWR), 3)
        for turn in range(3):
            s.again()
            assert reading.read() == b"7"
            reading.seek(0)
            writing.write(b"two ")
            assert mapped[:] == b"299"
        assert os.getcwd() == s.path("dir")
        assert sorted(names + [e.name for e in listing]) == \
            sorted(["sub", "new"] + [f"f{i}" for i in range(300)])
        mapped[0:1] = b"3"
        mapped.flush()
        writing.close()
        assert read(env.on_disk("dir/new")) == b"one two two two "
        assert read(env.on_disk("dir/f299")) == b"399"
        os.mkdir("sub/later")
        assert os.path.isdir(env.on_disk("dir/sub/later"))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def locked_elsewhere(env, name, kind=fcntl.LOCK_EX, start=0, length=0):
    """True if another client of the server cannot have the lock."""
    with open(env.path(name), "r+b") as f:
        try:
            fcntl.lockf(f, kind | fcntl.LOCK_NB, length, start)
        except BlockingIOError:
            return True
        fcntl.lockf(f, fcntl.LOCK_UN, length, start)
        return False


@suite.test("files that one daemon after the other has made are never taken for each other")
def generations(env):
    with service(env) as s:
        files = []
        for turn in range(5):
            for i in range(8):
                f = open(s.path(f"f{turn}-{i}"), "w+b", buffering=0)
                f.write(f.name.encode())
                files.append(f)
            s.again()
            for f in files:
                f.seek(0)
                assert f.read() == f.name.encode(), f.name
                assert read(f.name) == f.name.encode(), f.name


@suite.test("locks stay on the server, range by range, and can be released")
def locks(env):
    with service(env) as s:
        with open(env.on_disk("f"), "wb") as f:
            f.write(bytes(100))
        with open(s.path("f"), "r+b") as f, open(s.path("g"), "w+b") as g:
            fcntl.lockf(f, fcntl.LOCK_EX, 10, 0)
            fcntl.lockf(f, fcntl.LOCK_SH, 10, 50)
            fcntl.flock(g, fcntl.LOCK_EX)
            for _ in range(2):
                s.again()
                assert locked_elsewhere(env, "f", fcntl.LOCK_SH, 0, 10)
                assert not locked_elsewhere(env, "f", fcntl.LOCK_SH, 50, 10)
                assert locked_elsewhere(env, "f", fcntl.LOCK_EX, 55, 1)
                assert not locked_elsewhere(env, "f", fcntl.LOCK_EX, 10, 40)
                assert locked_elsewhere(env, "g")
            fcntl.lockf(f, fcntl.LOCK_UN, 5, 0)
            assert not locked_elsewhere(env, "f", fcntl.LOCK_EX, 0, 5)
            assert locked_elsewhere(env, "f", fcntl.LOCK_EX, 5, 5)
            fcntl.lockf(f, fcntl.LOCK_EX, 10, 80)
            fcntl.flock(g, fcntl.LOCK_UN)
            assert not locked_elsewhere(env, "g")
        env.eventually(lambda: not locked_elsewhere(env, "f"), within=10, what="the locks' end")


@suite.test("read locks, too: each close of a file that was locked is told to the next daemon")
def read_locks(env):
    with service(env) as s:
        with open(env.on_disk("f"), "wb") as f:
            f.write(bytes(100))
        for released in (False, True):
            with open(s.path("f"), "rb") as f:
                fcntl.lockf(f, fcntl.LOCK_SH)
                s.again()
                assert locked_elsewhere(env, "f")
                if not released:
                    os.close(os.open(s.path("f"), os.O_RDONLY))
                    assert not locked_elsewhere(env, "f")
            env.eventually(lambda: not locked_elsewhere(env, "f"), within=10, what="the lock's end")


@suite.test("a lock of several open files, too, and is reclaimed from a restarted server", timeout=120)
def locks_of_several(env):
    server = env.server(graceless=False, nfsv4="Grace_Period = 6; Lease_Lifetime = 5;")
    with open(os.path.join(server.export, "f"), "wb") as f:
        f.write(bytes(100))
    with own_service(env, server) as s:
        path = os.path.join(s.point, "f")
        other = server.mount()
        there = os.open(os.path.join(other.point, "f"), os.O_RDWR)
        with open(path, "rb") as reading, open(path, "r+b", buffering=0) as both:
            fcntl.lockf(reading, fcntl.LOCK_SH, 20, 0)
            fcntl.lockf(both, fcntl.LOCK_EX, 10, 10)
            for turn in range(2):
                s.again()
                if turn:
                    server.restart()
                assert kept_from(there, fcntl.F_WRLCK, 0, 10)
                assert not kept_from(there, fcntl.F_RDLCK, 0, 10)
                assert kept_from(there, fcntl.F_RDLCK, 10, 10)
                both.write(b"mine")
                os.fsync(both.fileno())
            fcntl.lockf(both, fcntl.LOCK_EX, 10, 0)
            assert kept_from(there, fcntl.F_RDLCK, 0, 10)
            fcntl.lockf(reading, fcntl.LOCK_UN, 10, 5)
            assert not kept_from(there, fcntl.F_WRLCK, 5, 10)
            assert kept_from(there, fcntl.F_RDLCK, 15, 5)
        env.eventually(lambda: not kept_from(there, fcntl.F_WRLCK), within=10, what="the lock's end")
        os.close(there)


@suite.test("a program that waits for a lock goes on waiting, and gets it")
def waiting(env):
    with service(env) as s:
        with open(env.on_disk("f"), "wb") as f:
            f.write(b"x")
        with open(env.path("f"), "r+b") as holder:
            fcntl.lockf(holder, fcntl.LOCK_EX)

            def wait():
                with open(s.path("f"), "r+b") as f:
                    fcntl.lockf(f, fcntl.LOCK_EX)
                    os.mkdir(env.on_disk("got"))
            child = env.child(wait)
            time.sleep(0.3)
            s.again()
            time.sleep(0.3)
            assert not os.path.exists(env.on_disk("got"))
        child.join()
        assert os.path.exists(env.on_disk("got"))


@suite.test("a file that was removed while it is open keeps its data, and goes with its last close")
def removed(env):
    with service(env) as s:
        with open(s.path("f"), "w+b", buffering=0) as f:
            f.write(b"kept")
            os.unlink(s.path("f"))
            s.again()
            assert len(os.listdir(env.disk)) == 1
            f.seek(0)
            assert f.read() == b"kept"
            assert os.fstat(f.fileno()).st_nlink == 0
        env.eventually(lambda: os.listdir(env.disk) == [], within=10, what="the removal")


@suite.test("files that are open when they are removed afterwards are hidden as before")
def removed_later(env):
    with service(env) as s:
        with open(s.path("f"), "w+b", buffering=0) as f:
            f.write(b"kept")
            s.again()
            os.unlink(s.path("f"))
            f.seek(0)
            assert f.read() == b"kept"
        env.eventually(lambda: os.listdir(env.disk) == [], within=10, what="the removal")


def copy(source, target):
    """Writes 4 MiB blocks, each of its own byte; returns the count."""
    with open(target, "wb", buffering=0) as f:
        for i in range(40):
            assert f.write(bytes([i]) * (4 << 20)) == 4 << 20
        os.fsync(f.fileno())


def check_copy(path):
    with open(path, "rb") as f:
        for i in range(40):
            assert f.read(4 << 20) == bytes([i]) * (4 << 20), i
        assert f.read() == b""


@suite.test("reads and writes under way come back, whole and once", timeout=180)
def under_way(env):
    with service(env) as s:
        copy(None, env.on_disk("source"))
        children = [env.child(copy, None, s.path("written")),
                    env.child(check_copy, s.path("source"))]
        for _ in range(8):
            time.sleep(0.05)
            s.again()
        for child in children:
            child.join()
        check_copy(env.on_disk("written"))


def append(path, count):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_DSYNC)
    for i in range(count):
        line = b"%07d\n" % i
        assert os.write(fd, line) == len(line)
    os.close(fd)


@suite.test("appended lines are neither lost nor doubled", timeout=60)
def appended(env):
    with service(env) as s:
        child = env.child(append, s.path("log"), 3000)
        for _ in range(8):
            time.sleep(0.05)
            s.again()
        child.join()
        lines = read(env.on_disk("log")).splitlines()
        assert lines == [b"%07d" % i for i in range(3000)], (len(lines), len(set(lines)))


def names(directory, count):
    """Makes, renames and removes names, each of which must work exactly once."""
    for i in range(count):
        a, b = os.path.join(directory, f"a{i}"), os.path.join(directory, f"b{i}")
        os.close(os.open(a, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.rename(a, b)
        os.link(b, a)
        os.unlink(b)
        os.mkdir(b)
        os.symlink("target", os.path.join(directory, f"s{i}"))
        os.rmdir(b)


@suite.test("exclusive creation, mkdir, rename, link and unlink happen once", timeout=60)
def once(env):
    with service(env) as s:
        child = env.child(names, env.path(".").replace(env.root, s.point), 400)
        for _ in range(10):
            time.sleep(0.05)
            s.again()
        child.join()
        assert sorted(os.listdir(env.disk)) == sorted(
            [f"a{i}" for i in range(400)] + [f"s{i}" for i in range(400)])


@suite.test("data that the server has not committed is committed by the next daemon")
def committed(env):
    with service(env) as s:
        with open(s.path("f"), "wb", buffering=0) as f:
            f.write(b"x" * 1000000)
            s.again()
            os.fsync(f.fileno())
            f.write(b"y")
            os.fsync(f.fileno())
        assert read(env.on_disk("f")) == b"x" * 1000000 + b"y"


@suite.test("what was written is there, however small and recent, when the daemon is killed")
def small(env):
    with service(env) as s:
        with open(s.path("f"), "wb", buffering=0) as f:
            for i in range(20):
                f.write(b"%d" % (i % 10))
                if i % 5 == 4:
                    s.again()
            os.fsync(f.fileno())
        assert read(env.on_disk("f")) == b"01234567890123456789"


@suite.test("data that a restarted server may have lost gives EIO at fsync, once", timeout=120)
def lost(env):
    server = env.server(graceless=False, nfsv4="Grace_Period = 6; Lease_Lifetime = 5;")
    with own_service(env, server) as s:
        with open(os.path.join(s.point, "f"), "wb", buffering=0) as f, \
                open(os.path.join(s.point, "g"), "wb", buffering=0) as g:
            f.write(b"uncommitted" * 20000)
            g.write(b"committed")
            os.fsync(g.fileno())
            s.manager.kill()
            server.restart()
            s.manager.start()
            assert errno_of(os.fsync, f.fileno()) == errno.EIO
            assert errno_of(os.fsync, g.fileno()) == 0
            f.write(b" again")
            os.fsync(f.fileno())


@suite.test("SIGUSR1 leaves the mount to the next daemon")
def handed_over(env):
    with service(env) as s:
        with open(s.path("f"), "w+b", buffering=0) as f:
            s.manager.kill(signal.SIGUSR1)
            assert s.manager.wait() == 0
            assert mountinfo(s.point)
            s.manager.start()
            f.write(b"on")
        assert read(env.on_disk("f")) == b"on"


@suite.test("what cannot be taken over is unmounted and mounted afresh")
def refused(env):
    with service(env) as s:
        f = open(s.path("f"), "wb", buffering=0)
        device = os.stat(s.point).st_dev
        s.manager.kill()
        s.manager.spoil_state()
        s.manager.start()
        assert errno_of(f.write, b"x") == errno.ENOTCONN
        env.eventually(lambda: s.manager.names().count("vsockfs-state") == 1, within=10,
                       what="the new state")
        assert os.path.exists(s.path("f"))
        try:
            f.close()
        except OSError as e:
            assert e.errno == errno.ENOTCONN


@suite.test("a dead mount of which nothing was kept is not in the next daemon's way", timeout=60)
def not_kept(env):
    with service(env) as s:
        for lost in (None, "vsockfs-state"):
            f = open(s.path("f"), "wb", buffering=0)
            s.manager.kill()
            s.manager.drop(lost)
            s.manager.start()
            assert errno_of(f.write, b"x") == errno.ENOTCONN
            assert errno_of(f.close) == errno.ENOTCONN
            with open(s.path("g"), "wb") as g:
                g.write(b"afresh")
            names = s.manager.names()
            assert names.count("vsockfs-state") == 1, names
            s.again()
            assert read(s.path("g")) == b"afresh"


@suite.test("a second daemon beside the one that serves leaves it alone")
def second(env):
    with service(env) as s:
        with open(s.path("f"), "w+b", buffering=0) as f:
            assert s.manager.second() == 32
            f.write(b"still")
            s.again()
            f.write(b" there")
        assert read(env.on_disk("f")) == b"still there"


@suite.test("SIGTERM while the server is away ends the mount as well", timeout=90)
def away(env):
    server = env.server(graceless=True)
    sock = os.path.join(server.directory, "sock-takeover")
    server.relays.append(start_relay(f"unix:{sock}", server.port))
    with service(env, server=f"unix:{sock}:{EXPORT}") as s:
        f = open(os.path.join(s.point, "f"), "wb", buffering=0)
        s.manager.kill()
        os.kill(server.relays[-1].pid, signal.SIGSTOP)
        pid = s.manager.start(False)
        env.eventually(lambda: len(os.listdir(f"/proc/{pid}/task")) > 1, within=20,
                       what="connecting")
        s.manager.kill(signal.SIGTERM)
        assert s.manager.wait() == 0
        assert not mountinfo(s.point)
        assert s.manager.names() == []
        assert errno_of(f.write, b"x") == errno.ENOTCONN
        assert errno_of(f.close) == errno.ENOTCONN


@suite.test("other options mean another mount")
def other_options(env):
    with service(env) as s:
        s.manager.kill()
        s.manager.change_options(",ro")
        s.manager.start()
        assert errno_of(os.mkdir, s.path("d")) == errno.EROFS
        before = os.open(s.point, os.O_RDONLY)
        s.manager.kill()
        s.manager.change_options(",nolock")
        s.manager.start()
        assert errno_of(os.listdir, before) == errno.ENOTCONN
        os.listdir(s.point)


@suite.test("umount ends the daemon and empties the store")
def unmounted(env):
    with service(env) as s:
        s.again()
        env.run(["umount", s.point])
        assert s.manager.wait() == 0
        assert s.manager.names() == []
        assert not guards_of(s.point)


@suite.test("the daemon that took over is confined like any other")
def confined(env):
    with service(env) as s:
        s.again()
        if os.environ.get("VSOCKFS_SANITIZED") == "1":
            raise Skip("sanitized programs have no filter")
        with open(f"/proc/{s.pid}/status") as f:
            text = f.read()
        assert "Seccomp:\t2" in text and "NoNewPrivs:\t1" in text, text


@suite.test("what referrals have led to is unmounted when it is idle, by the next daemon, too")
def referrals(env):
    names = ("away", "mine")
    for name in names:
        os.mkdir(env.on_disk(name))
    server = Away(env.scratch("away.sock"), env.port, locations("vsock:2.4000000123"),
                  [name.encode() for name in names])
    env.stack.callback(server.stop)
    with service(env, "noac,referral_idle=1", f"unix:{server.path}:/export") as s:
        for name, words in zip(names, ("nconnect=1,x-vsockfs.referral", "nconnect=1")):
            mount = Mount(suite.program(), suite.source(), s.path(name), words).start()
            env.stack.callback(mount.kill)
        s.again()
        assert os.listdir(s.path("away")) == os.listdir(s.path("mine"))
        env.eventually(lambda: mountinfo(s.path("away")) is None, 30, "the end of what is idle")
        assert mountinfo(s.path("mine"))


if __name__ == "__main__":
    suite.main()
