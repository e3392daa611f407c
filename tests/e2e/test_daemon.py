#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a process: what rights it keeps, how it and its mount end, what memory it locks."""

import contextlib
import errno
import mmap
import os
import resource
import shutil
import signal
import subprocess
import time

from harness import Skip, Suite, errno_of
from mounts import LIBC, guards_of, mountinfo, processes_of
from test_inside import vsockfsctl

suite = Suite()

CAP_NET_BIND_SERVICE = 1 << 10
CAP_NET_ADMIN = 1 << 12
CAP_SYS_ADMIN = 1 << 21
CAP_SYS_RESOURCE = 1 << 24
# PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, which PR_SET_IO_FLUSHER sets: asking for it takes a right
FLUSHER = 0x00080000 | 0x00100000
RESIDENT_MAX = 16 << 10  # KiB


def status(pid, task=None):
    path = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    with open(path) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def tasks(pid):
    return os.listdir(f"/proc/{pid}/task")


def sanitized():
    return os.environ.get("VSOCKFS_SANITIZED") == "1"


def capabilities(pid, which):
    return {int(status(pid, task)[which], 16) for task in tasks(pid)}


def confined_pid(env, mount):
    """The daemon's pid once it has confined itself, which it does a moment after it has mounted."""
    pid = mount.pids()[0]
    if not sanitized():
        env.eventually(lambda: status(pid)["Seccomp"] == "2", within=10, what="the filter")
    return pid


def need_resource():
    with open("/proc/self/status") as f:
        own = int(next(line for line in f if line.startswith("CapEff")).split()[1], 16)
    if not own & CAP_SYS_RESOURCE:
        raise Skip("root lacks CAP_SYS_RESOURCE here")


def gone(point):
    return mountinfo(point) is None


@suite.test("every thread of the daemon has a filter, no new rights and few capabilities")
def confined(env):
    mount = env.mount("noresvport")
    pid = confined_pid(env, mount)
    for task in tasks(pid):
        s = status(pid, task)
        assert s["NoNewPrivs"] == "1", (task, s["NoNewPrivs"])
        assert sanitized() or s["Seccomp"] == "2", (task, s["Seccomp"])
    needed = CAP_NET_ADMIN if suite.transport == "unix" else 0
    for which in ("CapEff", "CapPrm"):
        assert capabilities(pid, which) == {needed}, (which, capabilities(pid, which))
    for which in ("CapInh", "CapBnd", "CapAmb"):
        assert capabilities(pid, which) == {0}, (which, capabilities(pid, which))


@suite.test("ports below 1024 stay within reach, which reconnecting takes")
def reserved_port(env):
    mount = env.mount("resvport", transport="tcp")
    assert capabilities(mount.process.pid, "CapEff") == {CAP_NET_BIND_SERVICE}


@suite.test("the guard can unmount and nothing else")
def guard_confined(env):
    mount = env.mount()
    env.eventually(lambda: len(guards_of(mount.point)) == 1, within=10,
                   what="the notifier, forked from the guard, under its own name")
    guards = guards_of(mount.point)
    env.eventually(lambda: capabilities(guards[0], "CapEff") == {CAP_SYS_ADMIN}, within=10,
                   what="the guard's loss of rights")
    env.eventually(lambda: sanitized() or status(guards[0])["Seccomp"] == "2", within=10,
                   what="the guard's filter")
    assert status(guards[0])["NoNewPrivs"] == "1"
    fds = os.listdir(f"/proc/{guards[0]}/fd")
    held = [os.readlink(f"/proc/{guards[0]}/fd/{fd}") for fd in fds]
    assert "/dev/fuse" not in held, held


@suite.test("sandbox=no leaves the rights as they are")
def unconfined(env):
    mount = env.mount("sandbox=no")
    path = f"/run/vsockfs/{mountinfo(mount.point)[0]}.sock"
    env.eventually(lambda: os.path.exists(path), within=10, what="the end of the start")
    s = status(mount.process.pid)
    assert (s["Seccomp"], s["NoNewPrivs"]) == ("0", "0"), s
    assert int(s["CapEff"], 16) & CAP_SYS_ADMIN


