# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writers of data: what they write can be told from anything else, and says what it is."""

import errno
import mmap
import os
import struct
import zlib

from writers import Kind, Writer

HEAD = struct.Struct("=IIII")  # writer, slot, version, checksum


def content(writer, slot, version, size):
    """A record that nobody else writes, ever."""
    seed = b"%08x%08x%08x" % (writer, slot, version)
    body = (zlib.compress(seed) + seed) * (size // 24 + 1)
    body = body[:size - HEAD.size]
    return HEAD.pack(writer, slot, version, zlib.crc32(seed + body)) + body


def told(data):
    """For a message: whose record this is."""
    if not data.strip(b"\0"):
        return f"{len(data)} zeros"
    return "writer %d slot %d version %d crc %08x, %d bytes" % (*HEAD.unpack_from(data), len(data))


def pread(fd, size, at):
    data = b""
    while len(data) < size and (more := os.pread(fd, size - len(data), at + len(data))):
        data += more
    return data


class RecordWriter(Writer):
    SIZES = (700, 4096, 20000, 600000)
    SLOTS = 24

    def begin(self):
        self.size = self.SIZES[self.number % len(self.SIZES)]
        self.versions = [0] * self.SLOTS
        self.name = f"r{self.number}"
        self.fd = None
        self.open()

    def open(self):
        with self.op("open"):
            self.fd = os.open(self.path(self.name), os.O_RDWR | os.O_CREAT, 0o644)

    def expected(self, slot):
        version = self.versions[slot]
        return content(self.number, slot, version, self.size) if version else bytes(self.size)

    def write(self):
        slot = self.rng.randrange(self.SLOTS)
        self.versions[slot] += 1
        with self.op("pwrite"):
            n = os.pwrite(self.fd, self.expected(slot), slot * self.size)
        assert n == self.size, f"pwrite wrote {n} of {self.size}"

    def read(self):
        slot = self.rng.choice([s for s in range(self.SLOTS) if self.versions[s]] or [0])
        if not self.versions[slot]:
            return
        if self.rng.random() < 0.6:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with self.op("pread"):
            data = pread(self.fd, self.size, slot * self.size)
        assert data == self.expected(slot), (
            f"slot {slot} version {self.versions[slot]} reads as {told(data)}")

    def fsync(self):
        with self.op("fsync"):
            os.fsync(self.fd)

    def reopen(self):
        with self.op("close"):
            os.close(self.fd)
        self.open()

    def step(self):
        self.rng.choices((self.write, self.read, self.fsync, self.reopen), (60, 25, 10, 5))[0]()

    def end(self):
        self.fsync()
        with self.op("close"):
            os.close(self.fd)
        self.facts = {"name": self.name, "size": self.size, "number": self.number,
                      "versions": self.versions}


class Records(Kind):
    name = "records"
    says = "written and synced records are there, in their last version"
    writers = (0, 1, 0, 1)
    writer = RecordWriter

    def check(self, disk, facts):
        for f in facts:
            with open(os.path.join(disk, f["name"]), "rb") as file:
                for slot, version in enumerate(f["versions"]):
                    data = file.read(f["size"])
                    if version and data != content(f["number"], slot, version, f["size"]):
                        yield f"{f['name']} slot {slot} version {version} is {told(data)}"


class Appender(Writer):
    """Two of a mount append to one file; other mounts have other files, since NFS has no append."""

    SIZE = 96

    def begin(self):
        self.count = 0
        self.name = "of-mount" + os.path.basename(os.path.dirname(self.root))
        with self.op("open"):
            self.fd = os.open(self.path(self.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    @classmethod
    def line(cls, number, count):
        text = b"%08d %08d " % (number, count)
        text += b"%08x " % zlib.crc32(text)
        return text.ljust(cls.SIZE - 1, b"-") + b"\n"

    def step(self):
        with self.op("append"):
            n = os.write(self.fd, self.line(self.number, self.count))
        assert n == self.SIZE, f"write wrote {n}"
        self.count += 1
        if self.rng.random() < 0.2:
            with self.op("fsync"):
                os.fsync(self.fd)

    def end(self):
        with self.op("close"):
            os.close(self.fd)
        self.facts = {"number": self.number, "count": self.count, "name": self.name}


class Appends(Kind):
    name = "appends"
    says = "appended lines are there exactly once, in order"
    writers = (0, 0, 1, 1)
    writer = Appender

    def check(self, disk, facts):
        for name in {f["name"] for f in facts}:
            with open(os.path.join(disk, name), "rb") as f:
                lines = f.read().splitlines(keepends=True)
            for fact in (f for f in facts if f["name"] == name):
                number, count = fact["number"], fact["count"]
                mine = [line for line in lines if line.startswith(b"%08d " % number)]
                expected = [Appender.line(number, i) for i in range(count)]
                if mine != expected:
                    at = next((i for i, pair in enumerate(zip(mine, expected))
                               if pair[0] != pair[1]), min(len(mine), count))
                    yield f"{name}: {len(mine)} lines of {number}, {count} expected, wrong at {at}"
            wanted = sum(f["count"] for f in facts if f["name"] == name)
            if len(lines) != wanted:
                yield f"{name}: {len(lines)} lines, {wanted} expected"


class Mapper(Writer):
    PAGES = 32

    def begin(self):
        self.name = f"m{self.number}"
        self.versions = [0] * self.PAGES
        with self.op("open"):
            self.fd = os.open(self.path(self.name), os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self.fd, self.PAGES * mmap.PAGESIZE)
        self.map = mmap.mmap(self.fd, self.PAGES * mmap.PAGESIZE)

    def step(self):
        for _ in range(self.rng.randint(1, 4)):
            page = self.rng.randrange(self.PAGES)
            self.versions[page] += 1
            with self.op("store"):
                self.map[page * mmap.PAGESIZE:(page + 1) * mmap.PAGESIZE] = content(
                    self.number, page, self.versions[page], mmap.PAGESIZE)
        with self.op("msync"):
            self.map.flush()

    def end(self):
        with self.op("munmap"):
            self.map.close()
            os.close(self.fd)
        self.facts = {"name": self.name, "number": self.number, "size": mmap.PAGESIZE,
                      "versions": self.versions}


class Maps(Records):
    name = "maps"
    says = "pages stored through mmap and synced are there"
    writers = (0, 1)
    writer = Mapper


class Shadower(Writer):
    """A file against a copy of it in memory, through all that changes its length."""

    MOST = 200000

    def begin(self):
        self.copy = bytearray()
        self.last = self.generation = 0
        self.hidden = False
        self.open(os.O_CREAT)

    @property
    def name(self):
        return f"s{self.number}-{self.generation}"

    def open(self, flags=0):
        with self.op("open"):
            self.fd = os.open(self.path(self.name), os.O_RDWR | flags, 0o644)

    def write(self):
        """Somewhere, or over the beginning of what was written last."""
        at = self.rng.randrange(self.MOST - 5000)
        if self.rng.random() < 0.5:
            at = max(0, self.last - self.rng.randint(1, 1000))
        data = self.rng.randbytes(self.rng.randint(1, 5000))
        self.copy.extend(bytes(max(0, at - len(self.copy))))
        self.copy[at:at + len(data)] = data
        self.last = at
        with self.op("pwrite"):
            assert os.pwrite(self.fd, data, at) == len(data)

    def truncate(self):
        size = self.rng.randrange(self.MOST)
        with self.op("ftruncate"):
            os.ftruncate(self.fd, size)
        del self.copy[size:]
        self.copy.extend(bytes(size - len(self.copy)))

    def compare(self):
        if self.rng.random() < 0.5:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        with self.op("pread"):
            data = pread(self.fd, self.MOST, 0)
        with self.op("fstat"):
            size = os.fstat(self.fd).st_size
        assert size == len(self.copy), f"size {size}, not {len(self.copy)}"
        if data != self.copy:
            wrong = [i for i, pair in enumerate(zip(data, self.copy)) if pair[0] != pair[1]]
            raise AssertionError(f"{self.name}: {len(wrong)} other bytes, {wrong[0]} to {wrong[-1]};"
                                 f" last written at {self.last}")

    def reopen(self):
        if self.hidden:
            return
        with self.op("close"):
            os.close(self.fd)
        self.open()

    def hide(self):
        """The name goes, the file stays open; later another file begins."""
        if self.hidden:
            self.compare()
            with self.op("close"):
                os.close(self.fd)
            self.copy.clear()
            self.generation += 1
            self.open(os.O_CREAT | os.O_EXCL)
        else:
            with self.op("unlink"):
                os.unlink(self.path(self.name))
            self.fails(errno.ENOENT, "stat", os.stat, self.path(self.name))
        self.hidden = not self.hidden

    def step(self):
        self.rng.choices((self.write, self.truncate, self.compare, self.reopen, self.hide),
                         (50, 15, 20, 10, 5))[0]()

    def end(self):
        self.compare()
        with self.op("close"):
            os.close(self.fd)
        self.facts = {"name": None if self.hidden else self.name, "content": bytes(self.copy)}


class Shadows(Kind):
    name = "shadows"
    says = "files that grow, shrink and lose their names are what they should be"
    writers = (0, 1)
    writer = Shadower

    def check(self, disk, facts):
        names = {f["name"]: f["content"] for f in facts if f["name"]}
        for name in set(os.listdir(disk)) ^ set(names):
            yield f"{name} is there and should not be, or is not"
        for name in set(os.listdir(disk)) & set(names):
            with open(os.path.join(disk, name), "rb") as f:
                if f.read() != names[name]:
                    yield f"{name} has other bytes"
