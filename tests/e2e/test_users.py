#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: the server's word, also about what root has just put into the caches."""

import errno
import os
import pwd
import shutil
import stat

import nfsreply as nfs
from harness import Skip, Suite, build_path, need
from hostile import Hostile, damaged
from mounts import guards_of, mountinfo
from nfsreply import opaque_end, p32, p64, u32
from test_basic import read, write

suite = Suite()
GROUP = 4321
ACCES = 13  # NFS4ERR_ACCESS


def nobody_runs(env, command, groups=()):
    return env.as_user("nobody", ["sh", "-c", command], groups)


def refused(env, command, groups=()):
    done = nobody_runs(env, command, groups)
    assert done.returncode != 0, f"nobody could: {command}"
    words = done.stdout.decode()
    assert "Permission denied" in words or "Operation not permitted" in words, words


def allowed(env, command, groups=()):
    done = nobody_runs(env, command, groups)
    assert done.returncode == 0, f"nobody could not: {command}\n{done.stdout.decode()}"
    return done.stdout.decode()


def keep_out(env, root, extra=()):
    secret = os.path.join(root, "secret")
    for _ in range(3):  # root fills the caches in between
        assert read(secret + "/d/f") == b"mine"
        os.listdir(secret), os.stat(secret + "/d"), os.readlink(secret + "/l")
        for command in (f"cat {secret}/d/f", f"ls {secret}", f"ls {secret}/d",
                        f"stat {secret}/d/f", f"readlink -v {secret}/l", *extra,
                        f"echo x > {secret}/new", f"rm -f {secret}/d/f", f"mkdir {secret}/x",
                        f"mv {secret}/d {root}/out", f"touch {secret}/d/f"):
            refused(env, command)


def make_secret(env):
    os.makedirs(env.path("secret/d"))
    write(env.path("secret/d/f"), b"mine", mode=0o666)
    os.symlink("d", env.path("secret/l"))
    os.chmod(env.path("secret/d"), 0o777)
    os.chmod(env.path("secret"), 0o700)
    os.chmod(env.mnt, 0o777)


@suite.test("another user is kept out of a 0700 directory, whatever root has cached of it")
def private_directory(env):
    make_secret(env)
    keep_out(env, env.mnt, [f"ls -d {env.path('secret')}/."])
    assert read(env.on_disk("secret/d/f")) == b"mine"
    assert sorted(os.listdir(env.disk)) == ["secret"]


@suite.test("the same with access=server, where the server alone decides")
def private_directory_server(env):
    make_secret(env)
    other = env.mount("access=server")
    # nothing is asked of the server for a "." that the kernel walks by itself
    keep_out(env, os.path.join(other.point, env.name))


@suite.test("a user's files belong to that user on the server")
def ownership(env):
    os.chmod(env.mnt, 0o777)
    allowed(env, f"echo hi > {env.mnt}/f; mkdir {env.mnt}/d; ln -s x {env.mnt}/l; "
                 f"mkfifo {env.mnt}/p")
    nobody = pwd.getpwnam("nobody")
    for name in "fdlp":
        st = os.lstat(env.on_disk(name))
        assert (st.st_uid, st.st_gid) == (nobody.pw_uid, nobody.pw_gid), (name, st)
    env.same()


@suite.test("a supplementary group opens what it may, and its absence closes it")
def supplementary_group(env):
    write(env.path("f"), b"for the group")
    os.chown(env.path("f"), 0, GROUP)
    os.chmod(env.path("f"), 0o640)
    refused(env, f"cat {env.path('f')}")
    assert allowed(env, f"cat {env.path('f')}", [GROUP]) == "for the group"
    refused(env, f"echo x >> {env.path('f')}", [GROUP])
    refused(env, f"cat {env.path('f')}")
    os.mkdir(env.path("d"))
    os.chown(env.path("d"), 0, GROUP)
    os.chmod(env.path("d"), 0o770)
    allowed(env, f"touch {env.path('d')}/f", [GROUP])
    refused(env, f"touch {env.path('d')}/g")


@suite.test("a process in 40 groups works, the first 16 counting as AUTH_SYS has it")
def many_groups(env):
    write(env.path("f"), b"x")
    os.chown(env.path("f"), 0, 5003)
    os.chmod(env.path("f"), 0o640)
    assert allowed(env, f"cat {env.path('f')}", list(range(5000, 5040))) == "x"


@suite.test("search permission alone lets through, not list")
def search_only(env):
    os.mkdir(env.path("d"))
    write(env.path("d/f"), b"x")
    os.chmod(env.path("d"), 0o711)
    assert allowed(env, f"cat {env.path('d/f')}") == "x"
    refused(env, f"ls {env.path('d')}")
    os.chmod(env.path("d"), 0o744)
    refused(env, f"cat {env.path('d/f')}")


