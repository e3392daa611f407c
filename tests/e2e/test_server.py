#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is special about the server's side: file systems mounted inside the export, a full disk."""

import errno
import os
import subprocess

from harness import Skip, Suite
from test_basic import read, write

MIB = 1 << 20
TMPFS, DISK = "inner-tmpfs", "inner-disk"


def prepare(export):
    """A tmpfs and, where loop devices exist, a small ext4, as the server finds them at start."""
    os.mkdir(os.path.join(export, TMPFS))
    os.mkdir(os.path.join(export, DISK))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", os.path.join(export, TMPFS)],
                   check=True)
    image = os.path.join(os.path.dirname(export), "image")
    with open(image, "wb") as f:
        f.truncate(16 * MIB)
    # without them the tests that need the disk are skipped
    for command in (["mkfs.ext4", "-q", "-F", image],
                    ["mount", "-o", "loop", image, os.path.join(export, DISK)]):
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
            return


suite = Suite(prepare=prepare)


def inner(env, name):
    here, there = os.path.join(env.root, name), os.path.join(env.export, name)
    if not os.path.ismount(there):
        raise Skip("no loop device to mount a disk image on")
    # who has just listed the root does not believe in a new name there for a second
    env.eventually(lambda: os.path.isdir(env.mnt))
    return here, there


@suite.test("a file system mounted inside the export is entered, read and written")
def entered(env):
    for name in (TMPFS, DISK):
        here, there = inner(env, name)
        os.mkdir(f"{here}/d")
        write(f"{here}/d/f", b"inside")
        assert read(f"{there}/d/f") == b"inside"
        write(f"{there}/g", b"by the host")
        env.eventually(lambda: os.path.exists(f"{here}/g"))
        assert read(f"{here}/g") == b"by the host"
        os.rename(f"{here}/g", f"{here}/d/g")
        assert sorted(os.listdir(f"{there}/d")) == ["f", "g"]
        assert "d" in os.listdir(here) and name in os.listdir(env.root)


@suite.test("inode numbers stay unique across it")
def unique_inodes(env):
    found = {}
    for name in (TMPFS, DISK):
        here, _ = inner(env, name)
        for i in range(20):
            write(f"{here}/i{i}", b"")
    for i in range(40):
        write(env.path(f"i{i}"), b"")
    for directory, _, files in os.walk(env.root):
        for name in [*files, "."]:
            path = os.path.normpath(os.path.join(directory, name))
            st = os.lstat(path)
            key = (st.st_dev, st.st_ino)
            assert key not in found, f"{path} and {found[key]} share inode {key}"
            found[key] = path
    # find(1) and du(1) tell a loop of directories by these numbers
    assert "loop" not in env.run(["find", env.root])
    env.run(["du", "-s", env.root])


@suite.test("rename and link across the boundary fail with EXDEV, mv copies")
def boundary(env):
    here, there = inner(env, TMPFS)
    write(env.path("f"), b"moves")
    env.fails(errno.EXDEV, os.rename, env.path("f"), f"{here}/f")
    env.fails(errno.EXDEV, os.link, env.path("f"), f"{here}/f")
    env.run(["mv", env.path("f"), f"{here}/moved"])
    assert read(f"{there}/moved") == b"moves" and not os.path.exists(env.path("f"))


@suite.test("statvfs inside tells the inner file system's size")
def inner_statfs(env):
    here, there = inner(env, TMPFS)
    a, b = os.statvfs(here), os.statvfs(there)
    assert a.f_blocks * a.f_frsize == b.f_blocks * b.f_frsize == 64 * MIB, (a, b)
    outer = os.statvfs(env.root)
    assert outer.f_blocks * outer.f_frsize != 64 * MIB


@suite.test("a full disk is told by write or fsync, and goes when space is freed", timeout=60)
def disk_full(env):
    here, there = inner(env, DISK)
    fd = os.open(f"{here}/big", os.O_WRONLY | os.O_CREAT, 0o644)
    failed = None
    try:
        for _ in range(128):
            os.write(fd, b"x" * 262144)
        os.fsync(fd)
    except OSError as e:
        failed = e.errno
    assert failed == errno.ENOSPC, failed
    try:
        os.close(fd)
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    os.unlink(f"{here}/big")
    env.eventually(lambda: os.statvfs(there).f_bavail * 4096 > 4 * MIB, within=5)
    write(f"{here}/small", b"fits again" * 1000)
    assert read(f"{there}/small") == b"fits again" * 1000


if __name__ == "__main__":
    suite.main()
