#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Extended attributes: where the server has them (here a shim in front of nfs-ganesha, which has
not), and where it has not."""

import contextlib
import errno
import os
import shutil
import struct
import sys
import time

import nfsreply as nfs
from harness import ROOT, Suite, build_path, errno_of
from mounts import Mount
from nfsreply import opaque, p32, p64
from shim import (ACL, ACLSUPPORT, DACL, EXIST, INVAL, NOTSUPP, NOXATTR, POSIX_ACCESS_ACL,
                  POSIX_DEFAULT_ACL, QUOTA_HARD, QUOTA_SOFT, QUOTA_USED, SACL, SEC_LABEL, XATTR2BIG,
                  XATTR_SUPPORT, Shim)
from test_basic import write

suite = Suite()
XATTR_SIZE_MAX = 65536
sys.path.append(os.path.join(ROOT, "tests", "matrix"))
import matrix  # noqa: E402


class Served:
    """A file on a mount of a server with extended attributes; the shim is `server`."""

    def __init__(self, env, options="noac", objects=None, **fs):
        """fs: the server's attributes of file systems by number, objects: defaults of those that
        files have besides."""
        env.mount_count += 1
        point = os.path.join(env.work, f"{env.name}-shim{env.mount_count}")
        self.stack = env.stack.enter_context(contextlib.ExitStack())
        self.server = Shim(point + ".sock", env.port)
        self.stack.callback(self.server.stop)
        self.server.fs.update({int(n): v for n, v in fs.items()})
        self.server.default = objects or {}
        self.server.objects = {n: {} for n in self.server.default}
        self.mount = self.stack.enter_context(Mount(
            env.suite.program(), f"unix:{self.server.path}:/export", point,
            f"nconnect=1,{options}"))
        self.disk = env.on_disk("f")
        if not os.path.exists(self.disk):
            write(self.disk, b"data")
        self.server.touch = self.disk
        self.dir = os.path.join(point, env.name)
        self.file = os.path.join(self.dir, "f")
        os.stat(self.file)

    def lost(self, call, *args, op=None, pattern=None, meanwhile=lambda: None):
        self.server.lose(op, pattern, meanwhile)
        try:
            return call(*args)
        finally:
            self.server.disarm()
            assert self.server.hits == 1, f"{self.server.hits} sessions lost"

    def values(self):
        return next(iter(self.server.xattrs.values()))


@suite.test("user.*: set, get, list, replace, remove, with the system calls' flags and errors")
def life(env):
    f = Served(env).file
    assert os.listxattr(f) == []
    env.fails(errno.ENODATA, os.getxattr, f, "user.a")
    env.fails(errno.ENODATA, os.removexattr, f, "user.a")
    env.fails(errno.ENODATA, os.setxattr, f, "user.a", b"0", os.XATTR_REPLACE)
    os.setxattr(f, "user.b", b"one\0two", os.XATTR_CREATE)
    os.setxattr(f, "user.a/b", b"")
    env.fails(errno.EEXIST, os.setxattr, f, "user.b", b"0", os.XATTR_CREATE)
    assert os.getxattr(f, "user.b") == b"one\0two" and os.getxattr(f, "user.a/b") == b""
    assert os.listxattr(f) == ["user.a/b", "user.b"]
    os.setxattr(f, "user.b", b"three", os.XATTR_REPLACE)
    os.setxattr(f, "user.b", b"four")
    assert os.getxattr(f, "user.b") == b"four"
    os.removexattr(f, "user.b")
    assert os.listxattr(f) == ["user.a/b"]
    env.fails(errno.EINVAL, os.getxattr, f, "user.")


@suite.test("sizes: asked for with 0, ERANGE when there is less room, 64 KiB and no more")
def sizes(env):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    served = Served(env)
    f = os.fsencode(served.file)
    os.setxattr(f, "user.v", b"v" * 100)
    room = ctypes.create_string_buffer(200)
    for call, name, size in ((libc.getxattr, (b"user.v",), 100), (libc.listxattr, (), 7)):
        assert call(f, *name, None, 0) == size
        assert call(f, *name, room, size) == size
        assert call(f, *name, room, size - 1) == -1 and ctypes.get_errno() == errno.ERANGE
    big = os.urandom(XATTR_SIZE_MAX)
    os.setxattr(f, "user.big", big)
    assert os.getxattr(f, "user.big") == big
    served.values()[b"big"] = big + b"x"
    env.fails(errno.E2BIG, os.getxattr, f, "user.big")
    assert libc.getxattr(f, b"user.big", None, 0) == -1 and ctypes.get_errno() == errno.E2BIG


@suite.test("a list takes as many LISTXATTRS as it needs, and is E2BIG beyond 64 KiB")
def lists(env):
    served = Served(env)
    os.setxattr(served.file, "user.x", b"")
    values = served.values()
    values.update({b"n%04d" % i: b"" for i in reversed(range(950))})
    served.server.seen.clear()
    assert os.listxattr(served.file) == [f"user.n{i:04}" for i in range(950)] + ["user.x"]
    assert served.server.seen.count(nfs.LISTXATTRS) >= 10
    values.update({b"m%0240d" % i: b"" for i in range(300)})
    env.fails(errno.E2BIG, os.listxattr, served.file)


@suite.test("other namespaces are EOPNOTSUPP, and cost the server nothing, whoever asks")
def namespaces(env):
    served = Served(env)
    with open(f"/proc/self/fd/{os.open(served.file, os.O_RDWR)}", "r+b", buffering=0) as file:
        for name in ("security.capability", "security.ima", "trusted.a", "other.a",
                     "system.posix_acl_access"):
            env.fails(errno.EOPNOTSUPP, os.getxattr, served.file, name)
            env.fails(errno.EOPNOTSUPP, os.removexattr, served.file, name)
            assert errno_of(os.setxattr, served.file, name, b"1") in (
                errno.EOPNOTSUPP, errno.EINVAL)  # which is the kernel's own
        for _ in range(20):
            file.write(b"x")
            os.fsync(file.fileno())
    assert served.server.seen == []


@suite.test("answers are told once more while the file's change attribute stands, to one user")
def cached(env):
    served = Served(env, "acregmin=30,acregmax=30,allow_other")
    f, seen = served.file, served.server.seen
    os.chmod(served.disk, 0o666)
    os.setxattr(f, "user.a", b"1")
    os.stat(f)
    seen.clear()
    for _ in range(3):
        assert os.getxattr(f, "user.a") == b"1"
        assert os.listxattr(f) == ["user.a"]
    assert seen == [nfs.GETXATTR, nfs.LISTXATTRS], seen
    served.values()[b"a"] = b"2"
    assert os.getxattr(f, "user.a") == b"1"
    other = env.as_user("nobody", [sys.executable, "-c", f"import os; os.getxattr({f!r}, 'user.a')"])
    assert other.returncode == 0, other.stdout
    assert seen.count(nfs.GETXATTR) == 2, "another user was told what he has not asked for"
    # what is changed here is seen at once
    os.setxattr(f, "user.b", b"")
    assert os.getxattr(f, "user.a") == b"2"
    assert os.listxattr(f) == ["user.a", "user.b"]
    os.removexattr(f, "user.b")
    assert os.listxattr(f) == ["user.a"]


@suite.test("a change by others is seen when the attributes are")
def changed(env):
    served = Served(env, "acregmin=1,acregmax=1")
    os.setxattr(served.file, "user.a", b"1")
    assert os.getxattr(served.file, "user.a") == b"1"
    served.values()[b"a"] = b"2"
    os.utime(served.disk)
    env.eventually(lambda: os.getxattr(served.file, "user.a") == b"2")
    slow = Served(env, "acregmin=30,acregmax=30")
    slow.server.xattrs = served.server.xattrs
    assert os.getxattr(slow.file, "user.a") == b"2"
    served.values()[b"a"] = b"2+"
    os.utime(served.disk)
    os.close(os.open(slow.file, os.O_RDONLY))  # asks for the attributes
    assert os.getxattr(slow.file, "user.a") == b"2+"
    noac = Served(env, "noac")
    noac.server.xattrs = served.server.xattrs
    for value in (b"3", b"4"):
        served.values()[b"a"] = value
        assert os.getxattr(noac.file, "user.a") == value


@suite.test("the time of the change moves, and what was written stays readable")
def times(env):
    served = Served(env)
    before = os.stat(served.file).st_ctime_ns
    time.sleep(0.02)
    os.setxattr(served.file, "user.a", b"1")
    assert os.stat(served.file).st_ctime_ns > before
    with open(served.file, "rb") as f:
        assert f.read() == b"data"


@suite.test("each error of the server has the errno that the kernel's client gives it")
def errors(env):
    served = Served(env)
    f, server = served.file, served.server
    os.setxattr(f, "user.a", b"1")
    table = {NOXATTR: errno.ENODATA, XATTR2BIG: errno.E2BIG, 10066: errno.E2BIG,
             10065: errno.E2BIG, EXIST: errno.EEXIST, 13: errno.EACCES, 1: errno.EPERM,
             28: errno.ENOSPC, 69: errno.EDQUOT, 30: errno.EROFS, INVAL: errno.EINVAL,
             63: errno.ENAMETOOLONG, NOTSUPP: errno.EOPNOTSUPP, 10044: errno.EOPNOTSUPP,
             70: errno.ESTALE, 5: errno.EIO, 10006: errno.EREMOTEIO}
    for status, number in table.items():
        for op, call, *args in ((nfs.GETXATTR, os.getxattr, f, "user.a"),
                                (nfs.SETXATTR, os.setxattr, f, "user.a", b"2"),
                                (nfs.REMOVEXATTR, os.removexattr, f, "user.a"),
                                (nfs.LISTXATTRS, os.listxattr, f)):
            server.errors = {op: status}
            if (op, status) == (nfs.LISTXATTRS, 13):
                assert call(*args) == []
            else:
                assert (found := errno_of(call, *args)) == number, (op, status, found)
    server.errors = {}
    assert os.getxattr(f, "user.a") == b"1"


def endless(reply):
    reply.find(nfs.LISTXATTRS)[2] = p64(7) + p32(1) + opaque(b"again") + p32(0)


@suite.test("results whose lengths lie close the connection; names that nobody could use are left"
            " out; a list without end is EIO", timeout=60)
def hostile(env):
    served = Served(env)
    f, server = served.file, served.server
    os.setxattr(f, "user.a", b"1")

    def damaged(op, body):
        def damage(_, reply):
            reply.find(op)[2] = body
            return nfs.record(reply.bytes())
        server.arm(damage, op, times=1)
    lies = [(nfs.GETXATTR, b) for b in (p32(0xffffffff), p32(8) + b"1234", p32(2 << 20), b"")]
    lies += [(nfs.LISTXATTRS, b) for b in (
        p64(1) + p32(0) + p32(0),               # nothing, and no end
        p64(1) + p32(0xffffffff) + p32(1),
        p64(1) + p32(1) + p32(0x7fffffff) + p32(1),
        p64(1) + p32(1) + opaque(b"a") + p32(2))]
    for op, body in lies:
        damaged(op, body)
        if op == nfs.GETXATTR:
            assert os.getxattr(f, "user.a") == b"1"
        else:
            assert os.listxattr(f) == ["user.a"]
        assert server.hits == 1
    damaged(nfs.LISTXATTRS, p64(1) + p32(5) + b"".join(
        opaque(n) for n in (b"", b"n\0l", b"x" * 251, b"good", b"good")) + p32(1))
    assert os.listxattr(f) == ["user.good"]

    def endless_damage(_, reply):
        endless(reply)
        return nfs.record(reply.bytes())
    server.arm(endless_damage, nfs.LISTXATTRS, times=100000)
    env.fails(errno.EIO, os.listxattr, f)
    server.disarm()
    assert os.listxattr(f) == ["user.a"] and served.mount.process.poll() is None


@suite.test("XATTR_CREATE and the removal happen once, also when the session is lost", timeout=60)
def once(env):
    served = Served(env)
    f = served.file

    def put(name, value=b"mine"):
        served.values()[name] = value
    os.setxattr(f, "user.first", b"")
    values = served.values()
    create = (os.setxattr, f, "user.a", b"mine", os.XATTR_CREATE)
    for where in ({"op": nfs.SETXATTR}, {"pattern": opaque(b"a") + opaque(b"mine")}):
        served.lost(*create, **where)
        assert values.pop(b"a") == b"mine"
    env.fails(errno.EEXIST, served.lost, *create, pattern=opaque(b"a") + opaque(b"mine"),
              meanwhile=lambda: put(b"a", b"another's"))
    assert values[b"a"] == b"another's"
    for where in ({"op": nfs.REMOVEXATTR}, {"pattern": p32(nfs.REMOVEXATTR) + opaque(b"a")}):
        put(b"a")
        served.lost(os.removexattr, f, "user.a", **where)
        assert b"a" not in values
    # what may be done twice is
    served.lost(os.setxattr, f, "user.a", b"again", op=nfs.SETXATTR)
    assert os.getxattr(f, "user.a") == b"again"


@suite.test("a server without them: EOPNOTSUPP and an empty list, asked for once", timeout=60)
def without(env):
    served = Served(env, **{str(XATTR_SUPPORT): p32(0)})
    for _ in range(3):
        env.fails(errno.EOPNOTSUPP, os.getxattr, served.file, "user.a")
        env.fails(errno.EOPNOTSUPP, os.setxattr, served.file, "user.a", b"1")
        env.fails(errno.EOPNOTSUPP, os.removexattr, served.file, "user.a")
        assert os.listxattr(served.file) == []
    assert served.server.seen == []
    write(env.path("f"), b"x")
    env.fails(errno.EOPNOTSUPP, os.setxattr, env.path("f"), "user.a", b"1")
    assert os.listxattr(env.path("f")) == []


def label(text):
    return p32(0, 0) + opaque(text)


@suite.test("security.selinux is the server's label, where it has labels")
def labels(env):
    served = Served(env, objects={SEC_LABEL: label(b"a:b:c\0")})
    f, server = served.file, served.server
    assert os.getxattr(f, "security.selinux") == b"a:b:c\0"
    assert os.listxattr(f) == ["security.selinux"]
    for text in (b"system_u:object_r:user_t:s0\0", b"x" * 2047, b""):
        os.setxattr(f, "security.selinux", text)
        assert list(server.objects[SEC_LABEL].values()) == [label(text)]
        assert os.getxattr(f, "security.selinux") == text
    env.fails(errno.E2BIG, os.setxattr, f, "security.selinux", b"x" * 2049)
    env.fails(errno.EACCES, os.removexattr, f, "security.selinux")
    server.errors = {nfs.SETATTR: 10093}  # NFS4ERR_BADLABEL
    env.fails(errno.EINVAL, os.setxattr, f, "security.selinux", b"y")
    for lie in (p32(0, 0, 5) + b"four", label(b"x" * 3000), label(b"a") + p32(0), b""):
        server.objects[SEC_LABEL] = {fh: lie for fh in server.objects[SEC_LABEL]}
        env.fails(errno.EIO, os.getxattr, f, "security.selinux")
    assert served.mount.process.poll() is None


def ace(who, flag=0, mask=0x1f01ff):
    return p32(0, flag, mask) + opaque(who)


def acl(*aces):
    return p32(len(aces)) + b"".join(aces)


TRIVIAL = acl(ace(b"OWNER@"), ace(b"GROUP@", 0x40), ace(b"EVERYONE@"))


@suite.test("system.nfs4_acl is the server's access control list, as nfs4_getfacl and nfs4_setfacl"
            " want it", timeout=60)
def acls(env):
    served = Served(env, objects={ACL: TRIVIAL}, **{str(ACLSUPPORT): p32(3)})
    f, server = served.file, served.server
    assert os.getxattr(f, "system.nfs4_acl") == TRIVIAL
    assert os.listxattr(f) == ["system.nfs4_acl"]
    some = acl(ace(b"OWNER@"), ace(b"1000"), ace(b"name@example.org"), ace(b"100", 0x40))
    os.setxattr(f, "system.nfs4_acl", some)
    assert list(server.objects[ACL].values()) == [some]
    os.chmod(f, 0o640)  # with the mode alone
    assert os.getxattr(f, "system.nfs4_acl") == some
    for bad in (b"", b"1", p32(0xffffffff), some + p32(0), some[:-4], p32(1, 0, 0, 0, 2000)):
        env.fails(errno.EINVAL, os.setxattr, f, "system.nfs4_acl", bad)
    env.fails(errno.EINVAL, os.removexattr, f, "system.nfs4_acl")
    if shutil.which("nfs4_setfacl"):
        env.run(["nfs4_setfacl", "-a", "A::1234:R", f])
        assert "A::1234:r" in env.run(["nfs4_getfacl", f])
    for lie in (p32(0x10000000), some + p32(0), some[:-4], p32(1, 0, 0, 0, 0x7fffffff)):
        server.objects[ACL] = {fh: lie for fh in server.objects[ACL]}
        env.fails(errno.EIO, os.getxattr, f, "system.nfs4_acl")
    assert served.mount.process.poll() is None
    refused = Served(env, "noacl", objects={ACL: TRIVIAL}, **{str(ACLSUPPORT): p32(3)})
    env.fails(errno.EOPNOTSUPP, os.getxattr, refused.file, "system.nfs4_acl")
    none = Served(env, objects={ACL: TRIVIAL}, **{str(ACLSUPPORT): p32(0)})
    env.fails(errno.EOPNOTSUPP, os.getxattr, none.file, "system.nfs4_acl")


@suite.test("system.nfs4_dacl and system.nfs4_sacl are the server's, flags and all")
def acls41(env):
    served = Served(env, objects={DACL: p32(2) + TRIVIAL, SACL: p32(0) + acl()})
    f, server = served.file, served.server
    assert os.getxattr(f, "system.nfs4_dacl") == p32(2) + TRIVIAL
    assert os.getxattr(f, "system.nfs4_sacl") == p32(0) + acl()
    assert os.listxattr(f) == ["system.nfs4_dacl", "system.nfs4_sacl"]
    for name, number in (("system.nfs4_dacl", DACL), ("system.nfs4_sacl", SACL)):
        some = p32(1) + acl(ace(b"OWNER@"), ace(b"1000"))
        os.setxattr(f, name, some)
        assert list(server.objects[number].values()) == [some]
        os.chmod(f, 0o604)  # with the mode alone
        assert os.getxattr(f, name) == some
        for bad in (b"", p32(1), some[:-4], some + p32(0), TRIVIAL):
            env.fails(errno.EINVAL, os.setxattr, f, name, bad)
        env.fails(errno.EINVAL, os.removexattr, f, name)
        server.objects[number] = {fh: some[:-4] for fh in server.objects[number]}
        env.fails(errno.EIO, os.getxattr, f, name)
    env.fails(errno.EOPNOTSUPP, os.getxattr, f, "system.nfs4_acl")
    assert served.mount.process.poll() is None


def posix_wire(*entries):
    return p32(len(entries)) + b"".join(p32(tag, perm) + opaque(who) for tag, perm, who in entries)


def posix_xattr(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NOBODY = 0xffffffff  # as whose an entry without a name is
MODE_ONLY = posix_wire((1, 6, b""), (3, 4, b""), (6, 0, b""))
MORE = (posix_wire((1, 6, b""), (2, 5, b"1000"), (3, 4, b""), (4, 3, b"100"), (5, 7, b""),
                   (6, 0, b"")),
        posix_xattr((1, 6, NOBODY), (2, 5, 501), (4, 4, NOBODY), (8, 3, 20), (16, 7, NOBODY),
                    (32, 0, NOBODY)))
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def idmap(env, *rules):
    path = env.scratch("idmap")
    with open(path, "w") as out:
        out.writelines(f"{rule}\n" for rule in rules)
    return path


@suite.test("system.posix_acl_*: the server's, as on a local disk, users and groups the guest's",
            timeout=60)
def posix_acls(env):
    rules = idmap(env, "user 501 1000", "group 20 100", "user root 0", "group root 0")
    served = Served(env, f"noac,idmap={rules}",
                    objects={POSIX_ACCESS_ACL: MODE_ONLY, POSIX_DEFAULT_ACL: posix_wire()})
    f, server = served.file, served.server
    wire, xattr = MORE
    # what says no more than the mode is none
    for name in (ACCESS, DEFAULT):
        env.fails(errno.ENODATA, os.getxattr, f, name)
        env.fails(errno.ENODATA, os.getxattr, served.dir, name)
    assert os.listxattr(f) == os.listxattr(served.dir) == []
    os.setxattr(f, ACCESS, xattr)
    assert list(server.objects[POSIX_ACCESS_ACL].values()) == [wire]
    assert os.getxattr(f, ACCESS) == xattr and os.listxattr(f) == [ACCESS]
    os.chmod(f, 0o604)  # with the mode alone
    assert os.getxattr(f, ACCESS) == xattr
    os.removexattr(f, ACCESS)
    assert list(server.objects[POSIX_ACCESS_ACL].values()) == [posix_wire()]
    env.fails(errno.ENODATA, os.getxattr, f, ACCESS)
    os.setxattr(served.dir, DEFAULT, xattr)
    assert os.getxattr(served.dir, DEFAULT) == xattr and os.listxattr(served.dir) == [DEFAULT]
    os.removexattr(served.dir, DEFAULT)
    env.fails(errno.ENODATA, os.getxattr, served.dir, DEFAULT)
    env.fails(errno.EACCES, os.setxattr, f, DEFAULT, xattr)
    if shutil.which("setfacl"):
        env.run(["setfacl", "-m", "u:501:rx", f])
        assert "user:501:r-x" in env.run(["getfacl", "-cpn", f])
        assert "+" in env.run(["ls", "-l", f]).split()[0]


@suite.test("POSIX access control lists that are none, and users that nobody knows", timeout=60)
def posix_acls_bad(env):
    rules = idmap(env, "user root 0", "group root 0")
    served = Served(env, f"noac,idmap={rules}",
                    objects={POSIX_ACCESS_ACL: MODE_ONLY, POSIX_DEFAULT_ACL: posix_wire()})
    f, server = served.file, served.server
    bad = [b"1", struct.pack("<I", 2) + b"1234", posix_xattr((3, 6, 0)), posix_xattr((1, 8, 0)),
           MORE[1]]  # of 501 nobody has heard
    for value in bad:
        assert errno_of(os.setxattr, f, ACCESS, value) == errno.EINVAL
    env.fails(errno.EOPNOTSUPP, os.setxattr, f, ACCESS, struct.pack("<I", 3))
    assert server.objects[POSIX_ACCESS_ACL] == {}
    os.setxattr(f, ACCESS, posix_xattr((1, 6, NOBODY), (2, 6, 0), (4, 4, NOBODY), (16, 7, NOBODY),
                                       (32, 0, NOBODY)))
    handle, = server.objects[POSIX_ACCESS_ACL]
    for lie in (b"", p32(0x10000000), MORE[0] + p32(0), MORE[0][:-4], posix_wire((0, 0, b"")),
                posix_wire((7, 0, b"")), posix_wire((1, 8, b"")), posix_wire((2, 0, b"")),
                p32(1, 1, 0, 0x7fffffff)):
        server.objects[POSIX_ACCESS_ACL][handle] = lie
        env.fails(errno.EIO, os.getxattr, f, ACCESS)
    assert served.mount.process.poll() is None
    refused = Served(env, "noacl", objects=server.default)
    env.fails(errno.EOPNOTSUPP, os.getxattr, refused.file, ACCESS)
    env.fails(errno.EOPNOTSUPP, os.setxattr, refused.file, ACCESS, MORE[1])


@suite.test("users in access control lists are the guest's, with idmap=")
def acl_owners(env):
    rules = idmap(env, "user 501 1000", "group 20 100")
    known = acl(ace(b"1000"), ace(b"100", 0x40), ace(b"OWNER@"))
    served = Served(env, f"noac,idmap={rules}", objects={ACL: known},
                    **{str(ACLSUPPORT): p32(3)})
    mine = acl(ace(b"501"), ace(b"20", 0x40), ace(b"OWNER@"))
    assert os.getxattr(served.file, "system.nfs4_acl") == mine
    os.setxattr(served.file, "system.nfs4_acl", mine)
    assert list(served.server.objects[ACL].values()) == [known]
    # who is nobody here cannot be given back
    served.server.objects[ACL] = {}
    served.server.default[ACL] = acl(ace(b"77"))
    nobody = os.getxattr(served.file, "system.nfs4_acl")
    assert nobody == acl(ace(b"65534"))
    env.fails(errno.EINVAL, os.setxattr, served.file, "system.nfs4_acl", nobody)


@suite.test("-o noxattr and vers=4.1: the kernel does not ask")
def refused(env):
    for options in ("noxattr,noacl", "vers=4.1,noacl"):
        served = Served(env, options)
        env.fails(errno.EOPNOTSUPP, os.setxattr, served.file, "user.a", b"1")
        for call in (os.getxattr, os.removexattr):
            env.fails(errno.EOPNOTSUPP, call, served.file, "user.a")
        env.fails(errno.EOPNOTSUPP, os.listxattr, served.file)
        assert served.server.seen == []


@suite.test("the manual's table says what nfs-ganesha has", timeout=60)
def table(env):
    said = env.scratch("said")
    with open(said, "w") as out:
        out.write(matrix.text(matrix.tried("ganesha")))
    env.run([build_path("tests", "matrix", "matrix"), env.daemon.point, env.suite.source(), said],
            env={**os.environ, "VSOCKFSCTL": build_path("src", "ctl", "vsockfsctl")})


@suite.test("statfs tells what a quota leaves to whoever asks")
def quota(env):
    def space(**attributes):
        served = Served(env, **attributes)
        st = os.statvfs(served.dir)
        served.stack.close()
        return [n * st.f_frsize for n in (st.f_blocks, st.f_bfree, st.f_bavail)]
    mib = 1 << 20
    plain = space()
    hard, soft, used = str(QUOTA_HARD), str(QUOTA_SOFT), str(QUOTA_USED)
    assert space(**{hard: p64(mib), soft: p64(4096), used: p64(3 * mib)}) == [4 * mib, mib, mib]
    assert space(**{hard: p64(0), used: p64(mib)}) == [mib, 0, 0]
    assert space(**{soft: p64(mib)})[1:] == [mib, mib]
    huge = space(**{hard: p64((1 << 64) - 1), used: p64(mib)})
    assert huge[0] == plain[0] and huge[2] > mib, (huge, plain)


if __name__ == "__main__":
    suite.main()