@suite.test("mode changes on the server take effect in the guest")
def revoked(env):
    write(env.path("f"), b"x", mode=0o644)
    allowed(env, f"cat {env.path('f')}")
    os.chmod(env.on_disk("f"), 0o600)
    env.eventually(lambda: nobody_runs(env, f"cat {env.path('f')}").returncode != 0,
                   what="the refusal")


@suite.test("the sticky bit keeps others' files from being removed or renamed")
def sticky(env):
    os.mkdir(env.path("tmp"))
    os.chmod(env.path("tmp"), 0o1777)
    write(env.path("tmp/roots"), b"x")
    refused(env, f"rm -f {env.path('tmp/roots')}")
    refused(env, f"mv {env.path('tmp/roots')} {env.path('tmp/x')}")
    allowed(env, f"touch {env.path('tmp/own')} && rm {env.path('tmp/own')}")


@suite.test("a set-group-id directory hands its group down")
def setgid_directory(env):
    os.mkdir(env.path("d"))
    os.chown(env.path("d"), 0, GROUP)
    os.chmod(env.path("d"), 0o2777)
    allowed(env, f"touch {env.path('d')}/f; mkdir {env.path('d')}/sub")
    assert os.stat(env.path("d/f")).st_gid == GROUP
    assert os.stat(env.path("d/sub")).st_gid == GROUP
    assert os.stat(env.path("d/sub")).st_mode & stat.S_ISGID
    env.same()


@suite.test("only the owner changes mode and times, only root the owner")
def owner_rights(env):
    write(env.path("f"), b"x", mode=0o666)
    os.chmod(env.path("f"), 0o666)
    refused(env, f"chmod 600 {env.path('f')}")
    refused(env, f"chown nobody {env.path('f')}")
    refused(env, f"touch -d 2001-01-01 {env.path('f')}")
    allowed(env, f"touch {env.path('f')}")
    os.chmod(env.mnt, 0o777)
    allowed(env, f"touch {env.path('g')}; chmod 600 {env.path('g')}; "
                 f"touch -d 2001-01-01 {env.path('g')}")
    refused(env, f"chown root {env.path('g')}")


@suite.test("a write by another user clears the set-user-id bit")
def setuid_cleared(env):
    write(env.path("f"), b"x")
    os.chmod(env.path("f"), 0o4777)
    allowed(env, f"echo y >> {env.path('f')}")
    env.eventually(lambda: not os.stat(env.path("f")).st_mode & stat.S_ISUID)
    assert not os.stat(env.on_disk("f")).st_mode & stat.S_ISUID


@suite.test("a set-user-id program on the mount runs as its owner")
def setuid_program(env):
    if "nosuid" in env.suite.options:
        raise Skip("mounted nosuid")
    env.run(["cp", "/usr/bin/id", env.path("id")])
    os.chown(env.path("id"), 7, 7)
    os.chmod(env.path("id"), 0o4755)
    assert allowed(env, f"{env.path('id')} -u").strip() == "7"


@suite.test("one user's open descriptor does not lend its rights to another")
def credentials_per_process(env):
    write(env.path("f"), b"x")
    os.chmod(env.path("f"), 0o600)
    fd = os.open(env.path("f"), os.O_RDWR)
    refused(env, f"cat {env.path('f')}")
    os.pwrite(fd, b"still root's", 0)
    os.close(fd)
    refused(env, f"echo >> {env.path('f')}")
    assert read(env.on_disk("f")) == b"still root's"


@suite.test("sec=none works as the server's anonymous user")
def anonymous(env):
    os.chmod(env.disk, 0o777)
    other = os.path.join(env.mount("sec=none").point, env.name)
    write(other + "/f", b"anonymous")
    assert os.stat(env.on_disk("f")).st_uid not in (0, os.getuid())
    write(env.on_disk("roots"), b"x", mode=0o600)
    env.fails(errno.EACCES, os.open, other + "/roots", os.O_RDONLY)


@suite.test("an unprivileged user mounts by fusermount3, works, and unmounts")
def unprivileged(env):
    need("fusermount3")
    os.chmod(env.disk, 0o777)
    mount = env.mount(user="nobody")
    there = os.path.join(mount.point, env.name)
    allowed(env, f"echo mine > {there}/f && cat {there}/f && ls -l {there}")
    assert os.stat(env.on_disk("f")).st_uid == pwd.getpwnam("nobody").pw_uid
    env.fails(errno.EACCES, os.listdir, there)  # others stay out without allow_other, root too
    refused(env, f"chown root {there}/f")


@suite.test("an unprivileged mount in the background ends with fusermount3 -u")
def unprivileged_background(env):
    need("fusermount3")
    mount = env.mount(user="nobody", background=True)
    pids = mount.pids()
    assert len(pids) == 1, pids
    assert os.stat(f"/proc/{pids[0]}").st_uid == pwd.getpwnam("nobody").pw_uid
    allowed(env, f"ls {mount.point}")


