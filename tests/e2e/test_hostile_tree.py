#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server whose files cannot be: trees that contain themselves, objects that change what they are,
links that lead nowhere, data that never comes. Programs get errors, and the mount goes on."""

import errno
import fcntl
import os
import stat
import struct
import subprocess

import nfsreply as nfs
from harness import Suite
from hostile import DATA, NAMES, Hostile, damaged
from nfsreply import Directory, Fattr, p32, p64, record
from proxy import refusal
from test_basic import read, write

suite = Suite()
MODE, RAWDEV, FILEID, CHANGE = 33, 41, 20, 3
FOREVER = 1_000_000
NOBODY = 65534


def fattr_of(reply, change, op=nfs.GETATTR):
    getattr_op = reply.find(op)
    fattr = Fattr(getattr_op[2])
    change(fattr)
    getattr_op[2] = fattr.bytes()


def attrs(change):
    return damaged(lambda reply: fattr_of(reply, change))


def without(number):
    def change(fattr):
        fattr.values.pop(number, None)
        fattr.words[number // 32] &= ~(1 << number % 32)
    return change


def with_values(**values):
    """Replaces attributes: by number, n4=... ."""
    def change(fattr):
        for name, data in values.items():
            if int(name[1:]) in fattr.values:
                fattr.values[int(name[1:])] = data
    return change


def finishes(command, within=30):
    """Runs it; it must end by itself. Returns its status and output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=within)
    return done.returncode, done.stdout.decode(errors="replace")


class Copies:
    """Answers every LOOKUP, and every name in a directory, with one and the same object."""

    def __init__(self):
        self.handle = self.attrs = None

    def learn(self, _, reply):
        self.handle, self.attrs = reply.find(nfs.GETFH)[2], reply.find(nfs.GETATTR)[2]
        return record(reply.bytes())

    def answer(self, _, reply):
        if reply.has(nfs.LOOKUP) and reply.has(nfs.GETFH):
            reply.find(nfs.GETFH)[2] = self.handle
            reply.find(nfs.GETATTR)[2] = self.attrs
        elif reply.has(nfs.READDIR):
            op = reply.find(nfs.READDIR)
            contents = Directory(op[2])
            values = Fattr(self.attrs).values
            for entry in contents.entries:
                fattr = Fattr(entry[2])
                for number in fattr.values:
                    if number == nfs.FILEHANDLE:
                        fattr.values[number] = self.handle
                    elif number in values:
                        fattr.values[number] = values[number]
                entry[2] = fattr.bytes()
            op[2] = contents.bytes()
        return record(reply.bytes())


def contains(env, of):
    """A mount on which every name below d is the object at the path `of`."""
    h = Hostile(env, "nconnect=1,noac,timeo=20,lookupcache=none")
    os.makedirs(env.on_disk("d2/e/f"), exist_ok=True)
    copies = Copies()
    h.proxy.arm(copies.learn, nfs.LOOKUP)
    os.stat(of(h))
    assert copies.handle, "nothing was looked up"
    h.proxy.arm(copies.answer, nfs.SEQUENCE, times=FOREVER)
    return h


def walk(h):
    """What programs do with a tree; how it ends is theirs, that it ends is ours."""
    for path in ("d2/e", "d2/e/f", "d/entry001", "d/entry002/entry003"):
        try:
            os.stat(h.path(path))
            os.listdir(h.path(path))
        except OSError as e:
            assert e.errno in (errno.ELOOP, errno.EIO, errno.ENOTDIR, errno.ESTALE), e
    finishes(["find", h.path("d2"), "-maxdepth", "40", "-printf", "%i %y\n"])
    finishes(["ls", "-lRU", "--", h.path("d2/e")])
    try:
        os.rename(h.path("d2/e"), h.path("d2/e/f/g"))
        raise AssertionError("a directory was moved into itself")
    except OSError as e:
        assert e.errno in (errno.EINVAL, errno.ELOOP, errno.EIO, errno.ENOENT, errno.ESTALE,
                           errno.ENOTEMPTY, errno.EXDEV), e


@suite.test("a directory that contains itself does no harm", timeout=90)
def contains_itself(env):
    h = contains(env, lambda h: h.path("d2"))
    walk(h)
    h.good(None)


