# SPDX-License-Identifier: LGPL-2.1-or-later
"""End-to-end tests: a real server, a real mount, one TAP point per behaviour.

A test program makes a Suite, marks functions with @suite.test("what must hold"), and calls
suite.main(). Each function runs in a child process of its own, in a directory of its own, and
passes when it returns; the parent never touches the mount, so that a hang is seen, shown (stacks
of the daemon and of the program that waits) and ended. What the functions get is an Env.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import compare
import ring
from ganesha import Ganesha, Unavailable, die_with_parent
from mounts import (Mount, MountFailed, guards_of, identity, kernel_stacks, mountinfo,
                    stacks)

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORK_PARENT = "/var/tmp"  # a real disk: file handles do not exist on every tmpfs and overlay
WORK_PREFIX = "vsockfs-e2e-"
EXPORT = "/export"
# what nothing on the server can announce is seen after the attribute timeout of 1 s
SEEN_WITHIN = 1.25

# A shell's background jobs ignore them, and all that they start would do so too.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


def say(text):
    """A diagnostic: meson shows the standard error of what failed."""
    for line in text.rstrip("\n").split("\n"):
        print("#", line, file=sys.stderr, flush=True)


def need(*tools):
    """Skips unless these programs are installed."""
    missing = [t for t in tools if not shutil.which(t)]
    if missing:
        raise Skip(f"{', '.join(missing)} not installed")


def build_path(*parts):
    return os.path.join(os.environ.get("VSOCKFS_BUILD", os.path.join(ROOT, "build")), *parts)


def preloaded(paths, command):
    """With vsock addresses that are sockets in `paths`."""
    return [shutil.which("env"), "LD_PRELOAD=" + build_path("tests", "e2e", "libvsock_paths.so"),
            "VSOCK_PATHS=" + paths,
            "ASAN_OPTIONS=verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", ""), *command]


def sweep_work():
    """Removes what harnesses that were killed left: their lock is free."""
    for name in os.listdir(WORK_PARENT):
        if not name.startswith(WORK_PREFIX):
            continue
        work = os.path.join(WORK_PARENT, name)
        try:
            with open(os.path.join(work, "lock"), "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_work(work)
        except OSError:
            continue


def make_work():
    """A directory of one's own, and the lock that says so: it is there only when that is held."""
    new = tempfile.mkdtemp(prefix="new-" + WORK_PREFIX, dir=WORK_PARENT)
    os.chmod(new, 0o755)
    lock = open(os.path.join(new, "lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    work = os.path.join(WORK_PARENT, os.path.basename(new).removeprefix("new-"))
    os.rename(new, work)
    return work, lock


def mounts_below(directory):
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4] for line in f]
    return [p for p in reversed(points) if p.startswith(directory + "/")]


def remove_work(work):
    for point in mounts_below(work):
        subprocess.run(["umount", "-l", point], check=False)
    shutil.rmtree(work, ignore_errors=True)