@suite.test("a user's daemon is confined as well, and ends with its mount by SIGTERM")
def unprivileged(env):
    for options in ("noresvport", "noresvport,auto_unmount"):
        mount = suite.new_mount(os.path.join(env.work, env.name + "-mnt"), options,
                                user="nobody").start()
        try:
            s = status(confined_pid(env, mount))
            assert s["NoNewPrivs"] == "1" and int(s["CapEff"], 16) == 0, s
            mount.process.send_signal(signal.SIGTERM)
            assert mount.process.wait(15) == 0
            assert gone(mount.point) and not guards_of(mount.point)
        finally:
            mount.kill()


def kill_one(env, options, user=None, background=False):
    """A mount whose daemon was killed while a program reads, and that read's errno."""
    point = os.path.join(env.work, env.name + "-mnt")
    mount = suite.new_mount(point, options, user=user, background=background).start()
    pid = mount.pids()[0]
    directory = os.open(point, os.O_RDONLY) if user is None else -1
    os.kill(pid, signal.SIGKILL)
    if mount.process:
        mount.process.wait()
    return mount, directory


def no_process(env, point):
    env.eventually(lambda: not guards_of(point) and not processes_of(point, "fusermount3"),
                   within=10, what="the end of the guard and its helper")


@suite.test("without auto_unmount a killed daemon leaves a mount that fails at once, and no process")
def left(env):
    mount, directory = kill_one(env, "")
    try:
        env.eventually(lambda: errno_of(os.listdir, mount.point) == errno.ENOTCONN, within=10,
                       what="ENOTCONN")
        assert errno_of(os.fstat, directory) in (0, errno.ENOTCONN)
        env.eventually(lambda: not guards_of(mount.point), within=10, what="the guard's end")
        assert not gone(mount.point)
    finally:
        os.close(directory)
        mount.kill()


@suite.test("with auto_unmount the mount of a killed daemon goes, though a program is in it")
def auto_unmount(env):
    for background in (False, True):
        mount, directory = kill_one(env, "auto_unmount", background=background)
        try:
            env.eventually(lambda: gone(mount.point), within=10, what="the end of the mount")
            env.eventually(lambda: errno_of(os.listdir, directory) == errno.ENOTCONN, within=10,
                           what="ENOTCONN")
            assert os.listdir(mount.point) == []
            env.eventually(lambda: not guards_of(mount.point), within=10, what="the guard's end")
        finally:
            os.close(directory)
            mount.kill()


@suite.test("with auto_unmount a user's mount goes as well")
def auto_unmount_user(env):
    mount, _ = kill_one(env, "auto_unmount,noresvport", user="nobody")
    try:
        env.eventually(lambda: gone(mount.point), within=10, what="the end of the mount")
        no_process(env, mount.point)
    finally:
        mount.kill()


@suite.test("auto_unmount does not take away what was mounted over it, or instead of it")
def other_mount(env):
    for user, options in ((None, "auto_unmount"), ("nobody", "auto_unmount,noresvport")):
        point = os.path.join(env.work, f"{env.name}-mnt-{user}")
        mount = suite.new_mount(point, options, user=user).start()
        try:
            env.run(["mount", "-t", "tmpfs", "none", point])
            os.kill(mount.process.pid, signal.SIGKILL)
            mount.process.wait()
            no_process(env, point)
            assert mountinfo(point)[1] == "tmpfs", mountinfo(point)
            env.run(["umount", point])
        finally:
            mount.kill()


def device_of(point):
    """Of the vsockfs on point, whatever is above it."""
    with open("/proc/self/mountinfo") as f:
        lines = [line.split() for line in f]
    return next(w[2] for w in lines if w[4] == point and "fuse.vsockfs" in w)


def listening(path):
    """A killed daemon's socket stays where it was."""
    with open("/proc/net/unix") as f:
        return any(line.split()[-1] == path for line in f)


