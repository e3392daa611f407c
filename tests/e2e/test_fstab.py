#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mount(8), umount(8) and fstab(5), through vsockfs's own helpers and through FUSE's."""

import contextlib
import errno
import os
import stat
import subprocess
import time

from harness import EXPORT, Suite, need
from installed import (HELPERS, NOBODY, daemons, ending, flags, gone, install_here, installed,
                       mount, mount_point, must, must_not, replace_file, serving, unmount)
from mounts import mountinfo

suite = Suite()
FSTAB_WORDS = ("rw,nofail,noauto,_netdev,x-systemd.automount,x-systemd.mount-timeout=5,"
               "x-gvfs-hide,X-mount.mkdir,comment=share")


def works(env, point, source=None):
    assert mountinfo(point)[1:3] == ("fuse.vsockfs", source or suite.source()), mountinfo(point)
    name = f"f{time.monotonic_ns()}"
    with open(os.path.join(point, env.name, name), "w") as f:
        f.write("written")
    with open(env.on_disk(name)) as f:
        assert f.read() == "written"


def escaped(text):
    return text.replace(" ", "\\040")


def table(env, *lines):
    name = env.scratch("fstab")
    with open(name, "w") as f:
        f.writelines(f"{line} 0 0\n" for line in lines)
    return name


def writes(point):
    try:
        with open(os.path.join(point, f"w{time.monotonic_ns()}"), "w"):
            return True
    except OSError as e:
        assert e.errno == errno.EROFS, e
        return False


@suite.test("meson install puts programs, mount helpers, manual pages and completions in place")
def install(env):
    tree, paths = installed(env)
    for end in ("/bin/vsockfsctl", "/man1/vsockfs.1", "/man1/vsockfsctl.1",
                "/man8/mount.vsockfs.8",
                "/bash-completion/completions/vsockfs",
                "/bash-completion/completions/vsockfsctl"):
        ending(paths, end)
    for name in HELPERS:
        link = ending(paths, "/sbin/" + name)
        assert tree + os.readlink(link) == ending(paths, "/bin/vsockfs"), os.readlink(link)


def by_command_line(env, types):
    with mount_point(env) as point:
        for fstype in types:
            must(env, "-t", fstype, suite.source(), point, "-o", "rw,noexec")
            works(env, point)
            assert "noexec" in flags(point), mountinfo(point)
            unmount(env, point)


def by_fstab(env, types):
    with mount_point(env) as point:
        for fstype in types:
            must(env, "-T", table(env, f"{suite.source()} {point} {fstype} {FSTAB_WORDS}"), point)
            works(env, point)
            unmount(env, point, suite.source())


@suite.test("mount -t fuse.vsockfs and an fstab line work through FUSE's own helper")
def through_fuse(env):
    install_here(env, helpers=False)
    by_command_line(env, ["fuse.vsockfs"])
    by_fstab(env, ["fuse.vsockfs"])


@suite.test("mount -t vsockfs, -t fuse.vsockfs and fstab lines work through the helpers")
def through_helpers(env):
    install_here(env)
    by_command_line(env, ["vsockfs", "fuse.vsockfs"])
    by_fstab(env, ["vsockfs", "fuse.vsockfs"])


