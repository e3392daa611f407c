# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an object is: its type, mode, owner and times, and what may be done with it."""

import errno
import os
import stat
import time

from files import MIB, read, write
from harness import Skip, Suite

suite = Suite()


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
