# SPDX-License-Identifier: LGPL-2.1-or-later
"""A service manager for one daemon: what systemd does for Type=notify with an fd store."""

import array
import os
import pickle
import signal
import socket
import threading
import time

from ganesha import die_with_parent
from mounts import stacks

READY_SECONDS = 30
STOP_SECONDS = 30


class Manager:
    """Serve's methods, called in a process of its own: whoever starts a program closes what it has
    inherited, and that of a file on a mount whose daemon is dead waits for the next daemon."""

    def __init__(self, *args):
        self.orders, orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = os.fork()
        if self.process == 0:
            self.orders.close()
            try:
                serve(orders, args)
            finally:
                os._exit(0)
        orders.close()

    def __getattr__(self, name):
        def call(*args):
            self.orders.send(pickle.dumps((name, args)))
            result = pickle.loads(self.orders.recv(1 << 20))
            if isinstance(result, Exception):
                raise result
            return result
        return call

    def close(self):
        self.orders.shutdown(socket.SHUT_RDWR)  # whoever else was forked with it
        self.orders.close()
        os.waitpid(self.process, 0)


def serve(orders, args):
    keeper = Keeper(*args)
    while order := orders.recv(1 << 20):
        name, args = pickle.loads(order)
        try:
            result = getattr(keeper, name)(*args)
        except Exception as e:
            result = RuntimeError(str(e))
        orders.send(pickle.dumps(result))
    keeper.kill()


class Keeper:
    """start(), kill() and start() again: the next daemon gets what the last one stored."""

    def __init__(self, directory, command, log):
        self.path = os.path.join(directory, "notify")
        self.command = command
        self.log = log
        self.store = []     # (name, descriptor)
        self.said = []      # messages that were neither FDSTORE nor FDSTOREREMOVE
        self.pid = None
        self.ready = threading.Event()
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self.listen, daemon=True).start()
        die_with_parent()

    def listen(self):
        while True:
            data, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64))
            fds = array.array("i")
            for _, kind, payload in ancillary:
                if kind == socket.SCM_RIGHTS:
                    fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
            self.hear(dict(line.split("=", 1) for line in data.decode().splitlines()), list(fds))

    def hear(self, message, fds):
        with self.lock:
            if message.get("FDSTORE") == "1":
                self.store += [(message["FDNAME"], fd) for fd in fds]
            elif message.get("FDSTOREREMOVE") == "1":
                for name, fd in [e for e in self.store if e[0] == message["FDNAME"]]:
                    self.store.remove((name, fd))
                    os.close(fd)
            else:
                self.said.append(message)
        if message.get("READY") == "1":
            self.ready.set()

    def names(self):
        with self.lock:
            return sorted(name for name, _ in self.store)

    def start(self, wait=True):
        self.ready.clear()
        with self.lock:
            store = list(self.store)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.run(store)
            finally:
                os._exit(127)
        if wait:
            self.wait_ready()
        return self.pid

    def run(self, store):
        die_with_parent()
        env = dict(os.environ, NOTIFY_SOCKET=self.path)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        # out of the way first: those to be handed over may themselves be numbered 3, 4, ...
        high = [os.dup(fd) for _, fd in store] + [os.dup(log)]
        while min(high) < 100:
            high = [os.dup(fd) for fd in high]
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(high[-1], 1)
        os.dup2(high[-1], 2)
        for i, fd in enumerate(high[:-1]):
            os.dup2(fd, 3 + i, inheritable=True)
        os.closerange(3 + len(store), 4096)
        if store:
            env.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(store)),
                       LISTEN_FDNAMES=":".join(name for name, _ in store))
        os.execve(self.command[0], self.command, env)

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready.wait(0.02):
            if self.ended():
                raise RuntimeError(f"the daemon ended before it was ready:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"not ready after {READY_SECONDS} s\n{stacks(self.pid)}"
                                   f"\n{self.tail()}")

    def ended(self):
        """The exit status (negative: a signal's), once."""
        if self.pid is None:
            return True
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.pid = None
        self.status = os.waitstatus_to_exitcode(status)
        return True

    def wait(self):
        deadline = time.monotonic() + STOP_SECONDS
        while not self.ended():
            if time.monotonic() > deadline:
                where = stacks(self.pid)
                self.kill()
                raise RuntimeError(f"the daemon does not end\n{where}")
            time.sleep(0.005)
        return self.status

    def kill(self, number=signal.SIGKILL):
        if self.pid is not None:
            os.kill(self.pid, number)
            if number == signal.SIGKILL:
                os.waitpid(self.pid, 0)
                self.pid = None

    def again(self):
        """What Restart=on-failure does."""
        self.kill()
        return self.start()

    def drop(self, name=None):
        """As when the service is stopped for good; or, by name, as if that was never stored."""
        with self.lock:
            for entry in [e for e in self.store if name in (None, e[0])]:
                os.close(entry[1])
                self.store.remove(entry)

    def second(self):
        """Another daemon is started beside the one that lives. Its exit status."""
        with self.lock:
            store = list(self.store)
        pid = os.fork()
        if pid == 0:
            try:
                self.run(store)
            finally:
                os._exit(127)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def heard(self):
        with self.lock:
            return self.said

    def change_options(self, more):
        self.command[-1] += more

    def spoil_state(self):
        for name, fd in self.store:
            if name == "vsockfs-state":
                os.pwrite(fd, b"\xff" * 64, 0)

    def tail(self, lines=40):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
