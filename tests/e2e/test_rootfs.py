#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""-o rootfs, as far as it shows without a root file system: tests/vm/boot.py has the rest."""

import errno
import json
import os
import signal
import subprocess

from harness import Suite, build_path
from hostile import Hostile
from mounts import mountinfo, processes_of
from nfsreply import LOOKUP, record
from test_basic import read, write
from test_daemon import need_resource

suite = Suite()

NAMES = ("vsockfs", "vsockfs-guard", "vsockfs-notify")
NFS4ERR_PERM, NFS4ERR_IO, NFS4ERR_ACCESS, NFS4ERR_STALE, NFS4ERR_SERVERFAULT = 1, 5, 13, 70, 10006


def processes(point):
    return {name: processes_of(point, name) for name in NAMES}


def proc(pid, name):
    with open(f"/proc/{pid}/{name}") as f:
        return f.read()


def rooted(env, options="", **more):
    """A mount in the background, whose processes are a group of their own."""
    return env.mount(f"rootfs,{options}", background=True, **more)


@suite.test("every process is marked")
def marked(env):
    found = processes(rooted(env).point)
    assert all(found.values()), found
    for pid in sum(found.values(), []):
        assert proc(pid, "cmdline").startswith("@"), proc(pid, "cmdline")


@suite.test("none of them is killed when memory is short")
def spared(env):
    need_resource()
    for pid in sum(processes(rooted(env).point).values(), []):
        assert proc(pid, "oom_score_adj").strip() == "-1000", pid


@suite.test("signals that end other mounts do not end it")
def signals(env):
    mount = rooted(env)
    pid, = mount.pids()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    write(os.path.join(mount.point, env.name, "file"), b"after")
    assert mount.pids() == [pid]
    assert read(env.on_disk("file")) == b"after"


@suite.test("stopped it goes on by itself, all of its processes, as often as it is stopped")
def stopped(env):
    mount = rooted(env, "noac")
    pids = sum(processes(mount.point).values(), [])
    for i in range(3):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        write(os.path.join(mount.point, env.name, "file"), b"%d" % i)
        assert read(env.on_disk("file")) == b"%d" % i
        # stop signals are taken by each thread in its own time
        env.eventually(lambda: not any(proc(pid, "stat").rpartition(")")[2].split()[0] == "T"
                                       for pid in pids), within=10, what="processes that run")


def failing(status):
    def damage(_, reply):
        at = next(i for i, op in enumerate(reply.ops) if op[0] == LOOKUP)
        reply.ops = reply.ops[:at] + [[LOOKUP, status, b""]]
        reply.status, reply.count = status, at + 1
        return record(reply.bytes())
    return damage


@suite.test("no error of the server's takes away what is mounted on a directory", timeout=60)
def submounts(env):
    h = Hostile(env, "rootfs,nconnect=1,noac,timeo=20")
    point = h.path("d")
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    env.stack.callback(subprocess.run, ["umount", point])
    write(os.path.join(point, "inside"), b"")
    for status in (NFS4ERR_PERM, NFS4ERR_IO, NFS4ERR_ACCESS, NFS4ERR_STALE, NFS4ERR_SERVERFAULT):
        h.proxy.arm(failing(status), LOOKUP)
        try:
            os.stat(os.path.join(point, "inside"))
            raise AssertionError(f"{status} is not seen")
        except OSError as e:
            assert e.errno == errno.EINTR, (status, e)
        assert h.proxy.hits == 1
        assert os.listdir(point) == ["inside"], status
    assert mountinfo(point)[1] == "tmpfs"


@suite.test("a name that the kernel has not is refused as the server says")
def unknown(env):
    h = Hostile(env, "rootfs,nconnect=1,noac,timeo=20")
    write(env.on_disk("unseen"), b"")
    fail = failing(NFS4ERR_IO)
    # the directory's name is asked for first
    h.proxy.arm(lambda *a: record(a[1].bytes()) if h.proxy.hits == 1 else fail(*a), LOOKUP, times=2)
    try:
        os.stat(h.path("unseen"))
        raise AssertionError("it is seen")
    except OSError as e:
        assert e.errno == errno.EIO, e


@suite.test("what is written is committed without fsync(2) or close(2)")
def commits(env):
    mount = rooted(env, "wsize=65536")

    def committed():
        told = json.loads(env.run([build_path("src/ctl/vsockfsctl"), "stats", "--json",
                                   mount.point]))
        return told["operations"].get("COMMIT", {}).get("replies", 0)

    with open(os.path.join(mount.point, env.name, "file"), "wb", buffering=0) as f:
        f.write(b"x" * 300_000)
        env.eventually(lambda: committed() > 0, within=10, what="a COMMIT")


@suite.test("it ends with its mount, and leaves no process")
def ends(env):
    mount = suite.new_mount(os.path.join(env.work, env.name + "-mnt"), "rootfs", background=True)
    mount.start()
    pids = sum(processes(mount.point).values(), [])
    mount.umount()
    env.eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), within=10,
                   what="the end of its processes")


if __name__ == "__main__":
    suite.main()