class Env:
    """What one test function works with."""

    def __init__(self, suite, number):
        self.suite = suite
        self.name = f"t{number:02}"
        self.work = suite.work
        self.export = suite.export                      # the export's root on the disk
        self.root = suite.mount.point                   # and through the mount
        self.disk = os.path.join(self.export, self.name)
        self.mnt = os.path.join(self.root, self.name)
        self.nfs = "/" + self.name                      # for the witness
        self.port = suite.server.port
        self.daemon = suite.mount
        self.stack = contextlib.ExitStack()
        self.mount_count = 0

    def path(self, *parts):
        return os.path.join(self.mnt, *parts)

    def on_disk(self, *parts):
        return os.path.join(self.disk, *parts)

    def scratch(self, name):
        """A path on the local disk, outside the export."""
        directory = os.path.join(self.work, "scratch-" + self.name)
        os.makedirs(directory, exist_ok=True)
        return os.path.join(directory, name)

    def mount(self, options="", **more):
        """Another mount of the export, unmounted when the test ends; see Suite.new_mount."""
        self.mount_count += 1
        point = os.path.join(self.work, f"{self.name}-mnt{self.mount_count}")
        return self.stack.enter_context(self.suite.new_mount(point, options, **more))

    def server(self, **ganesha):
        """A server of this test alone, which it may kill; see Server."""
        return self.stack.enter_context(Server(self, ganesha))

    def witness_command(self, command, *paths):
        return [build_path("tests", "e2e", "witness"), str(self.port), EXPORT, command, *paths]

    def witness(self, command, *paths, data=None):
        """Runs the libnfs client and returns what it printed."""
        done = subprocess.run(self.witness_command(command, *paths), input=data or b"",
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def same(self, *parts, libnfs=True):
        """The mount, the disk and libnfs agree on every entry and every byte below parts."""
        disk = compare.snapshot(self.on_disk(*parts))
        here = compare.snapshot(self.path(*parts))
        if "writeback" in self.suite.options:
            # of what the server does by itself (COPY, ALLOCATE) the kernel keeps its own time
            here = {name: entry._replace(mtime_ns=None) for name, entry in here.items()}
        lines = compare.differences(here, disk, "mount", "disk")
        if libnfs:
            told = compare.witnessed(
                self.witness_command("tree", os.path.join(self.nfs, *parts)))
            lines += compare.differences(told, disk, "libnfs", "disk")
        assert not lines, "\n".join(lines)
        return disk

    @staticmethod
    def run(command, **more):
        """Runs a command that must succeed; returns its standard output as text."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, shell=isinstance(command, str), **more)
        text = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{command}: status {done.returncode}\n{text[-2000:]}"
        return text

    @staticmethod
    def eventually(condition, within=SEEN_WITHIN, what="it"):
        """Waits until condition() holds; fails when it does not within that many seconds."""
        start = time.monotonic()
        while not condition():
            waited = time.monotonic() - start
            assert waited <= within, f"{what} not seen within {within} s"
            time.sleep(0.01)
        return time.monotonic() - start

    @staticmethod
    def fails(number, call, *args, **more):
        """call(*args) must fail with this errno."""
        try:
            call(*args, **more)
        except OSError as e:
            assert e.errno == number, (f"{call.__name__}{args}: {errno_name(e.errno)}, "
                                       f"not {errno_name(number)}")
            return
        raise AssertionError(f"{call.__name__}{args} succeeded, not {errno_name(number)}")

    @staticmethod
    def slowness():
        """How many times longer a program may take: sanitizers are slow."""
        return 5 if os.environ.get("VSOCKFS_SANITIZED") == "1" else 1

    @staticmethod
    def times(number):
        """Of so many that are alike: fewer under memcheck, which sees enough in a few of them."""
        return number // 5 if os.environ.get("VSOCKFS_MEMCHECK") == "1" else number

    @staticmethod
    def child(function, *args):
        """Runs function(*args) in a forked process; returns it, for join()."""
        return Child(function, args)

    @staticmethod
    def as_user(user, command, groups=()):
        return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, **identity(user, groups))


def errno_of(call, *args):
    """With which it fails; 0: it does not."""
    try:
        call(*args)
    except OSError as e:
        return e.errno
    return 0


def errno_name(number):
    import errno
    return errno.errorcode.get(number, str(number))


class Child:
    """A forked process that runs one function; join() fails as the function failed."""

    def __init__(self, function, args):
        self.read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            report(write_end, function, args)
        os.close(write_end)

    def join(self):
        with os.fdopen(self.read_end, "rb") as f:
            text = f.read().decode(errors="replace")
        os.waitpid(self.pid, 0)
        assert text == "ok", text or "the child died"


def report(fd, function, args):
    """Runs the function, writes "ok", "skip REASON" or the failure into fd, and exits."""
    try:
        function(*args)
        text = "ok"
    except Skip as e:
        text = f"skip {e}"
    except AssertionError as e:
        where = traceback.extract_tb(e.__traceback__)
        spots = [f"{os.path.basename(s.filename)}:{s.lineno}: {s.line}" for s in where
                 if s.filename != __file__]
        text = "\n".join([str(e) or "assertion failed", *spots])
    except BaseException:
        text = traceback.format_exc()
    with os.fdopen(fd, "wb") as f:
        f.write(text.encode(errors="replace"))
    sys.stdout.flush()
    os._exit(0)


def why(text):
    """The line that says most of what report() wrote of a failure."""
    lines = text.strip().splitlines() or [""]
    return lines[-1 if lines[0].startswith("Traceback") else 0]


class Suite:
    def __init__(self, options="", transport="unix", ganesha=None, prepare=None):
        """options: for every mount; ganesha: keyword arguments for the server;
        prepare(export): what to do on the disk before the server starts."""
        self.options = options
        self.prepare = prepare
        self.transport = transport
        self.ganesha = ganesha or {}
        self.tests = []
        self.number = 0
        self.failed = 0
        self.server = self.relay = self.mount = self.lock = None

    def test(self, title, timeout=30):
        def mark(function):
            self.tests.append((title, timeout, function))
            return function
        return mark

    def include(self, part):
        """The points of another suite, which is not run itself."""
        self.tests += part.tests

    # Fixture

    def program(self):
        return os.environ.get("VSOCKFS", build_path("src", "vsockfs"))

    def reachable_program(self, user):
        """The build directory may be closed to other users: they run a copy."""
        if user is None:
            return self.program()
        copy = os.path.join(self.work, "vsockfs")
        if not os.path.exists(copy):
            shutil.copy(self.program(), copy)
        return copy

    def source(self, transport=None, export=EXPORT):
        if (transport or self.transport) == "tcp":
            return f"tcp:127.0.0.1:{self.server.port}:{export}"
        return f"unix:{self.work}/sock:{export}"

    def new_mount(self, point, options="", transport=None, export=EXPORT, user=None,
                  background=False):
        """Suite options come first, so that a test's own word for the same thing wins."""
        words = ",".join(w for w in (self.options, options) if w)
        if user is not None:
            os.makedirs(point, exist_ok=True)
            shutil.chown(point, user)
        return Mount(self.reachable_program(user), self.source(transport, export), point, words,
                     user=user, background=background)

    def set_up(self):
        Ganesha.check()
        if not os.path.exists(self.program()):
            raise RuntimeError(f"{self.program()} is not built")
        if not os.path.exists("/dev/fuse"):
            raise Unavailable("/dev/fuse does not exist")
        if "fuse_uring=on" in self.options.split(","):
            ring.check()
        sweep_work()
        self.work, self.lock = make_work()
        self.export = os.path.join(self.work, "export")
        os.mkdir(self.export)
        if self.prepare:
            self.prepare(self.export)
        self.server = Ganesha(self.work, self.export, EXPORT, **self.ganesha).start()
        self.relay = start_relay(f"unix:{self.work}/sock", self.server.port)
        self.mount = self.new_mount(os.path.join(self.work, "mnt")).start()

    def tear_down(self):
        if self.mount:
            self.mount.kill()
        for process in (self.relay, self.server and self.server.process):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self.lock:
            if self.failed:
                self.keep_logs()
            if not self.keep:
                remove_work(self.work)

    def keep_logs(self):
        kept = build_path("tests", "e2e", "logs", os.path.basename(sys.argv[0]))
        os.makedirs(kept, exist_ok=True)
        for name in os.listdir(self.work):
            if name.endswith(".log"):
                shutil.copy(os.path.join(self.work, name), kept)
        say(f"logs are in {kept}")

    # Points

    def point(self, title, text):
        """Prints one TAP point from what report() wrote."""
        self.number += 1
        if text == "ok":
            print(f"ok {self.number} - {title}", flush=True)
        elif text.startswith("skip "):
            print(f"ok {self.number} - {title} # SKIP {text[5:]}", flush=True)
        else:
            self.failed += 1
            print(f"not ok {self.number} - {title}\n# {why(text)}", flush=True)
            say(text)

    def run_test(self, title, timeout, function):
        env = Env(self, self.number + 1)
        os.mkdir(env.disk)
        read_end, write_end = os.pipe()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.close(read_end)
            report(write_end, run_in_env, (env, function))
        os.close(write_end)
        text = self.await_report(pid, read_end, timeout * env.slowness())
        self.end_group(pid)
        died = self.mount.dead()
        if died:
            text = f"{died}\n{self.mount.log_tail()}\n{'' if text == 'ok' else text}"
        self.point(title, text)
        print(f"# {time.monotonic() - started:.1f} s", flush=True)
        if not text.startswith(("ok", "skip ")):
            say("ends of the logs:")
            say(self.server.log_tail(3) + self.mount.log_tail(10))
        if not self.mount.process or died:
            self.mount.kill()
            self.mount = self.new_mount(self.mount.point).start()

    def await_report(self, pid, read_end, timeout):
        text = b""
        deadline = time.monotonic() + timeout
        with os.fdopen(read_end, "rb", buffering=0) as f:
            while True:
                ready, _, _ = select.select([f], [], [], max(0, deadline - time.monotonic()))
                if not ready:
                    return self.hang(pid, timeout)
                block = f.read(65536)
                if not block:
                    return text.decode(errors="replace") or "the test process died"
                text += block

    def hang(self, pid, timeout):
        """Shows where everybody waits, then frees them; run_test mounts afresh."""
        text = f"no end after {timeout} s\n" + kernel_stacks(pid)
        daemons = {p: None for p in self.mount.pids()}
        for point in mounts_below(self.work):
            for p in Mount(None, None, point).pids():
                daemons[p] = None
        for p in daemons:
            text += f"vsockfs {p}:\n{stacks(p)}"
        self.mount.kill()
        self.mount.process = None
        return text

    def end_group(self, pid):
        """Ends what a test left: its mounts first, so that no process waits on one."""
        for point in mounts_below(self.work):
            if point != self.mount.point and not point.startswith(self.export + "/"):
                Mount(None, None, point).kill()
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)

    def finish(self):
        """The last point of every suite: unmounting leaves nothing behind."""
        pids = self.mount.pids() + guards_of(self.mount.point)
        try:
            self.mount.umount()
            text = "ok"
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            text = str(e)
        left = [p for p in pids if os.path.exists(f"/proc/{p}")]
        if text == "ok" and (left or mountinfo(self.mount.point)):
            text = f"processes {left} and mount {mountinfo(self.mount.point)} are left"
        if text == "ok" and "Sanitizer" in self.mount.log_tail(10000):
            text = self.mount.log_tail(100)
        self.point("unmount leaves no mount and no process behind", text)

    def main(self):
        parser = argparse.ArgumentParser()
        parser.add_argument("-o", default="", help="mount options, added to the suite's own")
        parser.add_argument("-t", choices=("unix", "tcp"), help="transport")
        parser.add_argument("-k", default="", help="only tests whose title contains this")
        parser.add_argument("--keep", action="store_true", help="keep the work directory")
        args = parser.parse_args()
        self.options = ",".join(w for w in (self.options, args.o) if w)
        self.transport = args.t or self.transport
        self.keep = args.keep
        chosen = [t for t in self.tests if args.k in t[0]]
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        os.umask(0o022)
        try:
            self.set_up()
            for test in chosen:
                self.run_test(*test)
            self.finish()
            print(f"1..{self.number}")
        except Unavailable as e:
            print(f"1..0 # SKIP {e}")
        except (MountFailed, RuntimeError) as e:
            self.point("the server runs and the export is mounted", str(e))
            print(f"1..{self.number}")
        finally:
            self.tear_down()
        sys.exit(1 if self.failed else 0)