@suite.test("a directory that contains its parent does no harm", timeout=90)
def contains_parent(env):
    h = contains(env, lambda h: h.dir)
    walk(h)
    h.good(None)


@suite.test("the mount's root under another name does no harm", timeout=90)
def contains_root(env):
    h = Hostile(env, "nconnect=1,noac,timeo=20,lookupcache=none")
    os.makedirs(env.on_disk("d2/e/f"))
    h.stack.close()
    copies, seen = Copies(), []

    def learn(_, reply):
        if reply.has(nfs.PUTROOTFH) and reply.has(nfs.GETFH):
            seen.append((reply.find(nfs.GETFH)[2], reply.find(nfs.GETATTR)[2]))
        return record(reply.bytes())
    h = Hostile(env, "nconnect=1,noac,timeo=20,lookupcache=none", first=(learn, nfs.PUTROOTFH))
    assert seen, "no lookup of the export was seen"
    copies.handle, copies.attrs = seen[-1]
    h.proxy.arm(copies.answer, nfs.SEQUENCE, times=FOREVER)
    walk(h)
    h.good(None)


@suite.test("one number for all files mixes nothing up")
def one_number(env):
    h = Hostile(env)
    for i in range(4):
        write(env.on_disk(f"n{i}"), f"file {i}".encode())
    h.proxy.arm(attrs(with_values(a20=p64(77), a55=p64(77))), nfs.GETATTR, times=FOREVER)
    numbers = set()
    for i in range(4):
        assert read(h.path(f"n{i}")) == f"file {i}".encode()
        numbers.add(os.stat(h.path(f"n{i}")).st_ino)
        write(h.path(f"n{i}"), f"changed {i}".encode())
    assert len(numbers) == 1, numbers
    h.proxy.disarm()
    for i in range(4):
        assert read(env.on_disk(f"n{i}")) == f"changed {i}".encode()
    h.good(None)


@suite.test("objects that change what they are fail, and are what they are again", timeout=60)
def change_type(env):
    h = Hostile(env)
    for kind in (2, 3, 4, 5, 6, 7, 8, 9):
        h.proxy.arm(attrs(with_values(a1=p32(kind))), nfs.GETATTR, times=FOREVER)
        for path in (h.path("big"), h.path("d"), h.dir):
            try:
                os.stat(path)
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                os.close(fd)
            except OSError as e:
                assert e.errno in (errno.EIO, errno.ENXIO, errno.ELOOP, errno.ESTALE,
                                   errno.ENOTDIR, errno.EISDIR, errno.ENODEV, errno.EACCES), e
        h.proxy.disarm()

        def again():
            try:
                return os.stat(h.path("big")).st_size == len(DATA) and os.listdir(h.path("d"))
            except OSError:
                return False
        env.eventually(again, within=10, what="what was there before")
    h.good(None)


@suite.test("numbers of any size are told or refused, and kept apart from sense", timeout=60)
def numbers(env):
    h = Hostile(env)
    big = 1 << 63
    for name, change in {
            "no links": with_values(a35=p32(0)),
            "4e9 links": with_values(a35=p32(0xffffffff)),
            "all mode bits": with_values(a33=p32(0xffffffff)),
            "before 1970": with_values(a47=p64(-big) + p32(0), a52=p64(-1) + p32(999999999)),
            "far future": with_values(a47=p64(big - 1) + p32(0), a53=p64(big - 1) + p32(1)),
            "size": with_values(a4=p64(2**64 - 1)),
            "space": with_values(a45=p64(2**64 - 1)),
            "fileid": with_values(a20=p64(0), a55=p64(0)),
            "change": with_values(a3=p64(2**64 - 1)),
            "fsid": with_values(a8=p64(2**64 - 1) + p64(5))}.items():
        h.proxy.arm(attrs(change), nfs.GETATTR, times=FOREVER)
        for path in (h.path("big"), h.path("d")):
            try:
                st = os.stat(path)
                assert st.st_mode & ~0o7777 in (stat.S_IFREG, stat.S_IFDIR), (name, oct(st.st_mode))
                assert 0 <= st.st_size < big, name
                os.listdir(h.dir)
                fd = os.open(path, os.O_RDONLY)
                os.close(fd)
            except OSError as e:
                assert e.errno in (errno.EIO, errno.EOVERFLOW, errno.ESTALE), (name, e)
        h.proxy.disarm()
        env.eventually(lambda: os.path.isdir(h.path("d")), within=10)
    h.good(None)


