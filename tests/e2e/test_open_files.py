#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that are open while their names come and go."""

import errno
import mmap
import os
import random

from harness import Suite
from test_basic import read, write

suite = Suite()
MIB = 1 << 20


def nothing_left(env, *names):
    """Whatever an open file was hidden under is gone from the server; the CLOSE may be on its
    way."""
    env.eventually(lambda: sorted(os.listdir(env.disk)) == sorted(names),
                   what=f"the directory with {names} alone")


@suite.test("an unlinked open file is read, written, grown and mapped until it is closed")
def unlinked(env):
    data = random.Random(1).randbytes(2 * MIB)
    write(env.path("f"), data)
    fd = os.open(env.path("f"), os.O_RDWR)
    os.unlink(env.path("f"))
    env.fails(errno.ENOENT, os.stat, env.path("f"))
    assert "f" not in os.listdir(env.mnt)
    assert os.pread(fd, MIB, MIB) == data[MIB:]
    os.pwrite(fd, b"more", 3 * MIB)
    assert os.fstat(fd).st_size == 3 * MIB + 4
    with mmap.mmap(fd, 0) as m:
        m[0:4] = b"mmap"
        m.flush()
    os.fsync(fd)
    assert os.pread(fd, 8, 0) == b"mmap" + data[4:8]
    os.ftruncate(fd, 10)
    assert os.fstat(fd).st_size == 10
    os.fchmod(fd, 0o600)
    os.close(fd)
    nothing_left(env)


@suite.test("an unlinked open file shows no link in fstat")
def unlinked_links(env):
    write(env.path("f"), b"x")
    fd = os.open(env.path("f"), os.O_RDWR)
    os.unlink(env.path("f"))
    assert os.fstat(fd).st_nlink == 0, os.fstat(fd).st_nlink
    os.close(fd)
    nothing_left(env)


