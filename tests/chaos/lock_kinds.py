# SPDX-License-Identifier: LGPL-2.1-or-later
"""A counter in a file that locks guard, between processes and between clients."""

import errno
import fcntl
import os
import time

from writers import WAITS, Kind, Writer

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

    def lock(self):
        """Waits in the kernel, or by asking again."""
        if self.rng.random() < 0.5:
            with self.op(WAITS):
                self.kind.take(self.fd, fcntl.LOCK_EX)
            return
        while True:
            with self.op("try lock"):
                try:
                    self.kind.take(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
            with self.op("close"):
                os.close(self.fd)
            self.open()
            return
        with self.op("unlock"):
            self.kind.take(self.fd, fcntl.LOCK_UN)
        if self.rng.random() < 0.05:
            with self.op("close"):
                os.close(self.fd)
            self.open()

    def end(self):
        with self.op("close"):
            os.close(self.fd)
        self.facts = {"acknowledged": self.acknowledged, "unknown": self.unknown,
                      "lost": self.lost, "values": self.values}


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
