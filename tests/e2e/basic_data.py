# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is in a file: reading, writing, truncating, mapping, copying."""

import errno
import mmap
import os
import random

from files import MIB, read, write
from harness import Skip, Suite, libc_call

suite = Suite()


@suite.test("files of every awkward size are read back and stored as written")
def sizes(env):
    for size in (0, 1, 4095, 4096, 4097, 65536, MIB - 1, MIB, MIB + 1, 5 * MIB + 77):
        data = random.Random(size).randbytes(size)
        write(env.path(f"f{size}"), data)
        assert os.stat(env.path(f"f{size}")).st_size == size
        assert read(env.path(f"f{size}")) == data
        assert read(env.on_disk(f"f{size}")) == data, "the disk has other bytes"
    env.same()


@suite.test("writes and reads at random offsets agree with a copy kept in memory")
def random_offsets(env):
    rng = random.Random(7)
    copy = bytearray()
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(400):
        offset, length = rng.randrange(3 * MIB), rng.choice((1, 100, 4096, 70000))
        if rng.random() < 0.6:
            data = rng.randbytes(length)
            os.pwrite(fd, data, offset)
            copy.extend(bytes(max(0, offset + length - len(copy))))
            copy[offset:offset + length] = data
        else:
            assert os.pread(fd, length, offset) == bytes(copy[offset:offset + length])
    os.close(fd)
    assert read(env.on_disk("f")) == bytes(copy)
    env.same()


@suite.test("truncate and ftruncate shrink, grow with zeros, and show the size at once")
def truncate(env):
    write(env.path("f"), b"x" * 10000)
    os.truncate(env.path("f"), 5000)
    assert os.stat(env.path("f")).st_size == 5000
    fd = os.open(env.path("f"), os.O_RDWR)
    os.ftruncate(fd, 20000)
    assert os.fstat(fd).st_size == 20000
    assert os.pread(fd, 20000, 0) == b"x" * 5000 + bytes(15000)
    os.close(fd)
    write(env.path("f"), b"new")
    assert read(env.path("f")) == b"new"
    env.fails(errno.ENOENT, os.truncate, env.path("none"), 1)
    env.fails(errno.EISDIR, os.truncate, env.mnt, 1)
    env.fails(errno.EINVAL, os.truncate, env.path("f"), -1)
    env.same()


@suite.test("O_APPEND writes at the end, and pwrite and lseek keep their Linux meaning")
def append(env):
    write(env.path("f"), b"one")
    fd = os.open(env.path("f"), os.O_RDWR | os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"two")
    assert os.lseek(fd, 0, os.SEEK_CUR) == 6
    assert os.lseek(fd, -2, os.SEEK_END) == 4
    env.fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
    os.close(fd)
    assert read(env.on_disk("f")) == b"onetwo"


def shared_map(env, file):
    try:
        return mmap.mmap(file.fileno(), 0)
    except OSError as e:
        if e.errno == errno.ENODEV and "cache=none" in env.suite.options:
            raise Skip("cache=none leaves the kernel no pages to share") from e
        raise


@suite.test("mmap: shared writes reach the file, private ones do not, holes read as zeros")
def mapped(env):
    path = env.path("f")
    data = random.Random(3).randbytes(3 * MIB + 123)
    write(path, data)
    with open(path, "r+b", buffering=0) as f:
        with mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE) as m:
            assert m[:] == data
            m[:5] = b"12345"
        with shared_map(env, f) as m:
            assert m[:] == data
            for offset in (0, 4095, 4096, MIB - 3, len(data) - 4):
                m[offset:offset + 4] = b"MMAP"
            m.flush()
            want = m[:]
    assert read(path) == want and want != data
    assert read(env.on_disk("f")) == want
    os.truncate(env.path("f"), 0)
    os.truncate(env.path("f"), 100000)
    with open(path, "r+b", buffering=0) as f, shared_map(env, f) as m:
        assert m[:] == bytes(100000)
        m[50000] = 7
    assert read(env.path("f"))[50000] == 7
    env.same()


@suite.test("what is written to a mapping stays in its place, also by a descriptor that appends")
def mapped_to_append(env):
    path = env.path("f")
    data = random.Random(4).randbytes(10000)
    write(path, data)
    with open(path, "a+b", buffering=0) as f:
        with shared_map(env, f) as m:
            m[5:8] = b"new"
            m.flush()
            f.write(b"appended")
            m[5000:5003] = b"too"
    assert read(env.on_disk("f")) == data[:5] + b"new" + data[8:5000] + b"too" + data[5003:] + b"appended"
    env.same()