@suite.test("mount -a mounts each line once: blanks, a subdirectory, a slash at the end")
def all_lines(env):
    install_here(env)
    os.makedirs(env.on_disk("with a blank,comma/below"))
    sub = suite.source(export=f"{EXPORT}/{env.name}/with a blank,comma")
    with contextlib.ExitStack() as stack:
        points = [stack.enter_context(mount_point(env, f"point {n}")) for n in range(4)]
        names = [escaped(p) for p in points]
        lines = table(env, f"{escaped(sub)} {names[0]} vsockfs nofail",
                      f"{suite.source()}/ {names[1]} fuse.vsockfs _netdev,comment=x",
                      f"{suite.source()} {names[2]} vsockfs ro,users,x-systemd.automount",
                      f"{suite.source()} {names[3]} vsockfs noauto")
        for _ in range(2):
            must(env, "-a", "-T", lines)
            with open("/proc/self/mountinfo") as f:
                text = f.read()
            assert [text.count(f" {n} ") for n in names] == [1, 1, 1, 0], text
        assert os.listdir(points[0]) == ["below"]
        assert env.run(["findmnt", "-nro", "SOURCE", points[0]]).rstrip("\n") == \
            sub.replace(" ", "\\x20")
        assert not writes(os.path.join(points[2], env.name))
        assert {"noexec", "nosuid", "nodev", "ro"} <= flags(points[2])
        works(env, points[1], suite.source() + "/")
        # by name, umount(8) takes the one mounted last, whatever slash is at its end
        for point, name in ((points[2], suite.source()), (points[1], points[1]), (points[0], sub)):
            unmount(env, point, name)


@suite.test("a line that fails with nofail does not keep mount -a from the others")
def one_fails(env):
    install_here(env)
    with mount_point(env, "bad") as bad, mount_point(env, "good") as good:
        lines = table(env, f"unix:{env.scratch('none')}:/x {bad} vsockfs nofail",
                      f"{suite.source()} {good} vsockfs defaults")
        status, text = mount("-a", "-T", lines)
        assert status in (0, 64) and text.count("\n") == 1 and "none" in text, (status, text)
        works(env, good)
        assert not mountinfo(bad)


@suite.test("what fails through mount(8) fails with the status and the line of vsockfs")
def failures(env):
    install_here(env)
    with mount_point(env) as point:
        for fstype in ("vsockfs", "fuse.vsockfs"):
            for source, options, want, named in (
                    (f"unix:{env.scratch('none')}:{EXPORT}", "rw", 32, "none"),
                    (suite.source(export="/nothing"), "rw", 32, "/nothing"),
                    ("2:/x", "proto=tcp", 1, "proto="),
                    ("nonsense", "rw", 1, "nonsense"),
                    (suite.source(), "setuid=no-such-user", 1, "no such user"),
                    (suite.source(), "frobnicate", 1, "frobnicate")):
                must_not(want, named, "-t", fstype, source, point, "-o", options)
                assert not mountinfo(point)


@suite.test("through FUSE's helper the statuses and lines are the same")
def failures_through_fuse(env):
    install_here(env, helpers=False)
    with mount_point(env) as point:
        for source, options, want, named in (
                (f"unix:{env.scratch('none')}:{EXPORT}", "rw", 32, "none"),
                (suite.source(), "frobnicate", 1, "frobnicate")):
            must_not(want, named, "-t", "fuse.vsockfs", source, point, "-o", options)
        must(env, "-t", "fuse.vsockfs", suite.source(), point)
        must_not(32, "already mounted", "-t", "fuse.vsockfs", suite.source(), point)
        # it has mounted by itself, and knows no way back
        must_not(32, "'umount'", "-t", "fuse.vsockfs", suite.source(), point, "-o",
                 "drop_privileges")
        # what it has mounted is in the way, and goes as the line says
        env.fails(errno.ENOTCONN, os.listdir, point)
        env.run(["umount", point])
        assert env.name in os.listdir(point)


@suite.test("the same export twice on one place is refused, however it is written; others stack")
def twice(env):
    install_here(env)
    with mount_point(env) as point:
        must(env, "-t", "vsockfs", suite.source(), point)
        before = serving(point)
        for same in (suite.source(), suite.source() + "/", suite.source(export="//export/.")):
            must_not(32, f"{same} is already mounted", "-t", "vsockfs", same, point)
        assert serving(point) == before
        below = suite.source(export=f"{EXPORT}/{env.name}")
        must(env, "-t", "vsockfs", below, point)
        assert mountinfo(point)[2] == below
        must(env, point, tool="umount")
        works(env, point)
        unmount(env, point)


