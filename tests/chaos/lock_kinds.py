# SPDX-License-Identifier: LGPL-2.1-or-later
"""A counter in a file that locks guard, between processes and between clients."""

import errno
import fcntl
import os
import struct
import time

from writers import WAITS, Kind, Writer

F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
FLOCK = "hhqqi4x"
LOST = (errno.EIO, errno.ESTALE)  # what the holder of a lock is told that could not be got back


class Counter(Writer):
    SIZE = 32

    def begin(self):
        self.acknowledged = self.unknown = self.lost = 0
        self.values = []    # (value, writer, and the times of lock, write and end)
        self.open()

    def open(self):
        with self.op("open"):
            self.fd = os.open(self.path("counter"), os.O_RDWR)

    def reopen(self):
        with self.op("close"):
            os.close(self.fd)
        self.open()

    def take(self, how):
        self.kind.take(self.fd, how)

    def lock(self):
        """Waits in the kernel, or by asking again."""
        if self.rng.random() < 0.5:
            with self.op(WAITS):
                self.take(fcntl.LOCK_EX)
            return
        while True:
            with self.op("try lock"):
                try:
                    self.take(fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except OSError as e:
                    if e.errno not in (errno.EAGAIN, errno.EACCES):
                        raise
            time.sleep(0.02 + self.rng.random() * 0.05)

    def increment(self):
        self.locked = time.monotonic()
        with self.op("pread"):
            before = os.pread(self.fd, self.SIZE, 0)
        value = int(before.split()[0])
        after = b"%015d by %012d" % (value + 1, self.number)
        self.unknown += 1
        with self.op("pwrite"):
            assert os.pwrite(self.fd, after, 0) == len(after)
        written = time.monotonic()
        if self.rng.random() < 0.5:
            with self.op("fsync"):
                os.fsync(self.fd)
        if self.rng.random() < 0.3:
            time.sleep(self.rng.random() * 0.05)
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
            with self.op("pread"):
                found = os.pread(self.fd, len(after), 0)
            assert found == after, f"{found} under the lock, where it wrote {after}"
        self.unknown -= 1
        self.acknowledged += 1
        self.values.append((value + 1, self.number, self.locked, written, time.monotonic()))

    def step(self):
        self.lock()
        try:
            self.increment()
        except OSError as e:
            if e.errno not in LOST:
                raise
            self.lost += 1
            self.reopen()
            return
        self.unlock()

    def unlock(self):
        with self.op("unlock"):
            self.take(fcntl.LOCK_UN)
        if self.rng.random() < 0.05:
            self.reopen()

    def end(self):
        with self.op("close"):
            os.close(self.fd)
        self.facts = {"acknowledged": self.acknowledged, "unknown": self.unknown,
                      "lost": self.lost, "values": self.values}


def flock_whole(fd, how, start=0, length=0):
    fcntl.flock(fd, how)


def lock_description(fd, how, start=0, length=0):
    """As fcntl.lockf, by the open file description."""
    kind = fcntl.F_UNLCK if how & fcntl.LOCK_UN else fcntl.F_WRLCK
    fcntl.fcntl(fd, F_OFD_SETLK if how & fcntl.LOCK_NB else F_OFD_SETLKW,
                struct.pack(FLOCK, kind, os.SEEK_SET, start, length, 0))


def is_locked(fd, start, length):
    """By another open file description."""
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    return struct.unpack(FLOCK, fcntl.fcntl(fd, F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK


class Description(Counter):
    """Locks by open file descriptions, which close(2) ends. Their owner is a number that the kernel
    gives to the next one at once, while it tells of the end only later."""

    ROUNDS = 3
    RANGE = 10

    def begin(self):
        self.ways = [flock_whole, lock_description]
        super().begin()
        place = self.kind.numbers.index(self.number)
        self.own = [self.own_lock(f"own{place}", flock_whole, 0, 0),
                    self.own_lock("ranges", lock_description, place * self.RANGE, self.RANGE)]

    def own_lock(self, name, take, start, length):
        """What nobody else locks, in a file that is also open otherwise."""
        with self.op("open"):
            return os.open(self.path(name), os.O_RDWR), self.path(name), take, start, length

    def take(self, how):
        self.ways[0](self.fd, how)

    def unlock(self):
        if self.rng.random() < 0.3:
            super().unlock()
        else:
            self.reopen()
        self.ways.reverse()

    def step(self):
        super().step()
        for i in range(self.ROUNDS):
            for own in self.own:
                self.lock_own(*own, look=i == 0)

    def lock_own(self, kept, path, take, start, length, look):
        with self.op("open"):
            fd = os.open(path, os.O_RDWR)
        try:
            with self.op("try own lock"):
                take(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, start, length)
            if look:
                self.look_at_own(kept, fd, start, length)
        except OSError as e:
            if e.errno not in LOST:
                raise
            self.lost += 1
        with self.op("close"):
            os.close(fd)
        with self.op("get own lock"):
            assert not look or not is_locked(kept, start, length), f"{path} is locked after close"

    def look_at_own(self, kept, fd, start, length):
        time.sleep(self.rng.random() * 0.01)
        with self.op("get own lock"):
            locked = is_locked(kept, start, length)
        if not locked:
            with self.op("pwrite"):
                os.pwrite(fd, b"told", start)   # an error if the server has lost it
                os.fsync(fd)
        assert locked, "its own lock has gone"

    def end(self):
        super().end()
        with self.op("close"):
            for kept, *_ in self.own:
                os.close(kept)


class Locks(Kind):
    name = "locks"
    says = "no increment under a record lock is lost, or its holder was told"
    writers = (0, 1, 0, 1)
    writer = Counter
    take = staticmethod(fcntl.lockf)

    def prepare(self, disk):
        with open(os.path.join(disk, "counter"), "xb") as f:
            f.write(b"%015d by %012d" % (0, 0))

    def check(self, disk, facts):
        with open(os.path.join(disk, "counter"), "rb") as f:
            value = int(f.read().split()[0])
        least = sum(f["acknowledged"] for f in facts)
        most = least + sum(f["unknown"] for f in facts)
        if not least <= value <= most:
            yield f"the counter is {value}, acknowledged were {least} to {most}"
        values = sorted(sum((f["values"] for f in facts), []), key=lambda v: v[2])
        for before, entry in zip(values, values[1:]):
            if entry[0] != before[0] + 1:
                yield (f"after {self.tell(before)} came {self.tell(entry)}")

    @staticmethod
    def tell(entry):
        return "%d by %d, locked at %.3f, written at %.3f, done at %.3f" % entry


class Flocks(Locks):
    name = "flocks"
    says = "no increment under flock is lost, or its holder was told"
    writers = (0, 1)
    take = staticmethod(fcntl.flock)


class Descriptions(Locks):
    name = "descriptions"
    says = "locks of open file descriptions keep others out, or their holder was told, until close"
    writers = (0, 0, 1, 1)
    writer = Description

    def prepare(self, disk):
        super().prepare(disk)
        for name in ["ranges", *(f"own{place}" for place in range(len(self.writers)))]:
            with open(os.path.join(disk, name), "xb"):
                pass

    def check(self, disk, facts):
        yield from super().check(disk, facts)
        values = sorted(sum((f["values"] for f in facts), []), key=lambda v: v[2])
        for before, entry in zip(values, values[1:]):
            if entry[2] < before[4]:
                yield f"{self.tell(entry)}, while {self.tell(before)}"
