# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd as the first process of namespaces of its own, with the units of one directory."""

import os
import subprocess
import time

from ganesha import die_with_parent
from harness import WORK_PARENT, WORK_PREFIX, Skip, mounts_below, need

PROGRAM = "/lib/systemd/systemd"
UP_SECONDS = 60
GROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
# what other tests have mounted would not end with their umount while it is here, too
BOOT = """
mount --make-rprivate / &&
for point in {strange}; do umount -l "$point"; done
mount -t proc proc /proc &&
{{ umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; }} &&
mount -t tmpfs none /run &&
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=test SYSTEMD_UNIT_PATH={units} \
    {program} --system --unit=default.target --log-target=console --show-status=no
"""
TARGET = "[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n"


class Systemd:
    def __init__(self, env):
        need("unshare", "nsenter", "systemctl")
        if not os.path.exists(PROGRAM):
            raise Skip("systemd is not installed")
        self.env = env
        self.units = env.scratch("units")
        self.log = env.scratch("systemd.log")
        self.group = None
        os.makedirs(self.units)
        self.write("default.target", TARGET)

    def write(self, name, text):
        with open(os.path.join(self.units, name), "w") as f:
            f.write(text)

    def __enter__(self):
        self.make_group()
        strange = [p for p in mounts_below(WORK_PARENT)
                   if WORK_PREFIX in p and os.path.basename(self.env.work) not in p]
        script = BOOT.format(units=self.units, program=PROGRAM, strange=" ".join(strange) or "''")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "sh", "-c",
                 script], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=self.enter_group)
        self.env.eventually(self.is_up, within=UP_SECONDS, what="systemd")
        return self

    def __exit__(self, kind, value, trace):
        self.process.kill()
        self.process.wait()
        if kind is not None:
            with open(self.log, errors="replace") as f:
                print("#", f.read()[-3000:].replace("\n", "\n# "), flush=True)
        self.remove_group(self.group)

    # Its processes are in a control group of their own, as in a container.

    def make_group(self):
        for top in GROUPS:
            if os.path.exists(os.path.join(top, "cgroup.procs")):
                self.group = os.path.join(top, f"vsockfs-test-{os.getpid()}")
                os.mkdir(self.group)
                return
        raise Skip("no cgroup2 is mounted")

    def enter_group(self):
        die_with_parent()
        with open(os.path.join(self.group, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    @staticmethod
    def remove_group(group):
        deadline = time.monotonic() + 20
        for where, _, _ in os.walk(group, topdown=False):
            while True:
                try:
                    os.rmdir(where)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def pid(self):
        """Of systemd, outside: the child of unshare."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            words = f.read().split()
        return words[0] if words else None

    def is_up(self):
        if self.process.poll() is not None:
            with open(self.log, errors="replace") as f:
                raise Skip("systemd does not run in namespaces here: " + f.read()[-300:])
        return self.pid() and self.systemctl("is-system-running")[1].strip() == "running"

    def systemctl(self, *words):
        """(status, what it says)"""
        done = subprocess.run(["nsenter", "-t", self.pid(), "-m", "-p", "systemctl", *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd="/")
        return done.returncode, done.stdout.decode(errors="replace")

    def must(self, *words):
        status, text = self.systemctl(*words)
        assert status == 0, f"systemctl {' '.join(words)}: {text}"
        return text

    def show(self, unit, what):
        return self.must("show", "-P", what, unit).strip()

    def path(self, path):
        """A path as it is seen there."""
        return f"/proc/{self.pid()}/root{path}"
