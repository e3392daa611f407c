#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounted when somebody looks, unmounted when nobody does: systemd's automount units, made from
fstab(5) by its own generator and run by a systemd of the test's own, and automount(8)."""

import contextlib
import os
import re
import shutil
import subprocess
import time

from harness import Skip, Suite, need, say
from installed import daemons, install_here, replace_file, serving

suite = Suite()
SYSTEMD = "/lib/systemd/systemd"
GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"
UNITS = "/run/units"
AT_LEISURE = 25  # a second of idleness, and how often it is looked for


def have(path):
    if not os.access(path, os.X_OK):
        raise Skip(f"{path} is not installed")


def ini(path):
    """{key: [values]} of a unit."""
    found = {}
    with open(path) as f:
        for line in f:
            key, equals, value = line.rstrip("\n").partition("=")
            if equals and not key.startswith("#"):
                found.setdefault(key, []).append(value)
    return found


def point_of(env, name):
    point = env.scratch(name)
    os.makedirs(point)
    os.chmod(os.path.dirname(point), 0o755)
    return point


def unit_name(point, kind):
    """As systemd-escape(1) has it."""
    return re.sub(r"[^A-Za-z0-9_.:]", lambda c: "-" if c[0] == "/" else f"\\x{ord(c[0]):02x}",
                  point.strip("/")) + kind


@suite.test("systemd's generator makes of fstab lines what the manual says")
def generated(env):
    have(GENERATOR)
    install_here(env)
    replace_file(env, "/etc/fstab", "".join(f"{line} 0 0\n" for line in (
        "2:/export /mnt/a fuse.vsockfs nofail,x-systemd.requires=modprobe@vsock.service,"
        "x-systemd.mount-timeout=60s,x-systemd.automount,x-systemd.idle-timeout=5min",
        "2:/with\\040blank/ /mnt/b vsockfs ro", "host:/x /mnt/c vsockfs noauto,user",
        "vsock:2:/x /mnt/d fuse.vsockfs _netdev")))
    out = [point_of(env, name) for name in ("normal", "early", "late")]
    env.run([GENERATOR, *out])
    units = ini(os.path.join(out[0], "mnt-a.mount"))
    assert (units["What"], units["Type"]) == (["2:/export"], ["fuse.vsockfs"]), units
    assert units["TimeoutSec"] == ["1min"], units
    assert "modprobe@vsock.service" in units["Requires"], units
    assert ini(os.path.join(out[0], "mnt-a.automount"))["TimeoutIdleSec"] == ["5min"]
    assert ini(os.path.join(out[0], "mnt-b.mount"))["What"] == ["2:/with blank/"]
    local = {kind: set(os.listdir(os.path.join(out[0], f"local-fs.target.{kind}")))
             for kind in ("wants", "requires")}
    # nofail: the boot goes on without it; noauto: nobody wants it; no network is waited for
    assert "mnt-a.automount" in local["wants"] and "mnt-b.mount" in local["requires"], local
    assert not {"mnt-c.mount", "mnt-d.mount"} & (local["wants"] | local["requires"]), local
    assert os.listdir(os.path.join(out[0], "remote-fs.target.requires")) == ["mnt-d.mount"]


# A systemd of our own


def cgroup(env):
    """A control group below which that systemd may do what it likes."""
    root = point_of(env, "cgroups")
    if subprocess.run(["mount", "-t", "cgroup2", "none", root], check=False).returncode != 0:
        raise Skip("no cgroup2 file system")
    group = os.path.join(root, f"vsockfs-{os.getpid()}")
    os.mkdir(group)
    return group


def remove_cgroup(env, group):
    def empty():
        with open(os.path.join(group, "cgroup.events")) as f:
            return "populated 0" in f.read()
    env.eventually(empty, 10, "the end of systemd's programs")
    for where, _, _ in os.walk(group, topdown=False):
        os.rmdir(where)


