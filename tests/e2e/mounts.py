# SPDX-License-Identifier: LGPL-2.1-or-later
"""vsockfs as a child process, its mount, and what to look at when it hangs."""

import ctypes
import os
import pwd
import select
import shutil
import subprocess
import time

import ring
from ganesha import die_with_parent

MOUNT_SECONDS = 20
UNMOUNT_SECONDS = 20
FUSECTL = "/sys/fs/fuse/connections"
MS_REMOUNT = 32
LIBC = ctypes.CDLL(None, use_errno=True)


class MountFailed(Exception):
    def __init__(self, status, stderr):
        super().__init__(f"vsockfs ended with status {status}: {stderr.strip()}")
        self.status = status
        self.stderr = stderr


def identity(user, groups=()):
    """Arguments of subprocess for a program that runs as this user; None is who we are."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": list(groups)}


def mountinfo(point):
    """(device number, file system type, source, options) of the topmost mount on point, or None."""
    found = None
    with open("/proc/self/mountinfo", errors="surrogateescape") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            fields = left.split()
            if fields[4].replace("\\040", " ") == point:
                fstype, source, superopts = right.split()[:3]
                found = fields[2], fstype, source, f"{fields[5]},{superopts}"
    return found


def forget(point):
    """Has the kernel forget what nobody has open in this file system, and in no other.

    To mount it again with what it has does so; /proc/sys/vm/drop_caches would take from programs
    whose round trips are being counted.
    """
    flags = os.statvfs(point).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    if LIBC.mount(None, os.fsencode(point), None, ctypes.c_ulong(MS_REMOUNT | flags), None) < 0:
        raise OSError(ctypes.get_errno(), f"remount of {point}")


def processes_of(point, name="vsockfs"):
    """Pids of the daemons that serve point: background mode has no child to ask."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as f:
                comm = f.read().strip()
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if comm == name and os.fsencode(point) in words:
            found.append(int(pid))
    return found


def guards_of(point):
    """The processes that unmount point, and nothing else."""
    return processes_of(point, "vsockfs-guard")


def stacks(pid):
    """Where every thread of pid is: user stacks by gdb, kernel stacks by /proc."""
    text = ""
    if shutil.which("gdb"):
        try:
            text = subprocess.run(
                ["gdb", "-p", str(pid), "-batch", "-nx", "-ex", "thread apply all bt 16"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                timeout=30).stdout.decode(errors="replace")
        except subprocess.TimeoutExpired:
            text = "gdb does not return\n"
    return text + kernel_stacks(pid)


def kernel_stacks(pid):
    text = ""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for name in ("comm", "wchan", "stack"):
                with open(f"/proc/{pid}/task/{task}/{name}") as f:
                    text += f"{task} {name}: {f.read().strip()}\n"
    except OSError as e:
        text += f"{pid}: {e.strerror}\n"
    return text


def abort_connection(point):
    """Frees whoever waits for an answer of this mount."""
    info = mountinfo(point)
    if not info:
        return
    if not mountinfo(FUSECTL):
        subprocess.run(["mount", "-t", "fusectl", "none", FUSECTL], check=False)
    try:
        with open(f"{FUSECTL}/{info[0].split(':')[1]}/abort", "w") as f:
            f.write("1")
    except OSError:
        pass


class Mount:
    """One `vsockfs SOURCE POINT`; a context manager that unmounts and wants status 0."""

    def __init__(self, program, source, point, options="", log=None, user=None, background=False):
        self.program = program
        self.source = source
        self.point = point
        self.options = options
        self.log = log or point.rstrip("/") + ".log"
        self.user = user
        self.background = background
        self.process = None

    def command(self):
        words = [self.program, self.source, self.point]
        if not self.background:
            words.append("-f")
        if self.options:
            words += ["-o", self.options]
        return words

    def start(self):
        words = [w for w in self.options.split(",") if w.startswith("fuse_uring=")]
        if words[-1:] != ["fuse_uring=on"]:
            return self._start()
        with ring.enabled():
            self._start()
            os.stat(self.point)  # answered when the kernel and the daemon have agreed
        return self

    def _start(self):
        os.makedirs(self.point, exist_ok=True)
        if self.background:
            self._start_background()
            return self
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                preexec_fn=die_with_parent if self.user is None else None, **identity(self.user))
        self._wait_mounted()
        return self

    def _start_background(self):
        done = subprocess.run(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=MOUNT_SECONDS, cwd="/", **identity(self.user))
        if done.returncode != 0:
            raise MountFailed(done.returncode, done.stderr.decode(errors="replace"))

    def _wait_mounted(self):
        deadline = time.monotonic() + MOUNT_SECONDS
        with open("/proc/self/mountinfo") as f:
            poller = select.poll()
            poller.register(f, select.POLLPRI | select.POLLERR)
            while not mountinfo(self.point):
                if self.process.poll() is not None:
                    raise MountFailed(self.process.returncode, self.log_tail())
                if time.monotonic() > deadline:
                    where = stacks(self.process.pid)
                    self.kill()
                    raise RuntimeError(f"not mounted after {MOUNT_SECONDS} s\n{where}")
                poller.poll(50)

    def pids(self):
        return [self.process.pid] if self.process else processes_of(self.point)

    def dead(self):
        """How the daemon ended, when it did without being asked to; else None."""
        status = self.process.poll() if self.process else None
        return None if status is None else f"vsockfs ended by itself with status {status}"

    def umount(self):
        """umount(8), then the end of the daemon; raises when either does not come off well."""
        pids = self.pids()
        tool = ["umount"] if self.user is None else ["fusermount3", "-u"]
        done = subprocess.run([*tool, self.point], stdin=subprocess.DEVNULL, cwd="/",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=UNMOUNT_SECONDS, **identity(self.user))
        if done.returncode != 0:
            raise RuntimeError(f"umount: {done.stdout.decode(errors='replace').strip()}")
        deadline = time.monotonic() + UNMOUNT_SECONDS
        while any(self._alive(pid) for pid in pids):
            if time.monotonic() > deadline:
                where = "".join(stacks(pid) for pid in pids)
                self.kill()
                raise RuntimeError(f"vsockfs lives {UNMOUNT_SECONDS} s after umount\n{where}")
            time.sleep(0.005)
        if self.process and self.process.returncode != 0:
            raise RuntimeError(f"vsockfs ended with status {self.process.returncode} after umount:"
                               f"\n{self.log_tail()}")

    def _alive(self, pid):
        if self.process:
            return self.process.poll() is None
        return os.path.exists(f"/proc/{pid}")

    def kill(self):
        """The way out of a hang: nothing of this mount is left, whatever state it was in."""
        pids = self.pids()
        abort_connection(self.point)
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        while mountinfo(self.point):
            if subprocess.run(["umount", "-l", self.point], check=False).returncode != 0:
                break
        if self.process:
            self.process.wait()

    def log_tail(self, lines=40):
        try:
            with open(self.log, errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except OSError:
            return ""

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.umount()
        elif mountinfo(self.point) or (self.process and self.process.poll() is None):
            try:
                self.umount()
            except (RuntimeError, subprocess.TimeoutExpired):
                self.kill()