class Server:
    """nfs-ganesha with an export of its own, to be killed, started again and cut off. Every mount
    has its own relay: mount.relay.

    A process of its own keeps the server: whoever starts a program closes the descriptors that it
    inherits, and on a mount whose server is away that waits for the server.
    """

    def __init__(self, env, ganesha):
        self.env = env
        self.directory = os.path.join(env.work, f"{env.name}-server")
        self.export = os.path.join(self.directory, "export")
        self.ganesha = ganesha
        self.relays = []

    def __enter__(self):
        os.makedirs(self.export, exist_ok=True)
        self.orders, orders = socket.socketpair()
        self.keeper = os.fork()
        if self.keeper == 0:
            self.orders.close()
            report(os.open(os.devnull, os.O_WRONLY), self.keep, (orders,))
        orders.close()
        self.port = self.order("start")
        return self

    def __exit__(self, *_):
        for relay in self.relays:
            relay.kill()
            relay.wait()
        self.orders.close()
        os.waitpid(self.keeper, 0)

    def keep(self, orders):
        server = Ganesha(self.directory, self.export, EXPORT, **self.ganesha)
        server.log = self.directory + ".log"
        started = 0
        with orders:
            while order := orders.recv(64):
                if order == b"kill":
                    server.kill()
                else:
                    # ganesha's verifiers are the second in which it started
                    time.sleep(max(0, started + 1 - time.time()))
                    server.start(server.port)
                    started = int(time.time()) + 1
                orders.send(b"%d" % server.port)
        if server.process.poll() is None:
            server.kill()

    def order(self, what):
        self.orders.send(what.encode())
        answer = self.orders.recv(64)
        assert answer, f"{what} of the server failed:\n" + self.log_tail()
        return int(answer)

    def log_tail(self):
        with open(self.directory + ".log", errors="replace") as f:
            return "".join(f.readlines()[-10:])

    def kill(self):
        self.order("kill")

    def start(self):
        self.order("start")

    def restart(self, away=0.5):
        self.kill()
        time.sleep(away)
        self.start()

    def mount(self, options="", **more):
        number = len(self.relays) + 1
        sock = os.path.join(self.directory, f"sock{number}")
        relay = start_relay(f"unix:{sock}", self.port)
        self.relays.append(relay)
        words = ",".join(w for w in (self.env.suite.options, options) if w)
        mount = Mount(self.env.suite.program(), f"unix:{sock}:{EXPORT}",
                      f"{self.directory}-mnt{number}", words, **more)
        mount.relay = relay
        return self.env.stack.enter_context(mount)


def fds_below(directory):
    """Descriptors of files below it, whether these still exist or not."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists them is gone
            if os.readlink(f"/proc/self/fd/{fd}").startswith(directory + "/"):
                found.add(int(fd))
    return found


def held_open(pid, directory):
    """What a process has open below the directory: of a server, what its clients have."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return [link for link in links if link.startswith(directory + "/")]


def run_in_env(env, function):
    before = fds_below(env.work)
    with env.stack:
        try:
            function(env)
        finally:  # what the test left open would keep its own mounts busy
            os.chdir("/")
            for fd in fds_below(env.work) - before:
                with contextlib.suppress(OSError):
                    os.close(fd)


def start_relay(where, port):
    relay = subprocess.Popen([sys.executable, os.path.join(HERE, "relay.py"), where, str(port)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             preexec_fn=die_with_parent)
    if relay.stdout.readline() != b"ready\n":
        raise RuntimeError(f"relay {where} does not start")
    return relay


LIBC = ctypes.CDLL(None, use_errno=True)


def libc_call(name, *args):
    """A system call that Python's os module lacks; raises OSError."""
    result = getattr(LIBC, name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
