#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian packages: built from what git has, and at work on a clean root of this release.

    debian.py SOURCE

The root is made by mmdebstrap from the archive that this machine is set up for, and is entered
with namespaces of its own, so that nothing on the machine changes.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

from package import Failed, Missing, check_out, clean_environment, main, need, run

# What the packages depend on is there already, so that only they are installed from files.
SERVER = ["nfs-ganesha-vfs"]
SOURCES = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
ENTER = r"""
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc none "$1/proc"
mount -t sysfs none "$1/sys"
mount -t tmpfs none "$1/run"
mount --rbind /dev "$1/dev"
exec chroot "$1" /bin/sh -c "$2"
"""


def unpack(source, work):
    """The directory of the Debian source package, beside an upstream archive."""
    with open(os.path.join(source, "debian/changelog")) as file:
        version = re.match(r"vsockfs \((.*)-", file.readline())[1]
    tree = os.path.join(work, f"vsockfs-{version}")
    check_out(source, tree)
    run(["tar", "-C", work, "-czf", f"{work}/vsockfs_{version}.orig.tar.gz", "--exclude=debian",
         os.path.basename(tree)])
    return tree


def build(tree):
    """Source and binary packages."""
    if subprocess.run(["dpkg-checkbuilddeps", "-Pnocheck"], cwd=tree).returncode:
        raise Missing("what debian/control needs for building is not installed")
    env = {**clean_environment(), "DEB_BUILD_OPTIONS": f"nocheck parallel={os.cpu_count()}"}
    run(["dpkg-source", "-b", os.path.basename(tree)], cwd=os.path.dirname(tree))
    run(["dpkg-buildpackage", "-us", "-uc", "-b", "-Pnocheck"], cwd=tree, env=env)


def lint(tree):
    """lintian has neither errors nor warnings."""
    need("lintian")
    work = os.path.dirname(tree)
    run(["lintian", "--allow-root", "--fail-on", "error,warning",
         *glob.glob(f"{work}/*.dsc"), *glob.glob(f"{work}/*.changes")])


def packages(work):
    return sorted(n for n in glob.glob(f"{work}/*.deb") if "-dbgsym" not in n)


def names_of(work):
    return [os.path.basename(path).split("_")[0] for path in packages(work)]


def make_root(work):
    """A clean root with what the packages depend on: the path."""
    if os.geteuid() != 0:
        raise Missing("not root")
    root = os.path.join(work, "root")
    release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
    if release.get("ID") != "debian":
        raise Missing("this is not a Debian system")
    depends = set()
    for path in packages(work):
        listed = run(["dpkg-deb", "-f", path, "Depends", "Pre-Depends"])
        for word in re.findall(r"[a-z0-9][a-z0-9+.-]+(?=[ ,\n|(]|$)", re.sub(r"\(.*?\)", "", listed)):
            depends.add(word)
    depends -= {*names_of(work), "dracut", "depends", "pre-depends"}
    sources = [path for path in SOURCES if os.path.exists(path)][:1]
    try:
        run(["mmdebstrap", "--variant=minbase", "--dpkgopt=force-unsafe-io",
             "--include=" + ",".join(sorted(depends) + SERVER), release["VERSION_CODENAME"],
             root, *sources])
    except Failed as why:
        raise Missing(f"no clean root can be made here: {str(why).strip().splitlines()[-1]}")
    # systemd-tmpfiles makes it on a machine; nfs-ganesha asks it for file systems
    os.symlink("../proc/self/mounts", os.path.join(root, "etc/mtab"))
    return root


def inside(root, command):
    return run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "enter",
                root, command], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C",
                                     "DEBIAN_FRONTEND": "noninteractive"}, timeout=600)


def install(root, work):
    os.mkdir(os.path.join(root, "packages"))
    for path in packages(work):
        shutil.copy(path, os.path.join(root, "packages"))
    before = files_of(root)
    # dracut and initramfs-tools exclude each other
    inside(root, "dpkg --force-depends -i /packages/*.deb")
    return before


def files_of(root):
    found = set()
    for where, _, names in os.walk(root):
        found |= {os.path.join(where, name)[len(root):] for name in names}
    return {n for n in found if not n.startswith(("/var/log/", "/var/lib/dpkg/", "/var/cache/"))}


def mounts(root, tree):
    if not os.path.exists("/dev/fuse"):
        raise Missing("no /dev/fuse")
    shutil.copy(os.path.join(tree, "debian/tests/mount"), os.path.join(root, "packages/try"))
    inside(root, "exec /packages/try")


def purge(root, work, before):
    inside(root, "dpkg --purge " + " ".join(names_of(work)))
    left = files_of(root) - before - {"/packages/try"}
    # made at its first use by vsockfs-serve
    left -= {"/var/lib/vsockfs/signfh.key"}
    if left:
        raise Failed("left behind: " + " ".join(sorted(left)))


def steps(points, source, work):
    tree = unpack(source, work)
    points.step("dpkg-buildpackage makes the packages", build, tree)
    points.aside("lintian has nothing against them", lint, tree)
    root = points.step("a clean root has what they depend on", make_root, work)
    before = points.step("they install there", install, root, work)
    points.aside("a share is mounted there", mounts, root, tree)
    points.step("they leave nothing when they are purged", purge, root, work, before)


if __name__ == "__main__":
    sys.exit(main(steps, "dpkg-buildpackage", "dh", "mmdebstrap"))