def write_units(targets):
    """The few that fstab's need; the machine's own are not for this."""
    os.makedirs(UNITS)
    for name in ("local-fs.target", "remote-fs.target", "shutdown.target"):
        with open(os.path.join(UNITS, name), "w") as f:
            f.write("[Unit]\nDefaultDependencies=no\n")
    with open(os.path.join(UNITS, "default.target"), "w") as f:
        f.write(f"[Unit]\nWants={targets}\nAfter={targets}\n")
    with open(os.path.join(UNITS, "systemd-remount-fs.service"), "w") as f:
        f.write("[Service]\nExecStart=/bin/true\nType=oneshot\n")


class Systemd:
    def __init__(self, env, group):
        self.env = env
        shell = (f"echo $$ > {group}/cgroup.procs && exec unshare -m -p -C -f --kill-child "
                 f"--mount-proc sh -c 'umount -R /sys/fs/cgroup; "
                 f"mount -t cgroup2 none /sys/fs/cgroup && exec {SYSTEMD} --system "
                 f"--unit=default.target --log-target=console --show-status=no'")
        words = dict(os.environ, container="vsockfs-test",
                     SYSTEMD_UNIT_PATH=f"{UNITS}:/run/systemd/generator")
        self.log = env.scratch("systemd.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["sh", "-c", shell], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=words)
        env.eventually(self.is_up, 20, "systemd")

    def pid(self):
        with contextlib.suppress(OSError, IndexError):
            me = self.process.pid
            with open(f"/proc/{me}/task/{me}/children") as f:
                return int(f.read().split()[0])
        return None

    def inside(self, *words):
        done = subprocess.run(["nsenter", "-m", "-p", "-C", "-t", str(self.pid()), *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20, check=False)
        return done.returncode, done.stdout.decode(errors="replace").strip()

    def is_up(self):
        return self.pid() and self.inside("systemctl", "is-active", "default.target")[0] == 0

    def active(self, unit):
        return self.inside("systemctl", "show", "-P", "ActiveState", unit)[1]

    def tail(self):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-20:])

    def end(self):
        if self.pid():
            os.kill(self.pid(), 9)
        self.process.wait()


