#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The session layer against nfs-ganesha, without FUSE: many compounds from several workers while
the server dies and connections break. See session.c."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from ganesha import serving
from harness import build_path

PROGRAM = build_path("tests", "e2e", "session")
DEADLINE = 120


class Cutter:
    """Carries TCP connections to `port`, and cuts all of them when asked to, amid the bytes."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.pairs = []
        self.refusing = False
        self.lock = threading.Lock()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
                if self.refusing:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            with self.lock:
                self.pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(3001):  # not at the borders of records
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, most=None):
        """At most so many; how many it were."""
        with self.lock:
            count = len(self.pairs) if most is None else most
            pairs, self.pairs = self.pairs[:count], self.pairs[count:]
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        return len(pairs)


def start(port, workers, compounds):
    process = subprocess.Popen(
        [PROGRAM, f"tcp:127.0.0.1:{port}:/export", str(workers), str(compounds)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = process.stdout.readline()
    assert first.startswith("ready"), first + process.stdout.read()
    return process


def finish(process):
    """The counts that the program prints, once it has ended well."""
    try:
        text, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"no end after {DEADLINE} s\n{process.communicate()[0]}") from None
    assert process.returncode == 0, f"status {process.returncode}\n{text[-3000:]}"
    done = [line for line in text.splitlines() if line.startswith("done:")]
    return {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", done[0])}


def quiet(server, export):
    counts = {}
    for workers in (1, 2, 4):
        counts = finish(start(server.port, workers, 5000))
        assert counts["calls"] == counts["replies"] >= 5000
        assert counts["retransmits"] == counts["reclaims"] == 0
        assert counts["connects"] == workers
        assert os.listdir(export) == []


def restarts(server, export):
    process = start(server.port, 3, 80000)
    for _ in range(2):
        time.sleep(0.4)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        server.start(server.port)
    counts = finish(process)
    assert counts["reclaims"] == 2, counts
    assert counts["connects"] >= 3 * 3
    assert os.listdir(export) == []


def cuts(server, export):
    cutter = Cutter(server.port)
    process = start(cutter.listener.getsockname()[1], 3, 60000)
    cut = 0
    while process.poll() is None and cut < 60:
        time.sleep(0.1)
        cut += cutter.cut()
    counts = finish(process)
    cutter.listener.close()
    assert cut >= 6, "too quick to be cut"
    assert counts["retransmits"] > 0
    # the session outlived them all, and nothing was executed twice (the program would have failed)
    assert counts["reclaims"] == 0
    assert os.listdir(export) == []


def siblings(server, export):
    cutter = Cutter(server.port)
    process = start(cutter.listener.getsockname()[1], 4, 60000)
    time.sleep(0.3)
    cutter.refusing = True
    # and now one after the other, until a single one has to do it all
    cut = 0
    for _ in range(3):
        cut += cutter.cut(1)
        time.sleep(0.7)
    counts = finish(process)
    cutter.refusing = False
    cutter.listener.close()
    assert cut == 3, "too quick to be cut"
    assert counts["retransmits"] > 0 and counts["reclaims"] == 0, counts
    assert os.listdir(export) == []


def twins(server, export):
    program = build_path("tests", "e2e", "twin")
    process = subprocess.Popen([program, f"tcp:127.0.0.1:{server.port}:/export"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        text, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"no end after {DEADLINE} s\n{process.communicate()[0]}") from None
    assert process.returncode == 0, f"status {process.returncode}\n{text[-3000:]}"
    lines = text.splitlines()
    # who comes first goes on with session, client id and lock
    assert "a: made 20 other 0 lost 0 write 0" in lines, text
    assert "a: again 0" in lines, text
    # the other one has become somebody else, and its lock is gone
    assert "b: made 20 other 1 lost 1 write -5" in lines, text
    assert "b: again -5" in lines, text
    assert text.count("is a clone") == 1, text
    made = {f"{name}{i}" for name in "ab" for i in range(20)}
    assert set(os.listdir(export)) == made | {"file"}
    with open(os.path.join(export, "file"), encoding="ascii") as file:
        assert file.read() == "a"
    os.unlink(os.path.join(export, "file"))
    for name in made:
        os.rmdir(os.path.join(export, name))


def main():
    points = ((quiet, "compounds of one, two and four workers, each executed once"),
              (restarts, "a server that is killed and started again"),
              (cuts, "connections that are cut again and again"),
              (siblings, "connections that do not come back: the others carry on for them"),
              (twins, "a guest that was restored twice from one snapshot"))
    failed = 0
    with serving("session") as (server, export):
        for number, (point, title) in enumerate(points, 1):
            try:
                point(server, export)
                print(f"ok {number} - {title}", flush=True)
            except AssertionError as why:
                failed += 1
                print(f"not ok {number} - {title}", flush=True)
                for line in (str(why) or "assertion").splitlines():
                    print("#", line)
    print(f"1..{len(points)}")
    return 1 if failed else 0


sys.exit(main())