def cover_early(env, uncover):
    point = os.path.join(env.work, env.name + "-mnt")
    mount = suite.new_mount(point, "auto_unmount")
    # Followed is the guard, the first process forked; "continue" is to the end of mount(2).
    command = ["gdb", "-batch", "-nx", "-ex", "set follow-fork-mode child",
               "-ex", "catch syscall mount", "-ex", "run", "-ex", "continue",
               "-ex", f"shell mount -t tmpfs none {point}", "-ex", "detach",
               "--args", *mount.command()]
    mount.command = lambda: command
    try:
        mount.start()
        assert mount.process.wait(60) == 0, mount.log_tail()
        assert mountinfo(point)[1] == "tmpfs", mountinfo(point)
        assert guards_of(point), mount.log_tail()
        if uncover:
            socket = f"/run/vsockfs/{device_of(point)}.sock"
            env.eventually(lambda: listening(socket), within=10, what="the socket")
            env.run(["umount", point])
        for pid in processes_of(point):
            os.kill(pid, signal.SIGKILL)
        env.eventually(lambda: not guards_of(point), within=10, what="the guard's end")
        if uncover:
            assert gone(point), mountinfo(point)
            return
        assert mountinfo(point)[1] == "tmpfs", mountinfo(point)
        env.run(["umount", point])
        assert not gone(point)
    finally:
        for pid in processes_of(point):
            os.kill(pid, signal.SIGKILL)
        mount.kill()


@suite.test("auto_unmount does not take away what covered its mount before that was looked at")
def other_mount_early(env):
    if not shutil.which("gdb"):
        raise Skip("gdb, which holds the guard up, is not installed")
    cover_early(env, uncover=False)
    cover_early(env, uncover=True)


@suite.test("SIGTERM while files are open takes the mount away, and the rest fails")
def terminated(env):
    mount = suite.new_mount(os.path.join(env.work, env.name + "-mnt")).start()
    try:
        with open(os.path.join(mount.point, env.name, "f"), "wb", buffering=0) as f:
            f.write(b"written")
            mount.process.send_signal(signal.SIGTERM)
            assert mount.process.wait(15) == 0
            assert gone(mount.point) and not guards_of(mount.point)
            assert errno_of(f.write, b"more") == errno.ENOTCONN
        with open(env.on_disk("f"), "rb") as f:
            assert f.read() == b"written"
    except OSError as e:
        assert e.errno == errno.ENOTCONN, e  # close(2)
    finally:
        mount.kill()


@suite.test("the control socket goes with the mount")
def control_socket(env):
    mount = suite.new_mount(os.path.join(env.work, env.name + "-mnt")).start()
    try:
        path = f"/run/vsockfs/{mountinfo(mount.point)[0]}.sock"
        env.eventually(lambda: answers(mount.point), within=10, what="the socket")
        # the next mount of this machine may have the number, and a socket of that name
        own = os.open(path, os.O_PATH)
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(15) == 0
        assert not os.path.exists(path) or not os.path.samestat(os.stat(path), os.fstat(own))
        os.close(own)
    finally:
        mount.kill()


def answers(point):
    """At once: a daemon that is stopped does not."""
    command = [vsockfsctl(), "status", point]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=2).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@suite.test("the control socket of a mount outlives the daemon that had its device number before")
def control_socket_again(env):
    first = suite.new_mount(os.path.join(env.work, env.name + "-mnt")).start()
    second = suite.new_mount(os.path.join(env.work, env.name + "-second"))
    try:
        device = mountinfo(first.point)[0]
        path = f"/run/vsockfs/{device}.sock"
        env.eventually(lambda: listening(path), within=10, what="the socket")
        first.process.send_signal(signal.SIGSTOP)  # so that it does not notice yet
        assert LIBC.umount2(os.fsencode(first.point), 0) == 0  # umount(8) would ask it
        second.start()
        if mountinfo(second.point)[0] != device:
            raise Skip("another mount has taken the number")
        env.eventually(lambda: answers(second.point), within=10, what="its control socket")
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(15) == 0
        assert answers(second.point)
    finally:
        first.process.send_signal(signal.SIGCONT)
        second.kill()
        first.kill()