@suite.test("mount -f checks everything and mounts nothing, server or not")
def fake(env):
    install_here(env)
    with mount_point(env) as point:
        for source in (suite.source(), "2:/export", "vsock:2:/export/", "host:/", "local:/a b"):
            must(env, "-f", "-t", "vsockfs", source, point, "-o", "nofail,rsize=65536")
            must(env, "-fav", "-T", table(env, f"{escaped(source)} {point} vsockfs "
                                          "user,_netdev"), says=point)
        must_not(1, "rsize", "-f", "-t", "vsockfs", "2:/export", point, "-o", "rsize=many")
        must_not(32, "directory", "-f", "-t", "vsockfs", "2:/export", point + "/none")
        assert not mountinfo(point) and not daemons(point)


@suite.test("mount -n and -s are taken, -v says what was agreed on")
def other_flags(env):
    install_here(env)
    with mount_point(env) as point:
        must(env, "-n", "-t", "vsockfs", suite.source(), point)
        unmount(env, point)
        must(env, "-s", "-t", "vsockfs", suite.source(), point, "-o", "frobnicate,ro")
        assert "ro" in flags(point)
        unmount(env, point)
        must(env, "-v", "-t", "vsockfs", suite.source(), point, says="NFSv4.2")
        unmount(env, point)
        # as mount(8) calls for a type with a subtype of its own
        must(env, suite.source(), point, "-sn", "-t", "vsockfs.x", "-o", "frob",
             tool="mount.vsockfs")
        unmount(env, point)


@suite.test("mount -N mounts in another mount namespace")
def other_namespace(env):
    need("unshare")
    install_here(env)
    with mount_point(env) as point:
        other = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo in; read x"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout.readline() == b"in\n"
        try:
            for name in (f"/proc/{other.pid}/ns/mnt", str(other.pid)):
                must(env, "-N", name, "-t", "vsockfs", suite.source(), point)
                assert not mountinfo(point)
                inside = ["nsenter", "-m", "-t", str(other.pid)]
                assert env.name in env.run([*inside, "ls", point])
                must(env, "-N", name, point, tool="umount")
            must(env, suite.source(), point, "-N", str(other.pid), tool="mount.vsockfs")
            must_not(32, "namespace", suite.source(), point, "-N", "/dev/null",
                     tool="mount.vsockfs")
            must(env, "-N", str(other.pid), point, tool="umount")
        finally:
            other.communicate(b"\n")


# Remount


@contextlib.contextmanager
def mounted(env, words, helpers=True, fstype="vsockfs"):
    install_here(env, helpers)
    with mount_point(env) as point:
        must(env, "-t", fstype, suite.source(), point, "-o", words)
        before = serving(point)
        yield point
        assert serving(point) == before, "another daemon"
        unmount(env, point)


def remount_both_ways(env, point, fstype):
    there = os.path.join(point, env.name)
    line = table(env, f"{suite.source()} {point} {fstype} nofail,rsize=65536,noexec")
    for how in ([point], ["-t", fstype, suite.source(), point, "-o", "noexec"],
                ["-T", line, point]):
        must(env, "-o", "remount,ro", *how)
        assert not writes(there) and "noexec" in flags(point), (how, mountinfo(point))
        must(env, "-o", "remount,rw", *how)
        assert writes(there) and "noexec" in flags(point), (how, mountinfo(point))


@suite.test("a remount changes ro and rw in the kernel, and the same daemon goes on")
def remount(env):
    with mounted(env, "rsize=65536,noexec") as point:
        remount_both_ways(env, point, "vsockfs")


@suite.test("a remount through FUSE's helper does the same")
def remount_through_fuse(env):
    with mounted(env, "rsize=65536,noexec", False, "fuse.vsockfs") as point:
        remount_both_ways(env, point, "fuse.vsockfs")


