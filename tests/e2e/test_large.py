#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many entries and far offsets."""

import ctypes
import errno
import mmap
import os
import random

from harness import LIBC, Suite
from test_basic import read, write

suite = Suite()
MIB = 1 << 20
GIB = 1 << 30
ENTRIES = 100_000


class Dirent(ctypes.Structure):
    _fields_ = [("d_ino", ctypes.c_uint64), ("d_off", ctypes.c_int64),
                ("d_reclen", ctypes.c_ushort), ("d_type", ctypes.c_ubyte),
                ("d_name", ctypes.c_char * 256)]


LIBC.opendir.restype = ctypes.c_void_p
LIBC.readdir64.restype = ctypes.POINTER(Dirent)
LIBC.telldir.restype = ctypes.c_long
for name, arguments in (("readdir64", []), ("telldir", []), ("seekdir", [ctypes.c_long]),
                        ("rewinddir", []), ("closedir", [])):
    getattr(LIBC, name).argtypes = [ctypes.c_void_p, *arguments]


class Directory:
    """opendir(3) and its family."""

    def __init__(self, path):
        self.dirp = LIBC.opendir(os.fsencode(path))
        assert self.dirp, "opendir failed"

    def __iter__(self):
        """Yields (name, position after it)."""
        while True:
            ctypes.set_errno(0)
            entry = LIBC.readdir64(self.dirp)
            if not entry:
                assert ctypes.get_errno() == 0, os.strerror(ctypes.get_errno())
                return
            yield entry.contents.d_name, LIBC.telldir(self.dirp)

    def seek(self, position):
        LIBC.seekdir(self.dirp, position)

    def rewind(self):
        LIBC.rewinddir(self.dirp)

    def close(self):
        LIBC.closedir(self.dirp)


def fill(directory, count):
    fd = os.open(directory, os.O_RDONLY)
    for i in range(count):
        os.close(os.open(f"entry-{i:06}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)


@suite.test("100,000 entries are each read once, and telldir positions lead back to them",
            timeout=180)
def hundred_thousand(env):
    fill(env.disk, ENTRIES)
    listing = Directory(env.mnt)
    read_once = list(listing)
    names = [n for n, _ in read_once]
    assert len(names) == ENTRIES + 2, len(names)
    assert len(set(names)) == len(names), "an entry came twice"
    assert set(names) - {b".", b".."} == set(os.listdir(os.fsencode(env.disk)))
    rng = random.Random(1)
    for _ in range(60):
        at = rng.randrange(len(read_once) - 1)
        listing.seek(read_once[at][1])
        name, _ = next(iter(listing))
        assert name == names[at + 1], (at, name, names[at + 1])
    listing.seek(read_once[-1][1])
    assert list(listing) == [], "something after the end"
    listing.rewind()
    assert [n for n, _ in listing] == names
    listing.close()


@suite.test("ls -l, find and rm work through 100,000 entries", timeout=300)
def tools_on_many(env):
    fill(env.disk, ENTRIES)
    assert int(env.run(f"ls -l {env.mnt} | wc -l")) == ENTRIES + 1
    assert int(env.run(f"find {env.mnt} -type f | wc -l")) == ENTRIES
    env.run(f"find {env.mnt} -type f -delete")
    assert os.listdir(env.disk) == []


@suite.test("entries made and removed during a listing do not hide or repeat the others")
def changing_directory(env):
    fill(env.disk, 3000)
    listing = Directory(env.mnt)
    seen = []
    for number, (name, _) in enumerate(listing):
        seen.append(name)
        if number % 100 == 50:
            write(env.path(f"new-{number}"), b"")
        if number % 100 == 60 and name.startswith(b"entry"):
            os.unlink(os.fsencode(env.mnt) + b"/" + name)
    listing.close()
    old = [n for n in seen if n.startswith(b"entry")]
    assert len(old) == len(set(old)) == 3000, (len(old), len(set(old)))


@suite.test("reads and writes around 2, 4 and 16 GiB and 1 TiB reach their offsets")
def far_offsets(env):
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
    disk = os.open(env.disk, os.O_RDONLY)
    for base in (2 * GIB, 4 * GIB, 16 * GIB, 1024 * GIB):
        os.pwrite(fd, b"across the line", base - 7)
        assert os.pread(fd, 15, base - 7) == b"across the line"
    os.fsync(fd)
    there = os.open("f", os.O_RDONLY, dir_fd=disk)
    for base in (2 * GIB, 4 * GIB, 16 * GIB, 1024 * GIB):
        assert os.pread(there, 15, base - 7) == b"across the line", base
    assert os.fstat(fd).st_size == os.fstat(there).st_size == 1024 * GIB + 8
    assert os.fstat(fd).st_blocks < 2048, "the file is not sparse"
    os.ftruncate(fd, 5 * GIB)
    assert os.pread(fd, 15, 4 * GIB - 7) == b"across the line"
    with mmap.mmap(fd, 4096, offset=4 * GIB) as m:
        assert m[:8] == b"the line"
        m[:4] = b"4GiB"
    assert os.pread(there, 4, 4 * GIB) == b"4GiB"
    os.close(fd)
    assert os.stat(env.on_disk("f")).st_size == 5 * GIB


@suite.test("a size beyond what the server's disk can hold fails with EFBIG or EINVAL")
def too_far(env):
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT, 0o644)

    def write_far():
        os.pwrite(fd, b"x", 1 << 62)
        os.fsync(fd)  # a small write may have been gathered

    for call in (lambda: os.ftruncate(fd, (1 << 63) - 1), write_far):
        try:
            call()
        except OSError as e:
            assert e.errno in (errno.EFBIG, errno.EINVAL), e
        else:
            raise AssertionError("nothing failed")
    os.write(fd, b"still fine")
    os.close(fd)
    assert read(env.on_disk("f")) == b"still fine"


@suite.test("a directory 60 levels deep is made, walked and removed")
def deep(env):
    path = env.mnt
    for i in range(60):
        path += f"/level-{i}"
        os.mkdir(path)
    write(path + "/f", b"bottom")
    assert int(env.run(f"find {env.mnt} | wc -l")) == 62
    env.same()
    env.run(f"rm -r {env.mnt}/level-0")


@suite.test("a 400 MiB file is copied in and out and compared", timeout=120)
def big_file(env):
    source = env.scratch("big")
    env.run(f"head -c {400 * MIB} /dev/urandom > {source}")
    env.run(["cp", source, env.path("f")])
    env.run(["cmp", source, env.path("f")])
    env.run(["cmp", source, env.on_disk("f")])
    env.run(["cp", env.path("f"), env.scratch("back")])
    env.run(["cmp", source, env.scratch("back")])


if __name__ == "__main__":
    suite.main()