@suite.test("attributes that are left out are errors, or nobody's")
def vanished(env):
    h = Hostile(env)
    for number in (nfs.TYPE, CHANGE, nfs.SIZE, FILEID, MODE):
        h.proxy.arm(attrs(without(number)), nfs.GETATTR, times=FOREVER)
        env.fails(errno.EIO, os.stat, h.path("big"))
    for number in (nfs.OWNER, 37):
        h.proxy.arm(attrs(without(number)), nfs.GETATTR, times=FOREVER)
        st = os.stat(h.path("big"))
        assert (st.st_uid if number == nfs.OWNER else st.st_gid) == NOBODY, st
    h.good(None)


@suite.test("symbolic links without a target, with a NUL or too long are errors")
def links(env):
    h = Hostile(env)
    os.symlink("big", env.on_disk("l"))
    assert read(h.path("l")) == DATA

    def target(data):
        return damaged(lambda r: r.find(nfs.READLINK).__setitem__(2, nfs.opaque(data)))
    for data in (b"", b"big\0x", b"\0"):
        h.proxy.arm(target(data), nfs.READLINK, times=FOREVER)
        env.fails(errno.EIO, os.readlink, h.path("l"))
        env.fails(errno.EIO, os.stat, h.path("l"))
    h.good(0)
    h.proxy.arm(target(b"x" * 5000), nfs.READLINK, times=2)
    env.fails(errno.EIO, os.readlink, h.path("l"))
    h.good(None)
    for data in (b"/" * 4000, b"../" * 1000, b"l"):
        h.proxy.arm(target(data), nfs.READLINK, times=FOREVER)
        assert os.readlink(os.fsencode(h.path("l"))) == data
        try:
            os.stat(h.path("l"))
        except OSError as e:
            assert e.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT), e
    h.good(None)


def reading(change):
    """change(data, eof) gives those of the answer."""
    def damage(reply):
        op = reply.find(nfs.READ)
        eof, data = nfs.u32(op[2]), op[2][8:8 + nfs.u32(op[2], 4)]
        data, eof = change(data, eof)
        op[2] = p32(eof) + nfs.opaque(data)
    return damaged(damage)


