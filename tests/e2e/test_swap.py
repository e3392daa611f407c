#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Directories of configMaps and secrets, which Kubernetes changes on the host as a whole: the files
are links through ..data, ..data is a link to a directory, and a change is another directory, a link
to it renamed over ..data, and the removal of the old directory. Here a change has two files of which
each names the change that it belongs to.
"""

import contextlib
import os
import select
import shutil
import time

from harness import SEEN_WITHIN, Suite

suite = Suite()
NAMES = ("one", "two")
LARGE = 3_000_000  # bytes: more than is read at once


def make(env):
    os.mkdir(env.on_disk("config"))
    change(env, 0)
    for name in NAMES:
        os.symlink(f"..data/{name}", env.on_disk(f"config/{name}"))


def content(number):
    return b"%08d" % number * (LARGE // 8)


def change(env, number):
    """As the kubelet's atomic writer does it."""
    old = os.readlink(env.on_disk("config/..data")) if number else None
    new = f"..{number}"
    os.mkdir(env.on_disk("config", new))
    for name in NAMES:
        with open(env.on_disk("config", new, name), "wb") as file:
            file.write(content(number))
    os.symlink(new, env.on_disk("config/..data_tmp"))
    os.rename(env.on_disk("config/..data_tmp"), env.on_disk("config/..data"))
    if old:
        shutil.rmtree(env.on_disk("config", old))


def opened(path):
    """
    As long as ..data is trusted (1 s), and the name of the directory behind it is not any more, that
    is gone, and nothing tells that ..data is another link by now. What the kernel still holds while
    the server has it no more (ESTALE) is no concern of a program's: the kernel walks again by itself,
    and asks for each name.
    """
    deadline = time.monotonic() + SEEN_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            return open(path, "rb")
        time.sleep(0.01)
    return open(path, "rb")


def look(env, name):
    """The number of the change that the guest reads, which must be all of it."""
    with opened(env.path("config", name)) as file:
        data = file.read()
    number = int(data[:8])
    assert data == content(number), f"a mixture, beginning with {number}"
    return number


@suite.test("a changed configMap is seen within 1 s, by programs that opened it before, too")
def seen(env):
    make(env)
    assert [look(env, name) for name in NAMES] == [0, 0]
    for number in range(1, 6):
        change(env, number)
        for name in NAMES:
            env.eventually(lambda: look(env, name) == number, what=f"change {number} of {name}")
        assert sorted(os.listdir(env.path("config"))) == ["..%d" % number, "..data", *NAMES]
    env.same()


CHANGES, PAUSE = 6, 0.5  # seconds; the kubelet's are a minute apart


@suite.test("a reader amid the changes never sees a mixture and never goes back")
def amid(env):
    def keep_changing():
        for number in range(1, CHANGES + 1):
            time.sleep(PAUSE)
            change(env, number)

    make(env)
    seen_numbers, turn = [0], 0
    changer = env.child(keep_changing)
    while not select.select([changer.read_end], [], [], 0)[0]:
        seen_numbers.append(look(env, NAMES[turn % 2]))
        assert seen_numbers[-2] <= seen_numbers[-1], seen_numbers[-2:]
        turn += 1
    changer.join()
    env.eventually(lambda: look(env, "one") == CHANGES, what="the last change")
    assert len(set(seen_numbers)) > 1, "no change was ever seen amid the changes"


@suite.test("a file that was opened before the change stays readable, and stays as it was")
def held(env):
    make(env)
    with open(env.path("config/one"), "rb") as file:
        first = file.read(8)
        change(env, 1)
        env.eventually(lambda: look(env, "one") == 1, what="the change")
        assert first + file.read() == content(0)


if __name__ == "__main__":
    suite.main()
