#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What meson installs, used by mount(8) and fstab(5).

The installed tree is put over the machine's directories in a mount namespace of each test's own,
so that mount(8), which looks in /sbin alone, finds it and the machine stays as it was.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import time

from harness import EXPORT, Skip, Suite, build_path, need
from mounts import mountinfo

suite = Suite()
CLONE_NEWNS = 0x20000
HELPERS = ("mount.vsockfs", "mount.fuse.vsockfs")
FSTAB_WORDS = ("rw,nofail,noauto,_netdev,x-systemd.automount,x-systemd.mount-timeout=5,"
               "x-gvfs-hide,comment=share")


def installed(env):
    """Every path of the installed tree, and its root."""
    need("meson")
    tree = env.scratch("tree")
    env.run(["meson", "install", "-C", build_path(), "--no-rebuild", "--destdir", tree])
    return tree, [os.path.join(where, name) for where, _, names in os.walk(tree) for name in names]


def ending(paths, end):
    found = [p for p in paths if p.endswith(end)]
    assert len(found) == 1, (end, found, paths)
    return found[0]


def namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Skip(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def add_links(env, directory, links):
    """The directory of this namespace gets these links, {name: target}, besides its own names."""
    kept = env.scratch("kept" + directory.replace("/", "-"))
    os.mkdir(kept)
    env.run(["mount", "--bind", directory, kept])
    env.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", directory])
    for name in set(os.listdir(kept)) - {"vsockfs", *HELPERS}:
        os.symlink(os.path.join(kept, name), os.path.join(directory, name))
    for name, target in links.items():
        os.symlink(target, os.path.join(directory, name))


def install_here(env, helpers):
    """Installs into this process's namespace; with mount(8)'s helpers or without."""
    _, paths = installed(env)
    namespace()
    add_links(env, "/usr/bin", {"vsockfs": ending(paths, "/bin/vsockfs")})
    add_links(env, os.path.realpath("/sbin"),
              dict.fromkeys(HELPERS, "/usr/bin/vsockfs") if helpers else {})


def daemons(point):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if b"vsockfs" in os.path.basename(words[0]) and os.fsencode(point) in words:
                found.append(int(pid))
    return found


@contextlib.contextmanager
def mount_point(env):
    point = env.scratch("point")
    os.makedirs(point, exist_ok=True)
    try:
        yield point
    finally:
        while mountinfo(point):
            subprocess.run(["umount", "-l", point], check=False)
        for pid in daemons(point):
            os.kill(pid, 15)


def mount(*words):
    done = subprocess.run(["mount", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, cwd="/")
    return done.returncode, done.stdout.decode(errors="replace")


def unmount(env, point):
    env.run(["umount", point])
    env.eventually(lambda: not daemons(point), 10, "the daemon's end")


def works(env, point):
    assert mountinfo(point)[1:3] == ("fuse.vsockfs", suite.source()), mountinfo(point)
    name = f"f{time.monotonic_ns()}"
    with open(os.path.join(point, env.name, name), "w") as f:
        f.write("written")
    with open(env.on_disk(name)) as f:
        assert f.read() == "written"


@suite.test("meson install puts programs, mount helpers, manual pages and completions in place")
def install(env):
    tree, paths = installed(env)
    for end in ("/bin/vsockfsctl", "/man1/vsockfs.1", "/man1/vsockfsctl.1",
                "/man8/mount.vsockfs.8",
                "/bash-completion/completions/vsockfs",
                "/bash-completion/completions/vsockfsctl"):
        ending(paths, end)
    for name in HELPERS:
        link = ending(paths, "/sbin/" + name)
        assert tree + os.readlink(link) == ending(paths, "/bin/vsockfs"), os.readlink(link)


def by_command_line(env, types):
    with mount_point(env) as point:
        for fstype in types:
            status, words = mount("-t", fstype, suite.source(), point, "-o", "rw,noexec")
            assert (status, words) == (0, ""), (fstype, status, words)
            works(env, point)
            assert "noexec" in mountinfo(point)[3].split(","), mountinfo(point)
            unmount(env, point)


def by_fstab(env, types):
    with mount_point(env) as point:
        for fstype in types:
            table = env.scratch("fstab")
            with open(table, "w") as f:
                f.write(f"{suite.source()} {point} {fstype} {FSTAB_WORDS} 0 0\n")
            status, words = mount("-T", table, point)
            assert (status, words) == (0, ""), (fstype, status, words)
            works(env, point)
            unmount(env, point)


@suite.test("mount -t fuse.vsockfs and an fstab line work through FUSE's own helper")
def through_fuse(env):
    if not os.path.exists("/sbin/mount.fuse"):
        raise Skip("/sbin/mount.fuse not installed")
    install_here(env, helpers=False)
    by_command_line(env, ["fuse.vsockfs"])
    by_fstab(env, ["fuse.vsockfs"])


@suite.test("mount -t vsockfs, -t fuse.vsockfs and fstab lines work through the helpers")
def through_helpers(env):
    install_here(env, helpers=True)
    by_command_line(env, ["vsockfs", "fuse.vsockfs"])
    by_fstab(env, ["vsockfs", "fuse.vsockfs"])


@suite.test("a user mounts and unmounts the fstab line that says so")
def by_user(env):
    need("fusermount3", "setpriv")
    install_here(env, helpers=True)
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    table = env.scratch("fstab")
    with open(table, "w") as f:
        f.write(f"{suite.source()} {env.scratch('point')} vsockfs user,noauto 0 0\n")
    env.run(["mount", "--bind", table, "/etc/fstab"])
    os.chmod(os.path.join(env.work, "sock"), 0o666)
    with mount_point(env) as point:
        os.chmod(os.path.dirname(point), 0o755)
        shutil.chown(point, "nobody")
        env.run([*as_nobody, "mount", point], cwd="/")
        assert {"nosuid", "nodev", "noexec"} <= set(mountinfo(point)[3].split(",")), point
        assert env.name in env.run([*as_nobody, "ls", point])
        env.run([*as_nobody, "umount", point], cwd="/")
        env.eventually(lambda: not daemons(point), 10, "the daemon's end")


@suite.test("what fails through mount(8) fails with the status and the line of vsockfs")
def failures(env):
    install_here(env, helpers=True)
    with mount_point(env) as point:
        for fstype in ("vsockfs", "fuse.vsockfs"):
            for source, options, want, named in (
                    (f"unix:{env.scratch('none')}:{EXPORT}", "rw", 32, "none"),
                    (suite.source(export="/nothing"), "rw", 32, "/nothing"),
                    (suite.source(), "frobnicate", 1, "frobnicate")):
                status, words = mount("-t", fstype, source, point, "-o", options)
                assert status == want and named in words, (fstype, options, status, words)
                assert not mountinfo(point)


@suite.test("a remount is refused with a line that says so, and harms nothing")
def remount(env):
    install_here(env, helpers=True)
    with mount_point(env) as point:
        assert mount("-t", "vsockfs", suite.source(), point)[0] == 0
        status, words = mount("-t", "vsockfs", "-o", "remount,ro", suite.source(), point)
        assert status == 1 and "remount" in words, (status, words)
        works(env, point)
        unmount(env, point)


@suite.test("mount -f checks the words and mounts nothing")
def fake(env):
    install_here(env, helpers=True)
    with mount_point(env) as point:
        assert mount("-f", "-t", "vsockfs", suite.source(), point) == (0, "")
        assert not mountinfo(point)


if __name__ == "__main__":
    suite.main()
