# SPDX-License-Identifier: LGPL-2.1-or-later
"""A gateway of the test's own, a server behind it that the test plays, and guests in front of it.

A test is a function that gets a Bench; run() prints one TAP point for each.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from ganesha import die_with_parent  # noqa: E402

WAIT = 30  # seconds: far more than anything here takes
BUILD = os.environ.get("VSOCKFS_BUILD") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build")


class Skip(Exception):
    """What is needed is not there; the text says what."""


def program(name):
    return os.path.join(BUILD, "src", "gateway", name)


def eventually(condition, what="it"):
    deadline = time.monotonic() + WAIT
    while not (got := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {WAIT} s"
        time.sleep(0.01)
    return got


class Server:
    """A TCP server on 127.0.0.1 whose connections the test holds in its hands."""

    def __init__(self, port=0, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.socket.listen(1024)
        self.socket.settimeout(WAIT)
        self.port = self.socket.getsockname()[1]

    def accept(self):
        """(connection, address it comes from, port it comes from)"""
        connection, peer = self.socket.accept()
        connection.settimeout(WAIT)
        return connection, peer[0], peer[1]

    def echo(self):
        """Answers every byte with itself, on all connections, until close()."""
        def serve(connection):
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(self.accept()[0],), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return self

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Gateway:
    """vsockfs-gateway with these lines as its configuration."""

    def __init__(self, bench, conf, *args, wait=True, **popen):
        self.bench = bench
        self.conf = os.path.join(bench.work, f"gateway{bench.number()}.conf")
        self.log_name = self.conf + ".log"
        self.write(conf)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(self.conf + ".notify")
        os.chmod(self.conf + ".notify", 0o777)  # as the service manager's
        self.notified.settimeout(WAIT)
        env = dict(os.environ, NOTIFY_SOCKET=self.conf + ".notify")
        with open(self.log_name, "wb") as log:
            self.process = subprocess.Popen(
                [program("vsockfs-gateway"), "-c", self.conf, *bench.args, *args],
                stdout=log, stderr=log, env=env, preexec_fn=die_with_parent,
                **{"stdin": subprocess.DEVNULL, **popen})
        if wait:
            self.wait_for("READY=1")

    def write(self, conf):
        with open(self.conf, "w") as f:
            f.write(conf)

    def wait_for(self, word):
        """The service manager is told so."""
        while True:
            try:
                if word in self.notified.recv(1024).decode():
                    return
            except socket.timeout:
                raise AssertionError(f"no {word}:\n{self.log()}")

    def reload(self, conf):
        self.write(conf)
        self.process.send_signal(signal.SIGHUP)
        self.wait_for("READY=1")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def log(self):
        with open(self.log_name, errors="replace") as f:
            return f.read()

    def logs(self, *words):
        """Waits for a line with all these words; returns it."""
        def find():
            for line in self.log().splitlines():
                if all(w in line for w in words):
                    return line
            return None
        return eventually(find, f"a line with {words} in\n{self.log()}\n")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(WAIT)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.notified.close()


class Bench:
    """What one test works with: a directory and everything that ends with the test."""

    def __init__(self, stack, args):
        self.stack = stack
        self.args = args
        self.work = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsockfs-gw-"))
        os.chmod(self.work, 0o755)
        if os.geteuid() == 0:
            os.chown(self.work, 65534, 65534)  # who the gateway is after its start
        self.count = 0

    def number(self):
        self.count += 1
        return self.count

    def server(self, *args, **more):
        server = Server(*args, **more)
        self.stack.callback(server.close)
        return server

    def gateway(self, conf, *args, **more):
        gateway = Gateway(self, conf, *args, **more)
        self.stack.callback(gateway.close)
        return gateway

    def path(self, guest):
        """The hypervisor's socket of this guest, without the port."""
        return os.path.join(self.work, guest)

    def connect(self, guest, port=2049):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(WAIT)
        s.connect(f"{self.path(guest)}_{port}")
        self.stack.callback(s.close)
        return s

    def connect_late(self, guest):
        """As connect, when the queue may still be full of those who have gone."""
        def connected():
            try:
                return self.connect(guest)
            except BlockingIOError:
                return None
        return eventually(connected, "a connection")

    def conf(self, server, *guests):
        """Rules for guests (name, settings...), at 127.0.1.1 and so on."""
        lines = [f"server 127.0.0.1:{server.port}"]
        for i, (name, *settings) in enumerate(guests, 1):
            lines.append(" ".join([f"guest vsock:{self.path(name)} address=127.0.1.{i}",
                                   *settings]))
        return "\n".join(lines) + "\n"


def is_closed(s):
    """Whether the other side has closed (waits for it)."""
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True


def run_one(test, bench):
    """What failed is told before things end: their end may hang for the same reason."""
    try:
        test(bench)
    except Skip:
        raise
    except Exception:
        for line in traceback.format_exc().splitlines():
            print("#", line, file=sys.stderr, flush=True)
        raise


def run(tests, args=()):
    failed = 0
    print(f"1..{len(tests)}")
    for i, test in enumerate(tests, 1):
        title = test.__doc__.split("\n")[0]
        try:
            with contextlib.ExitStack() as stack:
                run_one(test, Bench(stack, list(args)))
            print(f"ok {i} - {title}", flush=True)
        except Skip as why:
            print(f"ok {i} - {title} # SKIP {why}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {i} - {title}", flush=True)
    sys.exit(1 if failed else 0)
