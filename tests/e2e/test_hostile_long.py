#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server that goes on with garbage for long: floods of calls, damage all the time."""

import errno
import os
import random
import threading
import time

import nfsreply as nfs
from harness import Suite
from hostile import Hostile, damaged, stat
from nfsreply import p32, record
from proxy import accept_stat, callback
from test_basic import read

suite = Suite()


# Callbacks


@suite.test("callbacks of garbage are answered so, and a flood of them is survived", timeout=60)
def callbacks(env):
    h = Hostile(env)
    rng = random.Random(7)
    connection = h.proxy.current()
    replies = h.proxy.callback_replies

    def send(calls):
        """Not more at a time than the client answers unread."""
        wanted = len(replies) + len(calls)
        connection.send(b"".join(calls))
        env.eventually(lambda: len(replies) == wanted, within=10, what=f"{wanted} replies")
    for i in range(300):
        send([callback(i, 1, rng.randbytes(rng.randrange(0, 400)))])
    connection.send(callback(1000, 1, p32(0, 1, 0, 1, 11) + bytes(60) + p32(0xffffffff)))
    connection.send(callback(1001, 7, b""))
    connection.send(callback(1002, 0, b"", prog=12345))
    connection.send(callback(1003, 0, b"", vers=9))
    env.eventually(lambda: len(replies) == 304, within=5, what="304 replies")
    last = {nfs.u32(r): r for r in replies}
    assert [accept_stat(last[x]) for x in (1001, 1002, 1003)] == [3, 1, 2]
    h.good(lines=0)
    for _ in range(400):
        send([callback(i, 0, b"") for i in range(50)])
    h.good(lines=0)


@suite.test("a server that calls and does not read the answers is cut off", timeout=60)
def unread_callbacks(env):
    h = Hostile(env)
    connection = h.proxy.current()
    connection.reading.clear()
    flood = b"".join(callback(i, 0, b"") for i in range(1000))
    try:
        for _ in range(2000):
            connection.send(flood)
        raise AssertionError("2,000,000 calls were taken")
    except OSError:
        connection.reading.set()
    h.good(lines=1)
    connection = h.proxy.current()
    connection.send(record(callback(1, 1, b"")[4:] + bytes(20000)))
    h.good(lines=1)


# For a long time


@suite.test("a server that sends nothing but garbage keeps neither CPU nor log busy", timeout=120)
def always_garbage(env):
    h = Hostile(env)
    h.proxy.arm(lambda _, r: record(r[:len(r) - 4]), times=1_000_000)
    busy = h.cpu()
    failed = threading.Thread(target=lambda: env.fails(errno.EIO, os.stat, h.path("big")))
    failed.start()
    time.sleep(8)
    busy = h.cpu() - busy
    made = len(h.proxy.connections) - h.connections
    assert busy < 0.4 * env.slowness(), f"{busy} s of CPU in 8 s"
    assert 2 < made < 20, f"{made} connections in 8 s"
    failed.join(30)
    assert not failed.is_alive(), "stat(2) waits for ever"
    lines = h.log().count("\n")
    assert lines <= 14, h.log()
    assert "clone" not in h.log(), h.log()
    h.proxy.disarm()
    time.sleep(6)
    stat(h)
    h.log_start = os.path.getsize(h.mount.log)
    h.connections = len(h.proxy.connections)
    h.good()


@suite.test("a server that is garbage now and then keeps neither CPU nor log busy", timeout=60)
def often_garbage(env):
    h = Hostile(env)
    busy, deadline, turns = h.cpu(), time.monotonic() + 5, 0
    while time.monotonic() < deadline:
        h.proxy.arm(damaged(lambda r: setattr(r, "tail", bytes(4))), nfs.LOOKUP)
        stat(h)
        turns += 1
    busy = h.cpu() - busy
    assert 20 < turns < 60, f"{turns} reconnects in 5 s"
    assert busy < 0.4 * env.slowness(), f"{busy} s of CPU in 5 s"
    lines = h.log().count("\n")
    assert lines <= 25, f"{lines} lines:\n{h.log()}"


@suite.test("random damage to any reply loses nothing that was acknowledged", timeout=200)
def random_damage(env):
    h = Hostile(env, "noac,timeo=10")
    rng = random.Random(20)
    lock = threading.Lock()

    def flip(_, data):
        with lock:
            if rng.random() < 0.95:
                return record(data)
            damaged_data = bytearray(record(data))
            for _ in range(rng.choice((1, 1, 1, 4, 32))):
                # mostly where the structure is, not in file data
                at = int(len(damaged_data) * rng.random() ** 3)
                damaged_data[at] ^= 1 << rng.randrange(8)
            return bytes(damaged_data)
    kept, failures = {}, 0
    deadline = time.monotonic() + 60
    h.proxy.arm(flip, times=1_000_000_000)
    for i in range(60):
        data = rng.randbytes(rng.randrange(1, 200_000))
        try:
            fd = os.open(h.path(f"r{i}"), os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                ok = os.pwrite(fd, data, 0) == len(data)
                os.fsync(fd)
            finally:
                os.close(fd)
            if ok:
                kept[f"r{i}"] = data
            os.listdir(h.path("d"))
            os.stat(h.path("big"))
            os.rename(h.path(f"r{i}"), h.path(f"k{i}"))
            kept[f"k{i}"] = kept.pop(f"r{i}")
        except OSError:
            failures += 1
        if time.monotonic() > deadline:
            break
    h.proxy.disarm()
    assert h.proxy.hits > 200, h.proxy.hits
    assert len(kept) > i / 2, f"{len(kept)} of {i + 1} worked"
    deadline = time.monotonic() + 20
    while True:  # attributes that were damaged are trusted for a second, a backoff takes five
        try:
            stat(h)
            break
        except (OSError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    for name, data in kept.items():
        # a rename whose reply was lost in garbage may have failed and been done
        found = [n for n in (name, name.replace("r", "k")) if os.path.exists(env.on_disk(n))]
        assert found and read(env.on_disk(found[0])) == data, name
    print(f"# {len(kept)} of {i + 1} files, {failures} failures, {h.proxy.hits} replies, "
          f"{len(h.proxy.connections)} connections", flush=True)
    h.log_start = os.path.getsize(h.mount.log)
    h.connections = len(h.proxy.connections)
    h.good()


if __name__ == "__main__":
    suite.main()
