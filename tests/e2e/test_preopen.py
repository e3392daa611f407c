#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small files that are opened ahead of a program which reads one after the other. nfs-ganesha delegates
nothing, so a proxy says that it does; what a recall does to such files is told on knfsd (tests/vm)."""

import contextlib
import errno
import json
import os
import subprocess
import time

import nfsreply as nfs
from delegating import Delegating
from harness import Suite
from mounts import Mount, forget
from test_basic import read, write
from test_closes import requests
from test_stats import vsockfsctl

suite = Suite()
FILES = 40
STRIDE = 3  # what goes on in an order leaves out less than that
# attributes do not expire, so that all that is counted is opening
OPTIONS = "nconnect=1,acregmin=60,acdirmin=60,acregmax=60,acdirmax=60"


class Tree:
    """A mount through the proxy and a directory of small files, which was listed."""

    def __init__(self, env, options="", files=FILES):
        self.env = env
        self.contents = {f"f{i}.c": os.urandom(1000 + 97 * i) for i in range(files)}
        os.mkdir(env.on_disk("d"))
        for name, data in self.contents.items():
            write(env.on_disk("d", name), data)
        point = os.path.join(env.work, env.name + "-mount")
        stack = env.stack.enter_context(contextlib.ExitStack())
        self.proxy = Delegating(point + ".sock", env.port)
        stack.callback(self.proxy.stop)
        self.mount = stack.enter_context(Mount(
            env.suite.program(), f"unix:{self.proxy.path}:/export", point,
            ",".join(filter(None, [OPTIONS, options]))))
        self.dir = os.path.join(point, env.name, "d")
        self.names = os.listdir(self.dir)
        assert sorted(self.names) == sorted(self.contents)

    def path(self, name):
        return os.path.join(self.dir, name)

    def told(self):
        done = subprocess.run([vsockfsctl(), "stats", "--json", self.mount.point], check=True,
                              stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def rpcs(self, op="OPEN"):
        return self.told()["operations"].get(op, {"rpcs": 0})["rpcs"]

    def local(self):
        return self.told()["delegations"]["opens"]

    def ahead(self):
        """Files opened ahead: all, those of use, those of none."""
        told = self.told()["opened_ahead"]
        return told["files"], told["used"], told["dropped"]

    def quiet(self):
        """OPENs once none is under way."""
        before = None
        while (after := self.told()["operations"]["OPEN"]) != before or after["rpcs"] != after["replies"]:
            before = after
            time.sleep(0.2)
        return after["rpcs"]

    def check(self, names):
        for name in names:
            assert read(self.path(name)) == self.contents[name], name


def orders(tree):
    return {"as the directory lists them": tree.names,
            "by inode number": sorted(tree.names, key=lambda n: os.stat(tree.path(n)).st_ino),
            "by name": sorted(tree.names)}


def follows(order, one, other):
    """May who opens these two be on the way through the directory in that order?"""
    return 0 < order.index(other) - order.index(one) <= STRIDE


def walk(tree, which="by name"):
    """The names in an order, from the first on with which no other one is begun: inode numbers are as
    the disk had them free, and what they are in the order of may be anything."""
    order = orders(tree)
    names, others = order.pop(which), order.values()
    while any(follows(other, *names[:2]) and follows(other, *names[1:3]) for other in others):
        names = names[1:]
    return names


def aimless(tree):
    """Half of the names, of which two now and then, but never three, follow each other in an order."""
    in_any, names, left = orders(tree).values(), tree.names[:1], tree.names[1:]

    def step(name):
        return any(follows(order, names[-1], name) for order in in_any)
    while len(names) < FILES // 2:
        for wanted in True, False:
            name = next((n for n in left if step(n) == wanted), left[0])
            left.remove(name)
            names.append(name)
    return names


def in_order(which):
    def work(env):
        tree = Tree(env)
        names = walk(tree, which)
        tree.check(names)
        # each file once, the first three for the program itself
        assert tree.quiet() == len(names), tree.told()
        assert tree.local() == len(names) - 3, tree.told()
        assert tree.ahead() == (len(names) - 3, len(names) - 3, 0)
        assert tree.rpcs("READ") == 0
    return work


for order in ("as the directory lists them", "by inode number", "by name"):
    suite.test(f"files are opened ahead: {order}")(in_order(order))


@suite.test("nothing is opened ahead of who opens files without an order")
def without_order(env):
    tree = Tree(env)
    names = aimless(tree)
    tree.check(names)
    assert tree.quiet() == len(names)
    assert tree.local() == 0
    assert tree.ahead() == (0, 0, 0)


@suite.test("few are opened that nobody wants")
def unwanted(env):
    tree = Tree(env)
    names = walk(tree)
    tree.check(names[:3])
    assert tree.quiet() == 7
    # and read later, they are opened here, but their data is asked for
    env.eventually(lambda: tree.ahead() == (4, 0, 4), within=20, what="the end of their data")
    tree.check(names[3:7])
    assert tree.local() == 4
    assert tree.rpcs("READ") == 4


@suite.test("what comes late that nobody wants goes all the same", timeout=60)
def unwanted_late(env):
    tree = Tree(env)
    names = walk(tree)
    tree.check(names[:2])
    tree.proxy.slow = 1.1
    tree.check(names[2:3])
    tree.proxy.slow = 0
    assert tree.quiet() == 7
    env.eventually(lambda: tree.ahead() == (4, 0, 4), within=20, what="the end of their data")
    tree.check(names[3:7])
    assert tree.rpcs("READ") == 4


@suite.test("what has changed before it was opened ahead is read as it is")
def changed_before(env):
    tree = Tree(env)
    names = walk(tree)
    for name in names[5:10]:
        tree.contents[name] = os.urandom(20000)
        write(env.on_disk("d", name), tree.contents[name])
    os.unlink(env.on_disk("d", names[12]))
    tree.check(names[:12] + names[13:])
    env.fails(errno.ENOENT, read, tree.path(names[12]))


@suite.test("an open waits for the one ahead of it, and is not sent twice")
def waits(env):
    tree = Tree(env)
    names = walk(tree)
    tree.proxy.slow = 0.2
    tree.check(names[:7])
    tree.proxy.slow = 0
    opened = tree.quiet()
    tree.check(names)
    assert tree.quiet() == len(names)
    assert opened < len(names)


@suite.test("an open ahead that fails leaves the program its own", timeout=60)
def fails(env):
    tree = Tree(env)
    names = walk(tree)
    tree.check(names[:2])

    def delay(_, reply):
        op = reply.find(nfs.OPEN)
        at = reply.ops.index(op)
        reply.ops = reply.ops[:at] + [[nfs.OPEN, 10008, b""]]  # NFS4ERR_DELAY
        reply.status, reply.count = 10008, at + 1
        return nfs.record(reply.bytes())
    tree.check(names[2:3])
    tree.quiet()
    tree.proxy.arm(delay, nfs.OPEN, times=6)
    tree.check(names[3:])
    assert tree.proxy.hits == 6


@suite.test("another user's open is the server's to grant")
def other_user(env):
    tree = Tree(env, "allow_other,default_permissions")
    names = walk(tree)
    for name in names:
        os.chmod(env.on_disk("d", name), 0o600)
    tree.check(names[:3])
    tree.quiet()
    before = tree.local()
    for name in names[3:7]:
        done = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "cat", tree.path(name)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode != 0 and done.stdout == b"", done
    assert tree.local() == before
    tree.check(names)


@suite.test("what was opened ahead can be written, removed and renamed")
def used_otherwise(env):
    tree = Tree(env)
    names = walk(tree)
    tree.check(names[:3])
    tree.quiet()
    with open(tree.path(names[3]), "ab") as out:
        out.write(b"more")
    tree.contents[names[3]] += b"more"
    os.unlink(tree.path(names[4]))
    os.rename(tree.path(names[5]), tree.path("other"))
    tree.contents["other"] = tree.contents[names[5]]
    os.truncate(tree.path(names[6]), 10)
    tree.contents[names[6]] = tree.contents[names[6]][:10]
    tree.check(names[3:4] + ["other"] + names[6:])
    assert read(env.on_disk("d", names[3])) == tree.contents[names[3]]
    assert not os.path.exists(env.on_disk("d", names[4]))


@suite.test("the mount ends while files are being opened ahead", timeout=60)
def unmounted(env):
    tree = Tree(env)
    names = walk(tree)
    tree.check(names[:2])
    tree.proxy.slow = 0.5
    read(tree.path(names[2]))
    assert tree.rpcs() > 3


@suite.test("what is opened ahead is copied without being read or written by the kernel")
def copied(env):
    tree = Tree(env)
    names = sorted(tree.names)
    with requests(env, tree.mount.point) as told:
        for name in names:
            with open(tree.path(name), "rb") as source, open(tree.path(f"{name}.copy"), "xb") as copy:
                size = len(tree.contents[name])
                assert os.copy_file_range(source.fileno(), copy.fileno(), size) == size
    # the first one is in the page cache: nobody could know what for
    assert told.count("COPY_FILE_RANGE") >= FILES, told
    assert told.count("READ") == 0, told
    # what the daemon has gathered; and the kernel's for the first
    assert told.count("WRITE") <= FILES + 1, told
    for name in names:
        assert read(env.on_disk("d", f"{name}.copy")) == tree.contents[name]
    again = Tree.told(tree)["operations"]["OPEN"]["rpcs"]
    assert again == 2 * FILES, again


@suite.test("with delegations=none nothing is opened ahead")
def none(env):
    tree = Tree(env, "delegations=none")
    tree.check(sorted(tree.names))
    assert tree.quiet() == FILES
    assert tree.local() == 0


@suite.test("delegations of files that the kernel forgets go back together")
def together(env):
    tree = Tree(env)
    tree.check(tree.names)
    assert tree.told()["delegations"]["read"] == FILES
    forget(tree.mount.point)
    env.eventually(lambda: tree.told()["delegations"]["read"] == 0, what="the last return")
    assert tree.proxy.returned == FILES
    assert tree.rpcs("DELEGRETURN") <= FILES // 4, tree.rpcs("DELEGRETURN")


if __name__ == "__main__":
    suite.main()
