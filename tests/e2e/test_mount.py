#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounting and unmounting: background, exit statuses, messages, and what is left afterwards."""

import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from ganesha import free_port
from harness import EXPORT, Suite, errno_of, preloaded, start_relay
from mounts import Mount, mountinfo, processes_of
from test_basic import read, write

USAGE, SYSTEM, FAILURE = 1, 2, 32  # exit statuses of mount(8)

suite = Suite()


def attempt(env, source, point=None, options="", timeout=20):
    """Runs `vsockfs SOURCE POINT` in the background mode; what it printed and its status."""
    point = point or empty_point(env)
    command = [suite.program(), source, point] + (["-o", options] if options else [])
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, cwd="/")
    done.seconds = time.monotonic() - start
    done.point = point
    done.words = done.stderr.decode(errors="replace")
    return done


def empty_point(env):
    env.mount_count += 1
    point = os.path.join(env.work, f"{env.name}-point{env.mount_count}")
    os.makedirs(point, exist_ok=True)
    return point


def must_fail(env, status, source, *says, within=5, lines=1, **more):
    """One line on stderr that says each of these words, this status, nothing mounted, nobody
    left. A peer that breaks the protocol may be told of in a line of its own before."""
    done = attempt(env, source, **more)
    assert done.returncode == status, (done.returncode, done.words)
    assert 1 <= done.words.count("\n") <= lines, repr(done.words)
    assert done.words.endswith("\n") and done.words.startswith("vsockfs: "), repr(done.words)
    assert not done.stdout, done.stdout
    for word in says:
        assert word.lower() in done.words.lower(), f"no {word!r} in {done.words!r}"
    assert done.seconds < within, f"{done.seconds:.1f} s"
    assert not processes_of(done.point), "a process is left"
    return done


@suite.test("in the background it returns 0 when the mount works, silently, with one daemon")
def background(env):
    write(env.on_disk("f"), b"x")
    done = attempt(env, suite.source())
    try:
        assert (done.returncode, done.words, done.stdout) == (0, "", b""), done
        assert read(os.path.join(done.point, env.name, "f")) == b"x"
        pids = processes_of(done.point)
        assert len(pids) == 1, pids
        assert os.getsid(pids[0]) != os.getsid(0), "the daemon is in our session"
        assert os.readlink(f"/proc/{pids[0]}/cwd") == "/"
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pids[0]}/fd/{fd}") == "/dev/null"
        env.run(["umount", done.point])
        env.eventually(lambda: not os.path.exists(f"/proc/{pids[0]}"), within=10,
                       what="the daemon's end")
        assert os.listdir(done.point) == []
    finally:
        Mount(None, None, done.point).kill()


@suite.test("mountinfo shows the source and the type fuse.vsockfs")
def shown(env):
    _, fstype, source, _ = mountinfo(env.root)
    assert (fstype, source) == ("fuse.vsockfs", suite.source()), (fstype, source)
    assert env.run(["findmnt", "-n", "-o", "FSTYPE", env.root]).strip() == "fuse.vsockfs"


@suite.test("a subdirectory of the export is mounted as a root of its own")
def subdirectory(env):
    os.makedirs(env.on_disk("a/b"))
    write(env.on_disk("a/b/f"), b"deep")
    mount = env.mount(export=f"{EXPORT}/{env.name}/a")
    assert os.listdir(mount.point) == ["b"]
    assert read(os.path.join(mount.point, "b/f")) == b"deep"
    assert os.stat(os.path.join(mount.point, "..")).st_ino == os.stat(env.work).st_ino


@suite.test("the server's root is mounted with / and leads into the export")
def server_root(env):
    mount = env.mount(export="/")
    assert os.listdir(mount.point) == [EXPORT[1:]]
    write(env.on_disk("f"), b"x")
    assert read(mount.point + EXPORT + f"/{env.name}/f") == b"x"


