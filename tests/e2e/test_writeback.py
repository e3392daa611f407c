#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""-o writeback: the kernel gathers what is written. Each point would hold without it, too, but for the
number of WRITEs and the size that the host has changed."""

import contextlib
import errno
import os
import random
import subprocess

from harness import Skip, Suite
from test_stats import stats

suite = Suite()
KIB = 1 << 10
OTHER = 1234


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def mounted(env, options="writeback"):
    mount = env.mount(options)
    return mount, os.path.join(mount.point, env.name)


def writes(env, mount):
    return stats(env, mount.point)["operations"].get("WRITE", {"rpcs": 0})["rpcs"]


@suite.test("what is written all over a file goes to the server when it is synced or closed")
def gathered(env):
    mount, top = mounted(env)
    noise = random.Random(5)
    image = bytearray(256 * KIB)
    write(env.on_disk("f"), image)
    fd = os.open(f"{top}/f", os.O_RDWR)
    before = writes(env, mount)
    for end in (lambda: os.fsync(fd), lambda: os.close(fd)):
        for _ in range(200):
            at = noise.randrange(len(image) - 100)
            image[at:at + 100] = noise.randbytes(100)
            os.pwrite(fd, image[at:at + 100], at)
        assert os.pread(fd, len(image), 0) == image
        assert os.stat(f"{top}/f").st_size == len(image)
        end()
        assert read(env.on_disk("f")) == image
    assert writes(env, mount) - before < 200, writes(env, mount) - before


@suite.test("by a descriptor that only writes, too: the rest of a page is read first")
def write_only(env):
    _, top = mounted(env)
    data = random.Random(6).randbytes(20 * KIB)
    write(env.on_disk("f"), data)
    fd = os.open(f"{top}/f", os.O_WRONLY)
    os.pwrite(fd, b"new", 5000)
    env.fails(errno.EBADF, os.pread, fd, 1, 0)
    os.close(fd)
    assert read(env.on_disk("f")) == data[:5000] + b"new" + data[5003:]


@suite.test("even where nobody but root may read it")
def not_readable(env):
    mount, top = mounted(env, "writeback,allow_other")
    write(env.on_disk("f"), b"old" * 3000)
    os.chmod(env.on_disk("f"), 0o622)
    os.chmod(env.on_disk(), 0o777)
    for flags, offset in ((os.O_WRONLY, 5000), (os.O_WRONLY | os.O_CREAT, 100)):
        code = (f"import os; fd = os.open({top + '/f'!r}, {flags}); os.pwrite(fd, b'new', {offset}); "
                "os.close(fd)")
        subprocess.run(["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups",
                        "/usr/bin/python3", "-c", code], check=True)
    expected = bytearray(b"old" * 3000)
    expected[5000:5003] = expected[100:103] = b"new"
    assert read(env.on_disk("f")) == expected
    assert mount.process.poll() is None


@suite.test("appends of two descriptors do not cover each other")
def appended(env):
    _, top = mounted(env)
    expected = b""
    one, two = (os.open(f"{top}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT) for _ in range(2))
    for i in range(100):
        for fd in (one, two):
            line = f"{fd} {i}\n".encode()
            assert os.write(fd, line) == len(line)
            expected += line
    os.close(one)
    os.close(two)
    assert read(env.on_disk("log")) == expected


@suite.test("what is appended to a file that was there goes behind it, whatever else is written of it")
def appended_behind(env):
    _, top = mounted(env)
    data = random.Random(7).randbytes(10 * KIB)
    write(env.on_disk("log"), data)
    other = os.open(f"{top}/log", os.O_RDWR)
    # the kernel writes pages by what was opened last
    fd = os.open(f"{top}/log", os.O_WRONLY | os.O_APPEND)
    os.pwrite(other, b"new", 5000)
    os.write(fd, b"appended")
    os.close(other)
    os.close(fd)
    assert read(env.on_disk("log")) == data[:5000] + b"new" + data[5003:] + b"appended"


@suite.test("sizes and times are those of the writes, here and on the server")
def attributes(env):
    _, top = mounted(env)
    with open(f"{top}/f", "wb", buffering=0) as f:
        f.write(b"x" * 5000)
        assert os.stat(f"{top}/f").st_size == 5000
        f.truncate(100)
        f.seek(3000)
        f.write(b"y")
    os.utime(f"{top}/f", ns=(10 ** 18, 10 ** 18 + 7))
    assert os.stat(env.on_disk("f")).st_mtime_ns == 10 ** 18 + 7
    assert read(env.on_disk("f")) == b"x" * 100 + bytes(2900) + b"y"
    with open(f"{top}/f", "r+b", buffering=0) as f:
        f.write(b"z")
    here, there = os.stat(f"{top}/f"), os.stat(env.on_disk("f"))
    assert here.st_mtime_ns == there.st_mtime_ns > 10 ** 18 + 7, (here, there)


@suite.test("another mount sees at its open what was written before the close here")
def close_to_open(env):
    _, top = mounted(env)
    _, other = mounted(env, "")
    for i in range(5):
        write(f"{top}/f", b"%d" % i * 3000)
        assert read(f"{other}/f") == b"%d" % i * 3000


def error_of(path):
    """Of a byte beyond what the server's file system has for a file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(fd, b"x", 1 << 44)
        os.fsync(fd)
    except OSError as e:
        return e.errno
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
    return 0


@suite.test("what cannot be written back is told by fsync")
def failed(env):
    mount, top = mounted(env)
    if not error_of(env.on_disk("here")):
        raise Skip("this file system takes files of 16 TiB")
    assert error_of(f"{top}/f") in (errno.EFBIG, errno.EIO)
    assert mount.process.poll() is None


if __name__ == "__main__":
    suite.main()
