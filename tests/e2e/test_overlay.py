#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayfs with the mount as its lower layer: an image on the host, changes in the guest."""

import contextlib
import os
import subprocess

from harness import Skip, Suite
from test_basic import read, write

suite = Suite()


@contextlib.contextmanager
def overlay(env, lower):
    merged, upper, work = (env.scratch(n) for n in ("merged", "upper", "work"))
    for path in (merged, upper, work):
        os.makedirs(path, exist_ok=True)
    with open("/proc/filesystems") as f:
        if "overlay" not in f.read() and subprocess.run(["modprobe", "overlay"]).returncode != 0:
            raise Skip("the kernel has no overlayfs")
    env.run(["mount", "-t", "overlay", "overlay", "-o",
             f"lowerdir={lower},upperdir={upper},workdir={work}", merged])
    try:
        yield merged, upper
    finally:
        subprocess.run(["umount", merged], check=True)


@suite.test("files of the lower layer are read, listed and executed through the overlay")
def lower(env):
    env.run(["cp", "-a", "/usr/include/linux", env.on_disk("linux")])
    env.run(["cp", "/bin/true", env.on_disk("true")])
    env.eventually(lambda: sorted(os.listdir(env.mnt)) == ["linux", "true"])
    with overlay(env, env.mnt) as (merged, _):
        env.run(["diff", "-r", env.on_disk("linux"), f"{merged}/linux"])
        env.run([f"{merged}/true"])


@suite.test("changes are copied up, removals become whiteouts, the export stays as it was")
def changes(env):
    os.mkdir(env.path("d"))
    for i in range(20):
        write(env.path(f"d/f{i}"), b"lower %d" % i)
    os.symlink("f1", env.path("d/l"))
    before = env.same()
    with overlay(env, env.mnt) as (merged, upper):
        with open(f"{merged}/d/f1", "ab") as f:
            f.write(b" and upper")
        assert read(f"{merged}/d/f1") == b"lower 1 and upper"
        os.unlink(f"{merged}/d/f2")
        os.rename(f"{merged}/d/f3", f"{merged}/d/g3")
        os.chmod(f"{merged}/d/f4", 0o600)
        write(f"{merged}/d/new", b"new")
        os.link(f"{merged}/d/f5", f"{merged}/d/h5")
        names = sorted(os.listdir(f"{merged}/d"))
        want = sorted([f"f{i}" for i in range(20) if i not in (2, 3)] + ["g3", "l", "new", "h5"])
        assert names == want, names
        assert os.path.exists(f"{upper}/d/f1") and not os.path.exists(f"{upper}/d/f6")
        env.run(["rm", "-r", f"{merged}/d"])
        assert os.listdir(merged) == []
    assert env.same() == before
    assert read(env.on_disk("d/f1")) == b"lower 1"


@suite.test("an export mounted read-only serves as lower layer, also of two overlays at once")
def shared_lower(env):
    write(env.path("f"), b"image")
    root = os.path.join(env.mount("ro").point, env.name)
    with overlay(env, root) as (first, _):
        env.name += "-second"
        with overlay(env, root) as (second, _):
            write(f"{first}/f", b"first")
            write(f"{second}/f", b"second")
            assert (read(f"{first}/f"), read(f"{second}/f")) == (b"first", b"second")
    assert read(env.disk + "/f") == b"image"


if __name__ == "__main__":
    suite.main()
