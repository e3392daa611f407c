# SPDX-License-Identifier: LGPL-2.1-or-later
"""vsockfs as installed, for tests of mount(8), in a mount namespace of the test's own.

The installed tree is put over the machine's directories there, so that mount(8), which looks in
/sbin alone, finds it and the machine stays as it was.
"""

import contextlib
import ctypes
import os
import subprocess

from harness import WORK_PARENT, WORK_PREFIX, Skip, build_path, mounts_below, need
from mounts import mountinfo

CLONE_NEWNS = 0x20000
HELPERS = ("mount.vsockfs", "mount.fuse.vsockfs", "umount.fuse.vsockfs")
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


def installed(env):
    """Every path of the installed tree, and its root; made once for a suite."""
    need("meson")
    tree = os.path.join(env.work, "tree")
    if not os.path.exists(tree):
        env.run(["meson", "install", "-C", build_path(), "--no-rebuild", "--destdir", tree])
    return tree, [os.path.join(where, name) for where, _, names in os.walk(tree) for name in names]


def ending(paths, end):
    found = [p for p in paths if p.endswith(end)]
    assert len(found) == 1, (end, found, paths)
    return found[0]


def namespace(env):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Skip(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    # what other tests have mounted would not end with their umount while it is here, too
    for point in mounts_below(WORK_PARENT):
        if os.path.basename(env.work) not in point and WORK_PREFIX in point:
            subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)


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


def install_here(env, helpers=True):
    """Installs into this process's namespace; with mount(8)'s helpers or without."""
    if not helpers and not os.path.exists("/sbin/mount.fuse"):
        raise Skip("/sbin/mount.fuse not installed")
    _, paths = installed(env)
    namespace(env)
    add_links(env, "/usr/bin", {"vsockfs": ending(paths, "/bin/vsockfs")})
    add_links(env, os.path.realpath("/sbin"),
              dict.fromkeys(HELPERS, "/usr/bin/vsockfs") if helpers else {})


def replace_file(env, path, text):
    """This namespace sees another file there."""
    name = env.scratch("file" + path.replace("/", "-"))
    with open(name, "w") as f:
        f.write(text)
    os.chmod(os.path.dirname(name), 0o755)
    env.run(["mount", "--bind", name, path])


def daemons(point):
    """Pids of all processes of a mount."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
            if b"vsockfs" in os.path.basename(words[0]) and os.fsencode(point) in words:
                found.append(int(pid))
    return found


def serving(point):
    """The daemon itself, without its helpers."""
    found = []
    for pid in daemons(point):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
            if f.read().strip() not in ("vsockfs-guard", "vsockfs-notify"):
                found.append(pid)
    return found


@contextlib.contextmanager
def mount_point(env, name="point", user=None):
    point = env.scratch(name)
    os.makedirs(point, exist_ok=True)
    os.chmod(os.path.dirname(point), 0o755)
    if user:
        env.run(["chown", user, point])
    try:
        yield point
    finally:
        while mountinfo(point):
            subprocess.run(["umount", "-l", point], check=False)
        for pid in daemons(point):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)


def mount(*words, tool="mount", user=()):
    """mount(8)'s status, and all that was printed."""
    done = subprocess.run([*user, tool, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, cwd="/")
    return done.returncode, done.stdout.decode(errors="replace")


def must(env, *words, says="", **more):
    status, text = mount(*words, **more)
    assert status == 0 and (says in text if says else not text), (words, status, text)


def must_not(status, says, *words, **more):
    """Fails with this status and one line that says so."""
    got, text = mount(*words, **more)
    assert got == status and says in text, (words, got, text)
    assert text.count("\n") == 1, text


def flags(point):
    return set(mountinfo(point)[3].split(","))


def gone(env, point):
    """The mount, and after it its processes."""
    assert not mountinfo(point), mountinfo(point)
    env.eventually(lambda: not daemons(point), 10, "the daemon's end")


def unmount(env, point, name=None, user=()):
    must(env, name or point, tool="umount", user=user)
    gone(env, point)
