# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all programs under chaos have in common: they do steps on a mount until they are told to
stop, remember what was acknowledged, and each operation is under a watch.

A Writer is one process. A Kind is what its writers share: a directory, and the check of that
directory on the server's disk when everything has ended.
"""

import contextlib
import mmap
import os
import pickle
import random
import struct
import time
import traceback

WAITS = "lock"  # the operation that waits for other programs, and ends when they let it


class Watch:
    """Memory that all writers share with the one who watches them: what each does since when."""

    ENTRY = struct.Struct("=QQd24s")  # ended operations, ended steps, start of the one under way
    SIZE = 64

    def __init__(self, writers):
        self.memory = mmap.mmap(-1, mmap.PAGESIZE + writers * self.SIZE)

    def stop(self):
        self.memory[0] = 1

    def stopped(self):
        return self.memory[0] == 1

    def put(self, number, *entry):
        self.ENTRY.pack_into(self.memory, mmap.PAGESIZE + number * self.SIZE, *entry)

    def get(self, number):
        """(operations, steps, seconds under way or 0, its name)"""
        ops, steps, start, name = self.ENTRY.unpack_from(
            self.memory, mmap.PAGESIZE + number * self.SIZE)
        return (ops, steps, start and max(0, time.monotonic() - start),
                name.rstrip(b"\0").decode())


class Writer:
    def __init__(self, kind, number, root, seed):
        """number: among all writers; root: the kind's directory as this writer's mount shows it."""
        self.kind = kind
        self.number = number
        self.root = root
        self.rng = random.Random(f"{seed} {kind.name} {number}")
        self.ops = self.steps = 0
        self.longest = {}       # seconds, by operation
        self.facts = {}         # for the kind's check

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    @contextlib.contextmanager
    def op(self, name):
        """What is measured and watched: one or a few system calls on the mount."""
        start = time.monotonic()
        self.watch.put(self.number, self.ops, self.steps, start, name.encode()[:24])
        try:
            yield
        finally:
            took = time.monotonic() - start
            self.longest[name] = max(self.longest.get(name, 0), took)
            self.ops += 1
            self.watch.put(self.number, self.ops, self.steps, 0.0, b"")

    def fails(self, number, name, call, *args, **more):
        """call must fail with this errno."""
        with self.op(name):
            try:
                call(*args, **more)
            except OSError as e:
                assert e.errno == number, (f"{name}{args}: {os.strerror(e.errno)}, "
                                           f"not {os.strerror(number)}")
                return
        raise AssertionError(f"{name}{args} succeeded, not {os.strerror(number)}")

    def run(self, watch):
        self.watch = watch
        self.begin()
        while not watch.stopped():
            self.step()
            self.steps += 1
            watch.put(self.number, self.ops, self.steps, 0.0, b"")
            time.sleep(self.rng.random() * 0.03)
        self.end()

    def begin(self):
        pass

    def step(self):
        raise NotImplementedError

    def end(self):
        pass


class Kind:
    """name: of its directory. writers: for each of them the number of the mount."""

    name = None
    says = None     # the TAP point
    writers = (0,)
    writer = Writer

    def prepare(self, disk):
        """On the server's disk, before there is any mount."""

    def check(self, disk, facts):
        """Yields what is wrong; facts: of each writer."""
        raise NotImplementedError


def start(writer, watch, result):
    """Forks; the child writes a pickled (error or None, facts, longest, steps) into the file."""
    pid = os.fork()
    if pid:
        return pid
    error = None
    try:
        writer.run(watch)
    except BaseException as e:
        where = traceback.extract_tb(e.__traceback__)[1:]
        error = (f"{writer.kind.name}/{writer.number}, step {writer.steps}, "
                 f"{time.monotonic():.3f}: "
                 f"{type(e).__name__}: {e} "
                 f"({' < '.join(f'{s.name}:{s.lineno}' for s in reversed(where[-4:]))})")
    try:
        with open(result, "wb") as f:
            pickle.dump((error, writer.facts, writer.longest, writer.steps), f)
    finally:
        os._exit(0)


def listing_differs(disk, expected, what="name"):
    """Yields the difference of a directory's names from the expected ones."""
    found = set(os.listdir(disk))
    for name in sorted(found - set(expected))[:5]:
        yield f"{what} {name} is there, and should not be"
    for name in sorted(set(expected) - found)[:5]:
        yield f"{what} {name} is lost"
