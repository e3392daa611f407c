#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One guest does its worst; the others are served, and the gateway stays small and whole."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

from fixture import WAIT, eventually, is_closed, run

PIECE = os.urandom(65536)


def resident(gateway):
    """KiB"""
    with open(f"/proc/{gateway.process.pid}/status") as f:
        return int(next(line.split()[1] for line in f if line.startswith("VmRSS")))


def echoes(s, times=1, piece=b"0123456789abcdef"):
    for _ in range(times):
        s.sendall(piece)
        got = bytearray()
        while len(got) < len(piece):
            block = s.recv(1 << 18)
            assert block, "closed"
            got += block
        assert got == piece


@contextlib.contextmanager
def in_background(*functions):
    """Runs the functions again and again until the end of the block."""
    ends = threading.Event()

    def again(function):
        while not ends.is_set():
            with contextlib.suppress(OSError):
                function()
    threads = [threading.Thread(target=again, args=(f,), daemon=True) for f in functions]
    for t in threads:
        t.start()
    try:
        yield
    finally:
        ends.set()
        for t in threads:
            t.join(WAIT)


def connector(bench, guest, counter):
    def connect():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(0.1)
            s.connect(f"{bench.path(guest)}_2049")
            s.send(b"x")
            counter.append(1)
    return connect


def thousands_of_connects(bench):
    """thousands of connections, made and dropped as fast as can be"""
    server = bench.server().echo()
    gateway = bench.gateway(bench.conf(server, ("a", "connects=100000"), ("b",)))
    before = gateway.descriptors()
    made = []
    with in_background(connector(bench, "a", made), connector(bench, "a", made)):
        eventually(lambda: len(made) > 100, "the flood")
        while len(made) < 4000:
            s = bench.connect("b")
            echoes(s, 20)
            s.close()
            time.sleep(0.2)  # b may not connect too often either
    echoes(bench.connect_late("a"))
    eventually(lambda: gateway.descriptors() <= before + 2 * 2, "the end of all connections")
    assert resident(gateway) < 64 << 10
    # one line each would have been thousands
    assert len(gateway.log().splitlines()) < 60
    assert gateway.stop() == 0


def too_often(bench):
    """connects= slows down who connects too often, and is no punishment afterwards"""
    server = bench.server().echo()
    bench.gateway(bench.conf(server, ("a", "connects=5 connections=5"), ("b",)))
    made = []
    start = time.monotonic()
    with in_background(connector(bench, "a", made)):
        while time.monotonic() - start < 3:
            s = bench.connect("b")
            echoes(s, 10)
            s.close()
            time.sleep(0.1)
    echoes(bench.connect_late("a"))


def slow_readers(bench):
    """a guest that never reads: what the server has for it is not kept here"""
    server = bench.server()
    gateway = bench.gateway(bench.conf(server, ("a", "connects=1000"), ("b",)))
    stuck = []
    for _ in range(60):
        stuck.append(bench.connect("a"))
        c, _, _ = server.accept()
        c.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                c.send(PIECE)
        stuck.append(c)
    server.echo()
    b = bench.connect("b")
    echoes(b, 100, PIECE)
    assert resident(gateway) < 64 << 10, resident(gateway)
    for s in stuck:
        s.close()
    echoes(bench.connect("a"))


def never_reading_server(bench):
    """a server that does not read: the guest is held back, and its end is noticed"""
    server = bench.server()
    gateway = bench.gateway(bench.conf(server, ("a",), ("b",)))
    s = bench.connect("a")
    c, _, _ = server.accept()
    s.settimeout(1)
    sent = 0
    with contextlib.suppress(socket.timeout):
        while sent < 1 << 30:
            sent += s.send(PIECE)
    assert sent < 64 << 20, sent
    assert resident(gateway) < 64 << 10
    c.close()
    assert is_closed(s) or is_closed(s)


def half_open(bench):
    """streams that begin a call and leave it at that use up the guest's own share only"""
    server = bench.server().echo()
    gateway = bench.gateway(
        bench.conf(server, ("a", "connections=64 connects=1000 idle=2s"), ("b",)))
    streams = [bench.connect("a") for _ in range(64)]
    for s in streams:
        s.sendall(b"\x80\x00")
    late = bench.connect("a")
    late.sendall(b"x")
    echoes(bench.connect("b"), 100)
    # they end by themselves, and then there is room
    assert late.recv(1) == b"x"
    gateway.logs("idle for too long")


def flood(bench):
    """16 connections that move all they can do not starve one of another guest"""
    server = bench.server().echo()
    gateway = bench.gateway(bench.conf(server, ("a", "connects=1000"), ("b",)))
    streams = [bench.connect("a") for _ in range(16)]

    def pump(s):
        return lambda: echoes(s, 1, PIECE * 4)
    with in_background(*(pump(s) for s in streams)):
        echoes(bench.connect("b"), 200)
        echoes(bench.connect("b"), 50, PIECE)
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(WAIT) == 0


TESTS = [thousands_of_connects, too_often, slow_readers, never_reading_server, half_open, flood]

if __name__ == "__main__":
    wanted = sys.argv[sys.argv.index("-k") + 1] if "-k" in sys.argv else ""
    io = ["--io", sys.argv[sys.argv.index("--io") + 1]] if "--io" in sys.argv else []
    run([t for t in TESTS if wanted in t.__name__], io)