@suite.test("a remount changes noexec, nosuid, nodev, noatime and sync, by name or by their lack")
def remount_flags(env):
    with mounted(env, "nodiratime") as point:
        for word in ("noexec", "nosuid", "nodev", "noatime", "sync"):
            kept = flags(point) - {"relatime"}
            must(env, "-o", f"remount,{word}", point)
            assert flags(point) >= kept | {word}, (word, kept, flags(point))
        for word in ("exec", "suid", "dev", "atime", "async"):
            opposite = {"async": "sync"}.get(word, "no" + word)
            kept = flags(point) - {opposite}
            must(env, "-o", f"remount,{word}", point)
            assert flags(point) >= kept and opposite not in flags(point), (word, flags(point))
        # nothing is merged where both source and place are given
        must(env, "-o", "remount,noexec,nosuid", point)
        must(env, "-o", "remount,nodev", suite.source(), point, "-t", "vsockfs")
        assert "nodev" in flags(point) and not {"noexec", "nosuid"} & flags(point), flags(point)


@suite.test("a remount that another daemon would take is refused and changes nothing")
def remount_refused(env):
    with mounted(env, "rsize=65536,actimeo=3") as point:
        for word in ("rsize=4096", "soft", "nconnect=2", "cache=none", "allow_root", "vers=4.1",
                     "actimeo=7", "clientaddr=other", "dirsync", "delegations=none"):
            must_not(32, "cannot be changed", "-o", f"remount,ro,{word}", suite.source(), point,
                     "-t", "vsockfs")
            assert "rw" in flags(point)
        must_not(1, "frob", "-o", "remount,frob", suite.source(), point, "-t", "vsockfs")
        # what it has already is no change
        must(env, "-o", "remount,ro,rsize=65536,hard,acdirmax=3", suite.source(), point, "-t",
             "vsockfs")
        assert "ro" in flags(point)


@suite.test("a remount of what is not there, not ours or busy is refused")
def remount_elsewhere(env):
    with mounted(env, "rw") as point:
        with open(os.path.join(point, env.name, "open"), "w") as f:
            must_not(32, "busy", "-o", "remount,ro", suite.source(), point, "-t", "vsockfs")
            f.write("x")
        must_not(32, "not 2:/other", "2:/other", point, "-o", "remount", tool="mount.vsockfs")
        must_not(32, "nothing is mounted", suite.source(), env.work, "-o", "remount",
                 tool="mount.vsockfs")
        must_not(32, "type proc", suite.source(), "/proc", "-o", "remount,ro",
                 tool="mount.vsockfs")
        must(env, suite.source(), point, "-f", "-o", "remount,ro", tool="mount.vsockfs")
        assert "rw" in flags(point)


@suite.test("a remount does not wait for a server that is away")
def remount_without_server(env):
    install_here(env)
    server = env.server()
    mount = server.mount()
    server.kill()
    try:
        must(env, mount.source, mount.point, "-o", "remount,ro,noexec", tool="mount.vsockfs")
        assert {"ro", "noexec"} <= flags(mount.point), mountinfo(mount.point)
    finally:
        server.start()


# Users


def as_fstab(env, words, point):
    replace_file(env, "/etc/fstab", f"{suite.source()} {point} vsockfs {words} 0 0\n")


@suite.test("a user mounts and unmounts the fstab line that says user, and nobody else does")
def by_user(env):
    need("fusermount3", "setpriv")
    install_here(env)
    daemon = ("setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups")
    with mount_point(env, user="nobody") as point:
        as_fstab(env, "user,noauto", point)
        must(env, point, user=NOBODY)
        assert {"nosuid", "nodev", "noexec", "user_id=65534"} <= flags(point), mountinfo(point)
        assert env.name in env.run([*NOBODY, "ls", point])
        status, text = mount(point, tool="umount", user=daemon)
        assert status != 0 and mountinfo(point), text
        unmount(env, point, user=NOBODY)
        # root's own mount of the line is not the user's
        must(env, point)
        status, text = mount(point, tool="umount", user=NOBODY)
        assert status != 0 and mountinfo(point), text


