# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mount whose daemon is killed now and then, and started again by a service manager."""

import contextlib
import os
import re
import subprocess
import time

from ganesha import Unavailable
from manager import Manager
from mounts import UNMOUNT_SECONDS, Mount, abort_connection, mountinfo, stacks


class Process:
    """The daemon at the moment."""

    def __init__(self, pid):
        self.pid = pid


class Kept(Mount):
    def __init__(self, program, source, point, options=""):
        super().__init__(program, source, point, options + ",takeover")
        self.manager = None

    def start(self):
        release = re.match(r"(\d+)\.(\d+)", os.uname().release)
        if tuple(map(int, release.groups())) < (6, 9):
            raise Unavailable("this kernel cannot send FUSE requests again (6.9 can)")
        os.makedirs(self.point, exist_ok=True)
        work = self.point + "-manager"
        os.mkdir(work)
        self.manager = Manager(work, self.command(), self.log)
        self.process = Process(self.manager.start())
        return self

    def kill_daemon(self, pause):
        """At whatever it is doing; the next one comes after so many seconds."""
        self.manager.kill()
        time.sleep(pause)
        self.process = Process(self.manager.start())

    def dead(self):
        return "vsockfs ended by itself" if self.manager.ended() else None

    def umount(self):
        subprocess.run(["umount", self.point], stdin=subprocess.DEVNULL, cwd="/", check=True,
                       timeout=UNMOUNT_SECONDS)
        deadline = time.monotonic() + UNMOUNT_SECONDS
        while not self.manager.ended():
            if time.monotonic() > deadline:
                raise RuntimeError(f"vsockfs lives {UNMOUNT_SECONDS} s after umount\n"
                                   + stacks(self.process.pid))
            time.sleep(0.01)
        self.manager.close()
        self.manager = None

    def kill(self):
        if self.manager is None:
            return
        abort_connection(self.point)
        with contextlib.suppress(RuntimeError, OSError):
            self.manager.kill()
        self.manager.close()
        self.manager = None
        while mountinfo(self.point):
            if subprocess.run(["umount", "-l", self.point], check=False).returncode != 0:
                break
