#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fio with verification of every block, by each engine and access pattern."""

import os

import compare
from harness import Suite, need

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


if __name__ == "__main__":
    suite.main()