@suite.test("with users in the fstab line any user unmounts what another has mounted")
def by_users(env):
    need("fusermount3", "setpriv")
    install_here(env)
    with mount_point(env, user="nobody") as point:
        as_fstab(env, "users,noauto,exec", point)
        must(env, point, user=NOBODY)
        assert {"nosuid", "nodev"} <= flags(point) and "noexec" not in flags(point)
        unmount(env, point, user=("setpriv", "--reuid=daemon", "--regid=daemon",
                                  "--clear-groups"))
        must(env, point)
        unmount(env, point, user=NOBODY)


@suite.test("without such a line a user's mount(8) makes a mount like his own vsockfs does, or none")
def not_by_user(env):
    need("fusermount3", "setpriv")
    install_here(env)
    with mount_point(env, user="nobody") as point:
        as_fstab(env, "noauto,suid,dev", point)
        # mount(8) gives up its own rights then, or refuses, according to its version
        if mount(point, user=NOBODY)[0] == 0:
            assert {"nosuid", "nodev", "user_id=65534"} <= flags(point), mountinfo(point)
            unmount(env, point, user=NOBODY)
        as_fstab(env, "user,noauto,allow_other", point)
        status, text = mount(point, user=NOBODY)
        assert status == 32 and "allow_other" in text, (status, text)
        assert not mountinfo(point)
        replace_file(env, "/etc/fuse.conf", "user_allow_other\n")
        must(env, point, user=NOBODY)
        assert {"allow_other", "default_permissions"} <= flags(point), mountinfo(point)
        assert env.name in os.listdir(point)
        unmount(env, point, user=NOBODY)


@suite.test("a user's mount stays nosuid and nodev when root remounts it")
def remount_users(env):
    need("fusermount3", "setpriv")
    install_here(env)
    with mount_point(env, user="nobody") as point:
        as_fstab(env, "user,noauto", point)
        must(env, point, user=NOBODY)
        must(env, "-o", "remount,suid,dev,exec", suite.source(), point, "-t", "vsockfs")
        assert {"nosuid", "nodev"} <= flags(point) and "noexec" not in flags(point)
        must_not(1, "permitted", suite.source(), point, "-o", "remount,ro", tool="mount.vsockfs",
                 user=NOBODY)
        unmount(env, point, user=NOBODY)


def as_other_user(env, words):
    need("fusermount3")
    with mount_point(env, user="nobody") as point:
        must(env, "-t", "fuse.vsockfs", suite.source(), point, "-o", words)
        assert "user_id=65534" in flags(point), mountinfo(point)
        for pid in daemons(point):
            assert os.stat(f"/proc/{pid}").st_uid == 65534
        assert env.name in env.run([*NOBODY, "ls", point])
        unmount(env, point)


@suite.test("setuid= makes the daemon, and the mount, another user's")
def other_user(env):
    install_here(env)
    as_other_user(env, "setuid=nobody,drop_privileges")
    with mount_point(env, user="nobody") as point:
        must_not(1, "setuid", "-o", "setuid=daemon", suite.source(), point, tool="mount.vsockfs",
                 user=NOBODY)


@suite.test("setuid= through FUSE's helper does so, too")
def other_user_through_fuse(env):
    install_here(env, helpers=False)
    as_other_user(env, "setuid=nobody")


@suite.test("the mount point's mode is the export's, and shows through once it is mounted")
def point_mode(env):
    install_here(env)
    os.chmod(env.disk, 0o711)
    with mount_point(env) as point:
        must(env, "-t", "vsockfs", suite.source(export=f"{EXPORT}/{env.name}"), point)
        assert stat.S_IMODE(os.stat(point).st_mode) == 0o711
        unmount(env, point)


if __name__ == "__main__":
    suite.main()