@suite.test("the daemon allocates as an I/O flusher, and is killed late for want of memory")
def flusher(env):
    need_resource()
    mount = env.mount()
    pid = mount.process.pid
    for task in tasks(pid):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            flags = int(f.read().rsplit(") ", 1)[1].split()[6])
        assert flags & FLUSHER == FLUSHER, (task, hex(flags))
    with open(f"/proc/{pid}/oom_score_adj") as f:
        assert int(f.read()) == -900


@suite.test("the daemon's memory is locked, and little")
def memory(env):
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != resource.RLIM_INFINITY:
        need_resource()
    mount = env.mount()
    os.listdir(mount.point)
    s = status(mount.process.pid)
    locked, resident = int(s["VmLck"].split()[0]), int(s["VmRSS"].split()[0])
    assert locked > 0, s
    assert sanitized() or resident < RESIDENT_MAX, resident
    print(f"# resident {resident} KiB", flush=True)


def append(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(200000))


def grow(path, seen):
    """Somebody else's appends, whose sight makes the daemon drop what the kernel has cached."""
    with contextlib.suppress(OSError):
        for _ in range(1000):
            with open(path, "ab") as f:
                f.write(b"x")
            os.stat(seen)


@suite.test("killed while pages are being written and dropped, the daemon dies, and nobody hangs",
            timeout=120)
def killed_dropping(env):
    for turn in range(12):
        mount = suite.new_mount(os.path.join(env.work, env.name + "-mnt"), "noac").start()
        try:
            path = os.path.join(mount.point, env.name, "f")
            children = [env.child(append, path)]
            env.eventually(lambda: os.path.exists(env.on_disk("f")), within=10, what="a write")
            children.append(env.child(grow, env.on_disk("f"), path))
            time.sleep(0.1 + turn * 0.02)
            mount.process.kill()
            for child in children:
                child.join()
            mount.process.wait(10)
            env.eventually(lambda: errno_of(os.listdir, mount.point) == errno.ENOTCONN, within=10,
                           what="ENOTCONN")
        finally:
            mount.kill()
        os.unlink(env.on_disk("f"))


@contextlib.contextmanager
def memory_limit(limit):
    """A cgroup with so much memory; yields a function that moves a process into it."""
    own = f"vsockfs-{os.getpid()}"
    kinds = (("/sys/fs/cgroup", "cgroup.subtree_control", "memory.max"),
             ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.limit_in_bytes"))
    for root, sign, limit_file in kinds:
        group = os.path.join(root, own)
        with contextlib.suppress(OSError):
            with open(os.path.join(root, sign)) as f:
                if sign.startswith("cgroup") and "memory" not in f.read().split():
                    continue
            os.mkdir(group)
            break
    else:
        raise Skip("no memory controller to make a cgroup with")
    try:
        with open(os.path.join(group, limit_file), "w") as f:
            f.write(str(limit))

        def enter(pid):
            with open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write(str(pid))
        yield enter
    finally:
        with open(os.path.join(group, "cgroup.procs")) as f, \
                open(os.path.join(root, "cgroup.procs"), "w") as back:
            for pid in f.read().split():
                back.write(pid)
                back.flush()
        os.rmdir(group)


def dirty(path, size, enter):
    enter(os.getpid())
    with open(path, "w+b") as f:
        f.truncate(size)
        with mmap.mmap(f.fileno(), size) as m:
            for at in range(0, size, 4096):
                m[at:at + 8] = at.to_bytes(8, "little")


@suite.test("a mapping is written though it is larger than the memory of program and daemon",
            timeout=300)
def pressure(env):
    # Without it the kernel makes the daemon's allocations wait for pages that it is to write.
    need_resource()
    limit = 96 << 20
    size = 3 * limit
    mount = env.mount()
    with memory_limit(limit) as enter:
        enter(mount.process.pid)
        env.child(dirty, os.path.join(mount.point, env.name, "f"), size, enter).join()
    with open(env.on_disk("f"), "rb") as f:
        for at in range(0, size, 4096):
            f.seek(at)
            assert f.read(8) == at.to_bytes(8, "little"), at


if __name__ == "__main__":
    suite.main()
