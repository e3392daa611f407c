#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every call on a file, and its errors. Also run with other options and transports."""

import os

import basic_attrs
import basic_data
import basic_names
from files import read, write
from harness import Suite

suite = Suite()
for part in (basic_data, basic_names, basic_attrs):
    suite.include(part.suite)


@suite.test("many files open at once")
def many_open(env):
    files = [open(env.path(f"f{i}"), "w+b", buffering=0) for i in range(env.times(800))]
    for i, f in enumerate(files):
        f.write(b"%d" % i)
    for i, f in enumerate(files):
        assert os.pread(f.fileno(), 10, 0) == b"%d" % i
        f.close()
    env.same()


@suite.test("eight processes create, write, rename and remove side by side", timeout=60)
def side_by_side(env):
    rounds = env.times(150)

    def work(number):
        base = env.path(f"p{number}")
        os.mkdir(base)
        for i in range(rounds):
            write(f"{base}/a{i}", b"%d %d" % (number, i))
            os.rename(f"{base}/a{i}", f"{base}/b{i}")
            if i % 3:
                os.unlink(f"{base}/b{i}")
            else:
                assert read(f"{base}/b{i}") == b"%d %d" % (number, i)

    workers = [env.child(work, n) for n in range(8)]
    for worker in workers:
        worker.join()
    assert len(env.same()) == 8 + 8 * (rounds // 3)


@suite.test("O_EXCL lets exactly one of many processes create")
def exclusive(env):
    def work():
        for i in range(50):
            try:
                os.close(os.open(env.path(f"f{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            write(env.path(f"won-{i}-{os.getpid()}"), b"")

    workers = [env.child(work) for _ in range(4)]
    for worker in workers:
        worker.join()
    won = [n for n in os.listdir(env.disk) if n.startswith("won")]
    assert len(won) == 50 and len({n.split("-")[1] for n in won}) == 50


if __name__ == "__main__":
    suite.main()