@suite.test("writes seen through a mapping and maps seen by read are one file")
def map_and_write(env):
    with open(env.path("f"), "w+b", buffering=0) as f:
        f.write(b"a" * 8192)
        with shared_map(env, f) as m:
            os.pwrite(f.fileno(), b"bbbb", 4000)
            assert m[4000:4004] == b"bbbb"
            m[100:104] = b"cccc"
            assert os.pread(f.fileno(), 4, 100) == b"cccc"
    env.same()


@suite.test("O_DIRECT reads and writes, mixed with buffered ones")
def direct(env):
    path = env.path("f")
    data = random.Random(5).randbytes(2 * MIB)
    buffer = mmap.mmap(-1, 2 * MIB)
    buffer[:] = data
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    assert os.write(fd, buffer) == len(data)
    assert read(env.on_disk("f")) == data
    assert read(path) == data
    write(path, b"Z" * 512, os.O_WRONLY)
    back = mmap.mmap(-1, 2 * MIB)
    assert os.preadv(fd, [back], 0) == len(data)
    assert back[:] == b"Z" * 512 + data[512:]
    os.close(fd)
    env.same()


@suite.test("fsync, fdatasync, syncfs and fsync of a directory succeed and store the data")
def syncs(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"one")
    os.fsync(fd)
    assert read(env.on_disk("f")) == b"one"
    os.write(fd, b"two")
    os.fdatasync(fd)
    assert read(env.on_disk("f")) == b"onetwo"
    libc_call("syncfs", fd)
    os.close(fd)
    directory = os.open(env.mnt, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    fd = os.open(env.path("s"), os.O_CREAT | os.O_WRONLY | os.O_SYNC, 0o644)
    os.write(fd, b"sync")
    assert read(env.on_disk("s")) == b"sync"
    os.close(fd)


@suite.test("a file is complete on the server when close returns")
def close_flushes(env):
    data = random.Random(9).randbytes(3 * MIB)
    for i in range(5):
        write(env.path(f"f{i}"), data)
        assert read(env.on_disk(f"f{i}")) == data


@suite.test("copy_file_range, sendfile and cp copy exactly; a sparse file stays equal")
def copies(env):
    data = random.Random(11).randbytes(2 * MIB + 5)
    write(env.path("a"), data)
    env.run(["cp", "--preserve=all", env.path("a"), env.path("b")])
    with open(env.path("a"), "rb") as a, open(env.path("c"), "wb") as c:
        left = len(data)
        while left:
            left -= os.copy_file_range(a.fileno(), c.fileno(), left)
    with open(env.path("a"), "rb") as a, open(env.path("d"), "wb") as d:
        offset = 0
        while n := os.sendfile(d.fileno(), a.fileno(), offset, MIB):
            offset += n
    for name in "bcd":
        assert read(env.path(name)) == data, name
    fd = os.open(env.path("sparse"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"x", 5 * MIB)
    os.close(fd)
    env.run(["cp", "--sparse=always", env.path("sparse"), env.path("sparse2")])
    assert read(env.path("sparse2")) == read(env.on_disk("sparse"))
    env.same()


@suite.test("SEEK_DATA and SEEK_HOLE never skip data")
def seek_hole(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"x" * 4096, MIB)
    os.ftruncate(fd, 3 * MIB)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= MIB
    assert os.lseek(fd, MIB, os.SEEK_DATA) == MIB
    assert MIB + 4096 <= os.lseek(fd, MIB, os.SEEK_HOLE) <= 3 * MIB
    env.fails(errno.ENXIO, os.lseek, fd, 3 * MIB, os.SEEK_DATA)
    os.close(fd)


@suite.test("fallocate reserves or says EOPNOTSUPP, and posix_fallocate always gives the size")
def fallocate(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"keep")
    try:
        libc_call("fallocate64", fd, 0, *offsets(0, MIB))
        assert os.fstat(fd).st_size == MIB
    except OSError as e:
        assert e.errno == errno.EOPNOTSUPP, e
    os.posix_fallocate(fd, 0, 2 * MIB)
    assert os.fstat(fd).st_size == 2 * MIB
    assert os.pread(fd, 6, 0) == b"keep\0\0"
    os.close(fd)
    env.same()


def offsets(*values):
    import ctypes
    return [ctypes.c_int64(v) for v in values]


@suite.test("reads at and past the end give what is there")
def end_of_file(env):
    write(env.path("f"), b"0123456789")
    fd = os.open(env.path("f"), os.O_RDWR)
    assert os.pread(fd, 100, 5) == b"56789"
    assert os.pread(fd, 100, 10) == b"" and os.pread(fd, 100, 1 << 40) == b""
    os.pwrite(fd, b"X", 20)
    assert os.pread(fd, 100, 8) == b"89" + bytes(10) + b"X"
    env.fails(errno.EINVAL, os.pread, fd, 1, -1)
    env.fails(errno.EISDIR, os.read, os.open(env.mnt, os.O_RDONLY), 1)
    os.close(fd)
