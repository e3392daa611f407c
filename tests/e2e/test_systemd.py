#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units that are installed, checked by systemd and run by it."""

import os
import re
import signal
import subprocess

from harness import ROOT, Suite, need
from systemd import Systemd
from test_takeover import need_kernel

suite = Suite()
UNITS = os.path.join(ROOT, "contrib", "systemd")
# systemd's word for OK is "below 5"
EXPOSED_LEAST = 50


def unit_text(conf="/etc/vsockfs"):
    with open(os.path.join(UNITS, "vsockfs@.service.in")) as f:
        text = f.read()
    return text.replace("@bindir@/vsockfs", suite.program()).replace("/etc/vsockfs", conf)


def analyze(*words):
    done = subprocess.run(["systemd-analyze", *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors="replace")


def instance(env):
    name = os.path.join(os.path.dirname(env.scratch("units")), "vsockfs@mnt-data.service")
    with open(name, "w") as f:
        f.write(unit_text())
    return name


@suite.test("systemd finds nothing wrong with the units")
def verified(env):
    need("systemd-analyze")
    units = [instance(env)]
    for name in ("mnt-data.mount", "mnt-data.automount"):
        units.append(os.path.join(UNITS, "examples", name))
    assert analyze("verify", "--man=no", *units) == (0, ""), analyze("verify", "--man=no", *units)


@suite.test("the daemon's service is confined as far as a service that mounts can be")
def secure(env):
    need("systemd-analyze")
    status, text = analyze("security", "--offline=yes", f"--threshold={EXPOSED_LEAST}",
                           instance(env))
    assert status == 0, text
    # no mount namespace: nobody else would see what is mounted
    for word in ("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts",
                 "ReadOnlyPaths", "ProtectKernelTunables", "ProtectKernelModules",
                 "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "DynamicUser"):
        assert not re.search(f"^{word}=", unit_text(), re.M), word


class Service:
    """vsockfs@ for a directory of the test's."""

    def __init__(self, env, systemd):
        self.systemd = systemd
        self.env = env
        self.point = os.path.join(env.work, "a point")
        os.makedirs(self.point, exist_ok=True)
        name = env.run(["systemd-escape", "-p", self.point]).strip()
        self.unit = f"vsockfs@{name}.service"
        conf = env.scratch("conf")
        os.makedirs(conf + os.path.dirname(self.point))
        with open(f"{conf}{self.point}.conf", "w") as f:
            f.write(f"SOURCE={suite.source()}\n")
        systemd.write("vsockfs@.service", unit_text(conf))

    def path(self, *parts):
        return self.systemd.path(os.path.join(self.point, self.env.name, *parts))

    def mounted(self):
        with open(f"/proc/{self.systemd.pid()}/mountinfo") as f:
            return f" {self.point} ".replace("a point", "a\\040point") in f.read()

    def main_pid(self):
        """As it is numbered here, or None."""
        try:
            with open(os.path.join(self.systemd.group, "system.slice",
                                   f"system-vsockfs.slice/{self.unit}", "cgroup.procs")) as f:
                pids = f.read().split()
        except FileNotFoundError:
            return None
        for pid in pids:
            try:
                with open(f"/proc/{pid}/comm") as f:
                    if f.read() == "vsockfs\n":
                        return int(pid)
            except OSError:
                continue
        return None

    def serves(self, before):
        return (self.main_pid() not in (None, before) and
                self.systemd.show(self.unit, "ActiveState") == "active")


def rights(pid):
    with open(f"/proc/{pid}/status") as f:
        words = ("CapEff", "CapPrm", "NoNewPrivs", "Seccomp", "VmLck")
        lines = [line for line in f if line.split(":")[0] in words]
    with open(f"/proc/{pid}/oom_score_adj") as f:
        return lines + [f.read()]


@suite.test("a service that is killed, or restarted, goes on with the files that are open",
            timeout=120)
def goes_on(env):
    need_kernel()
    machine = Systemd(env)
    service = Service(env, machine)
    with machine:
        machine.must("start", service.unit)
        assert service.mounted()
        # the unit forbids nothing that the daemon would do for itself
        assert rights(service.main_pid()) == rights(suite.mount.process.pid)
        f = open(service.path("f"), "w+b", buffering=0)
        f.write(b"started ")
        device = os.fstat(f.fileno()).st_dev
        for number, word in ((signal.SIGKILL, b"killed "), (None, b"restarted ")):
            pid = service.main_pid()
            if number:
                os.kill(pid, number)
                env.eventually(lambda p=pid: service.serves(p), within=60, what="the next daemon")
            else:
                machine.must("restart", service.unit)
                assert service.serves(pid)
            f.write(word)
            assert os.stat(service.path("f")).st_dev == device
            assert int(machine.show(service.unit, "NFileDescriptorStore")) >= 2
        f.close()
        machine.must("stop", service.unit)
        assert not service.mounted()
        assert machine.show(service.unit, "Result") == "success"
        assert machine.show(service.unit, "NFileDescriptorStore") == "0"
        with open(env.on_disk("f"), "rb") as f:
            assert f.read() == b"started killed restarted "


if __name__ == "__main__":
    suite.main()