@suite.test("a server that refuses by more than modes is obeyed, whatever root has cached")
def refused_by_server(env):
    """The mode lets everybody in, the server does not: each open(2) is its own question to it."""
    write(env.path("f"), b"root's own")
    os.chmod(env.path("f"), 0o644)
    h = Hostile(env)

    def deny(reply):
        at = next(i for i, op in enumerate(reply.ops) if op[0] == nfs.OPEN)
        reply.ops[at:] = [[nfs.OPEN, ACCES, b""]]
        reply.status, reply.count = ACCES, at + 1
    for _ in range(3):
        assert read(h.path("f")) == b"root's own"
        h.proxy.arm(damaged(deny), nfs.OPEN)
        done = env.as_user("nobody", ["cat", h.path("f")])
        assert h.proxy.hits == 1
        assert done.returncode != 0 and b"Permission denied" in done.stdout, done.stdout
        assert b"own" not in done.stdout


@suite.test("another user reads neither statistics nor the daemon's memory, files and environment")
def daemon_is_private(env):
    tool = os.environ.get("VSOCKFSCTL", build_path("src", "ctl", "vsockfsctl"))
    copy = env.scratch("vsockfsctl")
    shutil.copy(tool, copy)
    mount = env.daemon
    numbers = mountinfo(mount.point)[0]
    control = f"/run/vsockfs/{numbers}.sock"
    assert stat.S_IMODE(os.stat(control).st_mode) == 0o600 and os.stat(control).st_uid == 0
    assert stat.S_IMODE(os.stat("/run/vsockfs").st_mode) & 0o022 == 0
    env.run([copy, "stats", mount.point])
    done = env.as_user("nobody", [copy, "stats", mount.point])
    assert done.returncode != 0 and b"GETATTR" not in done.stdout, done.stdout
    connect = ("import socket,sys; s=socket.socket(socket.AF_UNIX);\n"
               f"s.connect('{control}')")
    refused(env, f'/usr/bin/python3 -c "{connect}"')
    refused(env, f"rm -f {control}")
    refused(env, "touch /run/vsockfs/x")
    for pid in mount.pids() + guards_of(mount.point):
        for name in ("mem", "environ", "maps", "io"):
            refused(env, f"cat /proc/{pid}/{name}")
        refused(env, f"ls /proc/{pid}/fd")
        done = env.as_user("nobody", ["kill", "-TERM", str(pid)])
        assert done.returncode != 0
        assert os.path.exists(f"/proc/{pid}")


@suite.test("attributes that one user had looked up show another what stat(2) may show, no more")
def filled_entries(env):
    """What READDIR brought for root is behind the modes of the directories above it."""
    os.makedirs(env.path("open/closed/inner"))
    write(env.path("open/closed/inner/f"), b"mine", mode=0o666)
    os.chmod(env.mnt, 0o755)
    os.chmod(env.path("open/closed"), 0o711)
    env.run(["ls", "-lR", env.path("open")])
    for _ in range(2):
        refused(env, f"ls {env.path('open/closed')}")
        allowed(env, f"stat {env.path('open/closed/inner/f')}")  # its name is known, and 0711
        os.chmod(env.path("open/closed/inner"), 0o700)
        env.run(["ls", "-lR", env.path("open")])
        refused(env, f"stat {env.path('open/closed/inner/f')}")
        refused(env, f"cat {env.path('open/closed/inner/f')}")
        os.chmod(env.path("open/closed/inner"), 0o755)


def commit_user(data):
    """The user of a call whose last operation is COMMIT of a whole file; None: of another call."""
    if len(data) < 48 or not data.endswith(p32(nfs.COMMIT) + p64(0) + p32(0)):
        return None
    return u32(data, opaque_end(data, 36))  # behind stamp and machine name


def read_as_nobody(path, data):
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    assert read(path) == data


@suite.test("what one user has written is committed as his, also by another's close")
def commit_of_others(env):
    h = Hostile(env)
    users = []
    forward = h.proxy.answer_call

    def watch(data):
        users.append(commit_user(data))
        return forward(data)
    h.proxy.answer_call = watch
    os.chmod(env.disk, 0o755)
    fd = os.open(h.path("shared"), os.O_RDWR | os.O_CREAT, 0o644)
    data = bytes(1 << 20)
    os.pwrite(fd, data, 0)
    # forked, so that nobody closes root's descriptor first
    env.child(read_as_nobody, h.path("shared"), data).join()
    found = [user for user in users if user is not None]
    assert found and set(found) == {0}, found
    os.close(fd)


if __name__ == "__main__":
    suite.main()