def pread(h, size):
    fd = os.open(h.path("big"), os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


@suite.test("data that does not come is an error and no end of the file")
def no_data(env):
    h = Hostile(env)
    h.proxy.arm(reading(lambda data, eof: (b"", 0)), nfs.READ, times=FOREVER)
    env.fails(errno.EIO, pread, h, 4096)
    assert os.stat(h.path("big")).st_size == len(DATA)
    h.good(0)
    # a little at a time is slow, and right
    h.proxy.arm(reading(lambda data, eof: (data[:1000], 0)), nfs.READ, times=FOREVER)
    assert pread(h, 20_000) == DATA[:20_000]
    h.good(0)


@suite.test("data that is not taken is an error")
def not_taken(env):
    h = Hostile(env)

    def count(n):
        def change(reply):
            op = reply.find(nfs.WRITE)
            op[2] = p32(n) + op[2][4:]
        return damaged(change)

    def save(size):
        fd = os.open(h.path("w"), os.O_WRONLY | os.O_CREAT)
        try:
            assert os.write(fd, DATA[:size]) == size
            os.fsync(fd)
        finally:
            os.close(fd)
    h.proxy.arm(count(0), nfs.WRITE, times=FOREVER)
    env.fails(errno.EIO, save, 5000)
    h.proxy.arm(count(100), nfs.WRITE, times=FOREVER)
    save(5000)
    assert h.proxy.hits >= 50
    assert read(env.on_disk("w")) == DATA[:5000]
    h.good(None)


@suite.test("an append to a file whose end nobody tells is an error")
def no_end(env):
    h = Hostile(env)
    write(env.on_disk("log"), b"first\n")

    def change(reply):
        # VERIFY never holds, and then the size is left out
        if reply.ops[-1][0] == nfs.VERIFY:
            return
        if any(o[0] == nfs.GETATTR for o in reply.ops):
            fattr_of(reply, without(nfs.SIZE))
    fd = os.open(h.path("log"), os.O_WRONLY | os.O_APPEND)
    with open(env.on_disk("log"), "ab") as f:
        f.write(b"of another\n")
    h.proxy.arm(damaged(change), nfs.GETATTR, times=FOREVER)
    try:
        env.fails(errno.EIO, os.write, fd, b"second\n")
    finally:
        os.close(fd)
    h.proxy.disarm()
    assert read(env.on_disk("log")) == b"first\nof another\n"
    h.good(None)


LOCKT, DENIED = 13, 10010


@suite.test("a lock in the way whose range cannot be is told as far as it can")
def absurd_locks(env):
    h = Hostile(env)
    top = 2**64 - 1
    fd = os.open(h.path("big"), os.O_RDWR)
    for start, length, told in ((0, top, (0, 0)), (5, 10, (5, 10)), (top, top, None),
                                (2**63, 1, None), (2**63 - 1, 1, None), (10, top - 5, (10, 0)),
                                (100, 2**63, (100, 0)), (7, 0, (7, 0))):
        def deny(call, at=start, size=length):
            denied = p64(at) + p64(size) + p32(2) + p64(1) + nfs.opaque(b"somebody else")
            return refusal(call, DENIED, nfs.PUTFH, LOCKT, body=denied)
        h.proxy.arm_call(deny)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        try:
            kind, _, l_start, l_len, _ = struct.unpack("hhqqi4x", fcntl.fcntl(
                fd, fcntl.F_GETLK, lock))
        except OSError as e:
            assert told is None and e.errno == errno.EIO, (start, length, e)
            continue
        finally:
            assert h.proxy.hits == 1, h.proxy.hits
        assert kind == fcntl.F_WRLCK and l_start >= 0 and l_len >= 0, (start, length)
        if told:
            assert (l_start, l_len) == told, (start, length, l_start, l_len)
    os.close(fd)
    h.good(0)


@suite.test("with nodev a server's devices cannot be opened, with nosuid its programs gain nothing")
def devices(env):
    os.mknod(env.on_disk("zero"), 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.chmod(env.on_disk("zero"), 0o666)
    env.run(["cp", "/usr/bin/id", env.on_disk("id")])
    os.chown(env.on_disk("id"), 7, 7)
    os.chmod(env.on_disk("id"), 0o4755)
    safe = os.path.join(env.mount("nodev,nosuid").point, env.name)
    env.fails(errno.EACCES, os.open, safe + "/zero", os.O_RDONLY)
    assert env.as_user("nobody", ["cat", safe + "/zero"]).returncode != 0
    told = env.as_user("nobody", [safe + "/id", "-u"])
    assert told.stdout.strip() != b"7" and told.returncode == 0, told.stdout
    # what root's mounts do without those words, as mount(8)'s do, and SECURITY.md says
    assert os.read(os.open(env.path("zero"), os.O_RDONLY), 4) == bytes(4)
    told = env.as_user("nobody", [env.path("id"), "-u"])
    assert told.stdout.strip() == b"7", told.stdout


@suite.test("a change attribute that moves each time, or never, starves nobody", timeout=60)
def restless(env):
    h = Hostile(env, "nconnect=1,timeo=20,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0")
    turn = [0]

    def moving(fattr):
        turn[0] += 1
        if CHANGE in fattr.values:
            fattr.values[CHANGE] = p64(turn[0])
    for change in (moving, with_values(a3=p64(42))):
        h.proxy.arm(attrs(change), nfs.GETATTR, times=FOREVER)
        for i in range(10):
            write(h.path(f"c{i}"), DATA[:50_000])
            assert read(h.path(f"c{i}")) == DATA[:50_000]
            assert len(os.listdir(h.path("d"))) == len(NAMES)
        h.proxy.disarm()
        for i in range(10):
            assert read(env.on_disk(f"c{i}")) == DATA[:50_000]
    h.good(None)


if __name__ == "__main__":
    suite.main()
