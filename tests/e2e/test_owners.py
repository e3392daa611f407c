#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whose files these are: uid=, gid=, umask= and idmap=, with servers that squash and that do not."""

import errno
import os
import pwd
import stat
import subprocess

from harness import EXPORT, Skip, Suite, need
from mounts import MountFailed, mountinfo
from test_basic import read, write

suite = Suite()
SQUASH = "/squash"
ANON = (501, 502)  # whom the server makes of everybody, and who owns what is exported there
USER = (1234, 1235)
NOBODY = 65534


def two_exports(export):
    os.mkdir(export + "-squash")
    os.chown(export + "-squash", *ANON)
    suite.ganesha["more_exports"] = [
        (export + "-squash", SQUASH,
         f"Squash = All_Squash; Anonymous_Uid = {ANON[0]}; Anonymous_Gid = {ANON[1]};")]


suite.prepare = two_exports


def squashed(env):
    """A directory of the squashing export, on the disk; and the export's path for a mount."""
    disk = os.path.join(env.export + "-squash", env.name)
    os.mkdir(disk)
    os.chown(disk, *ANON)
    return disk, f"{SQUASH}/{env.name}"


def plain(env, owner=ANON, mode=0o755):
    os.chown(env.disk, *owner)
    os.chmod(env.disk, mode)
    return env.disk, f"{EXPORT}/{env.name}"


def as_ids(ids, command, groups=()):
    return subprocess.run(["sh", "-c", command], cwd="/", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, user=ids[0],
                          group=ids[1], extra_groups=list(groups))


def can(ids, command, groups=()):
    done = as_ids(ids, command, groups)
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout.decode()


def cannot(ids, command, says="", groups=()):
    done = as_ids(ids, command, groups)
    assert done.returncode != 0 and says in done.stdout.decode(), (command, done.stdout)


def owner(path):
    st = os.lstat(path)
    return st.st_uid, st.st_gid


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def refused(env, options, says, status=32, **more):
    try:
        env.mount(options, **more)
    except MountFailed as e:
        assert e.status == status and says in e.stderr, (e.status, e.stderr)
        return
    raise AssertionError(f"-o {options} was accepted")


# A server that squashes


@suite.test("uid=, gid= and umask= are shown for every file, and the kernel goes by them")
def shown(env):
    disk, export = squashed(env)
    root = env.mount(f"uid={USER[0]},gid={USER[1]},umask=077", export=export).point
    can(USER, f"cd {root} && mkdir d && echo x > d/f && ln -s f d/l && cat d/f && ls -l d")
    for name, want in (("", 0o700), ("d", 0o700), ("d/f", 0o700), ("d/l", 0o777)):
        path = os.path.join(root, name)
        assert (owner(path), mode(path)) == (USER, want), (name, owner(path), oct(mode(path)))
    for entry in os.scandir(root + "/d"):
        assert entry.stat(follow_symlinks=False).st_uid == USER[0]
    assert owner(disk + "/d/f") == ANON and mode(disk + "/d/f") == 0o644
    cannot((USER[0] + 1, USER[1]), f"ls {root}", "Permission denied")


@suite.test("fmask= and dmask= tell files from directories; names do for numbers")
def masks(env):
    _, export = squashed(env)
    nobody = pwd.getpwnam("nobody")
    root = env.mount("umask=0,fmask=0137,dmask=027,uid=nobody,gid=nogroup", export=export).point
    os.mkdir(root + "/d")
    write(root + "/f", b"x")
    assert (mode(root + "/d"), mode(root + "/f")) == (0o750, 0o640)
    assert owner(root + "/f") == (nobody.pw_uid, nobody.pw_gid)


@suite.test("with uid=, chown to the owner that is shown does nothing, to another one fails")
def chown_shown(env):
    disk, export = squashed(env)
    root = env.mount(f"uid={USER[0]},gid={USER[1]},umask=022", export=export).point
    write(root + "/f", b"x")
    os.chown(root + "/f", *USER)
    os.chown(root + "/f", -1, USER[1])
    env.fails(errno.EPERM, os.chown, root + "/f", USER[0] + 1, -1)
    env.fails(errno.EPERM, os.chown, root + "/f", -1, 0)
    assert owner(disk + "/f") == ANON
    write(env.scratch("from"), b"kept", mode=0o600)
    os.chown(env.scratch("from"), *USER)
    os.chmod(os.path.dirname(env.scratch("from")), 0o755)
    assert not can(USER, f"cp -p {env.scratch('from')} {root}/to && mv {root}/to {root}/there")
    assert read(disk + "/there") == b"kept"


@suite.test("with umask=, chmod reaches the server and changes nothing of what is shown")
def chmod_shown(env):
    disk, export = squashed(env)
    root = env.mount(f"uid={USER[0]},gid={USER[1]},umask=022", export=export).point
    write(root + "/f", b"x")
    can(USER, f"chmod 700 {root}/f")
    assert (mode(root + "/f"), mode(disk + "/f")) == (0o755, 0o700)


@suite.test("masks and owners that make no sense are refused in one line")
def bad_values(env):
    for word, says in (("umask=8", "octal"), ("umask=1000", "octal"), ("umask=", "octal"),
                       ("uid=no-such-user", "must be a user"), ("gid=4294967295", "a group"),
                       ("uid=-1", "must be a user"), ("idmap=some", "must be user, none"),
                       ("idmap=", "idmap"), ("nomap=error", "idmap=FILE"),
                       (f"idmap={env.scratch('none')}", "No such file")):
        refused(env, word, says, 1)


