# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pieces of work whose round trips are counted, and how they are counted.

`src` is 20 directories of 50 files of 4 KiB. Cold is a fresh mount whose root was listed once, with
the server warm; a row that is not cold goes on with the mount of the row before it.
Two goals, in RPCs: for knfsd, which grants delegations, and for a server that grants none, where
close-to-open costs a round trip for each open.
"""

import collections
import json
import os
import random
import subprocess
import time

DIRECTORIES, FILES, SIZE = 20, 50, 4096
MIB = 1 << 20

GIT_ENV = dict(
    os.environ, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_EDITOR="true",
    GIT_AUTHOR_NAME="A", GIT_AUTHOR_EMAIL="a@example.org", GIT_COMMITTER_NAME="A",
    GIT_COMMITTER_EMAIL="a@example.org", GIT_CONFIG_COUNT="2",
    GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
    GIT_CONFIG_KEY_1="init.defaultBranch", GIT_CONFIG_VALUE_1="main")

# work(root, scratch): the mounted directory, and one on the local disk with src.tar
# What expires is asked for again, so on a slow machine the counts would be those of the clock. Who
# wants them so says the times after these.
STEADY = "acregmin=60,acdirmin=60,acregmax=60,acdirmax=60"

Row = collections.namedtuple("Row", "name goals cold work")
ROWS = []


def row(name, knfsd, plain, cold=True):
    """The goals for knfsd, and for a plain server, which grants no delegations."""
    def add(work):
        ROWS.append(Row(name, {"knfsd": knfsd, "nfs-ganesha": plain}, cold, work))
        return work
    return add


def options(others):
    return f"{STEADY},{others}" if others else STEADY


def groups(word):
    """Rows that share a mount, cold one first; of these the groups with word in a name."""
    found = []
    for candidate in ROWS:
        if candidate.cold:
            found.append([])
        found[-1].append(candidate)
    return [group for group in found if any(word in member.name for member in group)]


def measure(word, new_mount, counted, scratch):
    """Yields (row, RPCs by operation, seconds). counted(root, action) does it and counts."""
    for number, group in enumerate(groups(word)):
        with new_mount(number) as root:
            os.listdir(root)
            for member in group:
                yield member, *counted(root, lambda: member.work(root, scratch))


def run(*command, cwd="/"):
    subprocess.run(command, cwd=cwd, env=GIT_ENV, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)


def make_tree(path, noise=None, files=FILES):
    """Of files that are a minute old: git reads again what is as young as its index."""
    noise = noise or random.Random(1)
    old = time.time() - 60
    for d in range(DIRECTORIES):
        os.makedirs(f"{path}/d{d}")
        for f in range(files):
            with open(f"{path}/d{d}/f{f}.c", "wb") as out:
                out.write(noise.randbytes(SIZE))
            os.utime(f"{path}/d{d}/f{f}.c", (old, old))


def prepare(export, scratch):
    """What the rows find on the server's disk."""
    make_tree(f"{export}/src")
    make_tree(f"{export}/repo")
    with open(f"{export}/large", "wb") as out:
        for i in range(256):
            out.write(bytes([i]) * MIB)
    run("tar", "cf", f"{scratch}/src.tar", "-C", export, "src")


@row("cold find -printf %s", 8, 25)
def find(root, _):
    run("find", f"{root}/src", "-printf", "%s")


@row("cold read of 1000 files", 70, 1050)
def cat(root, _):
    run("find", f"{root}/src", "-type", "f", "-exec", "cat", "{}", "+")


@row("warm read of the same", 2, 1025, cold=False)
def cat_again(root, _):
    run("find", f"{root}/src", "-type", "f", "-exec", "cat", "{}", "+")


@row("cp -r src dst", 2030, 2030, cold=False)
def copy(root, _):
    run("cp", "-r", f"{root}/src", f"{root}/dst")


@row("rm -rf dst", 1045, 1070, cold=False)
def remove(root, _):
    run("rm", "-rf", f"{root}/dst")


@row("tar x", 2090, 2090)
def untar(root, scratch):
    os.mkdir(f"{root}/tar")
    run("tar", "xf", f"{scratch}/src.tar", "-C", f"{root}/tar")


@row("git init, add, commit", 4500, 5500)
def git_commit(root, _):
    run("git", "init", "-q", cwd=f"{root}/repo")
    run("git", "add", ".", cwd=f"{root}/repo")
    run("git", "commit", "-qm", "all", cwd=f"{root}/repo")


@row("warm git status", 3, 60, cold=False)
def git_status(root, _):
    run("git", "status", cwd=f"{root}/repo")


@row("cold git status", 45, 60)
def git_status_cold(root, _):
    run("git", "status", cwd=f"{root}/repo")


@row("cold cat src/d3/f3.c", 3, 3)
def cat_one(root, _):
    run("cat", f"{root}/src/d3/f3.c")


@row("create one 4 KiB file", 2, 2)
def create_one(root, _):
    with open(f"{root}/one", "wb", buffering=0) as out:
        out.write(b"x" * SIZE)


@row("100 appends, close", 2, 3)
def append(root, _):
    with open(f"{root}/one", "ab", buffering=0) as out:
        for _ in range(100):
            out.write(b"y" * 100)


@row("write 256 MiB, fsync", 258, 259)
def write_large(root, _, mib=256):
    block = b"z" * MIB
    with open(f"{root}/written", "wb", buffering=0) as out:
        for _ in range(mib):
            out.write(block)
        os.fsync(out.fileno())


@row("read 256 MiB", 258, 259)
def read_large(root, _):
    with open(f"{root}/large", "rb", buffering=0) as f:
        while f.read(MIB):
            pass


def counters(vsockfsctl, point):
    told = json.loads(subprocess.run([vsockfsctl, "stats", "--json", point], check=True,
                                     stdout=subprocess.PIPE).stdout)
    return {name: (op["rpcs"], op["replies"]) for name, op in told["operations"].items()}


def settled(vsockfsctl, point):
    """RPCs by operation once nothing is under way any more."""
    before = None
    while True:
        after = counters(vsockfsctl, point)
        if after == before and all(rpcs == replies for rpcs, replies in after.values()):
            return {name: rpcs for name, (rpcs, _) in after.items()}
        before = after
        time.sleep(0.4)


def count(vsockfsctl, point, action):
    """(RPCs by operation, seconds) of action(). What keeps the lease alive is not counted."""
    before = settled(vsockfsctl, point)
    start = time.monotonic()
    action()
    seconds = time.monotonic() - start
    after = settled(vsockfsctl, point)
    told = {name: n - before.get(name, 0) for name, n in after.items() if name != "SEQUENCE"}
    return {name: n for name, n in told.items() if n}, seconds
