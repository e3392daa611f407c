#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exactly once, also when the session is lost with its reply cache: what was executed is neither
executed again nor reported as an error, and what was not executed is."""

import errno
import fcntl
import os
import stat
import threading

import nfsreply as nfs
from harness import Suite, libc_call
from hostile import Hostile
from nfsreply import opaque, p32
from test_basic import read, write
from test_locks import lockf, refused

suite = Suite()
AT_FDCWD, RENAME_NOREPLACE = -100, 1


class Once(Hostile):
    """A directory seen through a proxy that loses sessions; `lost` runs one call under a loss."""

    def __init__(self, env, options="noac"):
        super().__init__(env, f"nconnect=1,{options}")

    def disk(self, *parts):
        return self.env.on_disk(*parts)

    def lost(self, call, *args, op=None, pattern=None, meanwhile=lambda: None):
        self.proxy.lose(op, pattern, meanwhile)
        try:
            return call(*args)
        finally:
            self.proxy.disarm()
            assert self.proxy.hits == 1, f"{self.proxy.hits} sessions lost"


def both(env, op, pattern, work):
    """work(h, name, lost): lost(call, *args) loses the reply the first time, and then the call."""
    h = Once(env)
    work(h, "executed", lambda *a, **m: h.lost(*a, op=op, **m))
    work(h, "not", lambda *a, **m: h.lost(*a, pattern=pattern("not"), **m))


def named(*words):
    return lambda name: p32(*words) + opaque(os.fsencode(name))


# Names are made


@suite.test("mkdir: done once, with its mode")
def mkdir(env):
    def work(h, name, lost):
        lost(os.mkdir, h.path(name), 0o751)
        assert stat.S_IMODE(os.stat(h.disk(name)).st_mode) == 0o751
        env.fails(errno.EEXIST, os.mkdir, h.path(name))
    both(env, nfs.CREATE, named(nfs.CREATE, 2), work)


@suite.test("mkdir: another's directory of the same mode and owner is EEXIST")
def mkdir_other(env):
    h = Once(env)
    env.fails(errno.EEXIST, h.lost, os.mkdir, h.path("f"), pattern=named(nfs.CREATE, 2)("f"),
              meanwhile=lambda: os.mkdir(h.disk("f")))
    env.fails(errno.EEXIST, h.lost, os.mkdir, h.path("e"), op=nfs.CREATE, meanwhile=lambda: (
        os.rmdir(h.disk("e")), os.mkdir(h.disk("e"))))


@suite.test("mknod: fifos, sockets and regular files are made once")
def mknod(env):
    h = Once(env)
    for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG):
        op = nfs.OPEN if kind == stat.S_IFREG else nfs.CREATE
        name = f"{kind:o}"
        h.lost(os.mknod, h.path(name), kind | 0o604, op=op)
        assert os.stat(h.disk(name)).st_mode == kind | 0o604
        env.fails(errno.EEXIST, os.mknod, h.path(name), kind | 0o604)
        env.fails(errno.EEXIST, h.lost, os.mknod, h.path(name + "other"), kind | 0o604, op=op,
                  meanwhile=lambda name=name + "other", kind=kind: (
                      os.unlink(h.disk(name)), os.mknod(h.disk(name), kind | 0o604)))


@suite.test("symlink: made once; with another target it is EEXIST")
def symlink(env):
    def work(h, name, lost):
        lost(os.symlink, "to " + name, h.path(name))
        assert os.readlink(h.disk(name)) == "to " + name
    both(env, nfs.CREATE, lambda name: opaque(b"to " + name.encode()), work)
    h = Once(env)
    env.fails(errno.EEXIST, h.lost, os.symlink, "mine", h.path("other"), op=nfs.CREATE,
              meanwhile=lambda: (os.unlink(h.disk("other")),
                                 os.symlink("another's", h.disk("other"))))


@suite.test("link: made once; to another file it is EEXIST")
def link(env):
    write(env.on_disk("f"), b"f")

    def work(h, name, lost):
        lost(os.link, h.path("f"), h.path(name))
        assert os.path.samefile(h.disk("f"), h.disk(name))
        os.unlink(h.path(name))
    both(env, nfs.LINK, named(nfs.LINK), work)
    h = Once(env)
    env.fails(errno.EEXIST, h.lost, os.link, h.path("f"), h.path("other"),
              pattern=named(nfs.LINK)("other"), meanwhile=lambda: write(h.disk("other"), b"o"))
    assert os.stat(h.disk("f")).st_nlink == 1


def create(path, flags, mode):
    fd = os.open(path, flags | os.O_CREAT, mode)
    os.write(fd, b"written")
    os.close(fd)


@suite.test("O_EXCL: made once and open, whatever its mode; another's file is EEXIST")
def exclusive(env):
    flags = os.O_RDWR | os.O_EXCL

    def work(h, name, lost):
        for mode in (0o640, 0o400, 0):
            lost(create, h.path(name), flags, mode)
            assert stat.S_IMODE(os.stat(h.disk(name)).st_mode) == mode
            assert read(h.disk(name)) == b"written"
            env.fails(errno.EEXIST, create, h.path(name), flags, mode)
            os.unlink(h.path(name))
    both(env, nfs.OPEN, named(0), work)
    h = Once(env)
    for how in (dict(op=nfs.OPEN), dict(pattern=named(0)("other"))):
        def another(how=how):
            if "op" in how:
                os.unlink(h.disk("other"))
            os.close(os.open(h.disk("other"), os.O_CREAT | os.O_EXCL, 0o640))
        env.fails(errno.EEXIST, h.lost, create, h.path("other"), flags, 0o640, meanwhile=another,
                  **how)
        assert read(h.disk("other")) == b""
        os.unlink(h.disk("other"))


@suite.test("O_EXCL as an ordinary user, and O_CREAT of a file that may not be opened again")
def create_as_user(env):
    os.chmod(env.disk, 0o777)
    h = Once(env)

    errors = []

    def as_user():
        try:
            libc_call("setfsgid", 65534)
            libc_call("setfsuid", 65534)
            for flags in (os.O_WRONLY | os.O_EXCL, os.O_WRONLY):
                name = f"f{flags}"
                h.lost(create, h.path(name), flags, 0o444, op=nfs.OPEN)
                assert os.stat(h.disk(name)).st_mode == stat.S_IFREG | 0o444
                assert read(h.disk(name)) == b"written"
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=as_user)  # the kernel keeps these ids for each thread
    thread.start()
    thread.join()
    assert not errors, errors


@suite.test("times of what is made are those of the moment")
def times(env):
    reference = env.on_disk("reference")
    write(reference, b"")
    made = [env.path("d"), env.path("f"), env.path("fifo")]
    os.mkdir(made[0])
    create(made[1], os.O_RDWR | os.O_EXCL, 0o600)
    os.mkfifo(made[2])
    for path in made:
        for t in ("st_atime", "st_mtime", "st_ctime"):
            apart = getattr(os.stat(path), t) - getattr(os.stat(reference), t)
            assert -1 < apart < 20, f"{path}: {t} is {apart} s from another file's"


# Names are moved and removed


@suite.test("rename: done once, of files and directories, also over a file")
def rename(env):
    def work(h, name, lost):
        for make in (lambda p: write(p, b"new"), os.mkdir):
            make(h.path(name))
            lost(os.rename, h.path(name), h.path("to"))
            assert not os.path.lexists(h.disk(name))
            assert os.path.isdir(h.disk("to")) or read(h.disk("to")) == b"new"
            (os.rmdir if os.path.isdir(h.disk("to")) else os.unlink)(h.path("to"))
        write(h.path("to"), b"old")
        write(h.path(name), b"new")
        lost(os.rename, h.path(name), h.path("to"))
        assert read(h.disk("to")) == b"new" and not os.path.exists(h.disk(name))
        env.fails(errno.ENOENT, os.rename, h.path(name), h.path("to"))
        os.unlink(h.path("to"))
    both(env, nfs.RENAME, named(nfs.RENAME), work)


@suite.test("rename: what has come to the old name since is not moved")
def rename_twice(env):
    h = Once(env)
    write(h.path("from"), b"mine")
    h.lost(os.rename, h.path("from"), h.path("to"), op=nfs.RENAME,
           meanwhile=lambda: write(h.disk("from"), b"another's"))
    assert read(h.disk("to")) == b"mine" and read(h.disk("from")) == b"another's"
    # nor is what another has moved away reported as moved by us
    write(h.path("f"), b"f")
    write(h.path("g"), b"g")
    env.fails(errno.ENOENT, h.lost, os.rename, h.path("f"), h.path("g"),
              pattern=named(nfs.RENAME)("f"), meanwhile=lambda: os.unlink(h.disk("f")))
    assert read(h.disk("g")) == b"g"


def noreplace(old, new):
    libc_call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new),
              RENAME_NOREPLACE)


@suite.test("RENAME_NOREPLACE: done once; another's file at the new name is EEXIST")
def rename_noreplace(env):
    def work(h, name, lost):
        write(h.path(name), b"mine")
        lost(noreplace, h.path(name), h.path("to"))
        assert read(h.disk("to")) == b"mine" and not os.path.exists(h.disk(name))
        assert os.stat(h.disk("to")).st_nlink == 1
        os.unlink(h.path("to"))
    both(env, nfs.LINK, lambda name: p32(nfs.LINK) + opaque(b"to"), work)
    h = Once(env)
    write(h.path("f"), b"f")
    env.fails(errno.EEXIST, h.lost, noreplace, h.path("f"), h.path("to"),
              pattern=p32(nfs.LINK) + opaque(b"to"), meanwhile=lambda: write(h.disk("to"), b"o"))
    assert read(h.disk("f")) == b"f" and read(h.disk("to")) == b"o"


@suite.test("rename: done once also of what RENAME_NOREPLACE gave its name")
def rename_after_noreplace(env):
    h = Once(env, "actimeo=60")  # the kernel does not look the name up
    write(h.path("first"), b"mine")
    noreplace(h.path("first"), h.path("second"))
    h.lost(os.rename, h.path("second"), h.path("third"), op=nfs.RENAME)
    assert read(h.disk("third")) == b"mine" and not os.path.exists(h.disk("second"))


@suite.test("rename: done once also of a file that was last seen under another of its names")
def rename_linked(env):
    h = Once(env, "actimeo=60")
    write(h.path("first"), b"mine")
    os.link(h.path("first"), h.path("other"))
    h.lost(os.rename, h.path("first"), h.path("second"), op=nfs.RENAME)
    assert read(h.disk("second")) == b"mine" and not os.path.exists(h.disk("first"))
    # over another file, and not at all
    write(h.path("third"), b"another")
    os.link(h.path("second"), h.path("one more"))
    h.lost(os.rename, h.path("second"), h.path("third"), op=nfs.RENAME)
    assert read(h.disk("third")) == b"mine"
    os.link(h.path("third"), h.path("and one"))
    h.lost(os.rename, h.path("third"), h.path("fourth"), pattern=named(nfs.RENAME)("third"))
    assert os.path.samefile(h.disk("fourth"), h.disk("other"))
    assert not os.path.exists(h.disk("third"))


@suite.test("unlink and rmdir: done once; what has come to the name since stays")
def remove(env):
    def work(h, name, lost):
        write(h.path(name), b"")
        lost(os.unlink, h.path(name))
        assert not os.path.exists(h.disk(name))
        os.mkdir(h.path(name))
        lost(os.rmdir, h.path(name))
        assert not os.path.exists(h.disk(name))
    both(env, nfs.REMOVE, named(nfs.REMOVE), work)
    h = Once(env)
    write(h.path("f"), b"mine")
    h.lost(os.unlink, h.path("f"), op=nfs.REMOVE,
           meanwhile=lambda: write(h.disk("f"), b"another's"))
    assert read(h.disk("f")) == b"another's"


@suite.test("an open file is unlinked, or renamed over, once, and keeps its data")
def silly(env):
    def work(h, name, lost):
        for over in (False, True):
            write(h.path(name), b"data")
            with open(h.path(name), "rb", buffering=0) as f:
                if over:
                    write(h.path("new"), b"new")
                    lost(os.rename, h.path("new"), h.path(name))
                    assert read(h.disk(name)) == b"new"
                    os.unlink(h.path(name))
                else:
                    lost(os.unlink, h.path(name))
                    assert not os.path.exists(h.disk(name))
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                assert f.read() == b"data"
            env.eventually(lambda: not any(n.startswith(".nfs") for n in os.listdir(h.disk())),
                           within=20, what="the end of the hidden file")
    both(env, nfs.RENAME, named(nfs.RENAME), work)


# Data and locks


@suite.test("O_APPEND: appended once, before what others append meanwhile or behind it", timeout=60)
def append(env):
    def work(h, name, lost):
        write(h.path(name), b"start,")
        for flags in (os.O_WRONLY, os.O_RDWR):
            fd = os.open(h.path(name), flags | os.O_APPEND)
            assert lost(os.write, fd, b"mine,") == 5
            os.close(fd)
        assert read(h.disk(name)) == b"start,mine,mine,", read(h.disk(name))
        big = os.urandom(1 << 20)
        fd = os.open(h.path(name), os.O_WRONLY | os.O_APPEND)
        assert lost(os.write, fd, big) == len(big)
        os.close(fd)
        assert read(h.disk(name)) == b"start,mine,mine," + big

        def another():
            with open(h.disk(name), "ab") as f:
                f.write(b"another's,")
        write(h.path(name), b"")
        fd = os.open(h.path(name), os.O_WRONLY | os.O_APPEND)
        assert lost(os.write, fd, b"mine,", meanwhile=another) == 5
        os.close(fd)
        assert sorted(read(h.disk(name)).split(b",")) == [b"", b"another's", b"mine"]
    both(env, nfs.WRITE, lambda name: p32(nfs.VERIFY), work)


@suite.test("data, truncation, modes and times are as if nothing had happened")
def attributes(env):
    h = Once(env)
    fd = os.open(h.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
    h.lost(os.pwrite, fd, b"0123456789", 5, op=nfs.WRITE)
    h.lost(os.fsync, fd, op=nfs.COMMIT)
    h.lost(os.ftruncate, fd, 12, op=nfs.SETATTR)
    h.lost(os.chmod, h.path("f"), 0o600, op=nfs.SETATTR)
    h.lost(os.utime, h.path("f"), (1000, 2000), op=nfs.SETATTR)
    st = os.stat(h.disk("f"))
    assert (st.st_mtime, stat.S_IMODE(st.st_mode), st.st_size) == (2000, 0o600, 12)
    assert read(h.disk("f")) == bytes(5) + b"0123456"
    fd2 = h.lost(os.open, h.path("f"), os.O_RDWR, op=nfs.OPEN)
    assert os.pread(fd2, 5, 5) == b"01234"
    os.close(fd2)
    assert os.pwrite(fd, b"x", 0) == 1


@suite.test("locks are had once, and let go", timeout=60)
def locks(env):
    h, other = Once(env), env.mount()
    write(h.path("f"), b"")
    fd = os.open(h.path("f"), os.O_RDWR)
    there = os.open(os.path.join(other.point, env.name, "f"), os.O_RDWR)
    for _ in range(2):
        h.lost(lockf, fd, fcntl.F_WRLCK, 0, 10, op=nfs.LOCK)
        h.lost(lockf, fd, fcntl.F_WRLCK, 20, 10, op=nfs.LOCK)
        assert refused(there, fcntl.F_WRLCK, 0, 10) and refused(there, fcntl.F_WRLCK, 20, 10)
        h.lost(lockf, fd, fcntl.F_UNLCK, 0, 10, op=nfs.LOCKU)
        assert not refused(there, fcntl.F_WRLCK, 0, 20)
        assert os.pwrite(fd, b"x", 0) == 1
        h.lost(lockf, fd, fcntl.F_UNLCK, op=nfs.LOCKU)
        assert not refused(there, fcntl.F_WRLCK)


if __name__ == "__main__":
    suite.main()