@suite.test("the name of an unlinked open file is free for another file at once")
def name_is_free(env):
    write(env.path("f"), b"old")
    fd = os.open(env.path("f"), os.O_RDWR)
    os.unlink(env.path("f"))
    write(env.path("f"), b"new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert os.pread(fd, 10, 0) == b"old" and read(env.path("f")) == b"new"
    os.pwrite(fd, b"OLD", 0)
    os.close(fd)
    assert read(env.path("f")) == b"new"
    nothing_left(env, "f")


@suite.test("the directory of an unlinked open file can be removed after the last close")
def directory_after(env):
    os.mkdir(env.path("d"))
    write(env.path("d/f"), b"x")
    fd = os.open(env.path("d/f"), os.O_RDONLY)
    os.unlink(env.path("d/f"))
    # the hidden name shows, as it does with the kernel's client
    assert all(name.startswith(".nfs") for name in os.listdir(env.path("d")))
    os.close(fd)
    env.eventually(lambda: os.listdir(env.on_disk("d")) == [])
    os.rmdir(env.path("d"))
    nothing_left(env)


@suite.test("several descriptors keep an unlinked file until the last one is closed")
def several(env):
    write(env.path("f"), b"data")
    first, second = os.open(env.path("f"), os.O_RDWR), os.open(env.path("f"), os.O_RDONLY)
    os.unlink(env.path("f"))
    os.close(first)
    assert os.pread(second, 10, 0) == b"data"
    os.close(second)
    nothing_left(env)


@suite.test("a file replaced by rename stays readable where it is open")
def replaced(env):
    write(env.path("old"), b"old")
    write(env.path("new"), b"new")
    fd = os.open(env.path("old"), os.O_RDWR)
    os.rename(env.path("new"), env.path("old"))
    assert os.pread(fd, 10, 0) == b"old" and read(env.path("old")) == b"new"
    os.pwrite(fd, b"still", 0)
    assert os.pread(fd, 10, 0) == b"still"
    os.close(fd)
    nothing_left(env, "old")
    assert read(env.on_disk("old")) == b"new"


@suite.test("an open file follows its rename, out of its directory too")
def renamed(env):
    os.mkdir(env.path("d"))
    write(env.path("f"), b"1")
    fd = os.open(env.path("f"), os.O_RDWR | os.O_APPEND)
    os.rename(env.path("f"), env.path("d/g"))
    os.write(fd, b"2")
    os.close(fd)
    assert read(env.on_disk("d/g")) == b"12"
    env.same()


@suite.test("unlinking one of two names keeps the file open and linked once")
def one_of_two_names(env):
    for gone, left in ("ab", "ba"):
        write(env.path("a"), b"x")
        os.link(env.path("a"), env.path("b"))
        fd = os.open(env.path("a"), os.O_RDWR)
        os.unlink(env.path(gone))
        assert os.listdir(env.disk) == [left], "it needs no hidden name"
        assert os.fstat(fd).st_nlink == 1
        os.pwrite(fd, b"y", 0)
        os.close(fd)
        assert read(env.path(left)) == b"y"
        nothing_left(env, left)
        os.unlink(env.path(left))


@suite.test("a name that the host gave to another file goes, and the open file is not hidden by it")
def name_of_another(env):
    write(env.path("a"), b"x")
    fd = os.open(env.path("a"), os.O_RDWR)
    os.rename(env.on_disk("a"), env.on_disk("kept"))
    write(env.on_disk("a"), b"the host's")
    os.unlink(env.path("a"))
    assert os.listdir(env.disk) == ["kept"]
    assert os.pread(fd, 9, 0) == b"x"
    os.close(fd)
    nothing_left(env, "kept")


@suite.test("a working directory that is removed leaves its process with ENOENT, not a hang")
def removed_directory(env):
    os.mkdir(env.path("d"))
    os.chdir(env.path("d"))
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(env.path("d"))
    try:
        names = os.listdir(fd)
        assert names == [], names
    except OSError as e:
        assert e.errno in (errno.ENOENT, errno.ESTALE), e
    try:
        write("f", b"x")
        raise AssertionError("a file was made in a removed directory")
    except OSError as e:
        assert e.errno in (errno.ENOENT, errno.ESTALE), e
    os.close(fd)
    nothing_left(env)


@suite.test("a file deleted on the server while open here fails with ESTALE or still reads")
def deleted_on_server(env):
    write(env.path("f"), b"x" * 100000)
    fd = os.open(env.path("f"), os.O_RDWR | os.O_DIRECT)
    os.unlink(env.on_disk("f"))
    try:
        buffer = mmap.mmap(-1, 4096)
        os.preadv(fd, [buffer], 0)
    except OSError as e:
        assert e.errno == errno.ESTALE, e
    os.close(fd)
    env.eventually(lambda: not os.path.exists(env.path("f")))


@suite.test("a name that was a file becomes a directory, and back")
def type_changes(env):
    for _ in range(5):
        write(env.path("x"), b"file")
        assert os.path.isfile(env.path("x"))
        os.unlink(env.path("x"))
        os.mkdir(env.path("x"))
        assert os.path.isdir(env.path("x"))
        os.rmdir(env.path("x"))
        os.symlink("nowhere", env.path("x"))
        assert os.path.islink(env.path("x"))
        os.unlink(env.path("x"))
    nothing_left(env)


@suite.test("a file opened by one process is unlinked by another on a second mount")
def unlinked_elsewhere(env):
    write(env.path("f"), b"x" * 10000)
    other = env.mount()
    fd = os.open(env.path("f"), os.O_RDONLY)
    os.unlink(os.path.join(other.point, env.name, "f"))
    try:
        os.pread(fd, 10, 0)
    except OSError as e:
        assert e.errno == errno.ESTALE, e
    os.close(fd)
    env.eventually(lambda: not os.path.exists(env.path("f")))


@suite.test("an inherited descriptor and a dup write to one file")
def inherited(env):
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
    env.child(lambda: os.write(fd, b"child ")).join()
    copy = os.dup(fd)
    os.write(copy, b"dup ")
    os.close(copy)
    os.write(fd, b"parent")
    os.close(fd)
    assert read(env.on_disk("f")) == b"child dup parent"


if __name__ == "__main__":
    suite.main()
