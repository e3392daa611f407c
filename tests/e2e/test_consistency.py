#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who sees whose changes, and when: host and guest, and two mounts of one export."""

import mmap
import os
import random
import stat
import time

from harness import Suite
from test_basic import read, write

suite = Suite()
MIB = 1 << 20


def exists(path):
    return os.path.lexists(path)


def text(path):
    try:
        return read(path)
    except OSError:
        return None


# The host's edits, seen in the guest

@suite.test("a file made on the host is seen in the guest within 1 s, though it was missed before")
def host_creates(env):
    assert not exists(env.path("f")) and os.listdir(env.mnt) == []
    write(env.on_disk("f"), b"from the host")
    env.eventually(lambda: exists(env.path("f")), what="the new name")
    env.eventually(lambda: os.listdir(env.mnt) == ["f"], what="the new entry")
    assert read(env.path("f")) == b"from the host"
    env.same()


@suite.test("contents edited on the host are what the next open reads, at once, same size too")
def host_edits(env):
    write(env.path("f"), b"version 0")
    for version in range(1, 30):
        assert read(env.path("f")) == b"version %d" % (version - 1)
        write(env.on_disk("f"), b"version %d" % version)
        assert read(env.path("f")) == b"version %d" % version, "stale data after open"
    env.eventually(lambda: os.stat(env.path("f")).st_size == 10, what="the new size")


@suite.test("an edit of a large cached file on the host is seen at open, wherever in the file")
def host_edits_large(env):
    data = bytearray(random.Random(1).randbytes(6 * MIB))
    write(env.path("f"), data)
    assert read(env.path("f")) == data
    for offset in (0, 3 * MIB + 17, 6 * MIB - 1):
        data[offset] ^= 0xff
        with open(env.on_disk("f"), "r+b", buffering=0) as f:
            f.seek(offset)
            f.write(data[offset:offset + 1])
        assert read(env.path("f")) == data


@suite.test("an editor's save (new file renamed over the old) is seen within 1 s")
def host_saves(env):
    write(env.path("f"), b"old")
    assert read(env.path("f")) == b"old"
    write(env.on_disk("f~"), b"new text")
    os.rename(env.on_disk("f~"), env.on_disk("f"))
    env.eventually(lambda: text(env.path("f")) == b"new text", what="the saved text")
    env.eventually(lambda: os.listdir(env.mnt) == ["f"])
    env.same()


@suite.test("rename, move, delete and mkdir on the host are seen within 1 s")
def host_renames(env):
    os.mkdir(env.path("d"))
    write(env.path("a"), b"a")
    write(env.path("b"), b"b")
    assert sorted(os.listdir(env.mnt)) == ["a", "b", "d"]
    os.rename(env.on_disk("a"), env.on_disk("a2"))
    os.rename(env.on_disk("b"), env.on_disk("d/b"))
    os.mkdir(env.on_disk("new"))
    env.eventually(lambda: not exists(env.path("a")) and text(env.path("a2")) == b"a")
    env.eventually(lambda: not exists(env.path("b")) and text(env.path("d/b")) == b"b")
    env.eventually(lambda: sorted(os.listdir(env.mnt)) == ["a2", "d", "new"])
    os.unlink(env.on_disk("a2"))
    os.rmdir(env.on_disk("new"))
    os.rename(env.on_disk("d"), env.on_disk("e"))
    env.eventually(lambda: not exists(env.path("a2")) and not exists(env.path("new")))
    env.eventually(lambda: text(env.path("e/b")) == b"b" and not exists(env.path("d")))
    env.same()


@suite.test("mode, owner, times and link target changed on the host are seen within 1 s")
def host_attributes(env):
    write(env.path("f"), b"x")
    os.symlink("one", env.path("l"))
    os.stat(env.path("f"))
    assert os.readlink(env.path("l")) == "one"
    os.chmod(env.on_disk("f"), 0o4711)
    os.chown(env.on_disk("f"), 11, 22)
    os.chmod(env.on_disk("f"), 0o640)
    os.utime(env.on_disk("f"), ns=(5, 7))
    os.unlink(env.on_disk("l"))
    os.symlink("two", env.on_disk("l"))

    def seen():
        st = os.stat(env.path("f"))
        return (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns) == (0o640, 11, 22, 7)
    env.eventually(seen, what="the attributes")
    env.eventually(lambda: os.readlink(env.path("l")) == "two", what="the link's target")
    env.same()


