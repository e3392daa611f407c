# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories, links, renames, and the errors of each."""

import errno
import os

from files import read, touch, write
from harness import Suite, libc_call

suite = Suite()


@suite.test("mkdir and rmdir, and each of their errors")
def directories(env):
    os.makedirs(env.path("a/b/c"), 0o755)
    touch(env.path("f"))
    env.fails(errno.EEXIST, os.mkdir, env.path("a"))
    env.fails(errno.EEXIST, os.mkdir, env.path("f"))
    env.fails(errno.ENOENT, os.mkdir, env.path("x/y"))
    env.fails(errno.ENOTDIR, os.mkdir, env.path("f/y"))
    env.fails(errno.ENOTEMPTY, os.rmdir, env.path("a"))
    env.fails(errno.ENOENT, os.rmdir, env.path("x"))
    env.fails(errno.ENOTDIR, os.rmdir, env.path("f"))
    env.fails(errno.EINVAL, os.rmdir, env.path("a/."))
    env.same()
    os.removedirs(env.path("a/b/c"))
    assert os.listdir(env.disk) == ["f"]
    assert os.stat(env.mnt).st_nlink == os.stat(env.disk).st_nlink == 2


@suite.test("rename moves and replaces, and each of its errors")
def rename(env):
    write(env.path("a"), b"a")
    write(env.path("b"), b"b")
    inode = os.stat(env.path("a")).st_ino
    os.rename(env.path("a"), env.path("b"))
    assert os.stat(env.path("b")).st_ino == inode and read(env.path("b")) == b"a"
    env.fails(errno.ENOENT, os.stat, env.path("a"))
    os.makedirs(env.path("d/e"))
    os.makedirs(env.path("full/x"))
    os.mkdir(env.path("empty"))
    os.rename(env.path("b"), env.path("d/e/moved"))
    assert read(env.path("d/e/moved")) == b"a"
    touch(env.path("f"))
    env.fails(errno.ENOENT, os.rename, env.path("none"), env.path("y"))
    env.fails(errno.ENOENT, os.rename, env.path("f"), env.path("none/y"))
    env.fails(errno.EISDIR, os.rename, env.path("f"), env.path("d"))
    env.fails(errno.ENOTDIR, os.rename, env.path("d"), env.path("f"))
    env.fails(errno.ENOTEMPTY, os.rename, env.path("d"), env.path("full"))
    env.fails(errno.EINVAL, os.rename, env.path("d"), env.path("d/e/d"))
    os.rename(env.path("d"), env.path("empty"))
    assert os.listdir(env.path("empty")) == ["e"]
    os.rename(env.path("f"), env.path("f"))
    env.same()


RENAME_NOREPLACE, RENAME_EXCHANGE, AT_FDCWD = 1, 2, -100


def renameat2(old, new, flags):
    libc_call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


@suite.test("renameat2: NOREPLACE keeps what is there, EXCHANGE is refused as NFS has none")
def rename_flags(env):
    write(env.path("a"), b"a")
    write(env.path("b"), b"b")
    env.fails(errno.EEXIST, renameat2, env.path("a"), env.path("b"), RENAME_NOREPLACE)
    assert read(env.path("b")) == b"b"
    renameat2(env.path("a"), env.path("c"), RENAME_NOREPLACE)
    assert sorted(os.listdir(env.disk)) == ["b", "c"]
    env.fails(errno.EINVAL, renameat2, env.path("b"), env.path("c"), RENAME_EXCHANGE)
    assert read(env.on_disk("b")) == b"b" and read(env.on_disk("c")) == b"a"
    # what is believed to be free is not: the server must refuse
    own = os.path.join(env.mount("acdirmin=60").point, env.name, "own")
    os.mkdir(own)
    write(f"{own}/b", b"b")
    os.mkdir(f"{own}/dir")
    write(env.on_disk("own/d"), b"by the host")
    for name in ("b", "dir"):
        env.fails(errno.EEXIST, renameat2, f"{own}/{name}", f"{own}/d", RENAME_NOREPLACE)
    assert sorted(os.listdir(env.on_disk("own"))) == ["b", "d", "dir"]
    assert read(env.on_disk("own/d")) == b"by the host" and read(env.on_disk("own/b")) == b"b"


@suite.test("symlinks: any target, followed, dangling, looping")
def symlinks(env):
    write(env.path("f"), b"data")
    for name, target in (("l", "f"), ("up", "../" + env.name + "/f"), ("abs", env.path("f")),
                         ("gone", "nothing here"), ("loop", "loop"), ("long", "x" * 1000)):
        os.symlink(target, env.path(name))
        assert os.readlink(env.path(name)) == target
        assert os.lstat(env.path(name)).st_size == len(target)
    for name in ("l", "up", "abs"):
        assert read(env.path(name)) == b"data"
    env.fails(errno.ENOENT, os.stat, env.path("gone"))
    env.fails(errno.ELOOP, os.stat, env.path("loop"))
    env.fails(errno.ENAMETOOLONG, os.stat, env.path("long"))
    env.fails(errno.EEXIST, os.symlink, "x", env.path("l"))
    env.fails(errno.EINVAL, os.readlink, env.path("f"))
    env.same()


