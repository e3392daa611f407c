#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many processes at once on several workers: everybody's files are whole, and everybody's locks
exclude. Above all something for the thread sanitizer to look at."""

import errno
import fcntl
import json
import mmap
import os
import random
import threading

from harness import Suite, build_path
from test_basic import read, write

suite = Suite(options="nconnect=4")
PROCESSES = 8
ROUNDS = 40
COUNTS = 60


def pattern(process, number, size):
    return random.Random(process * 1000 + number).randbytes(size)


def files(directory, process):
    """Files of several sizes made, read, moved into a common directory, read there, removed."""
    common = os.path.join(directory, "common")
    for i in range(ROUNDS):
        name = os.path.join(directory, f"p{process}-{i}")
        data = pattern(process, i, (0, 100, 70_000, 300_000)[i % 4])
        write(name, data)
        assert read(name) == data
        moved = os.path.join(common, f"p{process}-{i}")
        os.rename(name, moved)
        assert os.stat(moved).st_size == len(data)
        with open(moved, "r+b") as f:
            f.seek(0, os.SEEK_END)
            f.write(b"end")
            os.fsync(f.fileno())
            if i % 8 == 0:  # removed while it is open
                os.unlink(moved)
                f.seek(0)
                assert f.read() == data + b"end"
        if i % 8:
            assert read(moved) == data + b"end"
        assert not any(n.startswith(f"p{process}-") for n in os.listdir(directory))


def counting(directory, process):
    """One number in one file, counted up under a lock that all processes take."""
    fd = os.open(os.path.join(directory, "count"), os.O_RDWR)
    for i in range(COUNTS):
        if (process + i) % 2:
            fcntl.lockf(fd, fcntl.LOCK_EX)
        else:
            fcntl.lockf(fd, fcntl.LOCK_EX, 8, 0)
        number = int(os.pread(fd, 8, 0))
        os.pwrite(fd, f"{number + 1:08}".encode(), 0)
        fcntl.lockf(fd, fcntl.LOCK_UN)
    os.close(fd)


def looking(directory, _):
    """Everything is walked and looked at while others change it."""
    for _ in range(ROUNDS):
        for root, _, names in os.walk(directory):
            for name in names:
                try:
                    os.stat(os.path.join(root, name))
                except OSError as e:
                    assert e.errno in (errno.ENOENT, errno.ESTALE), e
        os.statvfs(directory)


def at_once(env, *functions):
    directory = env.path()
    children = [env.child(f, directory, i) for i in range(PROCESSES) for f in functions]
    failures = []
    for child in children:
        try:
            child.join()
        except AssertionError as e:
            failures.append(str(e))
    assert not failures, "\n".join(failures)


@suite.test("files made, moved and removed by eight processes are whole", timeout=240)
def parallel_files(env):
    os.mkdir(env.on_disk("common"))
    at_once(env, files, looking)
    assert len(os.listdir(env.path("common"))) == PROCESSES * ROUNDS * 7 // 8
    env.same()


@suite.test("a number that eight processes count up under locks is right", timeout=240)
def parallel_locks(env):
    write(env.on_disk("count"), b"00000000")
    at_once(env, counting)
    assert read(env.on_disk("count")) == f"{PROCESSES * COUNTS:08}".encode()


@suite.test("threads of one process share files, mappings and offsets", timeout=240)
def parallel_threads(env):
    size = 4 << 20
    data = pattern(99, 0, size)
    part = size // PROCESSES
    failures = []

    def work(i):
        try:
            os.pwrite(fd, data[i * part:(i + 1) * part], i * part)
            os.fsync(fd)
            assert os.pread(fd, part, i * part) == data[i * part:(i + 1) * part]
            with mmap.mmap(fd, part, mmap.MAP_SHARED, offset=i * part) as m:
                assert m[:] == data[i * part:(i + 1) * part]
                m[:16] = bytes(16)
                m.flush()
        except BaseException as e:
            failures.append(repr(e))
    fd = os.open(env.path("shared"), os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, size)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(PROCESSES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    assert not failures, failures
    expected = bytearray(data)
    for i in range(PROCESSES):
        expected[i * part:i * part + 16] = bytes(16)
    assert read(env.on_disk("shared")) == expected


@suite.test("statistics are printed while all of that goes on", timeout=240)
def parallel_statistics(env):
    os.mkdir(env.on_disk("common"))
    children = [env.child(files, env.path(), i) for i in range(PROCESSES)]
    tool = os.environ.get("VSOCKFSCTL", build_path("src", "ctl", "vsockfsctl"))
    before = 0
    for _ in range(ROUNDS):
        told = json.loads(env.run([tool, "stats", "--json", env.root]))
        calls = sum(op["rpcs"] for op in told["operations"].values())
        assert calls >= before
        before = calls
    for child in children:
        child.join()
    assert before > 0


if __name__ == "__main__":
    suite.main()