@suite.test("idmap=user: a user who mounts owns what the export's owner owns, and the server agrees")
def user_squashed(env):
    need("fusermount3")
    disk, export = squashed(env)
    games = pwd.getpwnam("games")
    ids = games.pw_uid, games.pw_gid
    mount = env.mount("idmap=user", export=export, user="games")
    root = mount.point
    can(ids, f"echo x > {root}/f && chmod 600 {root}/f && chown games:games {root}/f && "
             f"test -O {root}/f && test -G {root} && cat {root}/f")
    assert (owner(disk + "/f"), mode(disk + "/f")) == (ANON, 0o600)
    write(disk + "/other", b"x")
    os.chown(disk + "/other", 33, 34)
    assert can(ids, f"stat -c %u:%g {root}/f {root}/other") == f"{ids[0]}:{ids[1]}\n33:34\n"


# One that does not


@suite.test("idmap=user,uid=,gid= maps requests, owners and chown; whose ids those were is nobody")
def user_mapped(env):
    disk, export = plain(env, mode=0o770)
    root = env.mount(f"idmap=user,uid={USER[0]},gid={USER[1]}", export=export).point
    assert owner(root) == USER
    can(USER, f"cd {root} && mkdir d && echo x > d/f && chmod 640 d/f && cat d/f")
    assert (owner(disk + "/d/f"), mode(disk + "/d/f")) == (ANON, 0o640)
    assert owner(root + "/d/f") == USER
    # a member of the group, by a group that he has besides
    can((33, 33), f"cat {root}/d/f", groups=[USER[1]])
    cannot(ANON, f"ls {root}", "denied")
    cannot((33, 33), f"ls {root}", "denied")
    # root stays root, and gives files away by the guest's numbers
    write(root + "/g", b"x")
    assert owner(disk + "/g") == (0, 0)
    os.chown(root + "/g", *USER)
    assert owner(disk + "/g") == ANON
    env.fails(errno.EINVAL, os.chown, root + "/g", ANON[0], -1)
    os.chown(disk + "/g", *USER)
    env.eventually(lambda: owner(root + "/g") == (NOBODY, NOBODY))
    os.chown(disk + "/g", 33, 34)
    env.eventually(lambda: owner(root + "/g") == (33, 34))


@suite.test("idmap=user makes nobody root on the server")
def not_root(env):
    _, export = plain(env, owner=(0, 0))
    refused(env, f"idmap=user,uid={USER[0]}", "belongs to root", export=export)
    plain(env, owner=(ANON[0], 0))
    root = env.mount(f"idmap=user,uid={USER[0]},gid={USER[1]}", export=export).point
    can(USER, f"touch {root}/f")
    assert owner(env.disk + "/f") == (ANON[0], USER[1])
    assert owner(root) == (USER[0], 0)


def rules(env, text):
    name = env.scratch("rules")
    with open(name, "w") as f:
        f.write(text)
    return name


@suite.test("idmap=FILE: who is listed is mapped, everybody else is nobody")
def by_file(env):
    disk, export = plain(env, mode=0o755)
    name = rules(env, f"# guest server\nuser {USER[0]} {ANON[0]}\nuser root 33\n"
                      f"group {USER[1]} {ANON[1]}\ngroup root 34 # or so\n")
    root = env.mount(f"idmap={name}", export=export).point
    assert owner(root) == USER
    can(USER, f"mkdir -m 1777 {root}/d && echo x > {root}/d/f && chmod 600 {root}/d/f")
    assert owner(disk + "/d/f") == ANON
    write(root + "/d/roots", b"x")
    assert owner(disk + "/d/roots") == (33, 34) and owner(root + "/d/roots") == (0, 0)
    env.fails(errno.EACCES, os.open, root + "/d/f", os.O_RDONLY)
    can((77, 77), f": >{root}/d/stranger", groups=[78])
    assert owner(disk + "/d/stranger") == (NOBODY, NOBODY)
    os.chown(disk + "/d/stranger", 0, 0)
    assert owner(root + "/d/stranger") == (NOBODY, NOBODY)
    env.fails(errno.EINVAL, os.chown, root + "/d/roots", 77, -1)
    env.fails(errno.EPERM, os.chown, root + "/d/roots", USER[0], -1)


@suite.test("a file of rules that is wrong is refused with the line that is")
def bad_files(env):
    for text, says in (("user 1\n", "line 1"), ("user 1 2\nuser 1 3\n", "line 2: a second rule"),
                       ("\n\ngroup no-such-group 1\n", "line 3: no-such-group")):
        refused(env, f"idmap={rules(env, text)}", says, 1)
    refused(env, "idmap=/dev/null", "not a file", 1)


@suite.test("a server that goes by names is told names, and believed")
def by_names(env):
    server = env.server(nfsv4="Only_Numeric_Owners = false; Allow_Numeric_Owners = false;")
    os.chmod(server.export, 0o777)
    root = server.mount().point
    write(root + "/f", b"x")
    write(server.export + "/g", b"x")
    os.chown(server.export + "/g", 5, 5)
    first = owner(root + "/g")
    if first == (NOBODY, NOBODY):
        raise Skip("this server maps no names")
    os.chown(root + "/f", pwd.getpwnam("games").pw_uid, -1)
    assert owner(server.export + "/f")[0] == pwd.getpwnam("games").pw_uid


# What only root may


@suite.test("a user's mount comes from an unreserved port, and cannot come from another")
def reserved_port(env):
    need("fusermount3")
    mount = env.mount(user="nobody", transport="tcp")
    assert "user_id=65534" in mountinfo(mount.point)[3]
    refused(env, "resvport", "port below 1024", user="nobody", transport="tcp")


if __name__ == "__main__":
    suite.main()