@suite.test("hard links share inode, contents and count")
def hard_links(env):
    write(env.path("a"), b"1")
    os.mkdir(env.path("d"))
    os.link(env.path("a"), env.path("d/b"))
    a, b = os.stat(env.path("a")), os.stat(env.path("d/b"))
    assert (a.st_ino, a.st_nlink) == (b.st_ino, 2), (a, b)
    write(env.path("d/b"), b"22", os.O_WRONLY | os.O_APPEND)
    assert read(env.path("a")) == b"122"
    env.fails(errno.EEXIST, os.link, env.path("a"), env.path("d/b"))
    env.fails(errno.EPERM, os.link, env.path("d"), env.path("e"))
    env.fails(errno.ENOENT, os.link, env.path("none"), env.path("e"))
    env.same()
    os.unlink(env.path("a"))
    assert os.stat(env.path("d/b")).st_nlink == 1
    os.symlink("d/b", env.path("s"))
    os.link(env.path("s"), env.path("s2"), follow_symlinks=False)
    assert os.readlink(env.path("s2")) == "d/b"
    env.same()


@suite.test("unlink, and each of its errors")
def unlink(env):
    touch(env.path("f"))
    os.mkdir(env.path("d"))
    os.unlink(env.path("f"))
    env.fails(errno.ENOENT, os.unlink, env.path("f"))
    env.fails(errno.EISDIR, os.unlink, env.path("d"))
    env.fails(errno.ENOENT, os.open, env.path("f"), os.O_RDONLY)
    touch(env.path("f"))
    env.fails(errno.ENOTDIR, os.unlink, env.path("f/x"))
    assert sorted(os.listdir(env.disk)) == ["d", "f"]


@suite.test("names of 255 bytes and of any byte; longer ones fail with ENAMETOOLONG")
def names(env):
    names = [b"n" * 255, "ü".encode() * 127, b" lead", b"trail ", b"-rf", b"a\nb", b"\xff\xfe",
             b"*?[]\\", b"'\"$(x)`", b"...", b".hidden", bytes(range(1, 47)), bytes(range(48, 256))]
    for name in names:
        path = os.fsencode(env.mnt) + b"/" + name
        write(path, name)
        assert read(path) == name
    assert sorted(os.listdir(os.fsencode(env.mnt))) == sorted(names)
    env.same()
    for call in (os.stat, os.mkdir, os.unlink, touch):
        env.fails(errno.ENAMETOOLONG, call, env.path("n" * 256))
    for name in names:
        os.unlink(os.fsencode(env.mnt) + b"/" + name)
    assert os.listdir(env.disk) == []


@suite.test("readdir gives every entry once, with its type and inode, and . and ..")
def readdir(env):
    files = env.times(500)
    entries = files + 2 * (files // 5)
    for i in range(files):
        write(env.path(f"file-{i}"), b"")
        if i % 5 == 0:
            os.mkdir(env.path(f"dir-{i}"))
            os.symlink("x", env.path(f"link-{i}"))
    with os.scandir(env.mnt) as listing:
        seen = {e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False),
                         e.is_symlink(), e.inode()) for e in listing}
    assert len(seen) == entries and seen.keys() == set(os.listdir(env.disk))
    for name, (is_file, is_dir, is_link, inode) in seen.items():
        kind = name.split("-")[0]
        assert (kind == "file", kind == "dir", kind == "link") == (is_file, is_dir, is_link)
        assert inode == os.lstat(env.path(name)).st_ino
    shown = env.run(["ls", "-a", env.mnt]).split()
    assert "." in shown and ".." in shown and len(shown) == entries + 2
    env.fails(errno.ENOTDIR, os.listdir, env.path("file-1"))
    env.same()


@suite.test("removing while reading a directory leaves nothing behind")
def remove_while_reading(env):
    for i in range(env.times(2000)):
        os.close(os.open(env.on_disk(f"f{i}"), os.O_CREAT))
    env.run(f"rm -rf {env.mnt}/*")
    assert os.listdir(env.disk) == []


@suite.test("inode numbers are the server's, unique, and stable across rename")
def inodes(env):
    seen = set()
    for i in range(100):
        write(env.path(f"f{i}"), b"")
        seen.add(os.stat(env.path(f"f{i}")).st_ino)
    assert len(seen) == 100
    inode = os.stat(env.path("f0")).st_ino
    assert inode == os.stat(env.on_disk("f0")).st_ino
    os.rename(env.path("f0"), env.path("g"))
    assert os.stat(env.path("g")).st_ino == inode


@suite.test("a path through a file, and through a missing directory, fail as on a local disk")
def bad_paths(env):
    touch(env.path("f"))
    for call in (os.stat, os.listdir, os.readlink, os.unlink):
        env.fails(errno.ENOTDIR, call, env.path("f/x"))
        env.fails(errno.ENOENT, call, env.path("no/x"))