@suite.test("logs that grow on the host are followed in the guest through open descriptors")
def host_appends(env):
    names = [f"log{n}" for n in range(8)]
    for name in names:
        write(env.path(name), b"start\n")
    logs = [os.open(env.path(name), os.O_RDONLY) for name in names]
    for fd in logs:
        assert os.read(fd, 100) == b"start\n"
    for i in range(3):
        for name in names:
            write(env.on_disk(name), b"line %d\n" % i, os.O_WRONLY | os.O_APPEND)
        for fd in logs:
            got = []
            env.eventually(lambda: got.append(os.read(fd, 100)) or got[-1], what=f"line {i}")
            assert got[-1] == b"line %d\n" % i, got[-1]
    write(env.on_disk("log0"), b"")
    env.eventually(lambda: os.fstat(logs[0]).st_size == 0, what="the truncation")


@suite.test("a file truncated and rewritten on the host never shows old bytes after open")
def host_truncates(env):
    for size in (100_000, 10, 50_000, 0, 70_000):
        data = random.Random(size).randbytes(size)
        write(env.on_disk("f"), data)
        env.eventually(lambda: exists(env.path("f")))
        assert read(env.path("f")) == data


@suite.test("a tree copied into the export on the host is found whole in the guest")
def host_copies_tree(env):
    os.listdir(env.mnt)
    env.run(["cp", "-a", "/usr/include/linux", env.on_disk("linux")])
    env.eventually(lambda: exists(env.path("linux")))
    time.sleep(1.1)
    env.same()


# The guest's edits, seen on the host

@suite.test("what the guest does is on the host when the call returns")
def guest_changes(env):
    write(env.path("f"), b"one")
    assert read(env.on_disk("f")) == b"one"
    write(env.path("f"), b"two and more")
    assert read(env.on_disk("f")) == b"two and more"
    os.rename(env.path("f"), env.path("g"))
    assert os.listdir(env.disk) == ["g"]
    os.mkdir(env.path("d"))
    os.symlink("t", env.path("d/l"))
    assert os.readlink(env.on_disk("d/l")) == "t"
    os.chmod(env.path("g"), 0o600)
    assert stat.S_IMODE(os.stat(env.on_disk("g")).st_mode) == 0o600
    os.unlink(env.path("g"))
    assert os.listdir(env.disk) == ["d"]


@suite.test("host and guest take turns on one file a hundred times without a stale read")
def ping_pong(env):
    write(env.path("f"), b"0")
    for i in range(100):
        mine, theirs = (env.path("f"), env.on_disk("f")) if i % 2 else (env.on_disk("f"),
                                                                     env.path("f"))
        assert read(mine) == b"%d" % i
        write(mine, b"%d" % (i + 1))
        assert read(theirs) == b"%d" % (i + 1)


@suite.test("libnfs and the mount see each other's writes, renames and removals")
def with_libnfs(env):
    write(env.path("f"), b"by the mount")
    assert env.witness("cat", env.nfs + "/f") == b"by the mount"
    env.witness("put", env.nfs + "/f", data=b"by libnfs, longer than before")
    assert read(env.path("f")) == b"by libnfs, longer than before"
    env.witness("mv", env.nfs + "/f", env.nfs + "/g")
    env.eventually(lambda: not exists(env.path("f")) and exists(env.path("g")))
    env.witness("rm", env.nfs + "/g")
    env.eventually(lambda: not exists(env.path("g")))


# Two mounts

@suite.test("two mounts: a close on one is seen by the next open on the other (close-to-open)")
def close_to_open(env):
    other = os.path.join(env.mount().point, env.name)
    roots = (env.mnt, other)
    write(env.path("f"), b"0")
    for i in range(50):
        here, there = roots[i % 2], roots[1 - i % 2]
        assert read(f"{here}/f") == b"%d" % i, i
        write(f"{here}/f", b"%d" % (i + 1))
        assert read(f"{there}/f") == b"%d" % (i + 1), i


@suite.test("two mounts: fstat after open gives the size that the other mount left")
def size_at_open(env):
    other = os.path.join(env.mount().point, env.name)
    write(env.path("f"), b"x")
    os.stat(f"{other}/f")
    for size in (10, 3, 100_000):
        write(env.path("f"), b"y" * size)
        fd = os.open(f"{other}/f", os.O_RDONLY)
        assert os.fstat(fd).st_size == size and len(os.pread(fd, 200_000, 0)) == size
        os.close(fd)


