#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fio with verification of every block, by each engine and access pattern."""

import ctypes
import mmap
import os
import struct

import compare
from harness import Skip, Suite, need
from mounts import Mount
from proxy import Proxy, record
from test_basic import read, write

suite = Suite()
SIZE = "48m"
ENGINES = {
    "psync": ["--ioengine=psync"],
    "psync O_DIRECT": ["--ioengine=psync", "--direct=1"],
    "libaio O_DIRECT": ["--ioengine=libaio", "--direct=1", "--iodepth=16"],
    "mmap": ["--ioengine=mmap"],
    "vsync": ["--ioengine=vsync"],
}
PATTERNS = {
    "sequential": ["--rw=write", "--bs=256k"],
    "random": ["--rw=randwrite", "--bs=4k"],
    "mixed random": ["--rw=randrw", "--bs=16k", "--rwmixread=40"],
    "uneven": ["--rw=randwrite", "--bsrange=4k-64k"],
}


def fio(env, *words):
    need("fio")
    return env.run(["fio", "--name=job", f"--directory={env.mnt}", "--verify=crc32c",
                    "--verify_fatal=1", "--verify_state_save=0", "--fallocate=none",
                    "--randrepeat=1", "--output-format=terse", *words], cwd=env.work)


def same_files(env):
    names = os.listdir(env.disk)
    assert names and sorted(os.listdir(env.mnt)) == sorted(names)
    for name in names:
        assert compare.digest(env.path(name)) == compare.digest(env.on_disk(name)), name


for engine, engine_words in ENGINES.items():
    for pattern, pattern_words in PATTERNS.items():
        @suite.test(f"{engine}, {pattern}: every block is verified", timeout=120)
        def verify(env, words=(*engine_words, *pattern_words)):
            fio(env, f"--size={SIZE}", *words)
            same_files(env)


@suite.test("three jobs at once, each on a file of its own, with fsync in between", timeout=180)
def three_jobs(env):
    fio(env, "--size=24m", "--numjobs=3", "--rw=randwrite", "--bs=8k", "--fsync=64",
        "--ioengine=psync")
    same_files(env)


@suite.test("verified again by a second mount, from the server", timeout=120)
def second_mount(env):
    words = ["--size=32m", "--rw=write", "--bs=64k", "--ioengine=psync"]
    fio(env, *words)
    other = os.path.join(env.mount().point, env.name)
    env.run(["fio", "--name=job", f"--directory={other}", "--verify=crc32c", "--verify_only=1",
             "--verify_state_save=0", *words], cwd=env.work)


@suite.test("io_uring from the program's side, direct and buffered", timeout=120)
def uring(env):
    for direct in ("0", "1"):
        fio(env, "--size=16m", "--rw=randrw", "--bs=8k", "--ioengine=io_uring", "--iodepth=8",
            f"--direct={direct}", f"--filename=f{direct}")
    same_files(env)


class Asynchronous:
    """libaio's writes, one at a time."""

    WRITE = 1  # IO_CMD_PWRITE

    def __init__(self, fd):
        try:
            self.lib = ctypes.CDLL("libaio.so.1")
        except OSError as e:
            raise Skip(f"no libaio: {e}") from e
        self.fd, self.context = fd, ctypes.c_void_p()
        assert self.lib.io_setup(1, ctypes.byref(self.context)) == 0

    def submit(self, pages):
        buffer = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self.block = ctypes.create_string_buffer(struct.pack(
            "=QIIHhIQQqQII", 0, 0, 0, self.WRITE, 0, self.fd, buffer, len(pages), 0, 0, 0, 0))
        blocks = (ctypes.c_void_p * 1)(ctypes.addressof(self.block))
        assert self.lib.io_submit(self.context, 1, blocks) == 1

    def wait(self):
        """The result."""
        event = ctypes.create_string_buffer(32)
        assert self.lib.io_getevents(self.context, 1, 1, event, None) == 1
        return struct.unpack("=QQqq", event.raw)[2]


class Late(Proxy):
    """Keeps the call with `word` in it for a while."""

    word = call = None

    def answer_call(self, data):
        if not self.word or self.word not in data:
            return None
        self.word, self.call = None, data
        return iter(())

    def go_on(self):
        self.current().server.sendall(record(self.call))


@suite.test("what is written around the page cache, and not waited for, is read afterwards")
def around(env):
    """The kernel drops the page cache before the WRITE; what is read before that is done is old."""
    write(env.on_disk("f"), b"old " * 4096)
    proxy = Late(f"{env.work}/late.sock", env.port)
    with Mount(suite.program(), f"unix:{proxy.path}:/export", f"{env.work}/late",
               "nconnect=1") as mount:
        path = os.path.join(mount.point, env.name, "f")
        assert read(path) == b"old " * 4096
        pages = mmap.mmap(-1, 16384)
        pages[:] = b"new " * 4096
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        aio = Asynchronous(fd)
        for _ in range(2):
            proxy.word = pages[:4096]
            aio.submit(pages)
            env.eventually(lambda: proxy.call, what="WRITE")
            before = read(path)
            proxy.go_on()
            assert aio.wait() == len(pages)
            assert read(path) == pages[:], "pages of before the write stay"
            proxy.call, pages[:] = None, b"more" * 4096
            assert before != pages[:]
        os.close(fd)
    proxy.stop()


if __name__ == "__main__":
    suite.main()
