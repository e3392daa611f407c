#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every call on a file, and its errors. Also run with other options and transports."""

import errno
import mmap
import os
import random
import stat
import time

from harness import Skip, Suite, libc_call

suite = Suite()
MIB = 1 << 20


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def read(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def touch(*paths):
    for path in paths:
        write(path, b"")


@suite.test("files of every awkward size are read back and stored as written")
def sizes(env):
    for size in (0, 1, 4095, 4096, 4097, 65536, MIB - 1, MIB, MIB + 1, 5 * MIB + 77):
        data = random.Random(size).randbytes(size)
        write(env.path(f"f{size}"), data)
        assert os.stat(env.path(f"f{size}")).st_size == size
        assert read(env.path(f"f{size}")) == data
        assert read(env.on_disk(f"f{size}")) == data, "the disk has other bytes"
    env.same()


@suite.test("writes and reads at random offsets agree with a copy kept in memory")
def random_offsets(env):
    rng = random.Random(7)
    copy = bytearray()
    fd = os.open(env.path("f"), os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(400):
        offset, length = rng.randrange(3 * MIB), rng.choice((1, 100, 4096, 70000))
        if rng.random() < 0.6:
            data = rng.randbytes(length)
            os.pwrite(fd, data, offset)
            copy.extend(bytes(max(0, offset + length - len(copy))))
            copy[offset:offset + length] = data
        else:
            assert os.pread(fd, length, offset) == bytes(copy[offset:offset + length])
    os.close(fd)
    assert read(env.on_disk("f")) == bytes(copy)
    env.same()


@suite.test("truncate and ftruncate shrink, grow with zeros, and show the size at once")
def truncate(env):
    write(env.path("f"), b"x" * 10000)
    os.truncate(env.path("f"), 5000)
    assert os.stat(env.path("f")).st_size == 5000
    fd = os.open(env.path("f"), os.O_RDWR)
    os.ftruncate(fd, 20000)
    assert os.fstat(fd).st_size == 20000
    assert os.pread(fd, 20000, 0) == b"x" * 5000 + bytes(15000)
    os.close(fd)
    write(env.path("f"), b"new")
    assert read(env.path("f")) == b"new"
    env.fails(errno.ENOENT, os.truncate, env.path("none"), 1)
    env.fails(errno.EISDIR, os.truncate, env.mnt, 1)
    env.fails(errno.EINVAL, os.truncate, env.path("f"), -1)
    env.same()


@suite.test("O_APPEND writes at the end, and pwrite and lseek keep their Linux meaning")
def append(env):
    write(env.path("f"), b"one")
    fd = os.open(env.path("f"), os.O_RDWR | os.O_APPEND)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"two")
    assert os.lseek(fd, 0, os.SEEK_CUR) == 6
    assert os.lseek(fd, -2, os.SEEK_END) == 4
    env.fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
    os.close(fd)
    assert read(env.on_disk("f")) == b"onetwo"


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


@suite.test("open: exclusive, truncating, directory and no-follow flags, and their errors")
def open_flags(env):
    path = env.path("f")
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.write(fd, b"abc")
    os.close(fd)
    st = os.stat(env.on_disk("f"))
    assert (stat.S_IMODE(st.st_mode), st.st_size) == (0o600, 3), oct(st.st_mode)
    env.fails(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    env.fails(errno.ENOTDIR, os.open, path, os.O_RDONLY | os.O_DIRECTORY)
    env.fails(errno.EISDIR, os.open, env.mnt, os.O_WRONLY)
    env.fails(errno.ENOENT, os.open, env.path("d/f"), os.O_CREAT | os.O_WRONLY)
    os.symlink("f", env.path("l"))
    env.fails(errno.ELOOP, os.open, env.path("l"), os.O_RDONLY | os.O_NOFOLLOW)
    env.fails(errno.EEXIST, os.open, env.path("l"), os.O_CREAT | os.O_EXCL | os.O_RDWR)
    fd = os.open(path, os.O_RDONLY)
    env.fails(errno.EBADF, os.write, fd, b"x")
    os.close(fd)
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    env.fails(errno.EBADF, os.read, fd, 1)
    assert os.fstat(fd).st_size == 0
    os.close(fd)
    # a file created without the right to write it is written through the descriptor made with it
    fd = os.open(env.path("ro"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
    os.write(fd, b"first")
    os.close(fd)
    env.same()


@suite.test("create honours the umask and the mode, set-id bits included")
def modes_at_creation(env):
    os.umask(0o027)
    for mode in (0o777, 0o644, 0o4755, 0o2755, 0o000):
        write(env.path(f"f{mode:o}"), b"", mode=mode)
        os.mkdir(env.path(f"d{mode:o}"), mode)
        want = mode & ~0o027
        assert stat.S_IMODE(os.stat(env.path(f"f{mode:o}")).st_mode) == want
    env.same()


@suite.test("chmod, chown and utimensat change what they say, to the nanosecond")
def setattr(env):
    path = env.path("f")
    write(path, b"x")
    for mode in (0o0, 0o4711, 0o2770, 0o1777, 0o640):
        os.chmod(path, mode)
        assert stat.S_IMODE(os.stat(path).st_mode) == mode
        assert stat.S_IMODE(os.stat(env.on_disk("f")).st_mode) == mode
    os.chown(path, 1234, 4321)
    os.chown(path, -1, 99)
    st = os.stat(path)
    assert (st.st_uid, st.st_gid) == (1234, 99), st
    for atime, mtime in ((1, 2), (10**18 + 987654321, 10**18 + 123456789),
                         (4 * 10**18 + 5, 17)):
        os.utime(path, ns=(atime, mtime))
        for view in (path, env.on_disk("f")):
            st = os.stat(view)
            assert (st.st_atime_ns, st.st_mtime_ns) == (atime, mtime), (view, st)
    os.symlink("f", env.path("l"))
    os.utime(env.path("l"), ns=(3, 4), follow_symlinks=False)
    os.chown(env.path("l"), 5, 6, follow_symlinks=False)
    st = os.lstat(env.path("l"))
    # the times of a symlink are not among it: ganesha's VFS back end says yes and leaves them
    assert (st.st_uid, st.st_gid) == (5, 6), st
    before = time.time_ns()
    os.utime(path)
    assert abs(os.stat(path).st_mtime_ns - before) < 10**9
    env.fails(errno.ENOENT, os.chmod, env.path("none"), 0o600)
    env.same()


@suite.test("times move as POSIX says: contents mtime and ctime, mode ctime only, names the parent")
def times(env):
    path = env.path("f")
    write(path, b"x")

    def moved(target, action):
        before = os.stat(target)
        time.sleep(0.02)
        action()
        after = os.stat(target)
        return after.st_mtime_ns > before.st_mtime_ns, after.st_ctime_ns > before.st_ctime_ns

    assert moved(path, lambda: write(path, b"yy")) == (True, True)
    assert moved(path, lambda: os.chmod(path, 0o600)) == (False, True)
    assert moved(path, lambda: os.truncate(path, 1)) == (True, True)
    assert moved(path, lambda: os.link(path, env.path("g"))) == (False, True)
    assert moved(env.mnt, lambda: os.unlink(env.path("g"))) == (True, True)
    assert moved(env.mnt, lambda: os.rename(path, env.path("h"))) == (True, True)
    assert moved(env.mnt, lambda: write(env.path("h"), b"z")) == (False, False)


@suite.test("the birth time is the server's or unknown; asking for it changes nothing else")
def birth_time(env):
    write(env.on_disk("f"), b"x")
    os.symlink("f", env.on_disk("l"))
    os.mknod(env.on_disk("n"), stat.S_IFCHR | 0o600, os.makedev(5, 6))
    for name in ("f", "l", "n", "."):
        # looking names up may have read the directory, which moves its access time on the disk
        read_at = "" if name == "." else " %X"
        told, disk = (env.run(["stat", "-c", f"%W %A %s %h %u %g %t %T %i %Y %Z{read_at}",
                               os.path.join(where, name)]).split()
                      for where in (env.mnt, env.disk))
        assert told[0] in ("0", "-", disk[0]), (name, told, disk)
        assert told[1:] == disk[1:], (name, told, disk)


@suite.test("mknod of every type")
def mknod(env):
    kinds = {"fifo": stat.S_IFIFO, "sock": stat.S_IFSOCK, "chr": stat.S_IFCHR,
             "blk": stat.S_IFBLK, "reg": stat.S_IFREG}
    for name, kind in kinds.items():
        device = os.makedev(259, 70000) if name in ("chr", "blk") else 0
        os.mknod(env.path(name), kind | 0o640, device)
        for view in (env.path(name), env.on_disk(name)):
            st = os.lstat(view)
            assert (st.st_mode, st.st_rdev) == (kind | 0o640, device), (view, st)
        env.fails(errno.EEXIST, os.mknod, env.path(name), kind | 0o640, device)
    env.same()


@suite.test("a fifo and a socket made on the mount work there")
def fifo_and_socket(env):
    import socket
    os.mkfifo(env.path("p"))
    writer = env.child(lambda: write(env.path("p"), b"through", os.O_WRONLY))
    assert read(env.path("p")) == b"through"
    writer.join()
    os.chdir(env.mnt)  # sun_path is short
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("s")
        s.listen()
        with socket.socket(socket.AF_UNIX) as c:
            c.connect("s")


@suite.test("/dev/null made on the mount is a device there")
def device(env):
    if "nodev" in env.suite.options:
        raise Skip("mounted nodev")
    os.mknod(env.path("null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    write(env.path("null"), b"gone", os.O_WRONLY)
    assert read(env.path("null")) == b""


@suite.test("statvfs tells the server's numbers")
def statfs(env):
    there, here = os.statvfs(env.disk), os.statvfs(env.mnt)
    for what in ("f_blocks", "f_bfree", "f_bavail"):
        a, b = getattr(there, what) * there.f_frsize, getattr(here, what) * here.f_frsize
        assert abs(a - b) <= 256 * MIB, (what, a, b)
    assert there.f_files == here.f_files, (there, here)
    assert here.f_namemax == 255
    assert here.f_flag & os.ST_RDONLY == 0


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


@suite.test("access follows mode bits for root and for another user")
def access(env):
    write(env.path("f"), b"x")
    os.chmod(env.path("f"), 0o640)
    assert os.access(env.path("f"), os.R_OK | os.W_OK)
    assert not os.access(env.path("f"), os.X_OK)
    os.chmod(env.path("f"), 0o744)
    assert os.access(env.path("f"), os.X_OK)
    assert env.as_user("nobody", ["test", "-r", env.path("f")]).returncode == 0
    assert env.as_user("nobody", ["test", "-w", env.path("f")]).returncode == 1
    assert env.as_user("nobody", ["test", "-x", env.path("f")]).returncode == 1


@suite.test("a script on the mount is executed")
def execute(env):
    write(env.path("hello"), b"#!/bin/sh\necho hello $1\n", mode=0o755)
    assert env.run([env.path("hello"), "you"]) == "hello you\n"
    env.run(["cp", "/bin/true", env.path("true")])
    env.run([env.path("true")])


def shared_map(env, file):
    try:
        return mmap.mmap(file.fileno(), 0)
    except OSError as e:
        if e.errno == errno.ENODEV and "cache=none" in env.suite.options:
            raise Skip("cache=none leaves the kernel no pages to share") from e
        raise


@suite.test("mmap: shared writes reach the file, private ones do not, holes read as zeros")
def mapped(env):
    path = env.path("f")
    data = random.Random(3).randbytes(3 * MIB + 123)
    write(path, data)
    with open(path, "r+b", buffering=0) as f:
        with mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE) as m:
            assert m[:] == data
            m[:5] = b"12345"
        with shared_map(env, f) as m:
            assert m[:] == data
            for offset in (0, 4095, 4096, MIB - 3, len(data) - 4):
                m[offset:offset + 4] = b"MMAP"
            m.flush()
            want = m[:]
    assert read(path) == want and want != data
    assert read(env.on_disk("f")) == want
    os.truncate(env.path("f"), 0)
    os.truncate(env.path("f"), 100000)
    with open(path, "r+b", buffering=0) as f, shared_map(env, f) as m:
        assert m[:] == bytes(100000)
        m[50000] = 7
    assert read(env.path("f"))[50000] == 7
    env.same()


@suite.test("writes seen through a mapping and maps seen by read are one file")
def map_and_write(env):
    with open(env.path("f"), "w+b", buffering=0) as f:
        f.write(b"a" * 8192)
        with shared_map(env, f) as m:
            os.pwrite(f.fileno(), b"bbbb", 4000)
            assert m[4000:4004] == b"bbbb"
            m[100:104] = b"cccc"
            assert os.pread(f.fileno(), 4, 100) == b"cccc"
    env.same()


@suite.test("O_DIRECT reads and writes, mixed with buffered ones")
def direct(env):
    path = env.path("f")
    data = random.Random(5).randbytes(2 * MIB)
    buffer = mmap.mmap(-1, 2 * MIB)
    buffer[:] = data
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    assert os.write(fd, buffer) == len(data)
    assert read(env.on_disk("f")) == data
    assert read(path) == data
    write(path, b"Z" * 512, os.O_WRONLY)
    back = mmap.mmap(-1, 2 * MIB)
    assert os.preadv(fd, [back], 0) == len(data)
    assert back[:] == b"Z" * 512 + data[512:]
    os.close(fd)
    env.same()


@suite.test("fsync, fdatasync, syncfs and fsync of a directory succeed and store the data")
def syncs(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"one")
    os.fsync(fd)
    assert read(env.on_disk("f")) == b"one"
    os.write(fd, b"two")
    os.fdatasync(fd)
    assert read(env.on_disk("f")) == b"onetwo"
    libc_call("syncfs", fd)
    os.close(fd)
    directory = os.open(env.mnt, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    fd = os.open(env.path("s"), os.O_CREAT | os.O_WRONLY | os.O_SYNC, 0o644)
    os.write(fd, b"sync")
    assert read(env.on_disk("s")) == b"sync"
    os.close(fd)


@suite.test("a file is complete on the server when close returns")
def close_flushes(env):
    data = random.Random(9).randbytes(3 * MIB)
    for i in range(5):
        write(env.path(f"f{i}"), data)
        assert read(env.on_disk(f"f{i}")) == data


@suite.test("copy_file_range, sendfile and cp copy exactly; a sparse file stays equal")
def copies(env):
    data = random.Random(11).randbytes(2 * MIB + 5)
    write(env.path("a"), data)
    env.run(["cp", "--preserve=all", env.path("a"), env.path("b")])
    with open(env.path("a"), "rb") as a, open(env.path("c"), "wb") as c:
        left = len(data)
        while left:
            left -= os.copy_file_range(a.fileno(), c.fileno(), left)
    with open(env.path("a"), "rb") as a, open(env.path("d"), "wb") as d:
        offset = 0
        while n := os.sendfile(d.fileno(), a.fileno(), offset, MIB):
            offset += n
    for name in "bcd":
        assert read(env.path(name)) == data, name
    fd = os.open(env.path("sparse"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"x", 5 * MIB)
    os.close(fd)
    env.run(["cp", "--sparse=always", env.path("sparse"), env.path("sparse2")])
    assert read(env.path("sparse2")) == read(env.on_disk("sparse"))
    env.same()


@suite.test("SEEK_DATA and SEEK_HOLE never skip data")
def seek_hole(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, b"x" * 4096, MIB)
    os.ftruncate(fd, 3 * MIB)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= MIB
    assert os.lseek(fd, MIB, os.SEEK_DATA) == MIB
    assert MIB + 4096 <= os.lseek(fd, MIB, os.SEEK_HOLE) <= 3 * MIB
    env.fails(errno.ENXIO, os.lseek, fd, 3 * MIB, os.SEEK_DATA)
    os.close(fd)


@suite.test("fallocate reserves or says EOPNOTSUPP, and posix_fallocate always gives the size")
def fallocate(env):
    fd = os.open(env.path("f"), os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"keep")
    try:
        libc_call("fallocate64", fd, 0, *offsets(0, MIB))
        assert os.fstat(fd).st_size == MIB
    except OSError as e:
        assert e.errno == errno.EOPNOTSUPP, e
    os.posix_fallocate(fd, 0, 2 * MIB)
    assert os.fstat(fd).st_size == 2 * MIB
    assert os.pread(fd, 6, 0) == b"keep\0\0"
    os.close(fd)
    env.same()


def offsets(*values):
    import ctypes
    return [ctypes.c_int64(v) for v in values]


@suite.test("what NFS has not is refused with the kernel client's errno")
def unsupported(env):
    write(env.path("f"), b"x")
    env.fails(errno.EOPNOTSUPP, os.open, env.mnt, os.O_TMPFILE | os.O_RDWR)
    for call, args in ((os.setxattr, ("user.a", b"1")), (os.getxattr, ("user.a",))):
        try:
            call(env.path("f"), *args)
        except OSError as e:
            assert e.errno in (errno.EOPNOTSUPP, errno.ENODATA), e
    fd = os.open(env.path("f"), os.O_RDONLY)
    env.fails(errno.ENOTTY, ioctl, fd)
    os.close(fd)


def ioctl(fd):
    import fcntl
    fcntl.ioctl(fd, 0x5401, bytes(64))  # TCGETS


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


@suite.test("reads at and past the end give what is there")
def end_of_file(env):
    write(env.path("f"), b"0123456789")
    fd = os.open(env.path("f"), os.O_RDWR)
    assert os.pread(fd, 100, 5) == b"56789"
    assert os.pread(fd, 100, 10) == b"" and os.pread(fd, 100, 1 << 40) == b""
    os.pwrite(fd, b"X", 20)
    assert os.pread(fd, 100, 8) == b"89" + bytes(10) + b"X"
    env.fails(errno.EINVAL, os.pread, fd, 1, -1)
    env.fails(errno.EISDIR, os.read, os.open(env.mnt, os.O_RDONLY), 1)
    os.close(fd)


@suite.test("many files open at once")
def many_open(env):
    files = [open(env.path(f"f{i}"), "w+b", buffering=0) for i in range(env.times(800))]
    for i, f in enumerate(files):
        f.write(b"%d" % i)
    for i, f in enumerate(files):
        assert os.pread(f.fileno(), 10, 0) == b"%d" % i
        f.close()
    env.same()


@suite.test("eight processes create, write, rename and remove side by side", timeout=60)
def side_by_side(env):
    rounds = env.times(150)

    def work(number):
        base = env.path(f"p{number}")
        os.mkdir(base)
        for i in range(rounds):
            write(f"{base}/a{i}", b"%d %d" % (number, i))
            os.rename(f"{base}/a{i}", f"{base}/b{i}")
            if i % 3:
                os.unlink(f"{base}/b{i}")
            else:
                assert read(f"{base}/b{i}") == b"%d %d" % (number, i)

    workers = [env.child(work, n) for n in range(8)]
    for worker in workers:
        worker.join()
    assert len(env.same()) == 8 + 8 * (rounds // 3)


@suite.test("O_EXCL lets exactly one of many processes create")
def exclusive(env):
    def work():
        for i in range(50):
            try:
                os.close(os.open(env.path(f"f{i}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            write(env.path(f"won-{i}-{os.getpid()}"), b"")

    workers = [env.child(work) for _ in range(4)]
    for worker in workers:
        worker.join()
    won = [n for n in os.listdir(env.disk) if n.startswith("won")]
    assert len(won) == 50 and len({n.split("-")[1] for n in won}) == 50


if __name__ == "__main__":
    suite.main()