@contextlib.contextmanager
def systemd(env, *lines):
    """Boots with these lines of fstab."""
    have(SYSTEMD)
    have(GENERATOR)
    need("unshare", "nsenter", "systemctl")
    install_here(env)
    group = cgroup(env)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    generators = os.path.dirname(GENERATOR)
    subprocess.run(["mount", "--bind", generators, point_of(env, "generators")], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", generators], check=True)
    shutil.copy(env.scratch("generators") + "/" + os.path.basename(GENERATOR), GENERATOR)
    replace_file(env, "/etc/fstab", "".join(f"{line} 0 0\n" for line in lines))
    write_units("local-fs.target remote-fs.target")
    manager = None
    try:
        manager = Systemd(env, group)
        yield manager
    except (AssertionError, OSError):
        say(manager.tail() if manager else "no systemd")
        raise
    finally:
        if manager:
            manager.end()
        remove_cgroup(env, group)


@suite.test("fstab lines are mounted at boot, and a server that is away stops nothing with nofail",
            timeout=90)
def at_boot(env):
    here, gone, late = (point_of(env, name) for name in ("here", "gone", "late"))
    with systemd(env, f"{suite.source()} {here} fuse.vsockfs defaults",
                 f"unix:{env.scratch('none')}:/x {gone} vsockfs nofail",
                 f"{suite.source()}/ {late} vsockfs noauto") as manager:
        assert manager.active("local-fs.target") == "active"
        assert manager.active(unit_name(here, ".mount")) == "active"
        assert manager.active(unit_name(gone, ".mount")) == "failed"
        assert env.name in manager.inside("ls", here)[1].split()
        # another daemon is not needed, and this one survives
        before = serving(here)
        assert manager.inside("mount", "-o", "remount,ro", here)[0] == 0
        assert manager.inside("touch", f"{here}/{env.name}/f")[0] != 0
        assert manager.inside("systemctl", "daemon-reload")[0] == 0
        assert serving(here) == before
        status, text = manager.inside("systemctl", "start", unit_name(late, ".mount"))
        assert status == 0, text
        assert manager.inside("systemctl", "stop", unit_name(here, ".mount"))[0] == 0
        env.eventually(lambda: not daemons(here), AT_LEISURE, "the daemon's end")
        assert manager.active(unit_name(late, ".mount")) == "active"


@suite.test("x-systemd.automount mounts at the first look, and unmounts after the idle time",
            timeout=90)
def automount_unit(env):
    point = point_of(env, "point")
    with systemd(env, f"{suite.source()} {point} fuse.vsockfs nofail,x-systemd.automount,"
                 "x-systemd.idle-timeout=1s") as manager:
        mount = unit_name(point, ".mount")
        assert manager.active(unit_name(point, ".automount")) == "active"
        for _ in range(2):
            assert manager.active(mount) == "inactive" and not daemons(point)
            status, text = manager.inside("sh", "-c", f"cd {point}/{env.name} && echo x > f "
                                          "&& cat f")
            assert (status, text) == (0, "x"), (status, text)
            assert manager.active(mount) == "active"
            env.eventually(lambda: not daemons(point), AT_LEISURE, "the daemon's end")
            env.eventually(lambda: manager.active(mount) == "inactive", 10, "the unit's end")
        with open(env.on_disk("f")) as f:
            assert f.read() == "x\n"


# automount(8)


@contextlib.contextmanager
def automounter(env, lines, idle):
    need("automount")
    if not os.path.exists("/dev/autofs"):
        raise Skip("no /dev/autofs")
    install_here(env)
    base = point_of(env, "auto")
    with open(env.scratch("map"), "w") as f:
        f.writelines(line + "\n" for line in lines)
    with open(env.scratch("master"), "w") as f:
        f.write(f"{base} file:{env.scratch('map')} --timeout={idle}\n")
    log = env.scratch("automount.log")
    with open(log, "wb") as out:
        process = subprocess.Popen(
            ["automount", "-f", "-d", "-C", "-p", env.scratch("pid"), env.scratch("master")],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True)  # its own process group sees the bare directories
    try:
        env.eventually(lambda: os.path.ismount(base), 20, "automount's mount")
        yield base
    except (AssertionError, OSError):
        with open(log, errors="replace") as f:
            say("".join(f.readlines()[-30:]))
        raise
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


@suite.test("automount(8) mounts a key of a map, by either type and by wildcard, and lets go of it",
            timeout=90)
def autofs(env):
    os.makedirs(env.on_disk("joe"))
    source = suite.source().replace(":", "\\:")
    home = f"{source}/{env.name}/&"
    with automounter(env, (f"all -fstype=fuse.vsockfs,rw {source}",
                           f"below -fstype=vsockfs,ro {source}/{env.name}/joe",
                           "none -fstype=vsockfs 2:/export,x",
                           f"* -fstype=vsockfs,nosuid {home}"), 1) as base:
        for _ in range(2):
            with open(f"{base}/all/{env.name}/f", "w") as f:
                f.write(str(time.monotonic_ns()))
            with open(f"{base}/all/{env.name}/f") as f, open(env.on_disk("f")) as disk:
                assert f.read() == disk.read()
            assert os.listdir(f"{base}/below") == os.listdir(f"{base}/joe") == []
            env.fails(30, os.mkdir, f"{base}/below/x")
            os.mkdir(f"{base}/joe/x")
            os.rmdir(f"{base}/joe/x")
            for name in ("none", "jim"):
                assert not os.path.exists(f"{base}/{name}")
            for key in ("all", "below", "joe"):
                env.eventually(lambda: not daemons(f"{base}/{key}"), AT_LEISURE,
                               f"the end of {key}")
    assert not daemons(base), "automount(8) has ended"


if __name__ == "__main__":
    suite.main()