@suite.test("-V and -h print to stdout and return 0")
def version_and_help(env):
    for flag, word in (("-V", "vsockfs"), ("--version", "vsockfs"), ("-h", "SOURCE"),
                       ("--help", "nconnect")):
        done = subprocess.run([suite.program(), flag], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        assert done.returncode == 0 and word in done.stdout.decode() and not done.stderr, done


@suite.test("options that are unknown, malformed or out of range are named in one line, status 1")
def bad_options(env):
    for options, word in (("frobnicate", "frobnicate"), ("rw,frob=1", "frob"),
                          ("rsize=many", "rsize"), ("rsize=", "rsize"), ("wsize=-1", "wsize"),
                          ("nconnect=0", "nconnect"), ("nconnect=99999", "nconnect"),
                          ("vers=3", "vers"), ("timeo=x", "timeo"), ("cache=maybe", "cache"),
                          ("io=magic", "io"), ("sec=krb5", "sec"), ("ro=1", "ro"),
                          ("lookupcache=some", "lookupcache"), ("acregmin=-3", "acregmin")):
        must_fail(env, USAGE, suite.source(), word, options=options)


@suite.test("sources that make no sense are named in one line, status 1")
def bad_sources(env):
    for source in ("nonsense", "2:relative", "unix:relative-without-export", "x:/export",
                   "99999999999:/export", "tcp::/export", ""):
        must_fail(env, USAGE, source, "vsockfs")


@suite.test("nothing listening: one line that says so, status 32, for Unix sockets, TCP and vsock")
def nothing_listening(env):
    must_fail(env, FAILURE, f"unix:{env.work}/none:{EXPORT}", f"{env.work}/none")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(env.scratch("dead"))
    must_fail(env, FAILURE, f"unix:{env.scratch('dead')}:{EXPORT}", "listens")
    must_fail(env, FAILURE, f"tcp:127.0.0.1:{free_port()}:{EXPORT}", "listens")
    must_fail(env, FAILURE, f"1:{EXPORT}", "vsock", within=40, timeout=60)


@suite.test("a vsock connection that is reset is tried a second time, at once, and no oftener")
def reset_once(env):
    paths = env.scratch("vsock")
    os.makedirs(paths)
    relay = start_relay(f"unix:{paths}/2.2049", env.suite.server.port)
    try:
        for resets, options, status in ((1, "", 0), (2, "", FAILURE), (2, "retry=1", 0)):
            words = [f"VSOCK_RESETS={resets}", suite.program(), f"2:{EXPORT}", empty_point(env)]
            done = subprocess.run(preloaded(paths, words + (["-o", options] if options else [])),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, timeout=20)
            if done.returncode == 0:
                subprocess.run(["umount", words[3]], check=True)
            assert done.returncode == status, (resets, options, done.stderr)
            assert (b"nothing listens" in done.stderr) == (status != 0), done.stderr
    finally:
        relay.kill()
        relay.wait()


@suite.test("no such export: one line that names it, status 32")
def no_such_export(env):
    must_fail(env, FAILURE, suite.source(export="/nothing/here"), "/nothing/here")
    must_fail(env, FAILURE, suite.source(export=f"{EXPORT}/{env.name}/none"), "none")


@suite.test("an export that is a file: one line, status 32")
def export_is_file(env):
    write(env.on_disk("f"), b"x")
    must_fail(env, FAILURE, suite.source(export=f"{EXPORT}/{env.name}/f"), "directory")


@contextlib.contextmanager
def server_that(answer):
    """A TCP listener that hands each connection to answer(); yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def reply_with(status_words):
    """Answers each call with an RPC reply made of its xid and these words."""
    def answer(connection):
        while len(mark := connection.recv(4, socket.MSG_WAITALL)) == 4:
            call = connection.recv(struct.unpack(">I", mark)[0] & 0x7fffffff, socket.MSG_WAITALL)
            reply = call[:4] + struct.pack(f">{len(status_words)}I", *status_words)
            connection.sendall(struct.pack(">I", 0x80000000 | len(reply)) + reply)
    return answer


@suite.test("a server without NFSv4.1: one line that says so, status 32")
def not_nfs41(env):
    programs = {
        "PROG_MISMATCH": reply_with((1, 0, 0, 0, 2, 2, 3)),      # speaks NFS 2 to 3
        "PROG_UNAVAIL": reply_with((1, 0, 0, 0, 1)),             # no NFS at all
        "MINOR_VERS_MISMATCH": reply_with((1, 0, 0, 0, 0, 10021, 0, 0)),  # NFSv4.0 alone
    }
    for name, answer in programs.items():
        with server_that(answer) as port:
            done = must_fail(env, FAILURE, f"tcp:127.0.0.1:{port}:{EXPORT}", within=15)
            assert "4.1" in done.words or "NFS" in done.words, (name, done.words)


@suite.test("a server that hangs up or speaks no RPC: told as such, status 32")
def not_a_server(env):
    for answer in (lambda c: None,
                   lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
                   lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100),
                   lambda c: c.sendall(bytes(4096))):
        with server_that(answer) as port:
            must_fail(env, FAILURE, f"tcp:127.0.0.1:{port}:{EXPORT}", within=15, lines=2)


@suite.test("a mount point that is missing, no directory, or taken: one line that names it")
def bad_mount_points(env):
    write(env.scratch("file"), b"")
    for point in (env.scratch("missing"), env.scratch("file")):
        must_fail(env, FAILURE, suite.source(), point, point=point)
    taken = attempt(env, suite.source(), point=env.root)
    assert taken.returncode == FAILURE and taken.words.count("\n") == 1, taken
    assert "already" in taken.words and env.root in taken.words, taken.words
    assert len(processes_of(env.root)) == 1 and os.path.ismount(env.root)


@suite.test("too few and too many words on the command line: status 1 and the usage")
def wrong_usage(env):
    for words in ([], [suite.source()], [suite.source(), "/a", "/b"], ["--frob"]):
        done = subprocess.run([suite.program(), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == USAGE and b"usage" in done.stderr + done.stdout, (words, done)


@suite.test("-o ro: every change fails with EROFS, reading works")
def read_only(env):
    write(env.path("f"), b"x")
    root = os.path.join(env.mount("ro").point, env.name)
    assert read(f"{root}/f") == b"x"
    env.fails(errno.EROFS, os.open, f"{root}/f", os.O_WRONLY)
    for call, args in ((os.mkdir, (f"{root}/d",)), (os.unlink, (f"{root}/f",)),
                       (os.chmod, (f"{root}/f", 0)), (os.rename, (f"{root}/f", f"{root}/g")),
                       (os.symlink, ("x", f"{root}/l")), (os.utime, (f"{root}/f",))):
        env.fails(errno.EROFS, call, *args)
    assert os.statvfs(root).f_flag & os.ST_RDONLY


@suite.test("-o noexec, nosuid and nodev reach the kernel; without them root's mount has none")
def kernel_flags(env):
    env.run(["cp", "/bin/true", env.path("true")])
    mount = env.mount("noexec,nosuid,nodev")
    words = mountinfo(mount.point)[3].split(",")
    assert {"noexec", "nosuid", "nodev"} <= set(words), words
    env.fails(errno.EACCES, os.execv, os.path.join(mount.point, env.name, "true"), ["true"])
    assert not {"noexec", "nosuid", "nodev"} & set(mountinfo(env.root)[3].split(","))
    env.run([env.path("true")])


@suite.test("SIGTERM and SIGINT unmount and end the daemon with status 0")
def signals(env):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        mount = suite.new_mount(empty_point(env)).start()
        try:
            os.listdir(mount.point)
            mount.process.send_signal(number)
            assert mount.process.wait(15) == 0, (number, mount.process.returncode)
            assert not mountinfo(mount.point)
        finally:
            mount.kill()


@suite.test("a mount whose daemon was killed fails with ENOTCONN, is unmounted and mounted again")
def killed(env):
    mount = suite.new_mount(empty_point(env)).start()
    try:
        os.listdir(mount.point)  # killed sooner, it would not leave its mount
        os.kill(mount.process.pid, signal.SIGKILL)
        mount.process.wait()
        # io_uring lets go of /dev/fuse a moment after the process is gone
        env.eventually(lambda: errno_of(os.listdir, mount.point) == errno.ENOTCONN,
                       what="ENOTCONN")
        env.run(["umount", mount.point])
        mount.process = None
        mount.start()
        assert env.name in os.listdir(mount.point)
        mount.umount()
    finally:
        mount.kill()


@suite.test("umount of a busy mount fails with EBUSY and harms nothing")
def busy(env):
    mount = env.mount()
    with open(os.path.join(mount.point, env.name, "f"), "w+b", buffering=0) as f:
        done = subprocess.run(["umount", mount.point], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 32 and b"busy" in done.stdout, done
        f.write(b"still here")
        os.fsync(f.fileno())
        assert read(env.on_disk("f")) == b"still here"


@suite.test("what was written just before umount is on the server after it")
def written_before(env):
    mount = suite.new_mount(empty_point(env)).start()
    data = os.urandom(3_000_000)
    try:
        for i in range(20):
            write(os.path.join(mount.point, env.name, f"f{i}"), data)
        mount.umount()
    finally:
        mount.kill()
    for i in range(20):
        assert read(env.on_disk(f"f{i}")) == data


@suite.test("twenty mounts and unmounts in a row leave nothing", timeout=90)
def in_a_row(env):
    point = empty_point(env)
    for i in range(20):
        mount = suite.new_mount(point).start()
        try:
            write(os.path.join(point, env.name, f"f{i}"), b"%d" % i)
            mount.umount()
        finally:
            mount.kill()
    assert not processes_of(point) and not mountinfo(point)
    assert len(os.listdir(env.disk)) == 20


@suite.test("two mounts at one time of one export are two file systems")
def two_mounts(env):
    a, b = env.mount(), env.mount()
    assert os.stat(a.point).st_dev != os.stat(b.point).st_dev
    assert os.stat(a.point).st_ino == os.stat(b.point).st_ino


@suite.test("the first byte is read within 50 ms of the command")
def first_byte(env):
    write(env.on_disk("f"), b"first")
    best = 1e9
    for _ in range(10):
        point = empty_point(env)
        start = time.monotonic()
        done = attempt(env, suite.source(), point=point)
        try:
            assert done.returncode == 0, done.words
            assert read(os.path.join(point, env.name, "f")) == b"first"
            best = min(best, time.monotonic() - start)
            env.run(["umount", point])
        finally:
            Mount(None, None, point).kill()
    assert best < 0.05 * env.slowness(), f"{best * 1000:.0f} ms at best"


@suite.test("the log says nothing at all of an uneventful mount")
def quiet(env):
    mount = suite.new_mount(empty_point(env)).start()
    try:
        os.listdir(mount.point)
        mount.umount()
    finally:
        mount.kill()
    assert len(mount.log_tail().splitlines()) <= 2, mount.log_tail()


if __name__ == "__main__":
    suite.main()
