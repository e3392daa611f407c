#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A large source tree: copied, packed and unpacked, found, grepped, renamed, changed, removed."""

import os
import stat

import compare
from harness import Suite

# C headers, the modules that come with Perl and Python: thousands of small files in hundreds of
# directories, links. Not what else is installed, which can be any number of files.
SOURCES = {"include": "/usr/include/*.h /usr/include/linux /usr/include/*-linux-gnu",
           "perl": "/usr/share/perl/5*", "python": "/usr/lib/python3.*"}
suite = Suite()
TIMEOUT = 240


def origin(env):
    """One tree on the local disk to copy from, made once for all tests."""
    path = os.path.join(env.work, "origin")
    if not os.path.exists(path):
        os.mkdir(path)
        for name, source in SOURCES.items():
            os.mkdir(f"{path}/{name}")
            env.run(f"cp -a {source} {path}/{name}/")
        # what such trees lack
        os.makedirs(path + "/odd/empty")
        os.symlink("../include/stdio.h", path + "/odd/link")
        os.symlink("nowhere", path + "/odd/dangling")
        os.link(path + "/include/stdio.h", path + "/odd/hard")
        os.chmod(path + "/odd", 0o750)
        with open(path + "/odd/large", "wb") as f:
            f.write(os.urandom(20_000_000))
    return path


def without_link_times(entries):
    """ganesha's VFS back end accepts times for a symlink and does not set them."""
    return {name: e._replace(mtime_ns=0) if stat.S_ISLNK(e.mode) else e
            for name, e in entries.items()}


def same_as_origin(env, *parts):
    """The copy equals the origin, and mount, disk and libnfs agree on it."""
    want = without_link_times(compare.snapshot(origin(env)))
    got = without_link_times(env.same(*parts))
    lines = compare.differences(got, want, "the copy", "the origin")
    assert not lines, "\n".join(lines)
    assert len(got) > 1000, "the tree is too small to mean anything"


@suite.test("cp -a copies a tree in exactly", TIMEOUT)
def copy(env):
    env.run(["cp", "-a", origin(env), env.path("tree")])
    same_as_origin(env, "tree")
    env.run(["diff", "-r", "--no-dereference", origin(env), env.path("tree")])


@suite.test("tar unpacks a tree onto the mount and packs the same again", TIMEOUT)
def tar(env):
    os.mkdir(env.path("tree"))
    env.run(f"tar -C {origin(env)} --format=posix -cf {env.scratch('in.tar')} . && "
            f"tar -C {env.path('tree')} -xpf {env.scratch('in.tar')}")
    same_as_origin(env, "tree")
    # nothing in the archive may depend on when and by whom it was packed
    pack = "tar --sort=name --format=posix --pax-option=exthdr.name=%d/%f,delete=[ac]time"
    env.run(f"{pack} -C {env.path('tree')} -cf {env.scratch('out.tar')} . && "
            f"{pack} -C {env.on_disk('tree')} -cf {env.scratch('in.tar')} . && "
            f"cmp {env.scratch('in.tar')} {env.scratch('out.tar')}")


@suite.test("find and grep see on the mount what they see in the origin", TIMEOUT)
def find_and_grep(env):
    env.run(["cp", "-a", origin(env), env.on_disk("tree")])
    for command in ("find . -printf '%P %y %m %s %l\\n' | grep -v '^[^ ]* d ' | sort",
                    "find . -name '*.h' -newer include/stdio.h | sort",
                    "grep -rl define . | sort", "grep -rc 'int ' include | sort",
                    "find . -type f -print0 | sort -z | xargs -0 sha256sum",
                    "ls -lR --time-style=full-iso include | grep -v '^total\\|^d'"):
        assert env.run(command, cwd=env.path("tree")) == env.run(command, cwd=origin(env)), command


@suite.test("rename of the whole tree, and mv of its parts between directories", TIMEOUT)
def rename(env):
    env.run(["cp", "-a", origin(env), env.path("tree")])
    os.rename(env.path("tree"), env.path("moved"))
    same_as_origin(env, "moved")
    env.run("mkdir parts && mv moved/include parts/ && mv moved/odd/* parts/ && "
            "mv parts/include moved/include && mv parts/* moved/odd/ && rmdir parts", cwd=env.mnt)
    env.run(["diff", "-r", "--no-dereference", origin(env), env.path("moved")])
    for number, name in enumerate(sorted(os.listdir(env.path("moved/include")))):
        os.rename(env.path("moved/include", name), env.path("moved/include", f"{number}.renamed"))
    env.same()


@suite.test("chmod -R, chown -R, touch and sed -i over the tree", TIMEOUT)
def change(env):
    env.run(["cp", "-a", origin(env) + "/include", env.path("tree")])
    env.run("chmod -R g+w,o-rwx tree && chown -R -h 1000:1000 tree && "
            "find tree -type f -print0 | xargs -0 -n 500 touch -d 2020-02-02 && "
            "find tree/linux -name '*.h' -print0 | xargs -0 sed -i s/struct/STRUCT/", cwd=env.mnt)
    env.same()
    assert "STRUCT" in env.run(["grep", "-rh", "STRUCT", env.on_disk("tree/linux")])


@suite.test("rsync-like update: only what changed on the host is copied back out", TIMEOUT)
def update(env):
    env.run(["cp", "-a", origin(env) + "/include", env.path("tree")])
    env.run(["cp", "-a", env.path("tree"), env.scratch("copy")])
    with open(env.on_disk("tree/stdio.h"), "a") as f:
        f.write("/* newer */\n")
    env.eventually(lambda: "stdio.h" in env.run(
        ["cp", "-a", "-u", "-v", "--no-target-directory", env.path("tree/stdio.h"),
         env.scratch("copy") + "/stdio.h"]), what="the newer file")
    env.run(["diff", "-r", "--no-dereference", env.disk + "/tree", env.scratch("copy")])


@suite.test("rm -rf removes all of it", TIMEOUT)
def remove(env):
    env.run(["cp", "-a", origin(env), env.on_disk("tree")])
    env.eventually(lambda: os.path.exists(env.path("tree")))
    env.run(["rm", "-rf", env.path("tree")])
    assert os.listdir(env.disk) == [] and os.listdir(env.mnt) == []


@suite.test("four copies at once do not disturb each other", TIMEOUT)
def at_once(env):
    workers = [env.child(env.run, ["cp", "-a", origin(env) + "/include", env.path(f"c{i}")])
               for i in range(4)]
    for worker in workers:
        worker.join()
    for i in range(4):
        env.run(["diff", "-r", "--no-dereference", origin(env) + "/include", env.on_disk(f"c{i}")])
    env.same(libnfs=False)


if __name__ == "__main__":
    suite.main()
