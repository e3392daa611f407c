#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be written is told, once to each open file; what runs out (disk, memory, descriptors)
is told as such, and the mount goes on."""

import errno
import fcntl
import os
import random
import resource
import signal
import subprocess

import nfsreply as nfs
from harness import Server, Skip, Suite, errno_name
from hostile import Hostile
from nfsreply import p32, record
from proxy import refusal
from test_basic import read, write
from test_stats import stats

suite = Suite()
MIB = 1 << 20
NOSPC, DQUOT, IO, SERVERFAULT = 28, 69, 5, 10006
BACK_WITHIN = 20


def failing(status):
    """A reply in which COMMIT failed so."""
    def damage(_, reply):
        op = reply.find(nfs.COMMIT)
        op[1], op[2], reply.status = status, b"", status
        return record(reply.bytes())
    return damage


def commit_fails(env, status, number):
    h = Hostile(env)
    paths = [h.path("f")] * 3
    writer = os.open(paths[0], os.O_RDWR | os.O_CREAT)
    looking = os.open(paths[0], os.O_RDONLY)
    reader, other = os.open(paths[1], os.O_RDWR), os.open(paths[2], os.O_WRONLY)
    os.write(writer, b"data")
    h.proxy.arm(failing(status), nfs.COMMIT)
    env.fails(number, os.fsync, writer)
    assert h.proxy.hits == 1
    os.fsync(writer)
    env.fails(number, os.fsync, reader)
    os.fsync(reader)
    env.fails(number, os.close, other)
    env.fails(number, os.fsync, looking)
    os.close(looking)
    late = os.open(paths[0], os.O_RDWR)
    os.fsync(late)
    # the next data is as good as any
    os.pwrite(writer, b"again", 0)
    for fd in (writer, reader, late):
        os.fsync(fd)
        os.close(fd)
    assert read(env.on_disk("f")) == b"again"
    # at close
    fd = os.open(h.path("g"), os.O_RDWR | os.O_CREAT)
    os.write(fd, b"data")
    h.proxy.arm(failing(status), nfs.COMMIT)
    env.fails(number, os.close, fd)
    h.good(lines=0)


for status, number in ((NOSPC, errno.ENOSPC), (DQUOT, errno.EDQUOT), (IO, errno.EIO)):
    suite.test(f"{errno_name(number)} at COMMIT: told at fsync or close, once to each open file")(
        lambda env, s=status, n=number: commit_fails(env, s, n))


@suite.test("a file whose lock the server does not free is closed all the same")
def unlock_fails(env):
    h = Hostile(env)
    fd = os.open(h.path("f"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    pattern = p32(nfs.LOCKU, 2)  # WRITE_LT
    h.proxy.arm_call(lambda call: refusal(call, SERVERFAULT, nfs.PUTFH, nfs.LOCKU), pattern)
    os.close(fd)

    def rpcs(operation):
        return stats(env, h.mount.point)["operations"].get(operation, {"rpcs": 0})["rpcs"]
    env.eventually(lambda: rpcs("CLOSE") == 1, within=BACK_WITHIN, what="CLOSE")
    assert h.proxy.hits == 1 and rpcs("LOCKU") == 1, rpcs("LOCKU")


@suite.test("a COMMIT that fails behind a WRITE is sent again on its own, and then counts")
def riding(env):
    h = Hostile(env)
    data = random.Random(2).randbytes(MIB)
    for times in (1, 2):
        fd = os.open(h.path("f"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        h.proxy.arm(failing(IO), nfs.COMMIT, times=times)
        for i in range(27):
            assert os.pwrite(fd, data, i * MIB) == MIB
        env.eventually(lambda: h.proxy.hits == times, within=BACK_WITHIN, what="failures")
        if times == 2:
            env.fails(errno.EIO, os.fsync, fd)
        os.fsync(fd)
        os.close(fd)
        assert read(env.on_disk("f")) == data * 27
    h.good(lines=0)


@suite.test("an error that came while nobody waited is told to the next who does")
def background(env):
    h = Hostile(env)
    fd = os.open(h.path("f"), os.O_RDWR | os.O_CREAT)
    os.write(fd, b"data")
    h.proxy.arm(failing(IO), nfs.COMMIT)
    # a truncation commits first
    env.fails(errno.EIO, os.ftruncate, fd, 2)
    later = os.open(h.path("f"), os.O_RDONLY)
    env.fails(errno.EIO, os.fsync, later)
    env.fails(errno.EIO, os.fsync, fd)
    os.fsync(fd)
    os.fsync(later)


class SmallServer(Server):
    """A server whose export is a small disk of its own."""

    def __enter__(self):
        os.makedirs(self.export)
        image = self.directory + ".image"
        with open(image, "wb") as f:
            f.truncate(16 * MIB)
        for command in (["mkfs.ext4", "-q", "-F", "-m", "0", image],
                        ["mount", "-o", "loop", image, self.export]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                raise Skip(f"{command[0]}: {done.stdout.decode().strip()}")
        return super().__enter__()

    def __exit__(self, *how):
        super().__exit__(*how)
        subprocess.run(["umount", "-l", self.export], check=False)


@suite.test("a full disk: ENOSPC, what was taken is there, and all goes on when there is room",
            timeout=60)
def full(env):
    server = env.stack.enter_context(SmallServer(env, {}))
    mount = server.mount()
    write(os.path.join(mount.point, "before"), b"before")
    data = random.Random(1).randbytes(20 * MIB)
    fd = os.open(os.path.join(mount.point, "big"), os.O_RDWR | os.O_CREAT)
    at = 0
    try:
        while at < len(data):
            at += os.pwrite(fd, data[at:at + 100_000], at)
        os.fsync(fd)
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    assert at < len(data), "there was room for all of it"
    try:
        os.close(fd)
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    at -= 100_000 + 5 * MIB  # the last write, what was gathered with it, and what was under way
    assert at > 0 and read(os.path.join(server.export, "big"))[:at] == data[:at]
    assert read(os.path.join(mount.point, "before")) == b"before"
    env.fails(errno.ENOSPC, write, os.path.join(mount.point, "more"), bytes(MIB))
    os.unlink(os.path.join(mount.point, "big"))

    def room():
        try:
            write(os.path.join(mount.point, "after"), data[:4 * MIB])
            return True
        except OSError as e:
            assert e.errno == errno.ENOSPC, e
            return False
    env.eventually(room, within=BACK_WITHIN, what="room")
    assert read(os.path.join(server.export, "after")) == data[:4 * MIB]


def limit(mount, kind, value):
    old = resource.prlimit(mount.process.pid, kind)
    resource.prlimit(mount.process.pid, kind, (value, old[1]))
    return old


def tries(call, *args):
    """What it returns, or None for want of memory."""
    try:
        return call(*args)
    except OSError as e:
        assert e.errno in (errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.EIO), e
        return None


@suite.test("the daemon has no descriptors left: files are used on, and the stream comes back when "
            "there are", timeout=60)
def descriptors(env):
    server = env.server()
    mount = server.mount("nconnect=1")
    write(os.path.join(mount.point, "f"), b"f")
    old = limit(mount, resource.RLIMIT_NOFILE, 3)
    for i in range(50):
        write(os.path.join(mount.point, f"f{i}"), b"%d" % i)
        assert read(os.path.join(server.export, f"f{i}")) == b"%d" % i
    os.kill(mount.relay.pid, signal.SIGUSR1)
    child = env.child(lambda: write(os.path.join(mount.point, "cut"), b"cut"))
    env.eventually(lambda: "connecting again" in mount.log_tail(), within=BACK_WITHIN,
                   what="the cut")
    resource.prlimit(mount.process.pid, resource.RLIMIT_NOFILE, old)
    child.join()
    assert read(os.path.join(server.export, "cut")) == b"cut"
    assert mount.dead() is None


@suite.test("the daemon has no memory left: ENOMEM at worst, and it goes on when there is some",
            timeout=90)
def memory(env):
    if os.environ.get("VSOCKFS_SANITIZED") == "1":
        raise Skip("a sanitizer ends the program when there is no memory")
    server = env.server()
    mount = server.mount("nconnect=2")
    write(os.path.join(mount.point, "f"), b"f")
    # not even what the allocator has reserved
    old = limit(mount, resource.RLIMIT_DATA, 4096)
    failed = 0
    fds = []
    for i in range(5000):
        fd = tries(os.open, os.path.join(mount.point, f"f{i}"), os.O_RDWR | os.O_CREAT)
        if fd is None:
            failed += 1
            if failed > 50:
                break
            continue
        fds.append(fd)
        tries(os.pwrite, fd, bytes(60_000), 0)
    print(f"# {len(fds)} files open, {failed} failed", flush=True)
    assert mount.dead() is None
    assert failed > 0, "there was memory enough"
    for i in range(20):
        tries(os.listdir, mount.point)
        tries(os.mkdir, os.path.join(mount.point, f"d{i}"))
        tries(os.rename, os.path.join(mount.point, f"f{i}"), os.path.join(mount.point, f"g{i}"))
        tries(read, os.path.join(mount.point, f"f{i + 30}"))
    resource.prlimit(mount.process.pid, resource.RLIMIT_DATA, old)
    for fd in fds:
        tries(os.close, fd)
    data = random.Random(2).randbytes(3 * MIB)
    write(os.path.join(mount.point, "after"), data)
    assert read(os.path.join(server.export, "after")) == data
    assert len(os.listdir(mount.point)) >= len(fds)
    assert mount.dead() is None


if __name__ == "__main__":
    suite.main()