@suite.test("two mounts: names made and removed on one are seen on the other within 1 s")
def names_on_two_mounts(env):
    other = os.path.join(env.mount().point, env.name)
    assert not exists(f"{other}/f") and os.listdir(other) == []
    write(env.path("f"), b"x")
    env.eventually(lambda: exists(f"{other}/f") and os.listdir(other) == ["f"])
    os.rename(f"{other}/f", f"{other}/g")
    env.eventually(lambda: exists(env.path("g")) and not exists(env.path("f")))
    os.unlink(env.path("g"))
    env.eventually(lambda: not exists(f"{other}/g") and os.listdir(other) == [])


@suite.test("two mounts: a mapping made after the other's close shows its bytes")
def mapping_on_two_mounts(env):
    other = os.path.join(env.mount().point, env.name)
    write(env.path("f"), b"a" * 10000)

    def mapped(path):
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
            return m[:]

    assert mapped(f"{other}/f") == b"a" * 10000
    write(env.path("f"), b"b" * 10000)
    assert mapped(f"{other}/f") == b"b" * 10000
    with open(env.path("f"), "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[5000:5003] = b"ccc"
        m.flush()
    assert mapped(f"{other}/f")[4999:5004] == b"bcccb"


@suite.test("O_APPEND from two writers on one mount loses and mixes nothing", timeout=60)
def two_appenders(env):
    def append(letter):
        fd = os.open(env.path("log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for i in range(400):
            os.write(fd, b"%s%05d\n" % (letter, i))
        os.close(fd)

    writers = [env.child(append, letter) for letter in (b"a", b"b")]
    for writer in writers:
        writer.join()
    lines = read(env.on_disk("log")).split(b"\n")
    assert len(lines) == 801 and lines.pop() == b"", len(lines)
    for letter in (b"a", b"b"):
        assert [x for x in lines if x[:1] == letter] == [b"%s%05d" % (letter, i)
                                                         for i in range(400)]


@suite.test("O_APPEND on two mounts in turn, each opening anew, keeps every line")
def alternate_appenders(env):
    other = os.path.join(env.mount().point, env.name)
    for i in range(40):
        root = (env.mnt, other)[i % 2]
        write(f"{root}/log", b"%d\n" % i, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    assert read(env.on_disk("log")) == b"".join(b"%d\n" % i for i in range(40))


@suite.test("mkdir and exclusive create on two mounts have one winner")
def one_winner(env):
    other = os.path.join(env.mount().point, env.name)

    def race(root, tag):
        won = 0
        for i in range(60):
            try:
                os.mkdir(f"{root}/d{i}")
                won += 1
            except FileExistsError:
                pass
            try:
                os.close(os.open(f"{root}/f{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                won += 1
            except FileExistsError:
                pass
        write(f"{root}/won-{tag}", b"%d" % won)

    racers = [env.child(race, env.mnt, 1), env.child(race, other, 2)]
    for racer in racers:
        racer.join()
    assert sum(int(read(env.on_disk(f"won-{tag}"))) for tag in (1, 2)) == 120


# Options

@suite.test("noac, actimeo=0 and cache=none show the host's changes at once")
def no_caching(env):
    write(env.path("f"), b"x")
    for options in ("noac", "actimeo=0", "cache=none"):
        other = os.path.join(env.mount(options).point, env.name, "f")
        for mode in (0o600, 0o611, 0o644):
            os.chmod(env.on_disk("f"), mode)
            assert stat.S_IMODE(os.stat(other).st_mode) == mode, f"-o {options}: stale attributes"
        for size in (10, 2, 5000):
            write(env.on_disk("f"), b"z" * size)
            assert os.stat(other).st_size == size and read(other) == b"z" * size, options


@suite.test("lookupcache=none shows a new name at once, lookupcache=pos too")
def no_negative_caching(env):
    for options in ("lookupcache=none", "lookupcache=pos"):
        other = os.path.join(env.mount(options).point, env.name)
        name = options.replace("=", "-")
        assert not exists(f"{other}/{name}")
        write(env.on_disk(name), b"x")
        assert exists(f"{other}/{name}"), f"-o {options}: a stale answer"


@suite.test("actimeo=30 keeps attributes, and open still brings new contents")
def long_caching(env):
    other = os.path.join(env.mount("actimeo=30").point, env.name)
    write(env.path("f"), b"x")
    os.chmod(env.path("f"), 0o644)
    assert read(f"{other}/f") == b"x"
    os.stat(f"{other}/f")
    os.chmod(env.on_disk("f"), 0o600)
    time.sleep(1.3)
    assert stat.S_IMODE(os.stat(f"{other}/f").st_mode) == 0o644, "the attributes were not kept"
    write(env.on_disk("f"), b"yy")
    assert read(f"{other}/f") == b"yy", "open did not revalidate"


if __name__ == "__main__":
    suite.main()
